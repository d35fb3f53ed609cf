"""Explorers: sliders and menus over the pure figures. Each has its static twin, the `plot_…` function itself.

The picture is an HTML widget with an `<img>` in it, so that it carries alternative text, prints nothing into an
output area, and works alike in JupyterLab, Colab and Binder.

A slider reports while it moves. No queue builds up: the page sends the next position, the newest, when the kernel has
answered the last one, and the picture is drawn before that answer. While it moves, the picture is drawn in haste: panels stay
where they are, one dot for each of a screen's. Once it rests, the layout is worked out again and the picture is as sharp as
the static twin.
"""

from __future__ import annotations

import asyncio
import html
import inspect
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as ipw
import numpy as np
from matplotlib.figure import Figure

from scalept_lab.costs.counts import BYTES
from scalept_lab.costs.layouts import MODELS
from scalept_lab.costs.numbers import GRANULARITIES
from scalept_lab.errors import InputError
from scalept_lab.laws.formulas import LAWS
from scalept_lab.model.ravine import OPTIMIZERS
from scalept_lab.plots.charts import plot_memory
from scalept_lab.plots.compress import plot_quantization
from scalept_lab.plots.context import plot_ring_hidden
from scalept_lab.plots.curriculum import plot_adaptive
from scalept_lab.plots.failures import plot_lost
from scalept_lab.plots.laws import AnyLaw, named, plot_optimal
from scalept_lab.plots.numbers import plot_footprint, plot_rounding
from scalept_lab.plots.planning import plot_plan
from scalept_lab.plots.plans import plot_life
from scalept_lab.plots.runs import plot_guess
from scalept_lab.plots.style import RAISED, arrange, arrays, image, narrow, places, png, shown_size
from scalept_lab.plots.training import plot_descent, plot_goodput
from scalept_lab.plots.transfer import plot_scores
from scalept_lab.plots.vla import plot_side_by_side

# ipywidgets gives its sliders no name, and a logarithmic one announces its exponent: the page that shows them is told both.
NAMES = """<style>.scalept-explorer .widget-inline-hbox, .scalept-explorer .widget-label {height: auto}
.scalept-explorer .widget-label {white-space: normal; line-height: 1.25; align-self: center}</style>
<img hidden alt="" src="data:," onerror="
  const box = this.closest('.scalept-explorer'), told = () => box.querySelectorAll('.widget-slider').forEach(row => {
    const [handle, label, value] = ['[role=slider]', '.widget-label', '.widget-readout'].map(at => row.querySelector(at));
    if (!handle || !label || !value) return;
    if (handle.getAttribute('aria-label') != label.textContent) handle.setAttribute('aria-label', label.textContent);
    if (handle.getAttribute('aria-valuetext') != value.textContent) handle.setAttribute('aria-valuetext', value.textContent);
    if (!value.role) { value.role = 'textbox'; value.ariaLabel = label.textContent + ', as a number'; }
  });
  if (box) { told(); new MutationObserver(told).observe(box, {subtree: true, childList: true, characterData: true,
    attributeFilter: ['aria-valuetext']}); }
">"""
ALERT = "color:#8a3200;background:#fff3e8;padding:.1em .4em;border-radius:.2em"  # its own ground: no one red suits both themes
REST = 0.4  # seconds without a change, after which a picture is drawn with care
NAMED = "min(15em, 45%)"
WIDE = {"width": "min(100%, 38em)"}


