"""The law that all plans of a scenario are judged by, with draws of its constants: whoever plans cannot choose his judge.

Text and serving: Muennighoff et al. 2023, which knows what repetition is worth. The runs behind it are not in this kit, so its
draws come from a design: runs over the sizes and repetitions that the paper reports, with a scatter assumed (`DESIGN`,
`SCATTER`). Robots: a floor and a term each for demonstrations, parameters and examples (`laws.terms`), fitted to the recorded
policies of notebook 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from scalept_lab.laws import formulas
from scalept_lab.laws.draws import draws
from scalept_lab.laws.terms import fit_terms
from scalept_lab.runs import recorded
from scalept_lab.study.scenarios import Scenario, scenario

SCATTER = 0.01  # of log loss around the law: assumption of this course
# parameters × tokens per parameter × passes: the span of the paper's runs (up to 9e9 parameters and 900e9 tokens, many passes)
DESIGN = tuple(product((1e8, 3e8, 1e9, 3e9, 9e9), (5, 20, 80), (1, 4, 16, 60)))


@dataclass(frozen=True)
class Judge:
    """A law with its draws. N: parameters without embeddings; tokens: seen in training, repetitions counted."""

    name: str
    source: str
    sampled: dict[str, tuple[float, float]]
    constants: dict[str, float]
    samples: dict[str, np.ndarray] = field(repr=False)
    sigma: float
    _loss: Callable[[Mapping[str, Any], Any, Any], np.ndarray] = field(repr=False)

    def loss(self, N: Any, tokens: Any) -> Any:
        """Loss in nats per token (robots: per action): a float, or an array for arrays."""
        found = np.asarray(self._loss(self.constants, N, tokens), float)
        return found if found.ndim else float(found)

    def draws(self, N: float, tokens: float) -> np.ndarray:
        """The loss under each draw of the constants, (draws,). The same draw stands at the same place for every plan."""
        return np.asarray(self._loss(self.samples, N, tokens), float)

    def interval(self, N: float, tokens: float) -> tuple[float, float]:
        """Central 95 % for a new run: draws of the constants, and the scatter of runs."""
        noise = np.random.default_rng(1).standard_normal((8, len(self.draws(N, tokens))))
        low, high = np.quantile(self.draws(N, tokens) * np.exp(self.sigma * noise), (0.025, 0.975))
        return float(low), float(high)

    def place(self, N: float, D: float) -> str:
        """Whether the law's own runs reached as far, in words."""
        return formulas.placed(N, D, self.sampled)


def judge_of(name: str) -> Judge:
    """The judge of a scenario, by the scenario's name. Raises: InputError."""
    return _judge(scenario(name).name)


@lru_cache
def _judge(name: str) -> Judge:
    given = scenario(name)
    return _robots(given) if given.task == "robots" else _text(given)


def _text(given: Scenario) -> Judge:
    law = formulas.LAWS["muennighoff"]
    N, ratio, passes = (np.array(column, float) for column in zip(*DESIGN, strict=True))
    D = N * ratio
    free = {
        name: value for name, value in law.params.items() if name != "beta"
    }  # the paper holds beta = alpha

    def loss(constants: Mapping[str, Any], N: Any, D: Any, unique: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            return formulas.loss(law.form, {**constants, "beta": constants["alpha"]}, N, D, unique)

    samples = draws(lambda constants: loss(constants, N, D, D / passes), free, SCATTER)
    sampled = {"N": (float(N.min()), float(N.max())), "D": (float(D.min()), float(D.max()))}
    return Judge(law.name, law.source, sampled, free, samples, SCATTER,
                 lambda constants, N, D: loss(constants, N, D, np.minimum(given.unique, D)))  # fmt: skip


def _robots(given: Scenario) -> Judge:
    runs = [record for record in recorded("vla") if record.L is not None]
    shown = [sum(source["episodes"] for source in record.config["sources"]) for record in runs]
    axes = {
        "n": shown,
        "N": [float(record.N) for record in runs],
        "D": [float(record.D) for record in runs],
    }
    law = fit_terms(axes, [float(record.L or 0) for record in runs])
    constants = (
        {"E": law.E}
        | {f"A_{k}": v for k, v in law.A.items()}
        | {f"alpha_{k}": v for k, v in law.alpha.items()}
    )

    def loss(c: Mapping[str, Any], n: Any, N: Any, D: Any) -> np.ndarray:
        x = {"n": np.asarray(n, float), "N": np.asarray(N, float), "D": np.asarray(D, float)}
        with np.errstate(all="ignore"):
            return c["E"] + sum(c[f"A_{k}"] * x[k] ** -c[f"alpha_{k}"] for k in x)

    samples = draws(lambda c: loss(c, *axes.values()), constants, law.misfit)
    sampled = {k: (min(axes[k]), max(axes[k])) for k in ("N", "D")}

    def at(c: Mapping[str, Any], N: Any, tokens: Any) -> np.ndarray:
        tokens = np.asarray(tokens, float)
        # a short run does not see all demonstrations
        seen = given.demonstrations * np.minimum(1, tokens / given.unique)
        return loss(c, seen, N, tokens / given.context)

    source = f"{len(runs)} recorded runs of notebook 10 (data/records/vla.jsonl)"
    return Judge("recorded policies", source, sampled, constants, samples, law.misfit, at)
