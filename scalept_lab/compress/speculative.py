"""Speculative decoding: a cheap draft guesses a few tokens ahead, and the target judges all of them in one pass.

Leviathan, Kalman & Matias 2023 (algorithm 1) and Chen et al. 2023. What is written has exactly the target's distribution: a guess
x is kept with probability min(1, p(x) / q(x)), and in place of the first that is not, a token is drawn from max(0, p − q), made
to sum to 1. Greedy decoding is the same with all probability on one token. V vocabulary, K guesses, P tokens of the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scalept_lab.checks import positive, whole
from scalept_lab.compress import decode
from scalept_lab.errors import InputError
from scalept_lab.model.transformer import Transformer, device_of


def accept(
    p_K1xV: np.ndarray, q_KxV: np.ndarray, guesses_K: Sequence[int], u_K1: Sequence[float] | np.ndarray
) -> list[int]:
    """The tokens to write: the guesses that are kept, and one more from the target.

    `p_K1xV` are the target's probabilities where each guess stands, and where the one after them would; `q_KxV` those that the
    guesses were drawn from; `u_K1` uniform numbers from 0 to 1, one for each guess and one for the last token.
    """
    for i, x in enumerate(guesses_K):
        if u_K1[i] * q_KxV[i, x] >= p_K1xV[i, x]:  # not u < p/q
            return [*guesses_K[:i], pick(np.maximum(p_K1xV[i] - q_KxV[i], 0), u_K1[-1])]
    return [*guesses_K, pick(p_K1xV[-1], u_K1[-1])]


def pick(weights_V: np.ndarray, u: float) -> int:
    """The token at which the weights, added up one after the other, pass the share u of their sum."""
    upto_V = weights_V.cumsum()
    return int(upto_V.searchsorted(u * upto_V[-1], side="right"))


def tokens_per_pass(acceptance: float, ahead: int) -> float:
    """(1 − αᵞ⁺¹) / (1 − α), if each guess is kept with probability α (Leviathan et al. 2023, eq. 1). Raises: InputError."""
    alpha = positive("acceptance", acceptance, zero=True, most=1)
    return float(sum(alpha**k for k in range(whole("ahead", ahead, 0) + 1)))


def passes(agrees_L: Sequence[float], ahead: int) -> int:
    """How many passes a greedy text takes, if at each of its places it is known whether the draft's guess would be kept.

    No independence is supposed: `overlaps` at temperature 0 says it for a text that the target wrote alone. Raises: InputError.
    """
    at, count, ahead = 0, 0, whole("ahead", ahead, 0)
    while at < len(agrees_L):
        last = at + min(ahead, len(agrees_L) - at - 1)
        while at < last and agrees_L[at]:
            at += 1
        at, count = at + 1, count + 1
    return count


def speedup(tokens: float, ahead: int, cost: float, judging: float = 1.0) -> float:
    """How many times faster decoding gets if a pass writes so many `tokens`: tokens / (γc + judging).

    A guess takes `cost` times as long as a token of the target alone, and judging all of them `judging` times as long. With
    `tokens_per_pass` and a judging of 1 it is their theorem 3.8. Raises: InputError.
    """
    seconds = whole("ahead", ahead, 0) * positive("cost", cost, zero=True) + positive("judging", judging)
    return positive("tokens", tokens) / seconds


class Ngrams:
    """The cheapest draft: how often each token followed the last `order` ones in a text, mixed with shorter contexts.

    A context that was seen n times counts n / (n + 4), the rest goes to the context shorter by one. Raises: InputError for a
    table of more than 2^26 numbers.
    """

    def __init__(self, text_L: np.ndarray, vocab_size: int, order: int = 2):
        order = whole("order", order)
        if vocab_size ** (order + 1) > 2**26:
            raise InputError(
                f"order: expected a table of at most {2**26:,} numbers, got {vocab_size}^{order + 1}; take a lower order"
            )
        self.vocab_size, self.order = vocab_size, order
        text = np.asarray(text_L, np.int64)
        table = np.full((1, vocab_size), 1 / vocab_size, np.float32)
        for n in range(order + 1):
            place = sum(text[k : len(text) - n + k] * vocab_size ** (n - k) for k in range(n + 1))
            seen = np.bincount(place, minlength=vocab_size ** (n + 1)).astype(np.float32)
            seen = seen.reshape(
                -1, len(table), vocab_size
            )  # contexts that end alike stand at the same second place
            total = seen.sum(-1, keepdims=True) + 4
            seen += 4 * table
            seen /= total
            table = seen.reshape(-1, vocab_size)
        self.table = table

    def __call__(self, tokens_1xL: Tensor, end: int, count: int = 1) -> Tensor:
        """Logarithms of the probabilities after the last `count` of `end` tokens, (count, V)."""
        text = tokens_1xL[0, max(0, end - count - self.order + 1) : end].tolist()
        text = [0] * (count + self.order - 1 - len(text)) + text
        rows = [
            sum(x * self.vocab_size ** (self.order - 1 - k) for k, x in enumerate(text[i : i + self.order]))
            for i in range(count)
        ]
        return torch.from_numpy(np.log(self.table[rows]))


class Reader:
    """A model that reads a growing text with a cache, and again from where the text has changed."""

    def __init__(self, model: Transformer, length: int):
        self.model, self.cache, self.device = model, decode.Cache(model, 1, length), device_of(model)

    @torch.inference_mode()
    def __call__(self, tokens_1xL: Tensor, end: int, count: int = 1) -> Tensor:
        """Logits after the last `count` of `end` tokens, (count, V); these are read anew, all before them have not changed."""
        self.cache.used = min(self.cache.used, end - count)
        new = tokens_1xL[:, self.cache.used : end].to(self.device)
        return decode.forward(self.model, new, self.cache)[0, -count:]


@dataclass(frozen=True)
class Written:
    """A text, (1, P + new), the target's passes over it, and how many guesses were judged and kept."""

    tokens_1xL: Tensor
    passes: int
    judged: int
    kept: int

    @property
    def acceptance(self) -> float:
        return self.kept / max(1, self.judged)


