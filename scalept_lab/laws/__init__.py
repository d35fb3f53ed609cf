"""Scaling laws: their formulas, how they are fitted, how sure one can be, and how runs compare. No torch."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "formulas": "LAWS kaplan_frontier plan",
    "points": "Points",
    "rows": "",
    "tables": "read_points",
    "search": "",
    "choice": "",
    "fit": "Law fit_law fit_records",
    "odd": "odd_runs",
    "draws": "",
    "card": "",
    "contest": "",
    "isoflop": "",
    "compare": "Interval paired wilson",
    "noise": "noise_scale",
    "skill": "forecast_skill interval_score",
    "forecasters": "",
    "terms": "fit_terms straight_line",
    "evidence": "",
    "gathered": "",
})  # fmt: skip
