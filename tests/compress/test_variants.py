"""Cheaper inference against slow twins: torch's own rounding, training without a teacher, decoding without a cache."""

from __future__ import annotations

import copy
import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from scalept_lab.compress import decode, distill, prune, quantize, variants
from scalept_lab.compress.variants import Variant
from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.costs import numbers
from scalept_lab.data.corpora import Prepared, prepare
from scalept_lab.data.language import Language
from scalept_lab.errors import InputError
from scalept_lab.model.optim import learning_rate, set_rate
from scalept_lab.model.transformer import Transformer
from scalept_lab.plots import compress, explorers, style
from scalept_lab.runs import recorded
from scalept_lab.study.sweep import flops_of
from scalept_lab.train import pacing, timing
from scalept_lab.train.loop import evaluate, fit_model, set_up
from scalept_lab.train.timing import Ratio

SMALL = ModelConfig(width=32, depth=2, heads=4, context=48)


def random_model(config: ModelConfig = SMALL, seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(config)
    nn.init.normal_(model.head.weight, std=0.2)
    return model.eval()


def random_tokens(batch: int = 2, length: int = 16) -> torch.Tensor:
    return torch.randint(256, (batch, length), generator=torch.Generator().manual_seed(1))


# --- affine quantization ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_affine_equals_torchs_fake_quantization(bits, granularity):
    x = torch.randn(6, 64, generator=torch.Generator().manual_seed(bits)) * torch.logspace(-2, 0, 6)[:, None]
    x[3] += 4  # a row that does not cross zero
    made = numbers.quantize(x.numpy(), bits, granularity)
    scale, zero = (torch.from_numpy(part[:, 0]) for part in (made.scale.astype(np.float32), made.zero))
    if granularity == "tensor":
        twin = torch.fake_quantize_per_tensor_affine(x, scale.item(), int(zero.item()), 0, 2**bits - 1)
    else:
        twin = torch.fake_quantize_per_channel_affine(x, scale, zero.int(), 0, 0, 2**bits - 1)
    np.testing.assert_allclose(made.values(), twin.numpy(), atol=1e-5)


def test_zero_is_exact_and_the_error_at_most_half_a_step():
    x = np.random.default_rng(0).standard_normal((4, 64))
    x[1, 5], x[2] = 0.0, 0.0
    for granularity in numbers.GRANULARITIES:
        made = numbers.quantize(x, 5, granularity)
        assert made.values()[1, 5] == 0 and not made.values()[2].any()
        assert (np.abs(made.values() - x) <= 1.01 * made.scale.max()).all()
        inside = numbers.quantize(x, 8, granularity)
        assert np.median(np.abs(inside.values() - x)) <= inside.scale.max() / 2


def test_theory_of_the_error_and_six_decibels_a_bit():
    x = np.random.default_rng(1).uniform(-1, 1, (8, 4096))
    for bits in (3, 4, 6, 8):
        measured, theory = numbers.error(x, bits, "channel")
        assert measured == pytest.approx(theory, rel=0.05)
    gained = numbers.error(x, 6)[0] / numbers.error(x, 7)[0]
    assert 10 * math.log10(gained) == pytest.approx(6.02, abs=0.2)


def test_finer_pieces_err_less_and_cost_more():
    x = np.random.default_rng(2).standard_normal((16, 128)) * np.geomspace(0.01, 1, 16)[:, None]
    errors = [numbers.error(x, 4, granularity)[0] for granularity in numbers.GRANULARITIES]
    sizes = [numbers.quantize(x, 4, granularity).stored_bytes for granularity in numbers.GRANULARITIES]
    assert errors == sorted(errors, reverse=True) and sizes == sorted(sizes)
    assert sizes[0] == math.ceil(4 * (x.size + 1) / 8) + 4


@pytest.mark.parametrize("bits", [0, 1, 9, 16, 4.0, True, "8", None])
def test_bits_outside_two_to_eight(bits):
    for call in (lambda: numbers.quantize(np.ones(4), bits), lambda: quantize.rounded(random_model(), bits)):
        with pytest.raises(
            InputError, match=r"bits: expected a whole number from 2 to 8, got .*use bf16"
        ) as found:
            call()
        assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: numbers.quantize(np.ones(4), 8, "row"), "granularity: expected one of tensor"),
        (lambda: numbers.quantize(np.array([1.0, np.nan])), "finite numbers"),
        (lambda: numbers.quantize(np.ones((2, 0))), "finite numbers"),
        (lambda: numbers.quantize(np.ones((2, 40)), 4, "group"), "length is a multiple, got 40"),
        (lambda: quantize.int8(random_model(), "int4"), "method: expected one of weights"),
    ],
)
def test_bad_input_of_quantization(call, message):
    with pytest.raises(InputError, match=message) as found:
        call()
    assert "\n" not in str(found.value)


