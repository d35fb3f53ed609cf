"""Builds of notebook 10, in which a policy acts: rolling it out, asking the expert about its states, and acting in chunks."""

# mypy: disable-error-code="var-annotated"
# (the pieces are shown to learners as they stand, without types)

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scalept_lab.course.answers import UNANSWERED, Verdict, build, judged
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.sets.pieces import NUMPY, skeleton, slips, source

# --- the pieces that the learner writes ------------------------------------------------------------------------------


def roll_out(decide, env, seeds, cap=20):
    """Let a policy try the worlds of `seeds`, one after the other, for at most `cap` steps each.

    decide(image, mission, taken) gives a list of actions, the next one first; taken: the actions of this world so far, a list.
    env.reset(seed=seed) gives (what is seen, info); env.step(action) gives (what is seen, reward, terminated, truncated, info).
    What is seen is a dict; the policy gets its "image" and env.mission. A world is over when it is terminated or truncated;
    it succeeded if the last reward is above 0.
    Returns (success, actions): a list of bools, and a list with the list of actions taken for each world.
    """
    success, actions = [], []
    for seed in seeds:
        seen, _ = env.reset(seed=seed)
        taken, over, reward = [], False, 0
        while not over and len(taken) < cap:
            action = decide(seen["image"], env.mission, taken)[0]
            seen, reward, terminated, truncated, _ = env.step(action)
            taken.append(action)
            over = terminated or truncated
        success.append(reward > 0)
        actions.append(taken)
    return success, actions


def visited(decide, ask, env, seeds, cap=20):
    """A round of DAgger: the states that the policy gets into, each with what the expert would do there.

    decide, env, seeds, cap: as in roll_out; the policy acts. ask(env), called after a reset, gives an expert for this world:
    expert(last) is asked before every step, told the action that was really taken last (None before the first), and says what
    it would do now.
    Returns a list of rows (image, mission, taken, label): what was seen, the mission, a tuple of the actions taken so far, and
    the expert's action. World after world, in the order of the steps.
    """
    rows = []
    for seed in seeds:
        seen, _ = env.reset(seed=seed)
        expert, taken, over = ask(env), [], False
        while not over and len(taken) < cap:
            label = expert(taken[-1] if taken else None)
            rows.append((seen["image"], env.mission, tuple(taken), label))
            action = decide(seen["image"], env.mission, taken)[0]
            seen, _, terminated, truncated, _ = env.step(action)
            taken.append(action)
            over = terminated or truncated
    return rows


def chunk_targets(actions, episode, ahead):
    """What a policy that says several actions at once has to learn.

    actions: (S,) the expert's action at each step; episode: (S,) which episode a step belongs to, in order, episodes one after
    the other. Returns an array of whole numbers (S, ahead): row s holds the actions of steps s, s + 1, …, s + ahead - 1, and -1
    wherever such a step belongs to another episode or is not there.
    """
    steps = len(actions)
    targets = np.full((steps, ahead), -1)
    for s in range(steps):
        for a in range(ahead):
            if s + a < steps and episode[s + a] == episode[s]:
                targets[s, a] = actions[s + a]
    return targets


def open_loop(decide, env, seed, k, cap=20):
    """Act in one world, k actions for each look.

    decide, env, cap: as in roll_out. After each look carry out the first k of the actions that decide gives without looking
    again; then look, and plan anew. The world may end, or the cap be reached, in the middle of them: then stop at once.
    Returns (success, actions, looks): a bool, the list of actions taken, and how often decide was asked.
    """
    seen, _ = env.reset(seed=seed)
    taken, looks, over, reward = [], 0, False, 0
    while not over and len(taken) < cap:
        plan = decide(seen["image"], env.mission, list(taken))[:k]
        looks += 1
        for action in plan:
            seen, reward, terminated, truncated, _ = env.step(action)
            taken.append(action)
            over = terminated or truncated
            if over or len(taken) == cap:
                break
    return reward > 0, taken, looks


# --- the oracle: a corridor whose every step is known, and a small room -------------------------------------------------


