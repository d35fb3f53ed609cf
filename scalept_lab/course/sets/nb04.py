"""Exercises of notebook 04, mixed precision and memory.

A build's solution is the source of a function of this module, and its skeleton is what stands above the body: what is
shown, what is compared with and what serves while the exercise is open are one piece of code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from scalept_lab.config import ModelConfig
from scalept_lab.costs import blocks, footprint
from scalept_lab.costs.counts import count_params
from scalept_lab.costs.numbers import FORMATS
from scalept_lab.course.answers import (
    UNANSWERED,
    Check,
    Verdict,
    build,
    choice,
    function,
    judged,
    number,
    several,
)
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.sets.pieces import NUMPY, skeleton, slip, slips, source

Row = tuple[str, str, bool]

# --- the pieces that the learner writes -----------------------------------------------------------------------------------


def largest(exponent_bits: int, mantissa_bits: int) -> float:
    bias = 2 ** (exponent_bits - 1) - 1
    return (2 - 2.0**-mantissa_bits) * 2.0**bias


def nearest(x: np.ndarray, exponent: int, mantissa: int, largest: float) -> np.ndarray:
    """Numbers in a floating-point format: each becomes the nearest one, of two equally near the one whose last bit is 0.

    x  array of numbers;  exponent, mantissa  bits of the format;  largest  its largest number: what lies beyond becomes that
    Returns an array of the same shape, float64.
    """
    lowest = 2 - 2 ** (exponent - 1)  # exponent of the smallest normal number
    _, power = np.frexp(x)  # |x| = f · 2^power with 0.5 <= f < 1
    step = 2.0 ** (np.maximum(power - 1, lowest) - mantissa)
    rounded = np.round(x / step) * step
    return np.clip(rounded, -largest, largest)


def stochastic(
    x: np.ndarray, exponent: int, mantissa: int, largest: float, rng: np.random.Generator
) -> np.ndarray:
    """Numbers in a floating-point format: each becomes one of its two neighbours there by chance, such that the mean is x.

    x, exponent, mantissa, largest  as for `nearest`;  rng  rng.random(shape) gives numbers between 0 and 1, all equally likely
    Every number is rounded by a chance of its own. Returns an array of the same shape, float64.
    """
    lowest = 2 - 2 ** (exponent - 1)
    _, power = np.frexp(x)
    step = 2.0 ** (np.maximum(power - 1, lowest) - mantissa)
    below = np.floor(x / step)
    up = rng.random(np.shape(x)) < x / step - below
    return np.clip((below + up) * step, -largest, largest)


def scaled_step(optimizer, scale: float, good: int, interval: int) -> tuple:
    """What comes after the backward pass of scale · loss: divide, look for an overflow, step or not, adapt the scale.

    optimizer  a torch optimizer; p.grad of its parameters are scale times too large (None for a parameter that had no gradient)
    scale      halved after an overflow, which also skips the step; doubled after `interval` good steps in a row
    good       how many good steps there were in a row so far
    Returns (scale, good) for the next step. The gradients are not scaled any more afterwards.
    """
    import torch

    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    for gradient in gradients:
        gradient.div_(scale)
    if not all(torch.isfinite(gradient).all() for gradient in gradients):
        return scale / 2, 0
    optimizer.step()
    good += 1
    if good == interval:
        return scale * 2, 0
    return scale, good


def block_scaled(x: np.ndarray, exponent: int, mantissa: int, largest: float, block: int = 32) -> np.ndarray:
    """What an MX format makes of the rows of x: `block` neighbours share a scale, which is a power of two.

    x  (rows, columns), columns a multiple of `block`;  exponent, mantissa, largest  of the numbers inside, as for `nearest`
    The scale is 2^(⌊log₂ largest number of the block⌋ − ⌊log₂ largest of the format⌋). Returns scale · rounded, of x's shape.
    """
    pieces = x.reshape(len(x), -1, block)
    top = np.abs(pieces).max(axis=-1, keepdims=True)
    top = np.where(top > 0, top, 1.0)  # a block of zeros stays zeros, whatever its scale
    scale = 2.0 ** (np.floor(np.log2(top)) - np.floor(np.log2(largest)))
    return (scale * nearest(pieces / scale, exponent, mantissa, largest)).reshape(x.shape)


def accumulate(model, x, y, kept, rows: int) -> float:
    """Leave in the gradients the gradient of the mean loss over all kept tokens, computed `rows` sequences at a time.

    model  tokens (B, L) -> logits (B, L, V);  x, y  tokens (B, L) and the next ones;  kept  (B, L) truth values: which count
    The last part may have fewer rows, and a part may have no token that counts. Each part's backward pass comes before the next
    part's forward pass. Returns the mean loss in nats per kept token, a number.
    """
    import torch.nn.functional as F

    total, mean = kept.sum().item(), 0.0
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        if not kept[part].any():
            continue
        logits = model(x[part])
        loss = F.cross_entropy(logits[kept[part]], y[part][kept[part]], reduction="sum") / total
        loss.backward()
        mean += loss.item()
    return mean


def memory_sum(m: dict, sequences: int, w: int, again: bool = False) -> dict:
    """Bytes of one training step with AdamW between its forward and its backward pass.

    m          {"parameters": …, "width": D, "depth": …, "heads": H, "context": L, "vocab": V}
    sequences  in the batch;  w  bytes of what a matrix product reads: 4 in fp32, 2 under 16-bit autocast
    again      whether blocks are recomputed: each then keeps its input alone, in 32 bits, and no 16-bit weights
    Returns {"states": …, "activations": …}.
    """
    tokens, D, H, V = sequences * m["context"], m["width"], m["heads"], m["vocab"]
    states = 16 * m["parameters"]
    block = 4 * D if again else 8 * D + 16 * w * D + 4 * H + 16
    output = (4 + w) * D + 4 * V + 24
    activations = tokens * (m["depth"] * block + output) + 4
    if w < 4:
        blocks = 0 if again else m["depth"] * 12 * D**2
        activations += w * (blocks + V * D)
    return {"states": states, "activations": activations}


def recomputed(run, x):
    """run(x), such that the backward pass finds x alone: when the gradient arrives, it computes run(x) once more.

    run  a function of one tensor, with parameters and perhaps dropout inside;  x  a tensor that needs a gradient
    Gradients of x and of the parameters are those of run(x). The second run draws the same random numbers as the first
    (torch.get_rng_state, torch.set_rng_state), and afterwards the random state is what it was before the backward pass.
    """
    import torch

    class Again(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.drawn = torch.get_rng_state()
            ctx.save_for_backward(x)
            return run(x)  # nothing is kept inside: here torch records no operation

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            x = x.detach().requires_grad_()
            now = torch.get_rng_state()
            torch.set_rng_state(ctx.drawn)
            with torch.enable_grad():
                y = run(x)
            torch.set_rng_state(now)
            torch.autograd.backward(y, gradient)
            return x.grad

    return Again.apply(x)


# --- 04.2, 04.3: rounding -------------------------------------------------------------------------------------------------

_BITS = {name: (FORMATS[name].exponent, FORMATS[name].mantissa, FORMATS[name].largest)
         for name in ("bf16", "fp16", "fp8_e4m3", "fp8_e5m2", "fp4_e2m1")}  # fmt: skip


def cast(x: np.ndarray, exponent: int, mantissa: int, largest: float) -> np.ndarray:
    """What torch's own cast makes of x; the four bits, which it has no cast for, by the kit's rounding."""
    import torch

    types = {
        (8, 7): torch.bfloat16,
        (5, 10): torch.float16,
        (4, 3): torch.float8_e4m3fn,
        (5, 2): torch.float8_e5m2,
    }
    inside = np.clip(x, -largest, largest)
    if (exponent, mantissa) not in types:
        return FORMATS["fp4_e2m1"].round(inside)
    return torch.from_numpy(inside.astype(np.float32)).to(types[exponent, mantissa]).double().numpy()


def _rounding_cases() -> list[tuple]:
    rng = np.random.default_rng(0)
    cases = []
    for exponent, mantissa, top in _BITS.values():
        lowest = 2.0 ** (2 - 2 ** (exponent - 1))
        around = rng.standard_normal(300) * np.exp2(
            rng.uniform(np.log2(lowest) - mantissa - 1, np.log2(top) + 1, 300)
        )
        halves = (rng.integers(0, 2 ** (mantissa + 3), 60) + 0.5) * lowest * 2.0**-mantissa
        ends = [0.0, top, -top, 0.9 * top, lowest, lowest / 2, lowest * 2.0 ** (-mantissa - 1)]
        x = np.clip(np.concatenate([around, halves, -halves, ends]), -3e38, 3e38)
        cases.append((x.astype(np.float32).astype(np.float64), exponent, mantissa, top))
    return cases


_NEAREST_DIAGNOSES, _NEAREST_SLIPS = slips(
    nearest,
    ("np.maximum(power - 1, lowest)", "power - 1", "stay equally far apart", "below the smallest normal number the steps "
     "go on shrinking in yours; there the numbers stay equally far apart."),
    ("power - 1, lowest)", "power, lowest)", "twice as long", "the steps are twice as long as they should be: np.frexp gives a "
     "fraction from 0.5 to 1, a format writes 1.mantissa."),
    ("np.round(x / step)", "np.floor(x / step + 0.5)", "half way", "the only differences are half way between two numbers: there "
     "the one whose last bit is 0 wins, be it above or below."),
    ("np.round(x / step)", "np.trunc(x / step)", "cuts the bits off", "that cuts the bits off, toward zero; the nearest may be "
     "the next one."),
    ("np.clip(rounded, -largest, largest)", "rounded", "beyond the largest", "numbers beyond the largest one stay where they "
     "are; they should stop at it."),
    ("2 - 2 ** (exponent - 1)", "1 - 2 ** (exponent - 1)", "one power of two too small", "the smallest normal number "
     "is one power of "
     "two too small: its exponent is 1 − bias, since the pattern of zeros is kept for what lies below."),
    ("lowest) - mantissa)", "lowest) - mantissa - 1)", "one bit too many", "one bit too many is kept: the leading 1 is not among "
     "the mantissa bits."),
)  # fmt: skip


def _judge_stochastic(mine: Callable) -> Verdict:
    """Statistics on points of many sizes, each repeated: the two neighbours, the mean, and independence."""
    rows: list[Row] = []
    name, (exponent, mantissa, top) = "fp8_e4m3", _BITS["fp8_e4m3"]
    points = np.array([0.3, 1.02, -1.02, -2.6, 0.0021, -0.0005, 100.3, 3.25, 0.0, -416.0])
    lots = np.repeat(points[:, None], 4000, axis=1)
    made = mine(lots.copy(), exponent, mantissa, top, np.random.default_rng(1))
    if made is None or made is ...:
        return UNANSWERED
    made = np.asarray(made, float)
    if made.shape != lots.shape:
        return Verdict(
            False, f"an array of the shape of x is asked for; x has {lots.shape}, yours {made.shape}."
        )
    form = FORMATS[name]
    step = form.spacing(points)
    low, high = np.floor(points / step) * step, np.ceil(points / step) * step
    between = points != low  # the last three are numbers of the format
    inside = bool(((made == low[:, None]) | (made == high[:, None]))[between].all())
    rows.append(("one of the two neighbours", "yes" if inside else "other numbers, too", inside))
    exact = bool((made == lots)[~between].all())
    rows.append(("a number of the format stays", "yes" if exact else "it moves", exact))
    off = np.abs((made - lots).mean(1)) / step * np.sqrt(4000)
    unfair = between & (off > 2.6)  # one standard error is at most half a step over √4000
    fair = not unfair.any()
    rows.append(
        (
            "the mean is x",
            "yes" if fair else f"no, off at {', '.join(f'{p:g}' for p in points[unfair][:3])}",
            fair,
        )
    )
    own = not inside or any(0 < (line == line[0]).mean() < 1 for line in made[between])
    rows.append(("each number by its own chance", "yes" if own else "all go the same way", own))
    again = np.asarray(
        mine(np.array([500.0, -1e9]), exponent, mantissa, top, np.random.default_rng(2)), float
    )
    ends = bool(np.array_equal(again, [top, -top]))
    rows.append(("beyond the largest number", "stops there" if ends else "does not stop there", ends))
    texts = (
        (own, "all numbers are rounded by one and the same chance, or by none: draw one for each, rng.random(np.shape(x))."),
        (inside, "results are not always one of the two neighbours of x."),
        (fair, _bias(made, lots, low, high)),
        (exact, "a number that the format has must stay: the way to it is 0, so the chance to leave is 0."),
        (ends, "what lies beyond the largest number becomes that."),
    )  # fmt: skip
    if all(ok for ok, _ in texts):
        return Verdict(
            True,
            "Right on average, whatever the number: that is what nearest rounding lacks.",
            rows=tuple(rows),
        )
    return Verdict(False, next(text for ok, text in texts if not ok), rows=tuple(rows))


def _bias(made: np.ndarray, lots: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    share = (lots[:, 0] - low) / np.where(high > low, high - low, 1)
    up = (made == high[:, None]).mean(1)
    inner = (share > 0.02) & (share < 0.98) & (np.abs(share - 0.5) > 0.05)
    if np.allclose(up[inner], 1 - share[inner], atol=0.04):
        return "the chance is the wrong way round: the nearer neighbour has to be the likelier one."
    if np.allclose(up[inner], 0.5, atol=0.04):
        return "up and down are equally likely in yours; then the mean is the middle between the neighbours, not x."
    negative = lots[:, 0] < 0
    if np.allclose(up[inner & ~negative], share[inner & ~negative], atol=0.04):
        return "right for positive numbers, not for negative ones: np.floor goes down for both, np.trunc goes toward zero."
    return "the mean of many roundings is not x."


def _stochastic_slips() -> tuple:
    wrong = (
        ("< x / step - below", "> x / step - below", "wrong way round"),
        ("< x / step - below", "< 0.5", "equally likely"),
        ("rng.random(np.shape(x))", "rng.random()", "one and the same chance"),
        ("np.floor(x / step)", "np.trunc(x / step)", "np.trunc goes toward zero"),
        ("(below + up) * step", "np.round(x / step + 2 * rng.random(np.shape(x)) - 1) * step", "always one of the two"),
        ("< x / step - below", "<= np.maximum(x / step - below, 0.02)", "must stay"),
        ("return np.clip((below + up) * step, -largest, largest)", "return (below + up) * step", "beyond the largest number"),
    )  # fmt: skip
    return tuple((slip(stochastic, right, bad), fragment) for right, bad, fragment in wrong)


# --- 04.4: loss scaling ---------------------------------------------------------------------------------------------------

_OVERFLOWS: dict[
    str, list[Any]
] = {  # factors on the loss of each step; an infinite one makes the gradients overflow
    "no overflow": [1, 1, 1, 1, 1, 1, 1],
    "overflow first": ["inf", "inf", 1, 1, 1, 1],
    "after two good steps": [1, 1, "inf", 1, 1, 1, 1],
    "NaN, and one tensor alone": [1, "nan", 1, "some", 1, 1, 1, 1],
}


def _scaled_run(step: Callable, factors: list, interval: int = 3) -> tuple[list[float], np.ndarray]:
    """Scales after each `step(optimizer, scale, good, interval)`, and the weights at the end; one layer has no gradient."""
    import torch

    torch.manual_seed(0)
    first, second, unused = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1), torch.nn.Linear(2, 2)
    parameters: list[Any] = [p for layer in (first, second, unused) for p in layer.parameters()]
    optimizer: Any = torch.optim.AdamW(parameters, lr=0.1)
    drawn = torch.Generator().manual_seed(1)
    scale, good, scales = 1024.0, 0, []
    for factor in factors:
        x = torch.randn(5, 3, generator=drawn)
        (second(first(x).tanh()).square().mean() * scale).backward()
        if factor == "some":
            parameters[0].grad[1, 2] = torch.inf  # neither the first number nor the last tensor
        elif factor != 1:
            for p in parameters[:4]:
                p.grad.mul_(float(factor))
        found = step(optimizer, scale, good, interval)
        scale, good = found
        scales.append(float(scale))
        optimizer.zero_grad()
    return scales, torch.cat([p.detach().flatten() for p in parameters]).numpy()


def _grad_scaler() -> Callable:
    """torch.amp.GradScaler behind the signature of the build."""
    import torch

    kept: list[Any] = []

    def step(optimizer, scale, good, interval):
        if not kept:
            kept.append(torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=interval))
            kept[0].scale(torch.ones(()))  # it makes its state when it is first used
        kept[0].step(optimizer)
        kept[0].update()
        return kept[0].get_scale(), None

    return step


_SCALER_SLIPS_MADE = (
    ("return scale / 2, 0", "return scale / 2, good", "also starts the count", "an overflow also starts the count of good steps "
     "again from 0."),
    ("        return scale / 2, 0\n    optimizer.step()", "        optimizer.step()\n        return scale / 2, 0\n    "
     "optimizer.step()",
     "in spite of an overflow", "a step was taken in spite of an overflow: the weights are no numbers any more."),
    ("    for gradient in gradients:\n        gradient.div_(scale)\n", "", "still scaled", "the step is taken with "
     "gradients that "
     "are still scaled. Adam hides it, until the scale changes."),
    ("for gradient in gradients)", "for gradient in gradients[-1:])", "one tensor", "an overflow in one tensor alone was not "
     "noticed: every gradient has to be looked at."),
    ("return scale * 2, 0", "return scale * 2, good", "after it has doubled", "the count has to start again from 0 after it has "
     "doubled the scale, too."),
    ("return scale * 2, 0", "return scale, 0", "never grows", "the scale never grows: one early overflow would make "
     "it small for good."),
    ("gradient.div_(scale)", "gradient.mul_(scale)", "multiplied", "the gradients are multiplied by the scale once "
     "more; divide."),
    ("torch.isfinite(gradient).all()", "not torch.isinf(gradient).any()", "NaN", "a NaN was not noticed; "
     "torch.isfinite sees both."),
)  # fmt: skip


def _judge_scaler(mine: Callable) -> Verdict:
    rows: list[Row] = []
    results = {}
    for name, factors in _OVERFLOWS.items():
        found: list[Any] = []

        def step(*given, found=found):
            found.append(mine(*given))
            return found[-1] if isinstance(found[-1], (tuple, list)) and len(found[-1]) == 2 else (1024.0, 0)

        results[name] = _scaled_run(step, factors)
        if all(each is None or each is ... for each in found):
            return UNANSWERED
        if not all(isinstance(each, (tuple, list)) and len(each) == 2 for each in found):
            return Verdict(False, "return two things: the scale and the number of good steps in a row.")
        scales, weights = _scaled_run(_grad_scaler(), factors)
        said = []
        if results[name][0] != scales:
            pairs = zip(results[name][0], scales, strict=True)
            said.append(
                f"the scale differs from step {next(i for i, (a, b) in enumerate(pairs, 1) if a != b)} on"
            )
        if not np.allclose(results[name][1], weights, rtol=1e-4, atol=1e-6):
            said.append("the weights differ")
        rows.append((name, ", ".join(said) or "agrees", not said))
    table = tuple(rows)
    if all(ok for *_, ok in rows):
        return Verdict(True, "Scales and weights are those of torch.amp.GradScaler.", rows=table)
    for right, wrong, _, text in _SCALER_SLIPS_MADE:
        theirs = slip(scaled_step, right, wrong)
        if all(_alike(_scaled_run(theirs, factors), results[name]) for name, factors in _OVERFLOWS.items()):
            return Verdict(False, text, rows=table)
    return Verdict(False, next(f"{name}: {found}." for name, found, ok in rows if not ok), rows=table)


def _alike(one: tuple, other: tuple) -> bool:
    return one[0] == other[0] and np.allclose(one[1], other[1], rtol=1e-4, atol=1e-6, equal_nan=True)


# --- 04.6: block-scaled numbers -------------------------------------------------------------------------------------------


def _block_cases() -> list[tuple]:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((6, 64)) * 10.0 ** np.arange(-3, 3)[:, None]
    x[0, :32], x[2, 5], x[3, 40] = 0.0, 5000.0, -12.0
    e4m3, e2m1 = _BITS["fp8_e4m3"], _BITS["fp4_e2m1"]
    return [(x, *e2m1, 32), (x, *e4m3, 32), (x[:, :48], *e2m1, 16), (np.abs(x), *_BITS["fp8_e5m2"], 32)]


def _block_reference(x, exponent, mantissa, largest, block=32):
    element = next(
        form for form in FORMATS.values() if (form.exponent, form.mantissa) == (exponent, mantissa)
    )
    form = blocks.Scaled("asked for", element, block, "e8m0")
    made = np.zeros_like(x)
    for place in blocks._blocks(form, x.shape, False):
        scale = blocks.scale_of(form, float(np.abs(x[place]).max()), 0.0)
        if scale:
            made[place] = scale * np.clip(element.round(x[place] / scale), -element.largest, element.largest)
    return made


_BLOCK_DIAGNOSES, _BLOCK_SLIPS = slips(
    block_scaled,
    (" - np.floor(np.log2(largest))", "", "of the format", "the scale leaves out the largest power of two of the "
     "format: the block's "
     "largest number then lies at 1, and the upper half of the numbers is never used."),
    ("np.floor(np.log2(top)) - ", "np.ceil(np.log2(top)) - ", "rounded up", "the power of two is rounded up; MX takes "
     "the floor, and what "
     "then lies beyond the largest number stops there."),
    ("2.0 ** (np.floor(np.log2(top)) - np.floor(np.log2(largest)))", "top / largest", "power of two", "that scale is "
     "no power of two: E8M0 has "
     "an exponent and nothing else."),
    ("(scale * nearest(", "(nearest(", "multiplied by", "the rounded numbers are not multiplied by their scale again."),
    ("np.abs(pieces).max(axis=-1", "pieces.max(axis=-1", "sign", "the largest number is looked for with its sign: a "
     "negative one may be the "
     "largest in size."),
    ("axis=-1, keepdims=True)", "axis=(0, 1, 2), keepdims=True)", "whole tensor", "that is one scale for the whole "
     "tensor; every block has its "
     "own."),
)  # fmt: skip


# --- 04.7: accumulation ---------------------------------------------------------------------------------------------------


@cache
def _accumulation_cases() -> list[tuple]:
    """(name, sequences, rows, kept tokens of each sequence)."""
    return [
        ("equal parts", 2, [6, 6, 6, 6]),
        ("unequal counts", 1, [6, 2, 1, 4]),
        ("a last part with fewer rows", 2, [5, 1, 6, 2, 3]),
        ("a part without tokens", 2, [0, 0, 3, 6]),
    ]


class _Watched:
    """A tiny model that says how many rows it was given, and whether two graphs were alive at once."""

    def __init__(self) -> None:
        import torch

        torch.manual_seed(0)
        self.embed, self.head = torch.nn.Embedding(7, 5), torch.nn.Linear(5, 7)
        self.rows: list[int] = []
        self.alive = self.most = 0

    def __call__(self, x):
        self.rows.append(len(x))
        h = self.embed(x)
        if h.requires_grad:
            self.alive += 1
            self.most = max(self.most, self.alive)
            h.register_hook(self._done)
        return self.head(h.tanh())

    def _done(self, gradient):
        self.alive -= 1

    def gradient(self) -> np.ndarray:
        found = [p.grad for p in (*self.embed.parameters(), *self.head.parameters())]
        return np.concatenate([np.zeros(1) if g is None else g.flatten().numpy() for g in found])


def _accumulated(mine: Callable, rows: int, counts: list[int]) -> tuple[Any, np.ndarray, _Watched]:
    import torch

    drawn = torch.Generator().manual_seed(2)
    x, y = (torch.randint(7, (len(counts), 6), generator=drawn) for _ in range(2))
    kept = torch.arange(6) < torch.tensor(counts)[:, None]
    model = _Watched()
    mean = mine(model, x, y, kept, rows)
    return mean, model.gradient(), model


_ACCUMULATE_MADE = (
    ('reduction="sum") / total', ') * (rows / len(x))', "mean of means", "that is a mean of means, each part by its "
     "rows; parts with "
     "few tokens count too much. Count by tokens."),
    ('reduction="sum") / total', ') / -(-len(x) // rows)', "number of parts", "each part's mean is divided by the "
     "number of parts: a mean of "
     "means, right only where all have the same number of tokens."),
    ('reduction="sum") / total', 'reduction="sum")', "the sum", "that is the gradient of the sum over tokens, not of "
     "the mean: divide by "
     "all tokens that count."),
    ('reduction="sum") / total', ')', "adds up the means", "that adds up the means of the parts: the gradient grows "
     "with their number."),
    ("kept.sum().item(), 0.0", "float(kept.numel()), 0.0", "padding", "divided by all tokens, the padding among them; "
     "only those count that "
     "are kept."),
    ("kept.sum().item(), 0.0", "kept.sum().item() / -(-len(x) // rows), 0.0", "DDP's average", "the gradient is too "
     "large by the number of parts: "
     "a factor that DDP's average would take away again, and nothing does here."),
    ("range(0, len(x), rows)", "range(0, len(x) - rows + 1, rows)", "dropped", "the last part, which has fewer rows, "
     "is dropped."),
)  # fmt: skip


def _judge_accumulation(mine: Callable) -> Verdict:
    rows: list[Row] = []
    results = []
    for name, size, counts in _accumulation_cases():
        mean, gradient, model = _accumulated(mine, size, counts)
        if mean is None and not model.rows:
            return UNANSWERED
        want_mean, want, _ = _accumulated(accumulate, len(counts), counts)
        results.append(gradient)
        said = []
        if max(model.rows, default=0) > size:
            said.append("more rows at once than asked for")
        if model.most > 1:
            said.append("several parts in memory at once")
        if gradient.shape != want.shape or not np.allclose(gradient, want, rtol=1e-4, atol=1e-6):
            norm = np.linalg.norm(want)
            far = np.linalg.norm(gradient - want) / norm if gradient.shape == want.shape else np.inf
            said.append("no gradient" if far == np.inf else f"the gradient is off by {100 * far:.0f} %")
        elif not isinstance(mean, (int, float)) or not np.isclose(mean, want_mean, rtol=1e-4):
            said.append("the gradient agrees, the mean loss does not")
        rows.append((name, ", ".join(said) or "agrees", not said))
    table = tuple(rows)
    if all(ok for *_, ok in rows):
        return Verdict(True, "Equal to one batch, in the memory of a part.", rows=table)
    for right, wrong, _, text in _ACCUMULATE_MADE:
        theirs = slip(accumulate, right, wrong)
        if all(_same_gradient(theirs, size, counts, found)
               for (_, size, counts), found in zip(_accumulation_cases(), results, strict=True)):  # fmt: skip
            return Verdict(False, text, rows=table)
    told = " ".join(found for _, found, _ in rows)
    if "at once than" in told:
        return Verdict(
            False,
            "the model was given more rows at once than `rows`: that is the memory that accumulation saves.",
            rows=table,
        )
    if "in memory" in told:
        return Verdict(False, "a forward pass began before the backward pass of the part before: all graphs are in "
         "memory at once. "
                       "Call .backward() inside the loop.", rows=table)  # fmt: skip
    return Verdict(False, next(f"{name}: {found}." for name, found, ok in rows if not ok), rows=table)


def _same_gradient(theirs: Callable, size: int, counts: list[int], found: np.ndarray) -> bool:
    _, gradient, _ = _accumulated(theirs, size, counts)
    return gradient.shape == found.shape and np.allclose(gradient, found, rtol=1e-4, atol=1e-6)


def _all_at_once(model, x, y, kept, rows):
    return accumulate(model, x, y, kept, len(x))


def _one_backward(model, x, y, kept, rows):
    import torch.nn.functional as F

    loss = sum(F.cross_entropy(model(part)[k], t[k], reduction="sum")
               for part, t, k in zip(x.split(rows), y.split(rows), kept.split(rows), strict=True) if k.any())  # fmt: skip
    (loss / kept.sum()).backward()
    return (loss / kept.sum()).item()


# --- 04.8: the memory sum -------------------------------------------------------------------------------------------------

_SHAPES = (
    ("small, fp32", ModelConfig(width=32, depth=2, heads=4, context=64), 4, "float32", False),
    ("small, 16 bits", ModelConfig(width=32, depth=2, heads=4, context=64), 4, "bfloat16", False),
    (
        "deep, 16 bits",
        ModelConfig(width=64, depth=12, heads=8, context=64, vocab_size=500),
        3,
        "bfloat16",
        False,
    ),
    ("long, fp32, recomputed", ModelConfig(width=48, depth=3, heads=6, context=512), 2, "float32", True),
    ("long, 16 bits, recomputed", ModelConfig(width=48, depth=3, heads=6, context=512), 2, "bfloat16", True),
)


def sizes(model: ModelConfig) -> dict:
    """A shape as `memory_sum` takes it."""
    return {"parameters": count_params(model)["total"], "width": model.width, "depth": model.depth, "heads": model.heads,
            "context": model.context, "vocab": model.vocab_size}  # fmt: skip


def _by_footprint(m: dict, sequences: int, w: int, again: bool = False) -> dict:
    """The kit's sum, which the hooks of torch agree with to the byte."""
    model = ModelConfig(
        width=m["width"], depth=m["depth"], heads=m["heads"], context=m["context"], vocab_size=m["vocab"]
    )
    kept = footprint.activations(model, sequences, {4: "float32", 2: "bfloat16"}[w], again)
    return {"states": sum(footprint.states(model).values()), "activations": sum(kept.values())}


