"""What becomes of text: in many scripts, with copies and secrets planted in it, and in many kinds of files.

    python benchmarks/texts.py scripts      # table: script × documents in, out, near copies found, redacted
    python benchmarks/texts.py files        # table: kind of file × read, named, memory; minutes, some write gigabytes
    python benchmarks/texts.py files --only gz

By hand, never in CI (`tests/data` asks the small ones). What is planted is known (`scripts`, `filekinds`), so the
tables say what was missed. Every kind of file is read in a process of its own, with a limit on its time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filekinds import KINDS, Kind
from scripts import ORDINARY, SCRIPTS, Planted, planted

SECONDS = 120
READER = """
import json, resource, sys, warnings
import pyarrow, pyarrow.parquet, pandas, scalept_lab.data.clean, charset_normalizer
from scalept_lab.data import local
from scalept_lab.errors import InputError
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
start, told, texts, raised = peak(), "", [], ""
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        texts = [text for _, text in local.documents(json.loads(sys.argv[1]))]
    except InputError as error:
        told = str(error)
    except BaseException as error:
        raised = repr(error)[:200]
told = "\\n".join([told] * bool(told) + [str(each.message) for each in caught])
json.dump({"count": len(texts), "texts": texts[:50], "told": told, "raised": raised, "bytes": peak() - start}, sys.stdout)
"""


def of_a_script(made: Planted) -> dict[str, int]:
    """What reading and cleaning make of a planted corpus, counted against what was planted."""
    from scalept_lab.data import clean, local, sources

    with tempfile.TemporaryDirectory() as place:
        for name, text in made.texts.items():
            Path(place, f"{name}.txt").write_bytes(text.encode())
        read = local.documents(place)
    table = sources.table((text, "", "", name, "") for name, text in read)
    kept, _ = clean.clean(table, rules=clean.PROSE_RULES, progress=False)
    names = {path.partition(".")[0] for path in kept["path"]}
    folded = unicodedata.normalize("NFKC", "\n".join(kept["text"]))
    secrets = [unicodedata.normalize("NFKC", secret) for secret in made.secrets]
    return {
        "bytes in": sum(len(text.encode()) for text in made.texts.values()),
        "in": len(made.texts),
        "out": len(kept),
        "near planted": len(made.near),
        "near found": sum(name not in names for name in made.near),
        "same planted": len(made.same),
        "same found": sum(name not in names for name in made.same),
        "falsely removed": sum(name not in names for name in made.different),
        "secrets": len(secrets),
        "redacted": len(secrets) - sum(folded.count(secret) for secret in set(secrets)),
        "falsely redacted": sum(
            unicodedata.normalize("NFKC", each) not in folded for each in ORDINARY[: len(made.different)]
        ),
    }


def of_a_kind(name: str) -> dict[str, Any]:
    """What reading makes of a kind of file: documents, what was told, peak memory above the start, and what is wrong with it."""
    kind = KINDS[name]
    with tempfile.TemporaryDirectory() as place:
        path = kind.write(Path(place))
        try:
            run = subprocess.run(
                [sys.executable, "-c", READER, json.dumps(str(path))],
                capture_output=True,
                timeout=SECONDS,
                text=True,
            )
            found = (
                json.loads(run.stdout)
                if run.returncode == 0
                else {"raised": f"died: {run.returncode} {run.stderr[-100:]}"}
            )
        except subprocess.TimeoutExpired:
            found = {"raised": f"more than {SECONDS} s"}
    found = {"count": 0, "texts": [], "told": "", "bytes": 0, **found}
    return {**found, "wrong": wrong(kind, found)}


def wrong(kind: Kind, found: dict[str, Any]) -> str:
    """What is wrong with what reading made of a kind of file; empty where nothing is."""
    faults = [found["raised"]] if found["raised"] else []
    if kind.texts is not None and sorted(found["texts"]) != sorted(kind.texts):
        faults.append(f"{found['count']} documents, expected {len(kind.texts)}, or other text")
    if found["count"] < kind.least:
        faults.append(f"{found['count']} documents, expected {kind.least}")
    if kind.named not in found["told"]:
        faults.append(f"{kind.named} is not named")
    if "\n" in found["told"]:
        faults.append("more than a line")
    if not kind.named and found["told"]:
        faults.append("told without need")
    if found["bytes"] > 1e9:
        faults.append("more than 1 GB")
    return "; ".join(faults)


def markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("scripts", "files"))
    parser.add_argument("--only", default="", help="those whose name holds this")
    options = parser.parse_args(arguments)
    if options.what == "scripts":
        found = {
            name: of_a_script(planted(script)) for name, script in SCRIPTS.items() if options.only in name
        }
        print(
            markdown(
                ["script", *next(iter(found.values()))],
                [[name, *row.values()] for name, row in found.items()],
            )
        )
        return
    rows = []
    for name in KINDS:
        if options.only in name:
            found = of_a_kind(name)
            told = found["told"].replace("\n", " ⏎ ")
            rows.append(
                [
                    name,
                    found["count"],
                    f"{found['bytes'] / 1e6:.0f} MB",
                    found["wrong"] or "right",
                    told[-150:],
                ]
            )
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    print(markdown(["kind of file", "documents", "memory", "verdict", "told"], rows))
    print(f"\n{sum(row[3] == 'right' for row in rows)} of {len(rows)} right")


if __name__ == "__main__":
    main()
