"""Notebook 09's exercises: the oracles beyond the solution, and the four runs of the debug exercise played through."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from scalept_lab.course.sets import nb09
from scalept_lab.transfer import bert, calibration
from scalept_lab.transfer.lora import LowRank


def test_the_loss_is_the_librarys():
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(3, 6, 11)), np.where(rng.random((3, 6)) < 0.4, 5, -100)
    wanted = torch.nn.functional.cross_entropy(
        torch.tensor(logits).transpose(1, 2), torch.tensor(labels)
    ).item()
    assert nb09.masked_loss(logits, labels) == pytest.approx(wanted)


def test_the_kits_own_masking_passes_the_judge():
    def by_the_kit(ids, special, vocabulary, rng):
        generator = torch.Generator().manual_seed(int(rng.integers(1000)))
        found = bert.mask(torch.tensor(ids), torch.tensor(special), vocabulary, generator)
        return found.ids_BxL.numpy(), found.labels_BxL.numpy()

    verdict = nb09._judge_corrupt(by_the_kit)
    assert verdict.ok and all(ok for _, _, ok in verdict.rows)


@pytest.mark.parametrize(
    "answer", [lambda *inputs: None, lambda *inputs: (inputs[0],), lambda *inputs: inputs[0][:1]]
)
def test_masking_of_another_form_is_no_crash(answer):
    assert not nb09._judge_corrupt(answer).ok


def test_macro_f1_is_sklearns():
    rng = np.random.default_rng(4)
    for labels, told in (
        (rng.integers(0, 2, 50), rng.integers(0, 2, 50)),
        (np.zeros(5, int), np.zeros(5, int)),
    ):
        wanted = f1_score(labels, told, labels=[0, 1], average="macro", zero_division=0)
        assert nb09.metrics(labels, told)["macro_f1"] == pytest.approx(wanted)


def test_the_kits_layer_passes_the_judge():
    verdict = nb09._judge_lora(LowRank)
    assert verdict.ok, verdict.message


def test_a_class_that_is_still_to_be_written_is_not_answered():
    class Open(torch.nn.Module):
        """Three dots."""

    assert not nb09._judge_lora(Open).answered


def test_calibration_is_the_kits():
    for confidence, right, bins in nb09._calibration_cases():
        assert nb09.calibration_error(confidence, right, bins) == pytest.approx(
            calibration.binned(confidence, right, bins).error
        )
    for logits, labels in nb09._temperature_cases():
        assert nb09.fit_temperature(logits, labels) == pytest.approx(
            calibration.temperature(logits, labels), rel=1e-3
        )


@pytest.mark.parametrize(("cause", "changes", "down_moves", "up_moves"), [
    ("both factors start at zero", False, False, False),
    ("the optimizer does not hold the factors", False, False, False),
    ("neither factor starts at zero", True, True, True),
    ("down is frozen", False, False, True),
    ("nothing is wrong", False, True, True),
])  # fmt: skip
def test_the_runs_of_the_debug_exercise(cause, changes, down_moves, up_moves):
    torch.manual_seed(0)
    layer, x = LowRank(torch.nn.Linear(8, 8), 2, 4.0), torch.randn(5, 8)
    head = torch.nn.Linear(8, 2)
    with torch.no_grad():
        if cause.startswith("both"):
            layer.down.zero_()
        if cause.startswith("neither"):
            layer.up.normal_()
    layer.down.requires_grad_(cause != "down is frozen")
    assert torch.allclose(layer(x), layer.linear(x)) != changes
    held = [] if cause.startswith("the optimizer") else [layer.down, layer.up]
    before = [factor.detach().clone() for factor in (layer.down, layer.up)]
    optimizer = torch.optim.SGD([*head.parameters(), *held], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        head(layer(x)).square().mean().backward()
        optimizer.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, (layer.down, layer.up), strict=True)]
    assert moved == [down_moves, up_moves]
    if cause.startswith("both"):
        assert not layer.down.any() and not layer.up.any()
