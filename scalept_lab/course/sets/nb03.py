"""Exercises of notebook 03, optimization and batch size.

A build's solution is the source of a function of this module, and its skeleton is what stands above the body: what is
shown, what is compared with and what serves while the exercise is open are one piece of code.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from scalept_lab.course.answers import UNANSWERED, Check, Verdict, build, choice, judged, number, several
from scalept_lab.course.equal import difference, kind
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.sets.pieces import NUMPY, skeleton, slip, slips, source

MATH = "import math\n\n\n"
Row = tuple[str, str, bool]

# --- the pieces that the learner writes ------------------------------------------------------------------------------


def contraction(curvatures: list, rate: float, momentum: float) -> float:
    """By how much a step of momentum shrinks the slowest direction of a quadratic, in the long run.

    curvatures  one for each direction, all positive;  rate  η;  momentum  μ
    Returns one number: 0.9 if the slowest direction keeps nine tenths of its distance per step, above 1 if it runs away.
    """
    slowest = 0.0
    for h in curvatures:
        step = np.array([[1 + momentum - rate * h, -momentum], [1.0, 0.0]])
        eigenvalues = np.linalg.eigvals(step)
        slowest = max(slowest, float(np.abs(eigenvalues).max()))
    return slowest


def adamw_step(tensors, gradients, state, lr, betas=(0.9, 0.999), eps=1e-8, decay=0.01):
    """Move the tensors in place by one step of AdamW.

    tensors, gradients  lists of torch tensors, of equal shapes in the same order;  lr  η of this step;  decay  λ
    state  a dict that is empty before the first step. Keep in it: "t", the number of steps done, "m" and "v", lists of tensors
    """
    if not state:
        state["t"] = 0
        state["m"] = [0 * p for p in tensors]
        state["v"] = [0 * p for p in tensors]
    state["t"] += 1
    t, (beta1, beta2) = state["t"], betas
    for p, g, m, v in zip(tensors, gradients, state["m"], state["v"], strict=True):
        p.mul_(1 - lr * decay)
        m.mul_(beta1).add_((1 - beta1) * g)
        v.mul_(beta2).add_((1 - beta2) * g**2)
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        p.sub_(lr * m_hat / (v_hat.sqrt() + eps))


def wsd(steps: int, warmup: int, decay: int, shape: str = "linear") -> list:
    """The rate of each step, as a fraction of the peak: warm-up, stable, decay.

    steps, warmup, decay  how many steps in all, and in the two ends (decay 0: none; never more than the warm-up leaves)
    shape  of the decay, "linear" or "cosine"
    Returns a list, one fraction for each step.
    """
    decay = min(decay, steps - warmup)
    rates = []
    for step in range(steps):
        left = (steps - step) / decay if decay else 1.0
        if step < warmup:
            rates.append((step + 1) / (warmup + 1))
        elif left >= 1:
            rates.append(1.0)
        elif shape == "cosine":
            rates.append((1 - math.cos(math.pi * left)) / 2)
        else:
            rates.append(left)
    return rates


def ends(lengths, schedule, start, go_on, branch, score):
    """The loss of a model of each length, all from one trunk: each end is a branch with its own decay.

    lengths      numbers of steps, the shortest first
    schedule(n)  the rates of a run of n steps, as a list; its last fifth is the decay
    start()      a new run; run.step says how many steps it has done
    go_on(run, rates)  trains `run` itself, one step for each rate, and returns it;  branch(run) copies it;  score(run)
    Returns the losses in the order of `lengths`.
    """
    trunk, losses = start(), []
    for n in lengths:
        rates = schedule(n)
        stable = n - round(0.2 * n)
        go_on(trunk, rates[trunk.step : stable])
        end = go_on(branch(trunk), rates[stable:])
        losses.append(score(end))
    return losses


def noise_scale(groups: list, small: int) -> tuple:
    """Signal, noise and their ratio from gradients of small batches.

    groups  list of arrays (pieces, parameters): each row is the gradient of a batch of `small` sequences, and all rows of a
            group were taken at the same weights
    Returns (|G|², tr Σ, B_simple), three numbers, of all groups together.
    """
    signals, noises = [], []
    for g in groups:
        large = small * len(g)
        square_small = np.mean(np.sum(g**2, axis=1))
        square_large = np.sum(np.mean(g, axis=0) ** 2)
        signals.append((large * square_large - small * square_small) / (large - small))
        noises.append((square_small - square_large) / (1 / small - 1 / large))
    signal, noise = np.mean(signals), np.mean(noises)
    return float(signal), float(noise), float(noise / signal)


def newton_schulz(matrix, steps=5):
    """The matrix with its singular values pushed towards one, by products alone.

    matrix  a torch tensor (rows, columns), of any size of numbers;  steps  how many times the polynomial is applied
    Returns a new tensor of the same shape.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    X = matrix.T if tall else matrix
    X = X / (X.norm() + 1e-7)
    for _ in range(steps):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if tall else X


def fair_gain(a: dict, b: dict) -> np.ndarray:
    """How much lower the loss of `a` is than that of `b`, seed by seed, each at a rate that was chosen without that seed.

    a, b  rate -> list of losses, one for each seed, the same seeds in the same order (infinite: the run diverged)
    Returns an array, one difference for each seed, positive where `a` is better.
    """
    gains = []
    for seed in range(len(next(iter(a.values())))):
        scored = []
        for table in (a, b):
            others = {rate: np.mean(np.delete(losses, seed)) for rate, losses in table.items()}
            best = min(others, key=lambda rate: others[rate])
            scored.append(table[best][seed])
        gains.append(scored[1] - scored[0])
    return np.array(gains)


# --- 03.1: one step by hand ------------------------------------------------------------------------------------------


def _in_other_words(check: Check, words: dict[str, str]) -> Check:
    """The same choice, also where it is said in other words."""

    def judge(answer: Any) -> Verdict:
        if isinstance(answer, str):
            plain = " ".join(answer.strip().strip("'\".").casefold().replace("_", " ").split())
            answer = words.get(plain, plain)
        return check.judge(answer)

    return Check(judge, check.wanted)


_WORDS = {
    word: right
    for right, others in {
        "run away": (
            "runs away",
            "diverge",
            "diverges",
            "it diverges",
            "runaway",
            "blow up",
            "blows up",
            "never arrive",
        ),
        "arrive": ("arrives", "converge", "converges"),
        "stop early": ("stops early", "stop", "stops"),
    }.items()
    for word in others
}