_MEMORY_DIAGNOSES, _MEMORY_SLIPS = slips(
    memory_sum,
    ("16 * m", "12 * m", "states are too small", "the states are too small by a quarter: weights, gradients, and two "
     "moments of Adam."),
    ('m["depth"] * block + output', "block + output", "every block", "the activations of one block are counted; every "
     "block has them."),
    ("8 * D + 16 * w * D", "4 * D + 16 * w * D", "two norms", "a block has two norms, each keeping its input in 32 bits."),
    ("8 * D + 16 * w * D", "2 * w * D + 16 * w * D", "residual stream", "under autocast the residual stream stays in "
     "32 bits: its part does "
     "not shrink with w."),
    ("        activations += w * (blocks + V * D)", "        activations += 0", "copies are missing", "under autocast "
     "each matrix is kept once more, in 16 "
     "bits: these copies are missing."),
    ("4 * D if again else 8 * D", "8 * D", "recomputed blocks", "the recomputed blocks keep everything in yours; each "
     "should keep its "
     "input alone."),
    ("block = 4 * D if again", "block = w * D if again", "stays in 32 bits", "the input of a recomputed block is the "
     "residual stream, which "
     "stays in 32 bits."),
    ("4 * V + 24", "w * V + 24", "log-probabilities", "the log-probabilities are kept in 32 bits, whatever w is."),
    ("tokens, D, H, V = sequences * m[\"context\"]", "tokens, D, H, V = sequences", "context", "a sequence has as "
     "many tokens as the "
     "context is long."),
    (" + 4 * H + 16", "", "last lines", "the last lines of the table are missing: what softmax and norms keep for each token."),
)  # fmt: skip


