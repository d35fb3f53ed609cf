"""Published mixtures of experts, counted by formula: all parameters, those that a token passes, and what it sends.

The facts stand in data/published/experts.csv and the sizes in data/published/experts/, each with its source.
"""

from __future__ import annotations

import csv
import json
from typing import Any

from scalept_lab.costs import counts
from scalept_lab.runs import data_folder


def table() -> list[dict[str, Any]]:
    """Mixtures of experts counted by formula, against what was published: parameters in billions, all and active.

    `lookup` is the token table: part of our `active`, which some cards leave out. `flops` a token takes in training, and `sent`,
    bytes that it sends in a forward pass in 16 bits if each of its experts is on another rank.
    """
    folder = data_folder() / "published"
    with (folder / "experts.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = []
    for line in lines:
        path = folder / "experts" / f"{line['model']}.json"
        shape, config = counts.shape(path), json.loads(path.read_text(encoding="utf-8"))
        layers = config["num_hidden_layers"] - config.get("first_k_dense_replace", 0)
        rows.append({
            "model": line["model"], "total": shape.total / 1e9, "published total": float(line["total_billion"]),
            "active": shape.active / 1e9, "published active": float(line["active_billion"]),
            "lookup": config["vocab_size"] * config["hidden_size"] / 1e9, "flops": shape.flops_per_token(context=4096),
            "sent": layers * 2 * config["num_experts_per_tok"] * config["hidden_size"] * 2, "source": line["source"],
        })  # fmt: skip
    return rows
