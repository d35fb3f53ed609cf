"""The budget cannot be overspent, the prediction cannot be changed, and what did not finish does not count."""

from __future__ import annotations

import concurrent.futures as futures
import hashlib
import json
import math
from pathlib import Path

import pytest
import synthetic
from refusals import one_line

import scalept_lab.study.sweep
from scalept_lab.config import HEAD_DIM, TrainConfig
from scalept_lab.costs import counts
from scalept_lab.data.corpora import prepare
from scalept_lab.errors import InputError
from scalept_lab.laws import fit
from scalept_lab.study import study
from scalept_lab.study.study import Score, Shot, Study, best_recipe
from scalept_lab.study.sweep import Sweep, flops_of

SWEEP = Sweep(configs=[synthetic.config_at(width, C) for C, widths in synthetic.SLICES.items() for width in widths])  # fmt: skip


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def text(monkeypatch) -> dict[str, str]:
    """The fingerprint that the corpus of every run has now: that of the synthetic records, until a test changes it."""
    now = {"sha256": synthetic.PROVENANCE["corpus_sha256"]}
    for module in (study, scalept_lab.study.sweep):
        monkeypatch.setattr(module, "prepared_sha256", lambda config: now["sha256"])
    return now


@pytest.fixture
def planted(monkeypatch):
    """Instead of training, a run leaves the record that the planted law predicts; the list says which were run."""
    ran: list = []

    def pretend(configs, store, executor=None, progress=True):
        for config in configs:
            if store.get(config.id()) is None:
                ran.append(config)
                store.save(synthetic.record(config))
        return [store.get(config.id()) for config in configs]

    monkeypatch.setattr(study, "run_all", pretend)
    monkeypatch.setattr(study, "prepare_corpora", lambda configs: None)
    return ran


@pytest.fixture
def done(tmp_path, planted) -> Study:
    """A study with its sweep run and its prediction not made yet."""
    made = Study("mine", budget_flops=SWEEP.flops, folder=tmp_path / "mine")
    made.run(SWEEP)
    return made


def shoot(made: Study, flops: float = 5e12, **options):
    return made.call_shot(flops, made.fit(form="chinchilla", bootstrap=100, **options))


# --- the budget


@pytest.mark.parametrize("budget", [0, -1, 0.0, float("nan"), float("inf"), "lots", True])
def test_a_budget_is_a_positive_number(tmp_path, budget):
    with pytest.raises(InputError, match="budget_flops"):
        Study("mine", budget_flops=budget, folder=tmp_path / "mine")
    assert not list(tmp_path.iterdir())


def test_a_new_study_needs_a_budget(tmp_path):
    with pytest.raises(InputError, match="'mine' is new: expected budget_flops"):
        Study("mine", folder=tmp_path / "mine")


def test_overspending_is_refused_before_anything_trains(tmp_path, planted):
    made = Study("mine", budget_flops=SWEEP.flops * 0.999, folder=tmp_path / "mine")
    with pytest.raises(InputError, match=r"costs .* FLOPs and .* of the budget .* are left") as error:
        made.run(SWEEP)
    assert "\n" not in str(error.value)
    assert not planted and not list(tmp_path.iterdir())


def test_a_budget_can_be_spent_to_the_last_flop_and_not_beyond(tmp_path, planted):
    made = Study("mine", budget_flops=SWEEP.flops, folder=tmp_path / "mine")
    made.run(SWEEP)
    assert len(planted) == len(SWEEP)
    assert made.spent == pytest.approx(SWEEP.flops) and made.left == pytest.approx(0, abs=1e-6 * SWEEP.flops)
    with pytest.raises(InputError, match="budget"):
        made.run(Sweep(width=16, tokens=2e4))
    made.run(SWEEP)  # what is done is free
    assert len(planted) == len(SWEEP)


def test_a_part_of_the_sweep_that_fits_is_not_run_when_the_whole_does_not(tmp_path, planted):
    first, rest = Sweep(configs=SWEEP.configs[:4]), SWEEP
    made = Study("mine", budget_flops=first.flops * 1.5, folder=tmp_path / "mine")
    made.run(first)
    with pytest.raises(InputError):
        made.run(rest)
    assert len(planted) == 4 and len(made.records()) == 4


