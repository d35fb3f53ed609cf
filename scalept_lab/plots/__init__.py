"""Every figure as a pure function of records and numbers, and the explorers around them. No torch."""

import importlib

_HOME = {
    "plot_adaptive": "curriculum",
    "plot_arms": "curriculum",
    "plot_attention": "transfer",
    "plot_bars": "charts",
    "plot_bootstrap": "laws",
    "plot_cleaning": "charts",
    "plot_cost": "compress",
    "plot_curves": "runs",
    "plot_descent": "training",
    "plot_episode": "vla",
    "plot_footprint": "numbers",
    "plot_forgetting": "transfer",
    "plot_formats": "numbers",
    "plot_frontier": "frontier",
    "plot_gaps": "compress",
    "plot_gaze": "vla",
    "plot_goodput": "training",
    "plot_gradients": "numbers",
    "plot_guess": "runs",
    "plot_interrupted": "training",
    "plot_isoflop": "runs",
    "plot_law_surface": "laws",
    "plot_left_out": "training",
    "plot_loss_against": "charts",
    "plot_memory": "charts",
    "plot_memory_parts": "numbers",
    "plot_noise_scale": "training",
    "plot_optimal": "laws",
    "plot_parameters": "laws",
    "plot_pareto": "compress",
    "plot_plan": "planning",
    "plot_power_fit": "laws",
    "plot_quantization": "compress",
    "plot_repeats": "charts",
    "plot_residuals": "laws",
    "plot_rounding": "numbers",
    "plot_schedule": "curriculum",
    "plot_schedules": "training",
    "plot_scores": "transfer",
    "plot_side_by_side": "vla",
    "plot_speedup": "numbers",
    "plot_stability": "curriculum",
    "plot_success": "vla",
    "plot_sweep": "runs",
    "plot_timeline": "planning",
    "plot_tradeoff": "training",
    "show": "style",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
