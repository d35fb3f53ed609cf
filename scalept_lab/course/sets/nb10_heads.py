"""Exercises of notebook 10 on action heads: frequencies as tokens, flow matching, its sampler, and what a chunk costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from scalept_lab.course.answers import UNANSWERED, Verdict, build, judged, number, several
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.sets.pieces import NUMPY, skeleton, slips, source

if TYPE_CHECKING:
    from torch import Tensor

FIRST = 10  # number of the first exercise here
TORCH = "import torch\n\n\n"

# --- the pieces that the learner writes -------------------------------------------------------------------------------


def frequencies(steps, keep, scale):
    """A code for chunks of `steps` actions: their `keep` lowest frequencies, in whole multiples of `scale`.

    Returns two functions:
      encode(chunk), chunk (N, steps, D) of floats -> (N, keep · D) whole numbers: all D numbers of frequency 0, then of
                     frequency 1, and so on
      decode(number), the way back -> (N, steps, D): frequencies that were not kept are 0

    Frequency k of a series x of n = steps numbers is c_k · Σ_s x_s · cos(π k (s + 1/2) / n), s from 0 to n − 1, with
    c_0 = √(1/n) and c_k = √(2/n) for the others. These n cosines, times c_k, are orthonormal.
    """
    import numpy as np

    k = np.arange(keep)[:, None]
    s = np.arange(steps)
    basis = np.sqrt(2 / steps) * np.cos(np.pi * k * (s + 0.5) / steps)
    basis[0] = np.sqrt(1 / steps)

    def encode(chunk):
        strength = basis @ chunk
        return np.round(strength / scale).astype(int).reshape(len(chunk), -1)

    def decode(number):
        strength = scale * number.reshape(len(number), keep, -1)
        return basis.T @ strength

    return encode, decode


def flow_loss(velocity, chunk, generator=None):
    """The loss of flow matching for a batch: how far a velocity is from the straight lines that lead from noise to chunks.

    velocity   a function (x, time) -> (B, K): x (B, K), where the lines are; time (B,), from 0 to 1, one for each line
    chunk      (B, K), where they end, at time 1. They start at time 0, from noise: K independent standard normal numbers
    generator  torch's, for what is drawn: the noise, and a time for each line, all times alike
    Returns the mean, over all B · K numbers, of the squared difference between the velocity and the line's own.
    """
    import torch

    noise = torch.randn(chunk.shape, generator=generator)
    time = torch.rand(len(chunk), generator=generator)
    t = time[:, None]
    x = (1 - t) * noise + t * chunk
    target = chunk - noise
    found = velocity(x, time)
    return ((found - target) ** 2).mean()


def euler(velocity, noise, steps):
    """Follow a velocity from time 0 to time 1 in equal steps (Euler's method).

    velocity  a function (x, time) -> (B, K): x (B, K), time (B,), the same for all rows
    noise     (B, K), where to start at time 0
    steps     how often the velocity is asked: at the beginning of each step
    Returns x at time 1, (B, K).
    """
    import torch

    x = noise
    for step in range(steps):
        time = torch.full((len(x),), step / steps)
        x = x + velocity(x, time) / steps
    return x


def _own(name: str) -> Callable[[], Any]:
    """The kit's own piece, which loads torch only when it is asked for."""

    def get() -> Any:
        from scalept_lab.vla import chunks, heads

        return getattr(chunks if name == "frequencies" else heads, name)

    return get


# --- frequencies -----------------------------------------------------------------------------------------------------


def _slowly(chunk: np.ndarray, steps: int, keep: int, scale: float) -> dict[str, np.ndarray]:
    """The oracle: one number at a time, as the formula says it; and back, from what was rounded."""
    count, _, dimensions = chunk.shape
    size = [math.sqrt((1 if k == 0 else 2) / steps) for k in range(keep)]
    numbers, back = np.zeros((count, keep, dimensions), int), np.zeros(chunk.shape)
    for i in range(count):
        for d in range(dimensions):
            for k in range(keep):
                wave = [math.cos(math.pi * k * (s + 0.5) / steps) for s in range(steps)]
                strength = size[k] * sum(chunk[i, s, d] * wave[s] for s in range(steps))
                numbers[i, k, d] = round(strength / scale)
                for s in range(steps):
                    back[i, s, d] += scale * numbers[i, k, d] * size[k] * wave[s]
    return {"numbers": numbers.reshape(count, -1), "back": back}


def _there_and_back(answer: Any, chunk: np.ndarray, steps: int, keep: int, scale: float) -> Any:
    encode, decode = answer(steps, keep, scale)
    numbers = encode(chunk)
    return {"numbers": numbers, "back": decode(numbers)}


def _frequency_cases() -> list[tuple[Any, ...]]:
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.normal(size=(3, 16, 2)), axis=1)
    return [
        (smooth, 16, 4, 0.5),
        (rng.normal(size=(2, 8, 3)), 8, 8, 1e-4),  # all of them and hardly rounded: the chunk comes back
        (np.ones((1, 10, 1)), 10, 3, 0.3),
        (rng.normal(size=(4, 5, 1)), 5, 1, 0.1),
    ]