STEP = Exercise(
    id="03.1",
    kind="compute",
    minutes=4,
    difficulty=1,
    question="J = ½(y − θx)² with x = 2, y = 6, θ = 0.5. An article gives the gradient as x − y. Where does one right step with "
    'η = 0.1 lead? And after many steps with the article\'s gradient, does θ "arrive", "stop early" or "run away"?',
    check=several(
        theta=number(
            1.5,
            rel=1e-6,
            diagnoses=[
                (0.9, "that is a step with the article's x − y = −4; θ does not even appear in it."),
                (1.0, "the inner derivative is missing: y − θx changes by −x when θ does."),
                (-0.5, "the step goes downhill: θ minus the rate times the gradient."),
                (10.5, "the rate of 0.1 is missing."),
                (-10.0, "that is the gradient; now take the step."),
            ],
            slips=(),
        ),
        article=_in_other_words(
            choice(
                "run away",
                {
                    "run away": "",
                    "arrive": "does x − y become zero when θ = y/x? Look for θ in it.",
                    "stop early": "a step stops where the gradient is zero; is x − y ever zero here?",
                },
                right="x − y knows nothing of θ: every step is the same, past the minimum and on.",
            ),
            _WORDS,
        ),
    ),
    hints=(
        "Differentiate by the chain rule: the square first, then what stands inside it.",
        "dJ/dθ = (y − θx)·(−x). Put the numbers in, then θ − η·gradient.",
        "The gradient is −2·(6 − 1) = −10. For the second part: what is x − y after the first step, and after the tenth?",
    ),
    solution="""x, y, theta, rate = 2, 6, 0.5, 0.1
gradient = -x * (y - theta * x)
answer = {"theta": theta - rate * gradient, "article": "run away"}""",
    wrong=(
        ({"theta": 0.9, "article": "run away"}, "article's x − y"),
        ({"theta": 1.0, "article": "run away"}, "inner derivative"),
        ({"theta": -0.5, "article": "run away"}, "downhill"),
        ({"theta": 1.5, "article": "arrive"}, "Look for θ"),
        ({"theta": 1.5, "article": "stops early"}, "ever zero"),
    ),
    placeholder={"theta": ..., "article": ...},
)

# --- 03.2: how fast momentum shrinks a distance ----------------------------------------------------------------------

_CONTRACTION_SLIPS = slips(
    contraction,
    (
        "np.abs(eigenvalues).max()",
        "eigenvalues.real.max()",
        "complex",
        "an eigenvalue may be complex or negative: its length counts, and not its real part.",
    ),
    (
        "for h in curvatures:",
        "for h in [max(curvatures)]:",
        "the steepest direction alone",
        "that is the steepest direction alone; which of them is the slowest depends on the rate.",
    ),
    (
        "for h in curvatures:",
        "for h in [min(curvatures)]:",
        "the flattest direction alone",
        "that is the flattest direction alone; at a high rate the steep one is the slowest, or runs away.",
    ),
    (
        "float(np.abs(eigenvalues).max())",
        "float(np.abs(eigenvalues).max()) ** 2",
        "of the loss",
        "that is the factor of the loss, which goes with the square of the distance; the distance is asked for.",
    ),
    (
        "1 + momentum - rate * h",
        "1 - rate * h",
        "the velocity",
        "θ keeps a share μ of its last move: the velocity is missing in what multiplies the last position.",
    ),
    (
        "1 + momentum - rate * h",
        "1 + momentum + rate * h",
        "uphill",
        "this goes uphill: the gradient is subtracted.",
    ),
    (
        "np.abs(eigenvalues).max()",
        "np.abs(eigenvalues).min()",
        "smaller eigenvalue",
        "of the two eigenvalues the longer one is left in the long run, and this is the smaller eigenvalue.",
    ),
)

CONTRACTION = Exercise(
    id="03.2",
    kind="build",
    minutes=12,
    difficulty=3,
    question="In a direction of curvature h the gradient is hθ, and a step of momentum makes the next position out of "
    "the last two: "
    "θ(t+1) = (1 + μ − ηh)·θ(t) − μ·θ(t−1). Write contraction(curvatures, rate, momentum): by which factor does the distance "
    "shrink per step, in the long run and in the slowest direction?",
    check=build(
        contraction,
        [
            ([1.0, 25.0], 0.05, 0.0),
            ([1.0, 25.0], 0.05, 0.9),
            ([1.0, 25.0], 0.1, 0.5),
            ([1.0, 4.0, 100.0], 0.03, 0.6),
            ([1.0, 25.0], 0.09, 0.0),
            ([2.0], 0.1, 0.1),
        ],
        names=("no momentum", "μ = 0.9", "μ = 0.5", "three directions", "beyond the limit", "one direction"),
        rel=1e-5,
        diagnoses=_CONTRACTION_SLIPS[0],
        right="A step multiplies the pair (θ(t), θ(t−1)) by a 2 × 2 matrix, and in the long run its longest eigenvalue is left.",
    ),
    hints=(
        "Write the pair (θ(t+1), θ(t)) as a matrix times the pair (θ(t), θ(t−1)). Applied many times, which number of a matrix "
        "says how fast its powers grow or shrink?",
        "The matrix has the two factors of the formula in its first row and (1, 0) in its second. Its eigenvalues may "
        "be complex.",
        "For each curvature, np.linalg.eigvals of the 2 × 2 matrix gives two numbers; take their absolute values and keep the "
        "largest. Over the curvatures, keep the largest again.",
    ),
    skeleton=skeleton(contraction),
    own=lambda: contraction,
    solution=source(contraction, NUMPY),
    wrong=_CONTRACTION_SLIPS[1],
    placeholder=lambda curvatures, rate, momentum: ...,
)

# --- 03.3: AdamW -----------------------------------------------------------------------------------------------------

_STEPS = 6
_SETTINGS: dict[str, dict[str, Any]] = {
    "torch's defaults": {},
    "decay 0.3, β = (0.8, 0.95)": {"decay": 0.3, "betas": (0.8, 0.95)},
    "tiny gradients, ε = 0.001": {"decay": 0.0, "eps": 1e-3},
}


def _planted(name: str) -> tuple[list, list[list], list[float]]:
    """Tensors of three shapes, their gradients in each of _STEPS steps, and the rates of a schedule."""
    import torch

    rng = np.random.default_rng(3)
    shapes, size = ((3,), (2, 4), ()), 1e-3 if name.startswith("tiny") else 1.0
    tensors = [torch.tensor(rng.standard_normal(shape)) for shape in shapes]
    gradients = [[torch.tensor(size * rng.standard_normal(shape)) for shape in shapes] for _ in range(_STEPS)]
    return tensors, gradients, [0.01, 0.03, 0.05, 0.05, 0.02, 0.01]


def _walk(step: Callable, name: str) -> tuple[list[list], dict, list, list[list]]:
    """Positions after each step, the state at the end, what each call returned, and the gradients afterwards."""
    import torch

    tensors, gradients, rates = _planted(name)
    state: dict = {}
    places, returned = [], []
    with torch.no_grad():
        for g, lr in zip(gradients, rates, strict=True):
            returned.append(step(tensors, g, state, lr, **_SETTINGS[name]))
            places.append([p.clone() for p in tensors])
    return places, state, returned, gradients


