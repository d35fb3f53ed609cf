"""Text to token streams: byte and BPE tokenizers, the document-level split, packing, and deterministic
batches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from scalept_lab import outside
from scalept_lab.errors import InputError
from scalept_lab.runs import write_atomically

LARGEST = 65_536  # tokens: ids have 16 bits
TOKENIZER = 10**8  # bytes of its file
SEPARATOR = 0  # token between documents, in both tokenizers; it never occurs inside one


def utf8(text: str) -> bytes:
    """The UTF-8 bytes of a text; half a surrogate pair, which UTF-8 cannot hold, becomes a question mark."""
    return text.encode("utf-8", errors="replace")


def _whole(text: str) -> str:
    """The text that its UTF-8 bytes hold: the library takes no half of a surrogate pair."""
    return text if text.isascii() else utf8(text).decode()


class Tokenizer(Protocol):
    """What packing needs of a tokenizer. Token 0 is reserved for the document separator."""

    vocab_size: int

    def encode(self, text: str) -> np.ndarray: ...
    def decode(self, tokens: Iterable[int]) -> str: ...


class ByteTokenizer:
    """UTF-8 bytes as tokens: 256 of them, nothing to train, one token per byte (so nats per token are nats
    per byte)."""

    vocab_size = 256

    def encode(self, text: str) -> np.ndarray:
        """uint8 array of the UTF-8 bytes; NUL characters are dropped, byte 0 separates documents."""
        return np.frombuffer(utf8(text).replace(b"\0", b""), dtype=np.uint8)

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of the tokens; separators vanish, a character cut in half shows as U+FFFD."""
        return bytes(int(t) for t in tokens if t != SEPARATOR).decode("utf-8", errors="replace")


class BPETokenizer:
    """Byte-level byte-pair encoding (Sennrich et al. 2016, section 3.2) by the ``tokenizers`` library.
    Token 0 is the separator."""

    def __init__(self, inner) -> None:  # a tokenizers.Tokenizer
        inner.encode_special_tokens = True  # a "<|sep|>" in a text is text, not the end of a document
        self.inner = inner
        self.vocab_size: int = inner.get_vocab_size()

    def encode(self, text: str) -> np.ndarray:
        """uint16 array of token ids."""
        return np.array(self.inner.encode(_whole(text).replace("\0", "")).ids, dtype=np.uint16)

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of the tokens; separators vanish."""
        return self.inner.decode([int(t) for t in tokens if t != SEPARATOR])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer as the ``tokenizer.json`` that every Hugging Face tool reads."""
        write_atomically(Path(path), self.inner.to_str(pretty=True))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BPETokenizer:
        """Raises: InputError for a file that is missing, damaged, or no tokenizer of at most 65,536 tokens."""
        from tokenizers import Tokenizer as Inner

        with outside.opened(path, "a tokenizer (tokenizer.json)", TOKENIZER) as file:
            inner = Inner.from_str(file.read().decode("utf-8-sig"))
            if max(inner.get_vocab().values(), default=0) >= LARGEST:
                raise InputError(f"expected ids below {LARGEST:,}, got {max(inner.get_vocab().values()):,}")
            return cls(inner)


def train_bpe(texts: Iterable[str], vocab_size: int = 1024) -> BPETokenizer:
    """Train a byte-level BPE with ``vocab_size`` tokens: the separator, 256 bytes, and the merges. Needs
    257 < vocab_size <= 65536."""
    if not 257 < vocab_size <= LARGEST:
        raise InputError(
            f"vocab_size {vocab_size}: expected 258 to 65536 (the separator and 256 bytes come first; ids have 16 bits)"
        )
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, pre_tokenizers, trainers

    inner = Inner(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|sep|>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train_from_iterator(map(_whole, texts), trainer)
    return BPETokenizer(inner)


def on_heldout_side(identity: str, fraction: float = 0.05, salt: str = "scalept") -> bool:
    """Whether a document is held out: a hash of its identity, so adding documents never moves another
    across the line."""
    digest = hashlib.sha256(utf8(f"{salt}\0{identity}")).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def pack(texts: Sequence[str], tokenizer: Tokenizer, seed: int = 0) -> np.ndarray:
    """All documents in a seeded shuffle, each followed by the separator, as one 1-D stream (uint8 for
    bytes, else uint16)."""
    dtype = np.uint8 if tokenizer.vocab_size <= 256 else np.uint16
    separator = np.array([SEPARATOR], dtype=dtype)
    parts: list[np.ndarray] = []
    for index in np.random.default_rng(seed).permutation(len(texts)):
        parts += [tokenizer.encode(texts[index]).astype(dtype, copy=False), separator]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)


