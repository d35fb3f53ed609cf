"""Scaling laws as formulas, the published ones by name, and the split of a compute budget that each implies.

L in nats per token, N parameters, D tokens:

* `chinchilla`        L = E + A/N^alpha + B/D^beta: the two shortfalls add up        (Hoffmann et al. 2022, eq. 2)
* `tied`              the same with beta = alpha: one constant less to learn from few runs
* `power_of_sum`      L = E + (A/N^alpha + B/D^beta)^kappa: with kappa = 1 chinchilla, below 1 the larger shortfall
                      counts for more than its share; with E = 0 the shape of Kaplan et al. 2020, eq. 1.5
* `data_constrained`  chinchilla with D replaced by D' = U + U·R_D·(1 − exp(−R/R_D)), R = D/U − 1 repetitions of
                      U unique tokens (Muennighoff et al. 2023, eq. 5); with a constant `R_N`, N by N' likewise (eq. 6)
* `power`             L = E + A/X^alpha, one variable X
* `broken_power`      L = E + A/X^alpha · (1 + (X/X_0)²)^((alpha − alpha_2)/2): the exponent goes over from alpha to
                      alpha_2 around X_0 (Caballero et al. 2023, eq. 1, with one break of fixed sharpness)
* `kaplan`            L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D                 (Kaplan et al. 2020, eq. 1.5)

Every function takes arrays, and parameters may be arrays too (bootstrap samples), so long as they broadcast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scalept_lab import outside
from scalept_lab.checks import one_of, positive, shown, unknown
from scalept_lab.errors import InputError, printable

PF_DAY = 8.64e19  # FLOPs in a petaflop/s-day
FlopsPerToken = float | Callable[[np.ndarray], np.ndarray]  # a factor k in C = k·N·D, or N -> FLOPs per token


@dataclass(frozen=True)
class Optimum:
    """The compute-optimal split of `C` FLOPs.

    `interval95` is filled where the law has bootstrap samples; `status` is "inside the sampled range" or tells
    which of N and D lies outside it, and is empty where the law has no points.
    """

    C: float
    N: float
    D: float
    tokens_per_param: float
    loss: float
    interval95: dict[str, tuple[float, float]] = field(default_factory=dict)
    status: str = ""


@dataclass(frozen=True)
class NamedLaw:
    """A published law: its form, its constants, and where they stand."""

    name: str
    form: str
    params: dict[str, float]
    source: str
    status: str = ""  # of the fit that it comes from
    sampled: dict[str, tuple[float, float]] = field(default_factory=dict)  # N and D of that fit's runs

    def __call__(self, N: Any, D: Any, unique: Any = None) -> np.ndarray:
        return loss(self.form, self.params, N, D, unique)

    def optimal(self, C: float, flops_per_token: FlopsPerToken = 6.0, unique: float | None = None) -> Optimum:
        N, D = (
            float(v) for v in split(self.form, self.params, positive("flops", C), flops_per_token, unique)
        )
        place = placed(N, D, self.sampled) if self.sampled else ""
        return Optimum(C, N, D, D / N, float(self(N, D, unique)), status=place)

    @property
    def a(self) -> float:
        """N_opt grows as C^a."""
        return float(exponent(self.form, self.params))

    @property
    def b(self) -> float:
        """D_opt grows as C^b."""
        return 1 - self.a


def _chinchilla(name: str, E: float, A: float, B: float, alpha: float, beta: float, source: str) -> NamedLaw:
    return NamedLaw(name, "chinchilla", dict(E=E, A=A, B=B, alpha=alpha, beta=beta), source)


_HOFFMANN = "Hoffmann et al. 2022, approach 3 (§3.3 and eq. 10)"
_MUENNIGHOFF = dict(E=1.8691, A=520.82, B=1487.7, alpha=0.35266, beta=0.35266, R_D=15.387756, R_N=5.309743)

LAWS: dict[str, NamedLaw] = {
    law.name: law
    for law in (
        _chinchilla("hoffmann", 1.69, 406.4, 410.7, 0.34, 0.28, f"{_HOFFMANN}, as printed"),
        _chinchilla("hoffmann-unrounded", 1.6934, 406.4, 410.7, 0.3392, 0.2849,
                    f"{_HOFFMANN}, digits of the TeX source as quoted by Besiroglu et al. 2024"),
        _chinchilla("besiroglu", 1.8172, 482.01, 2085.43, 0.3478, 0.3658,
                    "Besiroglu et al. 2024, refit of 240 points read off Hoffmann et al.'s figure 4"),
        NamedLaw("kaplan", "kaplan", dict(alpha_N=0.076, alpha_D=0.103, N_c=6.4e13, D_c=1.8e13),
                 "Kaplan et al. 2020, eq. 1.5 with the joint fit of table 2; N without embeddings, D the size "
                 "of the data set under early stopping"),
        NamedLaw("muennighoff", "data_constrained", _MUENNIGHOFF,
                 "Muennighoff et al. 2023, appendix A (eq. 17)"),
    )
}  # fmt: skip

FORMULAS = {
    "chinchilla": "L = E + A/N^alpha + B/D^beta",
    "tied": "L = E + A/N^alpha + B/D^alpha",
    "power_of_sum": "L = E + (A/N^alpha + B/D^beta)^kappa",
    "data_constrained": "L = E + A/N^alpha + B/D'^beta",
    "power": "L = E + A/X^alpha",
    "broken_power": "L = E + A/X^alpha · (1 + (X/X_0)^2)^((alpha - alpha_2)/2)",
    "kaplan": "L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D",
}
FORMS = tuple(FORMULAS)
CONSTANTS = {
    "chinchilla": ("E", "A", "B", "alpha", "beta"),
    "tied": ("E", "A", "B", "alpha", "beta"),
    "power_of_sum": ("E", "A", "B", "alpha", "beta", "kappa"),
    "data_constrained": ("E", "A", "B", "alpha", "beta", "R_D"),
    "power": ("E", "A", "alpha"),
    "broken_power": ("E", "A", "alpha", "alpha_2", "X_0"),
}
_TOLD_BY = {
    "kappa": "power_of_sum",
    "R_D": "data_constrained",
    "X_0": "broken_power",
}  # forms by a constant of theirs
ONE_VARIABLE = ("power", "broken_power")
INSIDE = "inside the sampled range"
NO_SPLIT = "D follows N: no split can be told"  # status of a fit whose runs cannot tell N from D
FITTED = tuple(form for form in FORMS if form != "kaplan")  # what runs can be fitted with


def loss(form: str, params: Mapping[str, Any], N: Any, D: Any = None, unique: Any = None) -> np.ndarray:
    """L of `form` at N parameters and D tokens (a form in one variable X: N is X). Raises: InputError."""
    one_of("form", form, FORMS)
    N = np.asarray(N, float)
    p = params
    if form == "power":
        return p["E"] + p["A"] * N ** -p["alpha"]
    if form == "broken_power":
        bend = (p["alpha"] - p["alpha_2"]) / 2 * np.logaddexp(0, 2 * np.log(N / p["X_0"]))
        return p["E"] + p["A"] * N ** -p["alpha"] * np.exp(bend)
    if D is None:
        raise InputError(f"D: form {form} needs tokens beside parameters, got none")
    D = np.asarray(D, float)
    if form == "kaplan":
        return ((p["N_c"] / N) ** (p["alpha_N"] / p["alpha_D"]) + p["D_c"] / D) ** p["alpha_D"]
    if form == "data_constrained" and unique is not None:
        if "R_N" in p:
            N = effective(N, split_for_data(p, np.minimum(unique, D)), p["R_N"])
        D = effective(D, unique, p["R_D"])
    if form == "power_of_sum":  # by logarithms: with a small kappa, A and B can be as large as 1e200
        u, v = np.log(p["A"]) - p["alpha"] * np.log(N), np.log(p["B"]) - p["beta"] * np.log(D)
        return p["E"] + np.exp(p["kappa"] * np.logaddexp(u, v))
    return p["E"] + p["A"] * N ** -p["alpha"] + p["B"] * D ** -p["beta"]


def placed(N: float, D: float, sampled: Mapping[str, tuple[float, float]]) -> str:
    """Whether N and D lie between the smallest and the largest that were tried, in words."""
    for name, value in (("N", N), ("D", D)):
        low, high = sampled.get(name, (value, value))
        if not low <= value <= high:
            return f"{name} = {value:.3g} lies outside the sampled range {low:.3g} to {high:.3g}"
    return INSIDE


def effective(total: Any, unique: Any, R: Any) -> np.ndarray:
    """Fresh tokens worth as much as `total` tokens drawn from `unique`: U + U·R·(1 − exp(−(total/U − 1)/R)).

    Muennighoff et al. 2023, eq. 5. One pass loses nothing; however many passes, it stays below U·(1 + R).
    """
    total = np.asarray(total, float)
    unique = np.minimum(np.asarray(unique, float), total)
    return unique * (1 + R * -np.expm1(-(total / unique - 1) / R))


def split_for_data(params: Mapping[str, Any], D: Any) -> np.ndarray:
    """The N for which D tokens are compute-optimal: alpha·A/N^alpha = beta·B/D^beta (chinchilla form)."""
    p = params
    return (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / p["alpha"]) * np.asarray(D, float) ** (
        p["beta"] / p["alpha"]
    )


def exponent(form: str, params: Mapping[str, Any]) -> np.ndarray:
    """a in N_opt ~ C^a under C ~ N·D: beta/(alpha + beta) (Hoffmann et al. 2022, eq. 4)."""
    if form == "kaplan":
        return np.asarray(params["alpha_D"] / (params["alpha_N"] + params["alpha_D"]))
    if form in ONE_VARIABLE:
        return np.asarray(np.nan)
    return np.asarray(params["beta"] / (params["alpha"] + params["beta"]))


def split(
    form: str,
    params: Mapping[str, Any],
    C: float,
    flops_per_token: FlopsPerToken = 6.0,
    unique: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) of the lowest loss with C FLOPs. Raises: InputError (a form in one variable has no split).

    Closed form under C = k·N·D; a search where `flops_per_token` is a function of N, or where a
    data-constrained law has only `unique` tokens.
    """
    p = params
    if form in ONE_VARIABLE:
        raise InputError(
            f"form {form} has one variable and no split of compute; it takes runs that vary N and D apart "
            "from each other, fitted with form chinchilla"
        )
    k = 6.0 if callable(flops_per_token) else flops_per_token
    if form == "kaplan":  # d/dN of (N_c/N)^r + D_c·k·N/C = 0
        r = p["alpha_N"] / p["alpha_D"]
        log_N = (np.log(r * C / (k * p["D_c"])) + r * np.log(p["N_c"])) / (1 + r)
    else:
        ratio = np.log(p["alpha"] * p["A"]) - np.log(p["beta"] * p["B"])
        log_N = (ratio + p["beta"] * np.log(C / k)) / (p["alpha"] + p["beta"])
    log_N = np.clip(log_N, -300, 300)  # two exponents near 0 would leave the range of a float
    N = np.exp(log_N)
    limited = unique is not None and form == "data_constrained"
    if not callable(flops_per_token) and not limited:
        return N, C / (k * N)
    per_token = flops_per_token if callable(flops_per_token) else lambda n: k * n

    def at(t: np.ndarray) -> np.ndarray:
        n = np.exp(t)
        return loss(form, p, n, C / per_token(n), unique)

    best = np.exp(_golden(at, log_N - np.log(1e4), log_N + np.log(1e4)))
    return best, C / per_token(best)


