"""One contract for every loop: a run that diverges is a record, its curve covers every step, and its name says what it is."""

from __future__ import annotations

import math

import pytest
import torch
from refusals import one_line

from scalept_lab.compress import distill
from scalept_lab.compress.prune import fine_tune
from scalept_lab.config import Delayed, Growth, ModelConfig, TrainConfig
from scalept_lab.costs import counts
from scalept_lab.model.transformer import Transformer
from scalept_lab.runs import parse_record
from scalept_lab.train import growth, loop, stepwise
from scalept_lab.train.delayed import fit_delayed
from scalept_lab.train.loop import fit_model
from scalept_lab.train.outcome import Watch, outcome
from scalept_lab.vla.cloning import CloneConfig, Source, clone
from scalept_lab.vla.model import PolicyConfig

MODEL = ModelConfig(width=16, depth=1, heads=2, context=16)
LARGE = MODEL.replace(depth=2)


@pytest.fixture
def words(word_corpus):
    return word_corpus


def config(**changes) -> TrainConfig:
    values = {"model": MODEL, "tokens": 230 * 64, "batch": 4, "eval_windows": 16, "corpus": "words"}
    return TrainConfig(**{**values, **changes})


def teacher() -> Transformer:
    torch.manual_seed(7)
    model = Transformer(LARGE)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    return model


def cloned(**changes):
    changes = {name: value for name, value in changes.items() if name in ("lr", "clip")}
    policy = PolicyConfig(width=8, heads=2, depth=1)
    return clone(
        CloneConfig(
            policy=policy, sources=(Source(level="GoToObj", episodes=20),), steps=230, batch=4, **changes
        )
    )


def stepped(words, **changes):
    run = stepwise.start(config(**changes), words)
    stepwise.go_on(run, stepwise.schedule(run.config))
    return run.model, outcome(run.config, words.sha256, run.watch, stepwise.score(run))


def grew(words, **changes):
    small = config(**changes)
    return growth.fit_grown(growth.grown(small, LARGE, 230 * 64 * counts.flops_per_token(LARGE), 0.3), words)


LOOPS = {
    "train": lambda words, **changes: fit_model(config(**changes), corpus=words),
    "delayed": lambda words, **changes: fit_delayed(
        config(**changes), Delayed(workers=2, method="local", every=3), words
    ),
    "distill": lambda words, **changes: distill.fit_student(config(**changes), teacher(), corpus=words),
    "growth": grew,
    "stepwise": stepped,
    "cloning": lambda words, **changes: cloned(**changes),
}


@pytest.mark.parametrize(
    "changes", [{"lr": 1e30, "clip": 1e30}, {"lr": 1e3, "clip": 1e30}], ids=["huge", "NaN"]
)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_run_that_diverges_is_a_record_of_every_loop(words, loop, changes):
    record = LOOPS[loop](words, **changes)[1]
    assert record.status == "diverged" and record.L is None and "\n" not in record.error
    assert "left the range of a model at step" in record.error
    assert record.D < 230 * 64 and all(math.isfinite(loss) for _, _, loss in record.curve)
    assert parse_record(record.model_dump_json()) == record


