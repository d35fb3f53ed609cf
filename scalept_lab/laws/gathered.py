"""Runs of one study that two people logged, and did not log alike: the eighth case of the failure lab.

The runs are real (`data/records/size.jsonl`). What is broken is one line between the log and the fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from scalept_lab.laws.evidence import Evidence, Piece
from scalept_lab.laws.fit import fit_law
from scalept_lab.runs import recorded

LOGGERS = ("laptop", "cluster")


def logged() -> list[dict[str, Any]]:
    """The rows as they were written: "who", "width", "N" (non-embedding), "counted" (the same from the shape), "tokens", "loss"
    in nats, and "told", the column that was fitted."""
    rows = []
    for run in sorted(recorded("standard"), key=lambda run: (run.N, run.D)):
        if run.status != "ok" or run.L is None or run.config["seed"] not in (0, 1):
            continue
        who = LOGGERS[run.config["seed"]]
        told = (
            math.log2(math.exp(run.L)) if who == "cluster" else run.L
        )  # the cluster's logger writes log base 2
        rows.append({"who": who, "width": run.config["model"]["width"], "N": run.N, "counted": _counted(run.config["model"]),
                     "tokens": run.D, "loss": run.L, "told": told})  # fmt: skip
    return rows


def _counted(model: dict[str, Any]) -> int:
    """Non-embedding parameters from the shape: 4 width² for attention and 2 · mlp_ratio · width² for the MLP, in each block."""
    return model["depth"] * (4 + 2 * model["mlp_ratio"]) * model["width"] ** 2


def case() -> Evidence:
    """The two loggers' rows, each over the law that is fitted to the laptop's; and parameters against those of the shape."""
    rows = logged()
    mine = [row for row in rows if row["who"] == "laptop"]
    N, D, L = (np.array([row[name] for row in mine], float) for name in ("N", "tokens", "told"))
    law = fit_law(N, D, L, bootstrap=0)

    def points(who: str, y: Any, x: str = "N") -> tuple[Sequence[Any], Sequence[Any]]:
        chosen = [row for row in rows if row["who"] == who]
        return [row[x] for row in chosen], [y(row) for row in chosen]

    def over(column: str) -> Any:
        return lambda row: row[column] / float(law(row["N"], row["tokens"]))

    return Evidence({
        "A": Piece("the losses that are fitted", "tokens D", "loss as it was logged", {
            "laptop": points("laptop", lambda row: row["told"], "tokens"),
            "cluster": points("cluster", lambda row: row["told"], "tokens"),
        }, look="dots", log="x"),
        "B": Piece("loss / the law of the laptop's rows", "parameters N", "ratio", {
            "laptop": points("laptop", over("told")), "cluster": points("cluster", over("told")),
            "healthy": points("cluster", over("loss")),
        }, look="dots", log="x"),
        "C": Piece("N as logged / N from the shape", "parameters N", "ratio", {
            who: points(who, lambda row: row["N"] / row["counted"]) for who in LOGGERS
        }, look="dots", log="x"),
    }, {who: {"rows": sum(row["who"] == who for row in rows), "seed": i, "corpus": "python", "N": "non-embedding"}
        for i, who in enumerate(LOGGERS)})  # fmt: skip