_FREQUENCY_SLIPS = slips(
    frequencies,
    ("    basis[0] = np.sqrt(1 / steps)\n", "", "frequency 0 has", "frequency 0 has a factor of its own: without it, it "
     "counts √2 "
     "times too much, and the cosines are not orthonormal."),
    ("np.sqrt(2 / steps) * np.cos", "np.cos", "not of length 1", "the cosines are not of length 1: without c_k the way back "
     "gives "
     "another size than the chunk had."),
    ("(s + 0.5)", "s", "half a step", "the cosines are taken at s: half a step is missing, and they are not orthogonal."),
    ("np.round(strength / scale)", "(np.round(strength) / scale)", "rounded before", "the strengths are rounded before they are "
     "divided by the scale: what is smaller than a half is lost, whatever the scale."),
    ("np.round(strength / scale).astype(int)", "(strength / scale).astype(int)", "cuts towards 0", "astype(int) alone cuts "
     "towards 0: "
     "round first."),
    ("k = np.arange(keep)[:, None]", "k = np.arange(steps - keep, steps)[:, None]", "the highest", "you keep the highest "
     "frequencies: "
     "what is smooth lies in the lowest."),
    (".astype(int).reshape(len(chunk), -1)", ".astype(int).swapaxes(1, 2).reshape(len(chunk), -1)", "one dimension after", "the "
     "order is one dimension after the other: all dimensions of frequency 0 come first. A policy that writes the coarse first "
     "has settled where the chunk goes after a few numbers."),
    ("strength = scale * number", "strength = number", "scale is missing", "the scale is missing on the way back."),
)  # fmt: skip


def _through(function: Callable) -> Callable:
    return lambda *case: _there_and_back(function, *case)


@cache
def _frequency_check() -> Any:
    return build(
        _slowly,
        _frequency_cases,
        names=["smooth, 4 of 16", "all 8, hardly rounded", "constant", "1 of 5"],
        rel=1e-6,
        abs=1e-9,
        diagnoses=[(_through(wrong), text) for wrong, text in _FREQUENCY_SLIPS[0]],
        right="A slow twin, one number at a time, finds the same.",
    )


def _judge_frequencies(answer: Callable[..., Any]) -> Verdict:
    made = answer(16, 4, 0.5)
    if made is None or made is ...:
        return UNANSWERED
    if not (isinstance(made, (tuple, list)) and len(made) == 2 and all(callable(part) for part in made)):
        return Verdict(False, "two functions are asked for: return encode, decode.")
    return _frequency_check().judge(_through(answer))


# --- the loss of a flow ----------------------------------------------------------------------------------------------


