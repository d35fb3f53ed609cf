"""A trained model and its cheaper variants: kept in a cache, and measured side by side."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
import torch
import untrained
from refusals import one_line

from scalept_lab.compress import prune, quantize, variants
from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.data.corpora import Prepared, prepare
from scalept_lab.data.language import Language
from scalept_lab.errors import InputError
from scalept_lab.runs import recorded
from scalept_lab.train.loop import evaluate


def test_a_longer_context_changes_nothing_within_the_old_one():
    model, x = untrained.model(), untrained.tokens(2, 48)
    with torch.no_grad():
        assert torch.equal(variants.longer(model, 300)(x), model(x))


def test_window_losses_are_those_of_the_training_loop(tiny_corpus):
    corpus, model = prepare(tiny_corpus), untrained.model(untrained.SMALL)
    losses = variants.window_losses(model, corpus, 40, 48)
    assert len(losses) == 40 and losses.mean().item() == pytest.approx(evaluate(model, corpus, 40), abs=1e-5)


def test_measured_variants(tiny_corpus):
    model = untrained.model(ModelConfig(width=32, depth=1, heads=2))
    models = {"fp32": model, "small": prune.fewer_units(model, 0.5)}
    found = variants.measured(models, "fp32", prepare(tiny_corpus), batch=1, rounds=2, windows=8)
    assert [v.name for v in found] == ["fp32", "small"] and found[1].bytes < found[0].bytes
    assert found[0].ratio.median == 1


def test_shapes_come_from_the_models_and_the_corpus(tmp_path):
    """A vocabulary of 40 letters and contexts of 32 and 16: all read windows of 16."""
    heldout = Language(0).sample(4000)
    letters = Prepared("letters", heldout, heldout, 40, "0" * 64, {}, tmp_path)
    shapes = [untrained.SMALL.replace(context=context, vocab_size=40) for context in (32, 16)]
    models = dict(zip("ab", map(untrained.model, shapes), strict=True)) | {
        "c": quantize.int8(untrained.model(shapes[0]), "builtin")
    }
    found = variants.measured(models, "a", letters, batch=2, rounds=2, windows=12)
    for variant in found:
        losses = variants.window_losses(models[variant.name], letters, 12, context=16)
        assert variant.loss == pytest.approx(losses.mean().item())
    assert variants.window_losses(models["a"], letters, 12).mean().item() == pytest.approx(
        evaluate(models["a"], letters, 12), abs=1e-5
    )
    with pytest.raises(InputError, match="positions: expected rotary ones, got 48 learned ones"):
        variants.longer(untrained.model(untrained.SMALL.replace(positions="learned")), 100)


def test_the_trained_model_is_kept_and_made_again_where_damaged(tiny_corpus, tmp_path, monkeypatch):
    corpus = prepare(tiny_corpus)
    config = TrainConfig(model=untrained.SMALL, corpus=tiny_corpus, tokens=2_000, eval_windows=8)
    model, record = variants.trained(config, corpus, tmp_path)
    (kept,) = tmp_path.rglob("*.pt")
    state = torch.load(io.BytesIO(kept.read_bytes()), weights_only=True)
    assert state.keys() == model.state_dict().keys()
    with monkeypatch.context() as patch:
        patch.setattr(variants, "fit_model", lambda *_, **__: pytest.fail("trained again"))
        again, same = variants.trained(config, corpus, tmp_path)
    assert same == record and torch.equal(again.head.weight, model.head.weight)
    kept.write_bytes(kept.read_bytes()[:1000])
    mended, _ = variants.trained(config, corpus, tmp_path)
    assert torch.equal(mended.head.weight, model.head.weight)


def test_recorded_variants_are_found_by_what_was_done():
    runs = recorded("compress")
    values = variants.gaps(runs, kind="int8", method="weights")
    assert len(values) == 3 and max(map(abs, values)) < 0.02
    with pytest.raises(InputError, match="give more of its fields"):
        variants.gaps(runs, kind="int8")
    with pytest.raises(InputError, match="got 0"):
        variants.gaps(runs, kind="int2")


def test_the_teacher_is_the_run_that_the_notebook_names():
    config = variants.teacher_config(3)
    assert (config.model.width, config.tokens, config.seed, config.eval_windows) == (128, 400_000, 3, 256)


def test_weights_or_record_alone_are_not_enough(tmp_path, word_corpus):
    config = TrainConfig(model=untrained.SMALL, corpus="words", tokens=1_000, eval_windows=8)
    model, record = variants.trained(config, word_corpus, tmp_path)
    for kind in ("*.pt", "*.json"):
        (kept,) = tmp_path.rglob(kind)
        kept.unlink()
        again, other = variants.trained(config, word_corpus, tmp_path)
        assert kept.is_file() and not again.training
        assert torch.equal(again.head.weight, model.head.weight) and other.L == record.L


def test_windows_are_measured_in_pieces_of_any_size(word_corpus):
    model = untrained.model()
    whole, pieces = (variants.window_losses(model, word_corpus, 40, chunk=chunk) for chunk in (64, 7))
    assert whole.shape == (40,) and torch.allclose(whole, pieces, atol=1e-5) and len(whole.unique()) == 40


def test_what_is_timed_is_a_batch_of_contexts(word_corpus, monkeypatch):
    seen, real = [], variants.forward_pass
    monkeypatch.setattr(
        variants, "forward_pass", lambda model, x: seen.append(tuple(x.shape)) or real(model, x)
    )
    models = {"a": untrained.model(), "b": untrained.model(untrained.SMALL.replace(context=32))}
    found = variants.measured(models, "b", word_corpus, batch=3, rounds=2, windows=8)
    assert seen == [(3, 32)] * 2 and found[1].ratio.median == 1
    assert [v.bytes for v in found] == [quantize.saved_bytes(model) for model in models.values()]


def recorded_variant(seed: int, loss: float | None, **what) -> SimpleNamespace:
    return SimpleNamespace(config={"seed": seed, "compress": what}, L=loss, metrics={"base": 1.5})


def test_gaps_by_hand():
    runs = [
        recorded_variant(seed, loss, kind="int8", bits=8) for seed, loss in ((2, 1.75), (0, 1.5), (1, 1.25))
    ]
    runs += [
        recorded_variant(0, 9.0, kind="int4", bits=4),
        SimpleNamespace(config={"seed": 0}, L=1.0, metrics={}),
    ]
    assert variants.gaps(runs, kind="int8") == [0.0, -0.25, 0.25]
    one_line(lambda: variants.gaps([*runs, recorded_variant(3, None, kind="int8")], kind="int8"), "got 4")


def test_calibration_text_is_of_the_training_text(tiny_corpus):
    corpus = prepare(tiny_corpus)
    x = variants.calibration(corpus, 4, 16)
    assert x.shape == (4, 16) and x[0].tolist() == corpus.train[:16].tolist()
    assert x[0].tolist() != corpus.heldout[:16].tolist()


def test_stored_models_come_with_their_seeds_in_order():
    rows = variants.stored(recorded("equal_compute"))
    assert all(
        len(row["losses"]) == (1 if row["model"] == "width 32" else 3) and row["bytes"] > 0 for row in rows
    )
    by_name = {(row["model"], row["form"]): row for row in rows}
    assert by_name["width 64", "4 bits"]["bytes"] < by_name["width 64", "8 bits"]["bytes"] / 1.5
    assert ("80 % zeros, tuned", "4 bits") not in by_name
    one_line(lambda: variants.stored(recorded("compress")), 'records: expected those of "equal_compute"')
