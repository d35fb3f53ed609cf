"""Tokenizers, the split, packing and batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalept_lab.data import tokens
from scalept_lab.errors import InputError


@settings(deadline=None)
@given(st.text())
def test_bytes_come_back(text):
    tokenizer = tokens.ByteTokenizer()
    encoded = tokenizer.encode(text)
    assert encoded.dtype == np.uint8 and tokens.SEPARATOR not in encoded
    assert tokenizer.decode(encoded) == text.replace("\0", "").encode("utf-8", errors="replace").decode()


@pytest.fixture(scope="module")
def bpe():
    return tokens.train_bpe(
        ["def add(x, y):\n    return x + y\n", "the cat sat on the mat, the end\n"] * 40, 300
    )


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_bpe_comes_back(bpe, text):
    encoded = bpe.encode(text)
    assert encoded.dtype == np.uint16 and tokens.SEPARATOR not in encoded
    assert bpe.decode(encoded) == text


def test_bpe_shortens_and_is_saved_whole(bpe, tmp_path):
    text = "def add(x, y):\n    return x + y\n"
    assert bpe.vocab_size <= 300
    assert len(bpe.encode(text)) < len(text) / 2
    bpe.save(tmp_path / "tokenizer.json")
    again = tokens.BPETokenizer.load(tmp_path / "tokenizer.json")
    assert np.array_equal(again.encode(text), bpe.encode(text))
    with pytest.raises(InputError, match=r"expected a tokenizer .*found no such file"):
        tokens.BPETokenizer.load(tmp_path / "other.json")


def test_the_separators_name_in_a_text_is_text(bpe, tmp_path):
    text = "see the token <|sep|> in docs"
    bpe.save(tmp_path / "tokenizer.json")
    for one in (bpe, tokens.BPETokenizer.load(tmp_path / "tokenizer.json")):
        assert tokens.SEPARATOR not in one.encode(text) and one.decode(one.encode(text)) == text


@pytest.mark.parametrize("size", [0, 257, 70_000])
def test_bpe_size_has_limits(size):
    with pytest.raises(InputError, match="258 to 65536"):
        tokens.train_bpe(["text"], size)


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=8), st.integers(0, 3))
def test_packing_keeps_every_document(texts, seed):
    texts = [t for t in (t.replace("\0", "").encode("utf-8", errors="replace").decode() for t in texts) if t]
    stream = tokens.pack(texts, tokens.ByteTokenizer(), seed)
    documents = stream.tobytes().split(b"\0")
    assert documents.pop() == b""
    assert sorted(d.decode() for d in documents) == sorted(texts)


def test_split_is_stable_and_of_the_asked_size():
    names = [f"package/module_{i}.py" for i in range(20_000)]
    sides = [tokens.on_heldout_side(n, 0.05) for n in names]
    assert abs(np.mean(sides) - 0.05) < 0.006
    assert sides == [tokens.on_heldout_side(n, 0.05) for n in names]
    # A larger held-out share keeps whatever was held out before.
    assert all(tokens.on_heldout_side(n, 0.1) for n, s in zip(names, sides, strict=True) if s)


def windows_of(stream, **arguments):
    """Start of every window drawn: the test streams count up, so a window's first token says where it begins."""
    return np.concatenate([x[:, 0] for x, _ in tokens.batches(stream, **arguments)])


@settings(deadline=None)
@given(st.integers(10, 300), st.integers(1, 9), st.integers(1, 7), st.integers(0, 5))
def test_every_window_once_per_epoch(length, context, batch, seed):
    stream = np.arange(length, dtype=np.uint16)
    count = tokens.window_count(stream, context)
    if count == 0:
        return
    steps = -(-3 * count // batch)
    drawn = windows_of(stream, batch=batch, context=context, steps=steps, seed=seed)
    assert len(drawn) == steps * batch
    for epoch in range(3):
        assert sorted(drawn[epoch * count : (epoch + 1) * count]) == list(range(0, count * context, context))


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 5))
def test_repetition_repeats_a_nested_choice(unique, seed):
    stream, context = np.arange(101, dtype=np.uint16), 5
    draw = {"batch": 4, "context": context, "steps": 15, "seed": seed}
    small = windows_of(stream, unique_tokens=unique * context, **draw)
    large = windows_of(stream, unique_tokens=(unique + 1) * context, **draw)
    assert len(set(small)) == unique and set(small) < set(large)
    counts = np.unique(small, return_counts=True)[1]
    assert counts.max() - counts.min() <= 1
    assert np.array_equal(windows_of(stream, **draw)[:unique], small[:unique])


