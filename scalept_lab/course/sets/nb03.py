"""Exercises of notebook 03, optimization and batch size."""

from __future__ import annotations

import math

from scalept_lab.course.answers import choice, function, number, several
from scalept_lab.course.exercises import Exercise


def _adamw(theta, g, m, v, t, lr, beta1, beta2, eps, decay, *, corrected=True, coupled=False, inside=False):
    if coupled:
        g = g + decay * theta
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = (m / (1 - beta1**t), v / (1 - beta2**t)) if corrected else (m, v)
    below = math.sqrt(v_hat + eps) if inside else math.sqrt(v_hat) + eps
    return theta * (1 if coupled else 1 - lr * decay) - lr * m_hat / below, m, v


_STEPS = [
    (0.5, 2.0, 0.0, 0.0, 1, 0.01, 0.9, 0.999, 1e-8, 0.0),
    (0.5, 2.0, 0.3, 0.05, 4, 0.01, 0.9, 0.99, 1e-3, 0.1),
    (-1.0, 0.02, -0.01, 0.002, 7, 0.1, 0.8, 0.95, 1e-4, 0.3),
]


def _wrong_adamw(**how):
    return lambda *args: _adamw(*args, **how)


def _frozen_v(theta, g, m, v, t, lr, beta1, beta2, eps, decay):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g
    return (
        theta * (1 - lr * decay) - lr * m / (1 - beta1**t) / (math.sqrt(abs(v) / (1 - beta2**t)) + eps),
        m,
        v,
    )


_G2 = (64 * 2 - 8 * 5) / (64 - 8)
_TRACE = (5 - 2) / (1 / 8 - 1 / 64)

