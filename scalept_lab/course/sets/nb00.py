"""Exercises of notebook 00, start here.

A build's solution is the source of a function of this module, and its skeleton is what stands above the body.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from scalept_lab.course.answers import Verdict, build, choice, judged, number
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.sets.pieces import NUMPY, skeleton, slip, slips, source

# --- the pieces that the learner writes -----------------------------------------------------------------------------------


def byte_loss(train: np.ndarray, heldout: np.ndarray, vocab: int = 256, smoothing: float = 0.1) -> float:
    """Loss in nats per token of a model that knows how common each token is, and nothing else.

    train, heldout  arrays of tokens, whole numbers from 0 to vocab - 1
    smoothing       added to every count, so that no token is impossible
    """
    counts = np.bincount(train, minlength=vocab) + smoothing
    probabilities = counts / counts.sum()
    return float(-np.log(probabilities[heldout]).mean())


def bigram_loss(train: np.ndarray, heldout: np.ndarray, vocab: int = 256, smoothing: float = 0.1) -> float:
    """Loss of a bigram model in nats per token: how likely is a token after the one before it?

    train, heldout  arrays of tokens, whole numbers from 0 to vocab - 1
    smoothing       added to every count, so that no pair is impossible

    Counts the pairs of `train`, makes a distribution over the next token of every row of counts, and returns
    the mean of -log p(token | token before) over `heldout`, from its second token on.
    """
    counts = np.full((vocab, vocab), float(smoothing))
    np.add.at(counts, (train[:-1], train[1:]), 1)
    probabilities = counts / counts.sum(axis=1, keepdims=True)
    came = probabilities[heldout[:-1], heldout[1:]]
    return float(-np.log(came).mean())


def nats_per_byte(log_probabilities: list, tokens: list) -> float:
    """Loss in nats per byte, whatever the tokens are.

    log_probabilities  natural logarithm of the probability that a model gave to each token that came
    tokens             the tokens themselves, as text; their bytes are those of UTF-8
    """
    nats = -sum(log_probabilities)
    length = sum(len(token.encode("utf-8")) for token in tokens)
    return float(nats / length)


def write(next_probabilities: Callable, start: list, length: int, rng: np.random.Generator) -> list:
    """Continue a text by `length` tokens, each drawn from the model's probabilities.

    next_probabilities  tokens so far (list) -> probabilities of the next one (array of V)
    start               the tokens to begin with
    rng                 numpy's random generator: rng.choice(V, p=probabilities) draws
    Returns `start` and what follows, in one list. `start` itself stays as it is.
    """
    tokens = list(start)
    for _ in range(length):
        probabilities = np.asarray(next_probabilities(tokens), float)
        tokens.append(int(rng.choice(len(probabilities), p=probabilities)))
    return tokens


_SINGLE_DIAGNOSES, _SINGLE_SLIPS = slips(
    byte_loss,
    ("probabilities[heldout]", "probabilities[train]", "training text", "this scores the training text; "
     "held-out text is asked "
     "for."),
    ("probabilities[heldout]", "probabilities", "as it comes", "this is the mean over the vocabulary; each "
     "token of the held-out "
     "text counts as often as it comes."),
    ("-np.log(", "-np.log2(", "bits", "this is in bits; nats take the natural logarithm."),
    ("-np.log(", "np.log(", "minus", "the sign: the loss is minus the logarithm, and positive."),
    (" + smoothing", "", "never came", "a token that never came in the training text has probability 0, and the "
     "loss is infinite: "
     "add the smoothing to every count."),
    (").mean()", ").sum()", "the mean is", "this is the sum over all tokens; the mean is asked for."),
)  # fmt: skip

_PAIR_DIAGNOSES, _PAIR_SLIPS = slips(
    bigram_loss,
    ("counts.sum(axis=1, keepdims=True)", "counts.sum(axis=0, keepdims=True)", "columns", "the columns are "
     "normalised: each row, "
     "what comes after one token, is the distribution."),
    ("counts.sum(axis=1, keepdims=True)", "counts.sum()", "of the pair", "this is the probability of the pair; "
     "asked is that of the "
     "second token where the first is known."),
    ("heldout[:-1], heldout[1:]", "train[:-1], train[1:]", "training text", "this scores the training text; "
     "held-out text is asked "
     "for."),
    ("-np.log(", "-np.log2(", "bits", "this is in bits; nats take the natural logarithm."),
    ("-np.log(", "np.log(", "minus", "the sign: the loss is minus the logarithm, and positive."),
    ("float(smoothing))", "0.0)", "never came", "pairs that never came in the training text have probability 0, "
     "and the loss is "
     "infinite: add the smoothing to every count."),
    (").mean()", ").sum()", "the mean", "this is the sum over all tokens; the mean is asked for."),
    ("-np.log(came).mean()", "-np.log(came.mean())", "every token", "this is the logarithm of the mean "
     "probability: take it for "
     "every token, then the mean."),
    ("(train[:-1], train[1:])", "(train[1:], train[:-1])", "the other way round", "the pairs are counted the "
     "other way round: rows are "
     "the token before."),
)  # fmt: skip

_BYTE_DIAGNOSES, _BYTE_SLIPS = slips(
    nats_per_byte,
    ('len(token.encode("utf-8"))', "1", "per token", "this is the loss per token; divide by the bytes that the "
     "tokens stand for."),
    ('len(token.encode("utf-8"))', "len(token)", "characters", "this counts characters; in UTF-8 many of them "
     "are more than one "
     "byte."),
    ("-sum(log_probabilities)", "sum(log_probabilities)", "sign", "the sign: a loss is positive, logarithms of "
     "probabilities are "
     "not."),
    ("-sum(log_probabilities)", "-sum(log_probabilities) / math.log(2)", "bits", "this is in bits per byte; "
     "nats are asked for."),
    ("-sum(log_probabilities)", "-sum(log_probabilities) / len(tokens)", "twice", "this divides twice, by the "
     "tokens and by the "
     "bytes."),
    ("float(nats / length)", 'float(np.mean([-p / len(t.encode("utf-8")) for p, t in zip(log_probabilities, tokens)]))', "weighs",
     "this is the mean of each token's nats per byte, which weighs short tokens too much: sum first, then divide."),
)  # fmt: skip


def _one_hot(tokens: list, vocab: int = 4) -> np.ndarray:
    """The sum of the last two tokens, modulo 4: certain, and it depends on what was written before."""
    return np.eye(vocab)[sum(tokens[-2:]) % vocab]


def _coin(tokens: list) -> np.ndarray:
    """1 with probability .7 after a 0, with .2 after a 1."""
    chance = 0.7 if tokens[-1] == 0 else 0.2
    return np.array([1 - chance, chance])


def _judge_writing(written: Callable) -> Verdict:
    start = [1, 2]
    sure = written(_one_hot, start, 12, np.random.default_rng(0))
    if sure is None or sure is ...:
        return Verdict(False, answered=False)
    if start != [1, 2]:
        return Verdict(False, "your function changes its input start: work on a copy, list(start).")
    try:
        sure = [int(token) for token in sure]
    except (TypeError, ValueError):
        return Verdict(False, "a list of tokens is asked for, the start and what follows.")
    wanted = write(_one_hot, start, 12, np.random.default_rng(0))
    rows = [("a model that is sure", "agrees" if sure == wanted else "differs", sure == wanted)]
    if sure != wanted:
        return Verdict(False, _what_is_wrong(sure, wanted), rows=tuple(rows))
    coins = [int(token) for token in written(_coin, [0], 4000, np.random.default_rng(1))]
    after = [np.mean([b for a, b in pairwise(coins) if a == before] or [0]) for before in (0, 1)]
    for chance, share, before in zip((0.7, 0.2), after, (0, 1), strict=True):
        rows.append(
            (
                f"ones after a {before}, a chance of {chance}",
                f"{share:.2f} of them",
                bool(abs(share - chance) < 0.05),
            )
        )
    if all(ok for *_, ok in rows):
        return Verdict(True, "It writes with any model that says what may come next.", rows=tuple(rows))
    always = all(share in (0.0, 1.0) for share in after)
    text = (
        "it takes the most likely token each time; draw from the probabilities instead."
        if always
        else "the tokens do not come as often as the probabilities say: draw from all of them."
    )
    return Verdict(False, text, rows=tuple(rows))


def _what_is_wrong(sure: list, wanted: list) -> str:
    if sure == wanted[2:]:
        return "only what follows comes back; the start belongs to it."
    if len(sure) != len(wanted):
        return f"the text has {len(sure)} tokens; the start has 2 and 12 follow, each appended once."
    return (
        "the model is asked about the wrong tokens: give it everything so far, what was just drawn included."
    )


def _greedy(next_probabilities, start, length, rng):
    tokens = list(start)
    for _ in range(length):
        tokens.append(int(np.argmax(next_probabilities(tokens))))
    return tokens


def continue_line(tokens: list, losses: list, target: float) -> float:
    """The loss at `target` tokens, if it goes on along the straight line through two runs on log axes.

    tokens, losses  of the two runs, [fewer, more] and their losses
    """
    slope = math.log(losses[1] / losses[0]) / math.log(tokens[1] / tokens[0])
    further = math.log(target / tokens[1])
    return float(losses[1] * math.exp(slope * further))


# --- the exercises --------------------------------------------------------------------------------------------------------

_LINE_DIAGNOSES, _LINE_SLIPS = slips(
    continue_line,
    ("float(losses[1] * math.exp(slope * further))",
     "float(losses[1] + (losses[1] - losses[0]) / math.log(tokens[1] / tokens[0]) * further)", "equal ratios",
     "the loss itself is straight in your line; on logarithmic axes equal steps are equal ratios of the loss."),
    ("float(losses[1] * math.exp(slope * further))",
     "float(losses[1] + (losses[1] - losses[0]) / (tokens[1] - tokens[0]) * (target - tokens[1]))", "plain axes",
     "this line is straight on plain axes: it takes as much off for each further token, and soon falls below zero."),
    ("math.log(target / tokens[1])", "math.log(target / tokens[0])", "from the first run", "the distance is "
     "measured from the first "
     "run and the loss from the second: take one of them for both."),
    ("/ math.log(tokens[1] / tokens[0])", "* math.log(tokens[1] / tokens[0])", "divided", "the slope is the "
     "change of the logarithm of "
     "the loss divided by that of the tokens."),
    ("math.log(losses[1] / losses[0])", "math.log(losses[0] / losses[1])", "rises", "this line rises: more "
     "tokens should lower the "
     "loss."),
    ("float(losses[1] * math.exp(slope * further))", "float(losses[1])", "no change", "this is \"no change\"; "
     "the line goes on "
     "falling."),
)  # fmt: skip

_SHARE = 2.0 / math.log(2) / 8  # of a file, at 2 nats per byte

EXERCISES = (
    Exercise(
        "00.1",
        "GPT-2 chooses among 50,257 tokens. What is its loss, in nats per token, before it has learned anything?",
        number(
            math.log(50_257),
            rel=1e-3,
            diagnoses=[
                (
                    -math.log(50_257),
                    "the sign: the loss is minus the logarithm of a probability, and positive.",
                ),
                (
                    math.log2(50_257),
                    "this is in bits, with the logarithm to base 2; nats take the natural one.",
                ),
                (math.log10(50_257), "this is the logarithm to base 10; nats take the natural one."),
                (math.log(256), "this is the uniform guess over 256 bytes; GPT-2 has more to choose from."),
                (
                    1 / 50_257,
                    "this is the probability that it gives the right token; the loss is minus its logarithm.",
                ),
                (50_257, "this is how many tokens there are; the loss is a logarithm."),
            ],
            slips=(),
            right="A first loss far from this number means a bug, and one step is enough to see it.",
        ),
        (
            "A model that knows nothing gives every token the same probability.",
            "What is that probability among 50,257 tokens? The loss is minus its natural logarithm.",
            "In Python, math.log is the natural logarithm. The result is about twice the loss of a uniform guess among 256.",
        ),
        """import math

