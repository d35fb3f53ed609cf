import pytest
import torch

from scalept_lab.config import Curriculum, ModelConfig, TrainConfig, parse
from scalept_lab.costs.counts import flops_per_token
from scalept_lab.errors import InputError
from scalept_lab.model import transformer
from scalept_lab.model.transformer import cross_entropy
from scalept_lab.train import growth, stepwise
from scalept_lab.train.growth import fit_grown, grown

MODEL = ModelConfig(width=16, depth=2, heads=2, context=16)
DEEP, WIDE = MODEL.replace(depth=5), MODEL.replace(width=32, heads=4)


@pytest.fixture(scope="module")
def run(word_corpus):
    config = TrainConfig(model=MODEL, tokens=60 * 128, batch=8, eval_windows=32, corpus="words")
    return stepwise.go_on(stepwise.start(config, word_corpus), stepwise.schedule(config))


def moved(run, model, how):
    x = torch.randint(97, 123, (8, 16), generator=torch.Generator().manual_seed(1))
    grown = growth.grow(stepwise.branch(run), model, how)
    with torch.no_grad():
        return float((grown.model(x) - run.model(x)).abs().max())


@pytest.mark.parametrize(
    "model, how",
    [(DEEP, "zero"), (DEEP, "stack"), (WIDE, "copy"), (MODEL.replace(width=48, heads=6), "copy")],
)
def test_outputs_are_the_same_before_and_after(run, model, how):
    assert moved(run, model, how) < 1e-5


@pytest.mark.parametrize("model, how", [(DEEP, "copy"), (WIDE, "pad")])
def test_plain_stacking_and_padding_change_them(run, model, how):
    assert moved(run, model, how) > 0.1


def test_growing_again_and_with_learned_positions_preserves_too():
    torch.manual_seed(0)
    small = transformer.Transformer(MODEL.replace(positions="learned"))
    torch.nn.init.normal_(small.head.weight)
    x = torch.randint(256, (4, 16))
    for large in (
        growth.deepen(growth.widen(small, 32), 3),
        growth.widen(growth.deepen(small, 3, "stack"), 64),
    ):
        assert torch.allclose(small(x), large(x), atol=1e-5)


def test_shared_heads_grow_too():
    torch.manual_seed(0)
    config = MODEL.replace(heads=4, width=32, kv_heads=2)
    small = transformer.Transformer(config)
    torch.nn.init.normal_(small.head.weight)
    x, wide = torch.randint(256, (4, 16)), growth.widen(small, 64)
    assert (wide.config.heads, wide.config.kv_heads) == (8, 4)
    assert torch.allclose(small(x), wide(x), atol=1e-5)
    padded = growth.widen(small, 64, "pad").state_dict()["blocks.0.attention.qkv.weight"]
    old = small.state_dict()["blocks.0.attention.qkv.weight"]
    assert padded.shape == (64 + 2 * 32, 64)
    for new, part in ((0, old[:32]), (64, old[32:48]), (96, old[48:])):
        assert torch.equal(padded[new : new + len(part), :32], part)
    assert padded.count_nonzero() == old.count_nonzero()


def test_a_run_with_shared_heads_grows_and_keeps_their_share(word_corpus):
    model = MODEL.replace(width=32, heads=4, kv_heads=2)
    config = TrainConfig(model=model, tokens=4 * 128, batch=8, eval_windows=8, corpus="words")
    run = stepwise.go_on(stepwise.start(config, word_corpus), stepwise.schedule(config))
    wide = model.replace(width=64, heads=8, kv_heads=4)
    assert stepwise.go_on(growth.grow(run, wide), [0.5]).model.config == wide
    for other in (wide.replace(kv_heads=2), wide.replace(kv_heads=None)):
        with pytest.raises(InputError, match="model: expected the present one"):
            growth.grow(run, other)


def test_copies_do_not_stay_alike(run):
    wide = growth.grow(stepwise.branch(run), WIDE)
    stepwise.go_on(wide, [0.5] * 20)
    first, second = wide.model.blocks[0].mlp.up.weight.detach().chunk(2)
    assert (first - second).norm() / first.norm() > 0.1


