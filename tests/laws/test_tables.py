"""Tables of runs as people have them: each kind of file with columns that cannot be mixed up, each refusal one line."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import one_line

from scalept_lab.errors import InputError
from scalept_lab.laws.points import NEEDED, Points, variable
from scalept_lab.laws.tables import read_points
from scalept_lab.runs import write_records

N = [1e6, 2e6, 3e6, 4e6, 5e6, 6e6, 7e6]
D = [31e6, 64e6, 99e6, 136e6, 175e6, 216e6, 259e6]
L = [3.75, 3.5, 3.25, 3.0, 2.75, 2.5, 2.25]
CSV = "params,tokens,loss\n" + "".join(
    f"{n:.0f},{d:.0f},{loss}\n" for n, d, loss in zip(N, D, L, strict=True)
)
OBJECTS = [{"params": n, "tokens": d, "loss": loss} for n, d, loss in zip(N, D, L, strict=True)]
FRAME = pd.DataFrame(OBJECTS)
JSONL = "".join(json.dumps(each) + "\n" for each in OBJECTS)


@pytest.fixture
def read(tmp_path) -> Callable[..., Points]:
    """The points of a file of this content."""

    def call(content: str | bytes, form: str = "chinchilla", name: str = "points.csv") -> Points:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_points(path, form)

    return call


def parquet(**columns) -> bytes:
    return FRAME.assign(**columns).to_parquet()


def with_column(name: str, values: list) -> str:
    lines = CSV.split("\n")
    return "\n".join(
        [f"{lines[0]},{name}", *(f"{line},{v}" for line, v in zip(lines[1:], values, strict=False))]
    )


# --- kinds of files


@pytest.mark.parametrize(
    "content",
    [
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        CSV.replace(",", " | "),
        CSV.replace("\n", "\r\n"),
        CSV.replace("\n", "\r"),
        CSV.replace("\n", "\n\n"),
        CSV.replace("tokens", '"tokens"').replace("64000000", '"64000000"'),
        "# made by hand\n\n" + CSV.replace("\n3000000", "\n# doubtful from here on\n3000000"),
        "# params,tokens,loss\n" + CSV.partition("\n")[2],
        b"\xef\xbb\xbf" + CSV.encode(),
        CSV.encode("utf-16"),
        b"\xfe\xff" + CSV.encode("utf-16-be"),
        gzip.compress(CSV.encode(), mtime=0),
        JSONL,
        JSONL.replace("\n", "\n\n"),
        gzip.compress(JSONL.encode(), mtime=0),
        json.dumps(OBJECTS),
        json.dumps(OBJECTS, indent=1),
        FRAME.to_json(),
        json.dumps({"params": N, "tokens": D, "loss": L}),
        json.dumps({"params": N, "tokens": D, "loss": L}, indent=1),
        parquet(),
        FRAME.set_index("params").to_parquet(),
    ],
    ids=["semicolon", "tab", "bar", "crlf", "cr", "blank lines", "quotes", "comments", "savetxt", "bom", "utf-16", "utf-16-be",
         "csv.gz", "jsonl", "jsonl with blank lines", "jsonl.gz", "json", "json, indented", "pandas", "columns",
         "columns, indented", "parquet", "parquet with an index"],
)  # fmt: skip
def test_every_kind_of_file_gives_the_same_points(read, content):
    found = read(content, name="points")
    assert (found.N.tolist(), found.D.tolist(), found.L.tolist()) == (N, D, L)
    assert (found.unique, found.C, found.runs, found.labels, found.notes) == (None, None, (), {}, ())


def test_a_decimal_comma(read):
    lines = [
        "params;tokens;loss",
        *(f"{n:.0f};{d / 1e6:.0f},5e6;{loss}" for n, d, loss in zip(N, D, L, strict=True)),
    ]
    found = read("\n".join(lines).replace(".", ","))
    assert found.D.tolist() == [d + 5e5 for d in D] and found.L.tolist() == L
    assert found.notes == ("'31,5e6' is read as 31.5e6: its comma is a decimal comma",)
    assert read(CSV.replace(",", "\t").replace(".", ",")).L.tolist() == L


def test_thousands(read):
    lines = [
        "params,tokens,loss",
        *(f'"{n:,.0f}","{d:,.0f}",{loss}' for n, d, loss in zip(N, D, L, strict=True)),
    ]
    found = read("\n".join(lines))
    assert (found.N.tolist(), found.D.tolist(), found.L.tolist()) == (N, D, L)
    assert found.notes == ("'1,000,000' is read as 1000000: its comma sets thousands apart",)
    # a dot elsewhere is the decimal one, so the comma is not
    assert read(CSV.replace(",", ";").replace("1000000;", "1,000;", 1)).N[0] == 1000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "params;tokens;loss\n" + "".join(f"{i};{i};{i},234\n" for i in range(1, 8)),
            ("line 2, column loss: '1,234' may be 1.234 or 1234; write it without the comma",),
        ),
        (
            CSV.replace(",", ";").replace("3.25", "3,25"),
            ("line 4, column loss: '3,25' has a decimal comma and '3.75' none",),
        ),
        (CSV.replace(",", ";").replace("3.25", "3,2,5"), ("line 4, column loss", "'3,2,5'")),
        (CSV.replace("2000000", "2M"), ("line 3, column params", "'2M'")),
        ("# x\n" + CSV.replace("2000000", "# y\n2M"), ("line 5, column params", "'2M'")),
        ("# params,tokens,loss\n" + CSV.partition("\n")[2].replace("3.25", ""), ("line 4, column loss", "''")),
        (CSV.partition("\n")[2], ("missing column params, tokens, loss", "name the columns in the first line")),
        (CSV.replace("loss", "loss_nats"), ("missing column loss", "found params,tokens,loss_nats")),
        (CSV.replace("params", "params (M)"), ("missing column params",)),
        (CSV.replace("2000000,", "2000000,,"), ("line 3: expected 3 values as in the header, got 4",)),
        (CSV + '"' + "x" * 200_000, ("not a readable table",)),
        (CSV.encode("latin-1") + b"\xe9", ("not a readable table", "utf-8")),
        (gzip.compress(CSV.encode(), mtime=0)[:-12], ("not a readable table",)),
        (b"PK\x03\x04 and so on", ("ZIP", "save it as CSV")),
        (JSONL.replace('{"params": 3', '{params": 3'), ("line 3: not JSON",)),
        ("\n" + JSONL.replace("3.25", "null"), ("line 4, column loss: expected a positive number, got None",)),
        (JSONL + "[1]\n", ("line 8: expected an object", "got [1]")),
        (json.dumps(OBJECTS)[:-1], ("row 8: not JSON",)),
        (json.dumps(OBJECTS).replace("3.25", "true"), ("row 3, column loss", "got True")),
        (json.dumps([1, 2]), ("row 1: expected an object", "got 1")),
        (json.dumps({"params": N, "tokens": D, "loss": L[:5]}), ("columns differ in length", "'loss' has 5")),
        ("[" * 100_000, ("recursion",)),
        ('{"loss":' * 100_000, ("recursion",)),
        ('[{"loss": ' + "[" * 100_000, ("recursion",)),
        (parquet(loss=[*L[:3], None, *L[4:]]), ("row 4, column loss", "got None")),
        (parquet(loss=["2.5"] * 3 + ["low"] * 4), ("row 4, column loss", "'low'")),
        (parquet(loss=[[2.5]] * 7), ("missing column loss",)),
        (parquet()[:-9], ("not a readable table",)),
    ],
)  # fmt: skip
def test_a_refusal_is_one_line_with_its_place(read, tmp_path, content, words):
    one_line(lambda: read(content), str(tmp_path / "points.csv"), *words)


def test_what_is_no_file_of_points(tmp_path):
    one_line(lambda: read_points(tmp_path), "not a readable", "a folder", "scalept merge")
    one_line(lambda: read_points(tmp_path / "gone"), "no such file")
    one_line(lambda: read_points("a\0b"), "not a readable")
    one_line(lambda: read_points("/dev/null"), "an empty file")
    one_line(lambda: read_points("/dev/zero"), "line 1: expected at most 1,000,000 characters")
    one_line(lambda: read_points(tmp_path / "gone", "cubic"), "form: expected one of auto")


# --- which column is which


@pytest.mark.parametrize(
    "names",
    [("N", "D", "L"), ("Model Size", "Training Tokens", "val_loss"), ("n_params", "tokens_seen", "Eval Loss"),
     ("non-embedding params", "num_tokens", "final_loss"), ("PARAMS", "Tokens", "validation loss")],
)  # fmt: skip
def test_other_names_of_the_columns(read, names):
    found = read(CSV.replace("params,tokens,loss", ",".join(names)))
    assert (found.N.tolist(), found.D.tolist(), found.L.tolist()) == (N, D, L)
    kit = ("params", "tokens", "loss")
    said = [f"{k} from column '{n}'" for k, n in zip(kit, names, strict=True) if n.lower() != k]
    assert list(found.notes) == said


def test_of_two_columns_the_one_of_the_kits_name_else_neither(read):
    swapped = CSV.replace("params,tokens,loss", "val_loss,tokens,train_loss")
    one_line(lambda: read(swapped, "auto"), "'val_loss' and 'train_loss' could both be loss; rename")
    assert read(with_column("val_loss", [9.0] * 7)).L.tolist() == L
    assert read(with_column("compute", [9.0] * 7)).C.tolist() == [9.0] * 7
    # of two that the fit can do without, neither
    both = (
        with_column("compute", [9.0] * 7)
        .replace("loss,compute", "loss,compute,budget")
        .replace("9.0", "9.0,8")
    )
    assert read(both).C is None


def test_compute_in_place_of_params_or_tokens(read):
    C = [6.0 * n * d for n, d in zip(N, D, strict=True)]
    pairs = {"params": N, "tokens": D}
    for name, other in (("params", "tokens"), ("tokens", "params")):
        frame = pd.DataFrame({name: pairs[name], "Training FLOP": C, "loss": L})
        found = read(frame.to_csv(index=False))
        assert found.N == pytest.approx(N) and found.D == pytest.approx(D) and found.C.tolist() == C
        assert found.notes == (
            "flops from column 'Training FLOP'",
            f"{other} are flops / (6 · {name}): the file has no column of {other}",
        )
    alone = pd.DataFrame({"flops": C, "loss": L}).to_csv(index=False)
    for form in ("power", "broken_power", "auto"):
        found = read(alone, form)
        assert (found.N, found.D) == (None, None) and variable(found)[1].tolist() == C
    one_line(
        lambda: read(alone), "missing column params, tokens", "with flops and loss alone, fit form power"
    )
    bad = pd.DataFrame({"params": N, "c": ["web"] * 7, "loss": L}).to_csv(index=False)
    one_line(lambda: read(bad), "line 2, column c", "'web'")
    assert read(bad, "power").C is None


def test_compute_that_the_fit_can_do_without_is_left_out_where_it_is_none(read):
    found = read(with_column("c", [1, 2, "web", 4, 5, 6, 7]))
    assert found.C is None
    assert found.notes == (
        "column 'c' is left out (line 4, column c: expected a positive number, got 'web')",
    )


def test_unique_tokens_are_read_where_a_form_can_use_them(read):
    content = with_column("U", [1e6 * i for i in range(1, 8)])
    assert read(content).unique is None
    for form in ("auto", "data_constrained"):
        assert read(content, form).unique.tolist() == [1e6 * i for i in range(1, 8)]


def test_labels_tell_runs_apart(read):
    frame = FRAME.assign(
        dataset=list("aabbaab"), lr=[0.1, 0.2, 0.1, 0.1, 0.2, 0.1, 0.1], name=[f"run{i}" for i in range(7)],
        layers=[1, 2, 1, 2, 1, 2, 1], optimizer="adam", remark=["x" * 201] + ["y"] * 6,
    )  # fmt: skip
    expected = {"dataset": tuple("aabbaab"), "lr": ("0.1", "0.2", "0.1", "0.1", "0.2", "0.1", "0.1")}
    for content in (frame.to_csv(index=False), frame.to_json(orient="records"), frame.to_parquet()):
        assert read(content).labels == expected


def test_a_column_of_more_than_fifty_values_is_no_label(tmp_path):
    frame = pd.concat([FRAME] * 16)
    for count, kept in ((50, ["family"]), (51, [])):
        frame["family"] = [f"f{i % count}" for i in range(len(frame))]
        frame.to_csv(tmp_path / "points.csv", index=False)
        assert [*read_points(tmp_path / "points.csv").labels] == kept


# --- the kit's own records


@pytest.fixture
def records():
    sizes = [(16, 1e5), (32, 2e5), (48, 4e5), (16, 8e5), (32, 4e5), (48, 3e5)]
    runs = [
        synthetic.record(synthetic.config(w, t, lr=(0.01, 0.02)[i % 2])) for i, (w, t) in enumerate(sizes)
    ]
    runs.insert(2, synthetic.record(synthetic.config(64, 1e5), status="diverged"))
    return runs


@pytest.mark.parametrize("name", ["class.jsonl", "class.parquet"])
def test_records_as_merge_writes_them(tmp_path, records, name):
    write_records(records, tmp_path / name)
    found = read_points(tmp_path / name)
    kept = [record for record in records if record.ok]
    assert found.runs == tuple(record.id for record in kept) and len(found) == 6
    for role in "NDCL":
        assert getattr(found, role).tolist() == [getattr(record, role) for record in kept]
    assert found.labels == {"lr": ("0.01", "0.02") * 3}
    assert found.notes == ("1 of 7 records have no loss (1 diverged) and are left out",)


def test_records_of_two_corpora_are_labelled(tmp_path, records):
    other = {"provenance": {**synthetic.PROVENANCE, "corpus_sha256": "cd" * 32}}
    write_records([records[0].model_copy(update=other), *records[1:]], tmp_path / "class.jsonl")
    found = read_points(tmp_path / "class.jsonl")
    assert found.labels["corpus"] == ("cd" * 6, *["ab" * 6] * 5)


def test_unique_tokens_of_records(tmp_path, records):
    once = [r.model_copy(update={"config": {**r.config, "unique_tokens": 90_000}}) for r in records]
    write_records(once, tmp_path / "class.jsonl")
    for form in ("data_constrained", "auto"):
        assert read_points(tmp_path / "class.jsonl", form).unique.tolist() == [90_000] * 6
    write_records(records, tmp_path / "class.jsonl")
    assert read_points(tmp_path / "class.jsonl", "auto").unique is None


def test_a_damaged_record_is_named(tmp_path, records):
    path = tmp_path / "class.jsonl"
    write_records(records, path)
    lines = path.read_text().split("\n")
    lines[3] = json.dumps({**json.loads(lines[3]), "L": -2.5})
    path.write_text("\n".join(lines))
    one_line(lambda: read_points(path), f"{path}, line 4: run record: L:", "-2.5")


# --- many rows, and anything at all


def test_more_rows_than_can_be_fitted_are_refused(read, monkeypatch):
    monkeypatch.setattr("scalept_lab.laws.tables.ROWS", 7)
    assert len(read(CSV)) == len(read(JSONL)) == 7
    monkeypatch.setattr("scalept_lab.laws.tables.ROWS", 6)
    one_line(lambda: read(CSV), "rows; keep")
    one_line(lambda: read(JSONL), "rows; keep")


def test_many_rows_take_little_memory_and_no_more_than_moments(tmp_path):
    count = 20_000
    sizes = np.arange(1, count + 1) * 1000
    frame = pd.DataFrame({"params": sizes, "tokens": 20 * sizes, "loss": 2.5, "dataset": "web"})
    frame.to_csv(tmp_path / "points.csv", index=False)
    read_points(tmp_path / "points.csv")
    tracemalloc.start()
    found = read_points(tmp_path / "points.csv")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == count and peak < 400 * count  # 1e6 rows: 0.4 GB


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"", b"{", b"[", b"PAR1", b"\x1f\x8b", b"\xff\xfe", b"PK\x03\x04", CSV.encode(), JSONL.encode()]),
    noise=st.binary(max_size=60), end=st.sampled_from([b"", b"PAR1", b"}", b"]"]), cut=st.integers(0, 300),
    name=st.sampled_from(["a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet", "a.csv.gz", "a"]), form=st.sampled_from([*NEEDED]),
)  # fmt: skip
def test_any_bytes_are_points_or_one_line(tmp_path, start, noise, end, cut, name, form):
    path = Path(tmp_path, name)
    path.write_bytes(start[:cut] + noise + start[cut:] + end)
    try:
        assert len(read_points(path, form)) >= 6
    except InputError as error:
        assert "\n" not in str(error) and str(path) in str(error)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(parquet()) - 1), flip=st.integers(1, 255))
def test_a_parquet_with_a_bad_byte_is_points_or_one_line(tmp_path, at, flip):
    content = bytearray(parquet())
    content[at] ^= flip
    path = tmp_path / "points.parquet"
    path.write_bytes(content)
    try:
        assert len(read_points(path)) >= 6
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_that_nobody_writes_to_is_an_empty_file(tmp_path):
    os.mkfifo(tmp_path / "runs.csv")
    one_line(lambda: read_points(tmp_path / "runs.csv"), "runs.csv: missing column", "an empty file")
