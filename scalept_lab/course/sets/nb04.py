"""Exercises of notebook 04, mixed precision and memory."""

from __future__ import annotations

from scalept_lab.course.answers import choice, function, number, several
from scalept_lab.course.exercises import Exercise


def _largest(exponent, mantissa):
    return (2 - 2.0**-mantissa) * 2.0 ** (2 ** (exponent - 1) - 1)


def _scaling(scale, overflows, interval):
    steps = in_a_row = 0
    for overflow in overflows:
        if overflow:
            scale, in_a_row = scale / 2, 0
            continue
        steps, in_a_row = steps + 1, in_a_row + 1
        if in_a_row == interval:
            scale, in_a_row = scale * 2, 0
    return scale, steps


def _scaling_without_reset(scale, overflows, interval):
    steps = 0
    for overflow in overflows:
        if overflow:
            scale /= 2
            continue
        steps += 1
        if steps % interval == 0:
            scale *= 2
    return scale, steps


def _scaling_that_counts_skipped(scale, overflows, interval):
    return _scaling(scale, overflows, interval)[0], len(overflows)


def _scaling_that_never_grows(scale, overflows, interval):
    for overflow in overflows:
        scale = scale / 2 if overflow else scale
    return scale, len(overflows) - sum(overflows)


def _weights(counts):
    return [count / sum(counts) for count in counts]


_BLOCKS, _TOKENS, _WIDTH = 32, 4096, 4096
_ALL = 34 * _BLOCKS * _TOKENS * _WIDTH / 1e9
_INPUTS = 2 * _BLOCKS * _TOKENS * _WIDTH / 1e9
_ONE = 34 * _TOKENS * _WIDTH / 1e9