def test_optimizer_memory_goes_where_the_weights_go(run):
    """Without noise the gradient of the wide model is the scaled copy that the moments are taken for."""
    grown = growth.widen(run.model, 32, noise=0.0)
    x = torch.randint(97, 123, (8, 16))
    for model in (run.model, grown):
        model.zero_grad()
        cross_entropy(model(x), x).backward()
    old = dict(run.model.named_parameters())
    for name, p in grown.named_parameters():
        less = 1.0 if name.startswith("head.") else 0.5
        assert torch.allclose(p.grad, less * growth._spread(name, old[name].grad, 2, 1.0), atol=1e-6)
    wide = growth.grow(stepwise.branch(run), WIDE)
    for p in wide.model.parameters():
        assert float(wide.optimizer.state[p]["step"]) == run.step
    run.model.zero_grad()


def test_moments_shrink_with_the_gradient_and_with_its_square(run):
    """Three copies: each gets a third of the gradient, so a third of its mean and a ninth of its square."""
    wide = growth.grow(stepwise.branch(run), MODEL.replace(width=48, heads=6))
    old, new = ({name: r.optimizer.state[p] for name, p in r.model.named_parameters()} for r in (run, wide))
    name = "blocks.1.mlp.up.weight"
    for moment, less in (("exp_avg", 1 / 3), ("exp_avg_sq", 1 / 9)):
        before, after = old[name][moment], new[name][moment]
        assert before[5, 7] != 0 and torch.allclose(after[5, 7], less * before[5, 7])
        assert torch.allclose(after[64 + 5, 2 * 16 + 7], less * before[5, 7])  # a copy's copy
        assert torch.allclose(new["head.weight"][moment][97, 3], old["head.weight"][moment][97, 3])


def test_stacking_goes_through_the_blocks_in_turn(run):
    deep = growth.deepen(run.model, 5, "stack").state_dict()
    old = run.model.state_dict()
    for new, source in ((2, 0), (3, 1), (4, 0)):
        for name in ("attention.qkv.weight", "mlp.up.weight"):
            assert torch.equal(deep[f"blocks.{new}.{name}"], old[f"blocks.{source}.{name}"])
        assert not deep[f"blocks.{new}.mlp.down.weight"].any()
    assert not torch.equal(old["blocks.0.mlp.up.weight"], old["blocks.1.mlp.up.weight"])


def test_new_blocks_start_without_memory_and_rates_are_those_of_the_new_width(run):
    deep = growth.grow(stepwise.branch(run), DEEP)
    kept = [name for name, p in deep.model.named_parameters() if deep.optimizer.state.get(p)]
    assert not any(f"blocks.{i}." in name for name in kept for i in (2, 3, 4)) and len(kept) == 10
    wide = growth.grow(stepwise.branch(run), WIDE)
    peaks = [[group["peak"] for group in r.optimizer.param_groups] for r in (run, wide)]
    assert peaks[1][0] == peaks[0][0] and peaks[1][1:] == pytest.approx([peak / 2 for peak in peaks[0][1:]])
    assert stepwise.go_on(deep, [0.5] * 3).step == run.step + 3