def _torchs(name: str) -> tuple[list[list], dict]:
    """The same by torch.optim.AdamW."""
    import torch

    tensors, gradients, rates = _planted(name)
    settings = {"betas": (0.9, 0.999), "eps": 1e-8, "decay": 0.01, **_SETTINGS[name]}
    decay = settings.pop("decay")
    optimizer = torch.optim.AdamW(tensors, lr=1.0, weight_decay=decay, **settings)
    places = []
    for g, lr in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        for p, grad in zip(tensors, g, strict=True):
            p.grad = grad
        optimizer.step()
        places.append([p.clone() for p in tensors])
    kept = [optimizer.state[p] for p in tensors]
    return places, {
        "t": _STEPS,
        "m": [s["exp_avg"] for s in kept],
        "v": [s["exp_avg_sq"] for s in kept],
    }


def _fresh(tensors, gradients, state, lr, **settings):
    adamw_step(tensors, gradients, {}, lr, **settings)


_ADAMW = (
    (
        "m_hat = m / (1 - beta1**t)\n        v_hat = v / (1 - beta2**t)",
        "m_hat, v_hat = m, v",
        "not corrected",
        "m and v are not corrected: both start at zero, and are too small for a while.",
    ),
    (
        "p.mul_(1 - lr * decay)",
        "g = g + decay * p",
        "not AdamW",
        "the decay went into the gradient, and so through m and v: that is Adam with L2, not AdamW.",
    ),
    (
        "p.mul_(1 - lr * decay)",
        "p.mul_(1 - decay)",
        "times the rate",
        "the decay lacks the rate: a step takes the share λ times the rate off each number.",
    ),
    (
        "p.mul_(1 - lr * decay)",
        "p.mul_(1 + lr * decay)",
        "away from zero",
        "the decay pushes numbers away from zero.",
    ),
    ("p.mul_(1 - lr * decay)", "pass", "no decay", "there is no decay in it."),
    ("(v_hat.sqrt() + eps)", "(v_hat + eps).sqrt()", "outside the root", "ε stands outside the root."),
    (
        "(v_hat.sqrt() + eps)",
        "(v_hat + eps)",
        "root is missing",
        "the root is missing: v has the unit of a squared gradient.",
    ),
    (
        "(1 - beta2) * g**2",
        "(1 - beta2) * g.abs()",
        "mean of the squares",
        "v is the mean of the squares, not of the sizes.",
    ),
    (
        '(beta1, beta2) = state["t"], betas',
        '(beta2, beta1) = state["t"], betas',
        "exchanged",
        "β₁ and β₂ are exchanged: the first of betas belongs to m.",
    ),
    (
        't, (beta1, beta2) = state["t"], betas',
        't, (beta1, beta2) = state["t"] + 1, betas',
        "off by one",
        "t is off by one: in the first step it is 1.",
    ),
    (
        "for p, g, m, v in",
        "t -= 1\n    for p, g, m, v in",
        "off by one",
        "t is off by one: in the first step it is 1.",
    ),
    (
        "m_hat = m / (1 - beta1**t)\n        v_hat = v / (1 - beta2**t)",
        "m_hat = m.div_(1 - beta1**t)\n        v_hat = v.div_(1 - beta2**t)",
        "uncorrected in the state",
        "m and v stay uncorrected in the state; only the step uses the corrected ones.",
    ),
    ("p.sub_(lr", "p.add_(lr", "uphill", "the step goes uphill."),
    ("p.sub_(lr * m_hat", "p.sub_(m_hat", "the rate is missing", "the rate is missing in the step itself."),
    (
        "p.sub_(lr * m_hat",
        "p.sub_(lr * g",
        "not the gradient",
        "the step follows the running mean, not the gradient of this step.",
    ),
    (
        "m.mul_(beta1).add_((1 - beta1) * g)",
        "m.mul_(beta1).add_(g)",
        "a sum",
        "m is a sum of gradients here; the new one counts with what β₁ leaves, so that m is a mean.",
    ),
)


def _count_each_tensor(tensors, gradients, state, lr, betas=(0.9, 0.999), eps=1e-8, decay=0.01):
    state.setdefault("t", 0)
    for i, p in enumerate(tensors):
        state["t"] += 1
        m, v = state.setdefault(f"m{i}", 0 * p), state.setdefault(f"v{i}", 0 * p)
        p.mul_(1 - lr * decay)
        m.mul_(betas[0]).add_((1 - betas[0]) * gradients[i])
        v.mul_(betas[1]).add_((1 - betas[1]) * gradients[i] ** 2)
        t = state["t"]
        p.sub_(lr * m / (1 - betas[0] ** t) / ((v / (1 - betas[1] ** t)).sqrt() + eps))


def _not_in_place(tensors, gradients, state, lr, **settings):
    tensors = [p.clone() for p in tensors]
    adamw_step(tensors, gradients, state, lr, **settings)
    return tensors


def _adamw_slips() -> Iterable[tuple[Callable, str]]:
    if not _MADE:
        _MADE.extend((slip(adamw_step, right, wrong), text) for right, wrong, _, text in _ADAMW)
        _MADE.append((_count_each_tensor, "t grows with every tensor of the list; it counts steps."))
        _MADE.append(
            (_fresh, "m, v and t begin anew in every step: make them only where the state is empty.")
        )
    return _MADE


_MADE: list[tuple[Callable, str]] = []


def _judge_adamw(mine: Callable) -> Verdict:
    rows: list[Row] = []
    walks = {}
    for name in _SETTINGS:
        places, state, returned, gradients = _walk(mine, name)
        start, given, _ = _planted(name)
        if not difference(places[-1], start, 0, 0):
            if all(value is None or value is ... for value in returned) and not state:
                return UNANSWERED
            return Verdict(
                False,
                "the tensors stand where they stood: change them in place, with p.mul_(…), p.sub_(…) or p[...] = …; "
                "p = … only gives a result a name.",
            )
        if difference(gradients, given, 0, 0):
            return Verdict(
                False, "your function changes the gradients; others still need them, so work on new tensors."
            )
        wanted, kept = _torchs(name)
        walks[name] = places, state
        for what, found, want in (
            ("first step", places[0], wanted[0]),
            (f"{_STEPS} steps", places[-1], wanted[-1]),
        ):
            off = difference(found, want, 1e-7, 1e-12)
            rows.append((f"{name}: {what}", off or "agrees", not off))
        off = next((_state_off(state, kept, part) for part in kept if _state_off(state, kept, part)), "")
        rows.append((f"{name}: state", off or "agrees", not off))
    table = tuple(rows)
    if all(ok for *_, ok in rows):
        return Verdict(
            True,
            "The same as torch.optim.AdamW, positions and state, in six steps of a changing rate.",
            rows=table,
        )
    for wrong, text in _adamw_slips():
        if all(_same_walk(walks[name], _walk(wrong, name)[:2]) for name in _SETTINGS):
            return Verdict(False, text, rows=table)
    if all(ok for case, _, ok in rows if not case.endswith("state")):
        return Verdict(
            False,
            'the tensors are right; the state is not as asked for: "t", the steps done, and the lists "m" and '
            '"v", uncorrected.',
            rows=table,
        )
    if all(ok for case, _, ok in rows if case.endswith("first step")):
        return Verdict(
            False,
            "the first step is right, a later one is not: what has to be remembered between steps?",
            rows=table,
        )
    return Verdict(False, next(f"{case}: {found}." for case, found, ok in rows if not ok), rows=table)


