"""Each filter drops what it is for and nothing ordinary; redaction; a report that adds up."""

import random
import zlib

import pytest

from scalept_lab.data import clean, sources
from scalept_lab.errors import InputError
from scripts import SCRIPTS, planted
from texts import of_a_script

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
    assert table.loc["exact_copy", "share"] == len(copy.encode()) / report.bytes_before
    assert report.summary()["removed"]["noise"]["documents"] == 1


def test_everything_can_be_switched_off():
    data = corpus_of(ORDINARY, ORDINARY, BAD["too_short"], "mail a@b.org")
    kept, report = clean.clean(data, rules=(), redaction=False, exact=False, near=None, progress=False)
    assert kept.equals(data) and report.bytes_after == report.bytes_before
    empty, report = clean.clean(corpus_of("x"), progress=False)
    assert len(empty) == 0 and report.documents_after == 0
    with pytest.raises(InputError, match="Jaccard"):
        clean.clean(data, near=1.5, progress=False)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_planted_corpus_of_each_script(name):
    """Of eight documents with a line in common none is lost, and every copy and every secret goes."""
    made = planted(SCRIPTS[name], documents=8, near=2)
    found = of_a_script(made)
    assert (found["out"], found["falsely removed"], found["falsely redacted"]) == (8, 0, 0)
    assert (found["near found"], found["same found"]) == (len(made.near), len(made.same)) == (2, 8)
    assert found["redacted"] == found["secrets"] > 20


@pytest.mark.parametrize(
    "text, out",
    [
        ("今天天气很好去散步。", 0),
        ("一二三四五六", 1),
        ("word " * 3, 1),
        ("word " * 4 + "s", 0),
        (" \u3000\n", 1),
    ],
)
def test_a_sentence_of_prose_is_long_enough_in_bytes(text, out):
    """20 bytes of UTF-8: seven characters of Chinese."""
    (one,) = [rule for rule in clean.PROSE_RULES if rule.name == "too_short"]
    assert one.drops(text, text.encode()) == bool(out)


def test_secrets_go_before_copies_are_looked_for():
    """Two texts that differ in an address alone are one text once the addresses are gone."""
    data = corpus_of(*(ORDINARY + f"# written by {name}@example.org\n" for name in ("ada", "grace")))
    kept, report = clean.clean(data, near=None, progress=False)
    assert kept["path"].tolist() == ["p/0.py"] and report.redactions == {"email": 2}
    assert kept["text"][0].endswith("# written by <EMAIL>\n")
    assert kept["bytes"].tolist() == [len(kept["text"][0].encode())] == [report.bytes_after]
    assert report.removed[0]["bytes"] == report.bytes_after  # counted after the address was replaced


def test_measures_of_a_text_by_hand():
    # letters: a, b, and the two bytes of é, of seven bytes that are seen
    assert clean.letter_fraction("a b\n1,é!".encode()) == pytest.approx(4 / 7)
    assert clean.letter_fraction(b" \n") == 0
    assert clean._longest_line(b"abc\nde\n\n") == 3 and clean._longest_line(b"ab\ncdef") == 4
    assert clean.literal_lines(b"x = [\n  1, 2,\n  'a',\n]\n") == 2 / 4
    data = random.Random(1).randbytes(262_144) + bytes(100_000)
    assert clean.compression_ratio(data) == len(zlib.compress(data[:262_144], 1)) / 262_144 > 1
    assert clean.compression_ratio(b"") == len(zlib.compress(b"", 1))


@pytest.mark.parametrize(("rule", "kept", "dropped"), [
    ("too_short", "x" * 200, " " + "x" * 199 + " "),
    ("generated", "." * 990 + "do not edit", "." * 989 + "do not edit"),
    ("long_lines", "x" * 1000 + "\n" * 20, "x" * 1001 + "\n" * 20),
    ("long_lines", ("x" * 99 + "\n") * 9 + "x" * 100, ("x" * 99 + "\n") * 9 + "x" * 101),
    ("few_letters", "aaaa......", "aaa......."),
    ("data_table", "1,\n" * 3 + "x = 2\n" * 2, "1,\n" * 4 + "x = 2\n" * 2),
])  # fmt: skip
def test_where_a_rule_begins(rule, kept, dropped):
    (one,) = [one for one in clean.CODE_RULES if one.name == rule]
    assert not one.drops(kept, kept.encode()) and one.drops(dropped, dropped.encode())


def test_examples_are_the_largest_first():
    report = clean.CleaningReport()
    report._step("rule", "why")
    for path, size in (("b", 5), ("a", 5), ("c", 9), ("d", 1)):
        report._remove("rule", path, size)
    assert [example["path"] for example in report.examples("rule", 3)] == ["c", "a", "b"]