def _judge_flow(answer: Callable[..., Any]) -> Verdict:
    """Three oracles: one chunk alone, whose field is known; noise that nobody can tell, whose loss is 1; Gaussian chunks, whose
    best loss is known."""
    import torch

    generator = torch.Generator().manual_seed(0)
    asked: list[tuple[Any, Any]] = []
    point = torch.linspace(-2, 2, 4).expand(4000, 4)

    def to_point(x: Tensor, time: Tensor) -> Tensor:
        asked.append((x, time))
        if (getattr(x, "shape", None), getattr(time, "shape", None)) != (point.shape, point.shape[:1]):
            return x  # what is wrong with it is told below
        return (point - x) / (1 - time[:, None]).clamp(min=1e-5)

    value = answer(to_point, point.clone(), generator)
    if value is None or value is ...:
        return UNANSWERED
    if problem := _of_calls(asked, point):
        return Verdict(False, problem)
    if not isinstance(value, torch.Tensor) or value.ndim:
        return Verdict(
            False, "one number is asked for, as a tensor, the mean over all numbers of all examples."
        )
    zero = torch.zeros(20_000, 4)
    still = float(answer(lambda x, _: torch.zeros_like(x), zero.clone(), generator))
    best, wanted = _gaussian(answer, generator)
    weight = torch.ones((), requires_grad=True)
    learns = answer(lambda x, _: weight * x, zero[:8].clone(), generator).requires_grad
    rows = (
        ("one chunk, its own field", f"loss {float(value):.4f}", float(value) < 1e-2),
        ("chunks at 0, a velocity of 0", f"loss {still:.2f}", abs(still - 1) < 0.05),
        ("Gaussian chunks, the best field", f"loss {best:.2f}", abs(best - wanted) < 0.05),
        ("a gradient gets through", "yes" if learns else "no", learns),
    )
    if all(ok for *_, ok in rows):
        return Verdict(True, "Where the best field is known, the loss is what it has to be.", rows=rows)
    return Verdict(False, _what_flow_slip(answer, point, generator, still, learns), rows=rows)


def _of_calls(asked: list[tuple[Any, Any]], point: Tensor) -> str:
    """What is wrong with how the velocity was asked."""
    if len(asked) != 1:
        return f"the velocity is asked once for a batch, yours asks {len(asked)} times."
    x, time = asked[0]
    if getattr(x, "shape", None) != point.shape:
        return "the velocity wants x with the shape of the chunks, (B, K)."
    if getattr(time, "shape", None) != (len(point),):
        return "the velocity wants one time for each example: a tensor of shape (B,)."
    if float(time.std()) < 1e-6:
        return "all examples have the same time: draw one for each, or the network sees one time in a step."
    if float(time.min()) < 0 or float(time.max()) > 1 or abs(float(time.mean()) - 0.5) > 0.03:
        return "times are drawn evenly from 0 to 1: torch.rand."
    return ""


def _gaussian(answer: Callable[..., Any], generator: Any) -> tuple[float, float]:
    """The loss of the best field for chunks that are normal with mean 2 and spread 1/2; found, and by theory."""
    import torch

    mean, spread = 2.0, 0.5

    def parts(time: Tensor) -> tuple[Tensor, Tensor]:
        """Covariance of the line's velocity with its place, and the place's variance."""
        return time * spread**2 - (1 - time), (1 - time) ** 2 + (time * spread) ** 2

    def field(x: Tensor, time: Tensor) -> Tensor:
        covariance, variance = parts(time[:, None])
        return mean + covariance / variance * (x - time[:, None] * mean)

    chunk = mean + spread * torch.randn(40_000, 2, generator=generator)
    covariance, variance = parts((torch.arange(1000) + 0.5) / 1000)
    return float(answer(field, chunk, generator)), float((1 + spread**2 - covariance**2 / variance).mean())


def _what_flow_slip(
    answer: Callable[..., Any], point: Tensor, generator: Any, still: float, learns: bool
) -> str:
    def near(x: Tensor, time: Tensor, way: float, other: bool) -> Tensor:
        t = time[:, None].clamp(1e-3, 1 - 1e-3)
        return way * ((x - point) / t if other else (point - x) / (1 - t))

    for way, other, text in (
        (-1.0, False, "the line's velocity is the other way round: it leads from the noise to the chunk."),
        (1.0, True, "time runs the other way: at time 0 a line is at the noise, at time 1 at the chunk."),
        (-1.0, True, "time runs the other way: at time 0 a line is at the noise, at time 1 at the chunk."),
    ):
        if float(answer(lambda x, t, w=way, o=other: near(x, t, w, o), point.clone(), generator)) < 1e-2:
            return text
    if abs(still - 4) < 0.2:
        return "the loss is K times too large: the mean goes over all numbers, not over examples alone."
    if abs(still - 0.5) < 0.03:
        return "the loss is half of what it should be: no factor 1/2 is asked for."
    if abs(still - 1 / 3) < 0.03:
        return "the noise is not standard normal: torch.rand is even from 0 to 1, torch.randn is normal."
    if abs(still - 1) < 0.05 and not learns:
        return "no gradient gets through to the network: leave out detach, item and no_grad."
    return (
        "with a field that is known to be right, the loss is not what it has to be: check x, and the target."
    )


