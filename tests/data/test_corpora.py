"""From a name to token streams: the cache, the split, the card. Small local corpora; the default corpus is
built once, slowly."""

import json
import multiprocessing
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from scalept_lab.data import cards, corpora, sources, tokens
from scalept_lab.data.language import DEEP, Language
from scalept_lab.errors import InputError


def story(i):
    rng = random.Random(i)
    return (
        f"Story {i}. "
        + " ".join(f"{rng.choice(['the', 'a', 'one', 'this'])} w{rng.randrange(5000)}" for _ in range(60))
        + "."
    )


@pytest.fixture
def stories(tmp_path):
    file = tmp_path / "stories.jsonl"
    file.write_text("\n".join(json.dumps({"text": story(i)}) for i in range(200)))
    return str(file)


def documents_of(stream):
    return stream.tobytes().decode().split("\0")[:-1]


def test_streams_hold_every_document_on_one_side(stories, tmp_path):
    prepared = corpora.prepare(stories, cache=tmp_path / "cache")
    train, heldout = documents_of(prepared.train), documents_of(prepared.heldout)
    assert not set(train) & set(heldout)
    assert sorted(train + heldout) == sorted(story(i) for i in range(200))
    assert 0 < len(heldout) < 30 and prepared.card["heldout_documents"] == len(heldout)
    assert prepared.train.dtype == np.uint8 and prepared.vocab_size == 256
    assert isinstance(prepared.train, np.memmap) and not prepared.train.flags.writeable


def test_copies_never_straddle_the_split(tmp_path):
    """Every document comes with an exact and a near copy; after cleaning one of each three is left, on one
    side."""
    texts = [t for i in range(60) for t in (story(i), story(i) + "  \n", story(i) + " The end came early.")]
    file = tmp_path / "copies.jsonl"
    file.write_text("\n".join(json.dumps({"text": t}) for t in texts))
    prepared = corpora.prepare(str(file), cache=tmp_path / "cache")
    assert prepared.card["cleaning"]["removed"]["exact_copy"]["documents"] == 60
    assert prepared.card["cleaning"]["removed"]["near_copy"]["documents"] == 60
    names = (
        [d.split(".")[0] for d in documents_of(prepared.train)],
        [d.split(".")[0] for d in documents_of(prepared.heldout)],
    )
    assert len(names[0]) + len(names[1]) == 60 and not set(names[0]) & set(names[1])


def test_second_call_reads_the_cache(stories, tmp_path, monkeypatch):
    first = corpora.prepare(stories, cache=tmp_path / "cache")
    monkeypatch.setattr(corpora, "_build", None)
    second = corpora.prepare(stories, cache=tmp_path / "cache")
    assert second.sha256 == first.sha256 == corpora.fingerprint(second.train, second.heldout)
    assert second.card == first.card and np.array_equal(first.train, second.train)


def test_same_text_same_fingerprint_changed_text_another(stories, tmp_path):
    first = corpora.prepare(stories, cache=tmp_path / "one")
    assert corpora.prepare(stories, cache=tmp_path / "two").sha256 == first.sha256
    with open(stories, "a") as file:
        file.write("\n" + json.dumps({"text": story(1000)}))
    changed = corpora.prepare(stories, cache=tmp_path / "one")  # the cache notices
    assert changed.sha256 != first.sha256 and changed.card["documents"] == 201


