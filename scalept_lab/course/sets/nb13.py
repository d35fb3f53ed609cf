"""Exercises of notebook 13, the capstone: a size where text is scarce and serving is paid, a layout, a bill, draws, a plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scalept_lab.course.answers import UNANSWERED, Check, Verdict, build, choice, number, several
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.sets import pieces
from scalept_lab.errors import InputError
from scalept_lab.laws.formulas import LAWS
from scalept_lab.study import plan as planning
from scalept_lab.study import rivals
from scalept_lab.study.judge import judge_of
from scalept_lab.study.review import check

NUMPY = "import numpy as np\n\n\n"
LAW = LAWS["muennighoff"].params

# --- 13.1: how far a budget goes --------------------------------------------------------------------------------

_FLOPS = 0.5 * 312e12 * 8 * 86_400
_TOKENS = _FLOPS / (6 * 8e8)

BUDGET = Exercise(
    id="13.1",
    kind="compute",
    minutes=4,
    difficulty=1,
    question="Eight A100s reach half of their 312 TFLOP/s for a day. How many FLOPs is that? And how many tokens does a model of "
    "800 million parameters read for them, by C = 6·N·D?",
    check=several(
        flops=number(
            _FLOPS, rel=0.01,
            diagnoses=(
                (_FLOPS / 8, "that is one GPU; there are eight."),
                (2 * _FLOPS, "that is the whole peak; half of it is reached."),
                (_FLOPS / 24, "that is one hour; a day has 24."),
            ),
        ),
        tokens=number(
            _TOKENS, rel=0.01,
            diagnoses=((6 * _TOKENS, "6 FLOPs go to each parameter and token: two forward, four backward."),),
        ),
    ),
    hints=(
        "Multiply what one GPU reaches in a second by the GPUs and by the seconds.",
        "A day has 86,400 seconds; 1 TFLOP/s is 1e12 FLOPs in a second.",
        "FLOPs = 0.5 × 312e12 × 8 × 86,400; then solve C = 6·N·D for D.",
    ),
    solution="""