def _golden(
    f: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray, steps: int = 60
) -> np.ndarray:
    """Minimum of a unimodal function in each bracket [low, high] at once, by golden section."""
    ratio = (5**0.5 - 1) / 2
    x1, x2 = high - ratio * (high - low), low + ratio * (high - low)
    f1, f2 = f(x1), f(x2)
    for _ in range(steps):
        left = f1 < f2
        low, high = np.where(left, low, x1), np.where(left, x2, high)
        new = np.where(left, high - ratio * (high - low), low + ratio * (high - low))
        f_new = f(new)
        x1, x2 = np.where(left, new, x2), np.where(left, x1, new)
        f1, f2 = np.where(left, f_new, f2), np.where(left, f1, f_new)
    return (low + high) / 2


def kaplan_frontier(C: float) -> tuple[float, float]:
    """(N, D) that Kaplan et al. 2020 advise for C FLOPs: N = 1.3e9 · (C/PF-day)^0.73 (table 6), D = C/(6N).

    Read off training curves with a fixed schedule, not derived from L(N, D), whose own optimum grows as
    C^0.58: two answers from one paper, and the gap that Hoffmann et al. 2022 closed.
    """
    N = 1.3e9 * (positive("flops", C) / PF_DAY) ** 0.73
    return N, C / (6 * N)


