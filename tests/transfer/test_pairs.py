"""The sentence-pair task: how it is built, that it leaks nothing, and files in MRPC's layout."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter

import numpy as np
import pytest
from refusals import one_line

from scalept_lab import outside
from scalept_lab.errors import InputError
from scalept_lab.transfer import pairs

SOURCE = '''
def add_edges(graph, edges):
    """Add the given edges to a graph. More about it.

    Parameters follow."""
    for a, b in edges:
        graph.add(a, b)
    return graph

class Node:
    def toDiGraph(self, weight=1):
        """Return a directed copy of this node."""
        return DiGraph(self.adjacent, weight=weight ** 2)

    def nothing(self, value, other):
        return value + other * self.weight

def leaky(value, factor):
    """Call leaky with a value and a factor."""
    return value * factor + value - factor
'''


def module(name: str, count: int = 4, package: str = "p") -> dict[str, str]:
    text = "\n".join(
        f'def work_{i}(first, second):\n    """Say what {name.replace(".", " ")} does when {"abcdefgh"[i] * 3} comes."""\n'
        f"    return first + second * {name.replace('.', '_')}_{'abcdefgh'[i] * 3} + {i}\n"
        for i in range(count)
    )
    return {"text": text, "package": package, "module": name}


MANY = [module(f"m{i}.part") for i in range(40)]


def test_words_split_names_and_keep_operators():
    assert pairs.words("to_DiGraph(x, y**2) != HTTPServer.x1") == [
        "to", "di", "graph", "x", "y", "**", "2", "!=", "http", "server", "x", "1",
    ]  # fmt: skip


def test_functions_of_a_module():
    found = {f.name: f for f in pairs.functions([{"text": SOURCE, "package": "p", "module": "m"}])}
    assert set(found) == {"add_edges", "toDiGraph", "nothing", "leaky"}
    assert found["add_edges"].sentence == "add the given edges to a graph"
    assert found["add_edges"].code.startswith("def add edges graph edges for a b in edges graph add a b")
    assert found["nothing"].sentence == "" and found["leaky"].sentence == "", "the name gives the pair away"
    assert "given" not in found["add_edges"].code, "the docstring is no part of the code"


def test_what_does_not_parse_and_what_was_seen_is_left_out():
    rows = [module("a"), {**module("a"), "module": "copy"}, {"text": "def (", "package": "p", "module": "x"}]
    assert {f.module for f in pairs.functions(rows)} == {"a"}


@pytest.mark.parametrize("negatives", ["module", "corpus"])
def test_neither_side_alone_says_anything(negatives):
    found = pairs.functions(MANY)
    made = pairs.pair_up(found, negatives)
    assert made.column_names == list(pairs.COLUMNS) and len(made) == 2 * len(found)
    for column in ("sentence1", "sentence2"):
        kinds = Counter(zip(made[column], made["label"], strict=True))
        assert set(kinds.values()) == {1} and len(kinds) == len(made), (
            "each once in a right and once in a wrong pair"
        )
    of = {f.sentence: f for f in found}
    for row in made:
        assert (of[row["sentence1"]].code == row["sentence2"]) == (row["label"] == 1)
        same = {f.module for f in found if row["sentence2"] == f.code} == {of[row["sentence1"]].module}
        assert same or negatives == "corpus"


def test_parts_share_no_module_no_sentence_and_no_code():
    found = pairs.functions(MANY)
    task = pairs.build_task(found)
    sides = {name: set(task[name]["sentence1"]) | set(task[name]["sentence2"]) for name in ("train", "test")}
    sides["pretrain"] = {text for f in task["pretrain"] for text in (f.sentence, f.code)}
    assert all(sides.values())
    assert not sides["train"] & sides["test"] and not sides["pretrain"] & (sides["train"] | sides["test"])
    assert Counter(task["test"]["label"])[0] == Counter(task["test"]["label"])[1], "the majority is one half"
    assert Counter(pairs.part_of(f"m{i}") for i in range(3000))["pretrain"] == pytest.approx(1800, rel=0.1)


def test_no_sentence_of_the_task_holds_the_name_of_its_function():
    for f in pairs.functions([{"text": SOURCE, "package": "p", "module": "m"}, *MANY]):
        assert f.name.lower() not in f.sentence.split()


def test_construction_is_the_same_again():
    once, again = (pairs.build_task(pairs.functions(MANY))["train"] for _ in range(2))
    assert once.to_dict() == again.to_dict()


def test_subsets_are_balanced_and_nested():
    made = pairs.pair_up(pairs.functions(MANY))
    small, large = (pairs.subset(made, size, seed=3) for size in (10, 50))
    assert Counter(small["label"]) == {0: 5, 1: 5} and set(small["idx"]) < set(large["idx"])
    assert set(pairs.subset(made, 10, seed=4)["idx"]) != set(small["idx"])


def test_bad_pairs_are_refused_in_one_line(tmp_path, monkeypatch):
    made = pairs.pair_up(pairs.functions(MANY))
    with pytest.raises(
        InputError, match="expected the columns sentence1, sentence2, label, idx, got label, text"
    ) as error:
        pairs.subset(made.remove_columns(["sentence1", "sentence2"]).rename_column("idx", "text"), 4)
    assert "\n" not in str(error.value) and "sentence1" in str(error.value)
    ones = made.filter(lambda row: row["label"] == 1)
    with pytest.raises(InputError, match=r"two classes, got only \[1\] in 4 pairs"):
        pairs.subset(ones, 4)
    with pytest.raises(InputError, match="expected 2 to"):
        pairs.subset(made, len(made) + 1)
    with pytest.raises(InputError, match="at least two functions"):
        pairs.pair_up([])
    monkeypatch.setattr(pairs, "hub_reachable", lambda: False)
    with pytest.raises(
        InputError,
        match="not in the cache on this machine, and the hub cannot be reached",
    ):
        pairs.load_pairs("glue/mrpc")
    with pytest.raises(InputError, match="expected a file train"):
        pairs.load_pairs(str(tmp_path))
    (tmp_path / "train.jsonl").write_text("{")
    with pytest.raises(InputError, match="cannot be read as sentence pairs"):
        pairs.load_pairs(str(tmp_path))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_local_files_in_the_layout_of_mrpc(tmp_path, kind):
    made = pairs.pair_up(pairs.functions(MANY[:6]))
    hidden = made.add_item({"sentence1": "a", "sentence2": "b", "label": -1, "idx": 99})
    if kind == "jsonl":
        hidden.to_json(tmp_path / "train.jsonl")
    else:
        hidden.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    read = pairs.load_pairs(str(tmp_path))
    assert read.column_names == list(pairs.COLUMNS) and read.to_dict() == made.to_dict()
    with pytest.raises(InputError, match="expected a file validation"):
        pairs.load_pairs(str(tmp_path), "validation")


def test_the_name_on_the_hub(monkeypatch):
    """What would be asked of the hub: the dataset's owner and its configuration."""
    import datasets

    asked = {}

    def load(path, name=None, split=None):
        asked.update(path=path, name=name, split=split)
        return pairs.pair_up(pairs.functions(MANY[:4]))

    monkeypatch.setattr(pairs, "hub_reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(pairs.load_pairs("glue/mrpc", "validation"))
    assert asked == {"path": "nyu-mll/glue", "name": "mrpc", "split": "validation"}


def test_subsets_keep_the_shares_of_unequal_classes():
    import datasets

    labels = [0] * 30 + [1] * 10
    names = [str(i) for i in range(40)]
    made = datasets.Dataset.from_dict(
        {"sentence1": names, "sentence2": names, "label": labels, "idx": range(40)}
    )
    assert Counter(pairs.subset(made, 8)["label"]) == {0: 6, 1: 2}
    assert Counter(pairs.subset(made, 40)["label"]) == {0: 30, 1: 10}


def test_sentences_and_code_have_a_fewest_and_a_most():
    def of(words: int, code: int) -> list[pairs.Function]:
        said = " ".join(f"{'abcdefghijklmnopqr'[i]}x" for i in range(words))
        body = " + ".join(["z"] * (code - 2)) if code > 2 else ""
        text = f'def f(b):\n    """{said}."""\n    return {body}\n'
        return pairs.functions([{"text": text, "package": "p", "module": "m"}])

    assert [bool(of(words, 9)[0].sentence) for words in (3, 4, 16, 17)] == [False, True, True, False]
    # def f b return z: five words; def f b return: four, too few
    assert not of(5, 2) and of(5, 3)[0].code == "def f b return z"
    assert len(of(5, 40)[0].code.split()) == 32


def test_a_first_sentence_ends_at_its_dot_or_its_paragraph():
    assert pairs.first_sentence("Take x.y apart. And more.") == "take x y apart"
    assert pairs.first_sentence("\n  No dot here\n\nParameters.") == "no dot here"


def test_parts_have_their_shares():
    found = Counter(pairs.part_of(f"m{i}", {"a": 0.5, "b": 0.2, "c": 0.3}) for i in range(4000))
    assert [found[name] / 4000 for name in "abc"] == pytest.approx([0.5, 0.2, 0.3], abs=0.03)


# --- pairs as people have them ----------------------------------------------------------------------------------------


def table(**columns):
    import datasets

    return datasets.Dataset.from_dict(columns)


@pytest.mark.parametrize(
    "labels",
    [
        ["1", "0"],
        ["Yes", "no"],
        [True, False],
        [1.0, 0.0],
        ["equivalent", "not_equivalent"],
        [" TRUE ", "False"],
        ["1.0", "0.0"],
    ],
)
def test_labels_in_other_spellings(labels):
    made = pairs.as_pairs(table(sentence1=["a", "b"], sentence2=["c", "d"], label=labels))
    assert made["label"][:] == [1, 0] and all(type(label) is int for label in made["label"])
    assert made.column_names == list(pairs.COLUMNS) and made["idx"][:] == [0, 1]


def test_hidden_labels_and_empty_sides_are_left_out_and_counted(capsys):
    """-1 and null are hidden; an empty sentence is none. What is left out is said."""
    found = pairs.as_pairs(
        table(sentence1=["a", "b", "", "d", None], sentence2=["x"] * 5, label=["1", None, "0", "-1", "1"]),
        "mine",
    )
    assert found["sentence1"][:] == ["a"]
    assert (
        capsys.readouterr().out
        == "mine: left out 2 pairs with a hidden label and 2 with an empty side, of 5\n"
    )
    one_line(
        lambda: pairs.as_pairs(table(sentence1=["a"], sentence2=["b"], label=[-1]), "test"),
        "test: no pairs left of 1: 1 with a hidden label",
        "take a split whose labels are given",
    )


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([0, 1, 2], "got 2 in row 2 (3 kinds: 0, 1, 2)"),
        (
            ["entailment", "neutral", "contradiction"],
            "got 'entailment' in row 0 (3 kinds: contradiction, entailment, neutral)",
        ),
        ([3.8, 0.0, 1.0], "got 3.8 in row 0"),
    ],
)
def test_more_than_two_classes_are_refused(labels, told):
    made = table(sentence1=list("abc"), sentence2=list("xyz"), label=labels)
    one_line(lambda: pairs.as_pairs(made, "mine"), "mine: expected labels of two classes", told)