class Corridor:
    """A world in one dimension: the goal is `seed` % 5 + 1 steps ahead, a pit five behind; 2 goes ahead, 0 and 1 go back.

    It is truncated after `most` steps. The image holds the place and the number of steps; a step after the end is noted.
    """

    def __init__(self, most: int = 50) -> None:
        self.most, self.mission, self.late = most, "go to the red ball", False

    def reset(self, *, seed: int) -> tuple[dict, dict]:
        self.place, self.steps, self.goal, self.over = 0, 0, seed % 5 + 1, False
        self.mission = f"go to the {('red', 'blue', 'grey')[seed % 3]} ball"
        return self._seen(), {}

    def step(self, action: int) -> tuple[dict, float, bool, bool, dict]:
        self.late |= self.over
        self.steps += 1
        self.place += 1 if action == 2 else -1
        won, lost = self.place == self.goal, self.place == -5
        truncated = self.steps >= self.most
        self.over = self.over or won or lost or truncated
        return self._seen(), float(won), won or lost, truncated, {}

    def _seen(self) -> dict:
        image = np.zeros((7, 7, 3), np.uint8)
        image[0, 0] = self.place + 10, self.steps, self.goal
        return {"image": image, "direction": 0, "mission": self.mission}


def _onward(image, mission, taken):
    return [2, 2, 2, 2]


def _back(image, mission, taken):
    return [1, 0, 1, 0]


def _wavering(image, mission, taken):
    """Depends on all that it is given: the picture, the words and what was done before."""
    image = np.asarray(image)
    first = 2 if (int(image[0, 0].sum()) + len(mission) + 2 * len(taken) + sum(taken[-2:])) % 3 else 0
    return [first, 2, 0, 2]


def _guide(env):
    """An expert that remembers: after a step back it says 1 once, else 2; told nothing, it takes its own advice as done."""
    said: list[int] = []

    def expert(last=None):
        done = last if last is not None else (said[-1] if said else 2)
        said.append(2 if done == 2 else 1)
        return said[-1]

    return expert


_CASES = (
    ("a policy that goes ahead", _onward, 50, (0, 1, 2, 8), 20),
    ("one that walks into the pit", _back, 50, (3, 4), 20),
    ("one that wavers", _wavering, 50, tuple(range(9)), 20),
    ("a cap of 3 steps", _onward, 50, (1, 2, 3, 4), 3),
    ("a world that stops after 4", _wavering, 4, tuple(range(6)), 20),
)
Play = Callable[[Callable, Corridor], Any]


def plain(value: Any) -> Any:
    """Nested lists of whole numbers: the same whatever types they came in."""
    if isinstance(value, str) or value is None:
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return int(value)


def played(
    reference: Callable,
    plays: Sequence[tuple[str, int, Play]],
    diagnoses: Sequence[tuple[Callable, str]],
    right: str,
) -> Callable[[Callable], Verdict]:
    """Judges a function by what it does in corridors: (name, when the world stops, how to call it) for each case."""

    def results(function: Callable) -> list[Any]:
        found = []
        for _, most, play in plays:
            env = Corridor(most)
            result = plain(play(function, env))
            found.append("a step after the end" if env.late else result)
        return found

    def judge(mine: Callable) -> Verdict:
        wanted, found = results(reference), []
        rows: list[tuple[str, str, bool]] = []
        for (name, most, play), target in zip(plays, wanted, strict=True):
            env = Corridor(most)
            result = play(mine, env)
            asked_often = result if isinstance(result, list) else [result]
            if asked_often and all(each is None or each is ... for each in asked_often):
                return UNANSWERED
            try:
                value = plain(result)
            except (TypeError, ValueError):
                return Verdict(False, "it does not return what the docstring says.", rows=tuple(rows))
            value = "a step after the end" if env.late else value
            found.append(value)
            rows.append(
                (name, "agrees" if value == target else value if env.late else "differs", value == target)
            )
        if found == wanted:
            return Verdict(True, right, rows=tuple(rows))
        for wrong, text in diagnoses:
            if results(wrong) == found:
                return Verdict(False, text, rows=tuple(rows))
        return Verdict(
            False, "look at the first case that differs, and follow it step by step.", rows=tuple(rows)
        )

    return judge


