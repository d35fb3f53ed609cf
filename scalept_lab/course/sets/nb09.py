"""Exercises of notebook 09, transfer with BERT."""

from __future__ import annotations

import math

from scalept_lab.course.answers import choice, function, number, several
from scalept_lab.course.exercises import Exercise

# A published table: 12 blocks of width 768, vocabulary 32,000, "24 M parameters". 24.6 M is the token table alone.
_D, _V, _POSITIONS, _SEGMENTS, _DEPTH = 768, 32_000, 512, 2, 12
_TABLES = (_V + _POSITIONS + _SEGMENTS) * _D + 2 * _D  # and the norm behind them
_BLOCK = 12 * _D**2 + 13 * _D
_POOLER = _D**2 + _D
_TOTAL = _TABLES + _DEPTH * _BLOCK + _POOLER

_TP, _FP, _FN, _TN = 30, 20, 10, 140


def _metrics(tp, fp, fn, tn):
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / (tp + fn) if tp + fn else 0.0
    f1 = 2 * tp / (2 * tp + fp + fn) if 2 * tp + fp + fn else 0.0
    return {"accuracy": (tp + tn) / (tp + fp + fn + tn), "precision": precision, "recall": recall, "f1": f1}


def _masked_loss(probabilities, chosen):
    picked = [math.log(p) for p, take in zip(probabilities, chosen, strict=True) if take]
    return -sum(picked) / len(picked)


def _over_all(probabilities, chosen):
    return -sum(map(math.log, probabilities)) / len(probabilities)


def _divided_by_all(probabilities, chosen):
    return _masked_loss(probabilities, chosen) * sum(chosen) / len(chosen)


def _summed(probabilities, chosen):
    return _masked_loss(probabilities, chosen) * sum(chosen)


