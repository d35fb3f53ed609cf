"""Exercises of notebook 01, data scaling: copies, units of loss, leaks, and what more or repeated data are worth."""

from __future__ import annotations

import math

from scalept_lab.course.answers import choice, function, number, several
from scalept_lab.course.exercises import Exercise


def _shingles(text: str, k: int) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + k]) for i in range(len(words) - k + 1)}


def _jaccard(a: str, b: str, k: int) -> float:
    x, y = _shingles(a, k), _shingles(b, k)
    return len(x & y) / len(x | y)


def _bag(a: str, b: str, k: int) -> float:
    x, y = set(a.split()), set(b.split())
    return len(x & y) / len(x | y)


def _contained(a: str, b: str, k: int) -> float:
    x, y = _shingles(a, k), _shingles(b, k)
    return len(x & y) / min(len(x), len(y))


def _counted_twice(a: str, b: str, k: int) -> float:
    x, y = _shingles(a, k), _shingles(b, k)
    return len(x & y) / (len(x) + len(y))


def _dice(a: str, b: str, k: int) -> float:
    return 2 * _counted_twice(a, b, k)


_TEXTS = [
    ("to be or not to be that is the question", "to be or not to be is this the question", 2),
    (
        "the cat sat on the mat and the dog sat on the rug",
        "the dog sat on the mat and the cat sat on the rug",
        3,
    ),
    ("return the sum of all terms", "return the product of all terms of the sum", 2),
]


def _worth(unique: float, epochs: float, R: float) -> float:
    return unique * (1 + R * (1 - math.exp(-(epochs - 1) / R)))


def _one_too_many(unique: float, epochs: float, R: float) -> float:
    return unique * (1 + R * (1 - math.exp(-epochs / R)))


def _repeats_alone(unique: float, epochs: float, R: float) -> float:
    return unique * R * (1 - math.exp(-(epochs - 1) / R))


def _all_fresh(unique: float, epochs: float, R: float) -> float:
    return unique * epochs


