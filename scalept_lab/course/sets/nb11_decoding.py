"""Exercises of notebook 11's part on decoding: a cache of keys and values, speculative decoding. The others are in `nb11`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from scalept_lab.course.answers import UNANSWERED, Verdict, build, judged, number, several
from scalept_lab.course.equal import difference
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.sets.pieces import NUMPY, skeleton, slips, source

if TYPE_CHECKING:
    from torch import Tensor

FIRST = 9  # number of the first exercise here


def _kits(name: str) -> Any:
    """A piece of the kit, which loads torch only when it is asked for."""
    from scalept_lab.compress import decode, speculative

    return getattr(decode if name == "attend" else speculative, name)


# --- attention over a cache -------------------------------------------------------------------------------------------


def attend(q, k, v, keys, values, used, table=None):
    """Attention of L new positions over themselves and the `used` positions before them.

    q             (B, H, L, K), queries of the new positions
    k, v          (B, G, L, K), their keys and values; query head h meets head h // (H/G) of these
    keys, values  (B, G, C, K), the cache: its first `used` positions are filled. Put the new ones behind them, in place
    table         cos and sin, each (C, K), a row for each position of the text; None: nothing is turned. Else
                  rotate(x, cos, sin) of `sl.model.transformer` turns queries and keys, with the rows of their positions
    Returns (B, H, L, K): softmax(q·k / √K) v, where each position sees all up to itself and none after it.
    """
    import torch

    from scalept_lab.model.transformer import rotate

    H, L, K = q.shape[1:]
    G, end = k.shape[1], used + L
    if table is not None:
        cos, sin = table[0][used:end], table[1][used:end]
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    keys[:, :, used:end] = k
    values[:, :, used:end] = v
    every_k = keys[:, :, :end].repeat_interleave(H // G, dim=1)
    every_v = values[:, :, :end].repeat_interleave(H // G, dim=1)
    scores = q @ every_k.transpose(-2, -1) / math.sqrt(K)
    position = torch.arange(used, end)[:, None]
    scores = scores.masked_fill(torch.arange(end) > position, -math.inf)
    return scores.softmax(-1) @ every_v


_WRITE = "    keys[:, :, used:end] = k\n    values[:, :, used:end] = v\n"
_ATTEND, _ATTEND_WRONG = slips(
    attend,
    ("table[0][used:end], table[1][used:end]", "table[0][:L], table[1][:L]", "anew in each piece",
     "positions are counted anew in each piece: the first new one stands at position `used` of the text."),
    (_WRITE, "    keys[:, :, :L] = k\n    values[:, :, :L] = v\n", "from the front",
     "the cache is overwritten from the front: new keys and values go behind the `used` ones that are there."),
    ("scores = scores.masked_fill(torch.arange(end) > position, -math.inf)", "scores = scores + 0", "inside the piece",
     "a position sees later ones inside the piece: with one new token there is none, with several the causal mask is needed."),
    ("position = torch.arange(used, end)[:, None]", "position = torch.arange(L)[:, None]", "hides the past",
     "the mask counts from the start of the piece, so that it hides the past: row i is position used + i."),
    ("torch.arange(end) > position", "torch.arange(end) > position - 1", "itself",
     "a position does not see itself: its own key is one of those it meets."),
    (_WRITE, "    at = max(used - 1, 0)\n    keys[:, :, at : at + L] = k\n    values[:, :, at : at + L] = v\n",
     "one place too early",
     "new keys go one place too early into the cache: `used` are filled, and places count from 0."),
    ("every_k = keys[:, :, :end].repeat_interleave(H // G, dim=1)", "every_k = keys[:, :, :end].repeat(1, H // G, 1, 1)",
     "neighbouring", "query heads are given the wrong keys: neighbouring ones share, head h meets h // (H/G), not h % G."),
    (" / math.sqrt(K)", "", "are not scaled", "the scores are not scaled: divide them by √K."),
)  # fmt: skip


@lru_cache
def _texts() -> list[tuple[str, tuple[Any, ...], list[int], Any]]:
    """(name, queries keys values of a whole text, its pieces, table)."""
    import torch

    from scalept_lab.model.transformer import rotary_table

    torch.manual_seed(11)
    table = rotary_table(16, 8)

    def text(H: int, G: int) -> tuple[Any, ...]:
        return tuple(torch.randn(2, heads, 12, 8) for heads in (H, G, G))

    return [
        ("one piece", text(4, 4), [12], None),
        ("one token at a time", text(4, 4), [1] * 12, table),
        ("pieces of 5, 1, 4 and 2", text(4, 4), [5, 1, 4, 2], table),
        ("the same, nothing turned", text(4, 4), [5, 1, 4, 2], None),
        ("four heads share two", text(4, 2), [6, 3, 3], table),
        ("all share one", text(4, 1), [3, 9], None),
    ]


def _read(answer: Callable, text: tuple[Any, ...], pieces: list[int], table: Any) -> Any:
    """The text read piece by piece with a cache that has more room than it needs."""
    import torch

    q, k, v = text
    keys, values = (torch.full((2, k.shape[1], 16, 8), 9.0) for _ in range(2))
    used, found = 0, []
    for length in pieces:
        here = slice(used, used + length)
        made = answer(*(part[:, :, here].clone() for part in (q, k, v)), keys, values, used, table)
        if made is None or made is ...:
            return None
        found.append(made)
        used += length
    return torch.cat(found, dim=2)


def _whole(text: tuple[Any, ...], table: Any) -> Tensor:
    """The oracle: causal attention of the whole text at once."""
    import torch.nn.functional as F

    from scalept_lab.model.transformer import rotate

    q, k, v = text
    if table is not None:
        here = table[0][: q.shape[2]], table[1][: q.shape[2]]
        q, k = rotate(q, *here), rotate(k, *here)
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def _judge_attend(answer: Callable) -> Verdict:
    found, rows = [], []
    for name, text, pieces, table in _texts():
        found.append(_read(answer, text, pieces, table))
        if found[-1] is None:
            return UNANSWERED
        off = difference(found[-1], _whole(text, table), 1e-4, 1e-5)
        rows.append((name, off or "agrees", not off))
    if all(ok for *_, ok in rows):
        return Verdict(
            True, "In pieces of any length it is the attention of the whole text.", rows=tuple(rows)
        )
    for wrong, said in _ATTEND:
        theirs = [_read(wrong, *case[1:]) for case in _texts()]
        if not any(difference(a, b, 1e-3, 1e-4) for a, b in zip(found, theirs, strict=True)):
            return Verdict(False, said, rows=tuple(rows))
    case, off, _ = next(row for row in rows if not row[2])
    return Verdict(False, f"{case}: {off}.", rows=tuple(rows))


# --- rejection sampling -----------------------------------------------------------------------------------------------


def accept(p, q, guesses, u):
    """The tokens to write: the guesses that are kept, and one more from the target.

    p        (K + 1, V), the target's probabilities where each guess stands, and where the token after them would
    q        (K, V), the draft's, which the guesses were drawn from
    guesses  K tokens. Guess x at place i is kept if u[i] < p[i, x] / q[i, x]; the first that is not ends the pass
    u        K + 1 uniform numbers from 0 to 1; the last draws the last token: the first at which the chances, added up from
             token 0 on, are above it. It is drawn from max(0, p − q) at the place of the refused guess, made to sum to 1; if all
             are kept, from the last row of p
    Returns a list of 1 to K + 1 tokens.
    """
    kept = []
    rest = p[len(guesses)]
    for i, x in enumerate(guesses):
        if u[i] >= p[i, x] / q[i, x]:
            rest = np.maximum(p[i] - q[i], 0)
            break
        kept.append(int(x))
    chances = rest / rest.sum()
    passed = np.cumsum(chances) <= u[-1]
    last = int(passed.sum())
    return [*kept, last]


def _planted(rows: int, seed: int) -> np.ndarray:
    """Probabilities in hundredths, none of them 0."""
    weights = np.random.default_rng(seed).multinomial(80, [0.1, 0.15, 0.2, 0.25, 0.3], size=rows) + 4
    return weights / 100


def _accept_cases() -> list[tuple[Any, ...]]:
    p, q = np.array([[0.1, 0.2, 0.3, 0.4]] * 4), np.array([[0.4, 0.3, 0.2, 0.1]] * 3)
    one_p, one_q = np.eye(4)[[1, 2, 3, 0]], np.eye(4)[[1, 2, 2]]
    return [
        (p, q, [3, 2, 3], [0.99, 0.99, 0.99, 0.65]),
        (p, q, [0, 2, 3], [0.15, 0.9, 0.9, 0.05]),
        (p, q, [2, 0, 3], [0.9, 0.3, 0.1, 0.2]),
        (p, q, [1, 0, 1], [0.6, 0.2, 0.8, 0.9]),
        (p, q, [0, 3, 2], [0.7, 0.1, 0.1, 0.6]),
        (one_p, one_q, [1, 2, 2], [0.5, 0.5, 0.5, 0.5]),
        (p[:1], q[:0], [], [0.15]),
        (_planted(6, 0), _planted(5, 1), [4, 3, 4, 2, 1], [0.2, 0.35, 0.1, 0.97, 0.5, 0.43]),
    ]


_ACCEPT, _ACCEPT_WRONG = slips(
    accept,
    ("if u[i] >= p[i, x] / q[i, x]:", "if p[i, x] < q[i, x]:", "only where",
     "you keep a guess only where the target finds it at least as probable as the draft; below that it is still kept with "
     "probability p/q."),
    ("rest = np.maximum(p[i] - q[i], 0)", "rest = p[i]", "twice over",
     "after a refusal you draw from p itself: tokens that the draft likes were already written when a guess was kept, and now "
     "come twice over. Draw from what p has more than q."),
    ("    return [*kept, last]", "    return [*kept, last] if len(kept) < len(guesses) else kept", "one token more",
     "where all guesses are kept the target's pass yields one token more, from its last row."),
    ("np.maximum(p[i] - q[i], 0)", "np.maximum(q[i] - p[i], 0)", "the other way round",
     "the rest is the other way round: it is what the target has more than the draft, max(0, p − q)."),
    ("chances = rest / rest.sum()", "chances = rest", "sum to 1", "what is left of p does not sum to 1: divide by its sum."),
    ("if u[i] >=", "if u[0] >=", "number of its own", "each guess has a uniform number of its own, u[i]."),
    ("            break\n", "            continue\n", "no later guess",
     "after the first refusal no later guess may be kept: they were guessed after a token that is not there."),
    ("last = int(passed.sum())", "last = int(chances.argmax())", "is drawn", "the last token is drawn with u[-1]; yours is "
     "always the most probable one."),
)  # fmt: skip


def _own_accept(p: Any, q: Any, guesses: Any, u: Any) -> list[int]:
    return [int(x) for x in _kits("accept")(p, q, guesses, u)]


# --- the loop ---------------------------------------------------------------------------------------------------------


def speculate(target, draft, text, new, ahead, seed):
    """Write `new` tokens after a text with a draft that guesses up to `ahead` tokens at a time.

    target, draft  functions of a list of L tokens that return (L, V): row i, the probabilities of the token after the i-th
    random         numpy's default_rng(seed).random(): one number to draw each guess with pick(q, u), and then, in this order, one
                   for each guess and one more for accept(p, q, guesses, u)
    Returns (the text with its new tokens, the number of times the target was called). The text grows by `new`, not by more: a
    pass yields a token more than it has guesses. accept and pick are `sl.compress.accept` and `sl.compress.pick`.
    """
    from scalept_lab.compress.speculative import accept, pick

    random = np.random.default_rng(seed)
    text, end, passes = list(text), len(text) + new, 0
    while len(text) < end:
        guesses: list[int] = []
        q = []
        for _ in range(min(ahead, end - len(text) - 1)):
            q.append(draft(text + guesses)[-1])
            guesses.append(pick(q[-1], random.random()))
        p = target(text + guesses)[-len(guesses) - 1 :]
        u = random.random(len(guesses) + 1)
        text += accept(p, np.array(q), guesses, u)
        passes += 1
    return text, passes


class _Chain:
    """A text in which each token depends on the two before it."""

    def __init__(self, seed: int, sharp: float = 1.5):
        logits = sharp * np.random.default_rng(seed).standard_normal((6, 6, 6))
        self.table = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    def __call__(self, tokens: list[int]) -> np.ndarray:
        before = [0, *tokens[:-1]]
        return self.table[before, list(tokens)]


def _mixed(seed: int, share: float) -> tuple[Any, Any]:
    target, draft = _Chain(seed), _Chain(seed + 1)
    draft.table = share * target.table + (1 - share) * draft.table
    return target, draft


def _loop_cases() -> list[tuple[Any, ...]]:
    good, poor = _mixed(0, 0.9), _mixed(2, 0.1)
    return [
        (*good, [1, 2], 12, 3, 0),
        (*poor, [3], 10, 4, 1),
        (*good, [0, 4, 5], 7, 1, 2),
        (*good, [2, 2], 6, 0, 3),
        (*poor, [5, 1, 0, 3], 1, 4, 4),
    ]


_LOOP, _LOOP_WRONG = slips(
    speculate,
    ("q.append(draft(text + guesses)[-1])", "q.append(draft(text)[-1])", "its own guesses",
     "the draft is asked about the text alone: each guess follows its own guesses before it, too."),
    ("[-len(guesses) - 1 :]", "[-len(guesses) - 2 : -1]", "one row too early",
     "the target's rows are taken one row too early: row i is about the token *after* the i-th, so that the last rows begin "
     "with that of the text's last token."),
    ("min(ahead, end - len(text) - 1)", "ahead", "grows by more", "the text grows by more than `new`: near the end guess "
     "fewer, and leave room for the token that accept adds."),
    ("min(ahead, end - len(text) - 1)", "min(ahead, end - len(text))", "room for the token",
     "the last pass has a guess too many: leave room for the token that accept adds."),
    ("        passes += 1\n", "        passes += 1 + len(guesses)\n", "one pass", "all guesses of a round are judged in one pass "
     "of the target: that is the point."),
    ("u = random.random(len(guesses) + 1)", "u = random.random(len(guesses) + 1)[::-1]", "another order",
     "the uniform numbers are used in another order: first one for each guess, then the one for the last token."),
)  # fmt: skip


def _own_loop(target: Any, draft: Any, text: Any, new: int, ahead: int, seed: int) -> tuple[list[int], int]:
    made, passes = speculate(target, draft, text, new, ahead, seed)
    return [int(x) for x in made], passes


# --- what it costs ----------------------------------------------------------------------------------------------------

_CACHE = 2 * 96 * 12288 * 2 * 32 * 2048 / 1e9  # keys and values, blocks, width, bytes, sequences, tokens
_ALPHA, _COST = 0.8, 0.1


def _speed(ahead: int, cost: float = _COST) -> float:
    return (1 - _ALPHA ** (ahead + 1)) / (1 - _ALPHA) / (ahead * cost + 1)


_BEST = max(range(1, 30), key=_speed)

EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        f"11.{FIRST}",
        "Write attend(q, k, v, keys, values, used, table): attention of one or several new positions over a cache that holds the "
        "keys and values of those before. Put the new ones into the cache, in place.",
        judged(_judge_attend, wanted="in pieces of any length, the causal attention of the whole text, to 1e-5"),
        (
            "Three steps: turn queries and keys by their positions, put keys and values into the cache, attend over all that is "
            "filled. Which positions of the text are the new ones?",
            "A piece of several tokens needs a mask of L rows and used + L columns. What may row i see? And what does the mask "
            "look like for L = 1?",
            "Row i is position used + i: hide the columns above that. Heads that share: repeat_interleave(H // G, dim=1) brings "
            "keys and values to H heads.",
        ),
        source(attend, "import math\n\n\n"),
        kind="build",
        minutes=18,
        difficulty=3,
        wrong=_ATTEND_WRONG,
        skeleton=skeleton(attend),
        own=lambda: _kits("attend"),
        placeholder=lambda q, k, v, keys, values, used, table=None: ...,
    ),
    Exercise(
        f"11.{FIRST + 1}",
        "GPT-3 has 96 blocks of width 12,288, with 96 heads. How many GB (10^9 bytes) does the cache take for 32 sequences of "
        "2,048 tokens in fp16? And how many if all heads share 8 heads of keys and values?",
        several(
            own=number(
                _CACHE,
                rel=0.01,
                diagnoses=(
                    (_CACHE / 2, "keys *and* values are kept."),
                    (2 * _CACHE, "a number in fp16 has 2 bytes."),
                    (_CACHE / 32, "that is one sequence."),
                    (_CACHE * 1e9 / 2**30, "that is in GiB (2^30 bytes); the question asks for GB (10^9)."),
                    (_CACHE / 96, "that is one block."),
                ),
            ),
            shared=number(
                _CACHE / 12,
                rel=0.01,
                diagnoses=(
                    (_CACHE / 8, "8 heads are not an eighth of 96."),
                    (_CACHE / 96, "that would be one shared head."),
                    (_CACHE / 12 * 1e9 / 2**30, "that is in GiB (2^30 bytes); the question asks for GB (10^9)."),
                ),
            ),
        ),
        (
            "How many numbers does one token leave in one block?",
            "Twice the width; then blocks, tokens, sequences, bytes of a number.",
            "With shared heads the width of keys and values is the number of their heads times the size of a head, which stays.",
        ),
        "numbers = 2 * 96 * 12288 * 32 * 2048\nown = numbers * 2 / 1e9\nanswer = {'own': own, 'shared': own * 8 / 96}",
        kind="compute",
        minutes=5,
        difficulty=2,
        wrong=(
            ({"own": _CACHE / 2, "shared": _CACHE / 12}, "keys *and* values"),
            ({"own": _CACHE * 1e9 / 2**30, "shared": _CACHE / 12}, "GiB"),
            ({"own": _CACHE, "shared": _CACHE / 8}, "an eighth"),
        ),
    ),
    Exercise(
        f"11.{FIRST + 2}",
        "Write accept(p, q, guesses, u): which guesses of the draft are kept, and the one token that the target adds.",
        build(
            _own_accept,
            _accept_cases,
            names=["all kept", "kept below q, then all", "the second refused", "kept, refused", "the first refused", "greedy",
                   "no guess", "five guesses"],
            diagnoses=_ACCEPT,
            right="The kit's speculative decoding can use it as it is.",
        ),
        (
            "Go through the guesses in order, and stop at the first that is refused. What is left to draw from depends on "
            "whether there was one.",
            "Refused: what the target has more than the draft at that place. None refused: the target's last row.",
            "To draw with one uniform number: add the chances up (cumsum), and count how many of the sums it has passed.",
        ),
        source(accept, NUMPY),
        kind="build",
        minutes=15,
        difficulty=3,
        wrong=_ACCEPT_WRONG,
        skeleton=skeleton(accept),
        own=lambda: _kits("accept"),
    ),
    Exercise(
        f"11.{FIRST + 3}",
        "Write speculate(target, draft, text, new, ahead, seed): the loop of guessing, judging and writing.",
        build(
            _own_loop,
            _loop_cases,
            names=["a good draft", "a poor draft", "one guess at a time", "no guesses", "one token"],
            diagnoses=_LOOP,
            right="It writes with the target's distribution, whatever the draft.",
        ),
        (
            "A round: guess one token after the other, ask the target once about text and guesses together, accept.",
            "A round of K guesses writes at most K + 1 tokens. How many guesses may it have, so that the text does not "
            "grow too long?",
            "The target's rows that are needed are its last K + 1: the first of them follows the text's last token.",
        ),
        source(speculate, NUMPY),
        kind="build",
        minutes=15,
        difficulty=3,
        wrong=_LOOP_WRONG,
        skeleton=skeleton(speculate),
        own=lambda: speculate,
    ),
    Exercise(
        f"11.{FIRST + 4}",
        "A draft is accepted with probability 0.8, and a guess costs a tenth of a pass of the target. How many guesses ahead "
        "give the largest speed-up by the formula? And with a dearer draft, accepted as often: from which cost ratio c on does "
        "no number of guesses pay?",
        several(
            ahead=number(
                float(_BEST),
                rel=1e-6,
                diagnoses=(
                    (_BEST + 1.0, "one further, the speed-up falls already."),
                    (_BEST - 1.0, "one more still helps a little."),
                    (29.0, "each guess costs time, also one that is never reached."),
                ),
            ),
            limit=number(
                _ALPHA,
                rel=0.01,
                diagnoses=(
                    (1.0, "at c just below 1 a guess saves less than it costs, since it is not always kept."),
                    (0.2, "that is the share of guesses that are refused."),
                    (_COST, "that is the cost of the cheap draft."),
                ),
            ),
        ),
        (
            "Compute the formula for 1, 2, 3, … guesses, until it falls.",
            "For the limit look at one guess: when is it worth its time? Further guesses are kept more rarely at the same price.",
            "With one guess the speed-up is (1 + α) / (1 + c). Set it to 1.",
        ),
        "speed = {g: (1 - 0.8 ** (g + 1)) / 0.2 / (0.1 * g + 1) for g in range(1, 30)}\n"
        "answer = {'ahead': max(speed, key=speed.get), 'limit': 0.8}",
        kind="design",
        minutes=6,
        difficulty=3,
        wrong=(
            ({"ahead": 29, "limit": 0.8}, "each guess costs time"),
            ({"ahead": _BEST, "limit": 1.0}, "not always kept"),
            ({"ahead": _BEST, "limit": 0.2}, "refused"),
        ),
    ),
)  # fmt: skip