def _flow_wrong(right: str, wrong: str) -> Callable:
    from scalept_lab.course.sets.pieces import slip

    return slip(flow_loss, right, wrong)


# --- the sampler ----------------------------------------------------------------------------------------------------


def _shrink(x: Tensor, time: Tensor) -> Tensor:
    return -x


def _later(x: Tensor, time: Tensor) -> Tensor:
    return time[:, None].expand(x.shape) + 1.0


def _both(x: Tensor, time: Tensor) -> Tensor:
    return (1 + time[:, None]) * x


def _euler(velocity: Callable, noise: Tensor, steps: int) -> Tensor:
    """The oracle: one row and one step at a time."""
    import torch

    rows = []
    for row in noise:
        x = row[None]
        for step in range(steps):
            x = x + (1.0 / steps) * velocity(x, torch.tensor([step / steps]))
        rows.append(x[0])
    return torch.stack(rows)


def _euler_cases() -> list[tuple[Any, ...]]:
    import torch

    noise = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]])
    return [(_shrink, noise, 1), (_shrink, noise, 4), (_later, noise, 5), (_both, noise, 10)]


_EULER_DIAGNOSES, _EULER_SLIPS = slips(
    euler,
    ("range(steps)", "range(steps + 1)", "one step too many", "that is one step too many: the last one leaves time 1."),
    ("range(steps)", "range(steps - 1)", "one step too few", "that is one step too few: it ends before time 1."),
    ("step / steps)", "(step + 1) / steps)", "the end of a step", "the velocity is asked for the time at the end of a step; "
     "x is where it was at "
     "the beginning."),
    ("velocity(x, time) / steps", "velocity(x, time)", "too long", "the steps are too long: in one of n equal steps 1/n of "
     "the time "
     "passes."),
    ("x + velocity", "x - velocity", "against the velocity", "you go against the velocity."),
    ("velocity(x, time)", "velocity(noise, time)", "where you are", "the velocity is asked at the start all the time: ask "
     "it where you are."),
)  # fmt: skip

# --- what a chunk costs ---------------------------------------------------------------------------------------------

_BINS, _KEPT, _CHUNK = 50 * 7, 8 * 7, 10

EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        f"10.{FIRST}",
        "Write frequencies(steps, keep, scale): a code for chunks of actions, as two functions. encode turns chunks into whole "
        "numbers, their lowest frequencies in multiples of the scale; decode is the way back.",
        judged(_judge_frequencies, wanted="two functions, compared to a slow twin to 6 digits"),
        (
            "Make the cosines first, as a matrix with a row for each frequency that is kept. Both functions need it.",
            "The matrix times a chunk gives the strengths: (keep, steps) @ (N, steps, D) is (N, keep, D). Because its rows are "
            "orthonormal, its transpose leads back.",
            "Divide by the scale, then np.round, then astype(int); reshape(len(chunk), -1) puts the numbers in the order "
            "asked for. "
            "Row 0 of the matrix is constant: set it apart.",
        ),
        source(frequencies, NUMPY),
        kind="build",
        minutes=20,
        difficulty=3,
        wrong=_FREQUENCY_SLIPS[1],
        skeleton=skeleton(frequencies),
        own=_own("frequencies"),
    ),
    Exercise(
        f"10.{FIRST + 1}",
        "Write flow_loss(velocity, chunk, generator): the loss of flow matching. Draw noise and, for each example, a time; "
        "go so far "
        "along the straight line from the noise to the chunk; ask the velocity there, and compare it with the line's own.",
        judged(_judge_flow, wanted="a function; three cases in which the best loss is known"),
        (
            "A line that leads from a to b in a time of 1: where is it at time t, and how fast does it go?",
            "Its velocity does not depend on t. Times have the shape (B,), chunks (B, K): time[:, None] makes them fit.",
            "torch.randn for the noise, torch.rand for the times. The place is a mixture of both ends, the target their "
            "difference; then mean squared error.",
        ),
        source(flow_loss, TORCH),
        kind="build",
        minutes=15,
        difficulty=4,
        wrong=(
            (_flow_wrong("target = chunk - noise", "target = noise - chunk"), "the other way round"),
            (_flow_wrong("(1 - t) * noise + t * chunk", "t * noise + (1 - t) * chunk"), "time runs the other way"),
            (_flow_wrong("torch.rand(len(chunk), generator=generator)", "torch.rand(1, generator=generator).expand(len(chunk))"),
             "the same time"),
            (_flow_wrong("torch.rand(len(chunk), generator=generator)", "torch.rand((), generator=generator)[None]"),
             "one time for each example"),
            (_flow_wrong(".mean()", ".sum(1).mean()"), "K times too large"),
            (_flow_wrong("torch.randn(", "torch.rand("), "not standard normal"),
            (_flow_wrong("torch.rand(len(chunk), generator=generator)", "torch.rand(len(chunk), generator=generator) ** 2"),
             "drawn evenly"),
            (_flow_wrong("found = velocity(x, time)", "found = velocity(x, time).detach()"), "no gradient"),
        ),
        skeleton=skeleton(flow_loss),
        own=_own("flow_loss"),
    ),
    Exercise(
        f"10.{FIRST + 2}",
        "Write euler(velocity, noise, steps): start at noise, at time 0, and follow the velocity to time 1 in equal steps. The "
        "velocity is asked once for each step, at its beginning.",
        build(
            _euler,
            _euler_cases,
            names=["shrinking, 1 step", "shrinking, 4 steps", "faster with time, 5 steps", "both, 10 steps"],
            rel=1e-5,
            abs=1e-6,
            diagnoses=_EULER_DIAGNOSES,
            right="Known fields lead where they have to.",
        ),
        (
            "How much time passes in one of n equal steps from 0 to 1? How far does one get in it?",
            "Step number i, from 0 on, begins at time i / steps.",
            "The time has to be a tensor with an entry for each row: torch.full((len(x),), …). Make a new x in each step, "
            "the noise "
            "stays as it is.",
        ),
        source(euler, TORCH),
        kind="build",
        minutes=10,
        difficulty=2,
        wrong=_EULER_SLIPS,
        skeleton=skeleton(euler),
        own=_own("euler"),
    ),
    Exercise(
        f"10.{FIRST + 3}",
        "A robot arm with 7 joints is steered 50 times a second, and its policy writes a chunk of one second. How often is the "
        "network passed for one chunk with a token for each number (bins), with the 8 lowest frequencies of each joint "
        "(frequencies), and with a flow of 10 Euler steps (flow)?",
        several(
            bins=number(
                _BINS,
                rel=1e-3,
                diagnoses=((50, "each action has 7 numbers, and each number takes a token."), (7, "the chunk has 50 actions.")),
            ),
            frequencies=number(
                _KEPT,
                rel=1e-3,
                diagnoses=((8, "each of the 7 joints has its own 8 frequencies."), (400, "the 50 actions are gone: 8 "
                 "numbers of a "
                            "joint say how it moves all second long."), (_BINS * 8, "what is kept of a joint does not grow "
                            "with the "
                            "number of actions.")),
            ),
            flow=number(
                _CHUNK,
                rel=1e-3,
                diagnoses=((10 * _BINS, "one pass of a flow moves all numbers at once."), (500, "one pass moves all actions "
                 "at once."),
                           (70, "one pass moves all joints at once.")),
            ),
        ),
        (
            "Count numbers first: joints times actions.",
            "Tokens in turn: a pass for each. For which of the three does the number of joints not matter?",
            "A flow gives all numbers of the chunk in each pass, and takes as many passes as Euler takes steps.",
        ),
        'answer = {"bins": 50 * 7, "frequencies": 8 * 7, "flow": 10}',
        kind="compute",
        minutes=4,
        difficulty=1,
        wrong=(
            ({"bins": 50, "frequencies": _KEPT, "flow": 10}, "bins: each action has 7"),
            ({"bins": _BINS, "frequencies": 8, "flow": 10}, "frequencies: each of the 7"),
            ({"bins": _BINS, "frequencies": _KEPT, "flow": 3500}, "flow: one pass"),
        ),
        placeholder={"bins": ..., "frequencies": ..., "flow": ...},
    ),
)  # fmt: skip
