"""Exercises of notebook 06: workers that meet late, a fair comparison, a run that goes on to the last bit, a failing machine."""

from __future__ import annotations

import copy
import inspect
import math
from typing import Any

from scalept_lab.course.answers import Verdict, build, choice, judged, number, several
from scalept_lab.course.equal import as_number
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.ranks import ranked
from scalept_lab.course.sets.pieces import skeleton, slips, source

_N, _STEPS, _H, _WORKERS = 1e9, 20_000, 500, 8
_DILOCO = _STEPS / _H * _N * 4

_YEAR = 365.25 * 24 * 3600
_GPUS, _COST = 24_576, 90.0
_MTBF = 5.8 * _YEAR / _GPUS
_MINUTES = (2 * _COST * _MTBF) ** 0.5 / 60


# --- the pieces that the learner writes -----------------------------------------------------------------------------------


def local_sgd(model, optimizer, loss_of, batches, steps, every):
    """One worker's training: `steps` steps, and a meeting after every `every` of them and after the last.

    model, optimizer  this worker's own
    loss_of           loss_of(model, x, y) -> the loss of a batch, a tensor
    batches           gives this worker's (x, y), at least `steps` of them
    A meeting is ONE all-reduce of one vector of all parameters; after it every worker has their mean.
    """
    import torch.distributed as dist
    from torch.nn.utils import parameters_to_vector, vector_to_parameters

    for step, (x, y) in zip(range(1, steps + 1), batches, strict=False):
        loss_of(model, x, y).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % every == 0 or step == steps:
            vector = parameters_to_vector(model.parameters()).detach()
            dist.all_reduce(vector)
            vector /= dist.get_world_size()
            vector_to_parameters(vector.clone(), model.parameters())


def diloco(model, optimizer, loss_of, batches, steps, every, rate, momentum):
    """As local_sgd, but a meeting is one step of an outer optimizer, SGD with Nesterov momentum, over the agreed parameters.

    rate, momentum  of the outer optimizer; its gradient is (agreed parameters) − (mean of the workers)
    All workers begin with the same parameters: these are agreed at the start. After a meeting all have the new agreed ones.
    """
    import torch
    import torch.distributed as dist
    from torch.nn.utils import parameters_to_vector, vector_to_parameters

    agreed = parameters_to_vector(model.parameters()).detach().clone()
    velocity = torch.zeros_like(agreed)
    for step, (x, y) in zip(range(1, steps + 1), batches, strict=False):
        loss_of(model, x, y).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % every == 0 or step == steps:
            mean = parameters_to_vector(model.parameters()).detach()
            dist.all_reduce(mean)
            mean /= dist.get_world_size()
            gradient = agreed - mean
            velocity = momentum * velocity + gradient
            agreed = agreed - rate * (gradient + momentum * velocity)
            vector_to_parameters(agreed.clone(), model.parameters())


def paired(runs, method, rival, tuning):
    """By how much `method` lies below `rival`, seed by seed, each with its own setting.

    runs    dicts with "method", "setting", "seed" and "loss" (None where the run diverged)
    tuning  the seed that chooses: a method's setting is the one of its lowest loss with this seed
    Returns the list of loss(rival) − loss(method) over the seeds that both have, in ascending order, without `tuning`.
    """
    found = []
    for name in (method, rival):
        tried = [run for run in runs if run["method"] == name]
        choice = [run for run in tried if run["seed"] == tuning and run["loss"] is not None]
        setting = min(choice, key=lambda run: run["loss"])["setting"]
        found.append({run["seed"]: run["loss"] for run in tried if run["setting"] == setting})
    mine, theirs = found
    seeds = sorted((set(mine) & set(theirs)) - {tuning})
    return [theirs[seed] - mine[seed] for seed in seeds]


class Snapshot:
    """A run at one moment, kept in memory: all that it takes to go on from there to the last bit.

    Snapshot(model, optimizer, step)   keeps copies of the model's state, the optimizer's, the step and torch's random state
    .restore(model, optimizer)         puts them into a model and an optimizer of the same kind; returns the step
    What is trained afterwards does not change a snapshot, and it can be restored more than once.
    """

    def __init__(self, model, optimizer, step):
        import torch

        self.model = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.optimizer = copy.deepcopy(optimizer.state_dict())
        self.random = torch.get_rng_state()
        self.step = step

    def restore(self, model, optimizer):
        import torch

        model.load_state_dict(self.model)
        optimizer.load_state_dict(copy.deepcopy(self.optimizer))
        torch.set_rng_state(self.random)
        return self.step


