"""The oracles of notebook 03: each agrees with torch or the kit, and tells right from nearly right."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from scalept_lab.config import recommend
from scalept_lab.course.exercises import grade, notebook_exercises
from scalept_lab.course.sets import nb03
from scalept_lab.laws import noise
from scalept_lab.model import optimizers, ravine
from scalept_lab.model.optim import learning_rate


def message(id: str, answer) -> str:
    verdict = grade(id, answer)
    assert verdict.answered and not verdict.ok
    return verdict.message


@pytest.mark.parametrize("word", ["diverge", "Diverges", '"run away"', "run_away", "runs away"])
def test_the_same_choice_in_other_words_is_right(word):
    assert grade("03.1", {"theta": 1.5, "article": word}).ok
    assert "Look for θ" in message("03.1", {"theta": 1.5, "article": "converges"})


@pytest.mark.parametrize("answer", [3.2, "3.16", np.float32(3.1623), 10**0.5])
def test_the_first_step_may_be_rounded(answer):
    assert grade("03.4", answer).ok


@pytest.mark.parametrize(
    ("kappa", "rate", "momentum"), [(10, 0.1, 0.5), (25, 1 / 9, 4 / 9), (25, 0.05, 0.9), (100, 0.015, 0.0)]
)
def test_the_contraction_is_that_of_a_long_walk(kappa, rate, momentum):
    path = ravine.descend("momentum", rate=rate, momentum=momentum, curvature=kappa, steps=400).points
    early, late = (np.abs(path[t - 12 : t]).max() for t in (60, 160))
    assert (late / early) ** 0.01 == pytest.approx(nb03.contraction([1.0, kappa], rate, momentum), abs=0.01)


def test_what_serves_for_newton_schulz_is_the_kits_in_full_precision():
    for matrix in nb03._planted_matrices().values():
        kits = optimizers.newton_schulz(matrix, dtype=torch.float64)
        assert (nb03.newton_schulz(matrix) - kits).abs().max() < 1e-4  # the tiny number below the line
    assert not nb03.newton_schulz(torch.zeros(2, 3)).any()


@pytest.mark.parametrize("name", ["cosine", "linear", "wsd", "constant"])
@pytest.mark.parametrize("steps", [40, 400])
def test_one_function_gives_the_four_schedules_of_the_training_loop(name, steps):
    config = recommend(16, steps * 256, schedule=name, warmup=0.1)
    decay = {"wsd": round(0.2 * steps), "constant": 0}.get(name, steps)
    found = nb03.wsd(steps, round(0.1 * steps), decay, "cosine" if name == "cosine" else "linear")
    assert found == pytest.approx([learning_rate(step, config) for step in range(steps)])


def test_what_was_planted_is_found_and_is_the_kits_line():
    groups = nb03.planted_gradients(groups=400)
    signal, trace, scale = nb03.noise_scale(groups, nb03.SMALL)
    assert (signal, trace) == (pytest.approx(nb03.SIGNAL, rel=0.05), pytest.approx(nb03.NOISE, rel=0.02))
    large = nb03.SMALL * nb03.PIECES
    squares = {
        nb03.SMALL: [(g**2).sum(1).mean() for g in groups],
        large: [(g.mean(0) ** 2).sum() for g in groups],
    }
    assert scale == pytest.approx(noise.noise_scale(squares).B_simple)


def test_a_fair_comparison_finds_nothing_in_noise_and_peeking_does():
    """Twenty rates of pure noise against two: chosen and scored on the same seed, the larger number looks better."""
    rng = np.random.default_rng(3)
    fair, peeked = [], []
    peek = nb03._FAIR_SLIPS[1][1][0]  # each seed takes its own lucky rate
    for _ in range(120):
        many, few = ({k: list(rng.standard_normal(4)) for k in range(n)} for n in (20, 2))
        fair.append(nb03.fair_gain(many, few).mean())
        peeked.append(peek(many, few).mean())
    error = np.std(fair) / math.sqrt(len(fair))
    assert abs(np.mean(fair)) < 3 * error and np.mean(peeked) > 10 * error


def test_the_bugged_trunk_is_wrong_from_the_second_end_on_and_the_mended_one_exact():
    lengths = [20, 40, 80]
    alone = [nb03._Toy().go_on(nb03._plan(n)).theta for n in lengths]
    assert nb03._run_ends(nb03.ends, lengths) == (alone, 64 + 4 + 8 + 16)
    found, _ = nb03._run_ends(nb03.buggy_ends, lengths)
    assert found[0] == alone[0] and all(a != b for a, b in zip(found[1:], alone[1:], strict=True))
    assert not grade("03.7", nb03.buggy_ends).answered  # as it stands in the notebook
    space: dict = {}
    exec(nb03.ENDS.skeleton, space)
    assert not grade("03.7", space["ends"]).answered


def in_lists(tensors, gradients, state, lr, betas=(0.9, 0.999), eps=1e-8, decay=0.01):
    """Right, and written otherwise: p[...] = …, moments made anew, and the state laid out from the first step on."""
    t = state.get("t", 0) + 1
    m = state.get("m", [torch.zeros_like(p) for p in tensors])
    v = state.get("v", [torch.zeros_like(p) for p in tensors])
    m = [betas[0] * a + (1 - betas[0]) * g for a, g in zip(m, gradients, strict=True)]
    v = [betas[1] * a + (1 - betas[1]) * g * g for a, g in zip(v, gradients, strict=True)]
    for p, a, b in zip(tensors, m, v, strict=True):
        p[...] = p * (1 - lr * decay) - lr * a / (1 - betas[0] ** t) / (
            torch.sqrt(b / (1 - betas[1] ** t)) + eps
        )
    state.update(t=t, m=m, v=v)


def keys_of_its_own(tensors, gradients, state, lr, **settings):
    inner = state.setdefault("mine", {})
    nb03.adamw_step(tensors, gradients, inner, lr, **settings)


def changes_gradients(tensors, gradients, state, lr, betas=(0.9, 0.999), eps=1e-8, decay=0.01):
    nb03.adamw_step(tensors, gradients, state, lr, betas, eps, decay)
    for g in gradients:
        g.mul_(0.5)


def test_adamw_written_otherwise_is_right_and_what_is_left_open_is_told():
    assert grade("03.3", in_lists).ok
    assert "the state is not as asked for" in message("03.3", keys_of_its_own)
    assert "changes the gradients" in message("03.3", changes_gradients)
    assert not grade("03.3", lambda tensors, gradients, state, lr, **settings: None).answered
    assert "1 positional" in message("03.3", lambda tensors: None) or "argument" in message(
        "03.3", lambda tensors: None
    )


@pytest.mark.parametrize(
    ("id", "answer", "said"),
    [
        ("03.7", lambda *given: 3, "a list of losses"),
        ("03.9", lambda groups, small: 3, "three numbers"),
        ("03.9", lambda groups, small: (1, 2), "you return 2"),
        ("03.11", lambda matrix, steps: 3, "a tensor of the shape"),
        ("03.11", lambda matrix, steps: matrix.new_zeros(2, 2), "(2, 2)"),
    ],
)
def test_what_is_no_result_is_told_in_one_line(id, answer, said):
    assert said in message(id, answer) and "\n" not in message(id, answer)


def test_a_learner_writes_in_seven_places():
    kinds = [exercise.kind for exercise in notebook_exercises("03")]
    assert kinds.count("build") == 6 and kinds.count("debug") == 1