EXERCISES = (
    Exercise(
        "01.1",
        "Write answer(a, b, k): the Jaccard similarity of two texts, by their sets of runs of k words.",
        function(
            _jaccard,
            _TEXTS,
            rel=1e-9,
            diagnoses=[
                (
                    _bag,
                    "these are sets of single words; take runs of k words, or word order counts for nothing.",
                ),
                (_contained, "that divides by the smaller set (containment); divide by the union."),
                (
                    _counted_twice,
                    "what both have is counted twice below the line: the union is a + b minus both.",
                ),
                (_dice, "that is Dice's coefficient, 2·both/(a + b); Jaccard divides both by the union."),
                (
                    lambda a, b, k: 1 - _jaccard(a, b, k),
                    "that is the distance; the similarity is 1 minus it.",
                ),
            ],
            right="A million documents have 5e11 pairs: that is why MinHash looks for candidates first.",
        ),
        (
            "Python's sets do the work: `x & y` is what both have, `x | y` what either has.",
            "A text of n words has n - k + 1 runs of k words; make each a tuple, so that it can be in a set.",
            "words = text.split(); {tuple(words[i:i + k]) for i in range(len(words) - k + 1)} for each text.",
        ),
        """def answer(a, b, k):
    def runs(text):
        words = text.split()
        return {tuple(words[i:i + k]) for i in range(len(words) - k + 1)}
    x, y = runs(a), runs(b)
    return len(x & y) / len(x | y)""",
        wrong=(
            (_bag, "single words"),
            (_contained, "containment"),
            (_counted_twice, "counted twice"),
            (_dice, "Dice"),
        ),
        placeholder=lambda a, b, k: ...,
    ),
    Exercise(
        "01.2",
        "Model X: 2.60 nats per token, BPE tokens of 2.4 bytes on average. Model Y: 1.20 nats per token, and "
        "its tokens are bytes. How many bits per byte has X, and which predicts the text better, 'X' or 'Y'?",
        several(
            bits_per_byte=number(
                2.60 / 2.4 / math.log(2),
                rel=0.01,
                diagnoses=[
                    (
                        2.60 / 2.4,
                        "these are nats per byte; a bit is ln 2 = 0.693 nats, so there are more bits.",
                    ),
                    (2.60 / math.log(2), "these are bits per token; a token of X has 2.4 bytes."),
                    (2.60 / 2.4 * math.log(2), "the unit the wrong way round: divide by ln 2."),
                    (2.60 * 2.4 / math.log(2), "a loss per token is spread over 2.4 bytes: divide by them."),
                    (
                        2.60 * 2.4,
                        "a loss per token is spread over 2.4 bytes: divide; and turn nats into bits.",
                    ),
                ],
                slips=(),
            ),
            better=choice(
                "X",
                {
                    "X": "",
                    "Y": "compare per byte: 1.083 nats for X, 1.20 for Y; per token they have different units.",
                },
                right="Per token X looks twice as bad, per byte it is the better one.",
            ),
        ),
        (
            "Both models must explain the same bytes. How many nats does each spend on one byte?",
            "X: 2.60 nats for 2.4 bytes. Then nats into bits: 1 bit = ln 2 nats.",
            "2.60 / 2.4 / ln 2 for X; Y in the same unit is 1.20 / ln 2 = 1.73.",
        ),
        """import math
bits_per_byte = 2.60 / 2.4 / math.log(2)
answer = {"bits_per_byte": bits_per_byte, "better": "X"}""",
        wrong=(
            ({"bits_per_byte": 1.083, "better": "X"}, "nats per byte"),
            ({"bits_per_byte": 3.751, "better": "X"}, "bits per token"),
            ({"bits_per_byte": 1.563, "better": "Y"}, "different units"),
        ),
        placeholder={"bits_per_byte": ..., "better": ...},
    ),
    Exercise(
        "01.3",
        "Four ways to prepare a corpus. Which one keeps the held-out loss honest?",
        choice(
            "c",
            {
                "a": "windows of one document land on both sides: the model has read the lines around them.",
                "b": "a copy of a training document may be held out: looking at one side never sees that pair.",
                "c": "",
                "d": "who picks a filter by the held-out loss has fitted it: choose on a third, separate part.",
            },
            right="Copies go first, over everything; then whole documents, by a hash that no later step can move.",
        ),
        (
            "For each, ask: can anything the model learned from, or you chose by, stand in the held-out text?",
            "Three leaks are hidden: within a document, between copies, and through your own choices.",
            "Copies must be found while all documents are still together, and the split must be by document.",
        ),
        """answer = "c\"""",
        wrong=(("a", "both sides"), ("b", "never sees that pair"), ("d", "third, separate part")),
    ),
    Exercise(
        "01.4",
        "A loss follows L = E + A/D^0.3. By which factor must D grow to halve what lies above E?",
        number(
            2 ** (1 / 0.3),
            rel=0.02,
            diagnoses=[
                (2.0, "twice the data divides it by 2^0.3 = 1.23 only."),
                (
                    2**0.3,
                    "that is by how much twice the data shrinks it; the question is the other way round.",
                ),
                (2 * 0.3, "the exponent is above: solve (D'/D)^0.3 = 2."),
                (2 / 0.3, "the exponent is not a factor: solve (D'/D)^0.3 = 2."),
                (10 ** (1 / 0.3), "halve, not a tenth: put 2 in place of 10."),
                (math.exp(1 / 0.3), "that would divide it by e; put 2 in its place."),
            ],
            slips=((0.5, "too small by half: solve (D'/D)^0.3 = 2."),),
            right="Ten times the data for half the gap, and ten times again for the next half.",
        ),
        (
            "Write A/D^0.3 for D and for x·D, and divide the one by the other.",
            "You need x^0.3 = 2.",
            "x = 2^(1/0.3).",
        ),
        "answer = 2 ** (1 / 0.3)",
        wrong=((2, "1.23 only"), (2**0.3, "other way round"), (2 / 0.3, "not a factor")),
    ),
    Exercise(
        "01.5",
        "Write answer(unique, epochs, R): the fresh tokens that so many passes are worth (eq. 5 above).",
        function(
            _worth,
            [(1e5, 4, 15.39), (100e9, 1, 15.39), (2e4, 16, 5.0), (1e9, 40, 15.39)],
            rel=1e-6,
            diagnoses=[
                (
                    _one_too_many,
                    "the first pass is no repetition: epochs − 1 are, and one pass is worth exactly U.",
                ),
                (
                    _repeats_alone,
                    "these are the repetitions alone; the first pass is worth U and comes on top.",
                ),
                (_all_fresh, "that counts every pass in full, as if all tokens were fresh."),
                (
                    lambda u, e, R: _worth(u, e, R) / u,
                    "that is in units of U; multiply by the unique tokens.",
                ),
            ],
            right="With R = 15.39, four passes are worth 3.7 and forty are worth 15.2: never more than 16.4.",
        ),
        (
            "One pass over U tokens must be worth U. How many repetitions is that?",
            "D' = U + U·R·(1 − exp(−(epochs − 1)/R)).",
            "unique * (1 + R * (1 - math.exp(-(epochs - 1) / R))), with import math.",
        ),
        """import math

def answer(unique, epochs, R):
    return unique * (1 + R * (1 - math.exp(-(epochs - 1) / R)))""",
        wrong=(
            (_one_too_many, "no repetition"),
            (_repeats_alone, "on top"),
            (_all_fresh, "every pass in full"),
        ),
        placeholder=lambda unique, epochs, R: ...,
    ),
)