answer = math.log(50_257)""",
        kind="compute",
        minutes=2,
        difficulty=1,
        wrong=(
            (math.log2(50_257), "base 2"),
            (math.log(256), "256 bytes"),
            (1 / 50_257, "probability that"),
            (-math.log(50_257), "sign"),
            (50_257, "how many"),
        ),
    ),
    Exercise(
        "00.2",
        "Write byte_loss(train, heldout): a model that knows how common each byte is, scored on text that it "
        "has not counted.",
        build(
            byte_loss,
            [
                (np.array([0, 1, 0, 2, 0, 1]), np.array([0, 1, 1]), 3, 0.1),
                (np.array([0, 0, 1]), np.array([2, 0, 1, 1]), 3, 1.0),
            ],
            names=["three tokens", "a token that never came"],
            rel=1e-5,
            diagnoses=_SINGLE_DIAGNOSES,
        ),
        (
            "Count, turn the counts into probabilities, look up what came.",
            "np.bincount counts whole numbers; its minlength makes room for those that never came.",
            "probabilities[heldout] is the probability of each token of the held-out text. Logarithm, mean, sign.",
        ),
        source(byte_loss, NUMPY),
        kind="build",
        minutes=4,
        difficulty=1,
        wrong=_SINGLE_SLIPS,
        skeleton=skeleton(byte_loss),
        own=lambda: byte_loss,
    ),
    Exercise(
        "00.3",
        "Write bigram_loss(train, heldout): a model that knows how often each byte follows each other byte, "
        "scored on text that it "
        "has not counted. Pairs that never came must not be impossible.",
        build(
            bigram_loss,
            [
                (np.array([0, 1, 0, 1, 0, 2, 0, 1]), np.array([0, 1, 0, 2]), 3, 0.1),
                (np.array([0, 1, 2, 0, 1, 2, 0]), np.array([2, 1, 0, 0]), 3, 1.0),
                (np.arange(200) ** 2 % 7, np.arange(50) ** 3 % 7, 8, 0.5),
            ],
            names=["three tokens", "pairs that never came", "eight tokens, one never seen"],
            rel=1e-5,
            diagnoses=_PAIR_DIAGNOSES,
            right="From here on it is a milestone in the figures.",
        ),
        (
            "Three steps: count, turn each row of counts into probabilities, look up what came.",
            "train[:-1] and train[1:] are the two halves of all pairs. Start the table with the smoothing, not with zeros.",
            "np.add.at(table, (rows, columns), 1) counts also where a pair comes twice. A row sums to one after "
            "dividing by its sum.",
        ),
        source(bigram_loss, NUMPY),
        kind="build",
        minutes=10,
        difficulty=2,
        wrong=_PAIR_SLIPS,
        skeleton=skeleton(bigram_loss),
        own=lambda: bigram_loss,
    ),
    Exercise(
        "00.4",
        "Write nats_per_byte(log_probabilities, tokens): the loss per byte of text, so that models whose tokens "
        "differ can be "
        "compared.",
        build(
            nats_per_byte,
            [
                ([-1.0, -2.0, -0.5], ["de", "f", " main"]),
                ([-3.0, -4.0], ["é", "学习"]),
                ([-0.1] * 4, ["a", "b", "c", "d"]),
            ],
            names=["tokens of one, two and five bytes", "characters of several bytes", "bytes as tokens"],
            rel=1e-6,
            diagnoses=_BYTE_DIAGNOSES,
        ),
        (
            "Nats add up over a text, and so do bytes.",
            "What does the whole text cost in nats? How many bytes is it? One division, at the end.",
            "token.encode('utf-8') gives the bytes of a token; minus the sum of the logarithms gives the nats.",
        ),
        source(nats_per_byte),
        kind="build",
        minutes=5,
        difficulty=2,
        wrong=_BYTE_SLIPS,
        skeleton=skeleton(nats_per_byte),
        own=lambda: nats_per_byte,
    ),
    Exercise(
        "00.5",
        "Write write(next_probabilities, start, length, rng): let a model continue a text, drawing one token "
        "after the other. It "
        "works for every model that says what may come next, a table of counts or a transformer.",
        judged(_judge_writing, wanted="a function whose text follows the model's probabilities"),
        (
            "A loop: ask for the probabilities, draw, append. The next question includes what was drawn.",
            "rng.choice(V, p=probabilities) draws a number from 0 to V − 1 with these probabilities; taking the "
            "largest is no draw.",
            "Begin with list(start), so that the caller's list stays as it is, and return the whole list at the end.",
        ),
        source(write, f"from collections.abc import Callable\n\n{NUMPY}"),
        kind="build",
        minutes=6,
        difficulty=2,
        wrong=(
            (_greedy, "most likely"),
            (slip(write, "next_probabilities(tokens)", "next_probabilities(start)"), "just drawn"),
            (slip(write, "return tokens", "return tokens[len(start) :]"), "only what follows"),
            (slip(write, "list(start)", "start"), "changes its input"),
            (slip(write, "range(length)", "range(length - len(start))"), "12 follow"),
        ),
        skeleton=skeleton(write),
        own=lambda: write,
    ),
    Exercise(
        "00.6",
        "A model has a loss of 2.0 nats per byte. To how many bytes could a perfect coder that uses its predictions compress "
        "a file of 1,000,000 bytes?",
        number(
            1e6 * _SHARE,
            rel=0.01,
            diagnoses=[
                (250_000, "2.0 nats were taken for 2.0 bits; one nat is 1/ln 2 bits."),
                (8e6 * _SHARE, "this is in bits; eight of them make a byte."),
                (2e6 * math.log(2) / 8, "nats become bits by dividing by ln 2, not by multiplying."),
                (2e6, "this is the loss of the whole file in nats; turn nats into bits and bits into bytes."),
                (_SHARE, "this is the share of the file that is left; how many bytes are that?"),
                (100 * _SHARE, "this is the share that is left in percent; how many bytes are that?"),
                (1e6 * (1 - _SHARE), "this is what the coder saves; asked is what is left."),
                (8 * _SHARE, "these are the bits for each byte; the file has a million of them."),
            ],
            slips=(),
            right="Predicting well and compressing well are the same skill.",
        ),
        (
            "The loss is the average length of a code for one byte, in an unusual unit.",
            "One nat is 1/ln 2 bits; eight bits are a byte.",
            "How many bits is 2.0 nats? So many bits for each of a million bytes; then count in bytes.",
        ),
        """import math