def test_a_column_of_lists_is_refused_by_its_type(monkeypatch):
    """A list may be of millions of numbers: none of it becomes Python's."""
    made = table(sentence1=["a"], sentence2=["b"], label=[[0, 1]])
    monkeypatch.setattr(type(made), "__getitem__", lambda *_: pytest.fail("rows were read"))
    one_line(
        lambda: pairs.as_pairs(made, "mine"), "mine: expected one value per row in the column label, got List"
    )


@pytest.mark.parametrize("label", ["1", None, True, 1.0, 2, "yes"])
def test_what_was_not_read_by_as_pairs_is_named_where_it_is_used(label):
    """`subset`, `finetune` and `evaluate` take a learner's own table: its first odd row is named."""
    made = table(sentence1=["a"], sentence2=["b"], label=[label])
    one_line(lambda: pairs.check_columns(made), f"expected labels 0 and 1, got {label!r} in row 0; as_pairs")
    one_line(
        lambda: pairs.check_columns(table(sentence1=[None], sentence2=["b"], label=[1])), "texts in sentence1"
    )


MRPC = """\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String
1\t702876\t702977\t" The plan is good , he said .\tHe called the plan good .
0\t2108705\t2108831\tNA\tYucaipa bought the chain .
"""


@pytest.mark.parametrize("file", ["train.tsv", "msr_paraphrase_train.txt"])
def test_the_paraphrase_corpus_as_it_is_published(tmp_path, file):
    """Tabs, a byte-order mark, its own column names, quotation marks that close nowhere, and a sentence "NA"."""
    (tmp_path / file).write_text(MRPC, encoding="utf-8")
    (tmp_path / "train_old.tsv").write_text(MRPC, encoding="utf-8")
    (tmp_path / f"._{file}").write_bytes(b"\x00\x05")
    found = pairs.load_pairs(str(tmp_path))
    assert found["sentence1"][:] == ['" The plan is good , he said .', "NA"] and found["label"][:] == [1, 0]
    (tmp_path / "dev.tsv").write_text(MRPC, encoding="utf-8")
    assert len(pairs.load_pairs(str(tmp_path), "validation")) == 2


