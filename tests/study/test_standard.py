"""The standard study: as many slices as the budget pays for, and what it tells at its end."""

from __future__ import annotations

import pytest
import synthetic
from refusals import one_line

from scalept_lab.laws.fit import fit_law
from scalept_lab.study import standard
from scalept_lab.study.study import Score
from scalept_lab.study.sweep import Sweep


def test_whole_slices_from_the_smallest_up():
    """Widths times FLOPs, slice by slice: 3 × 1e10, 3 × 3.16e10, 4 × 1e11, 3 × 3.16e11, 3 × 1e12."""
    pays = [Sweep.isoflop(dict(list(standard.SLICES.items())[:count])).flops for count in (3, 4, 5)]
    by_hand = [3e10 + 9.48e10 + 4e11, 3e10 + 9.48e10 + 4e11 + 9.48e11, 3e10 + 9.48e10 + 4e11 + 9.48e11 + 3e12]
    assert pays == pytest.approx(by_hand, rel=0.01)
    assert [len(standard.standard_sweep(budget)) for budget in (pays[0], pays[1] * 0.999, pays[1])] == [
        10,
        10,
        13,
    ]
    assert len(standard.standard_sweep(standard.DEFAULT_BUDGET)) == 16
    assert {config.seed for config in standard.standard_sweep(1e12, seed=3)} == {3}
    one_line(lambda: standard.standard_sweep(pays[0] * 0.999), "5.3e+11", "6e+12")


def test_what_was_found_is_told(tmp_path):
    study = synthetic.study(tmp_path / "planted")
    records = study.store.records()
    law = fit_law(**synthetic.points(records), bootstrap=50)
    (score,) = study.scores()
    figures = standard.save_figures(tmp_path, records, law, score)
    assert [path.name for path in figures] == ["frontier.png", "sweep.png", "isoflop.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures)
    done = standard.Done(
        records, law, Score(score.shot, 2 * score.shot.predicted), tmp_path / "r.html", figures
    )
    found = done.as_json()
    assert found["runs"] == len(records) == 16 and found["law"] == law.params
    assert found["hero"]["error_percent"] == pytest.approx(100) and found["hero"]["flops"] == score.shot.flops
    assert (found["hero"]["low"], found["hero"]["high"]) == (score.shot.low, score.shot.high)
    assert found["interval95"]["alpha"] == list(law.interval95["alpha"]) and len(found["figures"]) == 3
    lines = str(done).splitlines()
    row = next(record for record in records if record.ok)
    assert any(f"{row.N:,}" in line and f"{row.D:,}" in line and f"{row.L:.4f}" in line for line in lines)
    assert sum("diverged" in line for line in lines) == 1 and "OUTSIDE" in str(done)