def plan(flops: float, law: Any = "hoffmann", unique: float | None = None) -> dict[str, Any]:
    """`scalept plan`: N, D, tokens_per_param, loss and status for C = 6·N·D = `flops` under `law`.

    `law`: a name in LAWS, a path to a JSON file (the output of `scalept fit` or of `scalept study`, or the
    constants alone), or anything with `.optimal(C)`. `unique`: unique tokens at hand, for a law that knows
    repetition. `status`: that of the fit, and where the plan lies outside the runs.
    Raises: InputError, also for a fit whose runs cannot tell how to split compute.
    """
    flops = positive("flops", flops)
    if isinstance(law, (str, Path)):
        law = LAWS[str(law)] if str(law) in LAWS else read_law(law)
    best = law.optimal(flops) if unique is None else law.optimal(flops, unique=positive("unique", unique))
    status = "; ".join(text for text in (getattr(law, "status", ""), best.status) if text)
    return {
        "N": best.N,
        "D": best.D,
        "tokens_per_param": best.tokens_per_param,
        "loss": best.loss,
        "status": status,
    }


def read_law(path: str | Path) -> NamedLaw:
    """A law from a JSON file with the constants of one form, bare or under `params` or `law`, and its `status`."""
    if not Path(path).exists():
        raise unknown("law", str(path), LAWS, "or give a readable JSON file")
    found = outside.json_value(path, "a JSON file with the constants of a law")
    status = form = ""
    ranges: dict[str, Any] = {}
    if isinstance(found, dict):
        status, form = (
            printable(value) if isinstance(value := found.get(key, ""), str) else ""
            for key in ("status", "form")
        )
        card = found.get("card")
        ranges = card.get("ranges", {}) if isinstance(card, dict) else {}
        found = found.get("params", found.get("law", found))
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object with the constants of a law, got {shown(found)}")
    if status.startswith(NO_SPLIT.partition(":")[0]):
        raise InputError(
            f"{path}: its status is {status!r}, so nothing says how to split compute; add runs that vary the tokens at "
            "one model size, and fit again"
        )
    form = form or next((form for key, form in _TOLD_BY.items() if key in found), "chinchilla")
    one_of(f"{path}: form", form, FITTED)
    names = CONSTANTS[form]
    missing = [key for key in names if key not in found]
    if missing:
        raise InputError(f"{path}: expected the constants {', '.join(names)}; missing {', '.join(missing)}")
    params = {key: positive(f"{path}: {key}", found[key], zero=key == "E") for key in names}
    return NamedLaw(Path(path).stem, form, params, str(path), status, _sampled(ranges))


def _sampled(ranges: Any) -> dict[str, tuple[float, float]]:
    """The N and D between which a saved fit had runs; nothing where the file says nothing usable."""
    out = {}
    for name in ("N", "D"):
        pair = ranges.get(name) if isinstance(ranges, dict) else None
        if isinstance(pair, list) and len(pair) == 2:
            with suppress(InputError):
                out[name] = (positive(name, pair[0]), positive(name, pair[1]))
    return out