def test_the_budget_survives_the_end_of_the_process(tmp_path, planted):
    first = Sweep(configs=SWEEP.configs[:4])
    Study("mine", budget_flops=SWEEP.flops, folder=tmp_path / "mine").run(first)
    again = Study("mine", folder=tmp_path / "mine")
    assert again.budget == SWEEP.flops and again.spent == pytest.approx(first.flops)
    assert Study("mine", budget_flops=SWEEP.flops, folder=tmp_path / "mine").left == again.left


def test_two_processes_cannot_both_spend_what_is_left(tmp_path, planted, monkeypatch):
    """Each looked before the other had begun: as with three kernels that run the same cell."""
    first, second = Sweep(configs=SWEEP.configs[:8]), Sweep(configs=SWEEP.configs[8:])
    made = Study("mine", budget_flops=max(first.flops, second.flops) * 1.01, folder=tmp_path / "mine")
    other = Study("mine", folder=made.folder, budget_flops=made.budget)
    train = study.run_all

    def meanwhile(configs, store, executor=None, progress=True):
        monkeypatch.setattr(study, "run_all", train)
        with pytest.raises(InputError, match=r"left|another process spends"):
            other.run(second)
        return train(configs, store, executor, progress)

    monkeypatch.setattr(study, "run_all", meanwhile)
    made.run(first)
    assert made.spent == other.spent == pytest.approx(first.flops)
    monkeypatch.setattr(Study, "_left_for", lambda *_: math.inf)  # it looked before anything was entered
    with pytest.raises(InputError, match="another process spends from the budget"):
        other.run(second)
    assert len(planted) == 8 and made.spent == pytest.approx(first.flops)


def test_a_sweep_that_was_killed_can_be_run_again_with_nothing_to_spare(tmp_path, planted):
    """It has entered all of its runs, and made one."""
    killed = Study("mine", budget_flops=SWEEP.flops, folder=tmp_path / "mine")
    killed._write_budget()
    killed._enter(SWEEP.configs)
    killed.store.save(synthetic.record(SWEEP.configs[0]))
    again = Study("mine", folder=tmp_path / "mine")
    assert again.left == pytest.approx(0, abs=1e-6 * SWEEP.flops)
    assert again.estimate(SWEEP).fits
    assert len(again.run(SWEEP)) == len(SWEEP) and again.spent == pytest.approx(SWEEP.flops)


def test_what_a_killed_sweep_holds_of_the_budget_is_told_to_the_next_one(tmp_path, planted):
    made = Study("mine", budget_flops=SWEEP.flops, folder=tmp_path / "mine")
    made._write_budget()
    made._enter(SWEEP.configs)
    other = Sweep(configs=[SWEEP.configs[0].replace(seed=7)])
    one_line(
        lambda: made.run(other),
        f"{len(SWEEP)} runs of another sweep are entered and not made",
        "deleting their files in",
    )
    for path in (made.folder / "spent").iterdir():
        path.unlink()
    assert len(made.run(other)) == 1


def test_what_one_process_takes_back_stays_entered_for_another(tmp_path, planted):
    """Both make the same sweep, and one of them gives up."""
    made, other = (Study("mine", budget_flops=SWEEP.flops, folder=tmp_path / "mine") for _ in range(2))
    for path in (other._enter(SWEEP.configs), made._enter(SWEEP.configs))[0]:
        path.unlink()
    assert made.spent == pytest.approx(SWEEP.flops)


@pytest.mark.parametrize("changes", [{"budget_flops": 1e20}, {"name": "yours"}])
def test_a_budget_that_was_changed_is_told(done, changes):
    ledger = done.folder / "study.json"
    ledger.write_text(json.dumps({**json.loads(ledger.read_text()), **changes}))
    with pytest.raises(InputError, match=r"study.json: expected a study with a budget_flops"):
        Study("mine", folder=done.folder)


