"""The standard study: as many slices as the budget pays for, and what it tells at its end."""

from __future__ import annotations

import pytest
import synthetic
from refusals import one_line

from scalept_lab.laws import fit
from scalept_lab.laws.fit import fit_law
from scalept_lab.study import standard, study, sweep
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
    made = synthetic.study(tmp_path / "planted")
    records = made.store.records()
    law = fit_law(**synthetic.points(records), bootstrap=50)
    (score,) = made.scores()
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


@pytest.fixture
def planted(monkeypatch) -> list[bool]:
    """Instead of training, a run leaves the record of the planted law; one of the smallest slice diverges.

    Lists which calls were to show their progress.
    """
    shown = []

    def pretend(configs, store, executor=None, progress=True):
        shown.append(progress)
        for config in configs:
            lost = config.model.width == 24 and sweep.flops_of(config) < 2e10
            if store.get(config.id()) is None:
                store.save(synthetic.record(config, status="diverged" if lost else "ok"))
        return [store.get(config.id()) for config in configs]

    monkeypatch.setattr(study, "run_all", pretend)
    monkeypatch.setattr(study, "prepare_corpora", lambda configs: None)
    for module in (study, sweep):
        monkeypatch.setattr(module, "prepared_sha256", lambda config: synthetic.PROVENANCE["corpus_sha256"])
    monkeypatch.setattr("scalept_lab.train.placement.seconds_per_step", lambda config, device: 0.01)
    quick = fit.fit_records
    monkeypatch.setattr(study, "fit_records", lambda runs, **more: quick(runs, **{**more, "bootstrap": 20}))
    monkeypatch.setattr(standard, "save_figures", lambda *_: [])
    monkeypatch.setattr(study.Study, "report", lambda self, **_: self.folder / "report.html")
    return shown


def test_the_study_is_told_step_by_step(planted, tmp_path, capsys):
    """16 runs, one diverged; the 13 from 3e10 FLOPs on are fitted, and the hero has five times the compute of the largest."""
    done = standard.run_standard_study(tmp_path / "s")
    told = capsys.readouterr().out
    for line in ("1. plan     16 runs (0 done already)", "1 of 16 runs diverged", "2. fit      13 runs from 3e+10 FLOPs on",
                 "3. predict  width", "4. score    predicted"):  # fmt: skip
        assert line in told
    assert len(done.records) == 16
    assert done.score.shot.flops == pytest.approx(5 * max(record.C for record in done.records), rel=0.01)
    assert study.Study("s", folder=tmp_path / "s").budget == 6e12
    again = standard.run_standard_study(tmp_path / "s", quiet=True)
    assert capsys.readouterr().out == "" and again.score == done.score
    assert planted == [True, True, False, False]


def test_the_budget_given_is_the_studys_from_then_on(planted, tmp_path):
    for budget in (7e12, None):
        standard.run_standard_study(tmp_path / "s", budget, quiet=True)
        assert study.Study("s", folder=tmp_path / "s").budget == 7e12