bits_per_byte = 2.0 / math.log(2)
answer = 1_000_000 * bits_per_byte / 8""",
        kind="compute",
        minutes=3,
        difficulty=2,
        wrong=(
            (250_000, "2.0 bits"),
            (8e6 * _SHARE, "in bits"),
            (2e6, "whole file"),
            (0.36, "share of the file"),
            (36, "in percent"),
            (2.885, "bits for each"),
        ),
    ),
    Exercise(
        "00.7",
        "Write continue_line(tokens, losses, target): what the straight line through two runs on logarithmic "
        "axes says about a "
        "third.",
        build(
            continue_line,
            [([1e6, 2e6], [4.0, 3.0], 4e6), ([1e6, 2e6], [4.0, 3.0], 16e6), ([2e5, 8e5], [2.4, 2.1], 1.6e6)],
            names=["one more doubling", "three more doublings", "half the way again"],
            rel=1e-5,
            diagnoses=_LINE_DIAGNOSES,
            right="Real losses level off above such a line sooner or later.",
        ),
        (
            "On logarithmic axes, equal ratios of tokens give equal ratios of loss.",
            "The slope of the line: the change of log loss, for each unit of log tokens.",
            "From the second run, go on by log(target / tokens of the second run). You get a change of log "
            "loss: what does it do to "
            "the loss itself?",
        ),
        source(continue_line, "import math\n\n\n"),
        kind="build",
        minutes=5,
        difficulty=2,
        wrong=_LINE_SLIPS,
        skeleton=skeleton(continue_line),
        own=lambda: continue_line,
    ),
    Exercise(
        "00.8",
        "A new trick lowers the loss by 0.01 nats in one pair of runs; other seeds alone move the loss by 0.03. "
        "What has been "
        "shown: 'it helps', 'it does nothing', or 'nothing yet'?",
        choice(
            "nothing yet",
            {
                "nothing yet": "",
                "it helps": "chance alone moves the loss three times as far as this.",
                "it does nothing": "it may help by 0.01; this pair of runs is too coarse to tell.",
            },
            right="More seeds, or a larger experiment, would tell. A claim in this course says NOT SHOWN in such a case.",
        ),
        (
            "Compare the gain with what happens when nothing changes but the seed.",
            "0.01 against 0.03: could chance have done this alone?",
            "It could. Does that prove that the trick is useless?",
        ),
        """answer = "nothing yet\"""",
        kind="read",
        minutes=2,
        difficulty=1,
        wrong=(("it helps", "three times"), ("it does nothing", "too coarse")),
    ),
)