def test_a_budget_from_before_it_knew_its_digest_still_holds(done):
    (done.folder / "study.json").write_text('{"name": "mine", "budget_flops": 5e12}')
    assert Study("mine", folder=done.folder).budget == 5e12


def test_a_record_that_is_deleted_gives_nothing_back(done):
    spent = done.spent
    for path in done.store.folder.glob("*.json"):
        path.unlink()
    assert done.spent == pytest.approx(spent) and done.left == pytest.approx(0, abs=1e-6 * spent)
    with pytest.raises(InputError, match="are left"):
        done.run(Sweep(width=16, tokens=2e4))


def test_what_never_came_to_train_is_not_spent(tmp_path, planted, monkeypatch):
    def interrupted(configs, store, executor=None, progress=True):
        store.save(synthetic.record(next(iter(configs))))
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run_all", interrupted)
    made = Study("mine", budget_flops=SWEEP.flops, folder=tmp_path / "mine")
    with pytest.raises(KeyboardInterrupt):
        made.run(SWEEP)
    assert made.spent == pytest.approx(flops_of(SWEEP.configs[0]))


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(InputError, match="expected a folder for the study, got a file"):
        Study("mine", 1e12, folder=tmp_path / "mine")


def test_another_budget_for_the_same_study_is_refused(done):
    with pytest.raises(InputError, match=r"has a budget of .* already, got 1e\+20"):
        Study("mine", budget_flops=1e20, folder=done.folder)


def test_studies_lie_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path / "elsewhere"))
    assert Study("mine", budget_flops=1e9).folder == tmp_path / "elsewhere" / "mine"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"budget_flops": "lots"}', '{"budget_flops": NaN}', '{"budget_flops": -1}', "\xff"]
)  # fmt: skip
def test_a_spoiled_ledger_is_told_and_not_replaced(done, content):
    ledger = done.folder / "study.json"
    ledger.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"study.json: expected a study"):
        Study("mine", budget_flops=1e20, folder=done.folder)
    assert ledger.read_text(encoding="latin-1") == content


def test_failed_runs_cost_nothing_and_diverged_ones_what_they_used(tmp_path):
    made = Study("mine", budget_flops=1e13, folder=tmp_path)
    diverged = synthetic.record(SWEEP.configs[0], status="diverged")
    failed = synthetic.record(SWEEP.configs[1], status="failed", C=0, D=0)
    for record in (diverged, failed):
        made.store.save(record)
    assert made.spent == diverged.C > 0
    assert made.estimate(Sweep(configs=SWEEP.configs[:2])).cached == 1  # the failed one is to be run


def test_a_corpus_that_is_not_there_leaves_no_study_behind(tmp_path):
    made = Study("mine", budget_flops=1e12, folder=tmp_path / "mine")
    with pytest.raises(InputError, match="no such file"):
        made.run(Sweep(width=16, tokens=2e4, corpus=str(tmp_path / "gone.txt")))
    assert not list(tmp_path.iterdir())


# --- the estimate


def test_an_estimate_is_free_and_writes_nothing(tmp_path):
    made = Study("mine", budget_flops=SWEEP.flops * 2, folder=tmp_path / "mine")
    estimate = made.estimate(SWEEP, workers=2)
    assert not list(tmp_path.iterdir())
    assert (estimate.runs, estimate.cached) == (len(SWEEP), 0)
    assert estimate.flops == pytest.approx(SWEEP.flops)
    assert estimate.fits and estimate.share == pytest.approx(0.5) and estimate.left == SWEEP.flops * 2
    assert 0 < estimate.seconds < 1e5
    assert "fits" in str(estimate) and "50%" in str(estimate)


