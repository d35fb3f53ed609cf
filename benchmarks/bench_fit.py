"""How fast the fit is, that it stops nowhere above the published procedure, and how often its intervals hold.

OMP_NUM_THREADS=1 python benchmarks/bench_fit.py speed       # fit, 4,000 refits; under a second together
OMP_NUM_THREADS=1 python benchmarks/bench_fit.py twin        # L-BFGS from each of the 4,500 starts; a minute
OMP_NUM_THREADS=1 python benchmarks/bench_fit.py refits      # one BFGS per resample against all together
OMP_NUM_THREADS=1 python benchmarks/bench_fit.py coverage    # 200 simulated studies per design; minutes
"""

from __future__ import annotations

import sys
import time

import numpy as np
from scipy.optimize import minimize as scipy_minimize

from scalept_lab.laws import formulas
from scalept_lab.laws.fit import fit_law
from scalept_lab.laws.points import check_points
from scalept_lab.laws.search import make_problem, minimise, objective, starts

TRUTH = formulas.LAWS["besiroglu"]
# a law like that of models of 1e4 to 1e6 parameters
TINY = {"E": 1.0, "A": 30.0, "B": 60.0, "alpha": 0.4, "beta": 0.35}


def published(P: int = 240, noise: float = 0.01, seed: int = 0):
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(7.6, 10.2, P), 10 ** rng.uniform(9, 11.7, P)
    return N, D, TRUTH(N, D) * np.exp(noise * rng.standard_normal(P))


def speed() -> None:
    data = published()
    fit_law(*data)
    for K in (0, 1000, 4000):
        wall, cpu = time.perf_counter(), time.process_time()
        law = fit_law(*data, bootstrap=K)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(
            f"240 points, {K:>4} refits: {wall:.3f} s ({cpu:.3f} s of CPU)   objective {law.objective:.10f}"
        )
    print({name: round(value, 4) for name, value in law.params.items()}, law.status)
    mean = fit_law(*data, reduction="mean")
    print(f"mean instead of sum: objective {mean.objective:.6f}, {mean.status}: {mean.detail}")


def scipy_fit(problem, start, weights=None, method="L-BFGS-B", **options):
    def f(theta):
        value, gradient = objective(problem, theta[None], weights=weights, gradient=True)
        return value[0], gradient[0]

    return scipy_minimize(f, start, jac=True, method=method, options=options)


def twin() -> None:
    for seed in (0, 1):
        data = published(seed=seed)
        law = fit_law(*data)
        problem, _ = make_problem(check_points(*data), "chinchilla")
        began = time.perf_counter()
        reached = np.array([scipy_fit(problem, start).fun for start in starts(problem)[0]])
        share = (reached < reached.min() * (1 + 1e-6)).mean()
        print(
            f"seed {seed}: {len(reached)} L-BFGS starts with default tolerances: best {reached.min():.12f}, reached by "
            f"{share:.1%}, {time.perf_counter() - began:.0f} s; fit_law {law.objective:.12f}: "
            f"{'no worse' if law.objective <= reached.min() * (1 + 1e-9) else 'WORSE'}"
        )


def refits(K: int = 200) -> None:
    data = published()
    problem, _ = make_problem(check_points(*data), "chinchilla")
    start = problem.theta(**fit_law(*data).params)
    weights = np.random.default_rng(0).multinomial(240, np.full(240, 1 / 240), size=K).astype(float)
    began = time.perf_counter()
    _, value, done = minimise(problem, np.tile(start, (K, 1)), weights=weights)
    together = time.perf_counter() - began
    began = time.perf_counter()
    alone = np.array([scipy_fit(problem, start, w, "BFGS", gtol=1e-9).fun for w in weights])
    apart = time.perf_counter() - began
    print(f"{K} refits: together {together:.3f} s ({done.mean():.1%} at rest), one BFGS each {apart:.2f} s")
    print(
        f"objective, together / alone − 1: {np.min(value / alone - 1):.1e} to {np.max(value / alone - 1):.1e}"
    )


def design(name: str, rng: np.random.Generator):
    """Points (N, D) of one simulated study: 15 to 25 runs over two decades of compute."""
    if name == "isoflop 3x5":
        C = np.repeat(np.geomspace(1.5e10, 1.5e12, 3), 5)
        N = np.sqrt(C / 120) * np.tile([0.35, 0.6, 1, 1.6, 2.8], 3)
        return N, C / 6 / N
    if name == "isoflop 5x4":
        C = np.repeat(np.geomspace(1.5e10, 1.5e12, 5), 4)
        N = np.sqrt(C / 120) * np.tile([0.4, 0.8, 1.5, 2.8], 5)
        return N, C / 6 / N
    if name == "random 25":
        return 10 ** rng.uniform(4, 5.2, 25), 10 ** rng.uniform(5.4, 6.4, 25)
    n, d = map(int, name.split()[1].split("x"))
    grid = np.meshgrid(np.geomspace(1e4, 1.5e5, n), np.geomspace(2.5e5, 2.5e6, d))
    return grid[0].ravel(), grid[1].ravel()


def coverage(studies: int = 200, noise: float = 0.01) -> None:
    """A hero of 7 times the largest compute, at the true optimum; its measurement carries noise as all runs
    do.
    """
    truth = formulas.NamedLaw("tiny", "chinchilla", TINY, "planted")
    print(
        f"{studies} studies each, {noise:.1%} noise; share of heroes inside the 95 % interval, its median width in %,"
    )
    print(
        "root-mean-square error of the prediction in %, share of studies whose interval holds the true exponent a"
    )
    for name in ("grid 5x3", "grid 5x4", "isoflop 3x5", "isoflop 5x4", "random 25"):
        for delta in (1e-3, 1e-2):
            for method in ("noise", "pairs"):
                if method == "pairs" and delta > 1e-3:
                    continue
                rng = np.random.default_rng(0)
                hits, widths, errors, exponents = [], [], [], []
                began = time.perf_counter()
                for _ in range(studies):
                    N, D = design(name, rng)
                    best = truth.optimal(7 * float((6 * N * D).max()))
                    L = truth(N, D) * np.exp(noise * rng.standard_normal(len(N)))
                    law = fit_law(N, D, L, bootstrap=200, delta=delta, method=method)
                    foretold = law.predict(best.N, best.D)
                    hits.append(
                        foretold.low <= best.loss * np.exp(noise * rng.standard_normal()) <= foretold.high
                    )
                    widths.append(100 * (foretold.high - foretold.low) / foretold.loss)
                    errors.append(100 * (foretold.loss / best.loss - 1))
                    exponents.append(law.interval95["a"][0] <= truth.a <= law.interval95["a"][1])
                print(
                    f"{name:<12} {len(N)} runs, delta {delta:g}, {method:<5}: inside {np.mean(hits):.1%}, "
                    f"width {np.median(widths):.1f}, error {np.sqrt(np.mean(np.square(errors))):.2f}, "
                    f"a {np.mean(exponents):.1%}   ({time.perf_counter() - began:.0f} s)",
                    flush=True,
                )


if __name__ == "__main__":
    parts = {"speed": speed, "twin": twin, "refits": refits, "coverage": coverage}
    chosen = sys.argv[1:] or ["speed", "refits"]
    if set(chosen) - set(parts):
        sys.exit(f"expected {', '.join(parts)}, got {' '.join(chosen)}")
    for part in chosen:
        parts[part]()
