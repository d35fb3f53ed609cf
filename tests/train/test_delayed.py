"""Delayed synchronisation: workers in one process against real ranks, against DDP, and against PyTorch's own averagers."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from scalept_lab.config import Delayed, ModelConfig, TrainConfig, parse
from scalept_lab.data.tokens import batches
from scalept_lab.errors import InputError
from scalept_lab.model.optim import learning_rate, make_optimizer, set_rate
from scalept_lab.model.transformer import Transformer, cross_entropy
from scalept_lab.parallel.launcher import launch
from scalept_lab.train import delayed
from scalept_lab.train.delayed import fit_delayed
from scalept_lab.train.step import to

STEPS, BATCH = 12, 8


@pytest.fixture
def corpus(word_corpus):
    return word_corpus


def config(optimizer="adamw", **changes):
    values = {"model": ModelConfig(width=16, depth=1, heads=2, context=16), "tokens": STEPS * BATCH * 16, "batch": BATCH,
              "lr": 0.02, "optimizer": optimizer, "eval_windows": 64, "clip": 1e9, "corpus": "words"}  # fmt: skip
    return TrainConfig(**{**values, **changes})


def parameters(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def run(config, plan, corpus):
    model, record = fit_delayed(config, plan, corpus)
    return parameters(model), record.curve, record.L


def furthest(one, other):
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


METHODS = [
    Delayed(workers=2),
    Delayed(method="local", workers=2, every=4),
    # 12 steps: two full rounds, and one that the end cuts short
    Delayed(method="diloco", workers=2, every=5),
]


@pytest.mark.parametrize("plan", METHODS, ids=lambda plan: plan.method)
def test_two_workers_in_one_process_are_two_ranks_to_the_last_bit(corpus, plan):
    alone = run(config(clip=0.5), plan, corpus)
    for rank in launch(run, 2, config(clip=0.5), plan, corpus):
        assert furthest(alone[0], rank[0]) == 0
        assert alone[1:] == rank[1:]


def test_four_workers_are_four_ranks_to_rounding(corpus):
    """An all-reduce over four adds in another order."""
    plan = Delayed(method="diloco", workers=4, every=3)
    alone = run(config(), plan, corpus)
    ranks = launch(run, 4, config(), plan, corpus)
    for rank in ranks:
        assert furthest(alone[0], rank[0]) < 1e-4
        assert furthest(ranks[0][0], rank[0]) == 0  # but all agree
        assert max(abs(a[2] - b[2]) for a, b in zip(alone[1], rank[1], strict=True)) < 1e-5


def with_ddp(config, corpus):
    """torch's DistributedDataParallel over the same batches."""
    torch.manual_seed(config.seed)
    model = Transformer(config.model)
    optimizer = make_optimizer(model, config)
    wrapped = nn.parallel.DistributedDataParallel(model)
    stream = batches(corpus.train, batch=config.batch, context=16, steps=config.steps, seed=config.seed)
    for step, rows in enumerate(stream):
        x, y = (to(part, "cpu").tensor_split(2)[dist.get_rank()] for part in rows)
        cross_entropy(wrapped(x), y).backward()
        set_rate(optimizer, learning_rate(step, config))
        optimizer.step()
        optimizer.zero_grad()
    return parameters(model)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_averaging_gradients_is_ddp(corpus, optimizer):
    ours = run(config(optimizer, lr=0.05), Delayed(workers=2), corpus)[0]
    assert furthest(ours, launch(with_ddp, 2, config(optimizer, lr=0.05), corpus)[0]) < 1e-5


def test_meeting_every_step_is_ddp_for_sgd_and_not_for_adamw(corpus):
    """The mean of θ − η·g_w is θ − η·(mean of g_w); Adam divides by a root, and means do not pass through that."""
    found = {}
    for optimizer in ("sgd", "adamw"):
        each = [
            run(config(optimizer, lr=0.05), Delayed(method=how, workers=4), corpus)
            for how in ("gradients", "local")
        ]
        found[optimizer] = furthest(each[0][0], each[1][0])
        moved = furthest(each[0][0], parameters(_fresh(config(optimizer))))
        assert moved > 1e-2
    assert found["sgd"] < 1e-6
    assert found["adamw"] > 1e-2


def test_meeting_every_step_is_not_ddp_when_each_clips_its_own(corpus):
    both = [run(config("sgd", lr=0.05, clip=0.1), Delayed(method=how, workers=4), corpus)[0]
            for how in ("gradients", "local")]  # fmt: skip
    assert furthest(*both) > 1e-5


def _fresh(config):
    torch.manual_seed(config.seed)
    return Transformer(config.model)


def test_diloco_with_rate_one_and_no_momentum_is_local_sgd(corpus):
    plain = run(config(), Delayed(method="local", workers=4, every=4), corpus)
    outer = run(
        config(), Delayed(method="diloco", workers=4, every=4, outer_lr=1.0, outer_momentum=0.0), corpus
    )
    assert furthest(plain[0], outer[0]) < 1e-5