def _state_off(state: dict, kept: dict, part: str) -> str:
    if part not in state:
        return f'no "{part}" in it'
    off = difference(state[part], kept[part], 1e-7, 1e-12)
    return f"{part}: {off}" if off else ""


def _same_walk(mine: tuple[list, dict], theirs: tuple[list, dict]) -> bool:
    """Whether two functions took the same steps; the states are compared where both are laid out as asked for."""
    if difference(mine[0], theirs[0], 1e-7, 1e-12):
        return False
    return all(
        not difference(mine[1][part], theirs[1][part], 1e-7, 1e-12)
        for part in ("m", "v")
        if part in mine[1] and part in theirs[1]
    )


ADAMW = Exercise(
    id="03.3",
    kind="build",
    minutes=20,
    difficulty=4,
    question="Write adamw_step(tensors, gradients, state, lr, betas, eps, decay): one step of AdamW for a whole list of "
    "tensors, with "
    "decoupled decay and bias correction. It changes the tensors in place, and keeps in the dict state what the next step needs.",
    check=judged(
        _judge_adamw, wanted="the positions and the state of torch.optim.AdamW in six steps, to seven digits"
    ),
    hints=(
        "In the first step the state is empty: put a counter and two lists of zeros of the right shapes into it. 0 * p has the "
        "shape of p.",
        "Count the step once. Then, tensor by tensor: decay it, update its m and v in place (m.mul_(…).add_(…)), "
        "correct copies of "
        "both, and subtract the move.",
        "The six formulas stand above the exercise, in the order in which they are needed. p.mul_ and p.sub_ change a tensor in "
        "place; m / (…) makes a new one, so that the m in the state stays as it is.",
    ),
    skeleton=skeleton(adamw_step),
    own=lambda: adamw_step,
    solution=source(adamw_step),
    wrong=(
        *(
            (slip(adamw_step, right, wrong), fragment)
            for right, wrong, fragment, _ in _ADAMW
            if fragment != "off by one"
        ),
        (slip(adamw_step, _ADAMW[9][0], _ADAMW[9][1]), "off by one"),
        (_count_each_tensor, "grows with every tensor"),
        (_not_in_place, "stand where they stood"),
        (_fresh, "begin anew"),
    ),
    placeholder=lambda tensors, gradients, state, lr, betas=None, eps=None, decay=None: ...,
)

# --- 03.4: the first step without correction -------------------------------------------------------------------------

FIRST = Exercise(
    id="03.4",
    kind="compute",
    minutes=5,
    difficulty=2,
    question="Adam with β₁ = 0.9 and β₂ = 0.999, its bias correction left out: how many times as long as the corrected "
    "one is the "
    "very first step?",
    check=number(
        (1 - 0.9) / math.sqrt(1 - 0.999),
        rel=0.02,  # 3.2 is right, too
        diagnoses=[
            (0.1, "m alone makes it a tenth; but v, below the line, is too small as well."),
            (100, "v stands under a root."),
            (math.sqrt(1 - 0.999) / 0.1, "upside down: m is above the line, √v below."),
            (10, "m is 0.1 of what it should be, v is 0.001: divide the one by the root of the other."),
            (1.0, "they would cancel if v were squared the way m is: compare 0.1 with √0.001."),
        ],
        slips=(),
        right="The missing correction makes early steps longer, not shorter: √v is further off than m.",
    ),
    hints=(
        "After one step, m = (1 − β₁)g and v = (1 − β₂)g².",
        "A step has the length m/√v, times the rate. With the correction it is g/|g| = 1.",
        "0.1 over the root of 0.001.",
    ),
    solution="answer = (1 - 0.9) / (1 - 0.999) ** 0.5",
    wrong=((0.1, "m alone"), (100, "under a root"), (0.3162, "upside down"), (1, "cancel")),
)

# --- 03.5: warm-up, stable, decay ------------------------------------------------------------------------------------

_WSD_SLIPS = slips(
    wsd,
    (
        "(step + 1) / (warmup + 1)",
        "step / (warmup + 1)",
        "first step",
        "the very first step has the rate 0: it teaches nothing. The warm-up begins above zero.",
    ),
    (
        "(step + 1) / (warmup + 1)",
        "(step + 1) / warmup",
        "already the peak",
        "the last step of your warm-up is already the peak; the step after it should be the first one there.",
    ),
    (
        "(steps - step) / decay",
        "(steps - step - 1) / decay",
        "last step",
        "your rate is zero in the last step, which then teaches nothing; it reaches zero one step after the last.",
    ),
    (
        "decay = min(decay, steps - warmup)",
        "pass",
        "longer than what the warm-up leaves",
        "where the decay is longer than what the warm-up leaves, it begins where the warm-up ends, at the peak.",
    ),
    ("if step < warmup:", "if False:", "no warm-up", "there is no warm-up in it."),
    (
        "rates.append((1 - math.cos(math.pi * left)) / 2)",
        "rates.append((1 + math.cos(math.pi * left)) / 2)",
        "rises",
        "this cosine rises from zero to the peak; at the start of the decay it has to be 1.",
    ),
    (
        "rates.append((1 - math.cos(math.pi * left)) / 2)",
        "rates.append(left)",
        "both shapes",
        "both shapes come out as a straight line.",
    ),
    (
        "elif left >= 1:",
        "elif left > 1e9:",
        "stable part",
        "there is no stable part: before the decay the rate stays at the peak.",
    ),
)