# --- 04.9: recomputation --------------------------------------------------------------------------------------------------


class _Work:
    """Two layers with dropout between them, and how often they ran."""

    def __init__(self) -> None:
        import torch

        torch.manual_seed(0)
        nn = torch.nn
        self.net = nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.Dropout(0.5), nn.Linear(40, 6), nn.Tanh())
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return self.net(x)


def _recomputation(mine: Callable) -> dict[str, Any]:
    """What a function that stands in for run(x) does: results, gradients, bytes kept, calls, and the random numbers after it."""
    import torch
    from torch.autograd.graph import saved_tensors_hooks

    work = _Work()
    torch.manual_seed(7)
    x = torch.randn(8, 6).mul_(1.0).requires_grad_()
    kept: dict[int, int] = {}
    owned = {p.untyped_storage().data_ptr() for p in work.net.parameters()}

    def pack(t):
        if t.untyped_storage().data_ptr() not in owned:
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with saved_tensors_hooks(pack, lambda t: t):
        y = mine(work, x * 2)
    if y is None or y is ...:
        return {"open": True}
    if not isinstance(y, torch.Tensor):
        return {"kind": type(y).__name__}
    if not y.requires_grad:
        return {"kind": "a tensor without a gradient"}
    torch.rand(3)  # somebody draws in between
    before = torch.get_rng_state()
    (y * torch.linspace(1, 2, 6)).sum().backward()
    parameters = [p.grad if p.grad is None else p.grad.clone() for p in work.net.parameters()]
    return {"y": y.detach(), "x": x.grad, "parameters": parameters, "bytes": sum(kept.values()), "calls": work.calls,
            "state": torch.equal(before, torch.get_rng_state())}  # fmt: skip


