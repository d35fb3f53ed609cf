"""Each optimizer from its formula against torch's, 100 steps of a small network; and what each is said to do."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from scalept_lab.errors import InputError
from scalept_lab.model import optimizers
from scalept_lab.model.optim import set_rate

STEPS = 100


@pytest.fixture(autouse=True)
def one_thread():
    """These tensors are tiny: a second thread only waits for its turn."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).double()


def train(net: nn.Module, optimizer) -> list[Tensor]:
    """The same 100 batches for whoever asks; the parameters after them."""
    draw = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        x = torch.randn(32, 6, generator=draw, dtype=torch.float64)
        loss = (net(x) - x[:, :3].sin()).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return [p.detach() for p in net.parameters()]


def apart(ours, theirs, only=lambda tensor: True) -> float:
    """The largest difference between the parameters that two optimizers reach, after checking that they moved."""
    mine, other = network(), network()
    left, right = train(mine, ours(mine.parameters())), train(other, theirs(other.parameters()))
    start = list(network().parameters())
    assert all((a - b).abs().max() > 0.01 for a, b in zip(left, start, strict=True) if only(a))
    return max((a - b).abs().max().item() for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd_is_torchs(decay):
    assert (
        apart(
            lambda p: optimizers.SGD(p, 0.1, weight_decay=decay),
            lambda p: torch.optim.SGD(p, 0.1, weight_decay=decay),
        )
        < 1e-6
    )


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.5, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_momentum_is_torchs(nesterov, momentum, decay):
    fields = {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    assert (
        apart(lambda p: optimizers.Momentum(p, 0.05, **fields), lambda p: torch.optim.SGD(p, 0.05, **fields))
        < 1e-6
    )


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.95), (0.0, 0.5)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("eps", [1e-8, 1e-3])
def test_adamw_is_torchs(betas, decay, eps):
    fields = {"lr": 0.01, "betas": betas, "weight_decay": decay, "eps": eps}
    assert apart(lambda p: optimizers.AdamW(p, **fields), lambda p: torch.optim.AdamW(p, **fields)) < 1e-6


def test_the_comparison_sees_a_missing_bias_correction_and_another_weight_decay():
    """The slow twin's own check: what differs must differ by more than 1e-6."""
    right = {"lr": 0.01, "weight_decay": 0.1}
    assert (
        apart(
            lambda p: optimizers.AdamW(p, **right, bias_correction=False),
            lambda p: torch.optim.AdamW(p, **right),
        )
        > 1e-3
    )
    assert apart(lambda p: optimizers.AdamW(p, **right), lambda p: torch.optim.Adam(p, **right)) > 1e-3
    assert (
        apart(
            lambda p: optimizers.Momentum(p, 0.05, nesterov=True),
            lambda p: torch.optim.SGD(p, 0.05, momentum=0.9),
        )
        > 1e-3
    )


# --- Muon


def two_dimensional(tensors) -> list[Tensor]:
    return [p for p in tensors if p.ndim == 2]


@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 32)])
def test_newton_schulz_is_torchs(shape):
    from torch.optim._muon import _zeropower_via_newtonschulz

    torch.manual_seed(0)
    g = torch.randn(shape)
    theirs = _zeropower_via_newtonschulz(g.clone(), optimizers.NEWTON_SCHULZ, 5, 1e-7).float()
    ours = optimizers.newton_schulz(g)
    assert (ours - theirs).abs().max() < 1e-6


@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 32)])
def test_newton_schulz_keeps_the_directions_and_levels_the_singular_values(shape):
    torch.manual_seed(0)
    U, S, Vh = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    S = torch.logspace(0, -1.5, len(S), dtype=torch.float64)  # from 1 down to 0.03
    found = U.T @ optimizers.newton_schulz(U @ S.diag() @ Vh, dtype=torch.float64) @ Vh.T
    levelled = found.diagonal()
    assert (found - levelled.diag()).abs().max() < 1e-10
    assert levelled.min() > 0.6 and levelled.max() < 1.3
    by_hand = S / S.norm()
    for _ in range(5):
        by_hand = sum(
            k * by_hand**power for k, power in zip(optimizers.NEWTON_SCHULZ, (1, 3, 5), strict=True)
        )
    torch.testing.assert_close(levelled, by_hand)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_muon_is_torchs(decay):
    assert (
        apart(
            lambda p: optimizers.Muon(two_dimensional(p), 0.02, weight_decay=decay),
            lambda p: torch.optim.Muon(two_dimensional(p), 0.02, weight_decay=decay),
            only=lambda p: p.ndim == 2,
        )
        < 1e-6
    )


def test_a_muon_step_does_not_depend_on_the_scale_of_the_gradient():
    theta = [nn.Parameter(torch.zeros(6, 6, dtype=torch.float64)) for _ in range(2)]
    torch.manual_seed(0)
    g = torch.randn(6, 6, dtype=torch.float64)
    for tensor, scale in zip(theta, (1.0, 1e-3), strict=True):
        tensor.grad = scale * g
        exact = partial(optimizers.newton_schulz, dtype=torch.float64)
        optimizers.Muon([tensor], 0.1, weight_decay=0.0, orthogonalize=exact).step()
    torch.testing.assert_close(theta[0], theta[1])


# --- what is said about them