WSD = Exercise(
    id="03.5",
    kind="build",
    minutes=12,
    difficulty=2,
    question="Write wsd(steps, warmup, decay, shape): the list of rates of a run, as fractions of the peak. The warm-up "
    "rises in a "
    "straight line and would meet the peak one step after its last; the decay falls from the peak and would meet zero "
    "one step after "
    "the last of all. No step has the rate 0. With a decay of 0 steps the rate stays at the peak to the end.",
    check=build(
        wsd,
        [(10, 3, 4), (10, 3, 0), (10, 3, 9), (12, 2, 5, "cosine"), (9, 0, 9, "cosine"), (4, 4, 2), (1, 0, 0)],
        names=(
            "3 up, 3 stable, 4 down",
            "no decay",
            "a decay that is too long",
            "cosine",
            "cosine without warm-up",
            "warm-up alone",
            "one step",
        ),
        rel=1e-6,
        diagnoses=_WSD_SLIPS[0],
        right="One function for all four schedules of the table: only the length and the shape of the decay differ.",
    ),
    hints=(
        "Three cases for a step: before `warmup`, less than `decay` steps from the end, and all others.",
        "With warmup = 3 the first rates are 1/4, 2/4, 3/4, and then 1. With decay = 4 the last ones are 4/4, 3/4, 2/4, 1/4.",
        "Let left = (steps − step)/decay, which falls from 1 to 1/decay over the decay: that is the straight line. The cosine is "
        "½(1 − cos(π·left)). Cut decay down to what the warm-up leaves first, and mind a decay of 0.",
    ),
    skeleton=skeleton(wsd),
    own=lambda: wsd,
    solution=source(wsd, MATH),
    wrong=_WSD_SLIPS[1],
    placeholder=lambda steps, warmup, decay, shape="linear": ...,
)

# --- 03.6: a fair comparison ----------------------------------------------------------------------------------------

_FAIR_SLIPS = slips(
    fair_gain,
    (
        "np.mean(np.delete(losses, seed))",
        "np.mean(losses)",
        "is among those",
        "the seed that is scored is among those that chose the rate: it has seen its own exam.",
    ),
    (
        "np.mean(np.delete(losses, seed))",
        "losses[seed]",
        "its own lucky rate",
        "each seed takes its own lucky rate: the more rates were tried, the better that looks, even where nothing is there.",
    ),
    (
        "scored[1] - scored[0]",
        "scored[0] - scored[1]",
        "sign",
        "the sign: positive where a is better, that is, where its loss is lower.",
    ),
    (
        "scored.append(table[best][seed])",
        "scored.append(others[best])",
        "that chose",
        "that scores the seeds that chose; score the one that was left out.",
    ),
    (
        "best = min(others",
        "best = max(others",
        "worst rate",
        "that chooses the worst rate: a low loss is good.",
    ),
    (
        "for table in (a, b):",
        "for table in (a, {rate: b[rate] for rate in b if rate == min(a, key=lambda r: np.mean(np.delete(a[r], seed)))} or b):",
        "a rate of its own",
        "b has a rate of its own: the best rate of a may be a bad one for b.",
    ),
)


def _tables() -> list[tuple[dict, dict]]:
    """Planted tables of losses: one optimizer better by 0.05; twenty rates of pure noise against two; one that diverged."""
    rng = np.random.default_rng(11)

    def table(rates: Iterable[float], best: float, level: float, seeds: int) -> dict[float, list[float]]:
        return {
            rate: list(
                np.round(level + 0.05 * math.log2(rate / best) ** 2 + 0.03 * rng.standard_normal(seeds), 4)
            )
            for rate in rates
        }

    grid = (0.0025, 0.005, 0.01, 0.02, 0.04)
    noise = {k / 100: list(np.round(2.2 + 0.05 * rng.standard_normal(4), 4)) for k in range(1, 21)}
    lost = table(grid, 0.005, 2.1, 3) | {0.08: [math.inf, 1.9, 1.9]}
    return [
        (table(grid, 0.01, 2.10, 5), table(grid, 0.005, 2.15, 5)),
        (noise, table((0.01, 0.02), 0.01, 2.2, 4)),
        (table(grid, 0.005, 2.12, 3), lost),
    ]


FAIR = Exercise(
    id="03.6",
    kind="build",
    minutes=12,
    difficulty=3,
    question="Write fair_gain(a, b): the difference between two optimizers, seed by seed, each at a rate that was "
    "chosen without the "
    "seed that is scored. For each seed: find the rate with the lowest mean loss over the other seeds, for a and for b by "
    "themselves, and take the losses of the left-out seed at these rates.",
    check=build(
        fair_gain,
        _tables,
        names=("five rates each", "twenty rates of noise against two", "one run diverged"),
        rel=1e-6,
        diagnoses=_FAIR_SLIPS[0],
        right="On pure noise it finds nothing on average, however many rates were tried.",
    ),
    hints=(
        "Three nested loops in words: for each seed, for each optimizer, for each rate: the mean over the other seeds.",
        "np.delete(losses, seed) leaves one out. min(table, key=…) gives the rate whose mean is lowest.",
        "In the loop over seeds, make a small dict of rate -> mean over the others for a, and another for b. Look up "
        "both best rates "
        "in the full tables, at the seed that was left out, and subtract: b minus a.",
    ),
    skeleton=skeleton(fair_gain),
    own=lambda: fair_gain,
    solution=source(fair_gain, NUMPY),
    wrong=_FAIR_SLIPS[1],
    placeholder=lambda a, b: ...,
)

# --- 03.7: a trunk and its branches ----------------------------------------------------------------------------------


class _Toy:
    """A run whose place depends on every rate it was given, in order: θ ← θ − ¼·rate·(θ − what the step reads)."""

    trained = 0

    def __init__(self) -> None:
        self.step, self.theta = 0, 1.0

    def go_on(self, rates: Iterable[float]) -> _Toy:
        for rate in rates:
            self.theta -= 0.25 * rate * (self.theta - math.sin(self.step))
            self.step += 1
            _Toy.trained += 1
        return self


def _plan(n: int) -> list[float]:
    return wsd(n, 4, round(0.2 * n))


def buggy_ends(lengths, schedule, start, go_on, branch, score):
    trunk, losses = start(), []
    for n in lengths:
        rates = schedule(n)
        stable = n - round(0.2 * n)
        go_on(trunk, rates[:stable])
        end = go_on(trunk, rates[stable:])
        losses.append(score(end))
    return losses


def _bugged() -> str:
    """The function with its docstring, and the body that has to be mended."""
    body = inspect.getsource(buggy_ends).split(":\n", 1)[1].rstrip()
    return skeleton(ends).removesuffix("    ...") + body


def _run_ends(mine: Callable, lengths: list[int]) -> tuple[Any, int]:
    """What a function returns for toy runs, and how many steps it had trained."""
    _Toy.trained = 0
    found = mine(list(lengths), _plan, _Toy, _Toy.go_on, copy.copy, lambda run: run.theta)
    return found, _Toy.trained


