"""The loop: the same twice, better than counting letters, and a record of whatever happened."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from refusals import one_line
from torch import nn

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.costs import counts
from scalept_lab.data import tokens
from scalept_lab.data.corpora import Prepared, prepare
from scalept_lab.errors import InputError
from scalept_lab.model import optim
from scalept_lab.model.transformer import Transformer
from scalept_lab.parallel import checkpoint
from scalept_lab.parallel.launcher import launch
from scalept_lab.runs import parse_record
from scalept_lab.study.sweep import flops_of
from scalept_lab.train import loop
from scalept_lab.train.loop import Keep, evaluate, fit_model, train

TINY = ModelConfig(width=16, context=16, heads=2)


@pytest.fixture
def run(tiny_corpus):
    def make(**fields) -> TrainConfig:
        return TrainConfig(
            **{"model": TINY, "corpus": tiny_corpus, "tokens": 2560, "eval_windows": 50, **fields}
        )

    return make


@pytest.fixture
def corpus(tiny_corpus) -> Prepared:
    return prepare(tiny_corpus)


def entropy(stream: np.ndarray) -> float:
    share = np.bincount(stream) / len(stream)
    return float(-(share[share > 0] * np.log(share[share > 0])).sum())


# --- what it learns


def test_it_learns_more_than_how_often_each_letter_comes(run, corpus):
    record = train(run(model=ModelConfig(width=32, context=32, heads=4), tokens=50_000))
    letters = entropy(corpus.train)
    assert record.status == "ok" and record.L is not None
    assert 0.3 < record.L < letters - 0.5
    losses = [loss for _, _, loss in record.curve]
    assert losses[0] == pytest.approx(math.log(256), rel=0.15) and losses[-1] < letters


def test_the_same_seed_gives_the_same_run_and_another_does_not(run):
    first, again, other = train(run()), train(run()), train(run(seed=1))
    assert first.id == again.id and first.L == again.L and first.curve == again.curve
    assert other.L != first.L


def test_more_passes_over_fewer_tokens_count_every_token_seen(run):
    record = train(run(unique_tokens=640))
    assert record.D == 2560 and record.config["unique_tokens"] == 640


# --- the loop against a bare one


def test_the_loop_equals_a_bare_one(run, corpus):
    """The same weights after 20 steps, and so the same score, from torch alone: no groups, nothing fused, no curve."""
    config = run(tokens=20 * 64, clip=0.5, weight_decay=0.1)
    ours, record = fit_model(config)

    torch.manual_seed(config.seed)
    bare = Transformer(config.model)
    rates = {id(p): group["lr"] for group in optim.param_groups(bare, config) for p in group["params"]}
    plain = torch.optim.AdamW(
        [{"params": [p], "lr": rates[id(p)]} for p in bare.parameters()],
        betas=(0.9, config.beta2), weight_decay=0.1, foreach=False,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(plain, lambda step: optim.learning_rate(step, config))
    stream = tokens.batches(corpus.train, batch=4, context=16, steps=20, seed=config.seed)
    for x_BxL, y_BxL in stream:
        logits_BxLxV = bare(torch.tensor(x_BxL))
        nn.functional.cross_entropy(logits_BxLxV.reshape(-1, 256), torch.tensor(y_BxL).reshape(-1)).backward()
        nn.utils.clip_grad_norm_(bare.parameters(), 0.5)
        plain.step()
        schedule.step()
        plain.zero_grad()

    for (name, mine), theirs in zip(ours.named_parameters(), bare.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5, msg=name)
    assert record.L == pytest.approx(evaluate(bare, corpus, 50), rel=1e-5)


@pytest.mark.parametrize("windows", [1, 7, 64, 65, 10_000])
def test_evaluate_equals_one_window_at_a_time(run, corpus, windows):
    model, _ = fit_model(run(tokens=640))
    x_WxL, y_WxL = tokens.eval_windows(corpus.heldout, 16, windows)
    losses = []
    with torch.no_grad():
        for x_L, y_L in zip(x_WxL, y_WxL, strict=True):
            logp_LxV = model(torch.tensor(x_L)[None])[0].log_softmax(-1)
            losses += [-logp_LxV[i, target].item() for i, target in enumerate(y_L)]
    assert evaluate(model, corpus, windows) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_evaluate_changes_nothing(run, corpus):
    model, record = fit_model(run(tokens=640))
    before = [weight.clone() for weight in model.parameters()]
    assert evaluate(model, corpus, 50) == evaluate(model, corpus, 50) == record.L
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(weight.grad is None for weight in model.parameters())


# --- the record


def test_the_record_says_what_was_run(run, corpus):
    config = run(tokens=3000)
    record = train(config)
    shape = counts.shape(config.model)
    assert record.id == config.id()
    assert TrainConfig(**record.config) == config
    assert (record.N, record.N_total) == (shape.non_embedding, shape.total)
    assert record.D == config.steps * 64 and abs(record.D - 3000) <= 32
    assert record.C == flops_of(config) == pytest.approx(counts.flops_per_token(config.model) * record.D)
    assert record.status == "ok" and record.error is None and record.origin == "live"
    assert record.seconds > 0 and record.peak_rss_bytes > 1e7
    assert record.corpus == corpus.sha256
    wanted = "commit versions machine device threads world_size dtype corpus_sha256 created"
    assert set(wanted.split()) <= set(record.provenance)
    assert parse_record(record.model_dump_json()) == record


@pytest.mark.parametrize("steps", [1, 7, 99, 250])
def test_the_curve_covers_every_step_in_at_most_two_hundred_points(run, steps):
    told: list[int] = []
    record = train(run(tokens=64 * steps), progress=told.append)
    at = [step for step, _, _ in record.curve]
    assert at == sorted(set(at)) == told and at[-1] == steps
    assert len(at) <= min(steps, 200)
    assert all(seen == 64 * step for step, seen, _ in record.curve)


def test_a_corpus_made_on_the_fly_is_used_and_named_by_its_fingerprint(run):
    stream = np.tile(np.arange(10, dtype=np.uint8), 500)
    made = Prepared("counting", stream, stream, 10, "ab" * 32, {}, None)  # type: ignore[arg-type]
    record = train(run(corpus="nothing-of-this-name", tokens=20_000), corpus=made)
    assert record.corpus == "ab" * 32
    assert record.L is not None and record.L < 0.5  # it learned to count


# --- runs that go wrong


@pytest.mark.parametrize("lr", [1e6, 1e30, 1e38])
@pytest.mark.parametrize("clip", [1.0, 1e30])
def test_a_diverging_run_is_a_record(run, lr, clip):
    config = run(lr=lr, clip=clip, tokens=64 * 300)
    record = train(config)
    assert record.status == "diverged" and record.L is None and record.error
    assert 0 < record.D < config.tokens and record.C == pytest.approx(counts.flops_per_token(TINY) * record.D)
    assert record.D % config.tokens_per_step == 0
    assert parse_record(record.model_dump_json()) == record


def test_a_run_that_diverges_in_its_last_step_has_no_loss_either(run):
    record = train(run(lr=1e6, tokens=64))
    assert len(record.curve) == 1
    assert record.status == "diverged" and record.L is None


def test_bad_input_is_told_before_the_first_step(run, corpus, tmp_path):
    def refuses(config: TrainConfig, says: str, **options):
        with pytest.raises(InputError, match=says) as error:
            train(config, progress=lambda step: pytest.fail("it trained"), **options)
        assert "\n" not in str(error.value)

    short = dataclasses.replace(corpus, train=corpus.train[:10])
    refuses(run(), "10 tokens give no window of 16", corpus=short)
    refuses(run(), "held-out", corpus=dataclasses.replace(corpus, heldout=corpus.heldout[:16]))
    refuses(run(model=TINY.replace(vocab_size=100)), "vocab_size: expected at least 256")
    refuses(run(unique_tokens=10**9), "unique_tokens")
    refuses(run(corpus=str(tmp_path / "gone.txt")), "no such file")
    (tmp_path / "empty.txt").touch()
    refuses(run(corpus=str(tmp_path / "empty.txt")), "empty")


def test_float16_that_overflows_ends_as_a_record_that_says_what_to_take(tiny_corpus):
    given = TrainConfig(corpus=tiny_corpus, tokens=20 * 256, lr=1e4, dtype="float16", eval_windows=8)
    record = train(given)
    assert record.status == "diverged" and record.L is None
    assert "float16 holds nothing above 65,504: take bfloat16, or a lower rate" in record.error


def test_a_run_goes_on_from_its_checkpoint_as_if_nothing_had_happened(tiny_corpus, tmp_path):
    given = TrainConfig(corpus=tiny_corpus, tokens=40 * 256, eval_windows=8)
    straight = train(given)

    class Stopped(Exception):
        pass

    def stop(step):
        if step == 25:
            raise Stopped

    with pytest.raises(Stopped):
        train(given, keep=Keep(tmp_path, every=10), progress=stop)
    first_life = checkpoint.peek(checkpoint.latest(tmp_path))["seconds"]
    resumed = train(given, keep=Keep(tmp_path, every=10))
    assert resumed.L == straight.L and resumed.curve == straight.curve
    assert resumed.seconds > first_life > 0  # all lives together
    again = train(given, keep=Keep(tmp_path, every=10))  # a finished run is loaded and scored
    assert again.L == straight.L and again.curve == straight.curve and again.seconds > first_life


def test_checkpoints_come_after_so_many_steps_and_at_the_end(word_corpus, tmp_path):
    given = TrainConfig(model=TINY, corpus="words", tokens=47 * 64, eval_windows=8)
    seen = []
    train(
        given,
        corpus=word_corpus,
        keep=Keep(tmp_path, every=10),
        progress=lambda step: seen.append(checkpoint.latest(tmp_path)),
    )
    assert [int(path.name[5:]) for path in seen[10:] if path] == [step // 10 * 10 for step in range(10, 47)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000040", "step-00000047"]


def test_a_run_does_not_go_on_with_text_that_has_changed(word_corpus, tmp_path):
    given = TrainConfig(model=TINY, corpus="words", tokens=40 * 64, eval_windows=8)
    train(given, corpus=word_corpus, keep=Keep(tmp_path, every=10))
    kept = sorted(tmp_path.iterdir())
    changed = dataclasses.replace(word_corpus, sha256="ab" * 32)
    one_line(lambda: train(given, corpus=changed, keep=Keep(tmp_path, every=10)),
             "trained on other text: fingerprint 000000000000, corpus words has abababababab now", "another folder")  # fmt: skip
    assert sorted(tmp_path.iterdir()) == kept


def cannot_rename(folder):
    from scalept_lab.parallel import checkpoint, spread

    rename = checkpoint.os.replace

    def full(source, target):
        if "step-" in str(target):
            raise OSError("no space left on the disk")
        rename(source, target)

    if spread.rank() == 0:
        checkpoint.os.replace = full
    model = nn.Linear(2, 2)
    with pytest.raises((InputError, OSError)) as error:
        checkpoint.save(folder, 1, model, torch.optim.SGD(model.parameters()), "a" * 16, {})
    return str(error.value)


def test_no_rank_waits_for_one_that_cannot_write_a_checkpoint(tmp_path):
    said = launch(cannot_rename, 2, tmp_path, seconds=60)
    assert all("no space left on the disk" in words for words in said)
    assert checkpoint.latest(tmp_path) is None


def fails_on_the_first_rank(prepare_too: bool):
    from scalept_lab.parallel import spread

    def make():
        if spread.rank() == 0:
            raise InputError("no such file: gone.txt") if prepare_too else KeyError("a bug")
        return pytest.fail("the others wait for the first")

    with pytest.raises((InputError, KeyError)) as error:
        spread.first(make)
    return str(error.value)


@pytest.mark.parametrize(
    ("bad_input", "says"), [(True, "no such file: gone.txt"), (False, "KeyError: 'a bug'")]
)
def test_no_rank_waits_for_one_that_failed(bad_input, says):
    first, second = launch(fails_on_the_first_rank, 2, bad_input, seconds=60)
    assert second == says and first in says


def test_scoring_takes_few_windows_at_a_time_where_the_vocabulary_is_large(run, corpus, monkeypatch):
    model, record = fit_model(run(tokens=640))
    sizes: list[int] = []
    monkeypatch.setattr(loop, "SCORED", 3 * 16 * model.config.vocab_size)
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    assert evaluate(model, corpus, 50) == pytest.approx(record.L, rel=1e-5)
    assert max(sizes) == 3 and sum(sizes) == 50