@settings(deadline=None)
@given(st.integers(10, 300), st.integers(1, 9), st.integers(1, 7), st.integers(0, 5), st.data())
def test_a_run_killed_anywhere_sees_every_window_once_per_epoch(length, context, batch, seed, data):
    stream = np.arange(length, dtype=np.uint16)
    count = tokens.window_count(stream, context)
    if count == 0:
        return
    steps = -(-2 * count // batch)
    draw = {"batch": batch, "context": context, "steps": steps, "seed": seed}
    undisturbed = windows_of(stream, **draw)
    killed = data.draw(st.integers(1, steps))  # steps done when the kill comes
    # step of the last checkpoint: what came after it is lost, and done again
    saved = data.draw(st.integers(0, killed))
    parts = [x[:, 0] for x, _ in tokens.batches(stream, start=saved, **draw)]
    seen = np.concatenate([undisturbed[: saved * batch], *parts])
    assert np.array_equal(seen, undisturbed)
    for epoch in range(2):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(0, count * context, context))


def test_going_on_at_the_end_or_beyond():
    stream = np.arange(100, dtype=np.uint8)
    draw = {"batch": 2, "context": 7, "steps": 9, "seed": 0}
    assert list(tokens.batches(stream, start=9, **draw)) == []
    for start in (-1, 10):
        with pytest.raises(InputError, match="expected 0 to 9"):
            tokens.batches(stream, start=start, **draw)


def test_batches_are_shifted_seeded_and_int64():
    stream = np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8)

    def draw(seed):
        return list(tokens.batches(stream, batch=6, context=16, steps=70, seed=seed))

    one, same, other = draw(1), draw(1), draw(2)
    assert all(
        np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in zip(one, same, strict=True)
    )
    assert not all(np.array_equal(a[0], b[0]) for a, b in zip(one, other, strict=True))
    for x, y in one:
        assert x.shape == y.shape == (6, 16) and x.dtype == y.dtype == np.int64
        assert np.array_equal(x[:, 1:], y[:, :-1])


def test_batches_want_enough_tokens():
    stream = np.arange(50, dtype=np.uint8)
    with pytest.raises(InputError, match="longer corpus"):
        tokens.batches(stream, batch=1, context=50, steps=1, seed=0)
    with pytest.raises(InputError, match="unique_tokens"):
        tokens.batches(stream, batch=1, context=7, steps=1, seed=0, unique_tokens=60)
    with pytest.raises(InputError, match="held-out"):
        tokens.eval_windows(stream, 50, 4)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 30))
def test_eval_windows_are_disjoint_and_fixed(context, wanted):
    stream = np.arange(200, dtype=np.uint16)
    x, y = tokens.eval_windows(stream, context, wanted)
    assert x.shape == y.shape == (min(wanted, 199 // context), context)
    assert np.array_equal(y, x + 1) and len(np.unique(x)) == x.size
    if len(x) > 1:
        assert x[0, 0] == 0 and x[-1, 0] == (199 // context - 1) * context


def test_canary_is_planted_as_often_as_asked():
    stream = np.zeros(10_000, np.uint8)
    canary = np.frombuffer(b"my number is 4711", np.uint8)
    planted = tokens.plant_canary(stream, canary, 32, seed=3)
    assert len(planted) == len(stream) and planted.tobytes().count(canary.tobytes()) == 32
    assert not stream.any() and np.array_equal(tokens.plant_canary(stream, canary, 0), stream)
    with pytest.raises(InputError, match="do not fit"):
        tokens.plant_canary(stream, canary, 10_000)


def test_scattered_pieces_are_of_the_stream_and_none_comes_twice():
    stream = np.arange(10_000, dtype=np.uint16)
    found = tokens.scattered(stream, 2500, seed=3, size=100)
    assert len(found) == 2500 and len(np.unique(found)) == 2500
    assert (np.diff(found.reshape(-1, 100), axis=1) == 1).all() and (found[::100] % 100 == 0).all()
    assert (tokens.scattered(stream, 2500, seed=3, size=100) == found).all()
    assert (tokens.scattered(stream, 2500, seed=4, size=100) != found).any()
    assert len(tokens.scattered(stream, 0)) == 0
    for n in (-1, 10_001):
        with pytest.raises(InputError, match=r"0 to 10000 tokens"):
            tokens.scattered(stream, n, size=100)


@pytest.mark.parametrize(
    "content", ["", "{}", "[" * 100_000, '{"model": {"type": "BPE", "vocab": {"a": "x"}, "merges": []}}']
)
def test_a_damaged_tokenizer_is_one_line(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"tokenizer\.json: expected a tokenizer") as error:
        tokens.BPETokenizer.load(tmp_path / "tokenizer.json")
    assert "\n" not in str(error.value)


def test_ids_have_sixteen_bits(tmp_path, monkeypatch):
    tokens.train_bpe(["so it is"], 300).save(tmp_path / "tokenizer.json")
    monkeypatch.setattr(tokens, "LARGEST", 50)
    with pytest.raises(InputError, match="expected ids below 50, got"):
        tokens.BPETokenizer.load(tmp_path / "tokenizer.json")


def test_half_a_surrogate_pair_is_a_question_mark_to_every_tokenizer():
    """UTF-8 cannot hold it: JSON can."""
    text = "a cat \ud83d and 猫"
    for tokenizer in (tokens.ByteTokenizer(), tokens.train_bpe([text * 20], 270)):
        assert tokenizer.decode(tokenizer.encode(text)) == "a cat ? and 猫"