def test_outer_step_by_hand():
    """Nesterov as torch writes it: v ← μ·v + g, θ ← θ − η·(g + μ·v), with g = θ − mean."""
    outer = delayed.Outer(torch.tensor([1.0]), Delayed(method="diloco", outer_lr=0.5, outer_momentum=0.8))
    first = outer.step(torch.tensor([0.0])).clone()  # g = 1, v = 1
    assert torch.allclose(first, torch.tensor([1.0 - 0.5 * (1 + 0.8)]))
    second = outer.step(torch.tensor([0.0]))  # g = 0.1, v = 0.9
    assert torch.allclose(second, first - 0.5 * (first + 0.8 * (0.8 + first)))


def with_torch_averager(config, every, corpus):
    """Local SGD by PyTorch's own PostLocalSGDOptimizer and PeriodicModelAverager."""
    from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
    from torch.distributed.optim import PostLocalSGDOptimizer

    model = _fresh(config)
    # without a warm-up it meets after step 1
    averager = PeriodicModelAverager(period=every, warmup_steps=every - 1)
    optimizer = PostLocalSGDOptimizer(make_optimizer(model, config), averager)
    stream = batches(corpus.train, batch=config.batch, context=16, steps=config.steps, seed=config.seed)
    for step, rows in enumerate(stream):
        x, y = (to(part, "cpu").tensor_split(2)[dist.get_rank()] for part in rows)
        cross_entropy(model(x), y).backward()
        set_rate(optimizer, learning_rate(step, config))
        optimizer.step()
        optimizer.zero_grad()
    return parameters(model)


@pytest.mark.parametrize("every", [1, 4])
def test_local_is_what_torchs_averager_does(corpus, every):
    ours = run(config(), Delayed(method="local", workers=2, every=every), corpus)[0]
    for rank in launch(with_torch_averager, 2, config(), every, corpus):
        assert furthest(ours, rank) < 1e-5


@pytest.mark.parametrize(
    "plan", [Delayed(), Delayed(method="local", every=5), Delayed(method="diloco", every=12)]
)
def test_bytes(corpus, plan):
    record = fit_delayed(config(), plan, corpus)[1]
    meetings = {"gradients": 12, "local": 3, "diloco": 1}[plan.method]  # 5 + 5 + 2 steps
    told = {
        "bytes": 4.0 * meetings * record.N_total,
        "bytes_per_parameter": 4.0 * meetings,
        "meetings": float(meetings),
    }
    assert told.items() <= record.metrics.items()
    assert delayed.payload(plan, record.N_total, STEPS) == record.metrics["bytes"]


def counted(config, plan, corpus):
    """What the all-reduces of a run really carry, in bytes, without those of single numbers."""
    sent, original = [], dist.all_reduce

    def counting(tensor, *args, **kwargs):
        sent.append(tensor.numel() * tensor.element_size())
        return original(tensor, *args, **kwargs)

    dist.all_reduce = counting
    record = fit_delayed(config, plan, corpus)[1]
    return sum(size for size in sent if size > 8), record.metrics["bytes"]


def test_bytes_are_those_of_the_all_reduces(corpus):
    for plan in METHODS:
        for seen, told in launch(counted, 2, config(), plan, corpus):
            assert seen == told


def test_a_record_names_its_plan(corpus):
    plans = [
        Delayed(),
        Delayed(method="local", every=4),
        Delayed(method="local", every=5),
        Delayed(workers=2),
    ]
    records = [fit_delayed(config(tokens=2 * BATCH * 16), plan, corpus)[1] for plan in plans]
    assert len({record.id for record in records}) == len(plans)
    assert [parse(Delayed, record.config["delayed"]) for record in records] == plans


def test_a_run_that_diverges_is_a_record(corpus):
    record = fit_delayed(config("sgd", lr=1e6), Delayed(method="local", every=2), corpus)[1]
    assert record.status == "diverged" and record.L is None and record.error


def test_bad_input(corpus):
    with pytest.raises(
        InputError, match=r"8 sequences cannot be shared equally by 3 workers; take a multiple of 3"
    ):
        fit_delayed(config(), Delayed(workers=3), corpus)
    with pytest.raises(InputError, match="workers: expected 2, one for each rank, got 4"):
        launch(run, 2, config(), Delayed(workers=4), corpus)
    with pytest.raises(InputError, match="accumulate: expected 1 of delayed workers, got 2"):
        fit_delayed(config(accumulate=2), Delayed(), corpus)
    with pytest.raises(InputError, match="method"):
        parse(Delayed, {"method": "averaging"})
    with pytest.raises(InputError, match="every"):
        parse(Delayed, {"every": 0})


def test_the_mean_and_the_bytes_by_hand():
    assert delayed.average([torch.tensor([1.0, 4.0]), torch.tensor([2.0, 8.0])], 2).tolist() == [1.5, 6.0]
    plan = Delayed(method="local", every=5)
    assert [delayed.payload(plan, 7, steps) for steps in (4, 5, 6, 12)] == [28, 28, 56, 84]
    assert delayed.payload(Delayed(), 7, 12) == 12 * 7 * 4


def test_the_curve_counts_from_the_first_step_and_is_the_mean_of_the_workers(corpus):
    """Before anything is learned every worker's loss is the log of the vocabulary."""
    _, curve, _ = run(config(), Delayed(workers=4), corpus)
    assert [point[:2] for point in curve] == [(k, k * BATCH * 16) for k in range(1, STEPS + 1)]
    assert curve[0][2] == pytest.approx(5.545177, abs=1e-5)
