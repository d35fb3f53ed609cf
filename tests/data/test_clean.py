"""Each filter drops what it is for and nothing ordinary; redaction; exact and near duplicates against a slow twin."""

import itertools
import random

import numpy as np
import pandas as pd
import pytest

from scalept_lab.data import clean, duplicates, sources
from scalept_lab.errors import InputError

ORDINARY = '''"""Shortest paths in a weighted graph."""

import heapq


def shortest(graph, source):
    """Distances from the source to every node that can be reached, by Dijkstra's algorithm."""
    distance, queue = {source: 0.0}, [(0.0, source)]
    while queue:
        so_far, node = heapq.heappop(queue)
        if so_far > distance[node]:
            continue  # an older, longer way to a node that has been settled since
        for neighbour, weight in graph[node].items():
            candidate = so_far + weight
            if candidate < distance.get(neighbour, float("inf")):
                distance[neighbour] = candidate
                heapq.heappush(queue, (candidate, neighbour))
    return distance
'''


def corpus_of(*texts, package="p"):
    return sources.table((text, package, "m", f"{package}/{i}.py", "MIT") for i, text in enumerate(texts))


noise = random.Random(0)
BAD = {
    "not_text": ORDINARY.replace("Shortest", "Sh\ufffdrtest"),
    "too_short": "import os\n",
    "generated": "# Generated from Grammar.g4 by ANTLR 4.11\n" + ORDINARY,
    "long_lines": ORDINARY + "data = '" + "some words " * 120 + "'\n",
    "few_letters": "table = [\n"
    + "\n".join(f"  {i * i % 97}, {i * 7 % 89}, {i * i * i % 83};" for i in range(200))
    + "\n]\n",
    "data_table": ORDINARY
    + "names = [\n"
    + "".join(f"    'name-{noise.random():.12f}-of-thing',\n" for _ in range(100))
    + "]\n",
    "repetitive": "def a_function_of_one_argument(x):\n    return x\n" * 200,
    "noise": "".join(
        noise.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") + ("\n" if i % 60 == 59 else "")
        for i in range(6000)
    ),
}


@pytest.mark.parametrize("rule", BAD)
def test_each_rule_drops_its_kind(rule):
    kept, report = clean.clean(corpus_of(ORDINARY, BAD[rule]), progress=False)
    assert kept["text"].tolist() == [ORDINARY]
    assert {r["rule"] for r in report.removed} == {rule}
    assert report.steps[rule] == {
        "documents": 1,
        "bytes": len(BAD[rule].encode()),
        "why": report.steps[rule]["why"],
    }
    assert report.examples(rule)[0]["path"] == "p/1.py"


def test_rules_have_reasons_and_all_are_tested():
    assert {rule.name for rule in clean.CODE_RULES} == set(BAD)
    assert all(len(rule.why) > 20 for rule in clean.CODE_RULES)


def test_report_adds_up():
    copy = "\n" + ORDINARY.replace("\n", "  \n")
    near = ORDINARY.replace("so_far", "so_long")
    data = corpus_of(ORDINARY, *BAD.values(), copy, near)
    kept, report = clean.clean(data, near=0.5, progress=False)
    assert kept.columns.equals(data.columns) and kept["path"].tolist() == ["p/0.py"]
    assert report.documents_before == len(data) and report.documents_after == 1
    assert report.bytes_before == sum(len(t.encode()) for t in data["text"])
    assert report.bytes_before - report.bytes_after == sum(s["bytes"] for s in report.steps.values())
    assert report.steps["exact_copy"]["documents"] == report.steps["near_copy"]["documents"] == 1
    assert report.examples("near_copy")[0]["of"] == "p/0.py"
    table = report.table()
    assert table["documents"].sum() == len(data) - 1 and table.loc["exact_copy", "example"] == "p/9.py"
    assert report.summary()["removed"]["noise"]["documents"] == 1


def test_everything_can_be_switched_off():
    data = corpus_of(ORDINARY, ORDINARY, BAD["too_short"], "mail a@b.org")
    kept, report = clean.clean(data, rules=(), redaction=False, exact=False, near=None, progress=False)
    assert kept.equals(data) and report.bytes_after == report.bytes_before
    empty, report = clean.clean(corpus_of("x"), progress=False)
    assert len(empty) == 0 and report.documents_after == 0
    with pytest.raises(InputError, match="Jaccard"):
        clean.clean(data, near=1.5, progress=False)


