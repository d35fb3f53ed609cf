"""A law fitted to a language whose entropy rate is computed: does E find the truth?

    python benchmarks/known_entropy.py                     # about 3 minutes on 2 cores for each seed
    python benchmarks/known_entropy.py --record            # also writes data/records/known_entropy.jsonl

The floor is the entropy of the generated language over windows as the models see them (64 letters, the first ones without
what came before). Must hold: the floor lies in E's 95 % interval, and E within 3 % of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scalept_lab.data import prepare
from scalept_lab.fit import fit_records
from scalept_lab.language import Language
from scalept_lab.recipe import recommend
from scalept_lab.runs import Store, write_records
from scalept_lab.sweep import run_all

WIDTHS = [16, 24, 32, 48]
TOKENS = [1.25e5, 2.5e5, 5e5, 1e6, 2e6]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--languages", type=int, nargs="+", default=[0, 1, 2, 3], help="seeds of the languages"
    )
    parser.add_argument("--out", type=Path, default=Path("results/known_entropy"))
    parser.add_argument(
        "--record", action="store_true", help="write the runs to data/records/known_entropy.jsonl"
    )
    options = parser.parse_args()

    kept = []
    print(f"{'language':>8} {'floor':>8} {'E':>8} {'95 % interval':>18} {'error':>8}  covered  status")
    for seed in options.languages:
        language, corpus = Language(seed), f"language/{seed}"
        vocab_size = prepare(corpus).vocab_size
        runs = [recommend(w, t, corpus=corpus, vocab_size=vocab_size) for w in WIDTHS for t in TOKENS]
        records = run_all(runs, Store(options.out / str(seed)))
        floor = language.window_entropy(64)
        law = fit_records(records, bootstrap=1000)
        low, high = law.interval95["E"]
        print(
            f"{seed:>8} {floor:>8.4f} {law.params['E']:>8.4f} {f'{low:.4f} to {high:.4f}':>18} "
            f"{100 * (law.params['E'] / floor - 1):>+7.2f}%  {'yes' if low <= floor <= high else 'NO':>7}  {law.status}",
            flush=True,
        )
        kept += [record.model_copy(update={"origin": "recorded"}) for record in records]
    if options.record:
        write_records(kept, "data/records/known_entropy.jsonl")
        print(f"{len(kept)} runs in data/records/known_entropy.jsonl")


if __name__ == "__main__":
    main()
