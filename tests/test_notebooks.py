"""The notebook contract: what every notebook has, and what none may have. Reads files, runs nothing."""

from __future__ import annotations

import ast
import json
import re
import string
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scalept_lab.course import exercises, here
from scalept_lab.course.claims import verdict_of
from scalept_lab.course.notebooks import BOOTSTRAP_CELL, metadata_problems

FOLDER = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
IGNORED = {"nbval-ignore-output", "nbval-skip"}
CHINESE = re.compile(r"[\u4e00-\u9fff]")
each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
WIDTH = 109  # characters of a code cell that JupyterLab shows at 1,300 pixels with its side bar open; more scrolls sideways
WIDER = {
    "01": 17,
    "02": 21,
    "03": 34,
    "04": 35,
    "05": 22,
    "06": 19,
    "07": 33,
    "08": 41,
    "09": 34,
    "10": 45,
    "11": 62,
    "12": 35,
}  # lines that do: no more than that, and no more than 40 in a new notebook
LINES = {"00": 25}  # that a learner writes in a notebook, at least; 60 in the others


@cache
def cells(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell in found:
        cell["source"] = "".join(cell["source"])
        cell["tags"] = set(cell["metadata"].get("tags", ()))
    return found


def code(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in cells(path) if cell["cell_type"] == "code"]


def markdown(path: Path) -> str:
    return "\n\n".join(cell["source"] for cell in cells(path) if cell["cell_type"] == "markdown")


def headings(path: Path) -> list[str]:
    return [line.lstrip("# ").strip() for line in re.findall(r"^#{1,6} .*", markdown(path), re.MULTILINE)]


def calls(source: str, name: str) -> list[ast.Call]:
    source = re.sub(r"^\s*[%!].*$", "", source, flags=re.MULTILINE)  # magics are no Python
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [call for call in found if isinstance(call.func, ast.Name) and call.func.id == name]


def printed(cell: dict[str, Any]) -> str:
    """What a cell says as text: its streams, and the plain form of what it displays."""
    said = ["".join(output.get("text", ())) for output in cell["outputs"]]
    said += [
        "".join(output["data"].get("text/plain", "")) + "\n" for output in cell["outputs"] if "data" in output
    ]
    return "".join(said)


def without_images(output: dict[str, Any]) -> str:
    data = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
    return json.dumps({**output, "data": data}, ensure_ascii=False)


def test_there_are_notebooks_and_every_set_of_exercises_has_one():
    assert PATHS
    assert set(exercises.notebook_numbers()) == {path.name[:2] for path in PATHS}


@each
def test_the_map_and_the_readme_lead_to_it(path):
    (course_map,) = [
        cell for cell in code(FOLDER / "00_start_here.ipynb") if "course_map()" in cell["source"]
    ]
    (output,) = course_map["outputs"]
    assert f'<a href="{path.name}">' in "".join(output["data"]["text/html"]), "save notebook 00's map again"
    assert f"(notebooks/{path.name})" in (FOLDER.parent / "README.md").read_text(encoding="utf-8")


@each
def test_title_first_then_where_one_is_then_the_set_up_folded(path):
    title, place, setup = cells(path)[:3]
    assert re.fullmatch(r"# .+", title["source"]), "the first cell is the title alone"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert place["source"] == here.lines(path.name[:2], here.headings(notebook)), (
        "run `scalept run --save` on it"
    )
    assert setup["source"] == BOOTSTRAP_CELL and setup["metadata"]["jupyter"] == {"source_hidden": True}


@each
def test_its_contents_are_links_to_its_headings(path):
    targets = re.findall(r"\]\(#([^)]+)\)", cells(path)[1]["source"])
    assert targets == [here.anchor(heading) for heading in here.headings({"cells": cells(path)})]


def test_the_course_is_these_notebooks():
    assert [lesson.file for lesson in here.COURSE] == [path.name for path in PATHS]


@each
def test_progress_is_shown_at_the_top(path):
    cell = next(cell for cell in code(path) if cell["source"] == f'progress("{path.name[:2]}")')
    assert code(path).index(cell) <= 3 and cell["tags"] & IGNORED


@each
def test_opening(path):
    opening = ""
    for cell in cells(path)[3:]:
        if cell["cell_type"] == "code":
            break
        opening += cell["source"] + "\n"
    for wanted in (r"able to", r"Prerequisites", r"\d+ minutes", r"Key terms"):
        assert re.search(wanted, opening, re.IGNORECASE), f"the opening lacks {wanted!r}"
    assert len(CHINESE.findall(opening)) >= 6, "key terms carry their Chinese names"


@each
def test_body_predicts_and_looks_at_scale(path):
    assert re.search(r"\bpredict", markdown(path), re.IGNORECASE)
    assert any("at scale" in heading.lower() for heading in headings(path))


@each
def test_closing_headings_in_order(path):
    closing = [
        heading for heading in headings(path) if heading in ("Summary", "Pitfalls", "Further reading", "Next")
    ]
    assert closing == ["Summary", "Pitfalls", "Further reading", "Next"]


@each
def test_two_imports_reach_the_whole_kit(path):
    """`import scalept_lab as sl` and `from scalept_lab.course import …`; the first cell is the bootstrap."""
    source = "\n".join(cell["source"] for cell in code(path)[1:])
    imports = [
        line.strip() for line in source.splitlines() if re.match(r"\s*(from|import) scalept_lab", line)
    ]
    assert all(
        re.match(r"import scalept_lab as sl$|from scalept_lab\.course import ", line) for line in imports
    )
    assert "import scalept_lab as sl" in imports


@each
def test_explorer_has_a_static_twin(path):
    explorers = [cell for cell in code(path) if "explorer" in cell["tags"]]
    assert explorers, "no code cell has the tag `explorer`"
    assert any("sl.plots.explorer" in cell["source"] for cell in explorers)
    static = "\n".join(cell["source"] for cell in code(path) if "explorer" not in cell["tags"])
    for cell in explorers:
        assert cell["tags"] & IGNORED, (
            "the view of a widget is not comparable: add the tag nbval-ignore-output"
        )
        drawn = set(re.findall(r"\bplot_\w+", cell["source"]))
        assert drawn, "an explorer names the plot_… function it draws with"
        assert drawn & set(re.findall(r"\bplot_\w+", static)), f"no static cell calls one of {drawn}"


@each
def test_exercises_are_those_of_the_engine_unsolved(path):
    number = path.name[:2]
    asked = []
    for cell in code(path):
        for call in calls(cell["source"], "check"):
            (id,) = [
                arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            ]
            asked.append(id)
            assert re.search(r"(^|[^.])\.\.\.", cell["source"]), f"{id} has no placeholder ..."
            assert f'# hint("{id}")' in cell["source"], f"{id} does not offer its hints"
            assert f'# solution("{id}")' in cell["source"], f"{id} does not offer its solution, commented out"
            assert f"{id}: not answered yet" in printed(cell), f"{id} is not saved unanswered"
            assert f"Exercise {id}" in markdown(path), f"no text announces Exercise {id}"
    assert asked == [exercise.id for exercise in exercises.notebook_exercises(number)]
    assert len(asked) >= 3


@each
def test_claims_hold(path):
    claims = [call for cell in code(path) for call in calls(cell["source"], "claim")]
    assert len(claims) >= 2
    verdicts = re.findall(r"^CLAIM ([A-Z ]+):", "\n".join(printed(cell) for cell in code(path)), re.MULTILINE)
    assert len(verdicts) >= len(claims) and set(verdicts) == {"HOLDS"}
    assert any(calls(cell["source"], "evidence") for cell in code(path)), (
        "the numbers are shown by evidence()"
    )
    for cell in code(path):
        if calls(cell["source"], "claim"):
            assert not cell["tags"] & IGNORED, "a claim stands in a cell that is compared"
        if calls(cell["source"], "evidence"):
            assert cell["tags"] & IGNORED, (
                "evidence() differs between machines: add the tag nbval-ignore-output"
            )


@each
def test_every_code_cell_was_run_in_order(path):
    counts = [cell["execution_count"] for cell in code(path) if "nbval-skip" not in cell["tags"]]
    assert counts == list(range(1, len(counts) + 1))


@each
def test_cells_that_print_have_outputs(path):
    """nbval passes a notebook with stripped outputs without comparing anything."""
    for cell in code(path):
        names = ("print", "display", "claim", "check", "evidence")
        if any(calls(statement, name) for statement in _top_level(cell["source"]) for name in names):
            assert cell["outputs"], f"no output saved: {cell['source'][:80]!r}"


def _top_level(source: str) -> list[str]:
    """Statements that run with the cell, without the bodies of functions and branches."""
    tree = ast.parse(re.sub(r"^\s*[%!].*$", "", source, flags=re.MULTILINE))
    return [ast.unparse(node) for node in tree.body if isinstance(node, (ast.Expr, ast.Assign))]


@each
def test_no_errors_and_nothing_on_stderr(path):
    for cell in code(path):
        for output in cell["outputs"]:
            assert output["output_type"] != "error" or "raises-exception" in cell["tags"]
            assert output.get("name") != "stderr", printed(cell)[:200]


@each
def test_figures_have_alternative_text_and_are_no_svg(path):
    pictures = 0
    for cell in code(path):
        for output in cell["outputs"]:
            assert "image/svg+xml" not in output.get("data", {}), "SVG carries a time stamp"
            if "image/png" in output.get("data", {}):
                pictures += 1
                alt = output["metadata"].get("image/png", {}).get("alt", "")
                assert len(alt) >= 20, f"a figure without alternative text: {cell['source'][:80]!r}"
            for image in re.findall(r"<img [^>]*>", "".join(output.get("data", {}).get("text/html", ""))):
                assert re.search(r'alt="[^"]{20,}"', image), "an <img> without alternative text"
    assert pictures, "no figure"


@each
def test_code_cells_are_short(path):
    for cell in code(path):
        assert len(cell["source"].splitlines()) <= 30, f"too long: {cell['source'][:80]!r}"


@each
def test_lines_of_code_fit_the_page(path):
    lines = [
        line
        for cell in code(path)
        if cell["source"] != BOOTSTRAP_CELL
        for line in cell["source"].splitlines()
    ]
    wider = [line for line in lines if len(line) > WIDTH]
    assert len(wider) <= WIDER.get(path.name[:2], 40), "\n".join(wider)


@each
def test_nothing_that_breaks_a_comparison(path):
    for cell in code(path):
        if cell["source"] == BOOTSTRAP_CELL:
            continue
        assert not re.search(r"^\s*[%!]", cell["source"], re.MULTILINE), "no magics"
        assert "clear_output" not in cell["source"] and "display_id" not in cell["source"]
        assert not re.search(r"from tqdm import|import tqdm$", cell["source"], re.MULTILINE), "use tqdm.auto"


@each
def test_outputs_name_no_folder_of_one_machine(path):
    for cell in code(path):
        for output in cell["outputs"]:
            found = re.search(
                r"(?<![\w./:])/(work|home|root|Users|tmp|opt|var|mnt)/[\w.-]+", without_images(output)
            )
            assert not found, f"{found.group()} in the output of {cell['source'][:80]!r}"


@each
def test_metadata_is_clean(path):
    assert not metadata_problems(path)


@each
def test_file_is_small_enough_to_be_shown(path):
    assert path.stat().st_size < 2_000_000


# --- where the learner builds, predicts and is scored ---------------------------------------------------------


def plain(text: str) -> str:
    """Words without markup and line breaks."""
    return re.sub(r"[\s*`$\\]+", " ", text).strip()


@each
def test_questions_stand_in_the_notebook_as_in_the_set(path):
    text = plain(markdown(path))
    for exercise in exercises.notebook_exercises(path.name[:2]):
        assert exercise.heading in headings(path), f"the heading is not {exercise.heading!r}"
        assert plain(exercise.question) in text, (
            f"{exercise.id}: its question reads otherwise in the notebook"
        )


@each
def test_builds_are_skeletons_that_the_notebook_then_uses(path):
    asked = exercises.notebook_exercises(path.name[:2])
    builds = [exercise for exercise in asked if exercise.kind == "build"]
    assert len(builds) >= 2
    assert {exercise.kind for exercise in asked} & {"debug", "design", "read"} or path.name[:2] == "00"
    source = "\n\n".join(cell["source"] for cell in code(path))
    for exercise in builds:
        (cell,) = [cell for cell in code(path) if f'check("{exercise.id}"' in cell["source"]]
        assert exercise.skeleton.strip() in cell["source"], (
            f"{exercise.id}: the cell does not hold the skeleton"
        )
        name = re.search(r"^(?:def|class) (\w+)", exercise.skeleton, re.MULTILINE)[1]
        assert f'{name} = built("{exercise.id}")' in cell["source"]
        later = source.partition(f'built("{exercise.id}")')[2]
        assert re.search(rf"\b{name}\b", re.sub(r"#.*", "", later)), f"{name} is not used after it is built"


@each
def test_a_learner_writes_enough(path):
    written = sum(lines_to_write(exercise) for exercise in exercises.notebook_exercises(path.name[:2]))
    assert written >= LINES.get(path.name[:2], 60), f"{written} lines"


def lines_to_write(exercise: exercises.Exercise) -> int:
    """Lines of code in the solution, without blanks, comments, docstrings, imports and what the skeleton gives."""
    given = set(map(str.strip, exercise.skeleton.splitlines()))
    docs = {line for node in ast.walk(ast.parse(exercise.solution)) if isinstance(node, ast.FunctionDef)
            if ast.get_docstring(node) for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)}  # fmt: skip
    lines = enumerate(map(str.strip, exercise.solution.splitlines()), 1)
    kept = [line for number, line in lines if line and number not in docs and line not in given]
    return sum(not line.startswith(("#", "import ", "from ")) for line in kept)