EXERCISES = (
    Exercise(
        "09.1",
        "Write the masked-language loss: from the probability that the model gives the right token at each position, and a "
        "list that says which positions were chosen, the mean of −ln P over the chosen ones.",
        function(
            _masked_loss,
            [([0.5, 0.25, 0.9], [True, True, False]), ([0.1, 0.2, 0.4, 0.8], [False, True, False, True])],
            rel=1e-6,
            diagnoses=[
                (
                    _over_all,
                    "this is the mean over all positions; BERT is asked only where a token was chosen.",
                ),
                (
                    _divided_by_all,
                    "the sum is right, but divide by the number of chosen positions, not of all.",
                ),
                (_summed, "this is the sum; the loss is the mean over the chosen positions."),
                (
                    lambda p, c: -_masked_loss(p, c),
                    "the sign: probabilities are below one, so their logarithms are negative.",
                ),
                (
                    lambda p, c: _masked_loss(p, c) / math.log(2),
                    "this looks like bits; the loss is in nats, with the natural logarithm.",
                ),
            ],
            right="Positions that were not chosen have no say, however sure the model is of them.",
        ),
        (
            "Which positions does the model get a mark for?",
            "Go through both lists together and keep −ln p where a position was chosen.",
            "Divide the sum by how many were chosen: sum(chosen).",
        ),
        """import math

def masked_loss(probabilities, chosen):
    picked = [-math.log(p) for p, take in zip(probabilities, chosen) if take]
    return sum(picked) / len(picked)

answer = masked_loss""",
        wrong=(
            (_over_all, "mean over all positions"),
            (_summed, "this is the sum"),
            (lambda p, c: -_masked_loss(p, c), "the sign"),
        ),
        placeholder=lambda probabilities, chosen: ...,
    ),
    Exercise(
        "09.2",
        "Of 1,000 tokens (none of them special), how many does BERT see as [MASK] on average, and at how many is it asked for "
        "a token that still stands there unchanged?",
        several(
            masks=number(
                120,
                rel=0.001,
                diagnoses=[
                    (150, "150 are chosen; not all of the chosen become [MASK]."),
                    (800, "80 % of the chosen ones, not of all."),
                ],
                slips=(),
            ),
            unchanged=number(
                15,
                rel=0.001,
                diagnoses=[
                    (850, "the 850 that were not chosen are not asked for at all."),
                    (100, "10 % of the chosen ones, not of all."),
                    (30, "15 of these hold another token, drawn at random."),
                ],
                slips=(),
                right="A model that trusted every token it sees would be caught by the 15 random ones.",
            ),
        ),
        (
            "First: how many of the 1,000 are chosen at all?",
            "15 % are chosen. The 80/10/10 split is of these.",
            "150 chosen: 80 % become [MASK], 10 % another token, 10 % stay.",
        ),
        """chosen = 0.15 * 1000
answer = {"masks": 0.8 * chosen, "unchanged": 0.1 * chosen}""",
        wrong=(
            ({"masks": 150, "unchanged": 15}, "not all of the chosen"),
            ({"masks": 120, "unchanged": 850}, "not asked for at all"),
            ({"masks": 800, "unchanged": 100}, "80 % of the chosen"),
        ),
        placeholder={"masks": ..., "unchanged": ...},
    ),
    Exercise(
        "09.3",
        "A published table gives an encoder of 12 blocks, d = 768 and a vocabulary of 32,000 as 24 million parameters. Count it "
        "as a BERT: with 512 positions, 2 segments, the norm behind the tables and the pooler. How many exactly, and which "
        "part alone has about 24 million?",
        several(
            parameters=number(
                _TOTAL,
                rel=1e-7,
                diagnoses=[
                    (_TOTAL - _POOLER, "the pooler is missing: a matrix of d × d and its bias."),
                    (
                        _TOTAL - 2 * _D,
                        "2·d are missing: the segment table (two rows), or the norm behind the tables (gain and bias).",
                    ),
                    (_TOTAL - _POSITIONS * _D, "the position table is missing."),
                    (_TOTAL - _TABLES, "these are the blocks and the pooler; add the tables."),
                    (_TOTAL - 12 * 13 * _D, "biases and norms of the blocks are missing: 13·d in each."),
                    (12 * 12 * _D**2, "these are the matrices of the blocks alone."),
                    (24e6, "that is the table's claim. Count one block first: 12·d² is 7 million."),
                    (109_482_240, "this is bert-base with its own vocabulary of 30,522; here it is 32,000."),
                ],
                slips=((1e-6, "this looks like millions; an exact count is asked for."),),
            ),
            counted=choice(
                "tokens",
                {
                    "tokens": "",
                    "blocks": "the twelve blocks together have 85 million.",
                    "positions": "the position table has 0.4 million.",
                    "pooler": "the pooler has 0.6 million.",
                },
                right="Whoever made the table counted the dictionary and forgot the network.",
            ),
        ),
        (
            "Tables first: (tokens + positions + segments)·d. Which of the three is about 24 million?",
            "A block has 12·d² in its matrices; biases (9·d) and two norms (4·d) make it 12·d² + 13·d.",
            "Add the norm behind the tables (2·d) and the pooler (d² + d).",
        ),
        """d, depth = 768, 12
tables = (32_000 + 512 + 2) * d + 2 * d
blocks = depth * (12 * d**2 + 13 * d)
pooler = d**2 + d
answer = {"parameters": tables + blocks + pooler, "counted": "tokens"}""",
        wrong=(
            ({"parameters": 24e6, "counted": "tokens"}, "claim"),
            ({"parameters": _TOTAL - _POOLER, "counted": "tokens"}, "pooler is missing"),
            ({"parameters": _TOTAL, "counted": "blocks"}, "85 million"),
            ({"parameters": _TOTAL - _SEGMENTS * _D, "counted": "tokens"}, "segment table"),
        ),
        placeholder={"parameters": ..., "counted": ...},
    ),
    Exercise(
        "09.4",
        "200 pairs: of 40 true ones a classifier finds 30, of the 160 others it takes 20 for true. Write the four scores as a "
        "function of the counts tp, fp, fn, tn (a quotient with a zero below counts as 0).",
        function(
            _metrics,
            [(_TP, _FP, _FN, _TN), (0, 0, 5, 5), (8, 2, 2, 8), (100, 100, 0, 0)],
            rel=1e-6,
            diagnoses=[
                (
                    lambda tp, fp, fn, tn: {
                        **_metrics(tp, fp, fn, tn),
                        "precision": _metrics(tp, fp, fn, tn)["recall"],
                        "recall": _metrics(tp, fp, fn, tn)["precision"],
                    },
                    "precision and recall are swapped: precision is about what was called true, recall about what is.",
                ),
                (
                    lambda tp, fp, fn, tn: {
                        **_metrics(tp, fp, fn, tn),
                        "f1": (_metrics(tp, fp, fn, tn)["precision"] + _metrics(tp, fp, fn, tn)["recall"])
                        / 2,
                    },
                    "F1 is the harmonic mean, 2·P·R/(P + R): the plain mean forgives a zero.",
                ),
            ],
            right="The four of the example are 0.85, 0.60, 0.75 and 0.67: accuracy looks best because most pairs are not true.",
        ),
        (
            "Which of the four counts were called true? Which are true?",
            "precision = tp/(tp + fp), recall = tp/(tp + fn), and accuracy counts what is right on both sides.",
            "F1 = 2·tp/(2·tp + fp + fn), the harmonic mean of the two. Mind the cases with nothing below the line.",
        ),
        """def metrics(tp, fp, fn, tn):
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / (tp + fn) if tp + fn else 0.0
    f1 = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0
    return {"accuracy": (tp + tn) / (tp + fp + fn + tn), "precision": precision, "recall": recall, "f1": f1}

answer = metrics""",
        wrong=(
            (
                lambda tp, fp, fn, tn: {
                    **_metrics(tp, fp, fn, tn),
                    "precision": _metrics(tp, fp, fn, tn)["recall"],
                    "recall": _metrics(tp, fp, fn, tn)["precision"],
                },
                "swapped",
            ),
            (
                lambda tp, fp, fn, tn: {
                    **_metrics(tp, fp, fn, tn),
                    "f1": (_metrics(tp, fp, fn, tn)["precision"] + _metrics(tp, fp, fn, tn)["recall"]) / 2,
                },
                "harmonic",
            ),
        ),
        placeholder=lambda tp, fp, fn, tn: ...,
    ),
    Exercise(
        "09.5",
        "The error 1 − F1 of a model falls as A·n^(−α) with the number n of labelled pairs: 0.40 at 100 pairs and 0.32 at 400. "
        "How many pairs bring it to 0.256?",
        number(
            1600,
            rel=0.01,
            diagnoses=[
                (
                    640,
                    "this goes on along a straight line; a power law loses the same *ratio* for each factor in n.",
                ),
                (
                    700,
                    "this goes on along a straight line; a power law loses the same *ratio* for each factor in n.",
                ),
                (800, "the ratio 0.8 costs a factor of 4 in pairs, not of 2."),
                (
                    500,
                    "this goes on along a straight line; a power law loses the same *ratio* for each factor in n.",
                ),
            ],
            slips=(),
            right="And the next 20 % cost 6,400: why one buys pre-training instead of labels.",
        ),
        (
            "By what ratio did the error fall when n grew fourfold?",
            "0.32/0.40 = 0.8 for a factor of 4. And 0.256/0.32?",
            "0.256/0.32 is 0.8 again, so the pairs grow by a factor of 4 again.",
        ),
        """import math

alpha = -math.log(0.32 / 0.40) / math.log(400 / 100)
answer = 400 * (0.256 / 0.32) ** (-1 / alpha)""",
        wrong=((640, "straight line"), (800, "factor of 4")),
    ),
)
