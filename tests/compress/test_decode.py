"""Decoding with a cache against decoding without one."""

from __future__ import annotations

import pytest
import torch
import untrained

from scalept_lab.compress import decode, prune
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