def test_a_grown_run_spends_its_flops_and_its_record_says_so(run):
    flops = 60 * 128 * flops_per_token(WIDE)
    config = grown(run.config, WIDE, flops, 0.25)
    done, record = fit_grown(config, run.corpus)
    assert record.ok and record.C == pytest.approx(flops, rel=0.02)
    assert record.D == config.tokens == done.step * 128 > 60 * 128
    assert parse(TrainConfig, record.config) == config and record.id == config.id()
    assert record.config["model"]["width"] == 32 and record.config["growth"]["start"]["width"] == 16
    assert done.rates[-1] < 0.05 and max(done.rates) == pytest.approx(1.0, abs=0.05)
    before = int(record.metrics["steps_before"])
    assert before == round(0.25 * flops / (128 * flops_per_token(MODEL)))
    # The linear schedule, a tenth of it warm-up, where a quarter of the FLOPs is spent; of the steps it would be more.
    assert done.rates[before] == pytest.approx(1 - (0.25 - 0.1) / 0.9, abs=0.01)
    assert before / done.step > 0.35
    _, scratch = fit_grown(grown(run.config, WIDE, flops, 0.0), run.corpus)
    assert scratch.D == 60 * 128 and scratch.id != record.id
    deeper = grown(run.config, DEEP, flops, 0.25)
    ways = [deeper.replace(growth=deeper.growth.replace(how=how)) for how in (None, "zero", "copy")]
    assert len({config.id() for config in ways}) == 3


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda run: growth.deepen(run.model, 2), "depth: expected more than the 2 blocks"),
        (lambda run: growth.deepen(run.model, 4, "double"), "how: expected one of zero, stack, copy"),
        (lambda run: growth.widen(run.model, 24), "width: expected 2, 3, … times"),
        (lambda run: growth.widen(run.model, 16), "width: expected"),
        (lambda run: growth.widen(run.model, 32, "net2net"), "how: expected one of copy, pad"),
        (lambda run: growth.grow(run, MODEL.replace(depth=3, width=32, heads=4)), "model: expected the present one"),
        (lambda run: growth.grow(run, MODEL.replace(width=32)), "heads in proportion"),
        (lambda run: growth.grow(run, MODEL), "model: expected"),
        (lambda run: grown(run.config, WIDE, 1e9, 1.0), "share: Input should be less than 1, got 1.0"),
        (lambda run: grown(run.config, WIDE, -1.0), "flops: expected a positive number"),
        (lambda run: fit_grown(run.config, run.corpus), "growth: expected a config made by growth.grown"),
        (
            lambda run: fit_grown(grown(run.config.replace(curriculum=Curriculum()), WIDE, 1e9), run.corpus),
            "curriculum: expected none in a run that grows",
        ),
    ],
)  # fmt: skip
def test_bad_input(run, make, words):
    with pytest.raises(InputError, match=words):
        make(run)


def test_padding_puts_the_old_weights_in_the_corner_of_each_part(run):
    wide, old = growth.widen(run.model, 48, "pad").state_dict(), run.model.state_dict()
    qkv = wide["blocks.1.attention.qkv.weight"]
    for part in range(3):  # queries, keys, values
        mine = old["blocks.1.attention.qkv.weight"][part * 16 : part * 16 + 16]
        assert torch.equal(qkv[part * 48 : part * 48 + 16, :16], mine)
        assert not qkv[part * 48 + 16 : part * 48 + 48].any()
    assert not qkv[:, 16:].any()
    assert (
        torch.equal(wide["head.weight"][:, :16], old["head.weight"]) and not wide["head.weight"][:, 16:].any()
    )


def test_noise_is_as_large_as_asked_cancels_over_copies_and_spares_tables(run):
    """A fresh weight that reads 48 channels has variance 1/48; less the mean of three copies, two thirds of that."""
    plain, noisy = (growth.widen(run.model, 48, noise=noise, seed=3).state_dict() for noise in (0.0, 0.5))
    assert torch.equal(plain["embed.weight"], noisy["embed.weight"])
    for name in ("blocks.0.mlp.up.weight", "blocks.1.attention.qkv.weight", "head.weight"):
        added = noisy[name] - plain[name]
        assert added.std().item() == pytest.approx(0.5 * (2 / 3 / 48) ** 0.5, rel=0.05)
        assert added.unflatten(1, (3, 16)).sum(1).abs().max() < 1e-5
    other = growth.widen(run.model, 48, noise=0.5, seed=4).state_dict()
    assert not torch.equal(other["head.weight"], noisy["head.weight"])


def test_weights_of_ones_own_go_on_with_the_moments_of_the_run(run):
    state = growth.deep_state(run.model.state_dict(), 5)
    deep = growth.grow(stepwise.branch(run), DEEP, "zero", state=state)
    assert all(torch.equal(weight, state[name]) for name, weight in deep.model.state_dict().items())
    assert len(deep.optimizer.state) == 10
    small = {**state, "head.weight": state["head.weight"][:, :8]}
    for bad, words in (({}, "Missing key"), (small, "head.weight"), ([1], "state: expected")):
        with pytest.raises(InputError, match=words) as error:
            growth.grow(stepwise.branch(run), DEEP, state=bad)
        assert "\n" not in str(error.value)
