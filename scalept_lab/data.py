"""From a corpus name to token streams on disk: collect, clean, deduplicate, split, tokenize, pack; built
once, then memory-mapped.

``prepare("python")`` is all that training needs. The second call reads three small headers and imports
neither ``datasets`` nor ``torch``, so that a hundred short runs pay for the corpus once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalept_lab import corpus, tokens
from scalept_lab.errors import InputError

if TYPE_CHECKING:
    from scalept_lab.clean import CleaningReport

RECIPE = 1  # raised whenever the same sources would give other bytes; part of every cache key
HELDOUT = 0.05
DEFAULT_SOURCES = ("mpmath", "networkx", "pygments", "sympy")


@dataclass(frozen=True)
class Recipe:
    """A built-in corpus: its sources, and whether it is cleaned."""

    sources: tuple[str, ...]
    cleaned: bool
    about: str


CORPORA: dict[str, Recipe] = {
    "python": Recipe(
        DEFAULT_SOURCES,
        True,
        "Python sources of four scientific packages, filtered and deduplicated; the default",
    ),
    "python-small": Recipe(
        ("mpmath", "networkx", "pygments"), True, "the same without sympy: a third of the size"
    ),
    "python-raw": Recipe(
        DEFAULT_SOURCES, False, "the files of 'python' as they come: nothing filtered, nothing deduplicated"
    ),
    "transformers": Recipe(
        ("transformers",), True, "the transformers library, deduplicated: its model files are near copies"
    ),
    "transformers-raw": Recipe(("transformers",), False, "the transformers library as it comes"),
    "stdlib": Recipe((), True, "the running interpreter's standard library; differs between Python versions"),
}

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
            from scalept_lab.language import Language

            return Language(self.card["language_seed"])
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


def split(
    texts: Sequence[str], identities: Sequence[str], heldout: float = HELDOUT
) -> tuple[list[int], list[int]]:
    """Row numbers of the training and of the held-out documents, decided by a hash of each document's
    identity (its path)."""
    sides: tuple[list[int], list[int]] = ([], [])
    for row, identity in enumerate(identities):
        sides[tokens.on_heldout_side(identity, heldout)].append(row)
    if (
        texts and not sides[1] and len(texts) > 1
    ):  # a handful of documents: hold the one out whose hash comes first
        last = min(
            sides[0], key=lambda r: hashlib.sha256(identities[r].encode("utf-8", errors="replace")).digest()
        )
        sides[0].remove(last)
        sides[1].append(last)
    return sides


def _key(name: str, tokenizer: str) -> str:
    """Cache folder of a corpus: changes with the recipe, the pins, and the files behind a local path."""
    facts: list[Any] = [RECIPE, HELDOUT, tokenizer]
    label = name
    if name in CORPORA:
        facts += [name] + [[s, corpus.SOURCES[s].content_sha256] for s in CORPORA[name].sources]
        if name == "stdlib":
            import platform

            facts.append(platform.python_version())
    elif name.partition("/")[0] != "language" and corpus.is_path(name):
        files = corpus.local_files(name)
        facts += [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
        label = Path(name).stem
    else:
        facts.append(name)
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    slug = "".join(c if c.isalnum() or c in "-_." else "-" for c in label)[:40] or "corpus"
    return f"{slug}-{tokenizer}-{digest}"


def _load(name: str, folder: Path) -> Prepared | None:
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        train, heldout = (np.load(folder / f"{side}.npy", mmap_mode="r") for side in ("train", "heldout"))
    except (OSError, ValueError, EOFError):  # not there, or damaged: built again
        return None
    return Prepared(name, train, heldout, card["vocab_size"], card["sha256"], card, folder)


def prepare(name: str, cache: str | os.PathLike[str] | None = None, tokenizer: str = "bytes") -> Prepared:
    """The corpus as two token streams, built on the first call and memory-mapped afterwards.

    ``name``: one of ``CORPORA``, ``"language"`` or ``"language/SEED"`` (generated, of known entropy), a
    local file or folder (text, JSONL, Parquet), or a hub dataset (``"owner/name"`` or
    ``"owner/name:config"``). ``tokenizer``: ``"bytes"`` or ``"bpe-SIZE"``, trained on the training side
    only. The result is put in place by one rename, so a killed build leaves nothing half done and two
    processes may build at once. Raises InputError for a missing or empty path, an unreachable hub, or an
    unknown tokenizer.
    """
    kind, _, size = tokenizer.partition("-")
    if tokenizer != "bytes" and not (kind == "bpe" and size.isdigit()):
        raise InputError(f"tokenizer {tokenizer!r}: expected 'bytes' or 'bpe-SIZE', such as 'bpe-1024'")
    root = corpus.cache_dir(cache)
    folder = root / "prepared" / _key(name, tokenizer)
    fallback = folder.with_name(folder.name + "-stdlib")
    ready = _load(name, folder)
    if ready is None and fallback.exists() and time.time() - fallback.stat().st_mtime < 86400:
        ready = _load(name, fallback)  # within a day the index is not asked again
        if ready is not None:
            warnings.warn(
                f"{name}: still the standard library in place of the pinned sources (delete {fallback} to try again)",
                stacklevel=2,
            )
    if ready is not None:
        return ready
    started = time.perf_counter()
    if name.partition("/")[0] == "language":
        streams, card, inner = _language(name, tokenizer)
    else:
        streams, card, inner = _build(name, root, tokenizer)
        if card["origin"] == "stdlib fallback":
            folder = fallback
    train, heldout = streams
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
    folder.parent.mkdir(parents=True, exist_ok=True)
    tmp = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        tmp.mkdir()
        np.save(tmp / "train.npy", train)
        np.save(tmp / "heldout.npy", heldout)
        if isinstance(inner, tokens.BPETokenizer):
            inner.save(tmp / "tokenizer.json")
        (tmp / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
        if folder.exists() and (folder == fallback or _load(name, folder) is None):  # stale or damaged
            shutil.rmtree(folder, ignore_errors=True)
        os.rename(tmp, folder)
    except OSError:
        if _load(name, folder) is None:  # otherwise another process was faster; its files are the same
            raise
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    ready = _load(name, folder)
    assert ready is not None
    return ready


Streams = tuple[np.ndarray, np.ndarray]


def _build(name: str, root: Path, tokenizer: str) -> tuple[Streams, dict[str, Any], Any]:
    clock = time.perf_counter
    marks = [clock()]
    dataset, report, origin = documents(name, root)
    marks.append(clock())
    texts, paths = list(dataset["text"]), list(dataset["path"])
    rows = split(texts, paths)
    if not texts or not rows[1]:
        raise InputError(
            f"{name}: {len(texts)} documents left after cleaning; expected at least two, one of them to hold out"
        )
    sides = [[texts[i] for i in side] for side in rows]
    inner = tokens.ByteTokenizer() if tokenizer == "bytes" else tokens.train_bpe(sides[0], int(tokenizer[4:]))
    marks.append(clock())
    streams = tokens.pack(sides[0], inner, seed=0), tokens.pack(sides[1], inner, seed=1)
    marks.append(clock())
    packages = list(dataset["package"])
    licences = dict(zip(packages, dataset["licence"], strict=True))
    sizes = [len(t.encode("utf-8", errors="replace")) for t in texts]
    out = set(rows[1])
    card: dict[str, Any] = {
        "origin": origin,
        "documents": len(texts),
        "train_documents": len(rows[0]),
        "heldout_documents": len(rows[1]),
        "bytes": sum(sizes),
        "sources": {
            p: {
                "licence": licences[p],
                "documents": packages.count(p),
                "bytes": sum(s for s, q in zip(sizes, packages, strict=True) if q == p),
                "heldout_bytes": sum(sizes[i] for i in out if packages[i] == p),
                **(
                    {"version": corpus.SOURCES[p].version, "wheel_sha256": corpus.SOURCES[p].wheel_sha256}
                    if p in corpus.SOURCES
                    else {}
                ),
            }
            for p in sorted(set(packages))
        },
        "cleaning": report.summary() if report else None,
        "stage_seconds": {
            stage: round(b - a, 2)
            for stage, a, b in zip(
                ("collect and clean", "split and tokenizer", "encode and pack"),
                marks,
                marks[1:],
                strict=False,
            )
        },
    }
    return streams, card, inner


def documents(
    name: str, cache: str | os.PathLike[str] | None = None, progress: bool = True
) -> tuple[Any, CleaningReport | None, str]:
    """(dataset, cleaning report or None, origin) of a corpus, before splitting: what notebooks look
    into."""
    from scalept_lab import clean

    if name in CORPORA:
        recipe = CORPORA[name]
        dataset = corpus.collect(recipe.sources, cache) if recipe.sources else corpus.collect_stdlib()
        fell_back = bool(recipe.sources) and "stdlib" in dataset.unique("package")
        origin = (
            "stdlib fallback" if fell_back else "standard library" if not recipe.sources else "pinned wheels"
        )
        if not recipe.cleaned:
            return dataset, None, origin
        return *clean.clean(dataset, progress=progress), origin
    dataset = corpus.collect_from(name, cache=cache)
    local = corpus.is_path(name)
    rules = (
        clean.CODE_RULES
        if local and all(p.partition("#")[0].endswith(".py") for p in dataset["path"])
        else clean.PROSE_RULES
    )
    return *clean.clean(dataset, rules=rules, progress=progress), "local files" if local else "hub"


LANGUAGE_TOKENS = (8_000_000, 500_000)  # train, held out


def _language(name: str, tokenizer: str) -> tuple[Streams, dict[str, Any], Any]:
    """Two independent samples of the language: there are no documents, so nothing can be on both sides."""
    from scalept_lab.language import Language

    kind, _, seed = name.partition("/")
    if seed and not seed.isdigit():
        raise InputError(
            f"{name}: expected 'language' or 'language/SEED' with a whole number, such as 'language/3'"
        )
    if tokenizer != "bytes":
        raise InputError(f"{name}: its letters are its tokens; leave the tokenizer at 'bytes'")
    language = Language(int(seed or 0))
    streams = tuple(language.sample(n, seed=side) for side, n in enumerate(LANGUAGE_TOKENS))
    card: dict[str, Any] = {
        "origin": "generated",
        "documents": 0,
        "bytes": sum(LANGUAGE_TOKENS),
        "cleaning": None,
        "sources": {
            kind: {"licence": "Apache-2.0", "bytes": sum(LANGUAGE_TOKENS), "version": f"seed {language.seed}"}
        },
        "language_seed": language.seed,
        "entropy_rate": language.entropy_rate,
        "window_entropy": {str(context): language.window_entropy(context) for context in (32, 64, 128, 256)},
        "entropy_given": [language.entropy_given(k) for k in range(language.order + 1)],
    }
    return (streams[0], streams[1]), card, language


def data_card(cards: Sequence[dict[str, Any]]) -> str:
    """The Markdown of data/README.md from prepared corpora's cards: what each holds, from where, under
    which licence."""
    lines = [
        "# Data cards",
        "",
        "Written by `python -m scalept_lab.data data/README.md`; do not edit by hand. None of the text is in the",
        "repository: it is built from the pinned wheels on first use (read, never imported or executed) and is the",
        "same bytes on every machine, which the fingerprint proves. Tokens are bytes; byte 0 ends a document; a hash",
        "of its path puts each document on one side.",
        "",
        "## Sources",
        "",
        "| source | licence | wheel | sha256 of the wheel | sha256 of the selected files |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {s.package} {s.version} | {s.licence} | `{s.wheel}` | `{s.wheel_sha256}` | `{s.content_sha256}` |"
        for s in corpus.SOURCES.values()
    ]
    lines += [
        "",
        "Test files are left out. Where a pinned package is not installed and its wheel cannot be fetched, the",
        "interpreter's standard library (PSF-2.0) serves instead; the card and a warning say so, and its",
        "fingerprint is another.",
        "",
        "## Corpora",
        "",
        "| corpus | documents | train tokens | held-out tokens | fingerprint (sha256) |",
        "|---|--:|--:|--:|---|",
    ]
    lines += [
        f"| `{c['name']}` | {c['documents'] or 'endless'} | {c['train_tokens']:,} | {c['heldout_tokens']:,} "
        f"| `{c['sha256']}` |"
        for c in cards
    ]
    for card in cards:
        name = card["name"]
        lines += [
            "",
            f"### `{name}`",
            "",
            (CORPORA[name].about if name in CORPORA else "a generated language of known entropy") + ".",
            "",
        ]
        if "entropy_rate" in card:
            lines += [
                f"Entropy rate {card['entropy_rate']:.6f} nats per token, from its stationary distribution. "
                "Irreducible loss of a "
                "model that sees windows of "
                + ", ".join(f"{k}: {v:.6f}" for k, v in card["window_entropy"].items())
                + ". Entropy of a letter given the 0, 1, 2, … before it: "
                + ", ".join(f"{h:.4f}" for h in card["entropy_given"])
                + "."
            ]
            continue
        lines += [
            "| source | documents | bytes | share | of these held out | licence |",
            "|---|--:|--:|--:|--:|---|",
        ]
        lines += [
            f"| {p} {s['version']} | {s['documents']} | {s['bytes']:,} | {s['bytes'] / card['bytes']:.0%} "
            f"| {s['heldout_bytes']:,} | {s['licence']} |"
            for p, s in card["sources"].items()
        ]
        if card["cleaning"]:
            cleaning = card["cleaning"]
            lines += [
                "",
                f"Cleaning: {cleaning['documents_before']:,} documents, {cleaning['bytes_before']:,} bytes before; "
                f"{cleaning['documents_after']:,} documents, {cleaning['bytes_after']:,} bytes after.",
                "",
                "| removed by | documents | bytes | why |",
                "|---|--:|--:|---|",
            ]
            lines += [
                f"| {rule} | {c['documents']:,} | {c['bytes']:,} | {c['why']} |"
                for rule, c in cleaning["removed"].items()
            ]
            lines += [
                "",
                "Redacted: "
                + (", ".join(f"{k} {n}" for k, n in sorted(cleaning["redactions"].items())) or "nothing")
                + ".",
            ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    Path(sys.argv[1]).write_text(data_card([prepare(n).card for n in FINGERPRINTS]), encoding="utf-8")