def _judge_ends(mine: Callable) -> Verdict:
    rows: list[Row] = []
    seen = []
    for lengths in ([20, 40, 80], [25, 30, 35, 60]):
        found, steps = _run_ends(mine, lengths)
        if found is None or found is ...:
            return UNANSWERED
        try:
            values = [float(value) for value in found]
        except (TypeError, ValueError):
            return Verdict(False, f"a list of losses is asked for, this is {kind(found)}.")
        seen.append((values, steps))
        alone = [_Toy().go_on(_plan(n)).theta for n in lengths]
        fewest = lengths[-1] + sum(round(0.2 * n) for n in lengths[:-1])
        same = values == alone
        right = sum(a == b for a, b in zip(values, alone, strict=False))
        rows.append(
            (
                f"lengths {lengths}: like runs of their own",
                "agrees" if same else f"{right} of {len(alone)} ends",
                same,
            )
        )
        rows.append(
            (
                f"lengths {lengths}: steps trained",
                "no more than needed" if steps == fewest else f"{steps / fewest:.2f} times what is needed",
                steps == fewest,
            )
        )
    table = tuple(rows)
    if all(ok for *_, ok in rows):
        return Verdict(
            True,
            "Each end is to the last digit what a run of its own would be, and the trunk was trained once.",
            rows=table,
        )
    if all(ok for *_, ok in rows[::2]):
        return Verdict(
            False, "every loss is right, but the trunk was not shared: too many steps.", rows=table
        )
    for wrong, text in _ENDS_SLIPS[0]:
        if all(
            _run_ends(wrong, lengths) == both
            for lengths, both in zip(([20, 40, 80], [25, 30, 35, 60]), seen, strict=True)
        ):
            return Verdict(False, text, rows=table)
    if seen[0] == _run_ends(buggy_ends, [20, 40, 80]):
        return UNANSWERED
    return Verdict(False, next(f"{case}: {found}." for case, found, ok in rows if not ok), rows=table)


_ENDS_SLIPS = slips(
    ends,
    (
        "branch(trunk)",
        "trunk",
        "the trunk itself",
        "the decay still moves the trunk itself: the next length goes on from a run that has come down.",
    ),
    (
        "rates[trunk.step : stable]",
        "rates[:stable]",
        "from the start again",
        "the trunk is trained from the start again for every length: what has it done already?",
    ),
    ("rates[stable:]", "rates[stable - 1 :]", "one step", "the decay and the stable part share one step."),
    (
        "trunk, losses = start(), []\n    for n in lengths:",
        "losses = []\n    for n in lengths:\n        trunk = start()",
        "not shared",
        "every loss is right, but the trunk was not shared: too many steps.",
    ),
)

ENDS = Exercise(
    id="03.7",
    kind="debug",
    minutes=10,
    difficulty=3,
    question="The function below trains one trunk and ends it at several lengths. It runs, and its losses look "
    "sensible, but they are "
    "not those of runs of their own with the same schedules. It has two bugs. Find them and mend them.",
    check=judged(
        _judge_ends, wanted="the losses of runs of their own, to the last digit, and no step more than needed"
    ),
    hints=(
        "Print run.step of the trunk after each length. What should it be, for lengths 20, 40 and 80?",
        "The trunk stands at the end of the stable part of the length before. Which rates are still to come?",
        "What must a branch never touch? One function that the bugged version is given, it never calls.",
    ),
    skeleton=_bugged(),
    own=lambda: ends,
    solution=source(ends),
    wrong=_ENDS_SLIPS[1],
    placeholder=buggy_ends,
)

# --- 03.8: what a trunk costs ----------------------------------------------------------------------------------------

TRUNK = Exercise(
    id="03.8",
    kind="compute",
    minutes=4,
    difficulty=2,
    question="Three models are wanted, trained for 1,000, 2,000 and 4,000 steps. How many steps in all does one wsd run with "
    "branches need, if each decay takes the last 20 % of its model's steps?",
    check=number(
        4600,
        rel=1e-6,
        diagnoses=[
            (7000, "that is three runs, each from the start; with wsd the stable part is shared."),
            (4000, "the decays of the two shorter models leave the trunk: they are extra."),
            (5400, "the longest model's decay is among its 4,000 steps: the trunk ends at 3,200."),
            (3200, "that is the trunk alone; three decays come on top."),
            (1400, "those are the three decays; the trunk is missing."),
        ],
        slips=(),
        right="A third less than the 7,000 of three cosines, and the trunk can still be continued.",
    ),
    hints=(
        "One trunk at the peak rate, as long as the longest stable part; branches leave it.",
        "The longest model is stable for 3,200 steps. Each model adds its own decay.",
        "Decays of 200, 400 and 800 steps, beside a trunk of 3,200.",
    ),
    solution="""lengths = [1000, 2000, 4000]
trunk = 0.8 * max(lengths)
answer = trunk + sum(0.2 * n for n in lengths)""",
    wrong=((7000, "from the start"), (4000, "extra"), (5400, "3,200"), (3200, "trunk alone")),
)

# --- 03.9: the noise scale from two batch sizes ----------------------------------------------------------------------

SIGNAL, NOISE, SMALL, PIECES = 4.0, 600.0, 4, 32