@torch.inference_mode()
def speculate(
    target: Transformer,
    draft: Transformer | Ngrams,
    prompt_1xP: Tensor,
    new: int,
    ahead: int = 4,
    temperature: float = 0.0,
    seed: int = 0,
    accept: Callable[..., list[int]] = accept,
) -> Written:
    """`new` tokens after one prompt, as the target alone would write them, with a draft that guesses `ahead` tokens at a time.

    A temperature of 0 is greedy. Raises: InputError for more than one prompt, a draft of another vocabulary, or what either model
    cannot decode.
    """
    _check(target, draft, prompt_1xP, new, temperature)
    ahead, random = whole("ahead", ahead, 0), np.random.default_rng(seed)
    P = prompt_1xP.shape[1]
    text_L = np.zeros(P + new, np.int64)  # single numbers are written and read faster here
    text_L[:P] = prompt_1xP[0].tolist()
    tokens_1xL = torch.from_numpy(text_L)[None]  # the same memory
    judge, guess = (reads(model, P + new) for model in (target, draft))
    end, passes, judged, kept = P, 0, 0, 0
    while end < P + new:
        K = min(ahead, P + new - end - 1)
        q_KxV = np.zeros((K, target.config.vocab_size))
        for i in range(K):
            q_KxV[i] = chances(guess(tokens_1xL, end + i), temperature)[0]
            text_L[end + i] = pick(q_KxV[i], random.random())
        p_K1xV = chances(judge(tokens_1xL, end + K, K + 1), temperature)
        made = accept(p_K1xV, q_KxV, text_L[end : end + K].tolist(), random.random(K + 1))
        text_L[end : end + len(made)] = made
        end, passes = end + len(made), passes + 1
        kept, judged = kept + len(made) - 1, judged + min(len(made), K)
    return Written(tokens_1xL.to(prompt_1xP.device), passes, judged, kept)


@torch.inference_mode()
def alone(
    model: Transformer | Ngrams, prompt_1xP: Tensor, new: int, temperature: float = 0.0, seed: int = 0
) -> Tensor:
    """The same without a draft: the prompt and `new` tokens more, each drawn after one pass of the model, (1, P + new).

    Of a draft, this takes the time of its guesses. Raises: InputError as `speculate`.
    """
    _check(model, model, prompt_1xP, new, temperature)
    random, P = np.random.default_rng(seed), prompt_1xP.shape[1]
    text_L = np.zeros(P + new, np.int64)
    text_L[:P] = prompt_1xP[0].tolist()
    tokens_1xL, read = torch.from_numpy(text_L)[None], reads(model, P + new)
    for end in range(P, P + new):
        text_L[end] = pick(chances(read(tokens_1xL, end), temperature)[0], random.random())
    return tokens_1xL.to(prompt_1xP.device)


@torch.inference_mode()
def overlaps(
    target: Transformer, draft: Transformer | Ngrams, text_1xL: Tensor, temperature: float = 1.0
) -> np.ndarray:
    """Σ min(p, q) after each token of a text, (L,): the probability that a guess there is kept (their corollary 3.6).

    Raises: InputError as `speculate`.
    """
    _check(target, draft, text_1xL, 0, temperature)
    L = text_1xL.shape[1]
    p, q = (chances(reads(model, L)(text_1xL, L, L), temperature) for model in (target, draft))
    return np.minimum(p, q).sum(1)


def reads(model: Transformer | Ngrams, length: int) -> Callable[..., Tensor]:
    return model if isinstance(model, Ngrams) else Reader(model, length)


def chances(logits_KxV: Tensor, temperature: float) -> np.ndarray:
    """Probabilities at this temperature, (K, V), in 64 bits; at 0 all of it on the most probable token."""
    if temperature == 0:
        made = np.zeros(logits_KxV.shape)
        made[range(len(made)), logits_KxV.argmax(-1).tolist()] = 1
        return made
    logits = (
        logits_KxV.float().cpu().numpy().astype(np.float64)
    )  # of so few numbers numpy's calls take less time
    made = np.exp((logits - logits.max(-1, keepdims=True)) / temperature)
    return made / made.sum(-1, keepdims=True)


def _check(
    target: Transformer | Ngrams,
    draft: Transformer | Ngrams,
    tokens_1xL: Tensor,
    new: int,
    temperature: float,
) -> None:
    positive("temperature", temperature, zero=True, hint="0 is greedy")
    if tokens_1xL.ndim != 2 or len(tokens_1xL) != 1:
        raise InputError(
            f"prompt: expected one, (1, P), got shape {tuple(tokens_1xL.shape)}; texts of a batch would not grow alike"
        )
    own, theirs = (
        model.vocab_size if isinstance(model, Ngrams) else model.config.vocab_size
        for model in (target, draft)
    )
    if theirs != own:
        raise InputError(
            f"draft: expected the target's vocabulary of {own} tokens, got {theirs}; a guess is judged "
            "token by token, so both need one tokenizer"
        )
    for name, model in (("target", target), ("draft", draft)):
        if not isinstance(model, Ngrams):
            try:
                decode.check(model, tokens_1xL, new)
            except InputError as error:
                raise InputError(f"{name}: {error}") from None
