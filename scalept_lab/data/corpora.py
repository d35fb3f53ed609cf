"""From a corpus name to token streams on disk: collect, clean, deduplicate, split, tokenize, pack; built
once, then memory-mapped.

``prepare("python")`` is all that training needs. The second call reads three small headers and imports
neither ``datasets`` nor ``torch``, so that a hundred short runs pay for the corpus once.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import time
import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scalept_lab import folders, machine, outside, scratch
from scalept_lab.checks import whole
from scalept_lab.data import local, tokens, wheels
from scalept_lab.data.cards import data_card, describe
from scalept_lab.data.documents import CORPORA, HELDOUT, documents, split
from scalept_lab.errors import InputError

RECIPE = 2  # raised whenever the same sources would give other bytes; part of every cache key
OWN_RECIPE = 3  # the same for local files and the hub, which are read and cleaned by other rules than the built-in corpora
LANGUAGE_TOKENS = (8_000_000, 500_000)  # train, held out
CARD = "card_sha256"  # where a card has its own digest; its "sha256" is that of the tokens
Streams = tuple[np.ndarray, np.ndarray]

# sha256 of the byte-token streams when built from the pinned wheels: what everybody's run records should
# say.
FINGERPRINTS = {
    "python": "4c3cbecd2e5498e3ae3a1ab53494fd59d8171e06cd5acd4f1c181131d1e53787",
    "python-small": "3fbda08e933635089b9c658aa6d8d8482deb2a7560486fb73132d519b8f6c271",
    "python-raw": "d0ab7842c0cb15e7ffa2add03f95deae46aa4cae1ecc56db7770c9d57c62b9a1",
    "transformers": "05f69f37cf0c005c7db5474d8ba9913aa897499135ca4d2ff4b9494540ac445c",
    "transformers-raw": "364e76829ace50d4b4364250dbf903a982a0855b7e7c7efffb41936db24c1a0d",
    "language": "7c64bc323f2cd275b1b9082eb97f43d788325be88c7e925dd37d4950770a96bc",
}


@dataclass(frozen=True)
class Prepared:
    """A corpus ready for training. ``train`` and ``heldout`` are 1-D, uint8 or uint16, memory-mapped and
    read-only."""

    name: str
    train: np.ndarray
    heldout: np.ndarray
    vocab_size: int
    sha256: str  # of the token bytes of train, then heldout
    card: dict[str, Any]
    folder: Path

    def tokenizer(self) -> tokens.Tokenizer:
        """The tokenizer that made the streams, to encode a prompt or read a batch (the language is its
        own)."""
        if "language_seed" in self.card:
            from scalept_lab.data.language import Language

            return Language.named(self.card["name"])
        file = self.folder / "tokenizer.json"
        return tokens.BPETokenizer.load(file) if file.exists() else tokens.ByteTokenizer()


def fingerprint(train: np.ndarray, heldout: np.ndarray) -> str:
    """sha256 over the little-endian token bytes of both streams: equal exactly when two people hold the
    same corpus."""
    digest = hashlib.sha256()
    for stream in (train, heldout):
        little = np.ascontiguousarray(stream, dtype=stream.dtype.newbyteorder("<"))
        digest.update(f"{little.dtype.str}{len(little)}\0".encode())
        digest.update(little.data)
    return digest.hexdigest()


def prepare(name: str, cache: str | os.PathLike[str] | None = None, tokenizer: str = "bytes") -> Prepared:
    """The corpus as two token streams, built on the first call and memory-mapped afterwards.

    ``name``: one of ``CORPORA``, ``"language"``, ``"language/SEED"`` or ``"language/deep/SEED"`` (generated, of known
    entropy), a local file or folder (text, JSON, CSV, Parquet, Arrow), or a hub dataset (``"owner/name"`` or
    ``"owner/name:config"``). ``tokenizer``: ``"bytes"`` or ``"bpe-SIZE"``, trained on the training side
    only. The result is put in place by one rename, so a killed build leaves nothing half done and two
    processes may build at once. Raises InputError for a missing or empty path, an unreachable hub, or an
    unknown tokenizer.
    """
    kind, _, size = tokenizer.partition("-")
    if tokenizer != "bytes" and not (kind == "bpe" and size.isdigit()):
        raise InputError(f"tokenizer {tokenizer!r}: expected 'bytes' or 'bpe-SIZE', such as 'bpe-1024'")
    root = folders.cache(cache)
    if ready := kept(name, cache, tokenizer):
        return ready
    folder = root / "prepared" / _key(name, tokenizer)
    fallback = folder.with_name(folder.name + "-stdlib")
    # Within a day the index is not asked again for sources that it could not give.
    if (
        fallback.exists()
        and time.time() - fallback.stat().st_mtime < 86400
        and (ready := _load(name, fallback))
    ):
        warnings.warn(
            f"{name}: still the standard library in place of the pinned sources (delete {fallback} to try again)",
            stacklevel=2,
        )
        return ready
    started = time.perf_counter()
    if name.partition("/")[0] == "language":
        (train, heldout), card, inner = _language(name, tokenizer)
    else:
        (train, heldout), card, inner = _build(name, root, tokenizer)
    card |= {
        "name": name,
        "tokenizer": tokenizer,
        "vocab_size": inner.vocab_size,
        "train_tokens": len(train),
        "heldout_tokens": len(heldout),
        "sha256": fingerprint(train, heldout),
        "recipe": RECIPE,
        "build_seconds": round(time.perf_counter() - started, 2),
    }
    if card["origin"] == "stdlib fallback":
        folder = fallback
    _save(folder, (train, heldout), inner, card)
    del train, heldout  # mapped from the files from now on
    machine.give_back()
    ready = _load(name, folder)
    assert ready is not None
    return ready


def kept(name: str, cache: str | os.PathLike[str] | None = None, tokenizer: str = "bytes") -> Prepared | None:
    """The corpus as `prepare` gives it, if it lies whole in the cache; None otherwise. Nothing is built or fetched."""
    return _load(name, folders.cache(cache) / "prepared" / _key(name, tokenizer))


def _key(name: str, tokenizer: str) -> str:
    """Cache folder of a corpus: changes with the recipe, the pins, and the files behind a local path."""
    facts: list[Any] = [RECIPE, HELDOUT, tokenizer]
    label = name
    if name in CORPORA:
        facts += [name] + [[s, wheels.SOURCES[s].content_sha256] for s in CORPORA[name].sources]
        if name == "stdlib":
            import platform

            facts.append(platform.python_version())
    elif name.partition("/")[0] != "language" and local.is_path(name):
        files = local.local_files(name)
        facts += [OWN_RECIPE] + [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
        label = Path(name).stem
    elif name.partition("/")[0] == "language":
        facts.append(name)
    else:
        facts += [OWN_RECIPE, name]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    slug = "".join(c if c.isalnum() or c in "-_." else "-" for c in label)[:40] or "corpus"
    return f"{slug}-{tokenizer}-{digest}"


def _load(name: str, folder: Path, told: bool = True) -> Prepared | None:
    """What is kept in a folder, None where it is missing, or damaged, which is `told`: then it is built again."""
    if not folder.is_dir():
        return None
    try:
        place = folder / "card.json"
        card = outside.unmarked(place, outside.json_object(place, "the card of a corpus"), CARD, needed=False)
        vocab_size, sha256 = whole("vocab_size", card.get("vocab_size")), str(card["sha256"])
        files = tuple(folder / f"{side}.npy" for side in ("train", "heldout"))
        if not all(file.is_file() for file in files):  # a pipe would be waited for
            raise InputError("expected files of tokens, got others or none")
        states = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
        train, heldout = (np.load(file, mmap_mode="r") for file in files)
        if _fingerprint_of(states) != sha256:
            raise InputError("expected the tokens that its card names, got others")
        if (wanted := card.get("tokenizer_sha256")) and outside.file_sha256(
            folder / "tokenizer.json"
        ) != wanted:
            raise InputError("expected the tokenizer that its card names, got another")
    except Exception as error:  # what is damaged raises anything
        if told:
            warnings.warn(
                f"{name}: the copy in {folder} is damaged ({error}); it is built again", stacklevel=3
            )
        return None
    return Prepared(name, train, heldout, vocab_size, sha256, card, folder)


@functools.lru_cache(maxsize=64)
def _fingerprint_of(states: tuple[tuple[str, int, int], ...]) -> str:
    """`fingerprint` of two files, asked once for as long as they stay as they are: 24 MB take some hundredths of a second.

    They are read piece by piece: a memory map would leave all of them in memory.
    """
    digest = hashlib.sha256()
    for path, _, _ in states:
        about = np.load(path, mmap_mode="r")
        digest.update(f"{about.dtype.newbyteorder('<').str}{len(about)}\0".encode())
        with open(path, "rb") as file:
            file.seek(about.offset)
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def _save(folder: Path, streams: Streams, tokenizer: Any, card: dict[str, Any]) -> None:
    """All files under a temporary name, then one rename."""
    tmp = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    scratch.sweep(folder.parent, r"\..+-[0-9a-f]{12}(-stdlib)?-[0-9a-f]{8}")  # of builders that were killed
    try:
        tmp.mkdir(parents=True)
        for side, stream in zip(("train", "heldout"), streams, strict=True):
            np.save(tmp / f"{side}.npy", stream)
        if isinstance(tokenizer, tokens.BPETokenizer):
            tokenizer.save(tmp / "tokenizer.json")
            card = {**card, "tokenizer_sha256": outside.file_sha256(tmp / "tokenizer.json")}
        # as ASCII: a folder's name may hold bytes that are no character
        text = json.dumps(outside.marked(card, CARD), indent=1)
        (tmp / "card.json").write_text(text, encoding="utf-8")
        if card["origin"] == "stdlib fallback" or _load(card["name"], folder, told=False) is None:
            shutil.rmtree(folder, ignore_errors=True)  # a day old, or damaged
        os.rename(tmp, folder)
    except OSError as error:
        if (
            _load(card["name"], folder, told=False) is None
        ):  # else another process was faster; its files are the same
            with folders.writing(folder):
                raise error
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


def _build(name: str, root: Path, tokenizer: str) -> tuple[Streams, dict[str, Any], tokens.Tokenizer]:
    table, report, origin = documents(name, root)
    texts = table["text"].tolist()
    rows = split(texts, table["path"])
    if not all(rows):
        raise InputError(
            f"{name}: {len(texts)} documents left after cleaning; expected at least two, one of them to hold out"
        )
    train, heldout = ([texts[row] for row in side] for side in rows)
    inner: tokens.Tokenizer = tokens.ByteTokenizer()
    if tokenizer != "bytes":
        inner = tokens.train_bpe(train, int(tokenizer.removeprefix("bpe-")))
    streams = tokens.pack(train, inner, seed=0), tokens.pack(heldout, inner, seed=1)
    return streams, describe(table, rows[1], report, origin), inner


def _language(name: str, tokenizer: str) -> tuple[Streams, dict[str, Any], tokens.Tokenizer]:
    """Two independent samples of the language: there are no documents, so nothing can be on both sides."""
    from scalept_lab.data.language import Language

    language, kind = Language.named(name), name.partition("/")[0]
    if tokenizer != "bytes":
        raise InputError(f"{name}: its letters are its tokens; leave the tokenizer at 'bytes'")
    train, heldout = (language.sample(n, seed=side) for side, n in enumerate(LANGUAGE_TOKENS))
    total = sum(LANGUAGE_TOKENS)
    card: dict[str, Any] = {
        "origin": "generated",
        "documents": 0,
        "bytes": total,
        "cleaning": None,
        "sources": {kind: {"licence": "Apache-2.0", "bytes": total, "version": f"seed {language.seed}"}},
        "language_seed": language.seed,
        "entropy_rate": language.entropy_rate,
        "window_entropy": {str(context): language.window_entropy(context) for context in (32, 64, 128, 256)},
        "entropy_given": [language.entropy_given(k) for k in range(language.order + 1)],
    }
    return (train, heldout), card, language


if __name__ == "__main__":
    import sys

    Path(sys.argv[1]).write_text(data_card([prepare(n).card for n in FINGERPRINTS]), encoding="utf-8")
