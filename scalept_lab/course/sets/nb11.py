"""Exercises of notebook 11, inference efficiency: a grid for weights, GPTQ's columns, a teacher's loss, a Pareto front.

A build's solution is the source of a function of this module; its skeleton is what stands above the body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from scalept_lab.course.answers import build, choice, number, several
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.sets import nb11_decoding
from scalept_lab.course.sets.pieces import NUMPY, skeleton, slips, source

if TYPE_CHECKING:
    from torch import Tensor


CALLABLE = "from collections.abc import Callable\n\n"
TENSOR = "from torch import Tensor\n\n\n"


def _kits(name: str) -> Any:
    """A piece of the kit, which loads torch only when it is asked for."""
    from scalept_lab.compress import gptq

    return getattr(gptq, name)


# --- the pieces that the learner writes -----------------------------------------------------------------------


def quantize(rows: np.ndarray, bits: int) -> tuple:
    """Affine quantization with a grid for each row.

    rows  (R, K) floats; bits  of an integer
    Returns (q, scale, zero): q (R, K), whole numbers from 0 to 2^bits − 1; scale (R,), the distance between marks; zero (R,),
    the whole number that stands for 0. The marks of a row reach from its smallest number to its largest, and as far as 0 where
    all have one sign. A row of zeros gets scale 1. Ties go to the even number, as np.round has it.
    """
    top = 2**bits - 1
    low = np.minimum(rows.min(axis=1), 0.0)
    high = np.maximum(rows.max(axis=1), 0.0)
    scale = (high - low) / top
    scale = np.where(scale > 0, scale, 1.0)
    zero = np.round(-low / scale)
    q = np.round(rows / scale[:, None]) + zero[:, None]
    return np.clip(q, 0, top), scale, zero


def compensated(weight: Tensor, hessian: Tensor, rule: Callable, damping: float = 0.01) -> Tensor:
    """GPTQ's loop over the columns of a matrix: each is changed, and the later ones make up for it.

    weight   (O, I); hessian  (I, I), XᵀX of the inputs, divided by their number
    rule     rule(W, j) is what column j becomes, (O,), W being the matrix as it stands by then
    damping  this share of the hessian's mean diagonal is added to its diagonal
    U is the upper triangular matrix for which UᵀU is the inverse of the damped hessian. The error of column j (W's minus the
    rule's), divided by U[j, j], times U[j, k], is subtracted from every later column k.
    Returns the changed columns, (O, I), float64; the inputs stay as they are.
    """
    import torch

    W, H = weight.double().clone(), hessian.double().clone()
    H = H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=H.dtype, device=H.device)
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    made = torch.zeros_like(W)
    for j in range(W.shape[1]):
        made[:, j] = rule(W, j)
        error = (W[:, j] - made[:, j]) / U[j, j]
        W[:, j + 1 :] -= torch.outer(error, U[j, j + 1 :])
    return made


def two_of_four(size: Tensor) -> Tensor:
    """The mask of 2:4 sparsity.

    size  (O, I), how much each weight matters; I is a multiple of 4
    Returns (O, I), True for the two largest of each four neighbours in a row (columns 0 to 3, 4 to 7, …); of equal ones the
    earlier stays.
    """
    import torch

    fours = size.reshape(len(size), -1, 4)
    order = fours.argsort(dim=-1, descending=True, stable=True)
    mask = torch.zeros(fours.shape, dtype=torch.bool, device=size.device)
    mask.scatter_(-1, order[:, :, :2], True)
    return mask.reshape(size.shape)


def distillation(student: np.ndarray, teacher: np.ndarray, targets: np.ndarray, T: float, w: float) -> tuple:
    """The loss of a student with a teacher, and its gradient.

    student, teacher  logits (n, V); targets  (n,), the tokens that came; T  temperature; w  weight of the teacher
    Returns (loss, gradient): (1 − w) · cross-entropy + w · T² · KL(softmax(teacher / T) ‖ softmax(student / T)), the mean over
    the n tokens, in nats; and its derivative with respect to the student's logits, (n, V). Logits may be as large as 1,000.
    """

    def log_softmax(x):
        x = x - x.max(axis=1, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=1, keepdims=True))

    n = len(student)
    came = np.zeros(student.shape)
    came[np.arange(n), targets] = 1.0
    log_p, log_q, log_s = log_softmax(teacher / T), log_softmax(student / T), log_softmax(student)
    p = np.exp(log_p)
    hard = -(came * log_s).sum() / n
    soft = T**2 * (p * (log_p - log_q)).sum() / n
    gradient = (1 - w) * (np.exp(log_s) - came) / n + w * T * (np.exp(log_q) - p) / n
    return (1 - w) * hard + w * soft, gradient


def front(points: list) -> list:
    """Which points are on the Pareto front.

    points  pairs (cost, loss), in any order; less is better in both
    Returns a list of True and False, one for each point. A point is off the front if another one is at most as large in both
    numbers and smaller in one of them. Two equal points do not beat each other.
    """
    found = []
    for cost, loss in points:
        beaten = False
        for other_cost, other_loss in points:
            as_good = other_cost <= cost and other_loss <= loss
            better = other_cost < cost or other_loss < loss
            beaten = beaten or (as_good and better)
        found.append(not beaten)
    return found


# --- what they are tried on -----------------------------------------------------------------------------------

ROWS: dict[str, tuple[list, int]] = {
    "a row of ordinary weights": ([[-0.25, 0.0, 0.11, 0.5]], 8),
    "two rows, two grids": ([[-1.0, -0.4, 0.3, 2.0], [0.02, -0.01, 0.03, -0.05]], 4),
    "all above zero": ([[0.31, 0.52, 0.97]], 3),
    "all below zero": ([[-0.7, -0.2, -0.1]], 5),
    "two bits, a mark too many": ([[-1.5, 1.5]], 2),
    "a zero point that is rounded": ([[-0.3, 0.12, 0.5]], 2),
    "halves": ([[0.0, 0.5, 1.5, 2.5, 3.0]], 2),
    "a row of zeros": ([[0.0, 0.0], [-1.0, 3.0]], 4),
}
MANY = [(0.2, 1.9), (0.5, 1.7), (0.5, 1.7), (0.3, 1.9), (1.8, 1.8), (0.9, 1.65), (0.2, 2.0), (1.0, 1.65)]


def _rows() -> list:
    return [(np.array(rows), bits) for rows, bits in ROWS.values()]


def quarters(W: Tensor, j: int) -> Tensor:
    """A rule: the nearest quarter."""
    return (4 * W[:, j]).round() / 4


def first_two_away(W: Tensor, j: int) -> Tensor:
    """A rule: the first two columns become zero."""
    return 0 * W[:, j] if j < 2 else W[:, j]


def _matrices() -> list:
    import torch

    made = np.random.default_rng(11)
    weight, inputs = (
        made.standard_normal((3, 6)),
        made.standard_normal((40, 6)) @ made.standard_normal((6, 6)),
    )
    dead = inputs.copy()
    dead[:, 2] = 0.0  # a channel that is never active
    W, H, D = (torch.from_numpy(x) for x in (weight, inputs.T @ inputs / 40, dead.T @ dead / 40))
    two = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    return [
        (torch.tensor([[0.37, 0.3]], dtype=torch.float64), two, quarters, 0.01),
        (W, H, quarters, 0.01),
        (W, 100 * H, first_two_away, 0.1),
        (W, D, quarters, 0.01),
        (W, torch.eye(6, dtype=torch.float64), quarters, 0.01),
    ]


def _sizes() -> list:
    import torch

    made = np.random.default_rng(4)
    return [
        (torch.tensor([[0.1, 0.4, 0.3, 0.2]]),),
        (torch.from_numpy(made.random((3, 8))),),
        (torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0, 2.0, 0.0, 0.0]]),),
        (torch.from_numpy(made.random((2, 16)) * np.geomspace(1, 100, 16)),),
    ]


def _logits() -> list:
    made = np.random.default_rng(5)
    student, teacher, targets = (
        made.standard_normal((4, 6)),
        2 * made.standard_normal((4, 6)),
        np.array([0, 5, 2, 2]),
    )
    return [
        (np.zeros((1, 2)), np.array([[2.0, 0.0]]), np.array([0]), 2.0, 1.0),
        (student, teacher, targets, 1.0, 0.5),
        (student, teacher, targets, 3.0, 0.7),
        (student, teacher, targets, 2.0, 0.0),
        (600 * student, 600 * teacher, targets, 2.0, 0.5),
    ]


# --- the slips ------------------------------------------------------------------------------------------------

_GRID_DIAGNOSES, _GRID_SLIPS = slips(
    quantize,
    ("np.clip(q, 0, top), scale", "q, scale", "not clamped", "the numbers are not clamped: a half at one end, rounded "
    "with the zero "
     "point's half, can land one mark outside of 0 … 2^bits − 1."),
    ("np.round(rows / scale[:, None]) + zero[:, None]", "np.round((rows - low[:, None]) / scale[:, None])", "from the lowest",
     "you count marks from the lowest number, and round once; here x / s and the zero point are rounded each for itself, or 0 "
     "would not come back as exactly 0."),
    ("top = 2**bits - 1\n", "top = 2**bits\n", "one integer more", "2^bits numbers have 2^bits − 1 steps between "
    "them: yours would "
     "need one integer more."),
    ("np.minimum(rows.min(axis=1), 0.0)", "rows.min(axis=1)", "does not hold 0", "the range does not hold 0 where all "
    "numbers are "
     "above it: a weight of 0 must come back as exactly 0."),
    ("np.maximum(rows.max(axis=1), 0.0)", "rows.max(axis=1)", "all numbers are below", "the range does not hold 0 "
    "where all numbers "
     "are below it: a weight of 0 must come back as exactly 0."),
    (" + zero[:, None]", "", "zero point is not added", "negative numbers all end at 0: the zero point is not added."),
    ("rows / scale[:, None]", "rows * scale[:, None]", "divide by it", "you multiply by the scale; it is the width of a step, so "
     "divide by it."),
    ("    scale = np.where(scale > 0, scale, 1.0)\n", "", "row of zeros", "a row of zeros divides by a step of 0."),
    ("rows.min(axis=1), 0.0)\n    high = np.maximum(rows.max(axis=1), 0.0)", "np.full(len(rows), rows.min()), 0.0)\n    high = "
     "np.maximum(np.full(len(rows), rows.max()), 0.0)", "share one grid", "all rows share one grid: each row has its "
     "own smallest "
     "and largest number."),
    ("np.round(rows / scale[:, None])", "np.floor(rows / scale[:, None] + 0.5)", "halves", "halves go up in yours; "
    "np.round sends "
     "them to the even number."),
)  # fmt: skip

# Several slips, one result: what any of them gives is what rounding to nearest gives.
_NOTHING = (
    "the later columns make up for nothing: this is rounding to nearest. Either nothing is subtracted from them, or "
    "the rule is given "
    "the matrix of the start, or the factor is the lower triangle (nothing stands to the right of its diagonal), or "
    "the error is taken "
    "after column j was overwritten."
)
_COLUMN_DIAGNOSES, _COLUMN_SLIPS = slips(
    compensated,
    ("        W[:, j + 1 :] -= torch.outer(error, U[j, j + 1 :])\n", "", "nothing is subtracted", _NOTHING),
    ("W[:, j + 1 :] -=", "W[:, j + 1 :] +=", "the sign", "the sign: the correction is subtracted from the later columns."),
    ("torch.linalg.cholesky(torch.linalg.inv(H), upper=True)", "torch.linalg.cholesky(H, upper=True)", "of the inverse",
     "this is the factor of H; GPTQ's is the factor of the inverse of H."),
    (" / U[j, j]\n", "\n", "divided by U", "the error is not divided by U[j, j]."),
    (" * H.diagonal().mean()", "", "mean diagonal", "the damping is a share of the mean diagonal, not a number by itself."),
    ("    return made", "    return W", "changed columns", "you return what was left to be changed; asked are the changed "
     "columns."),
)  # fmt: skip

_FOUR_DIAGNOSES, _FOUR_SLIPS = slips(
    two_of_four,
    ("descending=True, stable=True", "descending=False, stable=True", "smallest", "you keep the two smallest of four."),
    ("order[:, :, :2]", "order[:, :, :1]", "one of four", "you keep one of four."),
    ("    mask.scatter_(-1, order[:, :, :2], True)\n    return mask.reshape(size.shape)",
     "    return size > size.median(dim=1, keepdim=True).values", "larger half", "you keep the larger half of each row; "
     "2:4 asks for two of each four neighbours."),
    ("size.reshape(len(size), -1, 4)", "size.T.reshape(size.shape[1], -1, 4) if len(size) % 4 == 0 else "
     "size.reshape(len(size), 4, -1).transpose(1, 2)", "neighbours", "your fours are not neighbours: they lie I/4 "
     "columns apart."),
    ("    mask.scatter_(-1, order[:, :, :2], True)\n    return mask.reshape(size.shape)",
     "    mask = fours >= fours.sort(dim=-1, descending=True).values[:, :, 1:2]\n    return "
     "mask.reshape(size.shape)", "equal ones",
     "of equal ones you keep all, which may be more than two."),
    ("    return mask", "    return ~mask", "the other way", "the mask is the other way round: True is for what stays."),
)  # fmt: skip

_TEACHER_DIAGNOSES, _TEACHER_SLIPS = slips(
    distillation,
    ("soft = T**2 * (p", "soft = (p", "T² is missing in the loss", "T² is missing in the loss, though the gradient has it."),
    ("w * T * (np.exp", "w * T**2 * (np.exp", "gives back a factor", "the soft part's gradient is T times too large: "
    "student / T gives "
     "back a factor 1 / T when you differentiate."),
    ("w * T * (np.exp", "w / T * (np.exp", "T² is missing in the gradient", "T² is missing in the gradient: without "
    "it the soft part "
     "fades as T grows."),
    ("soft = T**2 * (p * (log_p - log_q))", "soft = T**2 * (np.exp(log_q) * (log_q - log_p))", "other way round",
     "your KL is the "
     "other way round: the probabilities in front of the logarithms are the teacher's."),
    ("soft = T**2 * (p * (log_p - log_q))", "soft = T**2 * (-p * log_q)", "entropy", "this is the cross-entropy with "
    "the teacher; KL "
     "takes the teacher's own entropy off, so that it is 0 where both agree."),
    ("log_softmax(student / T), log_softmax(student)", "log_softmax(student), log_softmax(student)", "both are softened",
     "the student's logits are not divided by T: both are softened."),
    ("log_softmax(student / T), log_softmax(student)", "log_softmax(student / T), log_softmax(student / T)", "text is "
    "not softened",
     "the cross-entropy with the text is not softened: T belongs to the comparison with the teacher alone."),
    ("(1 - w) * hard + w * soft", "w * hard + (1 - w) * soft", "weights are swapped", "the weights are swapped in the "
    "loss: w is the "
     "teacher's."),
    ("        x = x - x.max(axis=1, keepdims=True)\n", "", "overflows", "exp of a logit of 1,000 overflows: take the "
    "largest one off "
     "first."),
    (" / n + w * T * (np.exp(log_q) - p) / n", " + w * T * (np.exp(log_q) - p)", "mean", "the gradient is that of the "
    "sum over tokens; "
     "the loss is their mean."),
)  # fmt: skip

_FRONT_DIAGNOSES, _FRONT_SLIPS = slips(
    front,
    ("as_good and better", "as_good", "equal", "a point beats itself in yours, and equal points beat each other: to be better in "
     "one number is asked, too."),
    ("other_cost <= cost and other_loss <= loss", "other_cost < cost and other_loss < loss", "ties", "with ties in "
    "one number yours "
     "leaves too many on the front: as small in one and smaller in the other is enough to beat."),
    ("other_cost <= cost and other_loss <= loss", "other_loss <= loss", "loss alone", "you compare the loss alone: "
    "only the point of "
     "lowest loss is left."),
    ("other_cost <= cost and other_loss <= loss", "other_cost <= cost", "cost alone", "you compare the cost alone."),
    ("found.append(not beaten)", "found.append(beaten)", "beaten ones", "True stands for the beaten ones in yours."),
)  # fmt: skip

# --- numbers of the other exercises ---------------------------------------------------------------------------

_WIDTH, _DEPTH, _VOCABULARY = 128, 2, 256
_MATRICES = 12 * _DEPTH * _WIDTH**2 + _VOCABULARY * _WIDTH  # blocks and output layer
_TABLE = _VOCABULARY * _WIDTH
_ROWS = 9 * _DEPTH * _WIDTH + _VOCABULARY
_FP32 = 4 * (_MATRICES + _TABLE)
_LINEAR = (_MATRICES + 4 * _ROWS + 4 * _TABLE) / _FP32
_ALL = (_MATRICES + 4 * _ROWS + _TABLE + 4 * _VOCABULARY) / _FP32

EXERCISES = (
    Exercise(
        "11.1",
        "An article gives the formula Q = scale · (x − bias). With scale 0.01 and bias 0 it turns −0.25 into −0.0025. "
        "What is wrong "
        'with it: "multiply", "bias", "clamp" or "sign"? And which signed integer should −0.25 become (zero point 0)?',
        several(
            fault=choice(
                "multiply",
                {
                    "multiply": "",
                    "bias": "a bias of 0 is harmless: zero may well be kept at 0. Look at what the formula does to the unit.",
                    "clamp": "clamping is missing as well, but -0.0025 is far inside the range; it would change nothing here.",
                    "sign": "signed integers hold negative numbers: -128 to 127 in 8 bits.",
                },
                right="The scale is the width of a step: how many steps fit into x is a division. Multiplied, every weight "
                "rounds to 0. (Some authors call 1/s the scale, and may multiply. Then a step of 0.01 is a scale of 100.)",
            ),
            q=number(
                -25,
                rel=1e-6,
                diagnoses=[
                    (
                        -0.0025,
                        "that is what the article has: no integer, and 0 when rounded. How many steps of 0.01 is -0.25?",
                    ),
                    (0, "that is the article's -0.0025, rounded: every weight ends there. Divide."),
                    (103, "that is with a zero point of 128; here the zero point is 0."),
                    (231, "that is the pattern of bits read without a sign; signed integers are asked for."),
                ],
            ),
        ),
        (
            "Read the formula backwards: x ≈ s (q - z). If q counts steps, what is s?",
            "s is the width of one step. Which operation tells how many steps of that width fit into x?",
            "Divide -0.25 by 0.01, then round.",
        ),
        'answer = {"fault": "multiply", "q": round(-0.25 / 0.01)}',
        kind="compute",
        minutes=4,
        difficulty=1,
        wrong=(
            (("bias", -25), "harmless"),
            (("clamp", -25), "far inside"),
            (("sign", -25), "signed integers"),
            (("multiply", -0.0025), "no integer"),
            (("multiply", 0), "rounded"),
            (("multiply", 103), "zero point of 128"),
            (("multiply", 231), "without a sign"),
        ),
        placeholder={"fault": ..., "q": ...},
    ),
    Exercise(
        "11.2",
        "Write quantize(rows, bits): the whole numbers, the scale and the zero point of every row, as the formula has "
        "it: x / s and "
        "the zero point are rounded each for itself, and their sum is clamped.",
        build(
            quantize,
            _rows,
            names=list(ROWS),
            rel=1e-9,
            diagnoses=_GRID_DIAGNOSES,
            right="This is all that 8 bits do to a weight; libraries differ in how they choose the range.",
        ),
        (
            "Low and high of each row first: the smallest number or 0, the largest or 0. How many steps lie between them?",
            "A row's scale has the shape (R,), its numbers (R, K): scale[:, None] fits. A step of 0 needs np.where.",
            "The zero point is the rounded −low / scale; q is the rounded rows / scale, plus the zero point, then "
            "clipped at both ends.",
        ),
        source(quantize, NUMPY),
        kind="build",
        minutes=12,
        difficulty=2,
        wrong=_GRID_SLIPS,
        skeleton=skeleton(quantize),
        own=lambda: quantize,
    ),
    Exercise(
        "11.3",
        "Our model has width 128, two blocks, 256 tokens and no biases. Each row of a matrix gets 8-bit integers and "
        "one fp32 scale. "
        "What share of the fp32 bytes is left if the embedding table stays in fp32 (linear), and what if it is "
        "quantized by rows as "
        "well (all)?",
        several(
            linear=number(
                _LINEAR,
                rel=0.016,
                diagnoses=[
                    (
                        0.25,
                        "a quarter is the 8-bit numbers alone; the embedding table keeps its 4 bytes, and scales come on top.",
                    ),
                    (
                        (_MATRICES + 4 * _TABLE) / _FP32,
                        "you left out the scales: 4 bytes for each row of each matrix.",
                    ),
                    (_ALL, "that is with the embedding table quantized too."),
                ],
            ),
            all=number(
                _ALL,
                rel=0.016,
                diagnoses=[
                    (0.25, "a quarter is the 8-bit numbers alone: each row also has a scale of 4 bytes."),
                    (_LINEAR, "that is with the embedding table still in fp32."),
                ],
            ),
        ),
        (
            "A block has 12 · width² weights; output layer and embedding table have 256 · width each.",
            "Rows (outputs) of a block: 3 w for queries, keys and values, w for the output, 4 w up, w down; 256 of the output "
            "layer.",
            "linear = (matrices + 4 · rows + 4 · table) / (4 · everything). In `all` the table has 1 byte a number and 256 "
            "scales.",
        ),
        """w, depth, vocabulary = 128, 2, 256
matrices, table = 12 * depth * w**2 + vocabulary * w, vocabulary * w
rows = 9 * w * depth + vocabulary
fp32 = 4 * (matrices + table)
answer = {
    "linear": (matrices + 4 * rows + 4 * table) / fp32,
    "all": (matrices + 4 * rows + table + 4 * vocabulary) / fp32,
}""",
        kind="compute",
        minutes=6,
        difficulty=2,
        wrong=(
            ((0.25, _ALL), "keeps its 4 bytes"),
            (((_MATRICES + 4 * _TABLE) / _FP32, _ALL), "left out the scales"),
            ((_ALL, _ALL), "quantized too"),
            ((_LINEAR, 0.25), "scale of 4 bytes"),
            ((_LINEAR, _LINEAR), "still in fp32"),
        ),
        placeholder={"linear": ..., "all": ...},
    ),
    Exercise(
        "11.4",
        "Write compensated(weight, hessian, rule, damping): the loop over columns that GPTQ and SparseGPT share. It "
        "is tried with "
        "rules that round and rules that set to zero, on inputs that belong together, on one that is never active, and on inputs "
        "that have nothing to do with each other.",
        build(
            lambda *given: compensated(*given),
            _matrices,
            names=(
                "two inputs alike",
                "six inputs",
                "columns set to zero",
                "an input that is never active",
                "inputs that are independent",
            ),
            rel=1e-6,
            abs=1e-8,
            diagnoses=_COLUMN_DIAGNOSES,
            right="With independent inputs nothing can be made up for, and it is rounding to nearest: the null of what follows.",
        ),
        (
            "Before the loop: a copy of the weights, the damped hessian, its inverse, the upper Cholesky factor of that.",
            "In the loop: ask the rule for column j, take the error of column j, divide it, and correct what stands "
            "to the right.",
            "torch.linalg.cholesky(…, upper=True) gives U. The correction of all later columns at once is an outer "
            "product of the "
            "divided error, (O,), and the rest of U's row j.",
        ),
        source(compensated, CALLABLE + TENSOR),
        kind="build",
        minutes=18,
        difficulty=4,
        wrong=_COLUMN_SLIPS,
        skeleton=skeleton(compensated),
        own=lambda: _kits("compensated"),
    ),
    Exercise(
        "11.5",
        "A sparse file keeps, for each weight that is not zero, its fp32 value and a 4-byte position. From which sparsity on is "
        "it smaller than the dense fp32 file (dense), and from which on smaller than plain int8 at 1 byte a weight (int8)?",
        several(
            dense=number(
                0.5,
                rel=0.002,
                diagnoses=[(0.0, "positions cost as well: 8 bytes for each weight that stays.")],
            ),
            int8=number(
                0.875,
                rel=0.002,
                diagnoses=[
                    (0.75, "that counts the values alone; the positions double it."),
                    (0.125, "that is the share of weights that stay; sparsity is the share that goes."),
                ],
            ),
        ),
        (
            "Count bytes per weight of the dense matrix: 8 · (1 - sparsity) in the sparse file.",
            "Set it equal to 4 for fp32 and to 1 for int8.",
            "1 - 4/8 and 1 - 1/8.",
        ),
        'answer = {"dense": 1 - 4 / 8, "int8": 1 - 1 / 8}',
        kind="compute",
        minutes=4,
        difficulty=2,
        wrong=(
            ((0.0, 0.875), "positions cost"),
            ((0.5, 0.75), "values alone"),
            ((0.5, 0.125), "share that goes"),
        ),
        placeholder={"dense": ..., "int8": ...},
    ),
    Exercise(
        "11.6",
        "Write two_of_four(size): the mask that keeps the two largest of any four neighbours in a row.",
        build(
            lambda size: two_of_four(size),
            _sizes,
            names=("one four", "three rows", "equal ones", "sizes that grow along the row"),
            diagnoses=_FOUR_DIAGNOSES,
            right="Half of the weights are gone, and a GPU knows from two bits each where the others are.",
        ),
        (
            "Give the fours an axis of their own: (O, I) becomes (O, I/4, 4).",
            "argsort along that axis, the largest first. stable=True keeps the order of equal ones.",
            "A mask of False in the shape of the fours, and scatter_ along the last axis with the first two places of the order.",
        ),
        source(two_of_four, TENSOR),
        kind="build",
        minutes=8,
        difficulty=3,
        wrong=_FOUR_SLIPS,
        skeleton=skeleton(two_of_four),
        own=lambda: _kits("largest_of"),
    ),
    Exercise(
        "11.7",
        "A report says: we cut out half of the units, trained on for 50,000 tokens, and the loss is only 0.02 nats "
        "above that of the "
        "model before. So half of the units were superfluous. Which model has to stand beside it before you believe that "
        'half of the units cost only 0.02: "the model before", "the full model, trained on", "the cut model, not trained on" or '
        '"another seed"?',
        choice(
            "the full model, trained on",
            {
                "the full model, trained on": "",
                "the model before": "that is the comparison of the report: the cut model had 50,000 tokens more.",
                "the cut model, not trained on": "that shows what training on mends; it does not show what the cut costs.",
                "another seed": "seeds tell how far chance reaches, and are needed for that; they leave the advantage "
                "of 50,000 tokens "
                "where it is.",
            },
            right="The full model gains from those tokens, too; the cut costs what is between the two.",
        ),
        (
            "What did the cut model get that the model before did not?",
            "A control gets everything that the arm gets, except the one thing that is asked about.",
            "Give the same 50,000 tokens to a model from which nothing was cut.",
        ),
        'answer = "the full model, trained on"',
        kind="design",
        minutes=3,
        difficulty=2,
        wrong=(
            ("the model before", "comparison of the report"),
            ("the cut model, not trained on", "training on mends"),
            ("another seed", "how far chance"),
        ),
    ),
    Exercise(
        "11.8",
        "Write distillation(student, teacher, targets, T, w): the loss of a student with a teacher, and its gradient by hand.",
        build(
            distillation,
            _logits,
            names=("the worked number", "T = 1", "T = 3", "the text alone", "logits of a thousand"),
            rel=1e-7,
            abs=1e-10,
            diagnoses=_TEACHER_DIAGNOSES,
            right="A test holds the gradient against finite differences of the loss.",
        ),
        (
            "Work with logarithms of probabilities: log softmax(x) = x − log of the sum of exp(x), with the largest x "
            "taken off first.",
            "The gradient of a cross-entropy with respect to logits is (own probabilities) − (wanted probabilities). "
            "What is wanted in "
            "the hard part, what in the soft part?",
            "In the soft part the logits are divided by T first, so a factor 1 / T comes out; with T² in front, T is left.",
        ),
        source(distillation, NUMPY),
        kind="build",
        minutes=15,
        difficulty=3,
        wrong=_TEACHER_SLIPS,
        skeleton=skeleton(distillation),
        own=lambda: distillation,
    ),
    *nb11_decoding.EXERCISES,
    Exercise(
        "11.14",
        "Write front(points): which of the points are on the Pareto front. Mind points that share a number with another.",
        build(
            front,
            [(MANY,), ([(1.0, 1.0)],), ([(2.0, 1.0), (1.0, 2.0), (1.0, 1.0)],), ([(1.0, 1.0), (1.0, 1.0)],)],
            names=("eight points with ties", "one point", "one that beats all", "two equal ones"),
            diagnoses=_FRONT_DIAGNOSES,
            right="The next figures are drawn by it.",
        ),
        (
            "For each point look for one that beats it. One is enough.",
            "To beat is two things: nowhere larger, and somewhere smaller.",
            "Two loops over the points; <= in both numbers joined by and, < in either joined by or.",
        ),
        source(front),
        kind="build",
        minutes=8,
        difficulty=2,
        wrong=_FRONT_SLIPS,
        skeleton=skeleton(front),
        own=lambda: front,
    ),
)
