"""Exercises of notebook 07: schedules, stages, growth that keeps the function, and spikes told from hard text.

A build's solution is the source of a function of this module, and its skeleton is what stands above the body.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from scalept_lab.course.answers import UNANSWERED, Check, Verdict, build, choice, judged, number
from scalept_lab.course.equal import difference, kind
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.sets.pieces import NUMPY, skeleton, slips, source
from scalept_lab.errors import InputError
from scalept_lab.train import pupils
from scalept_lab.train.curriculum import adapt

Row = tuple[str, str, bool]
MATH = "import math\n\nimport numpy as np\n\n\n"
ADAPT = "from scalept_lab.train.curriculum import adapt as update\n\n\n"

# --- the pieces that the learner writes ------------------------------------------------------------------------------


def paced_draw(
    step: int,
    difficulty: np.ndarray,
    batch: int,
    steps: int,
    start: float = 0.1,
    power: float = 2.0,
    seed: int = 0,
) -> np.ndarray:
    """The numbers of the windows that a step reads, drawn from the easiest share, which grows until everything is open.

    difficulty    (windows,) a number for each window, larger is harder
    batch         how many windows to draw, with repeats
    steps         T: from this step on all windows are open;  start  c₀: the share that is open at step 0
    power         p of c(t) = (t·(1 − c₀^p)/T + c₀^p)^(1/p), at most 1;  the share of the windows is rounded up
    Returns (batch,) window numbers. Draw with np.random.default_rng([seed, step]).choice(…, batch).
    """
    if step >= steps:
        share = 1.0
    else:
        first = start**power
        share = (step / steps * (1 - first) + first) ** (1 / power)
    easiest_first = np.argsort(difficulty, kind="stable")
    opened = easiest_first[: math.ceil(share * len(difficulty))]
    return np.random.default_rng([seed, step]).choice(opened, batch)


def update(
    level: int, row: int, performance: float, promote: float, demote: float, patience: int, top: int
) -> tuple:
    """One step of an adaptive schedule with hysteresis.

    level  0 to top;  row  how many good (positive) or bad (negative) evaluations came in a row
    performance  of the newest evaluation;  promote, demote, patience  as in the text above
    Returns (new level, new row).
    """
    if performance >= promote:
        row = max(row, 0) + 1
    elif performance < demote:
        row = min(row, 0) - 1
    else:
        row = 0
    if abs(row) < patience:
        return level, row
    move = 1 if row > 0 else -1
    return min(max(level + move, 0), top), 0


def schedule(
    step: int,
    performance: list,
    promote: float = 0.5,
    demote: float = 0.1,
    patience: int = 1,
    top: int = 8,
) -> int:
    """The level to train on at a step: d[t+1] = Schedule(d[t], performance[t]), folded over all evaluations so far.

    performance  the evaluations so far, oldest first, each made on the level that this function chose then
    Returns a whole number from 0, the easiest, where every course begins, to top.
    """
    level, row = 0, 0
    for value in performance:
        level, row = update(level, row, value, promote, demote, patience, top)
    return level


def staged(run, levels: list, steps: int, stage: int, go_on, evaluate, enough: float, most: int) -> list:
    """Train through the levels, stage by stage: train a stage, evaluate, adjust.

    run      the state of a training;  levels  easiest first;  steps  how many there are in all;  stage  how many a stage has
    go_on(run, level, n)  trains `run` itself for n steps;  evaluate(run, level)  how good it is on held-out text of a level
    enough   the performance from which the next level is due;  most  stages that a level gets at most
    Returns the diary, a list with (level, steps, performance) of each stage. All steps are used: what is left goes to the
    last level, and the last stage may be shorter.
    """
    diary, at, tried, left = [], 0, 0, steps
    while left > 0:
        level, n = levels[at], min(stage, left)
        go_on(run, level, n)
        left -= n
        tried += 1
        performance = evaluate(run, level)
        diary.append((level, n, performance))
        if at < len(levels) - 1 and (performance >= enough or tried == most):
            at += 1
            tried = 0
    return diary


def deeper(state: dict, depth: int) -> dict:
    """The weights of a deeper model that computes the same: copies of the blocks, in turn, on top of those there are.

    state  name -> tensor. "blocks.1.mlp.up.weight" is of block 1 (they count from 0); other names are of no block
    depth  how many blocks the new model has
    Returns a new dict: all of `state`, and the new blocks, in whose two output matrices, "attention.out.weight" and
    "mlp.down.weight", every number is zero.
    """
    deep = dict(state)
    blocks = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    for new in range(blocks, depth):
        below = f"blocks.{new % blocks}."
        for name, weight in state.items():
            if name.startswith(below):
                inside = name.removeprefix(below)
                ends = inside in ("attention.out.weight", "mlp.down.weight")
                deep[f"blocks.{new}.{inside}"] = 0 * weight if ends else weight.clone()
    return deep


def wider(state: dict, noise: dict) -> dict:
    """The weights of a model of twice the width and twice the heads that computes the same.

    state  name -> tensor (outputs, inputs); "embed.weight" is a table (vocabulary, width) that is looked up, "head.weight" has an
           output for each token; the rows of a "….qkv.weight" are all queries, then all keys, then all values
    noise  name -> tensor of the same shape, the E of ½W + E and ½W − E, for all but the table
    Returns a new dict with the same names. New channels and units come after the old ones, in the same order.
    """
    wide = {}
    for name, weight in state.items():
        if name == "embed.weight":
            wide[name] = weight.repeat(1, 2)
            continue
        E = noise[name].repeat(1, 2)
        E[:, weight.shape[1] :] *= -1
        both = weight.repeat(1, 2) / 2 + E
        if name == "head.weight":
            wide[name] = both
        elif name.endswith("qkv.weight"):
            wide[name] = both.view(3, -1, both.shape[1]).repeat(1, 2, 1).flatten(0, 1)
        else:
            wide[name] = both.repeat(2, 1)
    return wide


def spikes_beyond(losses: np.ndarray, hardness: np.ndarray, window: int = 10, ratio: float = 1.1) -> int:
    """How many spikes a run has that are not hard text.

    losses, hardness  (steps,) the training loss of a run, and the loss of one finished model on the same batches
    Take off each loss by how much its batch is harder than the average batch, then average over every `window` steps (only where
    there are that many). A spike is an excursion above `ratio` times the lowest average so far, however long it lasts.
    """
    own = np.asarray(losses) - (np.asarray(hardness) - np.mean(hardness))
    means = np.convolve(own, np.ones(window) / window, "valid")
    lowest = np.minimum.accumulate(means)
    above = means > ratio * lowest
    begins = above[1:] & ~above[:-1]
    return int(above[0]) + int(begins.sum())


# --- what judges them ------------------------------------------------------------------------------------------------


def _through(
    harness: Callable, reference: Callable, cases: list, names: tuple, diagnoses: list, right: str
) -> Check:
    """A build whose function is not called with the case alone, but by `harness(function, *case)`."""
    inner = build(
        partial(harness, reference), cases, names=names, right=right,
        diagnoses=[(partial(harness, bad), text) for bad, text in diagnoses],
    )  # fmt: skip

    def judge(answer: Any) -> Verdict:
        if not callable(answer):
            return Verdict(False, f"a function is asked for, this is {kind(answer)}.")
        return inner.judge(partial(harness, answer))

    return Check(judge, inner.wanted, inner.seconds)


# --- 07.1, 07.2: a share that grows -----------------------------------------------------------------------------------

_COMPETENCE = (0.25 * (1 - 0.1**2) + 0.1**2) ** 0.5
_HARD = np.random.default_rng(7).gamma(2.0, size=50)

SHARE = Exercise(
    id="07.1",
    minutes=4,
    difficulty=1,
    question="A root schedule starts with a tenth of the data and opens all of it by step 2,000. Which "
    "share of the windows, easiest "
    "first, may be drawn at step 500? Two decimals are enough.",
    check=number(
        _COMPETENCE,
        rel=0.006,
        diagnoses=[
            (0.25 * 0.9 + 0.1, "this is the linear schedule; the root rises faster at first."),
            (0.25**0.5, "the start is missing: at step 0 this formula gives 0, not a tenth."),
            (
                (0.25 * 0.9 + 0.1) ** 0.5,
                "under the root the start is squared, so that at step 0 a tenth comes out.",
            ),
            (_COMPETENCE**2, "the root itself has not been taken yet."),
        ],
        right="About twice the quarter of the way that a straight line has gone.",
    ),
    hints=(
        "The formula is c(t) = min(1, √(t·(1 − c₀²)/T + c₀²)). What are t, T and c₀ here?",
        "t/T = 500/2000 = 0.25 and c₀ = 0.1.",
        "√(0.25 · 0.99 + 0.01).",
    ),
    solution="answer = (500 / 2000 * (1 - 0.1**2) + 0.1**2) ** 0.5",
    wrong=(
        (0.25 * 0.9 + 0.1, "linear"),
        (0.5, "start is missing"),
        (0.57009, "squared"),
        (_COMPETENCE**2, "root itself"),
    ),
)

_DRAW_SLIPS = slips(
    paced_draw,
    (
        "np.argsort(difficulty, kind",
        "np.argsort(-difficulty, kind",
        "hardest",
        "this draws from the hardest share.",
    ),
    (
        "opened = easiest_first[: math.ceil(share * len(difficulty))]",
        "opened = np.arange(math.ceil(share * len(difficulty)))",
        "places",
        "these are places in the sorted order; asked for are the numbers of the windows that stand there.",
    ),
    (
        "(step / steps * (1 - first) + first) ** (1 / power)",
        "step / steps * (1 - start) + start",
        "for every power",
        "this is the linear schedule for every power.",
    ),
    (
        "first = start**power",
        "first = start",
        "power is missing",
        "under the root the start has a power too: at step 0 the share is c₀ itself. That power is missing.",
    ),
    (
        "default_rng([seed, step])",
        "default_rng(seed)",
        "the same places at every step",
        "the draw does not depend on the step: it takes the same places at every step.",
    ),
)

DRAW = Exercise(
    id="07.2",
    kind="build",
    minutes=12,
    difficulty=2,
    question="Write paced_draw(step, difficulty, batch, steps, start, power, seed): which windows does a "
    "step read, if they are drawn "
    "from the easiest share of all, and that share follows the competence schedule?",
    check=build(
        paced_draw,
        lambda: [
            (3, _HARD, 6, 20, 0.1, 2.0, 0),
            (0, _HARD, 6, 20, 0.25, 2.0, 4),
            (7, _HARD, 6, 20, 0.1, 1.0, 0),
            (7, _HARD, 6, 20, 0.1, 3.0, 1),
            (20, _HARD, 8, 20, 0.1, 2.0, 0),
            (35, _HARD, 8, 20, 0.1, 2.0, 2),
        ],
        names=("root, step 3", "step 0", "linear", "third root", "the last step of the way", "long after it"),
        diagnoses=_DRAW_SLIPS[0],
        right="A draw that depends on nothing but its seed and its step can be stopped and resumed.",
    ),
    hints=(
        "Three things, one after the other: the share, the windows that it opens, the draw.",
        "np.argsort gives the numbers of the windows from the easiest to the hardest. The first "
        "math.ceil(share × windows) are open.",
        "For step ≥ steps the share is 1. Otherwise put step/steps, start**power and 1/power into the "
        "formula. Then "
        "np.random.default_rng([seed, step]).choice(the open numbers, batch).",
    ),
    skeleton=skeleton(paced_draw),
    own=lambda: paced_draw,
    solution=source(paced_draw, MATH),
    wrong=_DRAW_SLIPS[1],
    placeholder=lambda step, difficulty, batch, steps, start=0.1, power=2.0, seed=0: ...,
)  # fmt: skip

# --- 07.3, 07.4: schedules that look ---------------------------------------------------------------------------------

_UPDATE_SLIPS = slips(
    update,
    (
        "abs(row) < patience",
        "abs(row) < 1",
        "patience is ignored",
        "patience is ignored: one evaluation moves the level at once.",
    ),
    (
        "elif performance < demote:",
        "elif performance < promote:",
        "no hysteresis",
        "no hysteresis: between demote and promote nothing may count as bad.",
    ),
    ("min(max(level + move, 0), top), 0", "level + move, 0", "leaves 0 to top", "the level leaves 0 to top."),
    (
        "min(max(level + move, 0), top), 0",
        "min(max(level + move, 0), top), row",
        "starts again at 0",
        "after a move the row starts again at 0, or the next evaluation moves the level once more.",
    ),
    (
        "    else:\n        row = 0\n",
        "",
        "breaks the row",
        "an evaluation between the thresholds breaks the row: it becomes 0.",
    ),
    (
        "max(row, 0) + 1",
        "row + 1",
        "after bad ones",
        "a good evaluation after bad ones begins a row of its own, at 1.",
    ),
)

UPDATE = Exercise(
    id="07.3",
    kind="build",
    minutes=10,
    difficulty=2,
    question="Write one step of an adaptive schedule with hysteresis: update(level, row, performance, "
    "promote, demote, patience, top) "
    "returns the new level (0 to top) and the new row. row counts good evaluations (at least promote) in a "
    "row upwards from 0, bad "
    "ones (below demote) downwards; one in between sets it to 0. When patience is reached, the level moves "
    "by one (and stays within "
    "0 to top) and the row starts again at 0.",
    check=build(
        adapt,
        [
            (1, 1, 0.9, 0.8, 0.5, 2, 3),
            (1, 0, 0.9, 0.8, 0.5, 2, 3),
            (1, 1, 0.6, 0.8, 0.5, 2, 3),
            (1, -1, 0.2, 0.8, 0.5, 2, 3),
            (3, 1, 0.9, 0.8, 0.5, 2, 3),
            (0, -1, 0.2, 0.8, 0.5, 2, 3),
            (1, -1, 0.9, 0.8, 0.5, 2, 3),
            (2, -2, 0.6, 0.8, 0.5, 3, 3),
            (2, 1, 0.1, 0.8, 0.5, 3, 3),
            (1, 0, 0.8, 0.8, 0.5, 1, 3),
            (1, 0, 0.5, 0.8, 0.5, 1, 3),
        ],
        names=(
            "good, and the row is full", "good", "in between", "bad, and the row is full", "good at the "
            "top", "bad at the bottom",
            "good after bad", "in between after two bad", "bad after good", "just at promote", "just at "
            "demote",
        ),
        diagnoses=_UPDATE_SLIPS[0],
        right="Folded over all evaluations so far, this is d[t+1] = Schedule(d[t], performance[t]).",
    ),
    hints=(
        "Three cases of performance: good, bad, in between. What happens to row in each?",
        "Good: max(row, 0) + 1. Bad: min(row, 0) − 1. In between: 0.",
        "If abs(row) has reached patience: move by the sign of row, keep within 0 and top with min and max, "
        "return row 0.",
    ),
    skeleton=skeleton(update),
    own=lambda: adapt,
    solution=source(update),
    wrong=_UPDATE_SLIPS[1],
    placeholder=lambda level, row, performance, promote, demote, patience, top: ...,
)  # fmt: skip

ENOUGH = 0.9  # of the best final skill
PUPILS = (
    pupils.Pupil("slow", 0.07),
    pupils.Pupil("quick", 0.25),
    pupils.Pupil("begins at level 3", 0.1, start=3.0),
    pupils.Pupil("forgets in mid-course", 0.14, forgets=40),
    pupils.Pupil("judged with noise", 0.12, noise=0.12),
)


def _judge_schedule(answer: Callable) -> Verdict:
    """The share of the best final skill that each hidden pupil reaches, and what a schedule that fails has "
    "not seen."""
    first = answer(0, [])
    if first is None or first is ...:
        return UNANSWERED
    rows: list[Row] = []
    courses = []
    for pupil in PUPILS:
        try:
            course = pupils.teach(pupil, answer)
        except InputError as error:
            return Verdict(False, f"{error} (levels are 0 to {pupils.TOP}).", rows=tuple(rows))
        courses.append(course)
        share = course.skill[-1] / pupils.best(pupil).skill[-1]
        rows.append((pupil.name, f"{share:.0%} of the best final skill", share >= ENOUGH))
    told = [
        (course.performance[:turn], course.levels[turn], turn)
        for course in courses
        for turn in range(pupils.ROUNDS)
    ]
    if any(answer(turn, list(seen)) != level for seen, level, turn in told):
        return Verdict(False, "asked again with the same step and performance, it answers otherwise: keep nothing between calls, "
                       "fold over all of `performance` each time.", rows=tuple(rows))  # fmt: skip
    if all(ok for _, _, ok in rows):
        return Verdict(
            True, "It knew none of these pupils, and looked at what they could do.", rows=tuple(rows)
        )
    return Verdict(False, _why(answer, courses, told), rows=tuple(rows))


