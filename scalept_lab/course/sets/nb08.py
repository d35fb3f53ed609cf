"""Exercises of notebook 08: IsoFLOP minima, optima at the edge, the compute-optimal split, mean against sum."""

from __future__ import annotations

import numpy as np

from scalept_lab.course.answers import choice, function, number, several
from scalept_lab.course.exercises import Exercise
from scalept_lab.laws.formulas import LAWS

BUDGET = 1e22
_hoffmann = LAWS["hoffmann"]
_best = _hoffmann.optimal(BUDGET)
_without_six = _hoffmann.optimal(BUDGET, 1.0)
_alpha, _beta = _hoffmann.params["alpha"], _hoffmann.params["beta"]


def _vertex(logN, L):
    p2, p1, _ = np.polyfit(np.asarray(logN) - np.mean(logN), L, 2)
    return float(np.mean(logN) - p1 / (2 * p2))


def _best_run(logN, L):
    return float(np.asarray(logN)[int(np.argmin(L))])


def _size(logN, L):
    return float(np.exp(_vertex(logN, L)))


def _loss(logN, L):
    return float(np.polyval(np.polyfit(logN, L, 2), _vertex(logN, L)))


def _forgot_two(logN, L):
    p2, p1, _ = np.polyfit(logN, L, 2)
    return float(-p1 / p2)


def _slices() -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (np.log([6e3, 14e3, 25e3, 38e3]), np.array([2.16, 2.09, 2.10, 2.17])),
        (np.log([1e4, 2e4, 4e4, 8e4]), np.array([2.41, 2.33, 2.31, 2.36])),
        (np.log([1e8, 3e8, 1e9, 3e9, 1e10]), np.array([2.62, 2.48, 2.44, 2.50, 2.66])),
    ]


ISOFLOP = Exercise(
    id="08.1",
    question="Write isoflop_minimum(logN, L): log N where the parabola through the runs of one slice is lowest.",
    check=function(
        _vertex,
        _slices,
        diagnoses=(
            (
                _best_run,
                "that is the best of the runs, which can only be a size that was tried; fit a parabola.",
            ),
            (_size, "that is N itself; the function returns log N."),
            (_loss, "that is the loss at the minimum; the function returns log N there."),
            (_forgot_two, "the derivative of p2·x² is 2·p2·x: a factor of 2 is missing."),
        ),
        right="Those are the diamonds of the figure above.",
    ),
    hints=(
        "np.polyfit(x, y, 2) returns the three coefficients of a parabola, the highest power first.",
        "With L = p2·x² + p1·x + p0 the lowest point is where the derivative 2·p2·x + p1 is zero.",
        "Three lines: unpack np.polyfit(logN, L, 2), solve 2·p2·x + p1 = 0 for x, return x.",
    ),
    solution="""
import numpy as np

def isoflop_minimum(logN, L):
    p2, p1, p0 = np.polyfit(logN, L, 2)
    return -p1 / (2 * p2)

answer = isoflop_minimum
""",
    wrong=(
        (_best_run, "a size that was tried"),
        (_size, "returns log N."),
        (_loss, "the loss at the minimum"),
        (_forgot_two, "a factor of 2 is missing."),
    ),
    placeholder=lambda logN, L: ...,
)

EXPONENT = Exercise(
    id="08.2",
    question="Under Hoffmann's law and C = 6·N·D: what is the slope a of log N_opt against log C, found numerically?",
    check=number(
        _beta / (_alpha + _beta),
        rel=0.005,
        diagnoses=(
            (
                _alpha / (_alpha + _beta),
                "that is b, the exponent of D_opt: the tokens grow as C^b with b = 1 − a.",
            ),
            ((_alpha + _beta) / _beta, "that is the slope of log C against log N; exchange the two."),
            (
                1 / (_alpha + _beta),
                "close to the derivation, but the numerator is missing; measure the slope.",
            ),
            (0.5, "one half holds when α = β; here the loss falls faster with N than with D."),
        ),
        slips=(),
        right="It is β/(α + β): the more slowly loss falls with data, the more of the compute goes to data.",
    ),
    hints=(
        "At fixed C every N determines D = C/(6N); the loss is then a function of N alone. Where is it lowest?",
        "Try a fine grid of N at two budgets, say 1e20 and 1e22, and take the best N of each.",
        "a = (log N2 − log N1)/(log C2 − log C1), with N1 and N2 the best sizes at C1 and C2.",
    ),
    solution="""
import numpy as np
from scalept_lab.laws.formulas import LAWS

def best_size(C):
    N = np.geomspace(1e6, 1e13, 200_001)
    return N[np.argmin(LAWS["hoffmann"](N, C / (6 * N)))]

answer = np.log(best_size(1e22) / best_size(1e20)) / np.log(1e22 / 1e20)
""",
    wrong=(
        (_alpha / (_alpha + _beta), "the exponent of D_opt"),
        ((_alpha + _beta) / _beta, "exchange the two."),
        (1 / (_alpha + _beta), "the numerator is missing"),
        (0.5, "one half holds when"),
    ),
)

