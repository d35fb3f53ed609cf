"""Every figure as a pure function of records and numbers, and the explorers around them. No torch."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "charts": "plot_bars plot_cleaning plot_loss_against plot_memory plot_repeats",
    "classroom": "plot_offsets",
    "compress": "plot_cost plot_gaps plot_pareto plot_quantization",
    "context": "plot_ring_hidden plot_ring_work",
    "decoding": "plot_speedups plot_token_time",
    "curriculum": "plot_adaptive plot_arms plot_hard_text plot_live plot_pupils plot_schedule",
    "experts": "plot_load plot_mixtures",
    "explorers": "explorer",
    "failures": "plot_evidence plot_lost",
    "frontier": "plot_frontier",
    "heads": "plot_heads plot_journeys",
    "laws": "plot_bootstrap plot_law_surface plot_optimal plot_parameters plot_power_fit plot_residuals",
    "planning": "plot_overlap plot_plan plot_sent plot_timeline",
    "plans": "plot_draws plot_life plot_miniature",
    "page": "",
    "numbers": "plot_footprint plot_format_losses plot_formats plot_gradients plot_memory_parts plot_rounding "
        "plot_speedup",
    "privacy": "plot_leak plot_roc",
    "roofline": "plot_roofline",
    "runs": "plot_curves plot_guess plot_isoflop plot_sweep",
    "style": "log_axis power_of_ten show",
    "training": "plot_descent plot_goodput plot_interrupted plot_left_out plot_noise_scale plot_schedules "
        "plot_tradeoff",
    "transfer": "plot_attention plot_attention_heads plot_disturbed plot_events plot_forgetting plot_reliability plot_scores",
    "vla": "plot_episode plot_gaze plot_runs plot_seeds plot_side_by_side plot_success",
})  # fmt: skip