def test_rounded_model_is_the_formula_applied_to_each_matrix():
    model = random_model()
    made, stored = quantize.rounded(model, 4, "channel", embeddings=False)
    assert torch.equal(made.embed.weight, model.embed.weight)
    weight = model.blocks[0].mlp.up.weight.detach().numpy()
    assert np.array_equal(
        made.blocks[0].mlp.up.weight.detach().numpy(), numbers.quantize(weight, 4, "channel").values()
    )
    by_hand = 4 * model.embed.weight.numel()
    for layer in (module for module in model.modules() if isinstance(module, nn.Linear)):
        rows, columns = layer.weight.shape
        by_hand += math.ceil(4 * rows * (columns + 1) / 8) + 4 * rows
    assert stored == by_hand


@pytest.mark.parametrize("method", quantize.METHODS)
def test_int8_of_the_libraries_is_small_and_near(method, capfd):
    model, x = random_model(ModelConfig(width=128, depth=2, heads=4)), random_tokens()
    made = quantize.int8(model, method)
    with torch.inference_mode():
        exact, near = model(x), made(x)
    assert (near - exact).norm() < 0.05 * exact.norm()
    share = quantize.saved_bytes(made) / quantize.saved_bytes(model)
    assert share < 0.30 if method != "linear weights" else 0.30 < share < 0.33
    assert "Failed to load" not in capfd.readouterr().err


def test_saved_bytes_are_those_of_the_file(tmp_path):
    model = random_model()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    on_disk = (tmp_path / "model.pt").stat().st_size  # the archive also holds its own name, a few times
    assert quantize.saved_bytes(model) == pytest.approx(on_disk, rel=0.01)


def test_torchao_missing_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchao.quantization", None)
    with pytest.raises(InputError, match="pip install torchao"):
        quantize.int8(random_model())


# --- pruning ------------------------------------------------------------------------------------------------


def block_weights(model: nn.Module) -> torch.Tensor:
    layers = [module for module in model.blocks.modules() if isinstance(module, nn.Linear)]
    return torch.cat([layer.weight.detach().flatten() for layer in layers])


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_unstructured_removes_the_smallest_of_all(share):
    model = random_model()
    made = prune.made_permanent(prune.unstructured(model, share))
    weights = block_weights(model)
    cut = round(share * len(weights))
    by_hand = weights.clone()
    by_hand[weights.abs().argsort()[:cut]] = 0
    assert torch.equal(block_weights(made), by_hand)
    assert prune.sparsity(made) == pytest.approx(share, abs=1e-3)
    # zeros cost as much
    assert quantize.saved_bytes(made) == pytest.approx(quantize.saved_bytes(model), rel=0.01)
    assert torch.equal(block_weights(model), weights)  # the model given is left alone