flops = 0.5 * 312e12 * 8 * 86_400
answer = {"flops": flops, "tokens": flops / (6 * 8e8)}
""",
    wrong=(
        ({"flops": _FLOPS / 8, "tokens": _TOKENS}, "one GPU"),
        ({"flops": 2 * _FLOPS, "tokens": _TOKENS}, "whole peak"),
        ({"flops": _FLOPS / 24, "tokens": _TOKENS}, "one hour"),
        ({"flops": _FLOPS, "tokens": 6 * _TOKENS}, "two forward"),
    ),
    placeholder={"flops": ..., "tokens": ...},
)  # fmt: skip


# --- 13.2: the loss on text that is read again ----------------------------------------------------------------------


def repeated_loss(p: dict, N, D, unique):
    """Loss in nats per token of N parameters after D tokens, of which `unique` are different.

    p: constants E, A, B, alpha, beta, R_D, R_N by name; numbers, or arrays of draws. N, D: numbers or arrays.
    1. U = min(unique, D) tokens that are read D/U times are worth
       D' = U + U·R_D·(1 − exp(−(D/U − 1)/R_D)) fresh ones (Muennighoff et al. 2023, eq. 5).
    2. U tokens suffice for G = (alpha·A/(beta·B))^(1/alpha) · U^(beta/alpha) parameters.
    3. With V = min(G, N), N parameters are worth N' = V + V·R_N·(1 − exp(−(N/V − 1)/R_N)).
    4. The loss is E + A/N'^alpha + B/D'^beta.
    """
    U = np.minimum(unique, D)
    worth = U + U * p["R_D"] * (1 - np.exp(-(D / U - 1) / p["R_D"]))
    G = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / p["alpha"]) * U ** (p["beta"] / p["alpha"])
    V = np.minimum(G, N)
    used = V + V * p["R_N"] * (1 - np.exp(-(N / V - 1) / p["R_N"]))
    return p["E"] + p["A"] * used ** -p["alpha"] + p["B"] * worth ** -p["beta"]


def _points() -> list[tuple]:
    other = {**LAW, "beta": 0.3, "R_D": 5.0}
    return [
        (dict(LAW), 1e9, 2e10, 1e12),
        (dict(LAW), 1e8, 4e10, 1e9),
        (dict(LAW), 3e10, 1e11, 1e10),
        (other, 5e9, 3e10, 2e9),
    ]


_LOSS_SLIPS, _LOSS_WRONG = pieces.slips(
    repeated_loss,
    (
        "(D / U - 1)",
        "(D / U)",
        "first pass is no repetition",
        "the first pass is no repetition: R = D/U − 1, not D/U.",
    ),
    (
        "np.minimum(unique, D)",
        "unique",
        "fewer tokens than there are",
        "where the run reads fewer tokens than there are, only those count: U = min(unique, D).",
    ),
    (
        'p["A"] * used **',
        'p["A"] * N **',
        "worth less, too",
        "tokens are discounted and parameters are not: those that the text cannot feed are worth less, too.",
    ),
    (
        'p["B"] * worth **',
        'p["B"] * D **',
        "as if it were fresh",
        "the term in D takes each repeated token as if it were fresh.",
    ),
    (
        "np.minimum(G, N)",
        "G",
        "smaller than the text could feed",
        "a model smaller than the text could feed is used in full: V = min(G, N).",
    ),
)

LOSS = Exercise(
    id="13.2",
    kind="build",
    minutes=15,
    difficulty=3,
    question="Write repeated_loss(p, N, D, unique): the loss of a law that knows what repeated text, and a model too large for "
    "its text, are worth.",
    check=build(
        repeated_loss, _points, names=("text for all", "forty passes", "a model too large", "other constants"), rel=1e-6,
        diagnoses=_LOSS_SLIPS, right="The rest of the notebook plans with it.",
    ),
    hints=(
        "Four steps, each a line of the docstring: U, then what D is worth, then what N is worth, then the sum.",
        "np.minimum works for numbers and arrays alike. The two discounts have the same form, with other letters.",
        "One helper serves both: worth(total, part, R) = part + part·R·(1 − exp(−(total/part − 1)/R)).",
    ),
    skeleton="\n" + pieces.skeleton(repeated_loss) + "\n",
    own=lambda: repeated_loss,
    solution=pieces.source(repeated_loss, NUMPY),
    wrong=_LOSS_WRONG,
    placeholder=lambda p, N, D, unique: ...,
)  # fmt: skip


# --- 13.3: the best size ---------------------------------------------------------------------------------------------


def best_size(loss, flops: float, unique: float, served: float, dear: float) -> tuple:
    """(N, D) of the lowest loss when training and serving are paid out of one budget.

    loss: loss(N, D, unique) in nats per token, of arrays. flops: the whole budget, at training's price.
    unique: different tokens at hand. served: tokens to be generated over the model's life, 2·N FLOPs each.
    dear: how many times as much a FLOP costs there as in training. Training takes 6·N·D.
    Try sizes from 1e6 to 1e13 on a fine grid (steps of 1 % or less).
    """
    N = np.geomspace(1e6, 1e13, 4000)
    left = flops - 2 * dear * N * served
    N, left = N[left > 0], left[left > 0]
    D = left / (6 * N)
    i = np.argmin(loss(N, D, unique))
    return float(N[i]), float(D[i])


def _by_law(N: Any, D: Any, unique: float) -> Any:
    return repeated_loss(LAW, N, D, unique)


def _budgets() -> list[tuple]:
    return [
        (_by_law, 1e20, 1e15, 0.0, 4.5), (_by_law, 1e20, 1e9, 0.0, 4.5), (_by_law, 1.6e23, 2e12, 1e12, 4.5),
        (_by_law, 1e22, 1e13, 2e11, 1.0),
    ]  # fmt: skip


_SIZE_SLIPS, _SIZE_WRONG = pieces.slips(
    best_size,
    (
        "flops - 2 * dear * N * served",
        "flops - 0 * N",
        "nothing is left for serving",
        "nothing is left for serving: its 2·N FLOPs a token come out of the same budget.",
    ),
    (
        "2 * dear * N * served",
        "2 * N * served",
        "costs more than in training",
        "a FLOP costs more than in training when it serves: multiply by dear.",
    ),
    (
        "2 * dear * N * served",
        "6 * dear * N * served",
        "forward pass alone",
        "serving is a forward pass alone: 2·N FLOPs a token, not 6·N.",
    ),
    ("np.argmin", "np.argmax", "highest loss", "that is the size with the highest loss."),
    (
        "loss(N, D, unique)",
        "loss(N, D, 1e30)",
        "as if the text were endless",
        "that plans as if the text were endless: hand on unique.",
    ),
)

SIZE = Exercise(
    id="13.3",
    kind="build",
    minutes=12,
    difficulty=3,
    question="Write best_size(loss, flops, unique, served, dear): the parameters and the tokens of the lowest loss, when the "
    "text may be scarce and the tokens to be served are paid out of the same budget.",
    check=build(
        best_size, _budgets, names=("endless text", "scarce text", "serving", "cheap serving"), rel=0.02, diagnoses=_SIZE_SLIPS,
        right="Compare the first two cases, and the last two.",
    ),
    hints=(
        "For each size, what serving takes is fixed; the rest of the budget buys tokens.",
        "Sizes whose serving costs more than the budget have to go before the loss is asked for.",
        "A grid: np.geomspace(1e6, 1e13, 4000). Keep where something is left, D = left/(6·N), and take the lowest loss.",
    ),
    skeleton="\n" + pieces.skeleton(best_size) + "\n",
    own=lambda: best_size,
    solution=pieces.source(best_size, NUMPY),
    wrong=_SIZE_WRONG,
    placeholder=lambda loss, flops, unique, served, dear: ...,
)  # fmt: skip


# --- 13.4: the layout ----------------------------------------------------------------------------------------------


def fastest_layout(N, width, depth, heads, context, batch, gpus, node, memory, cost):
    """(data, tensor, pipeline) of the fastest layout that fits, by two formulas; (0, 0, 0) if none fits.

    N: parameters. width, depth (layers), heads, context (tokens): of the model. batch: sequences a step,
    in micro-batches of one. gpus: in all; node: of a server; memory: bytes of a GPU.
    Divides: data·tensor·pipeline = gpus; tensor divides heads and is at most node; pipeline divides depth;
    data divides batch, which leaves m = batch/data micro-batches.
    Fits: 16·N/(tensor·pipeline) bytes, and 34·context·width/tensor for each of the depth/pipeline layers of a
    stage and each of the min(m, pipeline) micro-batches under way, are at most memory.
    Time of a step, relative: (1 + cost·(1 − 1/tensor)) · (m + pipeline − 1)/m.
    """
    fastest, found = np.inf, (0, 0, 0)
    for tensor in range(1, node + 1):
        for pipeline in range(1, depth + 1):
            data = gpus // (tensor * pipeline)
            if data == 0 or data * tensor * pipeline != gpus:
                continue
            if heads % tensor or depth % pipeline or batch % data:
                continue
            m = batch // data
            states = 16 * N / (tensor * pipeline)
            kept = min(m, pipeline) * depth / pipeline * 34 * context * width / tensor
            seconds = (1 + cost * (1 - 1 / tensor)) * (m + pipeline - 1) / m
            if states + kept <= memory and seconds < fastest:
                fastest, found = seconds, (data, tensor, pipeline)
    return found


def _clusters() -> list[tuple]:
    return [
        (8e8, 2048, 16, 16, 2048, 256, 8, 8, 80 * 2**30, 0.2),  # data alone
        (5.15e10, 8192, 64, 64, 4096, 1024, 1024, 8, 80 * 2**30, 0.2),  # all three
        (1.7e9, 2560, 20, 20, 1024, 256, 2, 2, 24 * 2**30, 0.2),  # two small GPUs
        (3e9, 2550, 20, 15, 1024, 8, 4, 4, 24 * 2**30, 0.05),  # heads that do not divide
        (3e10, 4096, 16, 32, 4096, 64, 8, 8, 100 * 2**30, 0.5),  # few micro-batches
        (2e12, 25600, 128, 160, 2048, 512, 64, 8, 80 * 2**30, 0.2),  # nowhere
    ]


_LAYOUT_SLIPS, _LAYOUT_WRONG = pieces.slips(
    fastest_layout,
    (
        "min(m, pipeline) * depth",
        "depth",
        "several micro-batches under way",
        "a stage keeps several micro-batches under way, not one.",
    ),
    (
        "16 * N / (tensor * pipeline)",
        "16 * N / (data * tensor * pipeline)",
        "a copy of its own",
        "plain data-parallel ranks each hold "
        "a copy of its own: N is cut by tensor and pipeline alone (ZeRO would cut it further).",
    ),
    (
        "states + kept <= memory and ",
        "",
        "does not fit",
        "the layout returned does not fit: compare states and activations with the memory.",
    ),
    (
        "* (m + pipeline - 1) / m",
        "",
        "the bubble is missing",
        "the bubble is missing: a pipeline waits (pipeline − 1)/m of its work.",
    ),
    (
        "heads % tensor or ",
        "",
        "heads cannot be cut",
        "a layout came out in which the heads cannot be cut evenly.",
    ),
    (
        "(1 + cost * (1 - 1 / tensor)) * ",
        "",
        "costs nothing",
        "tensor parallelism costs nothing there: multiply by 1 + cost·(1 − 1/tensor).",
    ),
)

LAYOUT = Exercise(
    id="13.4",
    kind="build",
    minutes=25,
    difficulty=4,
    question="Write fastest_layout(N, width, depth, heads, context, batch, gpus, node, memory, cost): of all layouts that divide "
    "and fit, the fastest.",
    check=build(
        fastest_layout, _clusters,
        names=("one server", "1,024 GPUs", "two small GPUs", "15 heads", "few micro-batches", "too large"),
        diagnoses=_LAYOUT_SLIPS, right="The planner of the kit weighs more, and asks the same two questions.",
    ),
    hints=(
        "Two loops, over tensor and pipeline; data is what is left of the GPUs.",
        "Leave out what does not divide before you compute anything. Then two formulas, two comparisons.",
        "Keep the fastest so far and its layout; start with infinity and (0, 0, 0). m = batch // data.",
    ),
    skeleton="\n" + pieces.skeleton(fastest_layout) + "\n",
    own=lambda: fastest_layout,
    solution=pieces.source(fastest_layout, NUMPY),
    wrong=_LAYOUT_WRONG,
    placeholder=lambda *sizes: ...,
)  # fmt: skip


# --- 13.5: the bill ---------------------------------------------------------------------------------------------------


def whole_bill(steps, step_seconds, gpus, N, served, peak, decoding, watts, price):
    """GPU hours, energy and money of a model's life: {"gpu_hours": …, "kwh": …, "dollars": …}.

    steps of step_seconds each, on `gpus` GPUs, train N parameters. Serving takes 2·N FLOPs for each of `served`
    tokens, on GPUs that reach the share `decoding` of `peak` (FLOP/s). watts: of a GPU and its share of the
    server. price: dollars per GPU and hour.
    """
    training = steps * step_seconds * gpus / 3600
    serving = 2 * N * served / (decoding * peak) / 3600
    hours = training + serving
    energy = hours * watts / 1000
    money = hours * price
    return {"gpu_hours": hours, "kwh": energy, "dollars": money}


def _bills() -> list[tuple]:
    return [
        (1000, 3.6, 8, 1e9, 0.0, 1e15, 0.1, 500.0, 2.0),  # 8 GPU hours, 4 kWh, 16 dollars
        (0, 1.0, 1, 1e9, 1.8e11, 1e15, 0.1, 500.0, 2.0),  # 3.6e20 FLOPs at 1e14 a second: 1,000 GPU hours
        (40_000, 2.1, 64, 9e9, 1e12, 989e12, 0.1, 980.0, 3.0),
    ]


_BILL_SLIPS, _BILL_WRONG = pieces.slips(
    whole_bill,
    ("training + serving", "training", "is not billed", "what serving takes is not billed."),
    (
        "step_seconds * gpus /",
        "step_seconds /",
        "hours of the cluster",
        "those are hours of the cluster; each GPU is paid.",
    ),
    (
        "(decoding * peak)",
        "peak",
        "whole peak",
        "decoding does not reach the whole peak: divide by decoding · peak.",
    ),
    (
        "hours * watts / 1000",
        "hours * watts",
        "watt-hours",
        "those are watt-hours; a kilowatt-hour has a thousand of them.",
    ),
    (
        "2 * N * served",
        "6 * N * served",
        "no backward pass",
        "serving has no backward pass: 2·N FLOPs a token.",
    ),
)

BILL = Exercise(
    id="13.5",
    kind="build",
    minutes=8,
    difficulty=2,
    question="Write whole_bill(steps, step_seconds, gpus, N, served, peak, decoding, watts, price): what a model takes over its "
    "life, in GPU hours, kilowatt-hours and dollars.",
    check=build(whole_bill, _bills, names=("training alone", "serving alone", "both"), rel=1e-6, diagnoses=_BILL_SLIPS),
    hints=(
        "Everything follows from GPU hours: first those of training, then those of serving.",
        "Seconds of a step times steps times GPUs, over 3,600. For serving: FLOPs over FLOPs per second.",
        "kWh = GPU hours × watts / 1000; dollars = GPU hours × price. Return the three by name.",
    ),
    skeleton="\n" + pieces.skeleton(whole_bill) + "\n",
    own=lambda: whole_bill,
    solution=pieces.source(whole_bill),
    wrong=_BILL_WRONG,
    placeholder=lambda *numbers: ...,
)  # fmt: skip


# --- 13.6: which plan is better, and how sure that is --------------------------------------------------------------


def share_better(loss, draws: dict, a: tuple, b: tuple, unique: float) -> dict:
    """In which share of the draws plan a has the lower loss: {"share": …, "low": …, "high": …}.

    loss: loss(p, N, D, unique), of draws of the constants. draws: arrays (K,) by name; the k-th numbers of all
    belong together. a, b: (N, D) of the two plans. low, high: the central 95 % (from 2.5 to 97.5 %) of the
    loss of b minus the loss of a, draw by draw.
    """
    mine = loss(draws, a[0], a[1], unique)
    theirs = loss(draws, b[0], b[1], unique)
    gain = theirs - mine
    low, high = np.quantile(gain, (0.025, 0.975))
    return {"share": float(np.mean(gain > 0)), "low": float(low), "high": float(high)}


def _drawn() -> list[tuple]:
    samples = {**judge_of("day").samples}
    samples["beta"] = samples["alpha"]
    one, other = (6.6e8, 2.33e10), (8.1e8, 1.97e10)
    return [
        (repeated_loss, samples, one, other, 1e9),
        (repeated_loss, samples, other, one, 1e9),
        (repeated_loss, samples, (7e10, 2.7e12), (3.5e10, 3.4e12), 5e11),
    ]


_SHARE_SLIPS, _SHARE_WRONG = pieces.slips(
    share_better,
    (
        "gain = theirs - mine",
        "gain = np.sort(theirs) - np.sort(mine)",
        "not draw by draw",
        "that compares sorted losses, not draw by draw: one set of constants judges both plans.",
    ),
    (
        "gain = theirs - mine",
        "gain = mine - theirs",
        "other way round",
        "the difference is the other way round: positive where a is better.",
    ),
    (
        "np.mean(gain > 0)",
        "100 * np.mean(gain > 0)",
        "per cent",
        "the share is a number from 0 to 1, not per cent.",
    ),
    ("(0.025, 0.975)", "(0.05, 0.95)", "90 %", "5 and 95 % leave the central 90 %."),
    (
        "gain = theirs - mine",
        "gain = theirs - mine[::-1]",
        "mixes the draws",
        "that mixes the draws: the k-th loss of a belongs to the k-th of b.",
    ),
)

SHARE = Exercise(
    id="13.6",
    kind="build",
    minutes=10,
    difficulty=3,
    question="Write share_better(loss, draws, a, b, unique): in which share of the draws of a law's constants plan a beats plan "
    "b, and the 95 % interval of the difference.",
    check=build(
        share_better, _drawn, names=("two near plans", "the same, turned round", "two far plans"), rel=1e-6, abs=1e-12,
        diagnoses=_SHARE_SLIPS, right="Each loss alone is far less certain than their difference.",
    ),
    hints=(
        "One draw is one law that could be true. It judges both plans.",
        "loss takes arrays of constants, and gives an array of losses, one for each draw.",
        "gain = loss(b) − loss(a), draw by draw; its mean of (gain > 0), and np.quantile at 0.025 and 0.975.",
    ),
    skeleton="\n" + pieces.skeleton(share_better) + "\n",
    own=lambda: share_better,
    solution=pieces.source(share_better, NUMPY),
    wrong=_SHARE_WRONG,
    placeholder=lambda loss, draws, a, b, unique: ...,
)  # fmt: skip


# --- 13.8: what a miniature can tell ---------------------------------------------------------------------------------

READ = Exercise(
    id="13.8",
    kind="read",
    minutes=5,
    difficulty=3,
    question='A miniature of plan A is better than that of plan B at equal FLOPs, by more than the spread of the seeds. The law '
    'says that at full size B is better. What follows: "trust the miniature", "trust the law", "each at its scale" '
    'or "train more seeds"?',
    check=choice(
        "each at its scale",
        {
            "trust the miniature": "it was measured, but ten decades below the plan: what is best may move on the way.",
            "trust the law": "the law was not measured at the plan's size either; it is the better guess "
            "there, and says nothing of the miniature.",
            "each at its scale": "",
            "train more seeds": "the seeds agree already; the difference is real, at that scale.",
        },
        right="The miniature shows that the recipe runs and what seeds do; the law speaks of the full size, with its interval.",
    ),
    hints=(
        "Both were asked at their own compute.",
        "What has to stay the same between two scales, for a ranking to carry over?",
        "A ranking carries over if the law's exponents, and what repetition costs, are the same at both. Nothing says they are.",
    ),
    solution='answer = "each at its scale"',
    wrong=(
        ("trust the miniature", "ten decades"),
        ("trust the law", "not measured at the plan's size"),
        ("train more seeds", "agree already"),
    ),
)  # fmt: skip


# --- 13.7: the plan ---------------------------------------------------------------------------------------------------

LEAST = 0.5  # skill


def _as_plan(answer: Any) -> planning.Plan:
    if isinstance(answer, planning.Plan):
        return answer
    if isinstance(answer, Mapping):
        return planning.parse(planning.Plan, dict(answer))
    if isinstance(answer, (str, Path)):
        return planning.read_plan(answer)
    raise InputError(f"answer: expected the path of a plan's file or a Plan, got {type(answer).__name__}")


def _judge_plan(answer: Any) -> Verdict:
    if answer is ... or answer is None:
        return UNANSWERED
    try:
        made = _as_plan(answer)
    except InputError as error:
        return Verdict(False, str(error))
    found = check(made)
    rows = [(each.question, each.found, each.ok) for each in found]
    missed = next((each for each in found if not each.ok), None)
    if missed is not None:
        return Verdict(False, f"{missed.question}: {missed.found}. {missed.advice}.", rows=tuple(rows))
    standing = rivals.score(made)
    told = f"{standing.skill:.2f} of the way from the naive plan to the best one found"
    ok = standing.skill >= LEAST
    rows.append(("beats the naive plan", told, ok))
    if ok:
        return Verdict(True, f"{told}; {standing.verdict}.", rows=tuple(rows))
    return Verdict(
        False,
        f"the plan runs, and goes {told}; at least {LEAST} is asked. Change N and D by your best_size, or the layout.",
        rows=tuple(rows),
    )


def _unsealed() -> planning.Plan:
    return rivals.naive("month")


def _greedy() -> planning.Plan:
    made = rivals.naive("month")
    return planning.seal(made.replace(tokens=2 * made.tokens))


def _huge() -> planning.Plan:
    made = rivals.naive("month")
    return planning.seal(made.replace(model={"width": 24576, "depth": 192, "heads": 192}, tokens=1e11))


_PLANNED = """
import scalept_lab as sl