EXERCISES = (
    Exercise(
        "03.1",
        "J = ½(y − θx)² with x = 2, y = 6, θ = 0.5. An article gives the gradient as x − y. Where does one right step with "
        "η = 0.1 lead, and after many steps with the article's gradient, does θ 'arrive', 'stop early' or 'run away'?",
        several(
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
            article=choice(
                "run away",
                {
                    "run away": "",
                    "arrive": "does x − y become zero when θ = y/x? Look for θ in it.",
                    "stop early": "a step stops where the gradient is zero; is x − y ever zero here?",
                },
                right="x − y knows nothing of θ: every step is the same, past the minimum and on.",
            ),
        ),
        (
            "Differentiate by the chain rule: the square first, then what stands inside it.",
            "dJ/dθ = (y − θx)·(−x). Put the numbers in, then θ − η·gradient.",
            "The gradient is −2·(6 − 1) = −10. For the second part: what is x − y after the first step, and after the tenth?",
        ),
        """x, y, theta, rate = 2, 6, 0.5, 0.1
gradient = -x * (y - theta * x)
answer = {"theta": theta - rate * gradient, "article": "run away"}""",
        wrong=(
            ({"theta": 0.9, "article": "run away"}, "article's x − y"),
            ({"theta": 1.0, "article": "run away"}, "inner derivative"),
            ({"theta": -0.5, "article": "run away"}, "downhill"),
            ({"theta": 1.5, "article": "arrive"}, "Look for θ"),
            ({"theta": 1.5, "article": "stop early"}, "ever zero"),
        ),
        placeholder={"theta": ..., "article": ...},
    ),
    Exercise(
        "03.2",
        "Write one step of AdamW for a single number: a function of theta, g, m, v, t, lr, beta1, beta2, eps, decay that "
        "returns the new theta, m and v.",
        function(
            _adamw,
            _STEPS,
            rel=1e-6,
            diagnoses=[
                (_wrong_adamw(corrected=False), "m and v are not corrected: divide by 1 − β₁ᵗ and 1 − β₂ᵗ."),
                (
                    _wrong_adamw(coupled=True),
                    "the decay went into the gradient, and so through m and v: that is Adam with L2, not AdamW.",
                ),
                (_wrong_adamw(inside=True), "ε stands outside the root: √v̂ + ε."),
                (_frozen_v, "v is the mean of the squares: g², not g."),
                (
                    lambda *a: (_adamw(*a)[0], a[2], a[3]),
                    "theta is right, but m and v come back as they went in: the next step needs the new ones.",
                ),
            ],
            right="The same as torch.optim.AdamW, for one number.",
        ),
        (
            "Five lines: decay theta, update m, update v, correct both, move theta.",
            "m = β₁m + (1 − β₁)g and v = β₂v + (1 − β₂)g²; m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ).",
            "Return the new m and v as they are, uncorrected; only the step uses m̂ and v̂.",
        ),
        """def adamw(theta, g, m, v, t, lr, beta1, beta2, eps, decay):
    theta = theta * (1 - lr * decay)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return theta - lr * m_hat / (v_hat**0.5 + eps), m, v

answer = adamw""",
        wrong=(
            (_wrong_adamw(corrected=False), "not corrected"),
            (_wrong_adamw(coupled=True), "not AdamW"),
            (_wrong_adamw(inside=True), "outside the root"),
        ),
        placeholder=lambda theta, g, m, v, t, lr, beta1, beta2, eps, decay: ...,
    ),
    Exercise(
        "03.3",
        "Adam with β₁ = 0.9 and β₂ = 0.999, its bias correction left out. How many times as long as the corrected one is "
        "the very first step?",
        number(
            (1 - 0.9) / math.sqrt(1 - 0.999),
            rel=0.01,
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
        (
            "After one step, m = (1 − β₁)g and v = (1 − β₂)g².",
            "A step has the length m/√v, times the rate. With the correction it is g/|g| = 1.",
            "0.1 over the root of 0.001.",
        ),
        "answer = (1 - 0.9) / (1 - 0.999) ** 0.5",
        wrong=((0.1, "m alone"), (100, "under a root"), (0.3162, "upside down"), (1, "cancel")),
    ),
    Exercise(
        "03.4",
        "Three models are wanted, trained for 1,000, 2,000 and 4,000 steps. How many steps in all does one wsd run with "
        "branches need, if each decay takes the last 20 % of its model's steps?",
        number(
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
        (
            "One trunk at the peak rate, as long as the longest stable part; branches leave it.",
            "The longest model is stable for 3,200 steps. Each model adds its own decay.",
            "Decays of 200, 400 and 800 steps, beside a trunk of 3,200.",
        ),
        """lengths = [1000, 2000, 4000]
trunk = 0.8 * max(lengths)
answer = trunk + sum(0.2 * n for n in lengths)""",
        wrong=((7000, "from the start"), (4000, "extra"), (5400, "3,200"), (3200, "trunk alone")),
    ),
    Exercise(
        "03.5",
        "The mean squared length of the gradient is 5.0 with batches of 8 and 2.0 with batches of 64. What is the noise "
        "scale B_simple?",
        number(
            _TRACE / _G2,
            rel=0.01,
            diagnoses=[
                (_G2 / _TRACE, "upside down: noise over signal."),
                (_TRACE / 2.0, "the square at B = 64 still holds noise, tr Σ/64: take it out of |G|²."),
                (_TRACE / 5.0, "the square at B = 8 is mostly noise; |G|² is what remains at 1/B = 0."),
                (_TRACE, "that is tr Σ, the noise; divide by |G|²."),
                (_G2, "that is |G|², the signal."),
                (5.0 / 2.0, "the ratio of the two squares says nothing without the batch sizes."),
                (math.sqrt(_TRACE / _G2), "no root: both parts are squares already."),
            ],
            slips=(),
        ),
        (
            "E|G_B|² = |G|² + tr Σ/B: two batch sizes, two equations, two unknowns.",
            "Subtract them: 5 − 2 = tr Σ·(1/8 − 1/64).",
            "Then |G|² = (64·2 − 8·5)/(64 − 8), and B_simple = tr Σ/|G|².",
        ),
        """noise = (5.0 - 2.0) / (1 / 8 - 1 / 64)
signal = (64 * 2.0 - 8 * 5.0) / (64 - 8)
answer = noise / signal""",
        wrong=(
            (_G2 / _TRACE, "upside down"),
            (_TRACE / 2, "still holds noise"),
            (_TRACE, "tr Σ"),
            (2.5, "without the batch sizes"),
        ),
    ),
    Exercise(
        "03.6",
        "A model needs at least 10,000 steps (with an endless batch) and at least 20 million sequences (with the smallest). "
        "You train with batches of 6,000 sequences. How many steps, and how many million sequences, does it take?",
        several(
            steps=number(
                10_000 * (1 + 2000 / 6000),
                rel=0.005,
                diagnoses=[
                    (
                        10_000 * (1 + 6000 / 2000),
                        "that factor belongs to the examples: steps fall as B grows.",
                    ),
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
        (
            "The critical batch is E_min/S_min.",
            "S = S_min·(1 + B_crit/B) and E = E_min·(1 + B/B_crit).",
            "B_crit = 20,000,000/10,000 = 2,000, and B is three times that.",
        ),
        """S_min, E_min, B = 10_000, 20e6, 6_000
B_crit = E_min / S_min
answer = {"steps": S_min * (1 + B_crit / B), "million": E_min * (1 + B / B_crit) / 1e6}""",
        wrong=(
            ({"steps": 40_000, "million": 80}, "belongs to the examples"),
            ({"steps": 13_333, "million": 26.67}, "belongs to the steps"),
            ({"steps": 13_333, "million": 60}, "more than the minimum"),
            ({"steps": 10_000, "million": 60}, "endless batch"),
        ),
        placeholder={"steps": ..., "million": ...},
    ),
)