class Explorer(ipw.VBox):
    """Controls over a picture. Where widgets are not shown (GitHub, a page without a kernel), the picture is shown alone.

    plot      the pure function that draws
    controls  by name, the widgets whose values it gets
    picture   what it drew last, an `<img>`; message: the line that it raised, or nothing
    small     draw for a narrow screen
    """

    def __init__(self, plot: Callable[..., Figure], controls: dict[str, Any]) -> None:
        super().__init__()
        self.plot, self.controls, self.small = plot, controls, False
        self.picture, self.message = ipw.HTML(), ipw.HTML()
        self._like: list[Any] | None = None  # where the last picture with a worked-out layout has its panels
        self._held = False  # several controls are being set
        self._rough: Figure | None = None  # drawn in haste
        self._later: asyncio.TimerHandle | None = None
        for control in controls.values():
            if isinstance(control, ipw.Widget):
                control.observe(self._changed, names="value")
        self.redraw()
        shown = [control for control in controls.values() if isinstance(control, ipw.DOMWidget)]
        self.children = (ipw.VBox(shown), self.picture, self.message, ipw.HTML(NAMES))
        self.add_class("scalept-explorer")

    def redraw(self, hasty: bool = False) -> None:
        """Draw what the controls say. `hasty`: leave the panels where they are, at the resolution of a screen, if that can be."""
        try:
            fig = self.plot(**{name: control.value for name, control in self.controls.items()})
            if self.small:
                narrow(fig)
            self._rough = fig if hasty and arrange(fig, self._like) else None
            self._paint(fig)
            self.message.value = ""
        except Exception as error:  # whatever it was, the explorer stays usable
            line = str(error).strip().splitlines() or [type(error).__name__]
            self.message.value = f'<span role="alert" style="{ALERT}">{html.escape(line[0])}</span>'

    def choose(self, values: dict[str, Any], hasty: bool = False) -> None:
        """Set controls by name, and draw once."""
        self._held = True
        for name, value in values.items():
            self.controls[name].value = value
        self._held = False
        self.redraw(hasty)

    def finish(self) -> None:
        """Draw a hasty picture once more, with its layout worked out."""
        if fig := self._rough:
            self._rough = None
            fig.set_layout_engine("constrained")
            self._paint(fig)

    def _changed(self, change: Any) -> None:
        if self._held:
            return
        if self._later:
            self._later.cancel()
        loop = _loop()
        self.redraw(hasty=loop is not None)
        if loop and self._rough:
            self._later = loop.call_later(REST, self.finish)

    def _paint(self, fig: Figure) -> None:
        data = png(fig, 100 if self._rough else 120)
        about = (inspect.getdoc(self.plot) or self.plot.__name__).split("\n")[0]
        told = f"{about} {_plain(fig.axes[0].get_title(loc='left'))} ({_told(self.controls)})"
        self.picture.value = image(data, told, shown_size(fig)["width"], least="0" if self.small else "30rem")
        if not self._rough:
            self._like = places(fig)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(**options) or {})
        return bundle | {
            "text/html": self.picture.value,
            "text/plain": "explorer: the controls need a running kernel",
        }


def explorer(plot: Callable[..., Figure], **controls: Any) -> Explorer:
    """A control for each keyword of a `plot_…` function, and its figure, drawn again whenever one changes.

    A control is a widget or ipywidgets' shorthand for one: (low, high[, step]) a slider, a list or a mapping
    name -> value a menu, True or False a box to tick; `ipywidgets.fixed(value)` passes a value without a control.
    What the figure raises is shown as one line under the last picture. Raises: InputError for a control that is none of these.
    """
    return Explorer(plot, {name: _control(name, given) for name, given in controls.items()})