def test_an_estimate_times_each_kind_of_step_once(tmp_path, monkeypatch):
    """Steps of made-up lengths: three runs of 10, 20 and 40 steps, told apart by all that a step's time depends on."""
    base = synthetic.config(16, 10 * 256)
    assert base.steps == 10
    took = {"adamw": 1.0, "muon": 3.0, "sgd": 0.5}
    timed: list = []

    def seconds(config, device):
        timed.append(config)
        longer = 2.0 if config.recompute else 1.0
        return took[config.optimizer] * longer * config.accumulate * (5 if config.dtype == "bfloat16" else 1)

    monkeypatch.setattr("scalept_lab.train.placement.seconds_per_step", seconds)

    def estimated(*configs):
        made = Study("mine", budget_flops=1e15, folder=tmp_path)
        timed.clear()
        return made.estimate(Sweep(configs=configs), workers=1).seconds

    muon = base.replace(optimizer="muon", tokens=20 * 256)
    assert estimated(base, muon) == 10 * 1 + 20 * 3
    assert estimated(base, base.replace(dtype="bfloat16")) == 10 + 50
    assert estimated(base, base.replace(accumulate=4)) == 10 + 40
    assert estimated(base, base.replace(recompute=True)) == 10 + 20
    assert estimated(base, base.replace(seed=1, lr=0.02, tokens=40 * 256)) == 50 and len(timed) == 1


def test_an_estimate_counts_what_is_done_and_says_what_does_not_fit(done):
    estimate = done.estimate(SWEEP)
    assert (estimate.cached, estimate.flops, estimate.seconds) == (len(SWEEP), 0, 0)
    assert estimate.fits and estimate.share == 0
    more = done.estimate(Sweep(width=16, tokens=2e4))
    assert not more.fits and more.share > 1 and "does NOT fit" in str(more)


# --- the law


def test_diverged_and_failed_runs_are_left_out_of_the_fit(done):
    law = done.fit(bootstrap=0)
    done.store.save(synthetic.record(synthetic.config(64, 1e6, lr=0.5), status="diverged"))
    done.store.save(synthetic.record(synthetic.config(64, 1e6, lr=0.6), status="failed"))
    assert len(done.store.records()) == len(SWEEP) + 2 and len(done.records()) == len(SWEEP)
    assert done.fit(bootstrap=0).params == law.params


def test_the_fit_has_intervals_unless_told_otherwise(done):
    assert set(done.fit(bootstrap=50).interval95) >= {"E", "A", "B", "alpha", "beta"}
    assert not done.fit(bootstrap=0).interval95


def test_runs_on_different_text_are_not_fitted_together(done):
    other = {**synthetic.PROVENANCE, "corpus_sha256": "cd" * 32}
    done.store.save(synthetic.record(synthetic.config(64, 1e6), provenance=other))
    with pytest.raises(InputError, match="2 different corpora"):
        done.fit()
    with pytest.raises(InputError, match="2 different corpora"):
        fit.fit_records(done.records())


def test_too_few_runs_are_told(tmp_path, planted):
    made = Study("mine", budget_flops=1e13, folder=tmp_path)
    with pytest.raises(InputError, match="at least 6 points"):
        made.fit()
    made.run(Sweep(configs=SWEEP.configs[:5]))
    with pytest.raises(InputError, match="at least 6 points, got 5"):
        made.call_shot(1e13)


# --- the shot


def test_a_shot_is_on_disk_before_the_hero_and_says_what_it_rests_on(done, planted):
    planted.clear()
    shot = shoot(done)
    assert not planted  # nothing trained
    assert f"shots/{shot.id}.json" in files(done.folder)
    assert shot.low < shot.predicted < shot.high
    assert shot.flops == flops_of(shot.config) == pytest.approx(5e12, rel=0.01)
    assert sorted(shot.runs) == sorted(record.id for record in done.records())
    assert shot.law == done.fit(bootstrap=0).params
    assert done.sealed(shot.id) == shot
    assert shot.seal == shot.digest()
    assert f"{shot.predicted:.4f}" in str(shot) and shot.sealed_at in str(shot)


def test_a_shot_names_the_runs_of_its_fit_and_no_others(done):
    """One of the runs left out has the very loss of one that was fitted."""
    low, high = sorted(done.records(), key=lambda record: record.C)[:: len(SWEEP) - 1]
    done.store.save(low.model_copy(update={"L": high.L}))
    fitted = {record.id for record in done.records() if record.C >= 2e10}
    assert len(fitted) == len(SWEEP) - 2 and low.id not in fitted and high.id in fitted
    law = done.fit(from_flops=2e10, bootstrap=100)
    assert set(law.points.runs) == fitted
    assert set(done.call_shot(5e12, law).runs) == fitted