def test_pairs_written_as_mrpc_come_back(tmp_path):
    made = table(sentence1=['"a b', "NA"], sentence2=["c", "null"], label=[1, 0])
    pairs.save_as_mrpc(made, tmp_path / "train.tsv")
    assert (tmp_path / "train.tsv").read_bytes().startswith("\ufeffQuality\t#1 ID\t#2 ID\t#1 String".encode())
    found = pairs.load_pairs(str(tmp_path))
    assert [found[name][:] for name in pairs.COLUMNS[:3]] == [made[name][:] for name in pairs.COLUMNS[:3]]
    bad = table(sentence1=["a\tb"], sentence2=["c"], label=[1])
    one_line(
        lambda: pairs.save_as_mrpc(bad, tmp_path / "bad.tsv"),
        "without tabs and line breaks, got one in row 0",
    )
    assert not (tmp_path / "bad.tsv").exists()


def test_other_files_that_hold_pairs(tmp_path):
    import datasets

    (tmp_path / "q.csv").write_text('id,question1,question2,is_duplicate\n1,"a, b",c,0\n2,d,e,1\n')
    assert pairs.load_pairs(str(tmp_path / "q.csv"))[:]["sentence1"] == ["a, b", "d"]
    (tmp_path / "bom.jsonl").write_bytes(b'\xef\xbb\xbf{"premise": "a", "hypothesis": "b", "label": true}\n')
    assert pairs.load_pairs(str(tmp_path / "bom.jsonl"))["label"][:] == [1]
    made = table(sentence1=["a"], sentence2=["b"], label=[1])
    made.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": made}).save_to_disk(tmp_path / "splits")
    for folder in ("one", "splits"):
        assert len(pairs.load_pairs(str(tmp_path / folder))) == 1
    one_line(lambda: pairs.load_pairs(str(tmp_path / "splits"), "test"), "expected the split test, got train")
    (tmp_path / "one" / "dataset_info.json").unlink()
    os.mkfifo(tmp_path / "one" / "dataset_info.json")
    one_line(lambda: pairs.load_pairs(str(tmp_path / "one")), "dataset_info.json", "got a pipe")
    (tmp_path / "wide.csv").write_text("a," * 100_000)
    one_line(lambda: pairs.load_pairs(str(tmp_path / "wide.csv")), "expected at most 1,000 columns")
    (tmp_path / "u.csv").write_bytes("sentence1,sentence2,label\na,b,1\n".encode("utf-16"))
    one_line(lambda: pairs.load_pairs(str(tmp_path / "u.csv")), "cannot be read as sentence pairs")
    (tmp_path / "x.docx").touch()
    one_line(lambda: pairs.load_pairs(str(tmp_path / "x.docx")), "expected a file .jsonl")
    one_line(lambda: pairs.load_pairs(str(tmp_path / "gone.tsv")), "expected a file train.jsonl")


