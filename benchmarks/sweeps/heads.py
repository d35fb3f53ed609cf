"""How a policy writes a chunk of numbers, where two answers are right (notebook 10): a mean, tokens, a flow.

A seed has its own demonstrations; all policies act in the same 500 scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from scalept_lab.runs import RunRecord
from scalept_lab.vla.heads import HeadConfig, fit, score
from sweeps.jobs import Job, Rounds, sweep

TWO_MODES = ("mean", "bins apart", "bins", "frequencies", "flow")
ARMS = {"either": TWO_MODES, "over": ("mean", "bins apart", "bins", "flow"), "shorter": ("mean", "flow")}
LONG, OF_LONG = 64, ("bins", "frequencies", "flow")  # actions in a chunk, beside 16


def job(experiment: str, **settings) -> Job:
    config = HeadConfig(**settings)
    return Job(config.described(), partial(made, config), no_text, {"experiment": experiment})


def no_text() -> str:
    return ""


def made(config: HeadConfig) -> RunRecord:
    return score(*fit(config))[1]


@sweep("action heads: how a chunk is written × sides that demonstrators take, and actions in a chunk", minutes=6,
       seeds=range(5), metrics=("success", "over", "roughness", "passes"))  # fmt: skip
def heads(seeds: Sequence[int]) -> Rounds:
    """All take the same steps on as many examples, and one pass of the network for each."""
    jobs = [job("longer training", head="flow", chunk=LONG, steps=4500, seed=seed) for seed in seeds[:3]]
    jobs += [job("long", head=head, chunk=LONG, seed=seed) for head in OF_LONG for seed in seeds]
    yield jobs + [
        job(sides, head=head, sides=sides, seed=seed)
        for seed in seeds
        for sides in ARMS
        for head in ARMS[sides]
    ]