def test_the_predicted_loss_is_that_of_the_law(done):
    law = done.fit(bootstrap=100)
    shot = done.call_shot(5e12, law)
    N, D = counts.shape(shot.config.model).non_embedding, shot.config.steps * shot.config.tokens_per_step
    assert shot.predicted == pytest.approx(float(law(N, D)))


def test_the_recipe_is_the_best_of_the_family(done):
    """By brute force: every width, its tokens following from the compute."""
    law, like = done.fit(bootstrap=0), done.records()[-1].config
    for flops in (1e11, 5e12):
        config = best_recipe(law, flops, TrainConfig(**like))
        losses = {}
        for width in range(HEAD_DIM, 300, HEAD_DIM):
            model = TrainConfig(**like).model.family(width)
            losses[width] = float(
                law(counts.shape(model).non_embedding, flops / counts.flops_per_token(model))
            )
        best = min(losses.values())
        assert losses[config.model.width] <= best * (1 + 1e-4)
        step = counts.flops_per_token(config.model) * config.tokens_per_step
        assert abs(flops_of(config) - flops) <= step


def test_the_hero_is_scored_on_the_text_of_its_runs(tmp_path, planted):
    fields = dict(corpus="language/3", seed=7, eval_windows=99, context=32)
    sweep = Sweep.isoflop(synthetic.SLICES, **fields)  # type: ignore[arg-type]
    made = Study("mine", budget_flops=1e14, folder=tmp_path)
    made.run(sweep)
    config = shoot(made).config
    assert (config.corpus, config.seed, config.eval_windows, config.model.context) == ("language/3", 7, 99, 32)  # fmt: skip


def test_a_new_shot_replaces_the_seal_until_the_hero_is_trained(done):
    first = shoot(done)
    second = shoot(done, seed=1)
    assert second.id == first.id and second.seal != first.seal
    assert done.sealed(first.id) == second
    done.run_hero(second)
    assert shoot(done, seed=2) == second == done.sealed(first.id)
    with pytest.raises(InputError, match="differs from the one sealed"):
        done.run_hero(first)


def test_a_seal_cannot_be_replaced_while_its_hero_trains(done, monkeypatch):
    first, train = shoot(done), study.run_all

    def meanwhile(configs, store, executor=None, progress=True):
        assert shoot(done, seed=1) == first
        return train(configs, store, executor, progress)

    monkeypatch.setattr(study, "run_all", meanwhile)
    done.run_hero(first)
    assert done.shots() == [first] == [score.shot for score in done.scores()]
    # one that is written in its place after all is not looked at
    other = first.model_copy(update={"predicted": 9.0})
    (done.folder / "shots" / f"{first.id}.json").write_text(other.model_dump_json())
    assert done.shots() == [first]


def test_a_hero_without_a_seal_cannot_be_predicted(done):
    shot = shoot(done)
    done.run_hero(shot)
    (done.folder / "shots" / "opened" / f"{shot.id}.json").unlink()
    with pytest.raises(InputError, match="no prediction is sealed"):
        shoot(done)


@pytest.mark.parametrize("flops", [0, -1, float("nan"), float("inf"), "much"])
def test_a_shot_needs_a_positive_number_of_flops(done, flops):
    with pytest.raises(InputError, match="flops: expected a positive number"):
        done.call_shot(flops, done.fit(bootstrap=10))


def test_what_cannot_be_predicted_is_told_in_one_line(done, tmp_path):
    law = done.fit(bootstrap=10)
    with pytest.raises(InputError, match="do not pay for a single step"):
        done.call_shot(1e4, law)
    with pytest.raises(InputError, match="no bootstrap samples"):
        done.call_shot(5e12, done.fit(form="chinchilla", bootstrap=0))
    with pytest.raises(InputError, match=r"form power.*cannot choose a model"):
        done.call_shot(5e12, done.fit(form="power", bootstrap=10))
    empty = Study("empty", budget_flops=1e12, folder=tmp_path / "empty")
    with pytest.raises(InputError, match="no run of this study is finished"):
        empty.call_shot(5e12, law)
    assert "shots" not in {path.name for path in done.folder.iterdir()}