SECRETS = {
    "email": ("write to jane.doe+list@mail.example.org now", "jane"),
    "private_key": ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----", "MIIEow"),
    "access_token": ("token: " + "gh" + "p_" + "a1B2" * 9, "a1B2"),
    "assigned_secret": ("API_KEY = 'q9w8e7r6t5y4u3i2o1p0'", "q9w8"),
    "long_hex": ("commit " + "0a1b2c3d4e" * 4, "0a1b"),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_go(kind):
    text, secret = SECRETS[kind]
    redacted, counts = clean.redact(text)
    assert counts == {kind: 1} and secret not in redacted and "<" in redacted


@pytest.mark.parametrize("text", [
    ORDINARY, "@property\ndef x(self): ...", "c = a@b", "y = x @ W.T", "password = getpass()", "key = 'short'",
    "secret = 'the_name_of_a_function'", "n = 1234567890123456789012345678901234567890123", "user@localhost",
])  # fmt: skip
def test_ordinary_code_is_left_alone(text):
    assert clean.redact(text) == (text, {})


def variants(seed=0):
    """Texts with every degree of overlap: each a mixture of one common and one own list of words."""
    rng = random.Random(seed)
    words = [f"word{i}" for i in range(3000)]
    base = rng.choices(words, k=400)
    texts = []
    for keep in [1.0, 0.97, 0.95, 0.93, 0.9, 0.85, 0.8, 0.6, 0.4, 0.2, 0.0] * 3:
        cut = int(keep * 400)
        texts.append(" ".join(base[:cut] + rng.choices(words, k=400 - cut)))
    return texts


def test_shingles_are_the_five_word_runs():
    a, b = "one two three four five six seven", "ONE two three four five six"
    runs = {tuple(a.split()[i : i + 5]) for i in range(3)}
    assert len(duplicates.shingles(a)) == len(runs) == 3
    # one run in common of four
    assert duplicates.jaccard(duplicates.shingles(a), duplicates.shingles(b)) == pytest.approx(1 / 4)
    assert len(duplicates.shingles("two words")) == 1 and len(duplicates.shingles("")) == 0
    assert duplicates.jaccard(duplicates.shingles(""), duplicates.shingles("")) == 0


def test_words_are_those_of_any_script():
    """Two sentences with one link are not copies; one long text with a character changed is."""
    link = " https://example.org/a/long/path/to/some/page/of/this/site"
    assert (
        duplicates.near_duplicates(["北京今天晴朗无云适合出门" + link, "上海连日小雨气温逐渐下降" + link])
        == []
    )
    assert len(duplicates.shingles("可扩展预训练")) == 2  # six characters, two runs of five
    assert len(duplicates.shingles("один два три четыре пять шесть")) == 2
    rng = random.Random(0)
    text = "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(200))
    found = duplicates.near_duplicates([text, text[:100] + "一" + text[101:]])
    assert [(copy, original) for copy, original, _ in found] == [(1, 0)]
    assert found[0][2] == pytest.approx(191 / 201)  # 196 runs each; five of them hold the changed character


def test_secrets_go_before_copies_are_looked_for():
    """Two texts that differ in an address alone are one text once the addresses are gone."""
    data = corpus_of(*(ORDINARY + f"# written by {name}@example.org\n" for name in ("ada", "grace")))
    kept, report = clean.clean(data, near=None, progress=False)
    assert kept["path"].tolist() == ["p/0.py"] and report.redactions == {"email": 2}
    assert kept["text"][0].endswith("# written by <EMAIL>\n")
    assert kept["bytes"].tolist() == [len(kept["text"][0].encode())] == [report.bytes_after]
    assert report.removed[0]["bytes"] == report.bytes_after  # counted after the address was replaced


def test_near_duplicates_agree_with_all_pairs():
    """The slow twin compares every pair with sets of word tuples, hashing nothing."""
    texts, threshold = variants(), 0.7
    sets = [{tuple(t.split()[i : i + 5]) for i in range(len(t.split()) - 4)} for t in texts]
    kept: list[int] = []
    slow = set()
    for i, own in enumerate(sets):
        if any(len(own & sets[k]) / len(own | sets[k]) >= threshold for k in kept):
            slow.add(i)
        else:
            kept.append(i)
    fast = duplicates.near_duplicates(texts, threshold)
    assert {removed for removed, _, _ in fast} == slow and len(slow) > 5
    for removed, original, similarity in fast:
        assert original in kept
        assert similarity == pytest.approx(
            len(sets[removed] & sets[original]) / len(sets[removed] | sets[original]), abs=1e-6
        )
    remaining = [i for i in range(len(texts)) if i not in slow]
    assert all(
        duplicates.jaccard(duplicates.shingles(texts[i]), duplicates.shingles(texts[j])) < threshold
        for i, j in itertools.combinations(remaining, 2)
    )


def test_shares_are_of_bytes_not_of_characters():
    data = pd.concat([corpus_of(*["数据"] * 60, package="a"), corpus_of(*["texts."] * 60, package="b")])
    mixed = sources.mix(data.reset_index(drop=True), {"a": 2, "b": 1}, total_bytes=270)
    assert mixed["package"].value_counts().to_dict() == {"a": 30, "b": 15}  # six bytes each


def test_mix_meets_its_shares():
    rng = np.random.default_rng(0)
    parts = [corpus_of(*["x" * int(n) for n in rng.integers(50, 150, 400)], package=p) for p in "abc"]
    data = pd.concat(parts, ignore_index=True)
    mixed = sources.mix(data, {"a": 3, "b": 1}, total_bytes=40_000, seed=1)
    size = {
        p: sum(len(t) for t, q in zip(mixed["text"], mixed["package"], strict=True) if q == p) for p in "abc"
    }
    assert size["c"] == 0 and abs(size["a"] - 30_000) < 150 and abs(size["b"] - 10_000) < 150
    assert mixed.equals(sources.mix(data, {"a": 3, "b": 1}, total_bytes=40_000, seed=1))
    assert not mixed.equals(sources.mix(data, {"a": 3, "b": 1}, total_bytes=40_000, seed=2))
    assert len(set(mixed["path"])) == len(mixed)
    largest = sources.mix(data, {"a": 1, "b": 1, "c": 1})
    assert sum(map(len, largest["text"])) > 0.95 * sum(map(len, data["text"]))
    for wrong in ({}, {"a": 0}, {"a": float("nan")}, {"nothing": 1}):
        with pytest.raises(InputError):
            sources.mix(data, wrong)
    with pytest.raises(InputError, match="without repeating"):
        sources.mix(data, {"a": 1}, total_bytes=10**9)