def test_units_cut_out_are_those_that_the_library_zeroes():
    """Cutting a unit out is the same as zeroing its incoming weights, since GELU of 0 is 0."""
    model, x = random_model(), random_tokens()
    zeroed = copy.deepcopy(model)
    for block in zeroed.blocks:
        torch.nn.utils.prune.ln_structured(block.mlp.up, "weight", amount=0.5, n=2, dim=0)
    made = prune.fewer_units(model, 0.5)
    assert made.blocks[0].mlp.up.weight.shape == (64, 32) and made.blocks[0].mlp.down.weight.shape == (32, 64)
    with torch.no_grad():
        assert torch.allclose(made(x), zeroed(x), atol=1e-5)
    assert sum(p.numel() for p in made.parameters()) < sum(p.numel() for p in model.parameters())


def test_heads_cut_out_are_as_if_their_output_were_zero():
    model, x = random_model(), random_tokens()
    zeroed = copy.deepcopy(model)
    for block in zeroed.blocks:
        heads = block.attention.out.weight.data.unflatten(1, (-1, block.attention.head_dim))
        heads[:, heads.norm(dim=(0, 2)).argsort()[:2]] = 0
    made = prune.fewer_heads(model, 0.5)
    assert made.blocks[0].attention.qkv.weight.shape == (3 * 2 * 8, 32)
    with torch.no_grad():
        assert torch.allclose(made(x), zeroed(x), atol=1e-5)
        assert torch.equal(prune.fewer_heads(model, 0.0)(x), model(x))


def test_fine_tuning_keeps_the_zeros_and_lowers_the_loss(tiny_corpus):
    corpus = prepare(tiny_corpus)
    model, _ = fit_model(
        TrainConfig(model=SMALL, corpus=tiny_corpus, tokens=20_000, eval_windows=32), corpus=corpus
    )
    made = prune.unstructured(model, 0.8)
    before = evaluate(made, corpus, 32)
    prune.fine_tune(made, corpus, 10_000)
    prune.made_permanent(made)
    assert evaluate(made, corpus, 32) < before
    assert prune.sparsity(made) == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("share", [-0.1, 1, 1.0, 1.5, math.nan, "half", None, True])
def test_sparsity_outside_zero_to_one(share):
    for cut in (prune.unstructured, prune.fewer_units, prune.fewer_heads):
        with pytest.raises(InputError, match="expected a share from 0 up to, not including, 1, got") as found:
            cut(random_model(), share)
        assert "\n" not in str(found.value)


def test_nothing_left_is_bad_input(tiny_corpus):
    with pytest.raises(InputError, match="leave a head of 4"):
        prune.fewer_heads(random_model(), 0.9)
    with pytest.raises(InputError, match="leave a hidden unit of 128"):
        prune.fewer_units(random_model(), 0.999)
    corpus = prepare(tiny_corpus)
    with pytest.raises(InputError, match="at least one step"):
        prune.fine_tune(random_model(), corpus, 100)
    with pytest.raises(InputError, match="lr: expected a positive number"):
        prune.fine_tune(random_model(), corpus, 1e4, lr=0)


# --- distillation -------------------------------------------------------------------------------------------

STUDENT = TrainConfig(model=SMALL.replace(width=16, heads=2), tokens=4_000, eval_windows=16)


def test_soft_loss_is_the_formula_and_zero_for_equals():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    p, q = (x.double() / 3 for x in (teacher, student))
    p, q = p.softmax(-1), q.softmax(-1)
    by_hand = 9 * (p * (p.log() - q.log())).sum(-1).mean()
    assert distill.soft_loss(student, teacher, 3.0).item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert distill.soft_loss(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-6)