def machine_time(work, interval, cost, restart, failures):
    """Seconds until `work` seconds of training are done and saved, on a machine that fails.

    interval  training between two checkpoints (the last piece may be shorter); cost: of a checkpoint, training stands still
    restart   from a failure until training goes on; it goes on from the last checkpoint that was complete
    failures  seconds from the start to the first failure, from that to the second, …; after the last there is none.
              A failure can come at any time, while saving or restarting too.
    """
    clock = done = starting = 0.0
    failures = iter(failures)
    left = next(failures, math.inf)  # until the next failure
    while done < work:
        piece = min(interval, work - done)
        needed = starting + piece + cost
        if needed <= left:
            clock, left = clock + needed, left - needed
            done, starting = done + piece, 0.0
        else:
            clock, left = clock + left, next(failures, math.inf)
            starting = restart
    return clock


# --- 06.2 and 06.3: workers in ranks --------------------------------------------------------------------------------------

_IN, _OUT = 5, 3
_PARAMETERS = (_IN + 1) * 7 + 8 * _OUT


def _net():
    import torch

    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(_IN, 7), torch.nn.Tanh(), torch.nn.Linear(7, _OUT)).double()


def _rows(rank, steps):
    import torch

    random = torch.Generator().manual_seed(100 + rank)
    return [
        (torch.randn(4, _IN, generator=random).double(), torch.randn(4, _OUT, generator=random).double())
        for _ in range(steps + 2)
    ]


def _squares(model, x, y):
    return (model(x) - y).square().mean()


def _inner(model, kind):
    import torch

    make = torch.optim.SGD if kind == "sgd" else torch.optim.AdamW
    return make(model.parameters(), lr=0.1)


def _worker(answer, kind, steps, every, *outer):
    """The learner's loop in one rank: what its model's parameters are at the end."""
    import torch
    import torch.distributed as dist
    from torch.nn.utils import parameters_to_vector

    torch.set_num_threads(1)
    model = _net()
    answer(model, _inner(model, kind), _squares, iter(_rows(dist.get_rank(), steps)), steps, every, *outer)
    return parameters_to_vector(model.parameters())


def _workers(ranks, inputs):
    """The same in one process, with torch's SGD as the outer optimizer."""
    import torch
    from torch.nn.utils import parameters_to_vector, vector_to_parameters

    kind, steps, every, *outer = inputs
    rate, momentum = outer or (1.0, 0.0)
    models = [_net() for _ in range(ranks)]
    inner = [_inner(model, kind) for model in models]
    rows = [_rows(rank, steps) for rank in range(ranks)]
    agreed = torch.nn.Parameter(parameters_to_vector(models[0].parameters()).detach().clone())
    above = torch.optim.SGD([agreed], lr=rate, momentum=momentum, nesterov=momentum > 0)
    for step in range(steps):
        for model, optimizer, data in zip(models, inner, rows, strict=True):
            _squares(model, *data[step]).backward()
            optimizer.step()
            optimizer.zero_grad()
        if (step + 1) % every == 0 or step + 1 == steps:
            mean = torch.stack([parameters_to_vector(model.parameters()).detach() for model in models]).mean(
                0
            )
            agreed.grad = agreed.detach() - mean
            above.step()
            for model in models:
                vector_to_parameters(agreed.detach().clone(), model.parameters())
    return [agreed.detach()] * ranks


def _meetings(ranks, inputs):
    _, steps, every, *_ = inputs
    calls = math.ceil(steps / every)
    return {"all_reduce": (calls, calls * 8 * _PARAMETERS)}


_LOCAL_DIAGNOSES, _LOCAL_SLIPS = slips(
    local_sgd,
    ("vector /= dist.get_world_size()", "pass", "a sum", "after the meeting the parameters are a sum over the workers: an "
     "all-reduce adds; divide by how many there are."),
    ("step % every == 0 or step == steps", "step % every == 0", "after the last step", "the workers do not meet after the last "
     "step: where the steps are no multiple of `every`, they end apart."),
    ("step % every == 0 or step == steps", "(step - 1) % every == 0 or step == steps", "one step too early",
     "the meetings come one step too early: after 1, 1 + every, … steps. Count the steps that are done."),
    ("step % every == 0 or step == steps", "True", "every step", "the workers meet after every step: that is what `every` "
     "should save."),
    ("        optimizer.zero_grad()\n", "", "of all steps so far", "the gradients of all steps so far add up: clear them after "
     "each step."),
)  # fmt: skip