@each
def test_every_prompt_to_predict_keeps_the_guess(path):
    prompts = len(re.findall(r"\*\*Predict", markdown(path)))
    guesses = [call for cell in code(path) for call in calls(cell["source"], "predict")]
    ids = [call.args[0].value for call in guesses]
    assert len(ids) >= 3 and ids == [
        f"{path.name[:2]}.{letter}" for letter in string.ascii_lowercase[: len(ids)]
    ]
    assert prompts <= len(ids), f"{prompts} prompts, {len(ids)} guesses kept"
    for call in guesses:
        words = {word.arg: word.value for word in call.keywords}
        assert isinstance(call.args[1], ast.Constant) and call.args[1].value is ..., "the guess is left open"
        assert isinstance(words["otherwise"], ast.Tuple), "a named naive guess stands in"
    compared = {call.args[0].value for cell in code(path) for call in calls(cell["source"], "compare")}
    assert compared == set(ids), "each guess is compared with what was measured"


@each
def test_claims_name_their_rival_and_fall_on_null_data(path):
    """Each claim's own numbers are in its output: with the signs turned, with nothing in them, and with its null, it must
    not hold."""
    asked = [call for cell in code(path) for call in calls(cell["source"], "claim")]
    assert all("than" in {word.arg for word in call.keywords} for call in asked)
    kept = [output["metadata"].get("scalept") for cell in code(path) for output in cell["outputs"]
            if output.get("metadata", {}).get("scalept")]  # fmt: skip
    assert len(kept) >= len(asked) >= 3
    for found in kept:
        values, least = np.array(found["difference"]), found["at_least"]
        assert verdict_of(values, least)[0] == "HOLDS", found["claim"]
        assert verdict_of(-values, least)[0] != "HOLDS", found["claim"]
        assert verdict_of(0 * values, least)[0] != "HOLDS", found["claim"]
        if len(values) > 2:
            flipped = values * np.where(np.arange(len(values)) % 2, -1, 1)
            assert verdict_of(flipped, least)[0] != "HOLDS", (
                f"{found['claim']}: half of it turned changes nothing"
            )
        if found["null"] is not None:
            assert not found["null"][1] > least, found["claim"]


@each
def test_figures_say_what_they_show(path):
    for cell in code(path):
        for output in cell["outputs"]:
            told = output.get("metadata", {}).get("image/png", {})
            if "alt" not in told:
                continue
            assert len(told.get("title", "").split()) >= 4, (
                f"no takeaway in the title: {cell['source'][:80]!r}"
            )
            assert any(all(labels) for labels in told["axes"]), (
                f"axes without labels: {cell['source'][:80]!r}"
            )