def _loop() -> asyncio.AbstractEventLoop | None:
    """The loop of the kernel that called; None in a plain script, where nothing would draw later."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _control(name: str, given: Any) -> Any:
    control = (
        given if isinstance(given, (ipw.Widget, ipw.fixed)) else ipw.interactive.widget_from_abbrev(given)
    )
    if control is None or not hasattr(control, "value"):
        raise InputError(
            f"{name}: expected a widget, (low, high), a list or a mapping of choices, got {given!r}"
        )
    if isinstance(control, ipw.DOMWidget):
        if not control.description:
            control.description = name.replace("_", " ")
        control.style.description_width = NAMED  # 28 letters; on a narrow screen the name takes two lines
        control.layout = {**WIDE}
    return control


def _plain(title: str) -> str:
    """Powers of ten as a screen reader can read them: 3e11."""
    raised = "".join(map(chr, RAISED.values()))
    return re.sub(
        rf"(?:([\d.]+)×)?10([{raised}]+)",
        lambda found: (
            f"{found[1] or 1}e{found[2].translate({at: chr(digit) for digit, at in RAISED.items()})}"
        ),
        title,
    )


def _told(controls: dict[str, Any]) -> str:
    """What is chosen, for the alternative text: values, and of a menu the name."""
    chosen = {name: getattr(control, "label", control.value) for name, control in controls.items()
              if not isinstance(control, ipw.fixed)}  # fmt: skip
    return ", ".join(
        f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in chosen.items()
    )


def _slider(about: str, value: float, low: float, high: float, step: float = 0.01) -> ipw.FloatSlider:
    return ipw.FloatSlider(value=value, min=low, max=high, step=step, description=about, readout_format=".2f")


def _log_slider(about: str, value: float, low: float, high: float, step: float = 0.1) -> ipw.FloatLogSlider:
    """`low` and `high` are exponents of ten."""
    return ipw.FloatLogSlider(
        value=value, min=low, max=high, step=step, description=about, readout_format=".3g"
    )


def compute_optimal_explorer(
    law: AnyLaw | None = None, flops: float | None = None, flops_per_token: Any = 6.0
) -> ipw.VBox:
    """How the best model and its data grow with compute, under published laws and your own. Twin: `plot_optimal`."""
    chosen = named(law or "hoffmann")
    menu: dict[str, Any] = dict(LAWS)
    if own := chosen not in LAWS.values():
        menu = {getattr(chosen, "name", "your fit"): chosen, **menu}
    centre = flops or (1e12 if own else 5.76e23)
    low, high = (9.0, 27.0) if own else (17.0, 27.0)
    return explorer(
        plot_optimal,
        C=_log_slider("compute C (FLOPs)", centre, low, high),
        law=ipw.Dropdown(options=menu, value=chosen, description="law"),
        flops_per_token=ipw.fixed(flops_per_token),
    )


def law_explorer(points: Any) -> ipw.VBox:
    """Fit a law by hand: sliders for its five constants against measured points. Twin: `plot_guess`.

    `points`: `points.Points`, a fitted law (for its points), or run records. It starts near the points, every line inside
    the axes, and wrong.
    """
    N, D, L = arrays(points)
    E, rest = round(float(L.min()) / 2, 2), float(np.median(L) - L.min() / 2) / 2
    A, B = (10 ** (round(20 * math.log10(rest * np.median(size) ** 0.3)) / 20) for size in (N, D))
    return explorer(
        plot_guess,
        points=ipw.fixed(points),
        E=_slider("E (nats per token)", E, 0.0, round(float(L.min()), 2)),
        A=_log_slider("A", A, -1, 5, 0.05),
        B=_log_slider("B", B, -1, 6, 0.05),
        alpha=_slider("α", 0.3, 0.02, 1.0),
        beta=_slider("β", 0.3, 0.02, 1.0),
    )


def memory_explorer() -> ipw.VBox:
    """What each ZeRO stage leaves on a GPU. Twin: `plot_memory`."""
    return explorer(
        plot_memory,
        params=_log_slider("parameters", 7.5e9, 6, 12),
        gpus=ipw.SelectionSlider(options=[2**i for i in range(11)], value=64, description="GPUs"),
        zero=ipw.IntSlider(value=0, min=0, max=3, description="ZeRO stage"),
        precision=list(BYTES),
        limit_gb=ipw.Dropdown(options=[16, 24, 40, 80, 141, 192], value=80, description="a GPU holds (GB)"),
    )


def planner_explorer(model: str = "gpt3-175b", gpus: int = 1024) -> ipw.VBox:
    """Which layout of a large model fits, and which is fastest. Twin: `plot_plan`."""
    return explorer(
        plot_plan,
        model=ipw.Dropdown(options=list(MODELS), value=model, description="model"),
        gpus=ipw.SelectionSlider(options=[2**i for i in range(13)], value=gpus, description="GPUs"),
        bandwidth_gb=_log_slider("between servers (GB/s)", 25.0, -1, 2.7),
        memory_gb=ipw.Dropdown(options=[16, 24, 40, 80, 141, 192], value=80, description="a GPU holds (GB)"),
        batch=ipw.SelectionSlider(
            options=[2**i for i in range(3, 14)], value=1024, description="batch (sequences)"
        ),
    )


def ring_explorer() -> ipw.VBox:
    """From how many positions on a hop of the ring hides behind the work. Twin: `plot_ring_hidden`."""
    return explorer(
        plot_ring_hidden,
        tflops=_log_slider("a rank reaches (TFLOP/s)", 400.0, 1, 3.4),
        bandwidth_gb=_log_slider("to the next rank (GB/s)", 50.0, 0, 3),
        key_share=ipw.Dropdown(
            options={"as many": 1.0, "a quarter": 0.25, "an eighth": 0.125, "one of 64": 1 / 64},
            value=0.125,
            description="heads of keys",
        ),
        causal=ipw.Checkbox(value=True, description="balanced causal mask"),
    )


def rounding_explorer() -> ipw.VBox:
    """A number in the bits of each format. Twin: `plot_rounding`."""
    return explorer(
        plot_rounding,
        value=ipw.FloatText(value=0.1, description="a number"),
        scale=_log_slider("times (loss scaling)", 1.0, -6, 6, 0.1),
    )


def lost_explorer(gradients: np.ndarray) -> ipw.VBox:
    """Gradients times a factor on the loss, between the two ends of fp16. Twin: `plot_lost`."""
    return explorer(
        plot_lost,
        gradients=ipw.fixed(gradients),
        scale=ipw.FloatLogSlider(
            value=1.0, base=2, min=0, max=40, step=1, description="factor on the loss", readout_format=".3g"
        ),
    )


def footprint_explorer() -> ipw.VBox:
    """Memory of a training step under accumulation, recomputation and autocast. Twin: `plot_footprint`."""
    return explorer(
        plot_footprint,
        width=ipw.SelectionSlider(options=[64, 128, 256, 512, 1024, 4096], value=256, description="width"),
        depth=ipw.SelectionSlider(options=[2, 4, 8, 16, 32], value=4, description="depth"),
        context=ipw.SelectionSlider(options=[64, 128, 512, 2048, 4096], value=128, description="context"),
        batch=ipw.SelectionSlider(options=[1, 4, 16, 64, 256], value=16, description="batch (sequences)"),
        dtype=["float32", "bfloat16"],
        accumulate=ipw.SelectionSlider(
            options=[1, 4, 16, 64, 256], value=1, description="parts of the batch"
        ),
        recompute=False,
    )


def goodput_explorer() -> ipw.VBox:
    """What failures and checkpoints leave of the time, and how often to save. Twin: `plot_goodput`."""
    return explorer(
        plot_goodput,
        checkpoint_seconds=_log_slider("a checkpoint takes (s)", 60.0, 0, 3.3),
        gpu_mtbf_years=_log_slider("a GPU fails every (years)", 5.8, -1, 2),
        gpus=ipw.SelectionSlider(options=[4**i for i in range(10)], value=16384, description="GPUs"),
        restart_minutes=_log_slider("a restart takes (minutes)", 10.0, -1, 2),
    )


def schedule_explorer(performance: Sequence[float]) -> ipw.VBox:
    """The levels an adaptive schedule goes through on one performance curve. Twin: `plot_adaptive`."""
    return explorer(
        plot_adaptive,
        performance=ipw.fixed(performance),
        promote=_slider("promote at", 0.55, 0.05, 0.95),
        demote=_slider("demote below", 0.5, 0.0, 0.95),
        patience=ipw.IntSlider(value=3, min=1, max=10, description="patience"),
        deadline=ipw.IntSlider(value=800, min=0, max=1000, step=25, description="deadline (step)"),
    )


def descent_explorer() -> ipw.VBox:
    """An optimizer, its rate and momentum against the shape of a ravine. Twin: `plot_descent`."""
    return explorer(
        plot_descent,
        optimizer=list(OPTIMIZERS),
        rate=_log_slider("rate η", 0.05, -3, 0, 0.05),
        momentum=_slider("momentum μ (β₁ of Adam)", 0.9, 0.0, 0.99),
        curvature=_log_slider("curvature κ across", 25.0, 0, 2.5),
        steps=ipw.IntSlider(value=60, min=10, max=300, step=10, description="steps"),
    )


def quantization_explorer(weights: np.ndarray | None = None) -> ipw.VBox:
    """Levels and error of quantized weights by bits and granularity, with an outlier. Twin: `plot_quantization`."""
    return explorer(
        plot_quantization,
        bits=ipw.IntSlider(value=4, min=2, max=8, description="bits"),
        granularity=ipw.Dropdown(options=GRANULARITIES, value="channel", description="a scale per"),
        outlier=_log_slider("largest weight times", 1.0, 0, 2, 0.1),
        weights=ipw.fixed(weights),
    )


def scores_explorer() -> ipw.VBox:
    """Accuracy, precision, recall and F1 by the four counts of a classifier. Twin: `plot_scores`."""
    return explorer(
        plot_scores,
        positives=_slider("share of true pairs", 0.5, 0.0, 1.0),
        recall=_slider("of these found", 0.8, 0.0, 1.0),
        false_alarms=_slider("false alarms among the rest", 0.2, 0.0, 1.0),
    )


def life_explorer() -> ipw.VBox:
    """The best size of a model when serving is paid out of the same budget and text is scarce. Twin: `plot_life`."""
    return explorer(
        plot_life,
        flops=_log_slider("budget (FLOPs)", 1.6e23, 19, 26),
        served=_log_slider("tokens to be served", 1e12, 8, 14),
        unique=_log_slider("different tokens", 2e12, 8, 14),
        dear=_slider("a FLOP of serving costs", 5.0, 1.0, 10.0, 0.5),
    )


def episode_explorer(
    frames_a: Sequence[np.ndarray], frames_b: Sequence[np.ndarray],
    titles: Sequence[str] = ("a small policy", "a large policy"), actions_a: Sequence[int] = (),
    actions_b: Sequence[int] = (), mission: str = "",
) -> ipw.VBox:  # fmt: skip
    """Two policies in the same world, step by step, side by side. Twin: `plot_side_by_side`."""
    return explorer(
        plot_side_by_side,
        frames_a=ipw.fixed(frames_a),
        frames_b=ipw.fixed(frames_b),
        step=ipw.IntSlider(value=0, min=0, max=max(len(frames_a), len(frames_b)) - 1, description="step"),
        titles=ipw.fixed(titles),
        actions_a=ipw.fixed(actions_a),
        actions_b=ipw.fixed(actions_b),
        mission=ipw.fixed(mission),
    )