def planted_gradients(groups: int = 60, parameters: int = 40, seed: int = 8) -> list[np.ndarray]:
    """Gradients of batches of SMALL sequences around a true one with |G|² = SIGNAL, the noise of one sequence tr Σ = NOISE."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(parameters)
    truth *= math.sqrt(SIGNAL) / np.linalg.norm(truth)
    spread = math.sqrt(NOISE / parameters / SMALL)
    return [truth + spread * rng.standard_normal((PIECES, parameters)) for _ in range(groups)]


_NOISE_SLIPS = slips(
    noise_scale,
    (
        "large = small * len(g)",
        "large = len(g)",
        "in sequences",
        "the size of the large batch is counted in sequences, not in pieces.",
    ),
    (
        "signals.append((large * square_large - small * square_small) / (large - small))",
        "signals.append(square_large)",
        "still holds noise",
        "|G|² still holds noise, tr Σ over the large batch: even the mean of all pieces is an estimate.",
    ),
    (
        "signals.append((large * square_large - small * square_small) / (large - small))",
        "signals.append((small * square_small - large * square_large) / (large - small))",
        "below zero",
        "|G|² comes out below zero: the large batch stands first in the difference.",
    ),
    (
        "(square_small - square_large) / (1 / small - 1 / large)",
        "(square_small - square_large) / (large - small)",
        "one over the batch",
        "tr Σ is the slope over one over the batch, 1/B, and not over B.",
    ),
    (
        "(square_small - square_large) / (1 / small - 1 / large)",
        "small * square_small",
        "signal in it",
        "tr Σ still has the signal in it: subtract the two squares first.",
    ),
    (
        "np.sum(np.mean(g, axis=0) ** 2)",
        "np.mean(np.sum(g, axis=0)) ** 2",
        "mean over the pieces",
        "the gradient of the large batch is the mean over the pieces, number by number; then its square.",
    ),
    (
        "np.sum(np.mean(g, axis=0) ** 2)",
        "np.sum(np.sum(g, axis=0) ** 2)",
        "not their sum",
        "the gradient of the large batch is the mean of the pieces, not their sum.",
    ),
    (
        "np.mean(np.sum(g**2, axis=1))",
        "np.sum(g**2)",
        "one piece",
        "the small square is that of one piece on average, not the sum over all of them.",
    ),
    (
        "np.mean(np.sum(g**2, axis=1))",
        "np.mean(g**2)",
        "all its numbers",
        "the square of a gradient is the sum over all its numbers, not their mean.",
    ),
    ("float(noise / signal)", "float(signal / noise)", "upside down", "upside down: noise over signal."),
    (
        "float(noise / signal)",
        "float(np.mean(np.array(noises) / np.array(signals)))",
        "mean of ratios",
        "B_simple is the ratio of the means; a mean of ratios is pulled far off by groups whose signal is near zero.",
    ),
    (
        "float(noise / signal)",
        "float(math.sqrt(noise / signal))",
        "no root",
        "no root: both parts are squares already.",
    ),
)


def _judge_noise(mine: Callable) -> Verdict:
    """Against planted gradients, whose signal and noise are known, and against the formula on two groups."""
    cases = {
        "planted |G|² = 4, tr Σ = 600": (planted_gradients(), SMALL),
        "no noise at all": ([np.tile([3.0, 4.0], (8, 1))], 2),
        "two groups": (planted_gradients(2, 3, 1), 2),
    }
    seen, rows = [], list[Row]()
    for name, (groups, small) in cases.items():
        with np.errstate(all="ignore"):
            found = mine([g.copy() for g in groups], small)
        if found is None or found is ...:
            return UNANSWERED
        try:
            values = [float(value) for value in found]
        except (TypeError, ValueError):
            return Verdict(
                False, f"three numbers are asked for, |G|², tr Σ and B_simple; this is {kind(found)}."
            )
        if len(values) != 3:
            return Verdict(
                False, f"three numbers are asked for, |G|², tr Σ and B_simple; you return {len(values)}."
            )
        seen.append(values)
        if name.startswith("planted"):
            for what, value, truth in zip(("|G|²", "tr Σ"), values, (SIGNAL, NOISE), strict=False):
                near = abs(value / truth - 1) < 0.15
                rows.append(
                    (f"planted {what}", "near" if near else f"{value / truth:.2g} of what was planted", near)
                )
        off = difference(values, noise_scale(groups, small), 1e-6, 1e-9)
        rows.append((name, off or "agrees", not off))
    table = tuple(rows)
    if all(ok for *_, ok in rows):
        return Verdict(
            True,
            "Both estimates are unbiased: what was planted comes back, with no run of a large batch.",
            rows=table,
        )
    for wrong, text in _NOISE_SLIPS[0]:
        with np.errstate(all="ignore"):
            theirs = [wrong(groups, small) for groups, small in cases.values()]
        if not difference(seen, theirs, 1e-6, 1e-9):
            return Verdict(False, text, rows=table)
    return Verdict(False, next(f"{case}: {found}." for case, found, ok in rows if not ok), rows=table)


NOISE_SCALE = Exercise(
    id="03.9",
    kind="build",
    minutes=15,
    difficulty=3,
    question="Write noise_scale(groups, small): from the gradients of many small batches, estimate |G|², tr Σ and "
    "B_simple. The large "
    "batch costs nothing more: its gradient is the mean over the pieces of a group. Average each of the two estimates over the "
    "groups, and divide at the very end.",
    check=judged(_judge_noise, wanted="what was planted, to 15 %, and the formula to six digits"),
    hints=(
        "Two batch sizes, two equations: the mean of |g|² over single pieces, and |mean of the pieces|². How many "
        "sequences stand "
        "behind each?",
        "Subtract the two equations: |G|² drops out, and tr Σ is left, times the difference of 1/B. Multiply each by its B and "
        "subtract: tr Σ drops out.",
        "McCandlish et al., appendix A.1: |G|² is the difference of B·|G_B|², large minus small, over the difference of "
        "the two B; "
        "tr Σ is the difference of |G_B|², small minus large, over the difference of the two 1/B.",
    ),
    skeleton=skeleton(noise_scale),
    own=lambda: noise_scale,
    solution=source(noise_scale, NUMPY),
    wrong=_NOISE_SLIPS[1],
    placeholder=lambda groups, small: ...,
)

# --- 03.10: steps and examples ----------------------------------------------------------------------------------------

TRADEOFF = Exercise(
    id="03.10",
    kind="compute",
    minutes=6,
    difficulty=2,
    question="A model needs at least 10,000 steps (with an endless batch) and at least 20 million sequences (with the smallest). "
    "You train with batches of 6,000 sequences. How many steps, and how many million sequences, does it take?",
    check=several(
        steps=number(
            10_000 * (1 + 2000 / 6000),
            rel=0.005,
            diagnoses=[
                (10_000 * (1 + 6000 / 2000), "that factor belongs to the examples: steps fall as B grows."),
                (10_000, "only an endless batch reaches the fewest steps."),
                (
                    20e6 / 6000,
                    "20 million would do only with the smallest batch; at this one more are needed.",
                ),
                (20_000, "twice the minimum is right at the critical batch, 2,000."),
            ],
            slips=(),
        ),
        million=number(
            20 * (1 + 6000 / 2000),
            rel=0.005,
            diagnoses=[
                (20 * (1 + 2000 / 6000), "that factor belongs to the steps: examples grow with B."),
                (60, "steps of 10,000 times 6,000; the steps are more than the minimum."),
                (40, "twice the minimum is right at the critical batch, 2,000."),
                (80e6, "the unit: millions are asked for."),
                (20, "only the smallest batch needs no more than the minimum."),
            ],
            slips=(),
            right="Three times the critical batch: a third more steps than the fewest, four times the examples.",
        ),
    ),
    hints=(
        "The critical batch is E_min/S_min.",
        "S = S_min·(1 + B_crit/B) and E = E_min·(1 + B/B_crit).",
        "B_crit = 20,000,000/10,000 = 2,000, and B is three times that.",
    ),
    solution="""S_min, E_min, B = 10_000, 20e6, 6_000