def scattered(tokens: np.ndarray, n: int, seed: int = 0, size: int = 1024) -> np.ndarray:
    """``n`` tokens of a stream, in pieces of ``size`` from everywhere in it, drawn by the seed; no piece twice.

    Raises InputError when the stream has fewer whole pieces than that takes.
    """
    rows = np.random.default_rng(seed).permutation(len(tokens) // size)[: -(-n // size)]
    if len(rows) * size < n or n < 0:
        raise InputError(f"n: expected 0 to {len(tokens) // size * size} tokens of this stream, got {n}")
    return np.concatenate([tokens[row * size : (row + 1) * size] for row in rows] or [tokens[:0]])[:n]


def window_count(tokens: np.ndarray, context: int) -> int:
    """How many disjoint windows of ``context`` inputs (and their shifted targets) the stream holds."""
    return max(0, (len(tokens) - 1) // context)


def batches(
    tokens: np.ndarray,
    *,
    batch: int,
    context: int,
    steps: int,
    seed: int,
    unique_tokens: int | None = None,
    start: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs (x_BxL, y_BxL) of int64, y is x shifted by one token, for the steps ``start`` to ``steps - 1``.

    The stream is cut into disjoint windows; an epoch visits each exactly once, in a permutation seeded by
    (seed, epoch). With ``unique_tokens`` only the first ``ceil(unique_tokens / context)`` windows of the
    seed's first permutation are used, over and over: the smaller set is part of the larger, so runs differ
    in how much they repeat and in nothing else. A run that goes on at step ``start`` sees what it would
    have seen without the break; nothing before is read. Raises InputError when the stream is shorter than
    one window, or has fewer windows than asked for, or ``start`` is not one of the steps (or their end).
    """
    if not 0 <= start <= steps:
        raise InputError(f"start: expected 0 to {steps}, the steps of the run, got {start}")
    windows = window_count(tokens, context)
    if windows == 0 or batch < 1 or context < 1:
        raise InputError(
            f"{len(tokens)} tokens give no window of {context} + 1; use a longer corpus or a shorter context"
        )
    flat = np.asarray(tokens)
    xs, ys = (
        flat[: windows * context].reshape(windows, context),
        flat[1 : windows * context + 1].reshape(windows, context),
    )
    first = np.random.default_rng([seed, 0]).permutation(windows)
    if unique_tokens is not None:
        unique = -(-unique_tokens // context)
        if not 1 <= unique <= windows:
            raise InputError(
                f"unique_tokens {unique_tokens}: expected 1 to {windows * context}, what this corpus holds"
            )
        first = first[:unique]
    return _draw(xs, ys, first, batch, range(start, steps), seed)


def _draw(xs, ys, first, batch, steps, seed) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Step k takes the windows k·batch to (k+1)·batch - 1 of all epochs, one after the other."""

    def permuted(epoch: int) -> np.ndarray:
        return first if epoch == 0 else first[np.random.default_rng([seed, epoch]).permutation(len(first))]

    epoch, at = divmod(steps.start * batch, len(first))
    order = permuted(epoch)
    for _ in steps:
        rows = order[at : at + batch]
        at += batch
        while len(rows) < batch:  # the epoch ended inside this batch: go on with the next permutation
            epoch += 1
            order = permuted(epoch)
            at = batch - len(rows)
            rows = np.concatenate([rows, order[:at]])
        yield xs[rows].astype(np.int64), ys[rows].astype(np.int64)


def eval_windows(heldout: np.ndarray, context: int, windows: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, y), each int64 of shape (windows, context): evenly spaced and disjoint, the same for every model;
    fewer when the stream is short."""
    available = window_count(heldout, context)
    if available == 0 or windows < 1:
        raise InputError(
            f"{len(heldout)} held-out tokens give no window of {context} + 1; use a longer corpus or a shorter context"
        )
    rows = np.linspace(0, available - 1, min(windows, available)).round().astype(np.int64)
    flat = np.asarray(heldout)
    index = rows[:, None] * context + np.arange(context + 1)
    both = flat[index].astype(np.int64)
    return both[:, :-1], both[:, 1:]


def plant_canary(tokens: np.ndarray, canary: np.ndarray, repetitions: int, seed: int = 0) -> np.ndarray:
    """A copy of the stream with ``canary`` written over it at ``repetitions`` random, non-overlapping
    places (same length).

    For memorisation studies (Carlini et al. 2019, "The Secret Sharer"): the stream stays as long, so
    compute and steps stay equal.
    """
    size = len(canary)
    slots = len(tokens) // size if size else 0
    if not size or not 0 <= repetitions <= slots:
        raise InputError(
            f"{repetitions} repetitions of a {size}-token canary do not fit into {len(tokens)} tokens"
        )
    out = np.array(tokens)
    for slot in np.random.default_rng(seed).choice(slots, size=repetitions, replace=False):
        out[slot * size : slot * size + size] = canary
    return out
