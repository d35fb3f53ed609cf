"""Runs that are broken on purpose: the fault shows where the case says so, and the healthy run beside it is free of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from refusals import one_line

from scalept_lab.model.transformer import Transformer
from scalept_lab.train import broken, miniature


@pytest.fixture(autouse=True)
def small(word_corpus, monkeypatch):
    monkeypatch.setattr(miniature, "text", lambda: (word_corpus.train, word_corpus.heldout))


def lines(found, letter: str) -> dict[str, list]:
    return {name: list(y) for name, (_, y) in found.pieces[letter].series.items()}


def test_gradients_vanish_in_x_and_the_rate_in_y():
    found = broken.flattens(steps=10)
    zeros, rates = lines(found, "B"), lines(found, "C")
    assert zeros["X"][-1] > 0.4 and max(zeros["healthy"][-1], zeros["Y"][-1]) < 0.01
    assert rates["Y"][2:] == [0.0] * 8 and rates["X"] == rates["healthy"] and min(rates["healthy"]) > 0


def test_a_gradient_without_a_factor_is_too_small_for_fp16():
    gradient = broken.gradients_of_step(steps=3)
    assert gradient.dtype == np.float64 and (np.float16(gradient) == 0).mean() > 0.1
    assert (np.float16(gradient * 2.0**14) == 0).mean() < 0.05


def test_windows_of_the_broken_split_stand_in_both_parts():
    """0, 1, 2, …: no value comes twice, so that what is shared is the split's doing alone."""
    text = np.arange(330)
    for wrong in (False, True):
        train, held = broken.split_windows(text, 33, 0, wrong)
        both = np.isin(held, train)
        assert both.mean() > 0.8 if wrong else not both.any()
    assert len(broken.split_windows(text, 33, 0, False)[1]) == 1  # of 10 windows
    found = broken.looks_good(passes=1)
    assert all(y[4] > x[4] for x, y in [lines(found, "B").values()])


def test_first_steps_change_a_wide_model_more_unless_rates_fall_with_the_width():
    grown = {
        rule: [broken.first_change(width, rule, steps=2) for width in (32, 128)]
        for rule in ("standard", "mup")
    }
    assert grown["standard"][0] == grown["mup"][0]  # the base width
    assert grown["standard"][1] / grown["standard"][0] > 1.3 * grown["mup"][1] / grown["mup"][0]


def test_recorded_runs_have_their_best_rate_further_left_where_they_are_wide():
    found = broken.grows_worse(steps=4)
    best = {name: x[int(np.argmin(y))] for name, (x, y) in found.pieces["C"].series.items()}
    assert best == {"width 16": broken.TUNED, "width 64": 0.005}


def test_parts_count_alike_only_if_they_are_equal():
    assert (
        broken.off_by(1, True) < 1e-6
        and broken.off_by(4, True, equal=True) < 1e-6
        and broken.off_by(4, False) < 1e-6
    )
    assert broken.off_by(4, True) > 0.1
    assert broken.off_by(4, True, dtype=torch.float64) == pytest.approx(broken.off_by(4, True), rel=1e-4)
    assert 0.02 < broken.off_by(4, True, shuffled=0) < broken.off_by(4, True)


def test_a_mean_of_means_by_hand():
    """An untrained output layer gives every byte 1/256, so every target has the loss ln 256, however they are cut."""
    rows, kept = broken._padded(1)
    torch.manual_seed(0)
    model = Transformer(broken.TINY)
    for parts, wrong in ((1, False), (4, False), (4, True)):
        assert float(broken.in_parts(model, rows[0], kept[0], parts, wrong)) == pytest.approx(
            np.log(256), rel=1e-5
        )
    assert [int(part.sum()) for part in np.array_split(kept[0], 4)] == [99, 48, 22, 10]


def test_the_broken_loader_begins_anew_and_the_healthy_one_goes_on():
    runs = {wrong: [rows.tolist() for _, rows in broken.order(120, 4, 0, wrong)] for wrong in (False, True)}
    assert len(runs[True]) == len(runs[False]) == 30
    assert sorted(np.ravel(runs[False])) == list(range(120))
    assert runs[True][:12] == runs[True][12:24] == runs[False][:12] and runs[True][24:] == runs[False][:6]


def test_what_was_read_before_and_what_is_easy_tell_the_twins_apart():
    found = broken.falls_below(lives=3)
    again, bits = lines(found, "C"), lines(found, "D")
    assert again["healthy"] == again["Y"] == [0.0] * 9 and again["X"] == [0.0] * 3 + [1.0] * 6
    assert bits["Y"][-1] < bits["Y"][0] - 0.1 and abs(bits["X"][-1] - bits["X"][0]) < 0.1


def test_there_are_eight_cases():
    one_line(lambda: broken.case(9), "case: expected")
    assert list(broken.CASES) == [1, 2, 3, 4, 5, 6, 7, 8]
