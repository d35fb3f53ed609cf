"""The command line as a contract: one JSON object and exit 0, or one line on stderr and exit 2; never a traceback."""

from __future__ import annotations

import concurrent.futures as futures
import contextlib
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import synthetic

import scalept_lab.study.sweep
from scalept_lab import cli
from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.errors import InputError
from scalept_lab.laws import fit
from scalept_lab.runs import RunRecord, Store, read_records, write_records
from scalept_lab.study import standard, study


@pytest.fixture
def scalept(capsys, tmp_path, monkeypatch):
    """Calls the command line in an empty folder: exit status, stdout, stderr."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code  # type: ignore[assignment]
        out, err = capsys.readouterr()
        return status, out, err

    return call


def no_such_number(text: str):
    raise AssertionError(f"{text} is not JSON")


def answer(found: tuple[int, str, str]) -> dict:
    status, out, err = found
    assert status == 0, err
    assert out.count("\n") == 1 and "Traceback" not in err
    parsed = json.loads(out, parse_constant=no_such_number)
    assert isinstance(parsed, dict)
    return parsed


def points(path: Path, rows: int = 30) -> Path:
    rng = np.random.default_rng(0)
    lines = ["params,tokens,loss"]
    for N, D in zip(10 ** rng.uniform(4, 6, rows), 10 ** rng.uniform(5, 7, rows), strict=True):
        lines.append(f"{N},{D},{synthetic.planted_loss(N, D) * np.exp(0.002 * rng.standard_normal())}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def run_file(tmp_path, tiny_corpus):
    def write(name: str = "run.json", **fields) -> Path:
        config = TrainConfig(
            model=ModelConfig(width=16, context=16, heads=2), corpus=tiny_corpus, tokens=640, eval_windows=8
        )
        path = tmp_path / name
        path.write_text(json.dumps({**config.model_dump(), **fields}))
        return path

    return write


# --- what each command answers


def test_check(scalept):
    found = answer(scalept("check", "--json"))
    assert {"ok", "python", "torch", "cores", "memory_bytes", "device", "gflops"} == set(found)
    assert found["ok"] is True
    status, out, _ = scalept("check")
    assert status == 0 and "ready" in out and "GFLOP/s" in out


def test_check_of_a_machine_that_is_not_ready(scalept, monkeypatch):
    monkeypatch.setattr("scalept_lab.machine.memory_bytes", lambda: 10**9)
    status, out, _ = scalept("check", "--json")
    assert status == 1 and json.loads(out)["ok"] is False
    assert "NOT ready" in scalept("check")[1]


def test_count(scalept, tmp_path):
    found = answer(scalept("count", "gpt2", "--json"))
    assert set(found) == {"total", "non_embedding", "embedding", "flops_per_token"}
    assert found["total"] == 124_439_808
    (tmp_path / "config.json").write_text(ModelConfig(width=32).model_dump_json())
    assert answer(scalept("count", tmp_path / "config.json", "--json"))["non_embedding"] == 2 * 12 * 32**2
    assert "124,439,808" in scalept("count", "gpt2")[1]


def test_memory(scalept):
    found = answer(scalept("memory", "--params", "7.5e9", "--gpus", "64", "--zero", "3", "--json"))
    assert set(found) == {"params", "grads", "optimizer", "total"}
    assert found["total"] == 1_875_000_000
    assert "1.88 GB" in scalept("memory", "--params", "7.5e9", "--gpus", "64", "--zero", "3")[1]


def test_plan(scalept):
    found = answer(scalept("plan", "--flops", "1e21", "--json"))
    assert set(found) == {"N", "D", "tokens_per_param", "loss", "status"}
    assert 6 * found["N"] * found["D"] == pytest.approx(1e21)
    assert scalept("plan", "--flops", "1e21", "--law", "besiroglu")[0] == 0


def test_a_whole_plan_written_sealed_checked_and_reported(scalept):
    found = answer(scalept("plan", "--scenario", "serving", "--out", "plan.json", "--json"))
    assert (
        set(found) == {"ok", "scenario", "N", "D", "checks", "bill", "score"} and found["score"]["skill"] == 0
    )
    status, out, _ = scalept("plan", "plan.json")
    assert status == 1 and "NO   is sealed with a prediction" in out and "seal it" in out
    assert answer(scalept("plan", "plan.json", "--seal", "--report", "plan.html", "--json"))["ok"] is True
    assert "naive plan" in Path("plan.html").read_text(encoding="utf-8")
    assert scalept("plan", "plan.json")[0] == 0
    made = json.loads(Path("plan.json").read_text(encoding="utf-8"))
    Path("huge.json").write_text(json.dumps({**made, "model": {"width": 65536, "depth": 512, "heads": 512}}))
    status, out, _ = scalept("plan", "huge.json", "--json")
    huge = json.loads(out)
    assert status == 1 and huge["ok"] is False and huge["score"] is None and huge["N"] == 12 * 512 * 65536**2


def test_fit_and_plan_from_its_answer(scalept, tmp_path):
    file = points(tmp_path / "points.csv")
    found = answer(scalept("fit", file, "--bootstrap", "50", "--json"))
    assert {"params", "objective", "interval95", "status", "detail", "seconds", "optimal", "card"} <= set(
        found
    )
    assert set(found["params"]) == {"E", "A", "B", "alpha", "beta"} <= set(found["interval95"])
    assert set(found["optimal"]) == {"a", "b"}
    assert found["params"]["E"] == pytest.approx(synthetic.PLANTED["E"], rel=0.15)
    (tmp_path / "law.json").write_text(json.dumps(found))
    planned = answer(scalept("plan", "--flops", "1e14", "--law", tmp_path / "law.json", "--json"))
    assert planned["loss"] > found["params"]["E"]
    assert "alpha" in scalept("fit", file)[1]
    assert set(answer(scalept("fit", file, "--form", "power", "--json"))["params"]) == {"E", "A", "alpha"}


def test_train(scalept, run_file):
    file = run_file()
    record = RunRecord(**answer(scalept("train", file, "--json")))
    assert record.ok and record.D == 640
    assert record.id == TrainConfig(**json.loads(file.read_text())).id()
    status, out, _ = scalept("train", file)
    assert status == 0 and f"loss {record.L:.4f} nats per token" in out


def test_a_diverged_run_is_an_answer(scalept, run_file):
    record = RunRecord(**answer(scalept("train", run_file(lr=1e30, tokens=6400), "--json")))
    assert record.status == "diverged"


def test_merge(scalept, tmp_path):
    for who, seeds in (("alice", (0, 1)), ("bob", (1, 2))):
        for seed in seeds:
            Store(tmp_path / who).save(synthetic.record(synthetic.config(16, 1e5, seed=seed)))
    (tmp_path / "bob" / "torn.json").write_text("{")
    folders = (tmp_path / "alice", tmp_path / "bob")
    found = answer(scalept("merge", *folders, "--out", tmp_path / "class.jsonl", "--json"))
    assert {key: found[key] for key in ("accepted", "duplicates")} == {"accepted": 3, "duplicates": 1}
    (slip,) = found["rejected"]
    assert set(slip) == {"file", "line", "reason"} and slip["file"].endswith("torn.json")
    assert len(read_records(tmp_path / "class.jsonl")) == 3
    assert found["law"] is None and "at least 6 points" in found["status"] and found["learners"] == []
    _, out, _ = scalept("merge", *folders, "--out", tmp_path / "class.parquet")
    assert "3 records" in out and "1 duplicates" in out and "torn.json:1" in out


def test_merge_of_a_class(scalept, tmp_path):
    """Two learners, one of them in a file whose name would clear the screen."""
    runs = synthetic.grid_records()
    for name, mine in (("anna", runs[:8]), ("ben", runs[8:])):
        write_records(mine, tmp_path / "class" / f"{name}.jsonl")
    (tmp_path / "class" / "\x1b[2J.jsonl").write_text("{}")
    files = sorted((tmp_path / "class").iterdir())
    found = answer(scalept("merge", *files, "--out", tmp_path / "all.jsonl", "--json"))
    assert {row["learner"] for row in found["learners"]} == {"anna", "ben"}
    assert (
        set(found["law"]) == {"E", "A", "B", "alpha", "beta"} == set(found["law"]) & set(found["interval95"])
    )
    assert {"spread", "forecasters", "best_forecasters", "notes", "status"} <= set(found)
    _, out, _ = scalept("merge", *files, "--out", tmp_path / "all.jsonl")
    assert "16 runs of 2 learners" in out and "\\x1b[2J.jsonl:1" in out and "\x1b" not in out


def test_run(scalept, tmp_path):
    for name, source in (("good", "print(1 + 1)"), ("bad", "1 / 0")):
        cell = nbformat.v4.new_code_cell(source)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / f"{name}.ipynb")
    status, out, _ = scalept("run", tmp_path / "good.ipynb", tmp_path / "bad.ipynb", "--json")
    found = json.loads(out)
    assert status == 1 and found["ok"] is False  # one of them failed
    for each, ok in zip(found["notebooks"], (True, False), strict=True):
        assert {"ok", "seconds", "peak_rss_bytes"} <= set(each) and each["ok"] is ok


@pytest.fixture
def small_study(monkeypatch, tiny_corpus):
    """The standard study at a hundredth of its size, on the tiny corpus, in this process."""

    def in_a_thread(configs, store, executor=None, progress=True):
        with futures.ThreadPoolExecutor(1) as one:
            return scalept_lab.study.sweep.run_all(configs, store, one, progress=False)

    def quickly(records, **options):
        return fit.fit_records(records, **{**options, "bootstrap": 50})

    fields = {"corpus": tiny_corpus, "eval_windows": 16}
    sweep = functools.partial(standard.standard_sweep, **fields)
    monkeypatch.setattr(study, "run_all", in_a_thread)
    monkeypatch.setattr(study, "fit_records", quickly)
    monkeypatch.setattr(standard, "SLICES", {1e9: (16, 24), 2e9: (16, 24, 32), 4e9: (16, 24, 32)})
    monkeypatch.setattr(standard, "FIT_FROM", 0.0)
    monkeypatch.setattr(standard, "HERO_FACTOR", 2.0)
    monkeypatch.setattr(standard, "standard_sweep", sweep)


def test_study(scalept, small_study, tmp_path, monkeypatch):
    out = tmp_path / "out"
    found = answer(scalept("study", "--out", out, "--budget-flops", "1e12", "--json"))
    assert {"runs", "law", "interval95", "hero", "seconds"} <= set(found)
    assert set(found["law"]) == {"E", "A", "B", "alpha", "beta"} <= set(found["interval95"])
    hero = found["hero"]
    assert set(hero) == {"flops", "predicted", "low", "high", "measured", "error_percent"}
    assert found["runs"] == len(read_records(out / "runs")) == 8
    assert hero["error_percent"] == pytest.approx(100 * (hero["measured"] / hero["predicted"] - 1))
    assert hero["flops"] == pytest.approx(2 * max(run.C for run in read_records(out / "runs")), rel=0.02)

    assert (out / "report.html").exists()

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    monkeypatch.setattr(standard, "save_figures", lambda *_: [])  # drawing takes longer than all the rest
    monkeypatch.setattr(study.Study, "report", lambda *_, **__: out / "report.html")
    status, text, _ = scalept("study", "--out", out)  # again, as a learner reads it: nothing is trained twice
    assert status == 0 and before == {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    for said in ("1. plan", "2. fit", "3. predict", "4. score", "alpha", "report:", "minutes"):
        assert said in text
    assert "GFLOP" not in text  # a speed is that of what was trained now


def test_the_budget_that_is_asked_for_is_enough(scalept, small_study, tmp_path):
    _, _, err = scalept("study", "--budget-flops", "1e8", "--out", tmp_path / "out")
    least = float(err.split("expected at least ")[1].split(",")[0])
    assert standard.standard_sweep(least).flops <= least < 1.1 * standard.standard_sweep(least).flops


def test_the_smallest_study_that_is_allowed_can_be_fitted():
    """Six points and three sizes at least, after the smallest runs are left out."""
    budget = min(c for c in np.geomspace(1e10, standard.DEFAULT_BUDGET, 60) if pays(c))
    runs = [
        c for c in standard.standard_sweep(budget) if scalept_lab.study.sweep.flops_of(c) >= standard.FIT_FROM
    ]
    assert len(runs) >= 6 and len({c.model.width for c in runs}) >= 3 and len({c.tokens for c in runs}) >= 3
    assert budget < standard.DEFAULT_BUDGET and pays(standard.DEFAULT_BUDGET)


def pays(budget: float) -> bool:
    try:
        return bool(standard.standard_sweep(budget))
    except InputError:
        return False


# --- bad input


def refused(found: tuple[int, str, str], says: str) -> None:
    status, out, err = found
    err = err.rsplit("\r", 1)[-1]  # a progress bar that wiped itself away
    assert status == 2, (out, err)
    assert out == ""
    assert err.startswith("scalept") and err.endswith("\n") and err.count("\n") == 1, err
    assert "Traceback" not in err and len(err) < 500
    assert says in err, err
    assert not list(Path().iterdir()), "it wrote something"


CSV: dict[str, str | bytes] = {
    "missing column loss": "params,tokens\n" + "1e5,1e6\n" * 8,
    "neither params nor tokens varies": "size,tokens,loss\n" + "1e5,1e6,3\n" * 8,
    "got 'many'": "params,tokens,loss\n1e5,1e6,3\nmany,2e6,2.9\n" + "3e5,1e6,3\n" * 8,
    "line 3, column tokens: expected a positive number, got '0'": "params,tokens,loss\n1e5,1e6,3\n1e5,0,3\n",
    "column loss: expected a positive number, got '-2'": "params,tokens,loss\n1e5,1e6,-2\n",
    "got 'nan'": "params,tokens,loss\n1e5,1e6,nan\n",
    "got 'inf'": "params,tokens,loss\n1e5,inf,3\n",
    "got ''": "params,tokens,loss\n1e5,,3\n",
    "at least 6 points, got 2": "params,tokens,loss\n1e5,1e6,3\n2e5,2e6,2.8\n",
    "expected 3 values as in the header": "params,tokens,loss\n1e5,1e6\n",
    "an empty file": "",
    "not a readable table": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("says", CSV)
@pytest.mark.parametrize("json_", [["--json"], []])
def test_bad_points(scalept, tmp_path, says, json_):
    content = CSV[says]
    file = tmp_path / "points.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(scalept("fit", file, *json_), says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "arguments are required: COMMAND"),
        (["--json"], "COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["check", "--fast"], "unrecognized arguments: --fast"),
        (["fit"], "POINTS"),
        (["fit", "gone.csv"], "no such file: gone.csv"),
        (["fit", ".."], "not a readable table (a folder)"),
        (["fit", "{points}", "--form", "cubic"], "form: expected one of auto, chinchilla, "),
        (["fit", "{points}", "--form", "data_constrained"], "missing column unique_tokens"),
        (["fit", "{points}", "--bootstrap", "-1"], "bootstrap"),
        (["fit", "{points}", "--bootstrap", "some"], "invalid int value"),
        (["count", "gpt5"], "model: expected one of gpt2"),
        (["count", "gpt-2"], "did you mean gpt2?"),
        (["count", "gone.json"], "gone.json: expected a model's name or its config.json, found no such file"),
        (["count", "{points}"], "not JSON"),
        (["count", "{list}"], "expected a JSON object"),
        (["memory"], "--params"),
        (["memory", "--params", "1e9", "--gpus", "0"], "gpus: expected a whole number of at least 1, got 0"),
        (["memory", "--params", "1e9", "--gpus", "1.5"], "invalid int value"),
        (["memory", "--params", "1e9", "--zero", "4"], "zero: expected a whole number from 0 to 3, got 4"),
        (["memory", "--params", "1e9", "--precision", "int3"], "precision: expected one of"),
        (["memory", "--params", "0"], "params: expected a positive number"),
        (["memory", "--params", "nan"], "params: expected a positive number"),
        (["memory", "--params=-5"], "params: expected a positive number"),
        (["plan"], "--flops"),
        (["plan", "--flops", "0"], "flops: expected a positive number"),
        (["plan", "--flops", "nan"], "flops: expected a positive number"),
        (["plan", "--flops", "inf"], "flops: expected a positive number"),
        (["plan", "--flops=-1e21"], "flops: expected a positive number"),
        (["plan", "--flops", "much"], "invalid float value"),
        (["plan", "--scenario", "moon"], "scenario: expected one of day, month"),
        (["plan", "gone.json"], "gone.json: expected a plan"),
        (["plan", "{list}"], "a JSON object"),
        (["plan", "{deep}"], "nested too deep"),
        (["plan", "{list}", "--scenario", "day"], "got two of them"),
        (["plan", "--flops", "1e21", "--law", "moore"], "law: expected one of hoffmann"),
        (["plan", "--flops", "1e21", "--law", "{points}"], "not JSON"),
        (["plan", "--flops", "1e21", "--law", "{list}"], "the constants of a law"),
        (["study", "--budget-flops", "1"], "budget_flops: expected at least"),
        (["study", "--budget-flops", "0"], "budget_flops: expected a positive number"),
        (["study", "--budget-flops", "nan"], "budget_flops: expected a positive number"),
        (["study", "--budget-flops", "inf"], "budget_flops: expected a positive number"),
        (["study", "--budget-flops=-1e12"], "budget_flops: expected a positive number"),
        (["study", "--budget-flops", "lots"], "invalid float value"),
        (["study", "--seed", "-1"], "seed"),
        (["study", "--out", "{points}"], "points.csv"),
        (["train"], "CONFIG.json"),
        (["train", "gone.json"], "gone.json: expected a JSON file with a run's config, found no such file"),
        (["train", ".."], "got a folder"),
        (["train", "{points}"], "not JSON"),
        (["train", "{deep}"], "nested too deep to read"),
        (["train", "{list}"], "TrainConfig"),
        (["merge", "--out", "all.jsonl"], "DIR"),
        (["merge", "{empty}"], "--out"),
        (["merge", "gone", "--out", "all.jsonl"], "no such file or folder: gone"),
        (["merge", "{empty}", "--out", "all.jsonl"], "expected at least one run record, got 0"),
        (["merge", "{record}", "--out", "all.csv"], "expected a .jsonl or .parquet file"),
        (["merge", "{record}", "--out", "{points}/all.jsonl"], "points.csv"),
        (["run"], "NOTEBOOK"),
        (["run", "gone.ipynb"], "found none at gone.ipynb"),
        (["run", "{points}"], "expected a notebook"),
        (["run", "{broken}"], "not a readable notebook"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_arguments(scalept, tmp_path, arguments, says):
    names = {
        "list": "list.json",
        "deep": "deep.json",
        "empty": "empty",
        "broken": "broken.ipynb",
        "record": "record.json",
    }
    given = {"points": points(tmp_path / "points.csv")} | {
        key: tmp_path / name for key, name in names.items()
    }
    given["list"].write_text("[1, 2]")
    given["deep"].write_text("[" * 100_000)
    given["empty"].mkdir()
    given["broken"].write_text("{}")
    given["record"].write_text(synthetic.record(synthetic.config(16, 1e5)).model_dump_json())
    refused(scalept(*(argument.format(**given) for argument in arguments)), says)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"corpus": "gone.txt"}, "gone.txt: no such file or folder"),
        ({"corpus": "{empty}"}, "empty"),
        ({"corpus": "{short}"}, "short"),
        ({"corpus": ""}, "corpus"),
        ({"tokens": 0}, "tokens"),
        ({"tokens": "many"}, "tokens"),
        ({"lr": float("nan")}, "lr"),
        ({"lr": float("inf")}, "lr"),
        ({"colour": "red"}, "colour"),
        ({"seed": -1}, "seed"),
        ({"unique_tokens": 10**12}, "unique_tokens"),
        ({"model": {"width": 33}}, "width 33 is not a multiple of heads"),
        ({"model": {"width": 16, "vocab_size": 100}}, "vocab_size: expected at least 256"),
        ({"model": {"width": 16, "context": 50_000}}, "use a longer corpus or a shorter context"),
        ({"model": {"width": 16, "causal": False}}, "model.causal: expected true, got false"),
        ({"model": {"width": 2**16, "depth": 100, "heads": 16}}, "model: expected a run that fits into"),
        ({"batch": 10**9}, "batch 1,000,000,000"),
        ({"delayed": {"workers": 2}}, "delayed.fit_delayed trains such a run"),
    ],
    ids=str,
)
@pytest.mark.parametrize("json_", [["--json"], []])
def test_a_run_that_cannot_be_made(scalept, run_file, tmp_path, fields, says, json_):
    if str(fields.get("corpus")).startswith("{"):
        fields = {
            "corpus": fields["corpus"].format(empty=tmp_path / "empty.txt", short=tmp_path / "short.txt")
        }
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("Too short for anything.")
    refused(scalept("train", run_file(**fields), *json_), says)


def test_half_of_what_torchrun_sets_is_not_enough(scalept, run_file, monkeypatch):
    """WORLD_SIZE alone, as a job script may leave it. (What works under torchrun is in test_distributed.)"""
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused(scalept("train", run_file(), "--json"), "could not join the other ranks at ?:?")


def test_a_run_does_not_go_on_with_changed_text(scalept, run_file, tmp_path, tiny_corpus):
    file, folder = tmp_path / "mine.txt", tmp_path / "kept"
    text = Path(tiny_corpus).read_text()
    file.write_text(text[:40_000])
    given = run_file(corpus=str(file), tokens=6400), "--checkpoint", folder, "--every", "10", "--json"
    assert scalept("train", *given)[0] == 0
    file.write_text(text[40_000:80_000])
    refused(scalept("train", *given), "trained on other text")


def test_checkpoints_need_steps_between_them(scalept, run_file):
    refused(
        scalept("train", run_file(), "--checkpoint", "here", "--every", "0"),
        "--every: expected a whole number of at least 1, got 0",
    )


def test_an_interrupt_is_one_line_too(scalept, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("scalept_lab.costs.counts.count", interrupt)
    status, out, err = scalept("count", "gpt2")
    assert (status, out) == (130, "") and err.count("\n") == 1 and "run it again to go on" in err


@pytest.mark.parametrize("arguments", [[], ["plan", "--flops", "nan", "--json"], ["count", "gpt2", "--json"]])
def test_as_a_process(tmp_path, arguments):
    """From the shell: exit statuses, streams, and (these three need no torch) a start in a moment."""
    script = Path(sys.executable).with_name("scalept")
    done = subprocess.run(
        [str(script), *arguments] if script.exists() else [sys.executable, "-m", "scalept_lab.cli", *arguments],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONWARNINGS": "default"}, timeout=60,
    )  # fmt: skip
    if "gpt2" in arguments:
        assert done.returncode == 0 and json.loads(done.stdout)["total"] == 124_439_808 and not done.stderr
    else:
        assert done.returncode == 2 and not done.stdout and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "line",
    ["count gpt2 | true", "count gpt2 --json | true", "count --help | true", "--help | true", "count gone 2>&1 | true",
     "memory --params 7e9 | head -c 1"],
)  # fmt: skip
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_ends_a_command_without_a_word(tmp_path, line, unbuffered):
    """The reader is gone before the command writes; the status is the shell's own for that (141), or that of the command."""
    arguments, _, reader = line.partition(" |")
    script = f"({sys.executable} -m scalept_lab.cli {arguments}; echo $? >status) |{reader}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=60,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    assert done.stderr == ""
    assert int((tmp_path / "status").read_text()) in ({0, 141} if "gone" not in line else {2, 141})


