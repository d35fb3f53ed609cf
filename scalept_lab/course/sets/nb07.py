"""Exercises of notebook 07, curriculum schedules and progressive training."""

from __future__ import annotations

from scalept_lab.course.answers import choice, function, number
from scalept_lab.course.exercises import Exercise
from scalept_lab.train.curriculum import adapt

_COMPETENCE = (0.25 * (1 - 0.1**2) + 0.1**2) ** 0.5


def _impatient(level, row, performance, promote, demote, patience, top):
    return adapt(level, 0, performance, promote, demote, 1, top)


def _no_gap(level, row, performance, promote, demote, patience, top):
    return adapt(level, row, performance, promote, promote, patience, top)


def _unbounded(level, row, performance, promote, demote, patience, top):
    new, row = adapt(level + 10**6, row, performance, promote, demote, patience, 10**9)
    return new - 10**6, row


def _keeps_row(level, row, performance, promote, demote, patience, top):
    new, _ = adapt(level, row, performance, promote, demote, patience, top)
    if performance >= promote:
        return new, max(row, 0) + 1
    return new, min(row, 0) - 1 if performance < demote else 0


def _holds_row(level, row, performance, promote, demote, patience, top):
    if demote <= performance < promote:
        return level, row
    return adapt(level, row, performance, promote, demote, patience, top)