def _judge_recomputation(mine: Callable) -> Verdict:
    import torch

    plain, found = _recomputation(lambda run, x: run(x)), _recomputation(mine)
    if "open" in found:
        return UNANSWERED
    if "kind" in found:
        return Verdict(
            False,
            f"the result of run(x) is asked for, as a tensor that carries a gradient; this is {found['kind']}.",
        )

    def same(one, other) -> bool:
        return one is not None and torch.allclose(one, other, rtol=1e-5, atol=1e-7)

    none = all(g is None for g in found["parameters"])
    by_parameters = all(same(a, b) for a, b in zip(found["parameters"], plain["parameters"], strict=True))
    only_x = found["bytes"] <= 8 * 6 * 4 + 64
    rows = (
        ("the result", "agrees" if same(found["y"], plain["y"]) else "differs", same(found["y"], plain["y"])),
        (
            "gradient of x",
            "agrees" if same(found["x"], plain["x"]) else "differs",
            same(found["x"], plain["x"]),
        ),
        (
            "gradients of the parameters",
            "there are none" if none else "agree" if by_parameters else "differ",
            by_parameters,
        ),
        ("bytes kept", f"{found['bytes']:,} of {plain['bytes']:,}", only_x),
        ("times that run was called", str(found["calls"]), found["calls"] == 2),
        ("random numbers afterwards", "as before" if found["state"] else "others", found["state"]),
    )
    texts = (
        (not only_x and found["calls"] == 1, "all of run's intermediate results are kept: that is run(x) itself. Keep "
         "x, and run again "
         "in the backward pass."),
        (not only_x, "more is kept than x."),
        (none, "x has its gradient, the parameters have none: torch.autograd.backward fills them, "
         "torch.autograd.grad(y, x) does not."),
        (found["calls"] == 2 and not by_parameters and not found["state"], "the second run draws other random "
         "numbers: dropout leaves out "
         "other units, and the gradient is that of another function. Restore the state of the first run."),
        (not same(found["x"], plain["x"]) and by_parameters, "the parameters are right and the gradient of x is not: "
         "backward returns "
         "the gradient of x, which lies in x.grad."),
        (not found["state"], "gradients agree, but the backward pass leaves another random state behind: whoever "
         "draws next gets the same "
         "numbers a second time."),
        (not by_parameters, "the second run draws other random numbers, or its gradient is not the one that arrived."),
    )  # fmt: skip
    if all(ok for *_, ok in rows):
        return Verdict(True, "This is what torch.utils.checkpoint does.", rows=rows)
    for true, text in texts:
        if true:
            return Verdict(False, text, rows=rows)
    return Verdict(False, next(f"{case}: {what}." for case, what, ok in rows if not ok), rows=rows)


