"""Published training runs with their layout and speed, and the planner held against them.

The facts stand in data/published/parallel.csv, each with its source (data/published/README.md). Nothing is fitted row
by row: the two constants of `Cluster` come from one run each (`CALIBRATED`), and all other rows are predictions.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from scalept_lab.checks import unknown
from scalept_lab.costs.layouts import Cluster, Layout, Model, model
from scalept_lab.costs.planner import Estimate, estimate
from scalept_lab.runs import data_folder

# Peak in 16 bits (dense), NVLink one way, and the network link of each GPU: Narayanan et al. 2021, §5 (A100: 312 TFLOP/s,
# 200 Gb/s); Dubey et al. 2024, §3.3.1 (H100: 400 Gb/s). An "80 GB" card holds 80 GiB.
GPUS: dict[str, dict[str, float]] = {
    "A100-80GB": dict(memory=80 * 2**30, peak=312e12, inside=300e9, between=25e9),
    "H100-80GB": dict(memory=80 * 2**30, peak=989e12, inside=450e9, between=50e9),
}
# Which row each constant is read off: one with hardly any traffic, and one with hardly anything else.
CALIBRATED = {"efficiency": "174.6B t8·p12 384", "link_efficiency": "174.6B ZeRO-3 1536"}

# How far off, in %, a predicted step time may be (tests hold it). One efficiency stands for matrices of every size, so that
# small models come out too fast and very large ones too slow.
TOLERANCE = {"narayanan2021-table1": 25, "narayanan2021-table2": 22, "korthikanti2022": 21, "dubey2024": 5}


@dataclass(frozen=True)
class Row:
    """One published run. `seconds` per step, as printed or from the printed FLOP/s."""

    source: str
    name: str
    model: Model
    layout: Layout
    cluster: Cluster
    batch: int
    seconds: float
    note: str

    def predict(self, cluster: Cluster | None = None) -> Estimate:
        return estimate(self.model, self.layout, cluster or self.cluster, self.batch, uneven=True)


@lru_cache
def rows(source: str = "") -> tuple[Row, ...]:
    """The published runs of one source (a name or its beginning), or all. Raises: InputError if there is none."""
    path = data_folder() / "published" / "parallel.csv"
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    found = [line for line in lines if line["source"].startswith(str(source))]
    if not found:
        raise unknown("source", source, sorted({line["source"] for line in lines}), "its beginning is enough")
    return tuple(map(_row, found))


def _row(line: dict[str, str]) -> Row:
    number = {key: int(value) for key, value in line.items() if value.isdigit()}
    sizes = {"width": "n_embd", "depth": "n_layer", "heads": "n_head", "context": "n_positions"}
    fields: dict[str, Any] = {"model_type": "gpt2"}
    if "kv_heads" in number:
        fields = {
            "model_type": "llama",
            "num_key_value_heads": number["kv_heads"],
            "intermediate_size": number["hidden"],
        }
        sizes = {"width": "hidden_size", "depth": "num_hidden_layers", "heads": "num_attention_heads",
                 "context": "max_position_embeddings"}  # fmt: skip
    fields |= {theirs: number[ours] for ours, theirs in sizes.items()}
    m = model({**fields, "vocab_size": number["vocabulary"], "name": line["row"]})
    layout = Layout(
        number["data"], number["tensor"], number["pipeline"], number["zero"], line["recompute"],
        number["micro_batch"], number["interleave"], bool(number["sequence"]),
    )  # fmt: skip
    cluster = Cluster(number["gpus"], **GPUS[line["gpu"]])  # type: ignore[arg-type]
    if line["seconds"]:
        seconds = float(line["seconds"])
    else:  # as printed: FLOP/s per GPU, of all FLOPs done ("hardware") or of those of the model
        guess = estimate(m, layout, cluster, number["batch"], uneven=True)
        share = guess.hfu if line["counts"] == "hardware" else guess.mfu
        seconds = share * cluster.peak * guess.seconds / (number["tflops"] * 1e12)
    return Row(line["source"], line["row"], m, layout, cluster, number["batch"], seconds, line["note"])


def compare(source: str = "") -> list[dict[str, Any]]:
    """Predicted against published: seconds of a step, TFLOP/s of the model per GPU, error in %, memory, does it fit.

    A positive error: the planner says slower than it was. `calibrated` marks the two rows that set the constants.
    """
    table = []
    for row in rows(source):
        guess = row.predict()
        work = guess.mfu * row.cluster.peak * guess.seconds / 1e12
        table.append({
            "source": row.source, "run": row.name, "layout": str(row.layout), "gpus": row.cluster.gpus,
            "seconds": row.seconds, "predicted": guess.seconds, "error_percent": 100 * (guess.seconds / row.seconds - 1),
            "tflops": work / row.seconds, "predicted_tflops": work / guess.seconds,
            "memory_gb": guess.memory / 1e9, "fits": guess.fits, "calibrated": row.name in CALIBRATED.values(),
        })  # fmt: skip
    return table


def calibrate() -> dict[str, float]:
    """The two constants that make the planner right on the two CALIBRATED rows, by bisection; `Cluster` has them rounded."""
    found = {"efficiency": 0.5, "link_efficiency": 0.5}
    by_name = {row.name: row for row in rows("narayanan2021")}
    for _ in range(3):  # each depends a little on the other
        for constant, name in CALIBRATED.items():
            row, low, high = by_name[name], 0.01, 1.0
            for _ in range(40):
                found[constant] = (low + high) / 2
                cluster = Cluster(row.cluster.gpus, **GPUS["A100-80GB"], **found)  # type: ignore[arg-type]
                slow = row.predict(cluster).seconds > row.seconds
                low, high = (found[constant], high) if slow else (low, found[constant])
    return found