def test_without_weight_a_student_trains_as_if_alone(tiny_corpus):
    corpus = prepare(tiny_corpus)
    config = STUDENT.replace(corpus=tiny_corpus)
    alone, run = fit_model(config, corpus=corpus)
    watched, same = distill.fit_student(config, random_model(), weight=0.0, corpus=corpus)
    assert same.L == run.L and same.C == run.C and same.status == "ok"
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), watched.parameters(), strict=True))
    taught, record = distill.fit_student(config, random_model(), weight=0.5, corpus=corpus)
    assert record.L != run.L and record.C > run.C and record.curve
    assert not torch.equal(taught.head.weight, alone.head.weight)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"model": SMALL.replace(width=64, heads=4)}, {}, "student: expected at most the teacher's"),
        (
            {"model": SMALL.replace(width=16, heads=2, vocab_size=300)},
            {},
            "vocabulary: expected the teacher's 256",
        ),
        (
            {"model": SMALL.replace(width=16, heads=2, context=64)},
            {},
            "context: expected at most the teacher's 48",
        ),
        ({}, {"temperature": 0}, "temperature: expected a positive number"),
        ({}, {"temperature": math.inf}, "temperature: expected a positive number"),
        ({}, {"weight": 1.5}, "weight: expected a number from 0 to 1"),
        ({}, {"weight": math.nan}, "weight: expected a number from 0 to 1"),
    ],
)
def test_pairs_that_cannot_be_distilled(changes, options, message):
    with pytest.raises(InputError, match=message) as found:
        distill.fit_student(STUDENT.replace(**changes), random_model(), **options)
    assert "\n" not in str(found.value)


def test_the_student_follows_the_text_by_a_quarter_and_the_teacher_by_three(tiny_corpus):
    """Three steps of plain gradient descent, whose size depends on the weights, against the same steps by hand."""
    corpus, teacher, T = prepare(tiny_corpus), random_model(), 2.0
    config = STUDENT.replace(corpus=tiny_corpus, optimizer="sgd", tokens=3 * 4 * 48, clip=100.0)
    taught, _ = distill.fit_student(config, teacher, weight=0.75, temperature=T, corpus=corpus)
    run = set_up(config, "cpu")
    for step, (x, y) in enumerate(pacing.stream(config, corpus.train)):
        set_rate(run.optimizer, learning_rate(step, config))
        q_BxLxV, p_BxLxV = run.model(torch.from_numpy(x)), teacher(torch.from_numpy(x)).detach()
        hard = -q_BxLxV.log_softmax(-1).gather(-1, torch.from_numpy(y)[..., None]).mean()
        p, log_p, log_q = (
            (p_BxLxV / T).softmax(-1),
            (p_BxLxV / T).log_softmax(-1),
            (q_BxLxV / T).log_softmax(-1),
        )
        soft = T**2 * (p * (log_p - log_q)).sum(-1).mean()
        (0.25 * hard + 0.75 * soft).backward()
        run.optimizer.step()
        run.optimizer.zero_grad()
    for own, twin in zip(taught.parameters(), run.model.parameters(), strict=True):
        assert torch.allclose(own, twin, atol=1e-6)


def test_a_student_pays_for_its_teachers_forward_passes(tiny_corpus):
    """Two blocks of 12·32² weights and a head of 32·256, two FLOPs each; attention 4·48·32 in each block."""
    forward = 2 * (2 * 12 * 32**2 + 32 * 256) + 2 * 4 * 48 * 32
    config = STUDENT.replace(corpus=tiny_corpus, tokens=5 * 4 * 48)
    _, record = distill.fit_student(config, random_model(), corpus=prepare(tiny_corpus))
    assert record.C == flops_of(config) + 5 * 4 * 48 * forward


def test_logits_of_two_vocabularies():
    with pytest.raises(InputError, match="one vocabulary"):
        distill.soft_loss(torch.zeros(1, 2, 5), torch.zeros(1, 2, 6))


# --- decoding -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("prompt", [1, 7])
def test_cached_decoding_gives_the_tokens_of_uncached(positions, prompt):
    model = random_model(SMALL.replace(positions=positions))
    x = random_tokens(3, prompt)
    slow, fast = (decode.generate(model, x, 40, cached=cached) for cached in (False, True))
    assert torch.equal(slow, fast) and torch.equal(fast[:, :prompt], x)
    assert len(fast[0, prompt:].unique()) > 1


