import numpy as np
import pytest
import torch

from scalept_lab import growth, stepwise
from scalept_lab.config import Curriculum, ModelConfig, TrainConfig
from scalept_lab.costs import flops_per_token
from scalept_lab.data import Prepared
from scalept_lab.errors import InputError
from scalept_lab.growth import Growth, fit_grown
from scalept_lab.models import cross_entropy

MODEL = ModelConfig(width=16, depth=2, heads=2, context=16)
DEEP, WIDE = MODEL.replace(depth=5), MODEL.replace(width=32, heads=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    random = np.random.default_rng(0)
    words = random.integers(97, 123, (40, 5)).astype(np.uint8)
    stream = words[random.integers(0, 40, 6000)].reshape(-1)
    corpus = Prepared(
        "words", stream[:25_000], stream[25_000:], 256, "0" * 64, {}, tmp_path_factory.mktemp("w")
    )
    config = TrainConfig(model=MODEL, tokens=60 * 128, batch=8, eval_windows=32, corpus="words")
    return stepwise.go_on(stepwise.start(config, corpus), stepwise.schedule(config))


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
    small = growth.Transformer(MODEL.replace(positions="learned"))
    torch.nn.init.normal_(small.head.weight)
    x = torch.randint(256, (4, 16))
    for grown in (
        growth.deepen(growth.widen(small, 32), 3),
        growth.widen(growth.deepen(small, 3, "stack"), 64),
    ):
        assert torch.allclose(small(x), grown(x), atol=1e-5)


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


def test_new_blocks_start_without_memory_and_rates_are_those_of_the_new_width(run):
    deep = growth.grow(stepwise.branch(run), DEEP)
    kept = [name for name, p in deep.model.named_parameters() if deep.optimizer.state.get(p)]
    assert not any(f"blocks.{i}." in name for name in kept for i in (2, 3, 4)) and len(kept) == 10
    wide = growth.grow(stepwise.branch(run), WIDE)
    peaks = [[group["peak"] for group in r.optimizer.param_groups] for r in (run, wide)]
    assert peaks[1][0] == peaks[0][0] and peaks[1][1:] == pytest.approx([peak / 2 for peak in peaks[0][1:]])
    assert stepwise.go_on(deep, [0.5] * 3).step == run.step + 3


def test_a_grown_run_spends_its_flops_and_its_record_says_so(run):
    small = run.config
    plan = Growth(WIDE, 60 * 128 * flops_per_token(WIDE), 0.25)
    done, record = fit_grown(small, plan, run.corpus)
    assert record.ok and record.C == pytest.approx(plan.flops, rel=0.02)
    assert record.D == done.step * 128 > 60 * 128
    assert record.config["model"]["width"] == 32 and record.config["growth"]["share"] == 0.25
    assert done.rates[-1] < 0.05 and max(done.rates) == pytest.approx(1.0, abs=0.05)
    before = int(record.metrics["steps_before"])
    assert before == round(0.25 * plan.flops / (128 * flops_per_token(MODEL)))
    # The linear schedule, a tenth of it warm-up, where a quarter of the FLOPs is spent; of the steps it would be more.
    assert done.rates[before] == pytest.approx(1 - (0.25 - 0.1) / 0.9, abs=0.01)
    assert before / done.step > 0.35
    _, scratch = fit_grown(small, Growth(WIDE, plan.flops, 0.0), run.corpus)
    assert scratch.D == 60 * 128 and scratch.id != record.id == plan.id(small)


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
        (lambda run: Growth(WIDE, 1e9, 1.0), "share: expected"),
        (
            lambda run: fit_grown(run.config.replace(curriculum=Curriculum()), Growth(WIDE, 1e9), run.corpus),
            "curriculum: expected none in a run that grows",
        ),
        (lambda run: Growth(WIDE, -1.0), "flops: expected a positive number"),
    ],
)  # fmt: skip
def test_bad_input(run, make, words):
    with pytest.raises(InputError, match=words):
        make(run)