_RECOMPUTE_SLIPS = (
    (lambda run, x: run(x), "that is run(x) itself"),
    (slip(recomputed, "            torch.set_rng_state(ctx.drawn)\n", ""), "draws other random numbers"),
    (slip(recomputed, "            torch.set_rng_state(now)\n", ""), "leaves another random state"),
    (slip(recomputed, "            torch.autograd.backward(y, gradient)\n            return x.grad",
          "            return torch.autograd.grad(y, x, gradient)[0]"), "the parameters have none"),
    (slip(recomputed, "return x.grad", "return gradient"), "which lies in x.grad"),
)  # fmt: skip


# --- 04.10, 04.11 ---------------------------------------------------------------------------------------------------------

_BLOCKS, _TOKENS, _WIDTH = 32, 4096, 4096
_ALL = 34 * _BLOCKS * _TOKENS * _WIDTH / 1e9
_INPUTS = 2 * _BLOCKS * _TOKENS * _WIDTH / 1e9
_ONE = 34 * _TOKENS * _WIDTH / 1e9
_GIB = 1e9 / 2**30

_PEAK, _BANDWIDTH = 990e12, 3.35e12
_RIDGE = _PEAK / _BANDWIDTH
_FEWEST = 4 * _WIDTH * _RIDGE / (4 * _WIDTH - 5 * _RIDGE)