def test_cached_logits_are_the_models_in_any_pieces():
    model, x = random_model(), random_tokens(2, 20)
    cache = decode.Cache(model, 2, 20)
    with torch.inference_mode():
        pieces = [decode.forward(model, part, cache) for part in x.split([6, 1, 9, 4], dim=1)]
        assert torch.allclose(torch.cat(pieces, 1), model(x), atol=1e-4)
    assert cache.used == 20 and cache.bytes == decode.cache_bytes(SMALL, 2, 20) == 2 * 2 * 2 * 20 * 32 * 4


def test_a_model_with_fewer_heads_decodes_with_a_smaller_cache():
    model = prune.fewer_heads(prune.fewer_units(random_model(), 0.5), 0.5)
    x = random_tokens(1, 4)
    assert torch.equal(decode.generate(model, x, 20), decode.generate(model, x, 20, cached=False))
    assert decode.Cache(model, 1, 24).bytes == decode.cache_bytes(SMALL, 1, 24) // 2


@pytest.mark.parametrize(
    ("config", "shape", "new", "message"),
    [
        (SMALL.replace(causal=False), (1, 4), 4, "expected a decoder"),
        (SMALL, (1, 4), 45, "expected 0 to 44"),
        (SMALL, (1, 4), -1, "expected 0 to 44"),
        (SMALL, (1, 0), 4, "at least one token"),
        (SMALL, (4,), 4, "at least one token"),
    ],
)
def test_what_cannot_be_decoded(config, shape, new, message):
    with pytest.raises(InputError, match=message) as found:
        decode.generate(random_model(config), torch.zeros(shape, dtype=torch.long), new)
    assert "\n" not in str(found.value)


def test_a_longer_context_changes_nothing_within_the_old_one():
    model, x = random_model(), random_tokens(2, 48)
    with torch.no_grad():
        assert torch.equal(variants.longer(model, 300)(x), model(x))


# --- measuring ----------------------------------------------------------------------------------------------


def test_ratios_are_taken_within_rounds():
    slow = iter([9.0, 2.0, 4.0, 6.0, 8.0])
    fast = iter([1.0, 1.0, 2.0, 3.0, 4.0])
    found = timing.against({"a": lambda: next(slow), "b": lambda: next(fast)}, "b", rounds=4)
    assert found["a"] == Ratio(2.0, 2.0, 2.0, 5.0) and found["b"].median == 1
    assert str(found["a"]) == "2.00 (2.00 to 2.00)"
    with pytest.raises(InputError, match="baseline: expected one of a"):
        timing.against({"a": lambda: 1.0}, "fp32")
    with pytest.raises(InputError, match="rounds: expected at least 2"):
        timing.against({"a": lambda: 1.0}, "a", rounds=1)


def test_threads_are_set_and_put_back():
    before, seen = torch.get_num_threads(), []
    found = timing.by_threads(lambda: seen.append(torch.get_num_threads()), (1, 2), rounds=2)
    assert set(found) == {1, 2} and seen == 5 * [1] + 5 * [2]
    assert torch.get_num_threads() == before


@pytest.mark.timing
def test_a_model_of_half_the_units_is_faster_and_a_sparse_one_is_not():
    model, x = random_model(ModelConfig.family(256)), random_tokens(8, 64)
    models = {
        "fp32": model,
        "sparse": prune.made_permanent(prune.unstructured(model, 0.9)),
        "small": prune.fewer_units(model, 0.75),
    }
    found = timing.against({name: timing.forward_pass(m, x) for name, m in models.items()}, "fp32", 7)
    assert found["small"].median < 0.8 < found["sparse"].median


def test_window_losses_are_those_of_the_training_loop(tiny_corpus):
    corpus, model = prepare(tiny_corpus), random_model(SMALL)
    losses = variants.window_losses(model, corpus, 40, 48)
    assert len(losses) == 40 and losses.mean().item() == pytest.approx(evaluate(model, corpus, 40), abs=1e-5)


def test_measured_variants(tiny_corpus):
    model = random_model(ModelConfig(width=32, depth=1, heads=2))
    models = {"fp32": model, "small": prune.fewer_units(model, 0.5)}
    found = variants.measured(models, "fp32", prepare(tiny_corpus), batch=1, rounds=2, windows=8)
    assert [v.name for v in found] == ["fp32", "small"] and found[1].bytes < found[0].bytes
    assert found[0].ratio.median == 1