_OUTER_DIAGNOSES, _OUTER_SLIPS = slips(
    diloco,
    ("gradient = agreed - mean", "gradient = mean - agreed", "the sign", "the sign: with mean − agreed as the gradient, a step "
     "goes away from where the workers went."),
    ("rate * (gradient + momentum * velocity)", "rate * velocity", "plain momentum", "that is plain momentum; Nesterov adds the "
     "new gradient once more: gradient + momentum · velocity."),
    ("rate * (gradient + momentum * velocity)", "gradient", "that is local SGD", "that is local SGD: the outer optimizer has "
     "not been used."),
    ("velocity = momentum * velocity + gradient", "velocity = gradient", "forgotten", "the velocity is forgotten between "
     "meetings: it has to live as long as the run."),
    ("agreed = agreed - rate * (gradient + momentum * velocity)\n            vector_to_parameters(agreed.clone()",
     "vector_to_parameters(agreed - rate * (gradient + momentum * velocity)", "from the start", "every meeting steps from the "
     "start again: the new parameters are what is agreed for the next round."),
    ("mean /= dist.get_world_size()", "pass", "a sum", "the mean of the workers is a sum: an all-reduce adds; divide by how "
     "many there are."),
)  # fmt: skip

# --- 06.4: a fair comparison ----------------------------------------------------------------------------------------------


def _made_up(seed: int, seeds: range, spoilt: bool = False) -> list[dict[str, Any]]:
    """Two methods with best settings of their own, noise that a seed gives to both, and runs in no order."""
    import numpy as np

    rng = np.random.default_rng(seed)
    shift = {run: 0.3 * rng.standard_normal() for run in (*seeds, 7)}
    runs = []
    for method, best, floor in (("late", 0.08, 2.3), ("early", 0.02, 2.2), ("never", 0.04, 2.9)):
        for setting in (0.01, 0.02, 0.04, 0.08):
            for drawn, common in shift.items():
                away = np.log2(setting / best)
                lucky = setting == 0.01 and drawn == seeds[0]  # the lowest of all, where nobody was to choose
                loss = floor - lucky + common + 0.05 * away**2 + 0.02 * rng.standard_normal()
                loss = None if setting == 0.08 and method == "early" and drawn == 7 else float(loss)
                if not (spoilt and method == "late" and drawn == 2):
                    runs.append({"method": method, "setting": setting, "seed": drawn, "loss": loss})
    return [runs[i] for i in rng.permutation(len(runs))]


_PAIR_CASES = [
    (_made_up(0, range(5)), "late", "early", 7),
    (_made_up(1, range(4), spoilt=True), "early", "late", 7),
    (_made_up(2, range(3, 9)), "never", "early", 7),
]
_PAIR_DIAGNOSES, _PAIR_SLIPS = slips(
    paired,
    ("theirs[seed] - mine[seed]", "mine[seed] - theirs[seed]", "the sign", "the sign: positive where the method lies below its "
     "rival."),
    (" - {tuning})", ")", "seed of the choice", "the seed of the choice is among the pairs: a setting looks best where it was "
     "chosen, by luck too."),
    ('run["seed"] == tuning and run["loss"] is not None', 'run["loss"] is not None', "on the seeds that are compared",
     "the settings were chosen on the seeds that are compared: that favours whoever had more settings to choose from."),
    ("[theirs[seed] - mine[seed] for seed in seeds]",
     "[b - a for a, b in zip(sorted(mine[s] for s in seeds), sorted(theirs[s] for s in seeds))]", "by rank of their loss",
     "runs are paired by rank of their loss, not by seed."),
)  # fmt: skip


def _one_setting_for_both(runs, method, rival, tuning):
    tried = [
        run for run in runs if run["method"] == method and run["seed"] == tuning and run["loss"] is not None
    ]
    setting = min(tried, key=lambda run: run["loss"])["setting"]
    loss = {(run["method"], run["seed"]): run["loss"] for run in runs if run["setting"] == setting}
    seeds = sorted({s for m, s in loss if m == method} & {s for m, s in loss if m == rival} - {tuning})
    return [loss[rival, seed] - loss[method, seed] for seed in seeds]


