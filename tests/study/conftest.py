"""A sweep of two small runs, what it must come to, and an executor that takes no work."""

from __future__ import annotations

import concurrent.futures as futures

import pytest

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.study.sweep import Sweep


@pytest.fixture
def sweep(tiny_corpus) -> Sweep:
    model = ModelConfig.family(8, context=16)
    sizes = (2000, 1500)
    return Sweep(
        configs=[TrainConfig(model=model, corpus=tiny_corpus, tokens=n, eval_windows=16) for n in sizes]
    )


@pytest.fixture
def losses(sweep) -> list:
    """What every executor must arrive at: the sweep, trained right here."""
    import torch

    from scalept_lab.train.loop import train

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield pytest.approx([train(config).L for config in sweep], rel=1e-5)
    torch.set_num_threads(before)


@pytest.fixture
def refuses() -> futures.Executor:
    """An executor for a sweep of which every run is there already."""

    class Refuses(futures.Executor):
        def submit(self, *_, **__):
            raise AssertionError("a finished run was trained again")

    return Refuses()