def test_a_pipe_closed_on_a_long_answer(tmp_path):
    code = "from scalept_lab import cli; cli.check = lambda _: ({}, 'x' * 10**6); raise SystemExit(cli.main(['check']))"
    script = f'({sys.executable} -c "{code}"; echo $? >status) | head -c 1'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (done.stdout, done.stderr, (tmp_path / "status").read_text()) == ("x", "", "141\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_an_answer_that_finds_no_room_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "scalept_lab.cli", "count", "gpt2"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "scalept: No space left on device\n")


def test_every_command_has_help(scalept):
    for command in ("check", "study", "fit", "count", "memory", "plan", "train", "merge", "run"):
        status, out, _ = scalept(command, "--help")
        assert status == 0 and "--json" in out


def test_a_terminal_that_knows_no_chinese_ends_no_command(tmp_path):
    """What it cannot show comes as its number; files keep their names and their UTF-8."""
    Store(tmp_path / "词").save(synthetic.record(synthetic.config(16, 1e5)))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "scalept_lab.cli", "merge", "词", "--out", "词.jsonl"],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 records in \\u8bcd.jsonl, 0 duplicates\n" and (tmp_path / "词.jsonl").exists()


@pytest.mark.parametrize(
    "rank, ranks", [("", ""), ("0", "2"), ("first", "2"), ("1", ""), ("1", "1"), ("2", "2"), ("5", "two"), ("²", "2"),
                    ("9" * 5000, "2")],
)  # fmt: skip
def test_a_rank_that_is_none_of_its_group_is_not_silent(scalept, monkeypatch, rank, ranks):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", ranks)
    assert scalept("count", "gpt2")[1]
    assert "expected" in scalept("count", "no-such-model")[2]


def test_of_several_ranks_the_first_answers(scalept, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert scalept("count", "gpt2")[1:] == ("", "")


def test_a_study_without_out_goes_where_results_go(scalept, monkeypatch, tmp_path):
    asked = []

    def run(out, *_, **__):
        asked.append(out)
        raise InputError("enough")

    monkeypatch.setattr(standard, "run_standard_study", run)
    monkeypatch.delenv("SCALEPT_RESULTS", raising=False)
    scalept("study")
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path / "there"))
    scalept("study")
    scalept("study", "--out", "here")
    assert list(map(str, asked)) == ["results/study", str(tmp_path / "there" / "study"), "here"]


@pytest.mark.parametrize(
    "words",
    [["count", "a\nb"], ["merge", "a\nb"], ["a\nb"], ["study", "--seed", "\x1b[2J"], ["count", "x" * 9000]],
)
def test_odd_words_are_told_in_one_line(words, capsys):
    with contextlib.suppress(SystemExit):
        assert cli.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable() and len(line) < 2100
