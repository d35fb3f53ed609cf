"""Speculative decoding: the target's own text when greedy, its own distribution when drawn, and what it costs by the formula."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import untrained
from refusals import one_line

from scalept_lab.compress import decode, speculative
from scalept_lab.compress.speculative import (
    Ngrams,
    accept,
    alone,
    overlaps,
    speculate,
    speedup,
    tokens_per_pass,
)

P, Q = np.array([0.05, 0.15, 0.3, 0.5]), np.array([0.4, 0.3, 0.2, 0.1])
TINY = untrained.SMALL.replace(vocab_size=5, width=16, heads=2)


def drafts():
    text = np.random.default_rng(0).integers(0, 5, 400)
    near = untrained.model(TINY)
    with torch.no_grad():
        for weight in near.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return {
        "itself": untrained.model(TINY),
        "a neighbour": near,
        "another": untrained.model(TINY.replace(depth=1), seed=3),
        "counts": Ngrams(text, 5, 2),
    }


@pytest.mark.parametrize("ahead", [0, 1, 3, 9])
@pytest.mark.parametrize("draft", ["itself", "a neighbour", "another", "counts"])
def test_a_greedy_text_is_the_targets_own(draft, ahead):
    target, prompt = untrained.model(TINY), untrained.tokens(1, 7) % 5
    wanted = decode.generate(target, prompt, 30)
    made = speculate(target, drafts()[draft], prompt, 30, ahead)
    assert torch.equal(made.tokens_1xL, wanted) and torch.equal(alone(target, prompt, 30), wanted)
    assert made.kept + made.passes == 30 and made.kept <= made.judged
    if draft == "itself":
        assert made.acceptance == (1 if ahead else 0) and made.passes == -(-30 // (ahead + 1))
    assert torch.equal(prompt, untrained.tokens(1, 7) % 5)


def test_one_guess_has_the_targets_distribution_exactly():
    """Summed over all guesses and split at the borders of u: min(p, q) is kept, the rest of p drawn from the residual."""
    kept = np.minimum(P, Q)
    fine = (np.arange(2000) + 0.5) / 2000
    found = np.zeros(4)
    for x in range(4):
        share = min(1, P[x] / Q[x])
        assert accept(np.array([P, P]), Q[None], [x], [share * 0.999, 0.5])[0] == x
        if share < 1:
            assert accept(np.array([P, P]), Q[None], [x], [share * 1.001, 0.5])[0] != x
            drawn = [accept(np.array([P, P]), Q[None], [x], [0.9999, u])[0] for u in fine]
            residual = np.bincount(drawn, minlength=4) / 2000
            np.testing.assert_allclose(residual, np.maximum(P - Q, 0) / np.maximum(P - Q, 0).sum(), atol=1e-3)
            found += Q[x] * (1 - share) * residual
    np.testing.assert_allclose(kept + found, P, atol=1e-3)


def test_a_text_of_three_tokens_has_the_targets_distribution():
    """All 125 texts: chi-square of 124 degrees of freedom, whose .9999 is 194."""
    target, draft, prompt = untrained.model(TINY), drafts()["another"], torch.tensor([[1, 4]])
    texts = torch.tensor(list(itertools.product(range(5), repeat=3)))
    with torch.inference_mode():
        logits = target(torch.cat([prompt.expand(125, -1), texts], 1)[:, :-1])[:, 1:]
    wanted = logits.softmax(-1).gather(-1, texts[..., None])[..., 0].prod(-1).double().numpy()
    found = np.zeros(125)
    for seed in range(700):
        made = speculate(target, draft, prompt, 3, 2, temperature=1.0, seed=seed).tokens_1xL[0, 2:].tolist()
        found[25 * made[0] + 5 * made[1] + made[2]] += 1
    assert ((found - 700 * wanted) ** 2 / (700 * wanted)).sum() < 194


def test_acceptance_is_the_overlap_of_the_two_distributions():
    target, draft, text = untrained.model(TINY), drafts()["a neighbour"], untrained.tokens(1, 40) % 5
    with torch.inference_mode():
        both = [model(text)[0].double().softmax(-1) for model in (target, draft)]
    np.testing.assert_allclose(overlaps(target, draft, text), torch.minimum(*both).sum(-1), atol=1e-5)
    assert overlaps(target, target, text) == pytest.approx(1)
    agree = (both[0].argmax(-1) == both[1].argmax(-1)).double()
    assert overlaps(target, draft, text, temperature=0).mean() == pytest.approx(agree.mean())


def test_counts_by_hand():
    """After (1, 0): 2 twice and 1 once; after 0 alone: 2 twice, 1 once, 0 once; four imagined counts from the shorter context."""
    table = Ngrams(np.array([1, 0, 2, 1, 0, 2, 1, 0, 1, 0, 0]), 3, 2)
    single = (np.array([5, 4, 2]) + 4 / 3) / 15
    after_0 = (np.array([1, 1, 2]) + 4 * single) / 8
    after_10 = (np.array([1, 1, 2]) + 4 * after_0) / 8
    logits = table(torch.tensor([[2, 1, 0]]), 3)
    np.testing.assert_allclose(logits[0].exp(), after_10, rtol=1e-5)
    np.testing.assert_allclose(table.table.sum(-1), 1, rtol=1e-5)
    both = table(torch.tensor([[2, 1, 0, 0]]), 3, 2)
    torch.testing.assert_close(both[1:], logits)
    assert table(torch.tensor([[1]]), 1).shape == (1, 3)


def test_the_formula_by_hand():
    assert tokens_per_pass(0.5, 3) == 1.875 and tokens_per_pass(1, 4) == 5 and tokens_per_pass(0, 4) == 1
    assert speedup(1.875, 3, 0.1) == pytest.approx(1.875 / 1.3)
    assert speedup(1.875, 3, 0.1, judging=1.5) == pytest.approx(1.875 / 1.8)
    assert speedup(tokens_per_pass(0.7, 1), 1, 0.7) == pytest.approx(
        1
    )  # a guess pays if it is kept more often than it costs


def test_passes_by_hand():
    """With two or more ahead: kept, kept, refused; kept, refused; kept, refused; the last alone. With one: five pairs or less."""
    agrees = [1, 1, 0, 1, 0, 1, 0, 1]
    assert [speculative.passes(agrees, ahead) for ahead in (0, 1, 2, 5)] == [8, 5, 4, 4]
    assert (
        speculative.passes([1] * 10, 4) == 2
        and speculative.passes([0] * 10, 4) == 10
        and speculative.passes([], 2) == 0
    )


@pytest.mark.parametrize("ahead", [1, 4])
def test_a_text_of_the_target_alone_says_how_many_passes_it_would_take(ahead):
    target, prompt = untrained.model(TINY), untrained.tokens(1, 7) % 5
    text = decode.generate(target, prompt, 30)
    for draft in drafts().values():
        agrees = overlaps(target, draft, text, temperature=0)[6:-1]
        assert speculative.passes(agrees, ahead) == speculate(target, draft, prompt, 30, ahead).passes


def test_what_cannot_be_a_draft_is_said_in_one_line():
    target, prompt = untrained.model(TINY), torch.zeros(1, 4, dtype=torch.long)
    other = untrained.model(TINY.replace(vocab_size=7))
    short = untrained.model(TINY.replace(context=16))
    encoder = untrained.model(TINY.replace(causal=False))
    one_line(
        lambda: speculate(target, other, prompt, 8),
        "draft: expected the target's vocabulary of 5 tokens, got 7",
    )
    one_line(
        lambda: speculate(target, Ngrams(np.arange(6), 6, 1), prompt, 8), "vocabulary of 5 tokens, got 6"
    )
    one_line(lambda: speculate(target, short, prompt, 20), "draft: new: expected 0 to 12")
    one_line(lambda: speculate(target, encoder, prompt, 8), "draft: model: expected a decoder")
    one_line(lambda: speculate(short, target, prompt, 20), "target: new: expected 0 to 12")
    one_line(lambda: speculate(target, target, prompt.expand(2, -1), 8), "prompt: expected one")
    one_line(lambda: speculate(target, target, prompt, 8, -1), "ahead: expected a whole number of at least 0")
    one_line(lambda: speculate(target, target, prompt, 8, temperature=-1), "temperature: ")
    one_line(lambda: overlaps(target, other, prompt), "draft: expected the target's vocabulary")
    one_line(lambda: alone(target, prompt, 60), "expected 0 to 44")
    one_line(lambda: Ngrams(np.arange(9), 256, 3), "order: expected a table of at most")
    one_line(lambda: tokens_per_pass(1.2, 3), "acceptance: ")
    one_line(lambda: speedup(2, 3, -1), "cost: ")
    one_line(lambda: speedup(2, 3, 0.1, 0), "judging: ")
    one_line(lambda: speedup(0, 3, 0.1), "tokens: ")
    one_line(lambda: speculative.passes([1], -1), "ahead: ")


def test_draws_by_hand():
    assert [speculative.pick(P, u) for u in (0, 0.049, 0.051, 0.49, 0.51, 0.9999)] == [0, 0, 1, 2, 3, 3]
    assert speculative.pick(np.array([0, 0, 2.0, 0]), 0.99) == 2
    logits = torch.tensor([[0.0, 1.0, 3.0]])
    np.testing.assert_allclose(speculative.chances(logits, 2), torch.softmax(logits / 2, -1), rtol=1e-6)
    assert speculative.chances(logits, 0).tolist() == [[0, 0, 1]]
