"""Figures of a scaling law: its surface, its optimum, its parameters and how far they can be trusted.

All are pure, `plot_…(…) -> Figure`; a law is a `fit.Law`, a `laws.formulas.NamedLaw`, or a name in `laws.formulas.LAWS`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scalept_lab.checks import one_of, positive
from scalept_lab.errors import InputError
from scalept_lab.laws import formulas
from scalept_lab.laws.fit import Law
from scalept_lab.laws.points import variable
from scalept_lab.plots import style as look
from scalept_lab.plots.style import (
    BLACK,
    BLUE,
    GREY,
    HALO,
    LOSS,
    PARAMETERS,
    SKY,
    TOKENS,
    VERMILLION,
    label,
    log_axis,
    short,
)

AnyLaw = Law | formulas.NamedLaw | str
SYMBOLS = {
    "alpha": "α",
    "beta": "β",
    "kappa": "κ",
    "R_D": "$R_D$",
    "alpha_2": "$α_2$",
    "X_0": "$x_0$",
    "sigma": "σ",
}
VARIABLES = {"params": PARAMETERS, "tokens": TOKENS, "flops": "compute 6·N·D (FLOPs)"}


def named(law: AnyLaw, two_variables: bool = True) -> Law | formulas.NamedLaw:
    """The law itself where its name came. Raises: InputError, also for a law of one variable where two are needed."""
    if isinstance(law, str):
        return formulas.LAWS[one_of("law", law, formulas.LAWS)]
    if two_variables and law.form in formulas.ONE_VARIABLE:
        raise InputError(
            "law: expected loss as a function of N and D, got a law in one variable; plot_power_fit shows it"
        )
    return law


def plot_optimal(
    C: float, law: AnyLaw = "hoffmann", flops_per_token: formulas.FlopsPerToken = 6.0, decades: float = 1.6,
    title: str = "",
) -> Figure:  # fmt: skip
    """What C FLOPs buy under a law: loss against model size at this compute, a tenth and ten times of it.

    The title holds the answer: N, D, tokens per parameter and loss at the optimum. Raises: InputError.
    """
    C, law = positive("C", C), named(law)
    fig, ax = look.canvas()
    path, ends = [], []
    for factor, color, width in ((0.1, SKY, 1.4), (1.0, BLUE, 2.6), (10.0, SKY, 1.4)):
        best = law.optimal(C * factor, flops_per_token)
        N = np.geomspace(best.N / 10**decades, best.N * 10**decades, 121)
        per_token = flops_per_token(N) if callable(flops_per_token) else flops_per_token * N
        L = law(N, C * factor / per_token)
        ax.plot(N, L, color=color, linewidth=width)
        ends.append((N[-1], float(L[-1]), f"{look.power_of_ten(C * factor)} FLOPs", color))
        path.append((best.N, best.loss))
        if factor == 1.0:
            chosen = best
    ax.plot(*zip(*path, strict=True), color=GREY, linestyle=":", linewidth=1.4)
    ax.plot(chosen.N, chosen.loss, "o", color=VERMILLION, markersize=9)
    log_axis(ax.xaxis)
    log_axis(ax.yaxis, "{:.3g}".format)
    look.widen(ax, 0.12)
    look.name_ends(ax, ends)
    ax.annotate("compute-optimal", (chosen.N, chosen.loss), (-7, -14), textcoords="offset points", ha="right",
                color=VERMILLION, fontsize=9.5, path_effects=HALO)  # fmt: skip
    answer = f"C = {look.power_of_ten(C)}: N = {short(chosen.N)}, D = {short(chosen.D)}, "
    answer += f"{short(chosen.tokens_per_param)} tokens per parameter, loss {chosen.loss:.3f}"
    label(ax, PARAMETERS, "loss (nats per token)", look.headed(title, answer))
    return fig


def plot_law_surface(
    law: AnyLaw,
    N: tuple[float, float] | None = None,
    D: tuple[float, float] | None = None,
    flops_per_token: formulas.FlopsPerToken = 6.0,
) -> Figure:
    """Contours of loss over N and D, lines of equal compute, and the path of compute-optimal models.

    `N`, `D`: (low, high), by default the range of the fitted points, or 10⁷ to 10¹² and 10⁹ to 10¹³.
    """
    law = named(law)
    points = getattr(law, "points", None)
    (n0, n1), (d0, d1) = (
        given or (_around(getattr(points, key)) if points is not None else default)
        for key, given, default in (("N", N, (1e7, 1e12)), ("D", D, (1e9, 1e13)))
    )
    n, d = np.geomspace(n0, n1, 160), np.geomspace(d0, d1, 160)
    loss_DxN = law(n[None, :], d[:, None])
    fig, ax = look.canvas(size=(7.0, 4.8))
    ax.grid(visible=False)
    low, high = np.log(loss_DxN.min()), np.log(loss_DxN.max())
    levels = np.exp(np.linspace(low, high, 14))
    pale = ListedColormap(colormaps["Blues"](np.linspace(0.0, 0.55, 64)))  # dark writing stays readable on it
    ax.contourf(n, d, loss_DxN, levels, cmap=pale)
    lines = ax.contour(n, d, loss_DxN, levels[1:-1:2], colors=BLUE, linewidths=0.8)
    per_token = flops_per_token(n) if callable(flops_per_token) else flops_per_token * n
    corner = np.log10([per_token[0] * d0, per_token[-1] * d1])
    for power in range(int(np.ceil(corner[0] + 0.2)), int(np.floor(corner[1] - 0.2)) + 1):
        tokens = 10.0**power / per_token
        inside = (tokens >= d0) & (tokens <= d1)
        if inside.sum() < 8:
            continue
        ax.plot(n[inside], tokens[inside], color=GREY, linewidth=0.8, linestyle="--")
        at = np.flatnonzero(inside)[0]
        top = tokens[at] > 0.9 * d1
        ax.annotate(look.power_of_ten(10.0**power), (n[at], tokens[at]), (3, -9) if top else (3, 3),
                    textcoords="offset points", fontsize=8.5, color=GREY, path_effects=HALO)  # fmt: skip
    C = np.geomspace(10 ** corner[0], 10 ** corner[1], 80)
    best = np.array([(o.N, o.D) for o in (law.optimal(c, flops_per_token) for c in C)])
    inside = (best[:, 0] >= n0) & (best[:, 0] <= n1) & (best[:, 1] >= d0) & (best[:, 1] <= d1)
    ax.plot(*best[inside].T, color=VERMILLION, linewidth=2.4, label="compute-optimal")
    if points is not None:
        ax.plot(points.N, points.D, "o", color=BLACK, markersize=4, label="runs")
    log_axis(ax.xaxis)
    log_axis(ax.yaxis)
    ax.set_xlim(n0, n1)
    ax.set_ylim(d0, d1)
    ax.clabel(lines, fontsize=8.5, fmt="%.2f", colors=BLACK)
    ax.legend(loc="lower right", **{**look.LEGEND, "frameon": True})
    label(ax, PARAMETERS, TOKENS, "Loss (colour, nats per token); dashed: equal compute, FLOPs")
    return fig


def _around(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()) / 1.5, float(values.max()) * 1.5


def plot_power_fit(
    law: Law, *, until: float | None = None, measured: tuple[float, float] | None = None, xlabel: str = "", title: str = "",
    rivals: Mapping[str, float] | None = None,
) -> Figure:  # fmt: skip
    """A power law in one variable: points, the fit, its 95 % band for a new run, and the loss it levels off at.

    `until` extends the curve to that x; `measured` is a point (x, loss) that the fit has not seen; `rivals`, name -> loss, are
    other forecasts at its x. Without a `title` the fit's exponent and status stand there.
    """
    if law.form not in formulas.ONE_VARIABLE:
        raise InputError(
            f"law: expected the power form, got {law.form}; plot_sweep and plot_frontier show it"
        )
    name, x = variable(law.points, law.variable)
    reach = [x.max(), until or 0, measured[0] if measured else 0]
    grid = np.geomspace(x.min() / 1.2, 1.2 * max(reach), 150)
    fig, ax = look.canvas()
    if law.samples:
        band = law.predict(grid)
        ax.fill_between(grid, band.low, band.high, color=SKY, alpha=0.3, linewidth=0)
    seen = grid <= x.max()
    ax.plot(grid[seen], law(grid)[seen], color=BLUE, linewidth=1.8)
    ax.plot(grid[~seen], law(grid)[~seen], color=BLUE, linewidth=1.8, linestyle="--")
    ax.plot(x, law.points.L, "o", color=BLACK, markersize=6)
    if law.params["E"] > 0.5 * float(np.min(law(grid))):
        ax.axhline(law.params["E"], color=GREY, linestyle=":", linewidth=1.4)
        ax.annotate(f"E = {law.params['E']:.3g}", (0.99, law.params["E"]), (0, 4), ha="right", color=GREY,
                    xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=9.5)  # fmt: skip
    if measured:
        ax.plot(*measured, "*", color=VERMILLION, markersize=15, zorder=5)
        ax.annotate(
            "measured",
            measured,
            (0, -19 if rivals else 11),
            textcoords="offset points",
            ha="center",
            color=VERMILLION,
            fontsize=9.5,
        )
        for name_of, loss in (rivals or {}).items():
            ax.plot(measured[0], loss, "D", color=GREY, markerfacecolor="white", markersize=7, zorder=4)
            ax.annotate(name_of, (measured[0], loss), (-9, 0), textcoords="offset points", ha="right", va="center", color=GREY,
                        fontsize=9.5, path_effects=HALO)  # fmt: skip
    log_axis(ax.xaxis, look.power_of_ten if name == "flops" else short)
    log_axis(ax.yaxis, "{:.4g}".format)
    exponent = f"α = {law.params['alpha']:.3g}"
    if "alpha" in law.interval95:
        exponent += " (95 %: {:.2g} to {:.2g})".format(*law.interval95["alpha"])
    label(ax, xlabel or VARIABLES[name], LOSS, title or f"L = E + A/x$^α$, {exponent}; {law.status}")
    if law.samples:
        ax.legend(
            handles=[Patch(color=SKY, alpha=0.3, label="band: 95 % interval of one new run")],
            loc="upper right",
            **look.LEGEND,
        )
    return fig


def plot_residuals(law: Law, title: str = "") -> Figure:
    """How far each run lies from the fit, in percent, against each variable: a good fit leaves no trend."""
    p = law.points
    one = law.form in formulas.ONE_VARIABLE
    name, x = variable(p, law.variable) if one else ("", None)
    fitted = law(x) if one else law(p.N, p.D, p.unique)
    percent = 100 * (p.L / fitted - 1)
    axes = [("x", VARIABLES[name], x)] if one else [
        ("N", PARAMETERS, p.N), ("D", TOKENS, p.D)]  # fmt: skip
    fig, found = look.canvas(1, len(axes), sharey=True)
    for i, (ax, (_, name, x)) in enumerate(zip(np.atleast_1d(found), axes, strict=True)):
        ax.axhspan(-200 * law.sigma, 200 * law.sigma, color=SKY, alpha=0.2, linewidth=0)
        ax.axhline(0, color=GREY, linewidth=1)
        ax.plot(x, percent, "o", color=BLUE, markersize=6, alpha=0.8)
        log_axis(ax.xaxis, look.power_of_ten if "FLOPs" in name else short)
        label(ax, name, "measured above the fit (%)" if i == 0 else "")
    room = 1.1 * max(300 * law.sigma, np.abs(percent).max())
    np.atleast_1d(found)[0].set_ylim(-room, room)
    np.atleast_1d(found)[0].set_title(
        look.headed(title, f"Residuals; band: ±2σ, σ = {100 * law.sigma:.2g} %"), loc="left", fontsize=11
    )
    return fig


def plot_parameters(law: Law, truth: dict[str, float] | None = None, title: str = "") -> Figure:
    """Every parameter with its 95 % interval, relative to the estimate, so that all share one axis; and the status.

    `truth`: values to compare with (of a language of known entropy, say), as diamonds.
    """
    names = [name for name in law.params if law.params[name] > 0]
    fig, ax = look.canvas(size=(7.0, 1.7 + 0.42 * len(names)))
    ax.axvline(1, color=GREY, linewidth=1)
    low_end, high_end = 0.01, 100.0
    shown = [1.0]
    for row, name in enumerate(names):
        value = law.params[name]
        text = f"{value:.3g}"
        if name in law.interval95:
            ends = law.interval95[name]
            low, high = np.clip(np.array(ends) / value, low_end, high_end)
            shown += [low, high]
            ax.plot([low, high], [row, row], color=BLUE, linewidth=3, solid_capstyle="butt")
            for end, edge, arrow in ((ends[0], low, "<"), (ends[1], high, ">")):
                if not np.isclose(end / value, edge):  # it goes on beyond what is drawn
                    ax.plot(edge, row, arrow, color=BLUE, markersize=9)
            text += " ({:.3g} to {:.3g})".format(*ends)
        ax.plot(1, row, "o", color=BLUE, markersize=8)
        if truth and truth.get(name, 0) > 0:
            place = float(np.clip(truth[name] / value, low_end, high_end))
            shown.append(place)
            ax.plot(place, row, "D", color=VERMILLION, markersize=7, label="truth")
        ax.annotate(
            text,
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9.5,
            annotation_clip=False,
        )
    span = max(1.25, 1.1 * max(max(shown), 1 / min(shown)))
    ax.set_xlim(1 / span, span)
    log_axis(ax.xaxis, "×{:.3g}".format)
    ax.set_yticks(range(len(names)), [SYMBOLS.get(name, name) for name in names], fontsize=11)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    if truth:
        handles, labels = ax.get_legend_handles_labels()
        ax.legend(handles[:1], labels[:1], loc="best", **look.LEGEND)
    label(
        ax,
        "value relative to the estimate, with 95 % interval",
        "constant of the law",
        look.headed(title, f"Fit of {len(law.points)} runs: {law.status}"),
    )
    return fig


def plot_bootstrap(law: Law, first: str = "E", second: str = "alpha", title: str = "") -> Figure:
    """Two parameters over all bootstrap refits: where they trade off, the points lie on a line. Raises: InputError."""
    for name in (first, second):
        one_of("parameter", name, law.samples, "" if law.samples else "fit with bootstrap=1000")
    x, y = law.samples[first], law.samples[second]
    fig, ax = look.canvas()
    ax.plot(x, y, ".", color=BLUE, alpha=0.35, markersize=5)
    scales = []
    for name, values, axis in ((first, x, ax.xaxis), (second, y, ax.yaxis)):
        wide = values.min() > 0 and np.quantile(values, 0.975) > 5 * np.quantile(values, 0.025)
        scales.append(np.log(values) if wide else values)
        if wide:
            log_axis(axis, "{:.3g}".format)
        if name in law.interval95:
            line = ax.axvline if axis is ax.xaxis else ax.axhline
            for end in law.interval95[name]:
                line(end, color=GREY, linewidth=1, linestyle="--")
    if first in law.params and second in law.params:
        ax.plot(law.params[first], law.params[second], "P", color=VERMILLION, markersize=11)
        ax.annotate("fit", (law.params[first], law.params[second]), (8, 6), textcoords="offset points",
                    color=VERMILLION, path_effects=HALO)  # fmt: skip
    r = float(np.corrcoef(scales)[0, 1]) if min(np.ptp(s) for s in scales) > 0 else float("nan")
    units = {"E": " (nats per token)"}
    label(ax, SYMBOLS.get(first, first) + units.get(first, ""), SYMBOLS.get(second, second) + units.get(second, ""),
          look.headed(title, f"{len(x):,} refits, correlation {r:.2f}; dashed: 95 % intervals"))  # fmt: skip
    return fig
