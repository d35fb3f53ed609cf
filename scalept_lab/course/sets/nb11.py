"""Exercises of notebook 11, inference efficiency."""

from __future__ import annotations

from scalept_lab.course.answers import choice, function, number, several
from scalept_lab.course.exercises import Exercise


def _quantized(values, bits):
    low, high = min(0.0, *values), max(0.0, *values)
    top = 2**bits - 1
    scale = (high - low) / top
    zero = round(-low / scale)
    return [min(max(round(x / scale) + zero, 0), top) for x in values]


def _one_level_too_many(values, bits):
    low, high = min(0.0, *values), max(0.0, *values)
    scale = (high - low) / 2**bits
    zero = round(-low / scale)
    return [round(x / scale) + zero for x in values]


def _without_zero_point(values, bits):
    low, high = min(0.0, *values), max(0.0, *values)
    scale = (high - low) / (2**bits - 1)
    return [min(max(round(x / scale), 0), 2**bits - 1) for x in values]


def _multiplied(values, bits):
    low, high = min(0.0, *values), max(0.0, *values)
    top = 2**bits - 1
    scale = (high - low) / top
    zero = round(-low / scale)
    return [min(max(round(x * scale) + zero, 0), top) for x in values]


def _zero_left_out(values, bits):
    top = 2**bits - 1
    scale = (max(values) - min(values)) / top
    zero = round(-min(values) / scale)
    return [min(max(round(x / scale) + zero, 0), top) for x in values]


_CASES = [
    ([-0.25, 0.0, 0.1, 0.5], 8),
    ([-1.0, -0.4, 0.3, 2.0, 2.9], 4),
    ([0.31, 0.52, 0.97], 3),
    ([-3.0, 1.1, 0.2], 2),
    ([-0.7, -0.2, -0.1], 5),
]

_WIDTH, _DEPTH, _VOCABULARY = 128, 2, 256
_MATRICES = 12 * _DEPTH * _WIDTH**2 + _VOCABULARY * _WIDTH  # blocks and output layer
_TABLE = _VOCABULARY * _WIDTH
_ROWS = 9 * _DEPTH * _WIDTH + _VOCABULARY
_FP32 = 4 * (_MATRICES + _TABLE)
_LINEAR = (_MATRICES + 4 * _ROWS + 4 * _TABLE) / _FP32
_ALL = (_MATRICES + 4 * _ROWS + _TABLE + 4 * _VOCABULARY) / _FP32

_CACHE = 2 * 96 * 32 * 2048 * 12288 * 2 / 1e9

EXERCISES = (
    Exercise(
        "11.1",
        "An article gives Q = scale · (x − bias). With scale 0.01 and bias 0 it turns −0.25 into −0.0025. What is wrong with "
        'it, "multiply", "bias", "clamp" or "sign", and which signed integer should −0.25 become (zero point 0)?',
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
                ],
            ),
        ),
        (
            "Read the formula backwards: x ≈ s (q - z). If q counts steps, what is s?",
            "s is the width of one step. Which operation tells how many steps of that width fit into x?",
            "Divide -0.25 by 0.01, then round.",
        ),
        'answer = {"fault": "multiply", "q": round(-0.25 / 0.01)}',
        wrong=(
            (("bias", -25), "harmless"),
            (("clamp", -25), "far inside"),
            (("sign", -25), "signed integers"),
            (("multiply", -0.0025), "no integer"),
            (("multiply", 0), "rounded"),
            (("multiply", 103), "zero point of 128"),
        ),
        placeholder={"fault": ..., "q": ...},
    ),
    Exercise(
        "11.2",
        "Write affine quantization as a function of a list of numbers and the bits, returning the list of integers from 0 to "
        "2^bits - 1. The range is that of the numbers, widened to hold 0; round with Python's round.",
        function(
            _quantized,
            _CASES,
            rel=1e-9,
            diagnoses=[
                (
                    _one_level_too_many,
                    "2^bits numbers have 2^bits - 1 steps between them: yours would need one integer more.",
                ),
                (_without_zero_point, "negative numbers all end at 0: the zero point is not added."),
                (_multiplied, "you multiply by the scale; it is the width of a step, so divide by it."),
                (
                    _zero_left_out,
                    "widen the range so that it holds 0: a weight of 0 must come back as exactly 0.",
                ),
            ],
            right="This is all that int8 does to a weight; libraries differ in how they choose the range.",
        ),
        (
            "low = min(0, smallest), high = max(0, largest).",
            "2^bits - 1 steps reach from low to high; the zero point is the integer that stands for 0.",
            "zero = round(-low / scale); then clamp(round(x / scale) + zero) to 0 … 2^bits - 1.",
        ),
        """def quantized(values, bits):
    low, high = min(0.0, *values), max(0.0, *values)
    top = 2**bits - 1
    scale = (high - low) / top
    zero = round(-low / scale)
    return [min(max(round(x / scale) + zero, 0), top) for x in values]

answer = quantized""",
        wrong=(
            (_one_level_too_many, "one integer more"),
            (_without_zero_point, "zero point is not added"),
            (_multiplied, "divide by it"),
            (_zero_left_out, "holds 0"),
        ),
        placeholder=lambda values, bits: ...,
    ),
    Exercise(
        "11.3",
        "Width 128, two blocks, 256 tokens, no biases. Each row of a matrix gets 8-bit integers and one fp32 scale. What share "
        "of the fp32 bytes is left if the embedding table stays in fp32 (`linear`), and if it is quantized by rows, too (`all`)?",
        several(
            linear=number(
                _LINEAR,
                rel=0.004,
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
                rel=0.004,
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
        "A sparse file keeps, for each weight that is not zero, its fp32 value and a 4-byte position. From which sparsity on is "
        "it smaller than the dense fp32 file (`dense`), and from which on smaller than plain int8 at 1 byte a weight (`int8`)?",
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
        wrong=(
            ((0.0, 0.875), "positions cost"),
            ((0.5, 0.75), "values alone"),
            ((0.5, 0.125), "share that goes"),
        ),
        placeholder={"dense": ..., "int8": ...},
    ),
    Exercise(
        "11.5",
        "GPT-3 has 96 blocks of width 12,288. How many GB (1e9 bytes) does the cache of keys and values take for 32 sequences "
        "of 2,048 tokens in fp16?",
        number(
            _CACHE,
            rel=0.01,
            diagnoses=[
                (_CACHE / 2, "half of it: keys and values are kept, two vectors per token and block."),
                (_CACHE / 96, "that is one block; each of the 96 has keys and values of its own."),
                (_CACHE / 32, "that is one sequence; there are 32."),
                (2 * _CACHE, "fp16 has 2 bytes a number, not 4."),
            ],
            right="About as much as the 350 GB of its weights in fp16: long contexts and large batches are paid for in memory.",
        ),
        (
            "Per token and block: a key and a value, each as wide as the model.",
            "2 · blocks · width · 2 bytes for each token.",
            "Times 2,048 tokens, times 32 sequences.",
        ),
        "answer = 2 * 96 * 12288 * 2 * 2048 * 32 / 1e9",
        wrong=(
            (_CACHE / 2, "half of it"),
            (_CACHE / 96, "one block"),
            (_CACHE / 32, "one sequence"),
            (2 * _CACHE, "not 4"),
        ),
    ),
)