def test_what_the_sweep_has_trained_cannot_be_predicted(done):
    law, like = done.fit(bootstrap=10), TrainConfig(**done.records()[-1].config)
    known = best_recipe(law, 1e12, like)
    done.store.save(synthetic.record(known))
    with pytest.raises(InputError, match=r"the best run for 1e\+12 FLOPs is in the sweep already"):
        done.call_shot(1e12, law)
    assert not (done.folder / "shots").exists()


# --- the seal and the score


def test_the_score_is_measured_against_the_sealed_prediction(done):
    shot = shoot(done)
    score = done.run_hero(shot)
    record = done.heroes.get(shot.id)
    assert record is not None and score.measured == record.L
    assert score.error_percent == pytest.approx(100 * (record.L / shot.predicted - 1))
    assert score.inside == (shot.low <= record.L <= shot.high)
    assert done.scores() == [score]
    assert Study("mine", folder=done.folder).scores() == [score]
    assert done.run_hero(shot) == score  # found, not trained again


def test_inside_and_outside_are_said(done):
    shot = shoot(done)
    expected = {shot.low: True, shot.high: True, shot.high * 1.01: False, shot.low * 0.99: False}
    for measured, inside in expected.items():
        score = Score(shot, measured)
        assert score.inside is inside
        assert ("OUTSIDE" in str(score)) is not inside
        assert math.copysign(1, score.error_percent) == math.copysign(1, measured - shot.predicted)


def test_the_heros_compute_is_not_the_sweeps(done):
    spent = done.spent
    done.run_hero(shoot(done))
    assert done.spent == spent and len(done.records()) == len(SWEEP)