EXERCISES = (
    Exercise(
        "04.1",
        "Write a function of the number of exponent bits and mantissa bits that returns the largest finite number of a "
        "format that follows IEEE 754 (its topmost exponent pattern stands for infinity and NaN).",
        function(
            _largest,
            [(5, 10), (8, 7), (8, 23), (5, 2), (3, 4)],
            rel=1e-9,
            diagnoses=[
                (
                    lambda e, m: (2 - 2.0**-m) * 2.0 ** (2 ** (e - 1)),
                    "twice too large: the topmost exponent pattern is infinity's, so the largest exponent is the bias.",
                ),
                (
                    lambda e, m: 2.0 ** (2 ** (e - 1) - 1),
                    "that is the largest power of two; the mantissa bits can all be 1.",
                ),
                (
                    lambda e, m: 2.0 ** (2 ** (e - 1)),
                    "that is the first number that no longer fits; the largest is one spacing below it.",
                ),
                (
                    lambda e, m: (2 - 2.0 ** -(m + 1)) * 2.0 ** (2 ** (e - 1) - 1),
                    "one mantissa bit too many: the leading 1 is not stored, and the last bit is worth 2^-mantissa.",
                ),
            ],
            right="65,504 for fp16, 3.4e38 for bf16 and fp32 alike.",
        ),
        (
            "A number is 1.mantissa times 2^(exponent field - bias), and the bias is 2^(exponent bits - 1) - 1.",
            "The largest field that is left is 11…10: minus the bias, that is the bias itself.",
            "All mantissa bits 1: that is 2 minus the value of the last bit, 2^-mantissa.",
        ),
        """def largest(exponent_bits, mantissa_bits):
    bias = 2 ** (exponent_bits - 1) - 1
    return (2 - 2.0**-mantissa_bits) * 2.0**bias

answer = largest""",
        wrong=(
            (lambda e, m: (2 - 2.0**-m) * 2.0 ** (2 ** (e - 1)), "infinity's"),
            (lambda e, m: 2.0 ** (2 ** (e - 1) - 1), "largest power of two"),
            (lambda e, m: 2.0 ** (2 ** (e - 1)), "no longer fits"),
            (lambda e, m: (2 - 2.0 ** -(m + 1)) * 2.0 ** (2 ** (e - 1) - 1), "one mantissa bit too many"),
        ),
        placeholder=lambda exponent_bits, mantissa_bits: ...,
    ),
    Exercise(
        "04.2",
        "Write dynamic loss scaling: a function of the first scale, a list that says for each step whether a gradient "
        "overflowed, and the interval. Returns (scale after the last step, number of steps that changed the weights). An "
        "overflow halves the scale; `interval` good steps in a row double it.",
        function(
            _scaling,
            [
                (65536.0, [True, True, False, False], 2),
                (1024.0, [False, True, False, False, False], 3),
                (8.0, [False, False, True, False, False, True, False], 3),
                (4.0, [False] * 7, 2),
            ],
            diagnoses=[
                (
                    _scaling_without_reset,
                    "an overflow also starts the count of good steps again from 0.",
                ),
                (_scaling_that_counts_skipped, "a step with an overflow is skipped: it changes no weight."),
                (
                    _scaling_that_never_grows,
                    "the scale also has to grow, or one early overflow would make it small for good.",
                ),
                (
                    lambda s, o, i: tuple(reversed(_scaling(s, o, i))),
                    "the two results are in the wrong order: first the scale.",
                ),
            ],
            right="The same as torch.amp.GradScaler, which starts at 65,536 and waits 2,000 good steps.",
        ),
        (
            "Go through the list with three variables: the scale, the good steps in a row, and all good steps.",
            "On an overflow: halve the scale, set the row to 0, count nothing.",
            "Else: count both; when the row reaches the interval, double the scale and set the row to 0.",
        ),
        """def scaling(scale, overflows, interval):
    steps = in_a_row = 0
    for overflow in overflows:
        if overflow:
            scale, in_a_row = scale / 2, 0
        else:
            steps, in_a_row = steps + 1, in_a_row + 1
            if in_a_row == interval:
                scale, in_a_row = scale * 2, 0
    return scale, steps

answer = scaling""",
        wrong=(
            (_scaling_without_reset, "count of good steps"),
            (_scaling_that_counts_skipped, "changes no weight"),
            (_scaling_that_never_grows, "grow"),
        ),
        placeholder=lambda scale, overflows, interval: ...,
    ),
    Exercise(
        "04.3",
        "A weight is exactly 6 in bf16 (7 mantissa bits). Updates up to which size leave it where it is, as if the optimizer "
        "had done nothing?",
        number(
            2.0**-6,
            rel=1e-6,
            diagnoses=[
                (2.0**-5, "that is the distance to the next number; what is less than half way rounds back."),
                (2.0**-7, "that is the spacing at 1; at 6 the numbers stand further apart."),
                (
                    2.0**-8,
                    "that is half the spacing at 1; 6 lies between 4 and 8, where numbers stand further apart.",
                ),
                (2.0**-9, "that is the answer for fp16, which has 10 mantissa bits."),
                (
                    2.0**-4,
                    "7 bits of mantissa beside a leading 1 that is not stored: the spacing is 2^-7 times the power of two.",
                ),
            ],
            slips=(),
            right="A quarter of a percent of the weight: Adam at a rate of 0.001 would not move it in a lifetime.",
        ),
        (
            "How far is it from 6 to the next larger number of bf16?",
            "6 is 1.5 · 2², so its last mantissa bit is worth 2^(2-7).",
            "Rounding goes to the nearest: an update has to get beyond half of that distance. (At half way, 6 wins: it is even.)",
        ),
        """spacing = 2.0 ** (2 - 7)   # 6 = 1.5 * 2**2, seven mantissa bits
answer = spacing / 2""",
        wrong=(
            (2.0**-5, "half way"),
            (2.0**-7, "spacing at 1"),
            (2.0**-8, "half the spacing at 1"),
            (2.0**-9, "fp16"),
        ),
    ),
    Exercise(
        "04.4",
        "Micro-batches with `counts` tokens each; a loss that is the mean over a micro-batch's tokens. Write the function that "
        "returns the factor for each micro-batch's loss, such that the sum is the mean over all tokens.",
        function(
            _weights,
            [([3, 1],), ([64, 64, 64, 64],), ([100, 7, 1],), ([5],)],
            diagnoses=[
                (
                    lambda counts: [1 / len(counts)] * len(counts),
                    "that is the mean of means: right only if all counts are equal.",
                ),
                (lambda counts: list(counts), "that makes a sum over tokens; divide by all of them."),
                (
                    lambda counts: [1 / c for c in counts],
                    "the loss is a mean already; large parts have to count more.",
                ),
                (
                    lambda counts: [1.0] * len(counts),
                    "that adds up the means: the gradient grows with their number.",
                ),
                (lambda counts: [c / max(counts) for c in counts], "the factors have to add up to 1."),
            ],
            right="Where sequences are padded or masked, the counts differ, and the trap is open.",
        ),
        (
            "Write down the mean over all tokens: the sum of all token losses over the number of all tokens.",
            "The sum of a micro-batch's token losses is its mean times its count.",
            "So the factor is this micro-batch's count over the count of all.",
        ),
        """def factors(counts):
    return [count / sum(counts) for count in counts]

answer = factors""",
        wrong=(
            (lambda counts: [1 / len(counts)] * len(counts), "mean of means"),
            (lambda counts: list(counts), "sum over tokens"),
            (lambda counts: [1 / c for c in counts], "a mean already"),
            (lambda counts: [1.0] * len(counts), "adds up the means"),
        ),
        placeholder=lambda counts: ...,
    ),
    Exercise(
        "04.5",
        "32 blocks of width 4,096, one sequence of 4,096 tokens, 34 bytes per token and channel of a block (16 bits, fused "
        "attention). With each block recomputed from its 16-bit input, how many GB (1e9 bytes) are needed at the worst moment, "
        "and what does it cost: 'a forward pass', 'a backward pass' or 'nothing'?",
        several(
            gigabytes=number(
                _INPUTS + _ONE,
                rel=0.01,
                diagnoses=[
                    (_ALL, "that is everything kept, without recomputation."),
                    (
                        _INPUTS,
                        "the inputs are right; while a block is computed again, its own 34 bytes are there, too.",
                    ),
                    (_ONE, "that is the one block at work; the inputs of all the others are kept as well."),
                    (2 * _INPUTS + _ONE, "16 bits are 2 bytes, not 4."),
                    (_ALL + _INPUTS, "only one block at a time has its 34 bytes."),
                ],
            ),
            price=choice(
                "a forward pass",
                {
                    "a forward pass": "",
                    "a backward pass": "the backward pass runs once, as before; what is done twice?",
                    "nothing": "look at the time you measured: what the blocks have let go has to be computed again.",
                },
                right="A forward pass is a third of a step's compute, so the bill is at most that third.",
            ),
        ),
        (
            "Two parts: what is kept of every block, and what the one block needs that is being computed again.",
            "Kept: 2 bytes · 32 blocks · 4,096 tokens · 4,096 channels. At work: 34 · 4,096 · 4,096.",
            "Add the two, in units of 1e9 bytes. The price: each block is run forward a second time.",
        ),
        """kept = 2 * 32 * 4096 * 4096
at_work = 34 * 4096 * 4096
answer = {"gigabytes": (kept + at_work) / 1e9, "price": "a forward pass"}""",
        wrong=(
            ({"gigabytes": _ALL, "price": "a forward pass"}, "everything kept"),
            ({"gigabytes": _INPUTS, "price": "a forward pass"}, "inputs are right"),
            ({"gigabytes": _ONE, "price": "a forward pass"}, "one block at work"),
            ({"gigabytes": _INPUTS + _ONE, "price": "a backward pass"}, "done twice"),
            ({"gigabytes": _INPUTS + _ONE, "price": "nothing"}, "computed again"),
        ),
        placeholder={"gigabytes": ..., "price": ...},
    ),
)