def _why(answer: Callable, courses: list, told: list) -> str:
    levels = [course.levels for course in courses]
    if all(mine == levels[0] for mine in levels):
        if len(set(levels[0])) == 1:
            return (
                f"every round is spent at level {levels[0][0]}; how should a pupil get there, or beyond it?"
            )
        return "all pupils get the same levels at the same steps: performance is not looked at, so the slow ones are left behind."
    if all(answer(turn, list(seen[-1:])) == level for seen, level, turn in told):
        return ("only the last evaluation is looked at: a good one says 'one level up', but from which level? That follows from "
                "all evaluations before it.")  # fmt: skip
    if all(a <= b for mine in levels for a, b in itertools.pairwise(mine)):
        return "it never goes back: a pupil that has forgotten is left with what it cannot do any more."
    ahead = np.mean([np.mean(np.array(course.levels) - course.skill) for course in courses])
    if ahead < 0:
        return "it holds its pupils at what they can do already; look where in the figure a pupil learns fastest."
    return "it goes too far ahead, or comes back too late; look where in the figure a pupil learns fastest."


def _by_last(step, performance):
    return min(8, step // 9) if performance and performance[-1] >= 0.5 else 0


def _remembers():
    kept: list[int] = []

    def schedule(step, performance):
        kept.append(len(kept))
        return min(8, len(kept) // 8)

    return schedule


def _too_high(step, performance):
    return schedule(step, performance, top=9)


def _careful(step, performance):
    return schedule(step, performance, promote=0.85, demote=0.5, patience=2)


def _never_back(step, performance):
    return schedule(step, performance, demote=0.0)


SCHEDULE = Exercise(
    id="07.4",
    kind="build",
    minutes=20,
    difficulty=4,
    question="Write schedule(step, performance): the level for the next round of a pupil whom you do not "
    "know, from all evaluations so "
    "far. It is right when each of five hidden pupils (slow, quick, advanced, forgetful, judged with noise) "
    "ends with at least 90 % "
    "of the best skill that any course could have given it.",
    check=judged(_judge_schedule, wanted="a function, judged on five hidden pupils", seconds=60),
    hints=(
        "The schedule knows neither the pupil nor its own last level. But it began at level 0, and it knows "
        "every evaluation since: so "
        "it can find out where it is.",
        "Start with level 0 and row 0, and let update (exercise 07.3) take the evaluations one by one. What "
        "is left to choose are "
        "promote, demote and patience.",
        "A pupil learns fastest half a level below its task. In the figure, what does it show at a level "
        "that it has just mastered "
        "(then it is time to go up), and at one that is more than a level too hard (then it is time to go "
        "down)? Patience costs "
        "rounds.",
    ),
    skeleton=skeleton(schedule),
    own=lambda: schedule,
    solution=source(schedule, ADAPT),
    wrong=(
        (pupils.linear, "performance is not looked at"),
        (pupils.hardest, "every round is spent"),
        (_by_last, "only the last evaluation"),
        (_never_back, "never goes back"),
        (_careful, "what they can do already"),
        (_too_high, "expected a whole level"),
        (_remembers(), "keep nothing between calls"),
    ),
    placeholder=lambda step, performance, promote=0.5, demote=0.1, patience=1, top=8: ...,
)  # fmt: skip

# --- 07.5: stages ----------------------------------------------------------------------------------------------------


def _in_stages(
    answer: Callable, levels: tuple, steps: int, stage: int, enough: float, most: int, needs: dict
) -> Any:
    """The diary of a made-up training, and in which order it was trained and evaluated. A level is known "
    "after `needs` steps."""
    run: list = []

    def go_on(run, level, n):
        run.append(("train", level, n))

    def evaluate(run, level):
        done = sum(n for what, at, n in run if (what, at) == ("train", level))
        run.append(("evaluate", level, 0))
        return round(min(1.0, done / needs[level]), 4)

    diary = answer(run, levels, steps, stage, go_on, evaluate, enough, most)
    return diary if diary is None or diary is ... else {"diary": list(diary), "done": list(run)}


_STAGES = ("easy", "middle", "target")
_STAGE_SLIPS = slips(
    staged,
    (
        "n = levels[at], min(stage, left)",
        "n = levels[at], stage",
        "more steps than there are",
        "the last stage takes more steps than there are left.",
    ),
    (
        "            tried = 0\n",
        "",
        "counted anew",
        "the stages that a level had are counted anew for each level.",
    ),
    (
        "performance >= enough or tried == most",
        "performance >= enough",
        "for ever",
        "a level that is never good enough is trained on for ever: `most` is not looked at.",
    ),
    (
        "performance >= enough or tried == most",
        "tried == most",
        "nothing is adjusted",
        "nothing is adjusted: a level that is good enough at once still gets all its stages.",
    ),
    (
        "evaluate(run, level)",
        "evaluate(run, levels[-1])",
        "target",
        "each stage is evaluated on the target; asked for is the level that was trained.",
    ),
    (
        "performance >= enough",
        "performance > enough",
        "exactly enough",
        "a performance of exactly enough is enough.",
    ),
)

STAGED = Exercise(
    id="07.5",
    kind="build",
    minutes=15,
    difficulty=3,
    question="Write staged(run, levels, steps, stage, go_on, evaluate, enough, most): train a stage on the "
    "present level, evaluate on that "
    "level, write it down, and go to the next level if the performance is enough or the level has had its "
    "`most` stages; until all "
    "steps are used.",
    check=_through(
        _in_stages,
        staged,
        [
            (_STAGES, 100, 10, 0.5, 3, {"easy": 20, "middle": 40, "target": 100}),
            (_STAGES, 95, 20, 0.9, 2, {"easy": 10, "middle": 1000, "target": 1000}),
            (("easy", "target"), 50, 20, 0.6, 5, {"easy": 20, "target": 1000}),
            (("only",), 25, 10, 0.5, 1, {"only": 10}),
            (_STAGES, 120, 10, 0.9, 3, {"easy": 1000, "middle": 1000, "target": 1000}),
        ],
        ("three levels", "one is never good enough", "one is enough at once", "a single level", "none is good enough"),
        _STAGE_SLIPS[0],
        "Define, schedule, train a stage, evaluate, adjust: this is the whole loop.",
    ),
    hints=(
        "Keep four things: the diary, which level it is, how many stages it has had, and how many steps are "
        "left.",
        "In a loop while steps are left: train min(stage, left) steps, evaluate the same level, append to "
        "the diary, then decide.",
        "Go to the next level if there is one and (performance >= enough or stages so far == most); then "
        "the stages of the new level "
        "start at 0. On the last level the loop just goes on.",
    ),
    skeleton=skeleton(staged),
    own=lambda: staged,
    solution=source(staged),
    wrong=_STAGE_SLIPS[1],
    placeholder=lambda run, levels, steps, stage, go_on, evaluate, enough, most: ...,
)  # fmt: skip

# --- 07.6 to 07.8: short questions ------------------------------------------------------------------------------------

DECAY = Exercise(
    "07.6",
    "A report: 'Three stages, easy, middle, hard, a third of the steps each; one learning rate that decays "
    "to zero by a cosine over "
    "the whole run. Compared with the reverse order at equal tokens, on the hard text, five seeds: easy → "
    "hard is "
    "worse. So hard text should come first.' Which doubt goes to its heart: 'seeds', 'tokens', 'decay' or "
    "'model'?",
    choice(
        "decay",
        {
            "decay": "",
            "seeds": "five seeds that agree show that the difference is real; the question is what made it.",
            "tokens": "both orders see the same tokens of each stage. But do they see them at the same rate?",
            "model": "another model may give another answer; first, is the comparison fair at this one?",
        },
        right="The stage that comes last is learned at a rate near zero: what was moved is the rate, "
        "together with the order.",
    ),
    (
        "What else, besides the text, differs between the first stage and the last?",
        "In the last third of a cosine the rate is below a quarter of its peak. Which text is read then?",
        "Easy → hard reads the hard text, the one that is scored, at the lowest rates.",
    ),
    'answer = "decay"',
    wrong=(("seeds", "difference is real"), ("tokens", "same rate"), ("model", "comparison fair")),
    kind="design",
    minutes=5,
    difficulty=3,
)

TOKENS = Exercise(
    "07.7",
    "A model costs 1.6e5 FLOPs a token with windows of 256 tokens and 0.65e5 with windows of 8. For the "
    "first half of its tokens the "
    "windows are 8 long, then 256. At equal FLOPs, how many times as many tokens may it read as the model "
    "with 256 throughout?",
    number(
        1.6 / ((1.6 + 0.65) / 2),
        rel=0.02,
        diagnoses=[
            ((1.6 + 0.65) / 2 / 1.6, "the other way round: this is the cost of the same tokens."),
            (1.6 / 0.65, "that is for windows of 8 all the time; half of the tokens cost full price."),
            (
                (1 + 1.6 / 0.65) / 2,
                "average the costs per token, not the tokens per cost: half of the TOKENS are short.",
            ),
        ],
        right="These extra tokens are why equal tokens and equal FLOPs can give different verdicts.",
    ),
    (
        "What does a token cost on average over the run?",
        "(1.6e5 + 0.65e5)/2 = 1.125e5 FLOPs.",
        "Equal FLOPs: tokens · 1.125e5 = tokens₀ · 1.6e5.",
    ),
    "answer = 1.6e5 / ((1.6e5 + 0.65e5) / 2)",
    wrong=(
        (1.125 / 1.6, "other way round"),
        (1.6 / 0.65, "all the time"),
        ((1 + 1.6 / 0.65) / 2, "average the costs"),
    ),
    kind="compute",
    minutes=5,
    difficulty=2,
)

PAD = Exercise(
    "07.8",
    "Our layer norm has no gain and no bias: it takes off the mean over all channels and divides by their "
    "deviation. Which of "
    "these growths changes the outputs: 'zero blocks' (new blocks whose output matrices are zero), "
    "'duplicate' (every channel twice, what reads "
    "them halved), 'pad' (as many new channels, all zero, and zero weights for them)?",
    choice(
        "pad",
        {
            "pad": "",
            "zero blocks": "a block adds to the residual stream what comes out of its output matrices: with "
            "zeros there, nothing.",
            "duplicate": "a vector with each entry twice has the same mean and the same deviation, and half "
            "of two equal parts is the whole.",
        },
        right="The deviation over twice as many channels, half of them zero, is smaller: every kept channel "
        "comes out larger.",
    ),
    (
        "Take (1, −1): what does layer norm make of it? And of (1, −1, 1, −1)? And of (1, −1, 0, 0)?",
        "Deviations: 1, 1 and 1/√2.",
        "Dividing by 1/√2 makes every kept channel √2 times as large.",
    ),
    'answer = "pad"',
    wrong=(("zero blocks", "adds to the residual"), ("duplicate", "same deviation")),
    kind="design",
    minutes=4,
    difficulty=3,
)

# --- 07.9, 07.10: growth -------------------------------------------------------------------------------------------------


def _tiny(depth: int = 2, width: int = 16) -> Any:
    """A small model with weights that have no symmetry at all, and an output layer that is not zero."""
    import torch

    from scalept_lab.config import ModelConfig
    from scalept_lab.model.transformer import Transformer

    model = Transformer(ModelConfig(vocab_size=11, context=8, width=width, depth=depth, heads=width // 8))
    generator = torch.Generator().manual_seed(depth)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model


def _tokens() -> Any:
    import torch

    return torch.randint(11, (4, 8), generator=torch.Generator().manual_seed(5))


def _misfit(made: Any, model: Any, state: dict, before: dict) -> str:
    """What keeps these weights from being those of `model`, or that the function changed its input."""
    if not isinstance(made, dict):
        return f"a dict of tensors is asked for, you return {kind(made)}."
    wanted = model.state_dict()
    if set(made) != set(wanted):
        odd = sorted(set(wanted) - set(made)) or sorted(set(made) - set(wanted))
        return f"the names are not those of the new model: {odd[0]} is {'missing' if odd[0] in wanted else 'too much'}."
    for name, weight in wanted.items():
        if not hasattr(made[name], "shape") or tuple(made[name].shape) != tuple(weight.shape):
            return f"{name}: expected a tensor {tuple(weight.shape)}, got {tuple(getattr(made[name], 'shape', ()))}."
    if any((state[name] != before[name]).any() for name in before):
        return "your function changes the weights that it is given: work on copies, the small model goes on."
    return ""


def _logits(model: Any, made: dict) -> Any:
    model.load_state_dict(made)
    return model(_tokens())


def _gradients(model: Any, made: dict) -> dict:
    from scalept_lab.model.transformer import cross_entropy

    x = _tokens()
    model.zero_grad()
    cross_entropy(_logits(model, made), x.roll(-1, 1)).backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


def _same(a: dict, b: dict) -> bool:
    return set(a) == set(b) and not any(difference(a[name], b[name], 0.0, 1e-7) for name in a)


_DEEP = (
    (
        "0 * weight if ends else weight.clone()",
        "weight.clone()",
        "plain copies",
        "these are plain copies: what a new block adds to the residual stream is not zero, so the outputs "
        "change.",
    ),
    (
        "0 * weight if ends else weight.clone()",
        "0 * weight",
        "can never learn",
        "everything in the new blocks is zero. The outputs are the same, but every gradient in them is zero "
        "too: they can never learn.",
    ),
    (
        '("attention.out.weight", "mlp.down.weight")',
        '("attention.out.weight",)',
        "what the MLP adds",
        "the attention of a new block adds nothing, but what the MLP adds is not zero.",
    ),
    (
        "new % blocks",
        "blocks - 1",
        "in turn",
        "every new block is a copy of the top one; asked for are copies of all blocks, in turn from the "
        "lowest.",
    ),
)
_DEEP_SLIPS = slips(deeper, *_DEEP)


def _judge_deeper(answer: Callable) -> Verdict:
    rows: list[Row] = []
    for blocks, depth in ((2, 5), (1, 3)):
        small, large = _tiny(blocks), _tiny(depth)
        state = {name: weight.clone() for name, weight in small.state_dict().items()}
        made = answer(state, depth)
        if made is None or made is ...:
            return UNANSWERED
        if problem := _misfit(made, large, state, small.state_dict()):
            return Verdict(False, problem)
        off = float((_logits(large, made) - small(_tokens())).abs().max().detach())
        alive = all(
            float(grad.abs().max()) > 0
            for name, grad in _gradients(large, made).items()
            if name.endswith("out.weight")
        )
        case = f"{blocks} to {depth} blocks"
        rows.append((f"{case}: logits", "the same" if off < 1e-5 else f"off by up to {off:.2g}", off < 1e-5))
        rows.append((f"{case}: gradient in new blocks", "alive" if alive else "zero", alive))
        for bad, text in _DEEP_SLIPS[0]:
            if blocks == 2 and _same(made, bad(state, depth)):
                return Verdict(False, text, rows=tuple(rows))
    if not all(ok for _, _, ok in rows):
        return Verdict(
            False,
            "the new model does not compute what the old one did, or its new blocks cannot learn.",
            rows=tuple(rows),
        )
    return Verdict(
        True,
        "The new blocks add nothing yet, and their output matrices have a gradient at once.",
        rows=tuple(rows),
    )


DEEPER = Exercise(
    id="07.9",
    kind="build",
    minutes=12,
    difficulty=3,
    question="Write deeper(state, depth): from the weights of a model, by name, those of a model with more "
    "blocks that computes exactly "
    "the same, and whose new blocks can learn.",
    check=judged(_judge_deeper, wanted="a function, judged by the models that it makes"),
    hints=(
        "Find out how many blocks there are from the names. The new ones are number `blocks` to `depth` − 1.",
        "New block k is a copy of block k % blocks, under the name with the new number; two of its tensors "
        "are zero instead.",
        "For each new number: go through state, take the names that start with f\"blocks.{number % "
        "blocks}.\", cut that off with "
        "removeprefix, and put the rest behind f\"blocks.{number}.\". Zeros of the same shape: 0 * weight.",
    ),
    skeleton=skeleton(deeper),
    own=lambda: deeper,
    solution=source(deeper),
    wrong=_DEEP_SLIPS[1],
    placeholder=lambda state, depth: ...,
)  # fmt: skip

_WIDE = (
    (
        "weight.repeat(1, 2) / 2 + E",
        "weight.repeat(1, 2) + E",
        "not halved",
        "what reads two copies is not halved, so that it gets everything twice.",
    ),
    (
        "weight.repeat(1, 2) / 2 + E",
        "weight.repeat(1, 2) / 4 + E",
        "halved twice",
        "what reads two copies is halved twice: two quarters are one half of what was there.",
    ),
    (
        "wide[name] = weight.repeat(1, 2)\n",
        "wide[name] = weight.repeat(1, 2) / 2\n",
        "reads no channels",
        "the table is halved as well, but it reads no channels: it writes them. Whatever reads them is "
        "halved.",
    ),
    (
        "both.view(3, -1, both.shape[1]).repeat(1, 2, 1).flatten(0, 1)",
        "both.repeat(2, 1)",
        "each by itself",
        "queries, keys and values are doubled as one: the heads get queries where keys should be. Double "
        "each by itself.",
    ),
)
_WIDE_NOISE = (
    (
        "E[:, weight.shape[1] :] *= -1",
        "pass",
        "does not cancel",
        "the noise does not cancel: one copy is read with ½W + E, and the other with ½W − E.",
    ),
    (
        "both = weight.repeat(1, 2) / 2 + E",
        "both = weight.repeat(1, 2) / 2",
        "stay copies",
        "the noise is left out: two copies get the same gradient, and stay copies for ever.",
    ),
)
_WIDE_SLIPS, _WIDE_NOISE_SLIPS = slips(wider, *_WIDE), slips(wider, *_WIDE_NOISE)


def _judge_wider(answer: Callable) -> Verdict:
    import torch

    small, large = _tiny(), _tiny(width=32)
    generator = torch.Generator().manual_seed(9)
    E = {name: 0.2 * torch.randn(weight.shape, generator=generator) for name, weight in small.state_dict().items()
         if name != "embed.weight"}  # fmt: skip
    none = {name: 0 * e for name, e in E.items()}
    rows: list[Row] = []
    made = {}
    for label, noise in (("E = 0", none), ("with E", E)):
        state, given = (
            {name: weight.clone() for name, weight in all_.items()} for all_ in (small.state_dict(), noise)
        )
        made[label] = answer(state, given)
        if made[label] is None or made[label] is ...:
            return UNANSWERED
        if problem := _misfit(made[label], large, state, small.state_dict()):
            return Verdict(False, problem)
        if any((given[name] != noise[name]).any() for name in noise):
            return Verdict(False, "your function changes the noise that it is given: work on a copy.")
        off = float((_logits(large, made[label]) - small(_tokens())).abs().max().detach())
        rows.append((f"{label}: logits", "the same" if off < 1e-5 else f"off by up to {off:.2g}", off < 1e-5))
    up = _gradients(large, made["with E"])["blocks.0.mlp.up.weight"]
    alike = float((up[: len(up) // 2] - up[len(up) // 2 :]).abs().max() / up.abs().max()) < 1e-4
    rows.append(("gradients of two copies", "the same" if alike else "different", not alike))
    for bad, text in _WIDE_SLIPS[0]:
        if _same(made["E = 0"], bad(small.state_dict(), none)):
            return Verdict(False, text, rows=tuple(rows))
    if not rows[0][2]:
        return Verdict(
            False,
            "without any noise the wide model does not compute what the small one did.",
            rows=tuple(rows),
        )
    if not rows[1][2]:
        return Verdict(False, _WIDE_NOISE[0][3], rows=tuple(rows))
    if alike:
        return Verdict(False, _WIDE_NOISE[1][3], rows=tuple(rows))
    return Verdict(True, "Twice the width, the same function, and copies that will part.", rows=tuple(rows))


WIDER = Exercise(
    id="07.10",
    kind="build",
    minutes=20,
    difficulty=4,
    question="Write wider(state, noise): from the weights of a model those of one of twice the width that "
    "computes the same. Every channel "
    "and every hidden unit is there twice; what reads two copies gets ½W + E for one and ½W − E for the "
    "other.",
    check=judged(_judge_wider, wanted="a function, judged by the models that it makes"),
    hints=(
        "A matrix is (outputs, inputs). Twice as many inputs: put two halves side by side. Twice as many "
        "outputs: put two copies one "
        "below the other. Which tensors need only one of the two?",
        "weight.repeat(1, 2) puts copies side by side, .repeat(2, 1) one below the other. The table has no "
        "inputs to halve; the head's "
        "outputs, one for each token, stay as many as they are.",
        "For a qkv matrix double queries, keys and values each by itself: .view(3, -1, columns), .repeat(1, "
        "2, 1), .flatten(0, 1). The "
        "noise is repeated side by side too, the second half times −1.",
    ),
    skeleton=skeleton(wider),
    own=lambda: wider,
    solution=source(wider),
    wrong=_WIDE_SLIPS[1] + _WIDE_NOISE_SLIPS[1],
    placeholder=lambda state, noise: ...,
)  # fmt: skip

# --- 07.11: spikes -----------------------------------------------------------------------------------------------------


def _bumpy(
    *spikes: tuple[int, int, float], seed: int = 0, hard: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """A falling loss with hard batches, and spikes (first step, steps, height) of its own; and how hard "
    "the batches are."""
    rng, t = np.random.default_rng(seed), np.arange(120)
    hardness = 2.4 + hard * np.convolve(rng.standard_normal(120), np.ones(8) / 8, "same") * 2
    losses = 2 + 2 * np.exp(-t / 25) + (hardness - hardness.mean()) + 0.01 * rng.standard_normal(120)
    for begin, length, height in spikes:
        losses[begin : begin + length] += height
    return losses, hardness


_SPIKE_SLIPS = slips(
    spikes_beyond,
    (
        " - (np.asarray(hardness) - np.mean(hardness))",
        "",
        "nothing was taken off",
        "nothing was taken off: hard batches are counted as spikes.",
    ),
    (
        " - (np.asarray(hardness) - np.mean(hardness))",
        " - np.asarray(hardness)",
        "all of the judge's loss",
        "all of the judge's loss was taken off, and a ratio of what is left means nothing: only what lies "
        "above its average.",
    ),
    (
        " - (np.asarray(hardness) - np.mean(hardness))",
        " + (np.asarray(hardness) - np.mean(hardness))",
        "counts twice",
        "the hardness was added: a hard batch counts twice.",
    ),
    (
        "return int(above[0]) + int(begins.sum())",
        "return int(above.sum())",
        "one spike",
        "steps were counted; an excursion of many steps is one spike.",
    ),
    (
        "np.minimum.accumulate(means)",
        "means.min()",
        "so far",
        "compare with the lowest average so far: later ones are lower because the run goes on learning.",
    ),
)

SPIKES = Exercise(
    id="07.11",
    kind="build",
    minutes=12,
    difficulty=3,
    question="Write spikes_beyond(losses, hardness, window, ratio): how many spikes are left when each "
    "batch's own difficulty, as a fixed "
    "model sees it, is taken off the training loss?",
    check=build(
        spikes_beyond,
        lambda: [
            (*_bumpy(), 10, 1.1),
            (*_bumpy((60, 12, 1.0)), 10, 1.1),
            (*_bumpy((40, 15, 0.9), (85, 15, 0.9), seed=1), 10, 1.1),
            (*_bumpy((70, 30, 0.6), seed=2), 5, 1.1),
            (*_bumpy((50, 6, 2.0), seed=3), 20, 1.2),
        ],
        names=("hard text alone", "one spike", "two spikes", "a long one", "a longer average"),
        diagnoses=_SPIKE_SLIPS[0],
        right="Planted spikes are found, and hard text is not taken for one.",
    ),
    hints=(
        "Four steps: take off the hardness, average, keep the lowest so far, count the excursions.",
        "Own loss: losses − (hardness − mean of hardness). np.convolve(own, np.ones(window) / window, "
        "\"valid\") averages, "
        "np.minimum.accumulate keeps the lowest so far.",
        "above = means > ratio · lowest. An excursion begins where above is true and was not true one place "
        "before; the first place "
        "counts, too.",
    ),
    skeleton=skeleton(spikes_beyond),
    own=lambda: spikes_beyond,
    solution=source(spikes_beyond, NUMPY),
    wrong=_SPIKE_SLIPS[1],
    placeholder=lambda losses, hardness, window=10, ratio=1.1: ...,
)  # fmt: skip

EXERCISES = (SHARE, DRAW, UPDATE, SCHEDULE, STAGED, DECAY, TOKENS, PAD, DEEPER, WIDER, SPIKES)