plan = sl.study.naive("month")  # a plan to change, with everything a plan needs
plan = plan.replace(
    model={"width": 8192, "depth": 64, "heads": 64},  # near the N of best_size for this budget and this text
    layout={"data": 256, "tensor": 4, "zero": 1, "recompute": "selective"},
    curriculum={"choice": "none", "why": "an order by difficulty gained nothing at equal FLOPs in notebook 07"},
)
paid = sl.study.bill(plan)["share"]  # of the budget, with the naive plan's tokens
step = plan.batch * plan.case.context  # tokens: whole steps only
plan = plan.replace(tokens=int(0.99 * plan.tokens / paid / step) * step)
answer = sl.study.seal(plan)
missed = [each.question for each in sl.study.check(answer) if not each.ok]
assert not missed, missed
standing = sl.study.score(answer)
assert standing.skill > 0.5, standing.skill
"""

DESIGN = Exercise(
    id="13.7",
    kind="design",
    minutes=40,
    difficulty=5,
    question="Plan a run for the scenario that you chose: model, tokens, layout, batch, precision and curriculum, with a sealed "
    "prediction. Every check has to be kept, and the plan has to go at least half of the way from the naive plan to the best one "
    "that the kit finds.",
    check=Check(_judge_plan, "a Plan, or the path of its file: all checks kept, a skill of at least 0.5", seconds=60.0),
    hints=(
        "Start from sl.study.naive(name), and change one thing at a time with .replace(…). sl.study.check(plan) says what fails.",
        "best_size gives N and D for the budget that your layout reaches; sl.study.bill(plan) says what share of it is used.",
        "Choose width and depth near that N, and a layout that fits with as little recomputation as possible. Then as many "
        "tokens as the bill allows, a reason for the order, and seal(plan) last.",
    ),
    solution=_PLANNED,
    wrong=(
        (_unsealed(), "no prediction is sealed"),
        (_greedy(), "it pays for"),
        (planning.seal(_unsealed()), "the plan runs"),
        (_huge(), "nearest layout that fits"),
        ({"scenario": "moon"}, "Plan: "),
    ),
)  # fmt: skip

EXERCISES = (BUDGET, LOSS, SIZE, LAYOUT, BILL, SHARE, DESIGN, READ)