def test_one_step_by_hand():
    """J = ½(y − θx)² at θ = 1, x = 2, y = 6: the gradient is −x(y − θx) = −8."""
    theta = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    (0.5 * (6 - theta * 2) ** 2).sum().backward()
    assert theta.grad is not None and theta.grad.item() == -8
    optimizers.SGD([theta], 0.1).step()
    assert theta.item() == pytest.approx(1.8)


def test_momentum_moves_ten_times_as_far_under_a_constant_gradient():
    theta = nn.Parameter(torch.zeros(1))
    optimizer = optimizers.Momentum([theta], 0.1)
    for _ in range(200):
        before = theta.item()
        theta.grad = torch.ones(1)
        optimizer.step()
    assert before - theta.item() == pytest.approx(0.1 / (1 - 0.9), rel=1e-4)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.99), (0.9, 0.95)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_without_bias_correction_the_first_steps_have_another_size(betas, scale):
    theta = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = optimizers.AdamW([theta], 0.01, betas, weight_decay=0.0, bias_correction=False)
    for t in range(1, 30):
        before = theta.item()
        theta.grad = torch.full((1,), scale, dtype=torch.float64)
        optimizer.step()
        expected = (1 - betas[0] ** t) / math.sqrt(1 - betas[1] ** t)
        assert (before - theta.item()) / 0.01 == pytest.approx(expected, rel=1e-3)


def test_a_tensor_without_a_gradient_stays():
    left, right = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    left.grad = torch.ones(2)
    optimizers.AdamW([left, right]).step()
    assert (right == 1).all() and (left < 1).all()


# --- bad input


@pytest.mark.parametrize("rate", [0, -0.1, math.nan, math.inf])
@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.Momentum, optimizers.AdamW, optimizers.Muon])
def test_a_rate_that_is_not_positive_is_refused_in_one_line(kind, rate):
    with pytest.raises(InputError, match="lr: expected a positive number") as error:
        kind([nn.Parameter(torch.ones(2, 2))], rate)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optimizers.Momentum(p, 0.1, momentum=1.0),
        lambda p: optimizers.AdamW(p, betas=(0.9, 1.5)),
        lambda p: optimizers.AdamW(p, betas=(-0.1, 0.9)),
        lambda p: optimizers.SGD(p, 0.1, weight_decay=-1),
        lambda p: optimizers.SGD([], 0.1),
        lambda p: optimizers.Muon([nn.Parameter(torch.ones(3))], 0.1),
        lambda p: optimizers.newton_schulz(torch.ones(3)),
    ],
)
def test_other_bad_input_is_refused_in_one_line(make):
    with pytest.raises(InputError) as error:
        make([nn.Parameter(torch.ones(2, 2))])
    assert "expected" in str(error.value) and "\n" not in str(error.value)


def test_newton_schulz_of_zeros_is_zero():
    """A gradient that has vanished must not divide by its norm."""
    assert not optimizers.newton_schulz(torch.zeros(3, 2)).any()


# --- a step that is a function


def downhill(tensors, gradients, state, lr):
    state["t"] = state.get("t", 0) + 1
    for theta, g in zip(tensors, gradients, strict=True):
        theta.sub_(lr * g)


def test_a_step_by_hand_is_that_of_its_rule_with_the_rate_of_its_group_and_a_schedule():
    left, right = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    optimizer = optimizers.ByHand(
        [
            {"params": [left], "lr": 0.1, "rule": downhill},
            {"params": (right,), "lr": 1.0, "rule": downhill},
        ]
    )
    for fraction in (1.0, 0.5):
        set_rate(optimizer, fraction)  # as the training loop does
        left.grad, right.grad = torch.ones(2), torch.ones(3)
        optimizer.step()
    optimizer.zero_grad()
    assert left.tolist() == pytest.approx([0.85] * 2) and right.tolist() == pytest.approx([-0.5] * 3)
    assert left.grad is None and optimizer.t == 2
    assert [group["state"] for group in optimizer.param_groups] == [{"t": 2}, {"t": 2}]  # each its own


def test_the_written_out_ones_follow_a_schedule():
    theta = nn.Parameter(torch.zeros(1))
    optimizer = optimizers.SGD([theta], 1.0)
    set_rate(optimizer, 0.25)
    theta.grad = torch.ones(1)
    optimizer.step()
    assert theta.item() == -0.25 and optimizer.lr == 0.25


@pytest.mark.parametrize(
    "groups",
    [
        [],
        [{"params": [torch.ones(1)], "lr": 0.1}],
        [{"params": [torch.ones(1)], "lr": 0.0, "rule": downhill}],
        [{"params": [torch.ones(1)], "lr": 0.1, "rule": "adamw"}],
    ],
)
def test_groups_that_cannot_step_are_refused_in_one_line(groups):
    with pytest.raises(InputError, match="expected") as error:
        optimizers.ByHand(groups)
    assert "\n" not in str(error.value)


def test_a_step_by_hand_without_a_gradient_is_refused_before_anything_moves():
    left, right = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = optimizers.ByHand([{"params": [left, right], "lr": 0.1, "rule": downhill}])
    left.grad = torch.ones(2)
    with pytest.raises(InputError, match="step: expected a gradient for each tensor"):
        optimizer.step()
    assert (left == 1).all() and optimizer.t == 0