_ROLL_SLIPS, _ROLL_WRONG = slips(
    roll_out,
    ("success.append(reward > 0)", "success.append(over)", "success is something else",
     "a world that is over is not a world that went well: success is something else."),
    ("over = terminated or truncated", "over = terminated", "truncated",
     "it acts on after the world was truncated."),
    ("len(taken) < cap", "len(taken) <= cap", "one step more", "it takes one step more than the cap."),
    ('seen, reward, terminated, truncated, _ = env.step(action)', '_, reward, terminated, truncated, _ = env.step(action)',
     "first picture", "the policy is shown the first picture at every step."),
    ("decide(seen[\"image\"], env.mission, taken)[0]", "decide(seen[\"image\"], env.mission, sum(actions, []) + taken)[0]",
     "the world before", "the policy is told what it did in the world before, too."),
)  # fmt: skip
_VISIT_SLIPS, _VISIT_WRONG = slips(
    visited,
    ("action = decide(seen[\"image\"], env.mission, taken)[0]", "action = label", "the expert acts",
     "here the expert acts, so these are its own states again; the policy has to get into its own."),
    ("tuple(taken), label))", "tuple(taken), decide(seen[\"image\"], env.mission, taken)[0]))", "what the policy did",
     "the label is what the policy did: it would learn from itself."),
    ("expert(taken[-1] if taken else None)", "expert(None)", "told nothing",
     "the expert is told nothing, so it believes that its own advice was followed."),
    ("taken.append(action)", "taken.append(label)", "was not done",
     "what goes into the actions so far is the expert's advice, which was not done."),
)  # fmt: skip
_LOOP_SLIPS, _LOOP_WRONG = slips(
    open_loop,
    ("list(taken))[:k]", "list(taken))[:1]", "looks again after every step",
     "it looks again after every step, whatever k is."),
    ("list(taken))[:k]", "list(taken))", "all that was planned", "it carries out all that was planned, not k of it."),
    ("            if over or len(taken) == cap:\n                break\n", "", "goes on with its plan",
     "it goes on with its plan when the world is over or the cap is reached."),
    ("            if over or len(taken) == cap:\n", "            if over:\n", "takes more steps than the cap",
     "inside a plan it takes more steps than the cap."),
    ("looks += 1", "looks += len(plan)", "asked once", "for a whole plan the policy is asked once."),
)  # fmt: skip
_TARGET_SLIPS, _TARGET_WRONG = slips(
    chunk_targets,
    ("and episode[s + a] == episode[s]", "", "next episode", "a plan must not run on into the next episode."),
    ("np.full((steps, ahead), -1)", "np.zeros((steps, ahead), int)", "0 is an action",
     "0 is an action (left): mark what is not there with -1, which the loss leaves out."),
    ("targets[s, a] = actions[s + a]", "targets[s, a] = actions[min(s + a + 1, steps - 1)]",
     "begins with the action of its own step",
     "row s begins with the action of its own step, not of the next."),
    ("targets[s, a] = actions[s + a]", "targets[s, -a - 1] = actions[s + a]", "reversed",
     "the order is reversed: the next action stands first."),
)  # fmt: skip

_ROLLS = [(name, most, lambda f, env, d=d, s=s, c=c: f(d, env, list(s), c)) for name, d, most, s, c in _CASES]
_VISITS = [
    (name, most, lambda f, env, d=d, s=s, c=c: f(d, _guide, env, list(s), c))
    for name, d, most, s, c in _CASES
]
_LOOPS = [
    (f"{name}, k = {k}", most, lambda f, env, d=d, s=s, k=k, c=c: [f(d, env, seed, k, c) for seed in s])
    for k in (1, 2, 4)
    for name, d, most, s, c in _CASES[2:]
]


def _steps() -> list[tuple]:
    rng = np.random.default_rng(10)
    long = np.repeat(np.arange(7), [3, 1, 5, 2, 4, 1, 6])
    return [
        (np.array([2, 2, 1, 0, 2]), np.array([0, 0, 0, 1, 1]), 3),
        (rng.integers(0, 3, len(long)), long, 4),
        (np.array([1, 2]), np.array([0, 0]), 1),
        (np.array([2, 0, 1]), np.array([0, 0, 0]), 5),
    ]