EXERCISES = (
    Exercise(
        "07.1",
        "A root schedule starts with a tenth of the data and opens all of it by step 2,000. Which share of the windows, easiest "
        "first, may be drawn at step 500?",
        number(
            _COMPETENCE,
            rel=0.005,
            diagnoses=[
                (0.25 * 0.9 + 0.1, "this is the linear schedule; the root rises faster at first."),
                (0.25**0.5, "the start is missing: at step 0 this formula gives 0, not a tenth."),
                (
                    (0.25 * 0.9 + 0.1) ** 0.5,
                    "under the root the start is squared, so that at step 0 a tenth comes out.",
                ),
                (0.25 * (1 - 0.1**2) + 0.1**2, "the root itself has not been taken yet."),
            ],
            right="Twice the quarter of the way that a straight line has gone.",
        ),
        (
            "The formula is c(t) = min(1, √(t·(1 − c₀²)/T + c₀²)). What are t, T and c₀ here?",
            "t/T = 500/2000 = 0.25 and c₀ = 0.1.",
            "√(0.25 · 0.99 + 0.01).",
        ),
        "answer = (500 / 2000 * (1 - 0.1**2) + 0.1**2) ** 0.5",
        wrong=(
            (0.25 * 0.9 + 0.1, "linear"),
            (0.5, "start is missing"),
            (0.57009, "squared"),
            (_COMPETENCE**2, "root itself"),
        ),
    ),
    Exercise(
        "07.2",
        "Write one step of an adaptive schedule with hysteresis: `update(level, row, performance, promote, "
        "demote, patience, top)` "
        "returns the new level (0 to `top`) and the new row. `row` counts good evaluations (at least `promote`) "
        "in a row upwards from "
        "0, bad ones (below `demote`) downwards; one in between sets it to 0. When `patience` is reached, the level moves by one "
        "(and stays within 0 to top) and the row starts again at 0.",
        function(
            adapt,
            [
                (1, 1, 0.9, 0.8, 0.5, 2, 3),
                (1, 0, 0.9, 0.8, 0.5, 2, 3),
                (1, 1, 0.6, 0.8, 0.5, 2, 3),
                (1, -1, 0.2, 0.8, 0.5, 2, 3),
                (3, 1, 0.9, 0.8, 0.5, 2, 3),
                (0, -1, 0.2, 0.8, 0.5, 2, 3),
                (1, -1, 0.9, 0.8, 0.5, 2, 3),
                (2, -2, 0.6, 0.8, 0.5, 3, 3),
                (2, 1, 0.1, 0.8, 0.5, 3, 3),
                (1, 0, 0.8, 0.8, 0.5, 1, 3),
                (1, 0, 0.5, 0.8, 0.5, 1, 3),
            ],
            diagnoses=[
                (_impatient, "patience is ignored: one evaluation moves the level at once."),
                (_no_gap, "no hysteresis: between demote and promote nothing may count as bad."),
                (_unbounded, "the level leaves 0 to top."),
                (
                    _keeps_row,
                    "after a move the row starts again at 0, or the next evaluation moves the level once more.",
                ),
                (_holds_row, "an evaluation between the thresholds breaks the row: it becomes 0."),
            ],
            right="Folded over all evaluations so far, this is d[t+1] = Schedule(d[t], performance[t]).",
        ),
        (
            "Three cases of performance: good, bad, in between. What happens to `row` in each?",
            "Good: max(row, 0) + 1. Bad: min(row, 0) − 1. In between: 0.",
            "If abs(row) has reached patience: move by the sign of row, keep within 0 and top with min and max, return row 0.",
        ),
        """def update(level, row, performance, promote, demote, patience, top):
    if performance >= promote:
        row = max(row, 0) + 1
    elif performance < demote:
        row = min(row, 0) - 1
    else:
        row = 0
    if abs(row) < patience:
        return level, row
    return min(max(level + (1 if row > 0 else -1), 0), top), 0

answer = update""",
        wrong=(
            (_impatient, "patience is ignored"),
            (_no_gap, "no hysteresis"),
            (_unbounded, "leaves 0 to top"),
            (_keeps_row, "starts again at 0"),
            (_holds_row, "breaks the row"),
        ),
        placeholder=lambda level, row, performance, promote, demote, patience, top: ...,
    ),
    Exercise(
        "07.3",
        "A report: 'Three stages, easy, middle, hard, a third of the steps each; one learning rate that decays "
        "to zero by a cosine over "
        "the whole run. Compared with the reverse order at equal tokens, on the hard text, five seeds: easy → hard is "
        "worse. So hard text should come first.' Which doubt goes to its heart: 'seeds', 'tokens', 'decay' or 'model'?",
        choice(
            "decay",
            {
                "decay": "",
                "seeds": "five seeds that agree show that the difference is real; the question is what made it.",
                "tokens": "both orders see the same tokens of each stage. But do they see them at the same rate?",
                "model": "another model may give another answer; first, is the comparison fair at this one?",
            },
            right="The stage that comes last is learned at a rate near zero: what was moved is the rate, "
            "together with the order.",
        ),
        (
            "What else, besides the text, differs between the first stage and the last?",
            "In the last third of a cosine the rate is below a quarter of its peak. Which text is read then?",
            "Easy → hard reads the hard text, the one that is scored, at the lowest rates.",
        ),
        'answer = "decay"',
        wrong=(("seeds", "difference is real"), ("tokens", "same rate"), ("model", "comparison fair")),
    ),
    Exercise(
        "07.4",
        "A model costs 1.6e5 FLOPs a token with windows of 256 tokens and 0.65e5 with windows of 8. For the "
        "first half of its tokens the "
        "windows are 8 long, then 256. At equal FLOPs, how many times as many tokens may it read as the model "
        "with 256 throughout?",
        number(
            1.6 / ((1.6 + 0.65) / 2),
            rel=0.01,
            diagnoses=[
                ((1.6 + 0.65) / 2 / 1.6, "the other way round: this is the cost of the same tokens."),
                (1.6 / 0.65, "that is for windows of 8 all the time; half of the tokens cost full price."),
                (
                    (1 + 1.6 / 0.65) / 2,
                    "average the costs per token, not the tokens per cost: half of the TOKENS are short.",
                ),
            ],
            right="These extra tokens are why equal tokens and equal FLOPs can give different verdicts.",
        ),
        (
            "What does a token cost on average over the run?",
            "(1.6e5 + 0.65e5)/2 = 1.125e5 FLOPs.",
            "Equal FLOPs: tokens · 1.125e5 = tokens₀ · 1.6e5.",
        ),
        "answer = 1.6e5 / ((1.6e5 + 0.65e5) / 2)",
        wrong=(
            (1.125 / 1.6, "other way round"),
            (1.6 / 0.65, "all the time"),
            ((1 + 1.6 / 0.65) / 2, "average the costs"),
        ),
    ),
    Exercise(
        "07.5",
        "Our layer norm has no gain and no bias: it takes off the mean over all channels and divides by their "
        "deviation. Which of "
        "these growths changes the outputs: 'zero blocks' (new blocks whose output matrices are zero), "
        "'duplicate' (every channel twice, what reads "
        "them halved), 'pad' (as many new channels, all zero, and zero weights for them)?",
        choice(
            "pad",
            {
                "pad": "",
                "zero blocks": "a block adds to the residual stream what comes out of its output matrices: with "
                "zeros there, nothing.",
                "duplicate": "a vector with each entry twice has the same mean and the same deviation, and half "
                "of two equal parts is the whole.",
            },
            right="The deviation over twice as many channels, half of them zero, is smaller: every kept channel "
            "comes out larger.",
        ),
        (
            "Take (1, −1): what does layer norm make of it? And of (1, −1, 1, −1)? And of (1, −1, 0, 0)?",
            "Deviations: 1, 1 and 1/√2.",
            "Dividing by 1/√2 makes every kept channel √2 times as large.",
        ),
        'answer = "pad"',
        wrong=(("zero blocks", "adds to the residual"), ("duplicate", "same deviation")),
    ),
)
