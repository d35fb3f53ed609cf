"""Every part of the torture, or those that are named: one row each, a Markdown table, exit 1 if anything broke.

    python -m benchmarks.torture [PART...] [--seed S] [--share 0.1] [--json FILE] [--out FILE.md]

A part is a module of this folder with `run(count, seed, folder) -> Outcome`. `--share`: of the full count.
"""

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.torture.outcome import Outcome, table

# module, cases in a full run
PARTS = (("fuzz", 24_000), ("kills", 240), ("flips", 220), ("disk", 200), ("spend", 80))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="*", help=f"of {', '.join(name for name, _ in PARTS)}; all without one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="part of the full count that is tried")
    parser.add_argument("--json", type=Path, help="write every outcome, with each case that broke")
    parser.add_argument("--out", type=Path, default=Path("results/torture.md"), help="the table")
    options = parser.parse_args(arguments)
    unknown = set(options.part) - {name for name, _ in PARTS}
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}")
    outcomes: list[Outcome] = []
    for name, full in PARTS:
        if options.part and name not in options.part:
            continue
        with tempfile.TemporaryDirectory(prefix=f"torture-{name}-") as folder:
            module = importlib.import_module(f"benchmarks.torture.{name}")
            outcome = module.run(max(1, round(full * options.share)), options.seed, Path(folder))
        outcomes.append(outcome)
        print(table([outcome]).splitlines()[2], flush=True)
        for one in outcome.broken[:20]:
            print(f"    {one.what}, seed {one.seed}: {one.line}", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(table(outcomes) + "\n", encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps([one.as_dict() for one in outcomes], indent=1), encoding="utf-8")
    print(table(outcomes))
    return 1 if any(one.broken for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