SPLIT = Exercise(
    id="08.3",
    question="You have 1e22 FLOPs. Which N and D are compute-optimal under Hoffmann's constants, with C = 6·N·D?",
    check=several(
        N=number(
            _best.N,
            rel=0.02,
            diagnoses=(
                (_best.D, "this is the number of tokens; N and D are exchanged."),
                (_without_six.N, "this spends C = N·D; a token costs 6·N FLOPs in training."),
                (
                    (BUDGET / 120) ** 0.5,
                    "this is the rule of 20 tokens per parameter; what do these constants say?",
                ),
            ),
        ),
        D=number(
            _best.D,
            rel=0.02,
            diagnoses=(
                (BUDGET / _best.N, "this spends C = N·D; divide by 6·N."),
                (20 * _best.N, "this is 20 tokens per parameter; D follows from C = 6·N·D."),
            ),
        ),
    ),
    hints=(
        "Put D = C/(6N) into the law: one unknown is left.",
        "Setting the derivative to zero gives N = G·(C/6)^a with a = β/(α+β) and G = (α·A/(β·B))^(1/(α+β)).",
        'The law can do it: LAWS["hoffmann"].optimal(1e22) has the attributes N and D.',
    ),
    solution="""
from scalept_lab.laws.formulas import LAWS

p = LAWS["hoffmann"].params
total = p["alpha"] + p["beta"]
G = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / total)
N = G * (1e22 / 6) ** (p["beta"] / total)
answer = {"N": N, "D": 1e22 / (6 * N)}
""",
    wrong=(
        ({"N": _best.D, "D": _best.N}, "N and D are exchanged."),
        ({"N": _without_six.N, "D": _without_six.D}, "a token costs 6·N"),
        (
            {"N": (BUDGET / 120) ** 0.5, "D": 20 * (BUDGET / 120) ** 0.5},
            "the rule of 20 tokens per parameter",
        ),
        ({"N": _best.N, "D": BUDGET / _best.N}, "divide by 6·N."),
        ({"N": _best.N, "D": 20 * _best.N}, "D follows from C"),
    ),
    placeholder={"N": ..., "D": ...},
)

EDGE = Exercise(
    id="08.4",
    question="Four slices of equal compute: whose optimum must not go into a fit of N_opt against C?",
    check=choice(
        "C",
        {
            "A": "its lowest loss stands at the third of four sizes, with higher losses on both sides.",
            "B": "it is flat near the bottom, but the loss rises to both sides of the lowest run.",
            "C": "",
            "D": "its sizes are the largest of all, but the best of them has a worse neighbour on both sides.",
        },
        right="The loss still falls at the largest size tried: the slice says 'larger', and not how much larger.",
    ),
    hints=(
        "An optimum is bracketed when a smaller and a larger size both do worse.",
        "Find the lowest loss of each slice and see which column it stands in.",
        "In one slice the lowest loss stands in the last column, so nothing larger was tried.",
    ),
    solution='answer = "C"  # 1.96 at the largest size: the minimum may lie anywhere beyond',
    wrong=(("A", "the third of four sizes"), ("B", "rises to both sides"), ("D", "worse neighbour")),
)

MEAN = Exercise(
    id="08.5",
    question="Dividing the objective by the number of points moves no minimum. Why does the fit come out differently?",
    check=choice(
        "tolerance",
        {
            "minimum": "a positive factor scales the hill and leaves its lowest point where it was.",
            "tolerance": "",
            "outliers": "every point keeps its share of the total, so outliers weigh what they weighed before.",
            "delta": "Huber's delta is a width in log loss; it is the same for the sum and for the mean.",
        },
        right="All slopes are 240 times smaller, so an optimizer with a fixed tolerance is content far too early.",
    ),
    hints=(
        "A constant factor moves no minimum, and weighs no point differently against another.",
        "So the question is not what is minimised, but when the optimizer is content.",
        "L-BFGS ends when the gradient, or the progress of a step, falls below a fixed small number.",
    ),
    solution='answer = "tolerance"  # fixed thresholds on gradient and progress, met 240 times sooner',
    wrong=(
        ("minimum", "leaves its lowest point"),
        ("outliers", "keeps its share"),
        ("delta", "a width in log loss"),
    ),
)

EXERCISES = (ISOFLOP, EXPONENT, SPLIT, EDGE, MEAN)