def edited(**changes):
    def edit(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


@pytest.mark.parametrize(
    "tamper",
    [
        edited(predicted=1.0),
        edited(high=99.0),
        edited(sealed_at="2031-01-01T00:00:00+00:00"),
        edited(seal=""),
        edited(note="honest"),
        edited(config={}),
        lambda path: path.write_text("{"),
        edited(status="\ud800"),
        lambda path: path.write_text(""),
        lambda path: path.write_bytes(b"\xff\xfe\x80"),
    ],
)
def test_a_broken_seal_is_refused(done, tamper):
    shot = shoot(done)
    tamper(done.folder / "shots" / f"{shot.id}.json")
    for ask in (lambda: done.run_hero(shot), lambda: done.sealed(shot.id), done.scores):
        with pytest.raises(InputError, match=r"the seal of .* is broken") as error:
            ask()
        assert "\n" not in str(error.value)
    assert not done.heroes.records()


def test_a_prediction_never_sealed_here_is_refused(done, tmp_path):
    shot = shoot(done)
    (done.folder / "shots" / f"{shot.id}.json").rename(tmp_path / "elsewhere.json")
    with pytest.raises(InputError, match="no prediction is sealed for run"):
        done.run_hero(shot)


def test_a_hero_that_diverged_is_told(done):
    shot = shoot(done)
    done.heroes.save(synthetic.record(shot.config, status="diverged"))
    with pytest.raises(InputError, match=r"the hero run is diverged: .*nothing to score"):
        done.run_hero(shot)
    assert done.scores() == []


# --- all of it, for real


def test_a_study_from_plan_to_score(tmp_path, tiny_corpus, monkeypatch, text):
    text["sha256"] = prepare(tiny_corpus).sha256

    def in_a_thread(configs, store, executor=None, progress=True):
        with futures.ThreadPoolExecutor(1) as one:
            return scalept_lab.study.sweep.run_all(configs, store, one, progress=False)

    monkeypatch.setattr(study, "run_all", in_a_thread)
    sweep = Sweep(width=[8, 16, 24], tokens=[4e3, 8e3, 16e3], corpus=tiny_corpus, eval_windows=8)
    made = Study("small", budget_flops=sweep.flops * 1.01, folder=tmp_path / "small")
    assert made.estimate(sweep).fits
    records = made.run(sweep)
    assert len(records) == 9 and all(record.ok for record in records)
    shot = made.call_shot(2 * max(record.C for record in records), made.fit(bootstrap=20))
    score = made.run_hero(shot)
    hero = made.heroes.get(shot.id)
    assert hero is not None and score.measured == hero.L and hero.C == shot.flops
    again = Study("small", folder=tmp_path / "small")
    assert again.scores() == [score] and again.spent == pytest.approx(sweep.flops)
    assert {name.split("/")[0] for name in files(again.folder)} == {
        "study.json", "spent", "runs", "shots", "hero",
    }  # fmt: skip


# --- text that changes


def test_runs_on_text_that_has_changed_since_do_not_count_and_are_kept_aside(done, planted, text):
    first = SWEEP.configs[0]
    old = done.store.get(first.id())
    text["sha256"] = "cd" * 32
    assert done.estimate(SWEEP).cached == 0
    done.store.save(old.model_copy(update={"provenance": {**old.provenance, "corpus_sha256": "cd" * 32}}))
    assert done.estimate(SWEEP).cached == 1
    kept = [name for name in files(done.folder / "runs") if name.startswith(first.id())]
    assert kept == [f"{first.id()}.json", f"{first.id()}.json.{old.corpus[:12]}"]
    assert len(done.store.records()) == len(SWEEP)


def test_a_prediction_is_not_scored_on_text_that_has_changed_since(done, text):
    shot = shoot(done)
    text["sha256"] = "cd" * 32
    with pytest.raises(
        InputError, match="corpus python: its text has changed since the prediction was sealed"
    ):
        done.run_hero(shot)


def test_a_seal_from_before_a_field_existed_still_holds(done):
    """Fields of a config that came later do not break old seals."""
    shot = shoot(done)
    values = json.loads(shot.model_dump_json())
    for name in ("distillation", "growth", "delayed", "compile"):
        del values["config"][name]
    (done.folder / "shots" / f"{shot.id}.json").write_text(json.dumps(values))
    text = Shot.model_validate(values | {"seal": ""}).model_dump_json()
    for name in ("distillation", "growth", "delayed"):
        text = text.replace(f',"{name}":null', "")
    text = text.replace(',"compile":false', "")
    assert shot.seal == hashlib.sha256(text.encode()).hexdigest()
    assert done.sealed(shot.id) == shot


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "",
        "..",
        "a/../../b",
        "/tmp/elsewhere",
        "x" * 300,
        "nul\0",
        "two\nlines",
        7,
        "字" * 90,
        "\ud800",
        "con",
        "Nul.txt",
        "a/COM1",
        "..\\x",
        "C:x",
        "a*",
        " x",
        "x ",
        "x.",
        "ab\u202e",
    ],
)
def test_a_name_stays_inside_the_results(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path / "results"))
    one_line(lambda: Study(name, budget_flops=1e9), "expected a name", "folder=")
    assert not (tmp_path / "results").exists()
    assert Study("名字 a/b", budget_flops=1e9).folder == tmp_path / "results" / "名字 a" / "b"


def test_two_studies_do_not_differ_in_case_alone(tmp_path, monkeypatch):
    """On a disk that does not tell case both would be one folder, and spend from one budget."""
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path))
    for name in ("Mine", "Straße"):
        Study(name, budget_flops=1e9)._write_budget()
    assert Study("Mine").budget == 1e9
    for name in ("mine", "MINE", "STRASSE"):
        one_line(lambda name=name: Study(name, budget_flops=2e9), "differs in more than case from")


def test_one_name_is_one_study_however_its_letters_are_written(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path))
    (tmp_path / "e\u0301tude").mkdir()  # as macOS may write it
    Study("\u00e9tude", budget_flops=1e9)._write_budget()
    assert Study("e\u0301tude").folder == tmp_path / "e\u0301tude" and len(list(tmp_path.iterdir())) == 1