_SHARED = "the rival runs at the setting that suits the method: each is to have its own best one."
_PAIR_DIAGNOSES.append((_one_setting_for_both, _SHARED))
_PAIR_SLIPS += ((_one_setting_for_both, "suits the method"),)

# --- 06.6: to the last bit ------------------------------------------------------------------------------------------------


def _judge_snapshot(Made: Any) -> Verdict:
    """Train, keep, train on; then restore into a new model, twice, and compare every step with the run that was never stopped."""
    import torch

    def fresh(seed):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(
            torch.nn.Linear(_IN, 8), torch.nn.Dropout(0.3), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, _OUT)
        )
        return model, torch.optim.AdamW(model.parameters(), lr=0.03)

    data = [(x.float(), y.float()) for x, y in _rows(0, 12)]

    def train(model, optimizer, first, last):
        losses = []
        for step in range(first, last):
            loss = _squares(model, *data[step])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    before = torch.get_rng_state()
    try:
        model, optimizer = fresh(0)
        train(model, optimizer, 0, 5)
        kept = Made(model, optimizer, 5)
        state = {
            "parameters": copy.deepcopy(model.state_dict()),
            "moments": copy.deepcopy(optimizer.state_dict()["state"]),
            "random": torch.get_rng_state(),
        }
        straight = train(model, optimizer, 5, 12)
        rows = []
        for time, seed in (("restored", 1), ("restored once more", 2)):
            again, its = fresh(seed)
            step = kept.restore(again, its)
            if step is None and time == "restored" and _differs(again.state_dict(), state["parameters"]):
                return Verdict(False, answered=False)
            wrong = _what_is_missing(again, its, step, state)
            if time != "restored" and wrong:
                wrong = "after it was restored once and trained, the snapshot has changed: restore copies, not what is kept."
            if not wrong:
                resumed = train(again, its, 5, 12)
                wrong = (
                    ""
                    if resumed == straight
                    else "the losses after it differ from the run that was never stopped."
                )
            rows.append((time, wrong or "every loss to the last bit", not wrong))
            if wrong:
                return Verdict(False, wrong, rows=tuple(rows))
        return Verdict(True, "Twice, into new models, and not a bit was lost.", rows=tuple(rows))
    finally:
        torch.set_rng_state(before)


def _what_is_missing(model: Any, optimizer: Any, step: Any, state: dict[str, Any]) -> str:
    import torch

    if _differs(dict(model.named_parameters()), state["parameters"]):
        return (
            "the parameters are not those of the moment: was a reference kept instead of a copy? Training changes parameters "
            "in place."
        )
    if _differs(model.state_dict(), state["parameters"]):
        return "the parameters are there, the buffers are not (the running means of a norm): state_dict() has both."
    mine = optimizer.state_dict()["state"]
    if not mine:
        return "the optimizer comes back without its moments: the next steps are those of an optimizer that knows nothing."
    if any(_differs(mine[index], moments) for index, moments in state["moments"].items()):
        return "the moments are not those of the moment: was a reference kept instead of a copy?"
    if not torch.equal(torch.get_rng_state(), state["random"]):
        return "torch's random state is not that of the moment: dropout will draw other numbers."
    if as_number(step) != 5:
        return "restore has to return the step: schedule and data go on from there."
    return ""


def _differs(mine: dict[str, Any], theirs: dict[str, Any]) -> bool:
    import torch

    return any(
        not torch.equal(torch.as_tensor(value), torch.as_tensor(theirs[name])) for name, value in mine.items()
    )


class _References(Snapshot):
    def __init__(self, model, optimizer, step):
        super().__init__(model, optimizer, step)
        self.model = model.state_dict()


class _MomentsLost(Snapshot):
    def restore(self, model, optimizer):
        import torch

        model.load_state_dict(self.model)
        torch.set_rng_state(self.random)
        return self.step


class _RandomLost(Snapshot):
    def restore(self, model, optimizer):
        model.load_state_dict(self.model)
        optimizer.load_state_dict(copy.deepcopy(self.optimizer))
        return self.step