def test_cached_call_is_light(stories, tmp_path):
    corpora.prepare(stories, cache=tmp_path / "cache")
    code = (
        "import sys, time; from scalept_lab.data import corpora as data; start = time.perf_counter(); "
        f"data.prepare({stories!r}, cache={str(tmp_path / 'cache')!r}); "
        "heavy = {'torch', 'datasets', 'pandas', 'pyarrow', 'tokenizers'}; "
        "print(time.perf_counter() - start, *(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    seconds, *heavy = done.stdout.split()
    assert not heavy and float(seconds) < 0.5  # a few milliseconds on an idle machine


def _prepare_sha(stories, cache, queue):
    queue.put(corpora.prepare(stories, cache=cache).sha256)


def test_two_processes_may_build_at_once(stories, tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [
        context.Process(target=_prepare_sha, args=(stories, tmp_path / "cache", queue)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    found = {queue.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    folder = tmp_path / "cache" / "prepared"
    assert len(found) == 1 and len(list(folder.iterdir())) == 1


def test_a_damaged_cache_is_told_and_built_again(stories, tmp_path):
    """A flipped bit, a file cut short, a card that is none or another's."""
    before = corpora.prepare(stories, cache=tmp_path / "cache")
    folder, card = before.folder, before.folder / "card.json"
    flipped = bytearray((folder / "train.npy").read_bytes())
    flipped[-7] ^= 4
    for file, content in (
        (folder / "train.npy", bytes(flipped)), (folder / "heldout.npy", b""), (card, b"{}"), (card, b"null"),
        (card, b"[" * 10**5), (card, card.read_bytes().replace(before.sha256[:8].encode(), b"00000000")),
        (card, card.read_bytes().replace(b'"documents": ', b'"documents": 1')),
    ):  # fmt: skip
        file.write_bytes(content)
        with pytest.warns(UserWarning, match=r"the copy in .* is damaged .*; it is built again") as told:
            again = corpora.prepare(stories, cache=tmp_path / "cache")
        assert len(told) == 1 and again.sha256 == before.sha256
        assert corpora.fingerprint(again.train, again.heldout) == before.sha256


def test_a_tokenizer_that_is_not_the_one_of_the_streams_is_told_and_made_again(stories, tmp_path):
    before = corpora.prepare(stories, cache=tmp_path / "cache", tokenizer="bpe-300")
    file = before.folder / "tokenizer.json"
    content = file.read_text()
    for other in (content.replace('"merges"', '"mergez"'), content + " ", None):
        file.write_text(other) if other is not None else file.unlink()
        with pytest.warns(UserWarning, match="it is built again"):
            again = corpora.prepare(stories, cache=tmp_path / "cache", tokenizer="bpe-300")
        assert file.read_text() == content and again.sha256 == before.sha256


def test_a_card_from_before_it_knew_its_digest_still_serves(stories, tmp_path, recwarn):
    card = corpora.prepare(stories, cache=tmp_path / "cache").folder / "card.json"
    values = json.loads(card.read_text())
    card.write_text(json.dumps({key: value for key, value in values.items() if key != "card_sha256"}))
    assert corpora.kept(stories, tmp_path / "cache") is not None and not list(recwarn)


def test_what_a_killed_builder_left_is_swept_by_the_next_one(stories, tmp_path):
    """If it is old: one of now may be in the making."""
    place = tmp_path / "cache" / "prepared"
    old, new = (place / f".stories-bytes-0123456789ab-{end}" for end in ("0011aabb", "1122aabb"))
    for draft in (old, new):
        draft.mkdir(parents=True)
        (draft / "train.npy").write_bytes(b"half")
    os.utime(old, (1, 1))
    ready = corpora.prepare(stories, cache=tmp_path / "cache")
    assert sorted(place.iterdir()) == sorted([new, ready.folder])


def test_bpe_streams(stories, tmp_path):
    prepared = corpora.prepare(stories, cache=tmp_path / "cache", tokenizer="bpe-400")
    assert prepared.train.dtype == np.uint16 and 300 < prepared.vocab_size <= 400
    tokenizer = prepared.tokenizer()
    first = prepared.heldout[: np.flatnonzero(prepared.heldout == tokens.SEPARATOR)[0]]
    assert tokenizer.decode(first) in {story(i) for i in range(200)}
    assert isinstance(corpora.prepare(stories, cache=tmp_path / "cache").tokenizer(), tokens.ByteTokenizer)


def test_language(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "LANGUAGE_TOKENS", (20_000, 5_000))
    prepared = corpora.prepare("language", cache=tmp_path)
    assert prepared.train.shape == (20_000,) and prepared.heldout.shape == (5_000,)
    language = prepared.tokenizer()
    assert (
        prepared.vocab_size == language.vocab_size and prepared.card["entropy_rate"] == language.entropy_rate
    )
    floor = language.window_losses(*tokens.eval_windows(prepared.heldout, 64, 50)).mean()
    assert floor == pytest.approx(prepared.card["window_entropy"]["64"], rel=0.1)
    assert corpora.prepare("language/7", cache=tmp_path).sha256 != prepared.sha256
    deep = corpora.prepare("language/deep/1", cache=tmp_path)
    assert (
        deep.card["window_entropy"]["64"]
        == Language(1, **DEEP).window_entropy(64)
        < deep.card["entropy_given"][2]
    )
    assert deep.tokenizer().order == 3
    for wrong in ("language/x", "language/-1", "language/deep", "language/deep/", "language/flat/1"):
        with pytest.raises(InputError, match="language/SEED"):
            corpora.prepare(wrong, cache=tmp_path)
    with pytest.raises(InputError, match="tokenizer"):
        corpora.prepare("language", cache=tmp_path, tokenizer="bpe-500")


def test_fallback_says_so_and_is_not_taken_for_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "source_files", lambda source, cache: None)
    small = [
        f
        for f in sources.stdlib_files()
        if f[0].startswith("stdlib/json/") or f[0].startswith("stdlib/email/")
    ]
    monkeypatch.setattr(sources, "stdlib_files", lambda: small)
    with pytest.warns(UserWarning, match="standard library instead"):
        fallback = corpora.prepare("python", cache=tmp_path)
    assert fallback.card["origin"] == "stdlib fallback" and set(fallback.card["sources"]) == {"stdlib"}
    with pytest.warns(UserWarning, match="still the standard library"):
        assert corpora.prepare("python", cache=tmp_path).sha256 == fallback.sha256
    monkeypatch.undo()
    assert corpora._load("python", tmp_path / "prepared" / corpora._key("python", "bytes")) is None


def test_bad_input(tmp_path):
    nothing = tmp_path / "nothing.txt"
    nothing.write_text("")
    one = tmp_path / "one.jsonl"
    one.write_text(json.dumps({"text": story(1)}))
    for name, message in (
        (str(tmp_path / "absent"), "no such file"),
        (str(nothing), "empty"),
        (str(one), "at least two"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            corpora.prepare(name, cache=tmp_path / "cache")
        assert "\n" not in str(caught.value)
    for tokenizer in ("words", "bpe-", "bpe-x", "BPE-500"):
        with pytest.raises(InputError, match="expected 'bytes' or 'bpe-SIZE'"):
            corpora.prepare("python", cache=tmp_path / "cache", tokenizer=tokenizer)
    assert not (tmp_path / "cache" / "prepared").exists() or not list(
        (tmp_path / "cache" / "prepared").iterdir()
    )


@pytest.mark.slow
def test_default_corpus_is_the_published_one(tmp_path):
    """Built from nothing: the same bytes on every machine."""
    prepared = corpora.prepare("python", cache=tmp_path)
    if prepared.card["origin"] == "stdlib fallback":
        pytest.skip("pinned wheels neither installed nor in reach")
    assert prepared.sha256 == corpora.FINGERPRINTS["python"]
    assert cards.data_card([prepared.card])  # and it can be told
    assert 20e6 < len(prepared.train) < 30e6 and prepared.card["build_seconds"] < 120


def test_tokens_in_another_format_are_damage_as_well(stories, tmp_path):
    """numpy takes a file that begins like an archive for one."""
    ready = corpora.prepare(str(stories), cache=tmp_path)
    file = ready.folder / "train.npy"
    file.write_bytes(b"PK\x03\x04" + file.read_bytes())
    with pytest.warns(UserWarning, match="is damaged"):
        assert corpora.kept(str(stories), cache=tmp_path) is None
    file.unlink()
    os.mkfifo(file)
    with pytest.warns(UserWarning, match="expected files of tokens, got others or none"):
        assert corpora.kept(str(stories), cache=tmp_path) is None


def test_a_folder_whose_name_is_no_character_becomes_a_corpus(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    for i in range(12):
        words = " ".join(f"{i * 7919 + j * j * 31}-Wort" for j in range(40))
        (folder / os.fsdecode(b"\xff%d.txt" % i)).write_text(f"Nummer {i}: {words}")
    first, again = (corpora.prepare(str(folder), cache=tmp_path / "cache") for _ in range(2))
    assert first.card["documents"] > 5 and first.sha256 == again.sha256