def test_the_cache_of_the_hub_serves_without_network(tmp_path, monkeypatch):
    """The layout in which `load_dataset` keeps what it has fetched once."""
    import datasets

    source = tmp_path / "rows.parquet"
    table(sentence1=["a", "c"], sentence2=["b", "d"], label=[1, 0], idx=[7, 9]).to_parquet(source)
    builder = datasets.load_dataset_builder(
        "parquet", data_files={"train": str(source)}, cache_dir=str(tmp_path / "made")
    )
    builder.download_and_prepare()
    home = tmp_path / "cache" / "nyu-mll___glue" / "mrpc" / "0.0.0" / "abc123"
    shutil.copytree(builder.cache_dir, home)
    (home / "parquet-train.arrow").rename(home / "glue-train.arrow")
    about = json.loads((home / "dataset_info.json").read_text())
    about.update(dataset_name="glue", config_name="mrpc")
    (home / "dataset_info.json").write_text(json.dumps(about))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(pairs, "hub_reachable", lambda: False)
    assert pairs.load_pairs("glue/mrpc")["idx"][:] == [7, 9]
    assert not datasets.config.HF_HUB_OFFLINE
    one_line(lambda: pairs.load_pairs("glue/rte"), "glue/rte: no such file, not in the cache")


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    """A megabyte of text, told 4,000 times over."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr(outside, "MEMORY", 3 * 10**8)
    once = pa.DictionaryArray.from_arrays(np.zeros(4000, np.int32), pa.array(["x" * 1_000_000]))
    bomb = pa.table({"sentence1": once, "sentence2": once, "label": [1] * 4000})
    pq.write_table(bomb, tmp_path / "p.parquet", compression="zstd", store_schema=False)
    with pytest.raises(InputError, match=r"p\.parquet: .*") as told:
        pairs.load_pairs(str(tmp_path / "p.parquet"))
    assert "\n" not in str(told.value)