class _ParametersAlone(Snapshot):
    def __init__(self, model, optimizer, step):
        super().__init__(model, optimizer, step)
        self.model = {name: value.detach().clone() for name, value in model.named_parameters()}

    def restore(self, model, optimizer):
        import torch

        model.load_state_dict(self.model, strict=False)
        optimizer.load_state_dict(copy.deepcopy(self.optimizer))
        torch.set_rng_state(self.random)
        return self.step


class _GivenAway(Snapshot):
    def restore(self, model, optimizer):
        step = super().restore(model, optimizer)
        optimizer.load_state_dict(self.optimizer)
        return step


class _NoStep(Snapshot):
    def restore(self, model, optimizer):
        super().restore(model, optimizer)


# --- 06.8: a machine that fails -------------------------------------------------------------------------------------------

_MACHINES = [
    (100.0, 40.0, 5.0, 20.0, []),  # nothing fails: 100 + 3 · 5
    (100.0, 40.0, 5.0, 20.0, [60.0]),  # once, in the second piece
    (100.0, 40.0, 5.0, 20.0, [60.0, 12.0, 300.0]),  # and again while it restarts
    (100.0, 40.0, 5.0, 20.0, [43.0, 70.0]),  # while it saves
    (90.0, 30.0, 2.0, 8.0, [31.0, 35.0, 9.0, 41.0, 64.0]),
    (7.0, 10.0, 1.0, 3.0, [2.0]),
]
_MACHINE_NAMES = (
    "no failure",
    "one failure",
    "one more while it restarts",
    "while it saves",
    "five",
    "a short job",
)
_MACHINE_DIAGNOSES, _MACHINE_SLIPS = slips(
    machine_time,
    ("starting = restart", "starting = 0.0", "restart costs nothing", "a restart costs nothing here: training goes on "
     "`restart` seconds after a failure."),
    ("needed = starting + piece + cost", "needed = starting + piece", "saving costs nothing", "saving costs nothing here: "
     "training stands still for `cost`."),
    ("            starting = restart", "            starting = restart\n            done += 0.5 * piece", "half of the piece",
     "half of the piece that failed is kept: only what was saved is."),
    ("clock + left, next(failures, math.inf)", "clock + left, math.inf", "one failure alone",
     "one failure alone is counted: there may be many."),
    ("clock, left = clock + left, next(failures, math.inf)\n            starting = restart",
     "clock, left = clock + left + restart, next(failures, math.inf)\n            starting = 0.0", "while it restarts",
     "nothing fails while it restarts: the time of a restart counts towards the next failure, too."),
)  # fmt: skip

_SNAPSHOT_SKELETON = f'''class Snapshot:
    """{Snapshot.__doc__}"""

    def __init__(self, model, optimizer, step): ...

    def restore(self, model, optimizer): ...'''


def _position(step, batch, windows):
    return divmod(step * batch, windows)