def test_shapes_come_from_the_models_and_the_corpus(tmp_path):
    """A vocabulary of 40 letters and contexts of 32 and 16: all read windows of 16."""
    heldout = Language(0).sample(4000)
    letters = Prepared("letters", heldout, heldout, 40, "0" * 64, {}, tmp_path)
    shapes = [SMALL.replace(context=context, vocab_size=40) for context in (32, 16)]
    models = dict(zip("ab", map(random_model, shapes), strict=True)) | {
        "c": quantize.int8(random_model(shapes[0]), "builtin")
    }
    found = variants.measured(models, "a", letters, batch=2, rounds=2, windows=12)
    for variant in found:
        losses = variants.window_losses(models[variant.name], letters, 12, context=16)
        assert variant.loss == pytest.approx(losses.mean().item())
    assert variants.window_losses(models["a"], letters, 12).mean().item() == pytest.approx(
        evaluate(models["a"], letters, 12), abs=1e-5
    )
    with pytest.raises(InputError, match="positions: expected rotary ones, got 48 learned ones"):
        variants.longer(random_model(SMALL.replace(positions="learned")), 100)


def test_pareto_front_by_hand():
    assert compress.pareto([(1, 3), (2, 2), (3, 1), (2, 3), (2, 2)]) == [True, True, True, False, True]


def test_the_trained_model_is_kept_and_made_again_where_damaged(tiny_corpus, tmp_path, monkeypatch):
    corpus = prepare(tiny_corpus)
    config = TrainConfig(model=SMALL, corpus=tiny_corpus, tokens=2_000, eval_windows=8)
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


# --- figures ------------------------------------------------------------------------------------------------


def test_figures_draw():
    variants = [
        Variant("fp32", 1.8, 2_000_000, Ratio(1, 1, 1, 0.1)),
        Variant("int8", 1.81, 500_000, Ratio(0.9, 0.8, 1.0, 0.1)),
        Variant("4 bits", 1.82, 250_000),
    ]
    figures = [
        compress.plot_pareto(variants, "fp32"),
        compress.plot_gaps({"T = 1": [-0.1, -0.2]}, "difference"),
        compress.plot_cost({"a": [(2, [0.3, 0.4]), (4, [0.0, -0.1])]}, "bits", log=True, tolerance=0.02),
        compress.plot_cost({"a": [(0.1, [2.0]), (0.5, [2.5])]}, "share", base=1.9),
        compress.plot_quantization(3, "group", 20.0),
        compress.plot_quantization(weights=np.random.default_rng(0).standard_normal((4, 40))),
    ]
    assert all(style.png(fig).startswith(b"\x89PNG") for fig in figures)
    with pytest.raises(InputError, match="baseline"):
        compress.plot_pareto(variants, "fp64")
    with pytest.raises(InputError, match="gaps"):
        compress.plot_gaps({"T = 1": []}, "difference")


def test_explorer_of_quantization_has_a_static_twin():
    box = explorers.quantization_explorer()
    before = box.picture.value
    box.controls["bits"].value = 2
    box.controls["granularity"].value = "tensor"
    assert box.picture.value != before and not box.message.value
    twin = style.png(compress.plot_quantization(2, "tensor", 1.0), dpi=120)
    assert __import__("base64").b64encode(twin).decode() in box.picture.value


# --- what ships with the kit --------------------------------------------------------------------------------


def test_recorded_variants_are_found_by_what_was_done():
    runs = recorded("compress")
    values = variants.gaps(runs, kind="int8", method="weights")
    assert len(values) == 3 and max(map(abs, values)) < 0.02
    with pytest.raises(InputError, match="give more of its fields"):
        variants.gaps(runs, kind="int8")
    with pytest.raises(InputError, match="got 0"):
        variants.gaps(runs, kind="int2")