ROLL_OUT = Exercise(
    id="10.3",
    kind="build",
    minutes=20,
    difficulty=3,
    question="Write roll_out(decide, env, seeds, cap): let a policy act in each world until it is over or the cap is reached, "
    "and say which worlds succeeded and what was done in each.",
    check=judged(
        played(
            roll_out,
            _ROLLS,
            _ROLL_SLIPS,
            "With it you can measure any policy: the rest of the notebook does.",
        ),
        wanted="success and actions in five sets of worlds",
    ),
    hints=(
        "Two loops: over the seeds, and within a world over the steps. What has to start afresh with each world?",
        "A world can stop for three reasons: terminated, truncated, and your own cap. Only one thing says whether it went well.",
        "Keep what is seen, the list of actions, whether it is over, and the last reward; stop when it is over or the list is as "
        "long as the cap.",
    ),
    solution=source(roll_out),
    skeleton=skeleton(roll_out),
    own=lambda: roll_out,
    wrong=_ROLL_WRONG,
    placeholder=lambda decide, env, seeds, cap=20: ...,
)

VISITED = Exercise(
    id="10.7",
    kind="build",
    minutes=20,
    difficulty=4,
    question="Write visited(decide, ask, env, seeds, cap), the heart of a DAgger round: the policy acts, and for every state "
    "that it gets into you write down what the expert would have done.",
    check=judged(
        played(
            visited,
            _VISITS,
            _VISIT_SLIPS,
            "States of the learner, actions of the teacher: that is all of DAgger.",
        ),
        wanted="rows of five sets of worlds",
    ),
    hints=(
        "Begin with your roll_out. Who moves? Who only talks?",
        "Before each step: ask the expert, write the row, let the policy choose, take the policy's action.",
        "The expert has to hear what was really done last, which is the end of your list; before the first step there is none.",
    ),
    solution=source(visited),
    skeleton=skeleton(visited),
    own=lambda: visited,
    wrong=_VISIT_WRONG,
    placeholder=lambda decide, ask, env, seeds, cap=20: ...,
)

TARGETS = Exercise(
    id="10.8",
    kind="build",
    minutes=10,
    difficulty=2,
    question="Write chunk_targets(actions, episode, ahead): for each step the expert's next `ahead` actions, and -1 after the "
    "end of its episode.",
    check=build(
        chunk_targets, _steps, names=("two episodes", "seven episodes", "one action", "longer than the episode"),
        diagnoses=_TARGET_SLIPS, right="The loss leaves out every -1, so the last steps of an episode teach fewer actions.",
    ),
    hints=(
        "Start with a table full of -1 and fill in what is there.",
        "Entry (s, a) is the action of step s + a. Two things can go wrong with that step: which?",
        "It may lie behind the last step of all, or belong to another episode than step s.",
    ),
    solution=source(chunk_targets, NUMPY),
    skeleton=skeleton(chunk_targets),
    own=lambda: chunk_targets,
    wrong=_TARGET_WRONG,
    placeholder=lambda actions, episode, ahead: ...,
)  # fmt: skip

OPEN_LOOP = Exercise(
    id="10.9",
    kind="build",
    minutes=15,
    difficulty=3,
    question="Write open_loop(decide, env, seed, k, cap): look, carry out k actions without looking, look again, until the world "
    "is over or the cap is reached.",
    check=judged(
        played(
            open_loop, _LOOPS, _LOOP_SLIPS, "With k = 1 it is the ordinary loop, with one look for each step."
        ),
        wanted="what happens in nine sets of worlds",
    ),
    hints=(
        "A plan is carried out in a loop inside the loop that looks.",
        "Inside the plan, the world may end at any action, and so may your steps: both have to stop the inner loop.",
        "Cut the plan to its first k actions, count one look, step through them, and break at the end or at the cap.",
    ),
    solution=source(open_loop),
    skeleton=skeleton(open_loop),
    own=lambda: open_loop,
    wrong=_LOOP_WRONG,
    placeholder=lambda decide, env, seed, k, cap=20: ...,
)