def _without_article(check: Check) -> Check:
    """ "forward pass" is "a forward pass", and so is "one forward pass"."""

    def judge(answer: Any) -> Verdict:
        words = (
            str(answer).strip("'\" ").casefold().removeprefix("one ").removeprefix("an ").removeprefix("a ")
        )
        return check.judge(words if words == "nothing" else f"a {words}")

    return replace(check, judge=judge)


EXERCISES = (
    Exercise(
        "04.1",
        "Write a function of the number of exponent bits and mantissa bits that returns the largest finite number of a "
        "format that follows IEEE 754 (its topmost exponent pattern stands for infinity and NaN).",
        function(
            largest,
            [(5, 10), (8, 7), (8, 23), (5, 2), (3, 4)],
            rel=1e-9,
            diagnoses=[
                (lambda e, m: (2 - 2.0**-m) * 2.0 ** (2 ** (e - 1)),
                 "twice too large: the topmost exponent pattern is infinity's, so the largest exponent is the bias."),
                (lambda e, m: 2.0 ** (2 ** (e - 1) - 1),
                 "that is the largest power of two; the mantissa bits can all be 1."),
                (lambda e, m: 2.0 ** (2 ** (e - 1)),
                 "that is the first number that no longer fits; the largest is one spacing below it."),
                (lambda e, m: (2 - 2.0 ** -(m + 1)) * 2.0 ** (2 ** (e - 1) - 1),
                 "one mantissa bit too many: the leading 1 is not stored, and the last bit is worth 2^-mantissa."),
                (lambda e, m: (2 - 2.0**-m) * 2.0 ** (2**e - 2),
                 "the bias is forgotten: the exponent field is stored with the bias added."),
                (lambda e, m: (1 - 2.0**-m) * 2.0 ** (2 ** (e - 1) - 1),
                 "the leading 1 is forgotten: it is not stored, and yet it counts."),
            ],
            right="65,504 for fp16, 3.4e38 for bf16 and fp32 alike.",
        ),
        (
            "A number is 1.mantissa times 2^(exponent field - bias), and the bias is 2^(exponent bits - 1) - 1.",
            "The largest field that is left is 11…10: minus the bias, that is the bias itself.",
            "All mantissa bits 1: that is 2 minus the value of the last bit, 2^-mantissa.",
        ),
        source(largest),
        kind="compute", minutes=5, difficulty=2,
        wrong=(
            (lambda e, m: (2 - 2.0**-m) * 2.0 ** (2 ** (e - 1)), "infinity's"),
            (lambda e, m: 2.0 ** (2 ** (e - 1) - 1), "largest power of two"),
            (lambda e, m: 2.0 ** (2 ** (e - 1)), "no longer fits"),
            (lambda e, m: (2 - 2.0 ** -(m + 1)) * 2.0 ** (2 ** (e - 1) - 1), "one mantissa bit too many"),
            (lambda e, m: (2 - 2.0**-m) * 2.0 ** (2**e - 2), "bias is forgotten"),
            (lambda e, m: (1 - 2.0**-m) * 2.0 ** (2 ** (e - 1) - 1), "leading 1 is forgotten"),
        ),
        placeholder=lambda exponent_bits, mantissa_bits: ...,
    ),
    Exercise(
        "04.2",
        "Write nearest(x, exponent, mantissa, largest): rounding to the nearest number of any floating-point format. "
        "It is compared "
        "with torch's own casts to bf16, fp16 and both kinds of fp8, subnormal numbers, ties and overflows among the "
        "numbers, and with "
        "a format of 4 bits that torch cannot cast to.",
        build(
            cast, _rounding_cases, names=list(_BITS), rel=1e-12, abs=0.0, diagnoses=_NEAREST_DIAGNOSES,
            right="To the last bit what torch's casts give.",
        ),
        (
            "Between two powers of two all numbers of a format are equally far apart. How far, at x? Divide by that "
            "step, round to a "
            "whole number, multiply.",
            "At 2^k the step is 2^(k − mantissa). np.frexp gives the power of two, for a fraction from 0.5 to 1. "
            "Below the smallest normal "
            "number, 2^(1 − bias), the step no longer shrinks.",
            "np.maximum holds the exponent at 1 − bias or above; np.round goes to the even neighbour at ties; np.clip "
            "stops at the largest.",
        ),
        source(nearest, NUMPY),
        kind="build", minutes=12, difficulty=3,
        wrong=_NEAREST_SLIPS, skeleton=skeleton(nearest), own=lambda: nearest,
    ),
    Exercise(
        "04.3",
        "Write stochastic(x, exponent, mantissa, largest, rng): stochastic rounding. Each number becomes one of its "
        "two neighbours in the "
        "format by chance, such that the mean of many roundings is x. It is judged by statistics on many draws.",
        judged(_judge_stochastic, wanted="two neighbours, right on average"),
        (
            "Find the step at x as in nearest, and the number below x. How likely should the upper neighbour be, if x "
            "lies a quarter of the "
            "way up?",
            "The mean of the two neighbours, weighted by their chances, has to be x: the chance of the upper one is "
            "the share of the way.",
            "below = np.floor(x / step) counts steps. Draw a number between 0 and 1 for each element; go up where it "
            "is below what is left "
            "of x / step.",
        ),
        source(stochastic, NUMPY),
        kind="build", minutes=12, difficulty=3,
        wrong=_stochastic_slips(), skeleton=skeleton(stochastic), own=lambda: stochastic,
    ),
    Exercise(
        "04.4",
        "Write scaled_step(optimizer, scale, good, interval): everything that dynamic loss scaling does after the "
        "backward pass. An overflow "
        "(infinity or NaN in any gradient) halves the scale and skips the step; interval good steps in a row double "
        "it. It is judged by "
        "planted overflows: scales and weights have to be those of torch.amp.GradScaler.",
        judged(_judge_scaler, seconds=60, wanted="scales and weights of torch.amp.GradScaler"),
        (
            "Collect all gradients from optimizer.param_groups first; some parameters may have none. Then four things in order.",
            "Divide every gradient by the scale, in place. Look whether all numbers of all gradients are finite. "
            "Step, or do not.",
            "After an overflow return half the scale and a count of 0. After a good step count one more; at the "
            "interval, double the scale "
            "and count from 0 again. torch.isfinite(g).all() looks at one gradient.",
        ),
        source(scaled_step),
        kind="build", minutes=12, difficulty=3,
        wrong=tuple((slip(scaled_step, right, bad), fragment) for right, bad, fragment, _ in _SCALER_SLIPS_MADE),
        placeholder=lambda optimizer, scale, good, interval: ..., skeleton=skeleton(scaled_step), own=lambda: scaled_step,
    ),
    Exercise(
        "04.5",
        "A weight is exactly 4 in bf16 (7 mantissa bits). Up to which size does an update leave it where it is, as if "
        "the optimizer had done "
        "nothing: an update that adds, and one that subtracts? Answer with both sizes.",
        several(
            up=number(
                2.0**-6, rel=0.01, slips=(),
                diagnoses=[
                    (2.0**-5, "that is the distance to the next number; what is less than half way rounds back."),
                    (2.0**-7, "that is the way down; above 4 the numbers stand further apart."),
                    (2.0**-8, "that is half the spacing at 1; from 4 on numbers stand further apart."),
                    (2.0**-9, "that is the answer for fp16, which has 10 mantissa bits."),
                    (2.0**-4, "7 bits of mantissa beside a leading 1 that is not stored: the spacing is 2^-7 times "
                     "the power of two."),
                ],
            ),
            down=number(
                2.0**-7, rel=0.01, slips=(),
                diagnoses=[
                    (2.0**-6, "that is the way up; just below a power of two the numbers stand closer together."),
                    (2.0**-5, "that is the distance to the next number above."),
                    (2.0**-8, "that is half of half the distance: the spacing below 4 is that between 2 and 4."),
                ],
                right="A weight that is a power of two goes down more easily than up.",
            ),
        ),
        (
            "How far is it from 4 to the next larger number of bf16, and how far to the next smaller one?",
            "Between 4 and 8 the last mantissa bit is worth 2^(2-7), between 2 and 4 it is worth 2^(1-7).",
            "Rounding goes to the nearest: an update has to get beyond half of the distance. (At half way, 4 wins: it is even.)",
        ),
        """above, below = 2.0 ** (2 - 7), 2.0 ** (1 - 7)   # 4 = 2**2, seven mantissa bits
answer = {"up": above / 2, "down": below / 2}""",
        kind="compute", minutes=4, difficulty=2,
        wrong=(
            ({"up": 2.0**-5, "down": 2.0**-6}, "half way"),
            ({"up": 2.0**-6, "down": 2.0**-6}, "closer together"),
            ({"up": 2.0**-8, "down": 2.0**-8}, "half the spacing at 1"),
            ({"up": 2.0**-9, "down": 2.0**-10}, "fp16"),
            ({"up": 2.0**-6, "down": 2.0**-8}, "half of half"),
        ),
        placeholder={"up": ..., "down": ...},
    ),
    Exercise(
        "04.6",
        "Write block_scaled(x, exponent, mantissa, largest, block): what an MX format makes of the rows of x. Each "
        "block of neighbours shares "
        "a scale, the power of two 2^(⌊log₂ largest number of the block⌋ − ⌊log₂ largest of the format⌋), and each "
        "number is rounded to nearest "
        "in units of its scale. Use your nearest.",
        build(
            _block_reference, _block_cases, names=("MXFP4", "MXFP8", "E2M1 in blocks of 16", "E5M2, no negative "
             "number"), rel=1e-9, abs=0.0,
            diagnoses=_BLOCK_DIAGNOSES, right="The same as the two formats of the Open Compute Project, which torchao has too.",
        ),
        (
            "Give x a third dimension: rows, blocks, numbers of a block. Then a maximum over the last one serves "
            "every block at once.",
            "np.abs(...).max(axis=-1, keepdims=True) is the largest number of each block. np.floor(np.log2(...)) of "
            "it and of `largest` "
            "give the exponent of the scale.",
            "Divide by the scale, round with nearest, multiply by the scale, give it x's shape. A block of zeros has "
            "no logarithm: put 1 "
            "in place of its largest number.",
        ),
        "import numpy as np\n\nfrom scalept_lab.course import built\n\nnearest = built(\"04.2\")\n\n\n" + source(block_scaled),
        kind="build", minutes=10, difficulty=3,
        wrong=_BLOCK_SLIPS, skeleton=skeleton(block_scaled), own=lambda: block_scaled,
    ),
    Exercise(
        "04.7",
        "Write accumulate(model, x, y, kept, rows): the gradient of the mean loss over all tokens that count, "
        "computed rows sequences at a time. "
        "It has to equal that of one batch, whatever the number of tokens in each part, in the memory of one part.",
        judged(_judge_accumulation, wanted="the gradient of one batch, in the memory of a part"),
        (
            "Write down the mean over all tokens: the sum of all token losses over the number of all tokens that "
            "count. What does one part "
            "add to it?",
            "F.cross_entropy(..., reduction=\"sum\") is the sum over a part's tokens. The number of all kept tokens "
            "is known before the first "
            "part.",
            "Loop over range(0, len(x), rows); skip a part without tokens; logits[kept] and y[kept] are what counts; "
            "divide the sum by all kept "
            "tokens, call .backward(), add up .item().",
        ),
        source(accumulate),
        kind="build", minutes=12, difficulty=3,
        wrong=(
            *((slip(accumulate, right, bad), fragment) for right, bad, fragment, _ in _ACCUMULATE_MADE),
            (_all_at_once, "more rows at once"), (_one_backward, "inside the loop"),
        ),
        placeholder=lambda model, x, y, kept, rows: ..., skeleton=skeleton(accumulate), own=lambda: accumulate,
    ),
    Exercise(
        "04.8",
        "Write memory_sum(m, sequences, w, again): the bytes of a training step between forward and backward pass, "
        "from the table above: states, "
        "and activations to the last byte, in 32 bits and under 16-bit autocast, with and without recomputation of the blocks.",
        build(
            _by_footprint, lambda: [(sizes(model), sequences, {"float32": 4, "bfloat16": 2}[dtype], again)
                                    for _, model, sequences, dtype, again in _SHAPES],
            names=[name for name, *_ in _SHAPES], rel=1e-12, diagnoses=_MEMORY_DIAGNOSES,
            right="The next cell holds it against what torch keeps.",
        ),
        (
            "Two parts. The states depend on the parameters alone. Activations: so many bytes per token and block, "
            "times blocks, plus the output "
            "layer's per token, plus what comes once.",
            "Weights and gradients have 4 bytes for each parameter, Adam's two moments 4 each. A block keeps 8D + "
            "16wD, and what softmax and norms "
            "keep; the output layer (4 + w)D and what belongs to the vocabulary.",
            "With w = 2, add w bytes for each weight of a matrix that the backward pass reads: 12D² for every block "
            "that is not recomputed, and VD. "
            "With again, a block keeps 4D per token and nothing else.",
        ),
        source(memory_sum),
        kind="build", minutes=12, difficulty=3,
        wrong=_MEMORY_SLIPS, skeleton=skeleton(memory_sum), own=lambda: memory_sum,
    ),
    Exercise(
        "04.9",
        "Write recomputed(run, x): run(x), such that only x is kept for the backward pass, which computes run(x) once "
        "more. Gradients of x and of all "
        "parameters inside have to be equal, also with dropout; bytes kept, calls of run and the random state "
        "afterwards are counted.",
        judged(_judge_recomputation, wanted="equal gradients, only x kept"),
        (
            "Write a class that inherits from torch.autograd.Function, with two static methods: forward(ctx, x) and "
            "backward(ctx, gradient). "
            "ctx.save_for_backward(x) keeps x. The function returns TheClass.apply(x).",
            "In backward: x.detach().requires_grad_() is a new start; under torch.enable_grad() run it again. "
            "torch.autograd.backward(y, gradient) "
            "then fills the gradients of the parameters and of the new x.",
            "Keep torch.get_rng_state() in forward. In backward: remember the state of now, set the old one, run, set "
            "the one of now again. "
            "Return the gradient of the new x.",
        ),
        source(recomputed),
        kind="build", minutes=20, difficulty=4,
        wrong=_RECOMPUTE_SLIPS,
        placeholder=lambda run, x: ..., skeleton=skeleton(recomputed), own=lambda: recomputed,
    ),
    Exercise(
        "04.10",
        "32 blocks of width 4,096, one sequence of 4,096 tokens, 34 bytes per token and channel of a block (16 bits, fused "
        "attention). With each block recomputed from its 16-bit input, how many GB (1e9 bytes) are needed at the worst moment, "
        "and what does it cost: 'a forward pass', 'a backward pass' or 'nothing'?",
        several(
            gigabytes=number(
                _INPUTS + _ONE,
                rel=0.03,  # 1.6 is what the table of the last section prints
                diagnoses=[
                    (_ALL, "that is everything kept, without recomputation."),
                    (_INPUTS, "the inputs are right; while a block is computed again, its own 34 bytes are there, too."),
                    (_ONE, "that is the one block at work; the inputs of all the others are kept as well."),
                    (2 * _INPUTS + _ONE, "16 bits are 2 bytes, not 4."),
                    (_ALL + _INPUTS, "only one block at a time has its 34 bytes."),
                    ((_INPUTS + _ONE) * _GIB, "these are GiB, of 2^30 bytes; GB are of 1e9."),
                ],
            ),
            price=_without_article(choice(
                "a forward pass",
                {
                    "a forward pass": "",
                    "a backward pass": "the backward pass runs once, as before; what is done twice?",
                    "nothing": "look at the time you measured: what the blocks have let go has to be computed again.",
                },
                right="A forward pass is a third of a step's compute, so the bill is at most that third.",
            )),
        ),
        (
            "Two parts: what is kept of every block, and what the one block needs that is being computed again.",
            "Kept: 2 bytes · 32 blocks · 4,096 tokens · 4,096 channels. At work: 34 · 4,096 · 4,096.",
            "Add the two, in units of 1e9 bytes. The price: each block is run forward a second time.",
        ),
        """kept = 2 * 32 * 4096 * 4096
at_work = 34 * 4096 * 4096
answer = {"gigabytes": (kept + at_work) / 1e9, "price": "a forward pass"}""",
        kind="compute", minutes=5, difficulty=2,
        wrong=(
            ({"gigabytes": _ALL, "price": "a forward pass"}, "everything kept"),
            ({"gigabytes": _INPUTS, "price": "a forward pass"}, "inputs are right"),
            ({"gigabytes": _ONE, "price": "a forward pass"}, "one block at work"),
            ({"gigabytes": (_INPUTS + _ONE) * _GIB, "price": "a forward pass"}, "GiB"),
            ({"gigabytes": _INPUTS + _ONE, "price": "a backward pass"}, "done twice"),
            ({"gigabytes": _INPUTS + _ONE, "price": "nothing"}, "computed again"),
        ),
        placeholder={"gigabytes": ..., "price": ...},
    ),
    Exercise(
        "04.11",
        "A GPU computes 990 TFLOP/s in bf16 and moves 3.35 TB/s. You design a step that multiplies (tokens, 4,096) "
        "with the (4,096, 16,384) matrix of an "
        "MLP in bf16, each number of inputs, weights and results moved once. How many tokens does it take at least, "
        "until not the memory but the "
        "arithmetic decides?",
        number(
            _FEWEST,
            rel=0.01,
            slips=(),
            diagnoses=[
                (_RIDGE, "the weights are counted, not what is read and written for each token; that costs bandwidth, too."),
                (2 * _RIDGE, "a multiplication and an addition are two FLOPs; and the inputs and results move, too."),
                (_RIDGE / 2, "inputs and results move, too; and a number of bf16 has 2 bytes."),
                (4 * _WIDTH * 2 * _RIDGE / (4 * _WIDTH - 10 * _RIDGE), "a weight that meets a token is two FLOPs, a "
                 "multiplication and an addition; "
                 "or did you count 4 bytes a number? bf16 has 2."),
                (4 * _WIDTH * _RIDGE / 2 / (4 * _WIDTH - 2.5 * _RIDGE), "a number of bf16 has 2 bytes, not 1."),
                (4 * _WIDTH * _RIDGE / (4 * _WIDTH - _RIDGE), "the inputs are counted, the results not: (tokens, "
                 "16,384) is written as well."),
            ],
            right="A server that answers a handful of users is far below it: there the memory decides, and fewer bits "
             "a weight are more speed.",
        ),
        (
            "Write FLOPs and bytes of the product as functions of the number of tokens T. The arithmetic decides "
            "where FLOPs / bytes is above "
            "peak / bandwidth.",
            "FLOPs: 2 · T · 4,096 · 16,384. Bytes: 2 for each number of three matrices, (T, 4,096), (4,096, 16,384) "
            "and (T, 16,384).",
            "peak / bandwidth is 296 FLOPs a byte. Set the ratio equal to it and solve for T; T stands above and below.",
        ),
        """ridge = 990e12 / 3.35e12
D, F = 4096, 4 * 4096
# 2 T D F / (2 (T D + D F + T F)) = ridge, solved for T
answer = ridge * D * F / (D * F - ridge * (D + F))""",
        kind="design", minutes=8, difficulty=3,
        wrong=(
            (_RIDGE, "not what is read and written"),
            (4 * _WIDTH * 2 * _RIDGE / (4 * _WIDTH - 10 * _RIDGE), "two FLOPs"),
            (4 * _WIDTH * _RIDGE / (4 * _WIDTH - _RIDGE), "the results not"),
        ),
    ),
)  # fmt: skip