EXERCISES = (
    Exercise(
        "06.1",
        "A model of 1e9 parameters is trained for 20,000 steps by 8 workers with DiLoCo, H = 500, everything in 32 bits. How "
        "many bytes does each worker give to all-reduces in the whole run (the payload, not what a ring makes of it)?",
        number(
            _DILOCO,
            rel=0.01,
            diagnoses=[
                (_STEPS * _N * 4, "this is plain data parallel training: DiLoCo meets once in 500 steps."),
                (_DILOCO * _WORKERS, "this is all 8 workers together; the question is about each."),
                (
                    _DILOCO * 2 * (_WORKERS - 1) / _WORKERS,
                    "this is what a ring sends; the payload is asked for.",
                ),
                (_DILOCO / 4, "each parameter has 4 bytes in 32 bits, this counts one."),
                (_DILOCO / 2, "each parameter has 4 bytes in 32 bits, this counts two."),
                (
                    2 * _DILOCO,
                    "parameters only: the moments of the inner AdamW stay at home, and so does the outer's.",
                ),
                (3 * _DILOCO, "parameters only: the moments of the inner AdamW stay at home."),
                (_N * 4, "this is one meeting; how many are there?"),
            ],
            slips=(
                (1e-9, "this looks like gigabytes; bytes are asked for."),
                (1e-12, "this looks like terabytes."),
            ),
            right="Plain data parallel training would give 80 TB: 500 times as much.",
        ),
        (
            "How often do the workers meet in 20,000 steps?",
            "20,000/500 = 40 meetings. What does a worker hand over at each?",
            "All its parameters, 4 bytes each, and nothing of its optimizer: 4e9 bytes a meeting.",
        ),
        """meetings = 20_000 / 500
answer = meetings * 1e9 * 4""",
        wrong=(
            (_STEPS * _N * 4, "plain data parallel"),
            (_DILOCO * _WORKERS, "all 8 workers"),
            (_DILOCO * 7 / 4, "ring"),
            (_DILOCO / 4, "4 bytes"),
            (_N * 4, "one meeting"),
        ),
        minutes=6,
        difficulty=2,
    ),
    Exercise(
        "06.2",
        "Write local_sgd(model, optimizer, loss_of, batches, steps, every): one worker's training loop, called in every rank. It "
        "meets after every `every` steps and after the last one; a meeting is one all-reduce of one vector of all parameters.",
        ranked(
            _workers,
            [(2, ("sgd", 6, 3)), (2, ("adamw", 7, 3)), (3, ("sgd", 5, 2))],
            names=("2 ranks, 6 steps", "2 ranks, 7 steps of AdamW", "3 ranks"),
            rel=1e-9,
            ledger=_meetings,
            harness=_worker,
            diagnoses=_LOCAL_DIAGNOSES,
            right="Equal to one process that trains all workers in turn, in as many calls and bytes as asked for.",
        ),
        (
            "Begin with a loop as for one process: backward, step, zero_grad. Then say when a meeting is due, with `step` "
            "counting the steps that are done.",
            "torch.nn.utils has parameters_to_vector and vector_to_parameters. dist.all_reduce adds, in place.",
            "A step is due if step % every == 0 or step == steps. Detach the vector, reduce it, divide it by "
            "dist.get_world_size(), and put it back.",
        ),
        source(local_sgd),
        kind="build",
        minutes=15,
        difficulty=3,
        wrong=_LOCAL_SLIPS,
        skeleton=skeleton(local_sgd),
        own=lambda: local_sgd,
    ),
    Exercise(
        "06.3",
        "Write diloco(model, optimizer, loss_of, batches, steps, every, rate, momentum): the same loop, but at a meeting the "
        "mean of the workers is handed to an outer optimizer, SGD with Nesterov momentum as torch has it.",
        ranked(
            _workers,
            [(2, ("sgd", 9, 3, 0.7, 0.9)), (2, ("adamw", 7, 2, 0.5, 0.6)), (3, ("sgd", 4, 2, 1.0, 0.0))],
            names=("0.7 with momentum 0.9", "0.5 with momentum 0.6", "1 with momentum 0: local SGD"),
            rel=1e-9,
            ledger=_meetings,
            harness=_worker,
            diagnoses=_OUTER_DIAGNOSES,
            right="With rate 1 and momentum 0 it is local SGD: the special case.",
        ),
        (
            "Keep two vectors for the whole run: the agreed parameters, and a velocity that begins at zero.",
            "An optimizer needs a gradient. Which difference plays it, and which sign must it have so that the step goes "
            "towards the workers?",
            "gradient = agreed − mean; velocity ← momentum · velocity + gradient; agreed ← agreed − rate · (gradient + "
            "momentum · velocity). Then every worker gets the agreed ones.",
        ),
        source(diloco),
        kind="build",
        minutes=15,
        difficulty=3,
        wrong=_OUTER_SLIPS,
        skeleton=skeleton(diloco),
        own=lambda: diloco,
    ),
    Exercise(
        "06.4",
        "Write paired(runs, method, rival, tuning): choose a setting for each of the two with the seed `tuning`, and return by "
        "how much the method lies below its rival for every other seed.",
        build(
            paired,
            _PAIR_CASES,
            names=("five seeds", "a seed that one lacks", "other seeds"),
            rel=1e-9,
            diagnoses=_PAIR_DIAGNOSES,
            right="The section compares with it: own settings, other seeds than those of the choice, seed by seed.",
        ),
        (
            "For each of the two methods: among its runs with the seed `tuning` that did not diverge, which setting has the "
            "lowest loss?",
            "Then a dict from seed to loss of the runs with that setting, for each of the two.",
            "The seeds that are in both dicts, without `tuning`, sorted; for each, the loss of the rival minus that of the "
            "method.",
        ),
        source(paired),
        kind="build",
        minutes=12,
        difficulty=2,
        wrong=_PAIR_SLIPS,
        skeleton=skeleton(paired),
        own=lambda: paired,
    ),
    Exercise(
        "06.5",
        "A report says: 'With the same learning rate for both, local SGD with H = 4 lies below data parallel training by 0.04 ± "
        "0.01 nats (ten seeds, paired), with a quarter of the bytes. So delay helps.' Which question goes to its heart: 'seeds', "
        "'bytes', 'rates' or 'model'?",
        choice(
            "rates",
            {
                "rates": "",
                "seeds": "the interval is well clear of zero: the difference is real at that rate. Is the rate fair?",
                "bytes": "the count is right: one meeting in 4 steps. The doubt is about the loss.",
                "model": "a larger model may change the answer; but first, is the comparison fair at this one?",
            },
            right="Averaging parameters damps noise: at a rate that is too high for data parallel training, that helps.",
        ),
        (
            "What does a mean over four workers do to the noise that a high rate leaves in the parameters?",
            "It damps it. Who profits from that: a method whose rate is too high, or one whose rate is right?",
            "Each method has a best rate of its own. Of which method was the shared one the best?",
        ),
        'answer = "rates"',
        wrong=(("seeds", "difference is real"), ("bytes", "count is right"), ("model", "comparison fair")),
        kind="read",
        minutes=5,
        difficulty=2,
    ),
    Exercise(
        "06.6",
        "Write the class Snapshot: made from (model, optimizer, step), it keeps in memory all that a run needs to go on to the "
        "last bit, and restore(model, optimizer) puts it into new ones and returns the step.",
        judged(
            _judge_snapshot,
            seconds=60,
            wanted="a class; a run with dropout that goes on from it is compared to the last bit, twice",
        ),
        (
            "Which things change while a run trains? Go through the table of section 8: parameters, moments, positions, random "
            "state.",
            "model.state_dict() and optimizer.state_dict() hand out references: training goes on in those very tensors. "
            "torch.get_rng_state() is a copy already.",
            "Clone every tensor of the model's state, copy.deepcopy the optimizer's. In restore: load_state_dict for both (a "
            "copy again for the optimizer), torch.set_rng_state, return the step.",
        ),
        f"import copy\n\nimport torch\n\n\n{inspect.getsource(Snapshot)}\n\nanswer = Snapshot",
        kind="build",
        minutes=15,
        difficulty=4,
        wrong=(
            (_References, "a reference kept"),
            (_MomentsLost, "without its moments"),
            (_RandomLost, "random state"),
            (_ParametersAlone, "buffers"),
            (_GivenAway, "the snapshot has changed"),
            (_NoStep, "return the step"),
        ),
        skeleton=_SNAPSHOT_SKELETON,
        own=lambda: Snapshot,
    ),
    Exercise(
        "06.7",
        "A run is resumed at `step` (so many steps are done). Its stream has `windows` windows, shuffled anew for each epoch, "
        "and a step takes `batch` of them. Write `position(step, batch, windows)`: the epoch (from 0) and the place in that "
        "epoch's shuffle (from 0) of the first window to read.",
        build(
            _position,
            [(0, 4, 10), (5, 4, 10), (7, 3, 21), (100, 8, 37)],
            diagnoses=[
                (
                    lambda step, batch, windows: divmod(step, windows),
                    "a step takes `batch` windows, not one.",
                ),
                (
                    lambda step, batch, windows: (0, step * batch),
                    "the epochs are missing: beyond the last window the next shuffle begins.",
                ),
                (
                    lambda step, batch, windows: divmod((step + 1) * batch, windows),
                    "one step too far: with `step` steps done, that batch would be skipped.",
                ),
                (
                    lambda step, batch, windows: divmod((step - 1) * batch, windows),
                    "one step too early: the last batch would be seen twice.",
                ),
                (
                    lambda step, batch, windows: divmod(step, windows // batch),
                    "an epoch need not end at a batch's end: count windows, not batches.",
                ),
            ],
            right="So a data position needs no list of what was read: the seed, the epoch and one number.",
        ),
        (
            "How many windows have been read before this step, all epochs together?",
            "step · batch of them. An epoch has `windows`; batches go on across its end.",
            "Whole epochs and the rest: divmod.",
        ),
        """def position(step, batch, windows):
    return divmod(step * batch, windows)

answer = position""",
        wrong=(
            (lambda step, batch, windows: divmod(step, windows), "not one"),
            (lambda step, batch, windows: divmod((step + 1) * batch, windows), "one step too far"),
            (lambda step, batch, windows: (0, step * batch), "epochs are missing"),
            (lambda step, batch, windows: divmod(step, windows // batch), "count windows"),
        ),
        kind="compute",
        minutes=8,
        difficulty=2,
    ),
    Exercise(
        "06.8",
        "Write machine_time(work, interval, cost, restart, failures): how long a machine takes that saves after every "
        "interval of training, fails at the given moments, and goes on from the last complete checkpoint.",
        build(
            machine_time,
            _MACHINES,
            names=_MACHINE_NAMES,
            rel=1e-9,
            diagnoses=_MACHINE_DIAGNOSES,
            right="The next cell lets it fail tens of thousands of times, and compares with Daly's formula.",
        ),
        (
            "Think in attempts: one attempt is (a restart, where there was a failure) + a piece of training + a checkpoint. It "
            "succeeds if all of it ends before the next failure.",
            "Keep four numbers: the clock, the work that is saved, the seconds to the next failure, and the restart that "
            "the next attempt begins with (0 at first).",
            "An attempt that succeeds moves the clock by what it needed and brings the failure nearer by as much. One that "
            "fails moves the clock to the failure; take the next one from the list (math.inf when there is none).",
        ),
        source(machine_time, "import math\n\n\n"),
        kind="build",
        minutes=15,
        difficulty=3,
        wrong=_MACHINE_SLIPS,
        skeleton=skeleton(machine_time),
        own=lambda: machine_time,
    ),
    Exercise(
        "06.9",
        "24,576 GPUs, each of which fails once in 5.8 years (of 365.25 days); any failure stops all of them. A checkpoint takes "
        "90 seconds. How many minutes of training should lie between two checkpoints (Young), and which share of the time is "
        "then lost to saving and to doing work again, restarts aside, to first order (in percent)?",
        several(
            minutes=number(
                _MINUTES,
                rel=0.02,
                diagnoses=[
                    (60 * _MINUTES, "these are seconds; minutes are asked for."),
                    (
                        _MINUTES / 2**0.5,
                        "the factor 2 under the root is missing: on average half an interval is lost.",
                    ),
                    (
                        (2 * _COST * 5.8 * _YEAR) ** 0.5 / 60,
                        "that is for one GPU; 24,576 fail as many times as often.",
                    ),
                    (_MTBF / 60, "this is the time between failures, not between checkpoints."),
                ],
            ),
            percent=number(
                100 * (2 * _COST / _MTBF) ** 0.5,
                rel=0.03,
                diagnoses=[
                    (
                        50 * (2 * _COST / _MTBF) ** 0.5,
                        "that is one of the two parts; saving and doing again cost the same.",
                    ),
                    ((2 * _COST / _MTBF) ** 0.5, "a fraction; percent are asked for."),
                    (100 * (1 - (2 * _COST / _MTBF) ** 0.5), "that is what is kept; the loss is asked for."),
                ],
            ),
        ),
        (
            "First the time between failures of the whole machine: that of one GPU, divided by how many there are.",
            "M is about 2 hours. τ = √(2·δ·M), all in seconds.",
            "The loss is δ/τ + τ/(2M). At the best τ the two parts are equal.",
        ),
        """mtbf = 5.8 * 365.25 * 24 * 3600 / 24_576
interval = (2 * 90 * mtbf) ** 0.5
answer = {"minutes": interval / 60, "percent": 100 * (90 / interval + interval / (2 * mtbf))}""",
        wrong=(
            ({"minutes": 60 * _MINUTES, "percent": 15}, "seconds"),
            ({"minutes": _MINUTES / 2**0.5, "percent": 15}, "factor 2"),
            ({"minutes": (2 * _COST * 5.8 * _YEAR) ** 0.5 / 60, "percent": 15}, "one GPU"),
            ({"minutes": _MINUTES, "percent": 50 * (2 * _COST / _MTBF) ** 0.5}, "one of the two parts"),
        ),
        placeholder={"minutes": ..., "percent": ...},
        minutes=8,
        difficulty=3,
    ),
)