B_crit = E_min / S_min
answer = {"steps": S_min * (1 + B_crit / B), "million": E_min * (1 + B / B_crit) / 1e6}""",
    wrong=(
        ({"steps": 40_000, "million": 80}, "belongs to the examples"),
        ({"steps": 13_333, "million": 26.67}, "belongs to the steps"),
        ({"steps": 13_333, "million": 60}, "more than the minimum"),
        ({"steps": 10_000, "million": 60}, "endless batch"),
    ),
    placeholder={"steps": ..., "million": ...},
)

# --- 03.11: Newton–Schulz --------------------------------------------------------------------------------------------

BAND = (0.6, 1.3)  # of singular values after five steps: about 0.7 to 1.2, and a little room


def _planted_matrices() -> dict[str, Any]:
    """Matrices of known singular values, from 1 down to 0.03."""
    import torch

    rng, found = np.random.default_rng(10), {}
    for name, (rows, columns), size in (
        ("square", (8, 8), 1.0),
        ("wide", (6, 20), 1.0),
        ("tall", (20, 6), 1.0),
        ("100 times smaller", (8, 8), 1e-2),
        ("1,000 times larger", (8, 8), 1e3),
    ):
        U, _, Vt = np.linalg.svd(rng.standard_normal((rows, columns)), full_matrices=False)
        s = size * np.logspace(0, -1.5, min(rows, columns))
        found[name] = torch.tensor(U * s @ Vt)
    return found


def _exact(matrix, steps=5):
    U, _, Vt = np.linalg.svd(matrix.numpy(), full_matrices=False)
    return matrix.new_tensor(U @ Vt)


_SCHULZ_SLIPS = slips(
    newton_schulz,
    (
        "X = X / (X.norm() + 1e-7)",
        "pass",
        "scaled to norm 1",
        "the matrix has to be scaled to norm 1 first: the polynomial is made for singular values "
        "from 0 to 1, and runs away above.",
    ),
    ("b * A + c * A @ A", "c * A + b * A @ A", "exchanged", "b and c are exchanged: b goes with XXᵀX."),
    ("c * A @ A", "c * A", "fifth power", "the fifth power is missing: the last term has XXᵀ twice."),
    (
        "c * A @ A",
        "c * A * A",
        "number by number",
        "A * A multiplies number by number; a product of matrices is written A @ A.",
    ),
    (
        "b * A + c * A @ A",
        "b * A",
        "third power",
        "only the third power is there; the fifth is missing, c(XXᵀ)²X.",
    ),
    (
        "a * X + (b * A",
        "X + (b * A",
        "a is missing",
        "the factor a is missing before X: small singular values are not lifted.",
    ),
    (
        "for _ in range(steps):",
        "for _ in range(1):",
        "once",
        "the polynomial was applied once, not as often as `steps` says.",
    ),
    (
        "return X.T if tall else X",
        "return (X.T if tall else X) * max(1, matrix.shape[0] / matrix.shape[1]) ** 0.5",
        "belongs to Muon",
        "√max(1, rows/columns) belongs to Muon's step, not to this function.",
    ),
    (
        "(X.norm() + 1e-7)",
        "X.abs().max()",
        "largest entry",
        "that divides by the largest entry; the norm is the root of the sum of all squares.",
    ),
)
_SCHULZ_SLIPS[0].append(
    (
        _exact,
        "all singular values are exactly 1: that is a decomposition, which Muon avoids. Products of matrices alone are "
        "asked for.",
    )
)


def _judge_schulz(mine: Callable) -> Verdict:
    rows: list[Row] = []
    cases = [(name, matrix, 5) for name, matrix in _planted_matrices().items()]
    cases.append(("one step alone", cases[0][1], 1))
    seen = []
    for name, matrix, steps in cases:
        found = mine(matrix.clone(), steps)
        if found is None or found is ...:
            return UNANSWERED
        if getattr(found, "shape", None) != matrix.shape:
            if getattr(found, "shape", None) == matrix.T.shape:
                return Verdict(False, "a tall matrix has to be turned back at the end.", rows=tuple(rows))
            return Verdict(
                False,
                f"{name}: a tensor of the shape {tuple(matrix.shape)} is asked for, this is "
                f"{tuple(getattr(found, 'shape', ())) or kind(found)}.",
                rows=tuple(rows),
            )
        seen.append(found)
        off = difference(found, newton_schulz(matrix, steps), 1e-3, 1e-3)
        if steps > 1:
            U, _, Vt = np.linalg.svd(matrix.numpy(), full_matrices=False)
            with np.errstate(all="ignore"):
                inside = U.T @ np.asarray(found.tolist()) @ Vt.T
                sizes = np.diag(inside)
                turned = float(np.abs(inside - np.diag(sizes)).max()) < 1e-3
            level = bool(np.isfinite(sizes).all() and sizes.min() > BAND[0] and sizes.max() < BAND[1])
            said = f"singular values {sizes.min():.2g} to {sizes.max():.2g}" + (
                "" if turned else ", directions changed"
            )
            rows.append((name, said + ("" if off or not level else ", agrees"), level and turned and not off))
        else:
            rows.append((name, off or "agrees", not off))
    table = tuple(rows)
    if all(ok for *_, ok in rows):
        return Verdict(
            True, "Singular values between about 0.7 and 1.2, and the directions as they were.", rows=table
        )
    wanted = [(matrix, steps) for _, matrix, steps in cases]
    for wrong, text in _SCHULZ_SLIPS[0]:
        theirs = [wrong(matrix.clone(), steps) for matrix, steps in wanted]
        if all(_like(a, b) for a, b in zip(seen, theirs, strict=True)):
            return Verdict(False, text, rows=table)
    return Verdict(False, next(f"{case}: {found}." for case, found, ok in rows if not ok), rows=table)


def _like(a: Any, b: Any) -> bool:
    """The same numbers, or in the same places none."""
    x, y = np.asarray(a.tolist(), float), np.asarray(b.tolist(), float)
    return x.shape == y.shape and bool(np.allclose(x, y, rtol=1e-3, atol=1e-3, equal_nan=True))


SCHULZ = Exercise(
    id="03.11",
    kind="build",
    minutes=12,
    difficulty=3,
    question="Write newton_schulz(matrix, steps): scale the matrix to norm 1, then apply the polynomial `steps` times, "
    "with a, b and c "
    "from above. Use products of matrices alone, no decomposition. A matrix that is taller than wide is turned on its "
    "side first, "
    "so that XXᵀ is the smaller of the two squares, and turned back at the end.",
    check=judged(
        _judge_schulz, wanted="the kit's to three digits, singular values in the band, directions kept"
    ),
    hints=(
        "X.norm() is the root of the sum of all squares. A tiny number added to it saves a matrix of zeros.",
        "Compute A = X @ X.T once in each step; both odd powers can be written with A in front of X.",
        "X becomes a·X plus (b·A plus c·A times A) times X, all products written with @.",
    ),
    skeleton=skeleton(newton_schulz),
    own=lambda: newton_schulz,
    solution=source(newton_schulz),
    wrong=(
        *_SCHULZ_SLIPS[1],
        (_exact, "Muon avoids"),
        (slip(newton_schulz, "return X.T if tall else X", "return X"), "turned back"),
    ),
    placeholder=lambda matrix, steps=5: ...,
)

EXERCISES = (STEP, CONTRACTION, ADAMW, FIRST, WSD, FAIR, ENDS, TRUNK, NOISE_SCALE, TRADEOFF, SCHULZ)