@pytest.mark.parametrize("loop", LOOPS)
def test_the_curve_of_every_loop_covers_its_steps_and_its_seconds_are_counted(words, loop):
    record = LOOPS[loop](words)[1]
    steps, seen, _ = record.curve[-1]
    assert record.ok and record.seconds > 0 and 80 < len(record.curve) <= 200
    assert seen == record.D and steps == (230 if loop != "growth" else record.D // 64)
    gaps = [b[0] - a[0] for a, b in zip(record.curve, record.curve[1:], strict=False)]
    assert set(gaps) <= {record.curve[0][0], gaps[-1]} and gaps[-1] <= record.curve[0][0]


def test_no_two_loops_share_a_name(words):
    records = [LOOPS[loop](words)[1] for loop in ("train", "delayed", "distill", "growth")]
    records += [distill.fit_student(config(), teacher(), corpus=words, **more)[1]
                for more in ({"weight": 0.3}, {"temperature": 2.0})]  # fmt: skip
    other = teacher()
    with torch.no_grad():
        other.head.weight[3, 4] += 1e-3
    records.append(distill.fit_student(config(), other, corpus=words)[1])
    assert len({record.id for record in records}) == len(records) == 7
    plain = LOOPS["train"](words)[1]
    assert (
        distill.fit_student(config(), teacher(), weight=0.0, corpus=words)[1].id == plain.id == records[0].id
    )


def test_the_curve_is_the_mean_since_the_point_before():
    watch = Watch(steps=205, per_step=7, choices=256)
    read = [watch.note(torch.tensor(float(step))) for step in range(1, 206) if not watch.diverged]
    assert read == [False, True] * 5  # the fifth mean, 9.5, is above the limit of 8.3
    assert watch.diverged and watch.curve == [(2, 14, 1.5), (4, 28, 3.5), (6, 42, 5.5), (8, 56, 7.5)]


@pytest.mark.parametrize(
    ("loss", "diverged"), [(8.31, False), (8.32, True), (math.nan, True), (math.inf, True)]
)
def test_a_run_has_diverged_at_one_and_a_half_times_a_uniform_guess(loss, diverged):
    """1.5 · ln 256 = 8.3178."""
    watch = Watch(steps=3, per_step=1, choices=256)
    assert watch.note(torch.tensor(loss)) and watch.diverged == diverged
    assert watch.curve == ([] if diverged else [(1, 1, loss)])


def test_what_the_last_steps_lost_is_in_the_last_point():
    watch = Watch(steps=5, per_step=10, choices=256)
    watch.every = 3
    for loss in (1.0, 2.0, 6.0, 4.0, 5.0):
        watch.note(torch.tensor(loss))
    assert watch.curve == [(3, 30, 3.0), (5, 50, 4.5)]


def test_a_loop_refuses_what_another_one_does(words):
    one_line(
        lambda: fit_model(config(delayed=Delayed()), corpus=words),
        "delayed: expected none",
        "delayed.fit_delayed",
    )
    plan = Growth(start=MODEL, flops=1e9)
    one_line(
        lambda: fit_model(config(growth=plan), corpus=words),
        "growth: expected none",
        "growth.fit_grown",
    )
    one_line(lambda: stepwise.start(config(delayed=Delayed()), words), "delayed: expected none")
    one_line(lambda: fit_delayed(config(growth=plan), Delayed(), words), "growth: expected none")


def test_another_objective_needs_another_name(words):
    def squared(model, x, y):
        loss = loop.next_token(model, x, y)[0] ** 2
        return loss, loss.detach()

    one_line(
        lambda: fit_model(config(), corpus=words, objective=squared),
        "objective: expected the next-token loss",
    )


def test_what_cannot_be_trained_is_refused_before_anything_is_built(monkeypatch):
    monkeypatch.setattr("scalept_lab.train.loop.prepare", lambda name: pytest.fail("it built the corpus"))
    one_line(
        lambda: fit_model(config(model=MODEL.replace(causal=False))), "model.causal: expected true, got false"
    )
    huge = ModelConfig(width=2**17, depth=200, heads=16)
    one_line(
        lambda: fit_model(config(model=huge)),
        "model: expected a run that fits into",
        "take a smaller model or batch",
    )
    one_line(lambda: fit_model(config(batch=10**9)), "model: expected a run that fits", "batch 1,000,000,000")


def test_fine_tuning_that_diverges_says_so(words):
    one_line(lambda: fine_tune(teacher(), words, 2_000, lr=1e30), "left the range of a model at step")


def test_speed_and_costs_of_a_record_by_hand(words):
    """3 steps of 64 tokens in 2 seconds."""
    run = config(tokens=9 * 64)
    watch = Watch.of(run)
    watch.go_on_from(0, {"curve": [], "seconds": 2.0})
    for loss in (3.0, 4.0, 5.0):
        watch.note(torch.tensor(loss))
    made = outcome(run, "ab" * 32, watch, 2.5, metrics={"mine": 7.0, "lost": math.inf})
    per_token = counts.flops_per_token(MODEL)
    assert (made.D, made.C, made.L, made.seconds) == (192, 192 * per_token, 2.5, 2.0)
    assert made.metrics == {"tokens_per_second": 96.0, "flops_per_second": 96 * per_token, "mine": 7.0}
    assert (made.N, made.N_total) == (12 * 16**2, 12 * 16**2 + 2 * 256 * 16)
    assert made.curve == [(1, 64, 3.0), (2, 128, 4.0), (3, 192, 5.0)]
    told = made.provenance
    assert (told["world_size"], told["dtype"], told["strategy"]) == (1, "float32", "one process")
    assert outcome(run, "ab" * 32, watch, 2.5, C=11.0).C == 11.0


@pytest.mark.parametrize(("loss", "ok"), [(8.317, True), (8.318, False), (math.nan, False)])
def test_a_held_out_loss_out_of_range_is_no_result(loss, ok):
    watch = Watch.of(config())
    watch.note(torch.tensor(3.0))
    made = outcome(config(), "ab" * 32, watch, loss)
    assert (made.L == loss) == ok and made.status == ("ok" if ok else "diverged")
    assert (
        made.error is None
        if ok
        else made.error == "the loss left the range of a model at step 1; take a lower rate"
    )


def test_seconds_of_all_lives_add_up(monkeypatch):
    clock = iter([10.0, 13.0, 20.0, 21.5])
    monkeypatch.setattr("scalept_lab.train.outcome.time.perf_counter", lambda: next(clock))
    watch = Watch(steps=4, per_step=1, choices=256)
    watch.start()
    watch.stop()
    assert watch.seconds == 3.0
    watch.start()
    watch.stop()
    assert watch.state() == {"curve": [], "seconds": 4.5}
