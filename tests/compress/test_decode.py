"""Decoding with a cache against decoding without one."""

from __future__ import annotations

import copy

import pytest
import torch
import untrained

from scalept_lab.compress import decode, prune, quantize
from scalept_lab.errors import InputError


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("prompt", [1, 7])
def test_cached_decoding_gives_the_tokens_of_uncached(positions, prompt):
    model = untrained.model(untrained.SMALL.replace(positions=positions))
    x = untrained.tokens(3, prompt)
    slow, fast = (decode.generate(model, x, 40, cached=cached) for cached in (False, True))
    assert torch.equal(slow, fast) and torch.equal(fast[:, :prompt], x)
    assert len(fast[0, prompt:].unique()) > 1


def test_cached_logits_are_the_models_in_any_pieces():
    model, x = untrained.model(), untrained.tokens(2, 20)
    cache = decode.Cache(model, 2, 20)
    with torch.inference_mode():
        pieces = [decode.forward(model, part, cache) for part in x.split([6, 1, 9, 4], dim=1)]
        assert torch.allclose(torch.cat(pieces, 1), model(x), atol=1e-4)
    assert (
        cache.used == 20
        and cache.bytes == decode.cache_bytes(untrained.SMALL, 2, 20) == 2 * 2 * 2 * 20 * 32 * 4
    )


def test_a_model_with_fewer_heads_decodes_with_a_smaller_cache():
    model = prune.fewer_heads(prune.fewer_units(untrained.model(), 0.5), 0.5)
    x = untrained.tokens(1, 4)
    assert torch.equal(decode.generate(model, x, 20), decode.generate(model, x, 20, cached=False))
    assert decode.Cache(model, 1, 24).bytes == decode.cache_bytes(untrained.SMALL, 1, 24) // 2


EXACT = {
    "int8 weights": lambda model: quantize.int8(model, "weights"),
    "int8, embeddings left": lambda model: quantize.int8(model, "linear weights"),
    "rounded": lambda model: quantize.rounded(model, 4)[0],
    "masked": lambda model: prune.unstructured(model, 0.5),
    "bf16": lambda model: copy.deepcopy(model).bfloat16(),
}


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("kind", EXACT)
def test_every_variant_is_decoded_and_writes_the_same_with_and_without_a_cache(kind, positions):
    model = EXACT[kind](untrained.model(untrained.SMALL.replace(positions=positions)))
    x = untrained.tokens(2, 5)
    assert torch.equal(decode.generate(model, x, 20), decode.generate(model, x, 20, cached=False))


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("method", ["dynamic", "builtin"])
def test_activations_quantized_on_the_fly_are_decoded_too(method, positions):
    """torch's own has one scale for all positions of a call: token by token it computes something else than at once."""
    model = quantize.int8(untrained.model(untrained.SMALL.replace(positions=positions)), method)
    x = untrained.tokens(1, 12)
    for cached in (True, False):
        assert decode.generate(model, x, 5, cached=cached).shape == (1, 17)
    cache = decode.Cache(model, 1, 12)
    with torch.inference_mode():
        pieces = torch.cat([decode.forward(model, part, cache) for part in x.split(1, dim=1)], 1)
        off = (pieces - model(x)).abs().amax()
    assert 0 < off < 0.3 * pieces.abs().amax()


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_shared_heads_decode_alike_with_a_cache_by_the_formula(kv_heads, positions):
    config = untrained.SMALL.replace(kv_heads=kv_heads, positions=positions)
    model, x = untrained.model(config), untrained.tokens(2, 20)
    cache = decode.Cache(model, 2, 20)
    with torch.inference_mode():
        pieces = [decode.forward(model, part, cache) for part in x.split([6, 1, 9, 4], dim=1)]
        torch.testing.assert_close(torch.cat(pieces, 1), model(x), atol=1e-4, rtol=1e-4)
    assert cache.bytes == decode.cache_bytes(config, 2, 20) == 2 * 2 * 2 * 20 * 8 * kv_heads * 4
    assert torch.equal(decode.generate(model, x, 9), decode.generate(model, x, 9, cached=False))


def test_what_was_forgotten_can_be_read_again():
    model, x = untrained.model(), untrained.tokens(1, 10)
    cache = decode.Cache(model, 1, 12)
    with torch.inference_mode():
        decode.forward(model, torch.cat([x[:, :6], x[:, :4]], 1), cache)
        cache.used = 6
        again = decode.forward(model, x[:, 6:], cache)
        torch.testing.assert_close(again, model(x)[:, 6:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "shape", "new", "message"),
    [
        (untrained.SMALL.replace(causal=False), (1, 4), 4, "expected a decoder"),
        (untrained.SMALL, (1, 4), 45, "expected 0 to 44"),
        (untrained.SMALL, (1, 4), -1, "expected 0 to 44"),
        (untrained.SMALL, (1, 0), 4, "at least one token"),
        (untrained.SMALL, (4,), 4, "at least one token"),
    ],
)
def test_what_cannot_be_decoded(config, shape, new, message):
    with pytest.raises(InputError, match=message) as found:
        decode.generate(untrained.model(config), torch.zeros(shape, dtype=torch.long), new)
    assert "\n" not in str(found.value)


def test_a_text_may_fill_the_context_and_need_not_grow():
    model, x = untrained.model(), untrained.tokens(2, 8)
    assert decode.generate(model, x, 40).shape == (2, 48)
    assert torch.equal(decode.generate(model, x, 0), x)


def test_bytes_of_a_cache_by_hand():
    """Keys and values, 2 blocks, 3 texts of 5 tokens, 32 numbers of 2 bytes each."""
    assert decode.cache_bytes(untrained.SMALL, 3, 5, number_bytes=2) == 2 * 2 * 3 * 5 * 32 * 2
    assert decode.Cache(untrained.model(), 3, 5).used == 0
