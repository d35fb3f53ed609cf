"""The transformer against itself written out slowly, and against what must hold for any weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scalept_lab.config import ModelConfig
from scalept_lab.costs import counts
from scalept_lab.model import transformer
from scalept_lab.model.transformer import Transformer, cross_entropy

SMALL = ModelConfig(vocab_size=20, context=12, width=16, depth=2, heads=2)
SHAPES = [
    SMALL,
    SMALL.replace(positions="learned"),
    SMALL.replace(causal=False),
    SMALL.replace(causal=False, positions="learned"),
    SMALL.replace(vocab_size=300, context=8, width=24, depth=3, heads=3, mlp_ratio=2),
    SMALL.replace(width=32, heads=1, depth=1),
    SMALL.replace(width=32, heads=4, kv_heads=2),
    SMALL.replace(width=32, heads=4, kv_heads=1, positions="learned"),
    ModelConfig.family(16),
    ModelConfig.family(96, vocab_size=64),
]


def stirred(config: ModelConfig, seed: int = 0) -> Transformer:
    """A model with all weights random: as built, the output layer is zero and hides everything before it."""
    torch.manual_seed(seed)
    model = Transformer(config).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=1 / math.sqrt(weight.shape[-1]))
    return model


def text(config: ModelConfig, batch: int = 2, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (batch, config.context), generator=generator)


# --- the slow twin: one position, one head, one pair of channels at a time


def slow_rotate(x_K: np.ndarray, position: int) -> np.ndarray:
    """Channels i and i + K/2 are the two parts of a complex number, turned by position · base^(−2i/K)."""
    half = len(x_K) // 2
    turned = np.empty_like(x_K)
    for i in range(half):
        angle = position * transformer.ROTARY_BASE ** (-2 * i / len(x_K))
        z = complex(x_K[i], x_K[i + half]) * complex(math.cos(angle), math.sin(angle))
        turned[i], turned[i + half] = z.real, z.imag
    return turned


def slow_attention(x_LxD: np.ndarray, qkv_3DxD: np.ndarray, out_DxD: np.ndarray, config: ModelConfig):
    """softmax(Q Kᵀ / √K) V, each head on its own K channels."""
    L, D = x_LxD.shape
    K, shared = D // config.heads, config.heads // (config.kv_heads or config.heads)
    E = D // shared  # width of all keys
    q_LxD, k_LxE, v_LxE = (x_LxD @ rows.T for rows in (qkv_3DxD[:D], qkv_3DxD[D : D + E], qkv_3DxD[D + E :]))
    mixed_LxD = np.zeros_like(x_LxD)
    for head in range(config.heads):
        own, theirs = (slice(at * K, (at + 1) * K) for at in (head, head // shared))
        for i in range(L):
            seen = range(i + 1) if config.causal else range(L)
            scores = []
            for j in seen:
                q_K, k_K = q_LxD[i, own], k_LxE[j, theirs]
                if config.positions == "rotary":
                    q_K, k_K = slow_rotate(q_K, i), slow_rotate(k_K, j)
                scores.append(sum(q_K * k_K) / math.sqrt(K))
            weights = np.exp(np.array(scores) - max(scores))
            for weight, j in zip(weights / weights.sum(), seen, strict=True):
                mixed_LxD[i, own] += weight * v_LxE[j, theirs]
    return mixed_LxD @ out_DxD.T


def slow_norm(x_LxD: np.ndarray) -> np.ndarray:
    return (x_LxD - x_LxD.mean(1, keepdims=True)) / np.sqrt(x_LxD.var(1, keepdims=True) + 1e-5)


def slow_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def slow_logits(model: Transformer, tokens_L: np.ndarray) -> np.ndarray:
    w = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    x_LxD = w["embed.weight"][tokens_L]
    if model.config.positions == "learned":
        x_LxD = x_LxD + w["position.weight"][: len(tokens_L)]
    for block in range(model.config.depth):
        qkv, out, up, down = (
            w[f"blocks.{block}.{name}.weight"]
            for name in ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
        )
        x_LxD = x_LxD + slow_attention(slow_norm(x_LxD), qkv, out, model.config)
        x_LxD = x_LxD + slow_gelu(slow_norm(x_LxD) @ up.T) @ down.T
    return slow_norm(x_LxD) @ w["head.weight"].T


@pytest.mark.parametrize("config", SHAPES[:8], ids=str)
def test_the_model_equals_its_slow_twin(config):
    model, tokens_BxL = stirred(config), text(config)
    logits_BxLxV = model(tokens_BxL).detach().numpy()
    for logits_LxV, tokens_L in zip(logits_BxLxV, tokens_BxL.numpy(), strict=True):
        np.testing.assert_allclose(logits_LxV, slow_logits(model, tokens_L), rtol=1e-4, atol=1e-5)


def test_shared_heads_are_full_attention_whose_keys_and_values_are_copies():
    config = SMALL.replace(width=32, heads=4, kv_heads=2)
    shared, full = stirred(config), stirred(config.replace(kv_heads=None))
    state = shared.state_dict()
    for name in [name for name in state if "qkv" in name]:
        q, k, v = state[name].split([32, 16, 16])
        copies = [part.unflatten(0, (2, 8)).repeat_interleave(2, 0).flatten(0, 1) for part in (k, v)]
        state[name] = torch.cat([q, *copies])
    full.load_state_dict(state)
    torch.testing.assert_close(full(text(config)), shared(text(config)), rtol=1e-10, atol=1e-10)


def test_heads_of_their_own_are_the_model_that_it_always_was():
    config = SMALL.replace(heads=4)
    one, other = stirred(config), stirred(config.replace(kv_heads=4))
    torch.testing.assert_close(one(text(config)), other(text(config)), rtol=0, atol=0)


# --- what must hold for any weights


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_tokens_in_logits_out(config):
    model = Transformer(config)
    tokens_BxL = text(config, batch=3)
    assert model(tokens_BxL).shape == (3, config.context, config.vocab_size)
    assert model(tokens_BxL[:, :5]).shape == (3, 5, config.vocab_size)


def test_a_text_longer_than_the_context_is_refused():
    for config in SHAPES[:2]:
        with pytest.raises((RuntimeError, IndexError)):
            Transformer(config)(torch.zeros(1, config.context + 1, dtype=torch.long))


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_a_decoder_does_not_see_the_future_and_an_encoder_does(positions):
    for causal in (True, False):
        config = SMALL.replace(causal=causal, positions=positions)
        model, tokens_BxL = stirred(config), text(config)
        changed_BxL = tokens_BxL.clone()
        changed_BxL[:, 7] = (tokens_BxL[:, 7] + 1) % config.vocab_size
        moved_L = (model(changed_BxL) - model(tokens_BxL)).abs().amax(dim=(0, 2))
        assert (moved_L[7:] > 1e-6).all()
        assert (moved_L[:7] == 0).all() if causal else (moved_L[:7] > 1e-6).all()


def test_a_shorter_text_gets_the_same_logits_from_a_decoder():
    model, tokens_BxL = stirred(SMALL), text(SMALL)
    torch.testing.assert_close(model(tokens_BxL[:, :5]), model(tokens_BxL)[:, :5])


def test_sequences_of_a_batch_do_not_mix():
    model, tokens_BxL = stirred(SMALL), text(SMALL, batch=4)
    alone_BxLxV = torch.cat([model(tokens_BxL[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(model(tokens_BxL), alone_BxLxV)


def test_positions_matter():
    """Without positions a model sees a bag of words: swapping two earlier tokens would change nothing later."""
    for positions in ("rotary", "learned"):
        config = SMALL.replace(positions=positions, depth=1)
        model, tokens_BxL = stirred(config), text(config)
        tokens_BxL[:, 0], tokens_BxL[:, 1] = 3, 4
        swapped_BxL = tokens_BxL.clone()
        swapped_BxL[:, 0], swapped_BxL[:, 1] = 4, 3
        assert ((model(swapped_BxL) - model(tokens_BxL))[:, -1].abs() > 1e-9).any()


def test_rotary_products_see_only_distance():
    L, K = 40, 8
    cos_LxK, sin_LxK = transformer.rotary_table(L, K)
    q_K, k_K = torch.randn(2, K, generator=torch.Generator().manual_seed(0))
    q_LxK = transformer.rotate(q_K.expand(1, 1, L, K), cos_LxK, sin_LxK)[0, 0]
    k_LxK = transformer.rotate(k_K.expand(1, 1, L, K), cos_LxK, sin_LxK)[0, 0]
    scores_LxL = q_LxK @ k_LxK.T
    for distance in range(-L + 1, L):
        along = scores_LxL.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=1e-4, atol=1e-4)
    assert scores_LxL[0].std() > 0.05  # and they do see it
    torch.testing.assert_close(q_LxK.norm(dim=-1), q_K.norm().expand(L))  # a rotation keeps lengths
    torch.testing.assert_close(q_LxK[0], q_K)  # position 0 is not turned


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_the_first_guess_is_uniform(config):
    torch.manual_seed(0)
    tokens_BxL = text(config, batch=4)
    with torch.no_grad():
        loss = cross_entropy(Transformer(config)(tokens_BxL), tokens_BxL).item()
    assert loss == pytest.approx(math.log(config.vocab_size), rel=0.02)


def test_loss_is_the_mean_of_minus_log_probability():
    logits_BxLxV = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    targets_BxL = torch.tensor([[0, 4, 2], [1, 1, 3]])
    by_hand = [
        -math.log(math.exp(logits_BxLxV[b, i, targets_BxL[b, i]]) / logits_BxLxV[b, i].exp().sum())
        for b in range(2)
        for i in range(3)
    ]
    assert cross_entropy(logits_BxLxV, targets_BxL).item() == pytest.approx(sum(by_hand) / 6, rel=1e-6)


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_every_weight_learns(config):
    model, tokens_BxL = stirred(config), text(config, batch=8)
    cross_entropy(model(tokens_BxL), tokens_BxL.roll(-1, 1)).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.abs().max() > 0, name


def test_the_same_seed_gives_the_same_weights():
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(Transformer(SMALL).parameters())

    assert torch.equal(weights(0), weights(0)) and not torch.equal(weights(0), weights(1))


# --- what the formulas say it costs


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_the_formula_counts_every_parameter(config):
    model = Transformer(config)
    counted = counts.count_params(config)
    assert sum(weight.numel() for weight in model.parameters()) == counted["total"]
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    outside = sum(weight.numel() for module in [*tables, model.head] for weight in module.parameters())
    assert outside == counted["embedding"]
    assert counted["total"] - outside == counted["non_embedding"]


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_the_formula_counts_every_flop(config):
    """Three times the forward pass that torch counts: the backward pass makes two products for each of its products.

    torch has no formula for the fused attention of a CPU and would count it as nothing, hence the plain kernel. Like
    ours, its count takes no half off for a causal mask and leaves out what is not a matrix product.
    """
    model, tokens_BxL = Transformer(config), text(config, batch=3)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(tokens_BxL)
    forward = counter.get_total_flops() / tokens_BxL.numel()
    assert 3 * forward == counts.flops_per_token(config, "full")


def test_backward_costs_twice_forward_but_for_the_first_layer():
    """Nobody needs the gradient of the tokens, but the embedding comes first and takes no product: so exactly three."""
    model, tokens_BxL = Transformer(SMALL), text(SMALL, batch=3)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        cross_entropy(model(tokens_BxL), tokens_BxL).backward()
    assert counter.get_total_flops() / tokens_BxL.numel() == counts.flops_per_token(SMALL, "full")
