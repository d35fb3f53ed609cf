"""The eighth case: one logger is off by 1/ln 2 at every size, and by nothing else."""

from __future__ import annotations

import math

import numpy as np

from scalept_lab.laws import gathered


def test_the_cluster_logs_bits():
    rows = gathered.logged()
    for row in rows:
        factor = 1 / math.log(2) if row["who"] == "cluster" else 1.0
        assert math.isclose(row["told"], factor * row["loss"], rel_tol=1e-9)
        assert row["counted"] == row["N"]  # 12 width² in each of the blocks
    assert {row["who"] for row in rows} == {"laptop", "cluster"}


def test_the_evidence_shows_one_ratio_at_all_sizes_and_nothing_in_the_counts():
    pieces = gathered.case().pieces
    ratio = {name: np.array(y) for name, (_, y) in pieces["B"].series.items()}
    assert abs(ratio["cluster"] * math.log(2) - 1).max() < 0.05 and abs(ratio["healthy"] - 1).max() < 0.05
    assert np.ptp(ratio["cluster"]) < 0.1
    assert all(set(y) == {1.0} for _, y in pieces["C"].series.values())
