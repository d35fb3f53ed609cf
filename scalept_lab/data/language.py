"""A generated language whose entropy rate is known exactly, so that a fitted irreducible loss ``E`` can be
held against the truth.

A Markov chain over letters, of order ``k``, built like a back-off model: every text of ``k`` letters (a
*state*) owns 256 slots, each holding one letter, and the next letter is drawn from them at random. Some
slots belong to every letter alike (noise), some are shared by all states that end in the same letter, some
by those that end in the same two letters, and so on. The deeper the level, the more states there are to
learn and the less each is worth; letters have Zipf frequencies, so states are of very unequal use. A
learner always has something left to learn, a little rarer than what it knows: this is what makes its loss
fall like a power law.

The chain is irreducible and aperiodic (noise reaches every letter from every state), so it has one
stationary distribution pi, and

    h = sum over states s of  pi(s) H(next letter | s)          (nats per token)

is the entropy rate (Cover and Thomas, Elements of Information Theory, section 4.2): no model whatever does
better on average. A model that sees a window of L tokens lacks the letters before it for its first
predictions; :meth:`Language.window_entropy` counts that in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from scalept_lab.checks import whole
from scalept_lab.errors import InputError

SLOTS = 256
# A language far from learned at this kit's budgets: three levels deep, most of its worth in the last two. Small models stay
# 10 % and more above its floor, where they come within 2 % of that of the plain one.
DEEP: dict[str, Any] = {"slots": (40, 80, 72, 64), "favourites": (6, 3, 2), "zipf": 1.2}
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Language:
    """The language that ``seed`` draws. Tokens are 0 … letters-1, written a … z, then A … Z.

    Args:
        seed: equal seeds and sizes give equal languages.
        letters: size of the alphabet (2 to 52).
        slots: of the 256 slots, how many belong to the noise (a multiple of ``letters``), to the last letter,
            to the last two, …; the order of the chain is ``len(slots) - 1``.
        favourites: among how many letters the slots of level 1, 2, … are shared out, each getting half of
            its predecessor's.
        zipf: exponent of the letter frequencies from which favourites are drawn.

    Attributes:
        entropy_rate: h in nats per token.
        P: next-letter probabilities, shape (letters**order, letters); a state's row number reads its letters
            as digits, oldest first.
        pi: stationary probabilities of the states.

    Raises InputError when the sizes do not fit together.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        letters: int = 40,
        slots: tuple[int, ...] = (80, 102, 74),
        favourites: tuple[int, ...] = (6, 3),
        zipf: float = 1.5,
    ) -> None:
        order = len(slots) - 1
        if not (
            2 <= letters <= len(ALPHABET)
            and order >= 1
            and len(favourites) == order
            and letters**order <= 2**17
        ):
            raise InputError(
                "a language needs 2 to 52 letters, one number of favourites per level, and at most 131072 states"
            )
        if sum(slots) != SLOTS or min(slots) < 1 or slots[0] % letters:
            raise InputError(
                f"slots {slots}: expected positive numbers with the sum {SLOTS}, the first a multiple of {letters}"
            )
        self.seed, self.order, self.vocab_size = int(seed), order, letters
        # Only rng.random() is used: of numpy's generators it is the stream least likely to change between
        # versions.
        rng = np.random.default_rng([self.seed, 2718])
        frequency = np.cumsum(np.arange(1, letters + 1.0) ** -zipf)
        states = np.arange(letters**order)
        self._slots = np.empty((len(states), SLOTS), np.uint8)
        self._slots[:, : slots[0]] = np.arange(slots[0]) % letters
        at = slots[0]
        for level in range(1, order + 1):
            likes = np.searchsorted(
                frequency / frequency[-1], rng.random((letters**level, favourites[level - 1])), side="right"
            )
            weight = 0.5 ** np.arange(favourites[level - 1])
            ends = np.round(np.cumsum(weight) / weight.sum() * slots[level]).astype(int)
            shared = np.repeat(np.minimum(likes, letters - 1), np.diff(ends, prepend=0), axis=1)
            self._slots[:, at : at + slots[level]] = shared[states % letters**level]
            at += slots[level]
        counts = np.bincount(
            (states[:, None] * letters + self._slots).ravel(), minlength=len(states) * letters
        )
        self.P = counts.reshape(len(states), letters) / SLOTS
        self.pi = self._stationary()
        self.entropy_rate = self.entropy_given(order)

    @classmethod
    def named(cls, name: str) -> Language:
        """The language of a corpus: "language", "language/SEED", or "language/deep/SEED". Raises: InputError for another name."""
        kind, _, rest = name.partition("/")
        deep = rest.startswith("deep/")
        seed = rest.removeprefix("deep/")
        if kind != "language" or (
            name != "language" and not (seed.isascii() and seed.isdigit() and len(seed) < 19)
        ):
            raise InputError(
                f"{name}: expected 'language', 'language/SEED' or 'language/deep/SEED' with a whole number, such as 'language/3'"
            )
        return cls(int(seed or 0), **(DEEP if deep else {}))

    def _stationary(self) -> np.ndarray:
        pi = np.full(len(self.P), 1 / len(self.P))
        for _ in range(10_000):  # power iteration; noise makes it contract, some 50 rounds do
            # forget the oldest letter, append the new one
            after = (pi[:, None] * self.P).reshape(self.vocab_size, -1).sum(0)
            if np.abs(after - pi).sum() < 1e-14:
                break
            pi = after
        return after / after.sum()

    def entropy_given(self, k: int) -> float:
        """Exact entropy of a letter given the ``k`` before it: what a perfect k-th order model reaches. ``k
        >= order`` gives h."""
        k = whole("k", k, 0)
        joint = self._joint(min(k, self.order) + 1)
        context = joint.reshape(-1, self.vocab_size).sum(1, keepdims=True)
        p = np.divide(
            joint.reshape(-1, self.vocab_size),
            context,
            out=np.ones((len(context), self.vocab_size)),
            where=context > 0,
        )
        return float(-(joint * np.log(np.where(p > 0, p, 1)).ravel()).sum())

    def _joint(self, n: int) -> np.ndarray:
        """Stationary probabilities of all texts of ``n <= order + 1`` letters."""
        full = (self.pi[:, None] * self.P).ravel()
        return full.reshape(-1, self.vocab_size**n).sum(0)

    # -------------------------------------------------------- text

    def sample(self, n_tokens: int, seed: int = 0) -> np.ndarray:
        """uint8 array of ``n_tokens`` tokens of an endless text, about 0.15 s per million."""
        n_tokens = whole("n_tokens", n_tokens)
        burn_in = 200  # the start is forgotten to within rounding
        draws = (
            (np.random.default_rng([self.seed, 3141, seed]).random(n_tokens + burn_in) * SLOTS)
            .astype(np.uint8)
            .tobytes()
        )
        slots, size, states, state = self._slots.tobytes(), self.vocab_size, len(self.P), 0
        text = bytearray(n_tokens + burn_in)
        for i, draw in enumerate(draws):  # one look-up per token: a chain is sequential
            text[i] = letter = slots[state << 8 | draw]
            state = (state * size + letter) % states
        return np.frombuffer(bytes(text), np.uint8)[burn_in:]

    def decode(self, tokens: Iterable[int]) -> str:
        """The tokens as letters."""
        return "".join(ALPHABET[int(t)] for t in tokens)

    def encode(self, text: str) -> np.ndarray:
        """The tokens of a text; raises InputError for a character that is not one of the language's
        letters."""
        letters = ALPHABET[: self.vocab_size]
        if strange := [c for c in text if c not in letters]:
            raise InputError(f"{strange[0]!r}: this language is written with the letters {letters} alone")
        return np.array([letters.index(c) for c in text], dtype=np.uint8)

    # -------------------------------------------------------- what is irreducible

    def _losses(self, text_BxT: np.ndarray) -> np.ndarray:
        """-log P(token t | the tokens before it in its row), shape (B, T), exact at the start of the rows
        too."""
        text = np.asarray(text_BxT, dtype=np.int64)
        if text.size and not 0 <= text.min() <= text.max() < self.vocab_size:
            raise InputError(
                f"tokens from {text.min()} to {text.max()}: not text of a language of {self.vocab_size} letters"
            )
        nats = np.empty(text.shape)
        for t in range(min(self.order, text.shape[1])):
            joint, before = self._joint(t + 1), self._joint(t) if t else np.ones(1)
            code = self._code(text[:, : t + 1])
            nats[:, t] = np.log(before[code // self.vocab_size]) - np.log(joint[code])
        states = sum(
            text[:, j : text.shape[1] - self.order + j] * self.vocab_size ** (self.order - 1 - j)
            for j in range(self.order)
        )
        nats[:, self.order :] = -np.log(self.P[states, text[:, self.order :]])
        return nats

    def _code(self, text_BxT: np.ndarray) -> np.ndarray:
        return text_BxT @ self.vocab_size ** np.arange(text_BxT.shape[1])[::-1]

    def window_losses(self, x_BxL: np.ndarray, y_BxL: np.ndarray) -> np.ndarray:
        """Exact loss of the best possible predictor on these very windows, shape (B,), nats per token: the
        floor of every model.

        It knows the language and sees the window from ``x[:, 0]`` on, nothing before it.
        """
        return self._losses(np.concatenate([x_BxL, y_BxL[:, -1:]], axis=1))[:, 1:].mean(1)

    def window_entropy(self, context: int) -> float:
        """Expected value of :meth:`window_losses` for windows of ``context`` tokens, in closed form: the
        irreducible loss at that context.

        The t-th prediction of a window knows t letters, so the mean is over ``entropy_given(min(t,
        order))`` for t = 1 … context.
        """
        context = whole("context", context)
        return float(
            np.mean(
                [self.entropy_given(min(t, self.order)) for t in range(1, min(context, self.order) + 1)]
                + [self.entropy_rate] * max(0, context - self.order)
            )
        )
