"""Exercises of notebook 05, distributed training.

What the learner builds runs on real ranks. Each build's solution is the source of a function of this module, and that function
serves while the exercise is open. The oracles: one process for the numbers, a ledger for calls and bytes, a pipeline's rules.
"""

# mypy: disable-error-code="union-attr, var-annotated"
# what a learner reads has no annotations inside

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from scalept_lab.costs import layouts, planner, schedules, traffic
from scalept_lab.course.answers import Check, Verdict, function, judged, number, several
from scalept_lab.course.equal import difference, plain
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.ranks import ranked
from scalept_lab.course.sets.pieces import skeleton, slips, source
from scalept_lab.errors import InputError

if TYPE_CHECKING:
    import torch

# --- the pieces that the learner writes -----------------------------------------------------------------------------------


def ring_all_reduce(x: torch.Tensor) -> torch.Tensor:
    """The sum of all ranks' x, (n,), by messages to the right neighbour alone. x is not changed.

    Cut x into as many pieces as there are ranks, by tensor_split. First, ranks - 1 times: rank r sends a piece to rank r + 1
    (the last rank to rank 0), and adds the piece that comes from rank r - 1 to its own piece of that number. It begins by
    sending piece r; what it has just added to, it sends next. Then each rank holds one finished piece. Second, ranks - 1 times
    more: the finished pieces go round in the same way, and take the place of the unfinished ones.
    """
    import torch
    import torch.distributed as dist

    rank, ranks = dist.get_rank(), dist.get_world_size()
    pieces = list(x.tensor_split(ranks))

    def pass_on(send, receive):
        sending = dist.isend(pieces[send].contiguous(), (rank + 1) % ranks)
        arrived = torch.empty_like(pieces[receive])
        dist.recv(arrived, (rank - 1) % ranks)
        sending.wait()
        return arrived

    for step in range(ranks - 1):
        send, receive = (rank - step) % ranks, (rank - step - 1) % ranks
        pieces[receive] = pieces[receive] + pass_on(send, receive)
    for turn in range(ranks - 1):
        send, receive = (rank + 1 - turn) % ranks, (rank - turn) % ranks
        pieces[receive] = pass_on(send, receive)
    return torch.cat(pieces)


def ddp_backward(model: torch.nn.Module, loss: torch.Tensor, limit: int, send) -> int:
    """loss.backward(), after which p.grad of each parameter of `model` is the mean of all ranks' gradients.

    model  every parameter takes part in the loss
    limit  a bucket leaves as soon as its gradients have `limit` bytes or more, while the backward pass goes on
    send   send(flat) starts the sum over ranks of a flat tensor, in place, and returns at once; .wait() on what it
           returns waits for the sum
    Returns how many buckets had left by the time loss.backward() returned.
    """
    import torch
    import torch.distributed as dist

    bucket, sent = [], []

    def leave():
        flat = torch.cat([p.grad.flatten() for p in bucket])
        sent.append((list(bucket), flat, send(flat)))
        bucket.clear()

    def collect(p):
        bucket.append(p)
        if sum(q.grad.nbytes for q in bucket) >= limit:
            leave()

    hooks = [p.register_post_accumulate_grad_hook(collect) for p in model.parameters()]
    loss.backward()
    early = len(sent)
    if bucket:
        leave()
    for parameters, flat, work in sent:
        work.wait()
        flat /= dist.get_world_size()
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad.copy_(part.view_as(p))
    for hook in hooks:
        hook.remove()
    return early


def zero1_step(
    w: torch.Tensor, g: torch.Tensor, state: dict, lr: float, t: int, decay: float = 0.1, betas=(0.9, 0.95)
) -> torch.Tensor:
    """One step of AdamW whose moments lie in slices: rank r keeps those of slice r alone. Returns the new weights, whole.

    w      (n,) all weights, the same on every rank; n need not divide: fill up with zeros to ranks slices of one size
    g      (n,) this rank's gradient; the step is taken with the mean over ranks
    state  {} before the first step; from then on "m" and "v", the moments of this rank's slice
    t      the number of the step, from 1. AdamW: decoupled decay, both moments corrected for their start, eps 1e-8
    One reduce-scatter and one all-gather, nothing else, is sent.
    """
    import torch
    import torch.distributed as dist
    from torch.nn.functional import pad

    rank, ranks = dist.get_rank(), dist.get_world_size()
    size = -(-len(w) // ranks)
    fill = (0, size * ranks - len(w))
    mine = torch.empty(size)
    dist.reduce_scatter_tensor(mine, pad(g, fill))
    mine /= ranks
    part = pad(w, fill)[rank * size : (rank + 1) * size]
    m = state["m"] = betas[0] * state.get("m", torch.zeros(size)) + (1 - betas[0]) * mine
    v = state["v"] = betas[1] * state.get("v", torch.zeros(size)) + (1 - betas[1]) * mine**2
    move = (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + 1e-8)
    part = part * (1 - lr * decay) - lr * move
    whole = torch.empty(size * ranks)
    dist.all_gather_into_tensor(whole, part)
    return whole[: len(w)]


def parallel_mlp(x: torch.Tensor, A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """gelu(x A) B, of which this rank holds some hidden units: columns of A and the rows of B that belong to them.

    x  (rows, D) the same on every rank; A  (D, H / ranks); B  (H / ranks, D)
    Returns y (rows, D), whole, on every rank. After a backward pass x.grad is whole as well, and A.grad and B.grad are those
    of the whole MLP's slices, if every rank has the same gradient of y. One all-reduce forward, one backward.
    """
    import torch
    import torch.distributed as dist
    from torch.nn.functional import gelu

    class Enter(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, grad):
            grad = grad.clone()
            dist.all_reduce(grad)
            return grad

    class Leave(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            y = y.clone()
            dist.all_reduce(y)
            return y

        @staticmethod
        def backward(ctx, grad):
            return grad

    return Leave.apply(gelu(Enter.apply(x) @ A) @ B)


def one_f_one_b(stage: int, stages: int, microbatches: int) -> list:
    """The order in which `stage` (from 0) works: a list of ("F", i) and ("B", i), micro-batches i from 0, each once.

    Forward passes first, as many as it takes until the gradient of micro-batch 0 can be here; then one backward and one
    forward pass in turns, as long as there are forward passes left; then the remaining backward passes.
    """
    ahead = min(stages - stage, microbatches)
    steps = [("F", i) for i in range(ahead)]
    for i in range(microbatches):
        steps.append(("B", i))
        if i + ahead < microbatches:
            steps.append(("F", i + ahead))
    return steps


def _solution(build: Callable) -> str:
    """The source of a build, with the imports where a reader looks for them; here they wait until they are needed."""
    lines = source(build).splitlines()
    imports = [line.strip() for line in lines if line.startswith(("    import ", "    from "))]
    rest = "\n".join(line for line in lines if line.strip() not in imports)
    return "\n".join(imports) + "\n\n\n" + rest.replace('"""\n\n', '"""\n')


# --- their oracles --------------------------------------------------------------------------------------------------------


def _numbers(length: int, *seed: int) -> torch.Tensor:
    import torch

    return torch.tensor(np.random.default_rng(seed).standard_normal(length), dtype=torch.float32)


def _ring_case(build: Callable, length: int) -> Any:
    import torch.distributed as dist

    return build(_numbers(length, dist.get_rank()))


def _ring_sum(ranks: int, inputs: tuple) -> list:
    return [sum(_numbers(inputs[0], rank) for rank in range(ranks))] * ranks


def _ring_sent(ranks: int, inputs: tuple) -> list[dict]:
    """Twice a rank sends all pieces but one: first not the one that it finishes, r + 1, then not the one that "
    "it gets last, r + 2."""
    sizes = [len(piece) for piece in np.array_split(np.arange(inputs[0]), ranks)]
    return [
        {"point_to_point": (2 * (ranks - 1), 4 * sum(inputs[0] - sizes[(r + k) % ranks] for k in (1, 2)))}
        for r in range(ranks)
    ]


_WIDTHS = (6, 20, 20, 20, 3)  # of the model that ddp_backward is tried on
_LIMIT = 1000  # bytes: buckets of some tensors each, and one that is not full at the end


def _network() -> torch.nn.Module:
    import torch

    torch.manual_seed(0)
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(_WIDTHS)]
    return torch.nn.Sequential(*[part for layer in layers for part in (layer, torch.nn.Tanh())])


def _loss(model: torch.nn.Module, rank: int, turn: int) -> torch.Tensor:
    return model(_numbers(4 * _WIDTHS[0], rank, turn).view(4, -1)).square().sum()


def _ddp_case(build: Callable, limit: int) -> list:
    """Two backward passes: hooks that are left behind would send everything twice."""
    import torch.distributed as dist

    model, found = _network(), []
    for turn in range(2):
        model.zero_grad()
        early = build(
            model,
            _loss(model, dist.get_rank(), turn),
            limit,
            lambda flat: dist.all_reduce(flat, async_op=True),
        )
        found.append({"gradients": [p.grad.clone() for p in model.parameters()], "early": early})
    return found


def _buckets(limit: int) -> list[int]:
    """Bytes of each bucket: gradients come from the last layer to the first, a layer's bias before its weight."""
    sizes = [4 * p.numel() for p in reversed(list(_network().parameters()))]
    buckets, now = [], 0
    for size in sizes:
        now += size
        if now >= limit:
            buckets.append(now)
            now = 0
    return [*buckets, *([now] if now else [])]


def _ddp_mean(ranks: int, inputs: tuple) -> list:
    model, found = _network(), []
    total = 4 * sum(p.numel() for p in model.parameters())
    buckets = _buckets(inputs[0])
    for turn in range(2):
        model.zero_grad()
        for rank in range(ranks):
            (_loss(model, rank, turn) / ranks).backward()
        full = len(buckets) - (buckets[-1] < inputs[0])
        found.append({"gradients": [p.grad.clone() for p in model.parameters()], "early": full})
    assert sum(buckets) == total
    return [found] * ranks


def _ddp_sent(ranks: int, inputs: tuple) -> dict:
    buckets = _buckets(inputs[0])
    return {"all_reduce": (2 * len(buckets), 2 * sum(buckets))}


_STEPS, _RATE = 4, 0.01


def _zero1_case(build: Callable, length: int) -> dict:
    import torch.distributed as dist

    w, state = _numbers(length, 99), {}
    for t in range(1, _STEPS + 1):
        w = build(w, _numbers(length, dist.get_rank(), t), state, _RATE, t)
    return {"weights": w, "state": state}


def _zero1_alone(ranks: int, inputs: tuple) -> list:
    import torch
    from torch.nn.functional import pad

    (length,) = inputs
    w = torch.nn.Parameter(_numbers(length, 99))
    optimizer = torch.optim.AdamW([w], lr=_RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for t in range(1, _STEPS + 1):
        w.grad = torch.stack([_numbers(length, rank, t) for rank in range(ranks)]).mean(0)
        optimizer.step()
    size = -(-length // ranks)
    slices = {
        name: pad(optimizer.state[w][key], (0, size * ranks - length)).split(size)
        for name, key in (("m", "exp_avg"), ("v", "exp_avg_sq"))
    }
    return [
        {"weights": w.detach(), "state": {name: parts[r] for name, parts in slices.items()}}
        for r in range(ranks)
    ]


def _zero1_sent(ranks: int, inputs: tuple) -> dict:
    payload = 4 * -(-inputs[0] // ranks) * ranks
    return {"reduce_scatter": (_STEPS, _STEPS * payload), "all_gather": (_STEPS, _STEPS * payload)}


_D, _H = 6, 8


def _matrices() -> tuple:
    return (
        _numbers(5 * _D, 1).view(5, _D),
        _numbers(_D * _H, 2).view(_D, _H),
        _numbers(_H * _D, 3).view(_H, _D),
    )


def _mlp_case(build: Callable) -> dict:
    import torch.distributed as dist

    rank, ranks = dist.get_rank(), dist.get_world_size()
    x, A, B = _matrices()
    x, A, B = (
        part.clone().requires_grad_()
        for part in (x, A.chunk(ranks, dim=1)[rank], B.chunk(ranks, dim=0)[rank])
    )
    y = build(x, A, B)
    (y * _numbers(5 * _D, 4).view(5, _D)).sum().backward()
    return {"y": y, "x.grad": x.grad, "A.grad": A.grad, "B.grad": B.grad}


def _mlp_alone(ranks: int, inputs: tuple) -> list:
    from torch.nn.functional import gelu

    x, A, B = (part.requires_grad_() for part in _matrices())
    y = gelu(x @ A) @ B
    (y * _numbers(5 * _D, 4).view(5, _D)).sum().backward()
    parts = zip(A.grad.chunk(ranks, dim=1), B.grad.chunk(ranks, dim=0), strict=True)
    return [{"y": y.detach(), "x.grad": x.grad, "A.grad": a, "B.grad": b} for a, b in parts]


_PIPELINES = ((2, 4), (4, 8), (4, 4), (4, 2), (8, 20))  # stages, micro-batches


def _judge_order(build: Callable) -> Verdict:
    """Legal, as few idle as the formula says, and as few micro-batches kept as 1F1B keeps."""
    rows, problem, blank = [], "", True
    for p, m in _PIPELINES:
        name = f"{p} stages, {m} micro-batches"
        given = [build(stage, p, m) for stage in range(p)]
        blank = blank and all(steps is None or steps is ... for steps in given)
        try:
            orders = [list(steps) for steps in given]
        except TypeError:
            found = "expected a list of steps from each stage"
        else:
            found = _wrong_order(orders, p, m)
        rows.append(
            (name, found or "legal, waits as the formula says, keeps no more than it must", not found)
        )
        problem = problem or (f"{name}: {found}." if found else "")
    if blank:
        return Verdict(False, answered=False)
    if not problem:
        return Verdict(True, "GPipe waits as long; what 1F1B saves is memory.", rows=tuple(rows))
    text = next((text for wrong, text in _ORDER_DIAGNOSES if _same_orders(build, wrong)), problem)
    return Verdict(False, text, rows=tuple(rows))


def _wrong_order(orders: Sequence[list], p: int, m: int) -> str:
    try:
        slots = schedules.play(orders, m)
    except InputError as error:
        return str(error)
    if traffic.idle_share(slots) > traffic.bubble(p, m) + 1e-9:
        return "legal, but stages wait longer than the formula says"
    for stage, steps in enumerate(orders):
        if schedules.most_kept(steps) > min(p - stage, m):
            return f"legal, but stage {stage} keeps more micro-batches at once than it has to"
    return ""


def _same_orders(one: Callable, other: Callable) -> bool:
    try:
        return all(
            list(map(tuple, one(stage, p, m))) == other(stage, p, m)
            for p, m in _PIPELINES
            for stage in range(p)
        )
    except TypeError:  # no list of steps
        return False


# --- other checks ---------------------------------------------------------------------------------------------------------


def _held(expected: tuple, diagnoses: Sequence[tuple[tuple, str]], right: str = "") -> Check:
    """A check for what a rank holds: numbers in any kind of list, nested or not. What is wanted is never shown."""

    def judge(answer: Any) -> Verdict:
        given = _flat(answer)
        if not difference(given, list(expected), 1e-6, 0.0):
            return Verdict(True, right)
        for wrong, text in diagnoses:
            if not difference(given, list(wrong), 1e-6, 0.0):
                return Verdict(False, text)
        return Verdict(False, f"these are {len(given)} number(s) that no step of the call leaves there.")

    return Check(judge, "the numbers that the rank holds, in order")


def _flat(value: Any) -> list:
    value = plain(value)
    if isinstance(value, str):
        value = value.strip("()[] ").replace(",", " ").split()
    if isinstance(value, (list, tuple)):
        return [
            one
            for part in value
            for one in (_flat(part) if isinstance(part, (list, tuple)) else [plain(part)])
        ]
    return [value]


def _weight(rows_here, batch, ranks):
    return rows_here * ranks / batch


def _stages_busy(p, share):
    """Fewest micro-batches with (p − 1)/(m + p − 1) of at most `share`."""
    return round((p - 1) / share - (p - 1))


_SIXTEEN_BIT = 2e9  # bytes of 1e9 parameters

MODEL, GPUS, BATCH = "llama3-70b", 256, 512  # of exercise 05.12


def _judge_layout(answer: Any) -> Verdict:
    """Whether a layout fits, and how long its step takes beside the fastest of the planner."""
    names = ("data", "tensor", "pipeline", "zero", "micro_batch", "recompute")
    try:
        given = {name: answer[name] for name in names}
    except (TypeError, KeyError, IndexError):
        return Verdict(False, f"the answer needs exactly the keys {', '.join(names)}.")
    numbers = {name: int(plain(given[name])) for name in names[:-1]}
    layout = layouts.Layout(**numbers, recompute=str(given["recompute"]), sequence=numbers["tensor"] > 1)
    cluster = layouts.Cluster(GPUS)
    try:
        mine = planner.estimate(MODEL, layout, cluster, BATCH)
    except InputError as error:
        return Verdict(False, f"{error}.")
    if not mine.fits:
        least = "parameters, gradients and moments" if mine.states > mine.limit else "activations"
        return Verdict(
            False, f"it needs {mine.memory / 1e9:.0f} GB on a GPU that has 80; most to blame: {least}."
        )
    best = planner.plan(MODEL, cluster, BATCH)[0]
    ratio = mine.seconds / best.seconds
    if ratio > 1.1:
        parts = {
            "what is computed twice (recompute)": mine.compute - best.compute, "tensor traffic": mine.tensor,
            "pipeline traffic": mine.pipeline, "data traffic that nothing hides": mine.data, "the bubble": mine.bubble,
        }  # fmt: skip
        worst = max(parts, key=lambda name: parts[name])
        return Verdict(
            False, f"it fits, but a step takes {ratio:.2f} times as long as it could; largest loss: {worst}."
        )
    return Verdict(True, f"it fits, and a step takes {ratio:.2f} times as long as the planner's best.")


# --- slips ----------------------------------------------------------------------------------------------------------------


def _whole_tensors(x):
    import torch
    import torch.distributed as dist

    rank, ranks = dist.get_rank(), dist.get_world_size()
    total, travels = x.clone(), x.clone()
    for _ in range(ranks - 1):
        sending = dist.isend(travels, (rank + 1) % ranks)
        arrived = torch.empty_like(travels)
        dist.recv(arrived, (rank - 1) % ranks)
        sending.wait()
        total, travels = total + arrived, arrived
    return total


def _torchs_own(x):
    import torch.distributed as dist

    x = x.clone()
    dist.all_reduce(x)
    return x


_RING_DIAGNOSES, _RING_SLIPS = slips(
    ring_all_reduce,
    ("for turn in range(ranks - 1)", "for turn in range(0)", "half of the way", "half of the way: each rank has one finished "
     "piece, as after a reduce-scatter; now the finished pieces have to go round."),
    ("pieces[receive] = pass_on", "pieces[receive] = pieces[receive] + pass_on", "take the place", "in the second round the "
     "finished pieces are added to the unfinished ones; they have to take the place of these."),
    ("for step in range(ranks - 1)", "for step in range(ranks)", "one turn too many", "one turn too many in the first round: a "
     "piece that goes all the way round comes back to its own rank, and is counted twice."),
    ("(rank + 1 - turn) % ranks, (rank - turn) % ranks", "(rank - turn) % ranks, (rank - turn - 1) % ranks", "not finished",
     "the second round begins with a piece that is not finished: rank r has finished the one that it added to last."),
    ("torch.cat(pieces)", "torch.cat(pieces) / ranks", "mean", "this is the mean over ranks; the sum is asked for."),
)  # fmt: skip
_RING_DIAGNOSES += [
    (
        _whole_tensors,
        "the sum is right, but whole tensors go round: each rank sends ranks / 2 times as much as with pieces.",
    ),
    (_torchs_own, "this is torch's own all-reduce; build it from messages, dist.isend and dist.recv."),
]
_RING_SLIPS = (*_RING_SLIPS[:2], (_whole_tensors, "whole tensors"))

_DDP_DIAGNOSES, _DDP_SLIPS = slips(
    ddp_backward,
    ("    if bucket:\n        leave()\n    for parameters", "    for parameters", "never leaves", "the last bucket never leaves: "
     "it is not full when the backward pass ends, and its gradients are still this rank's own."),
    ("        flat /= dist.get_world_size()\n", "", "not of the mean", "these are sums over ranks, gradients of the total, not "
     "of the mean."),
    ("    for hook in hooks:\n        hook.remove()\n", "", "still there", "the hooks are still there in the next backward "
     "pass, and everything is sent twice."),
    ("q.grad.nbytes", "q.grad.numel()", "numbers, not bytes", "the limit is compared with a count of numbers, not bytes."),
    (">= limit", ">= 1e18", "after the backward pass", "all gradients leave in one bucket, after the backward pass: nothing "
     "overlaps."),
    (">= limit", ">= 0", "bucket of its own", "each gradient leaves in a bucket of its own: many small messages."),
    ("        bucket.clear()\n", "", "never emptied", "the bucket is never emptied after it has left."),
)  # fmt: skip

_ZERO1_DIAGNOSES, _ZERO1_SLIPS = slips(
    zero1_step,
    ("    mine /= ranks\n", "", "hides the factor", "the gradient is a sum over ranks, not their mean. Adam's step hides the "
     "factor, because it divides m by the root of v; the moments show it."),
    ("[rank * size : (rank + 1) * size]", "[:size]", "slice of rank 0", "every rank steps the slice of rank 0 with its own "
     "gradients."),
    ("mine /= ranks\n", "mine = mine / ranks + decay * pad(w, fill)[rank * size : (rank + 1) * size]\n",
     "in the gradient as well",
     "the decay is "
     "in the gradient as well as beside it; with AdamW the moments never see it."),
    ("(1 - lr * decay)", "1", "no decay", "there is no decay: AdamW also shrinks the weights by lr · decay in each step."),
    (" / (1 - betas[1] ** t)", "", "starts at zero", "v starts at zero and is not corrected for it."),
    (" / (1 - betas[0] ** t)", "", "m starts at zero and", "m starts at zero and is not corrected for it."),
)  # fmt: skip


def _whole_states(w, g, state, lr, t, decay=0.1, betas=(0.9, 0.95)):
    import torch
    import torch.distributed as dist

    g = g.clone()
    dist.all_reduce(g)
    g /= dist.get_world_size()
    m = state["m"] = betas[0] * state.get("m", torch.zeros_like(w)) + (1 - betas[0]) * g
    v = state["v"] = betas[1] * state.get("v", torch.zeros_like(w)) + (1 - betas[1]) * g**2
    return w * (1 - lr * decay) - lr * (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + 1e-8)


_ZERO1_DIAGNOSES += [
    (
        _whole_states,
        "the step is right, but this is data parallelism: every rank all-reduces, and keeps all moments.",
    )
]
_ZERO1_SLIPS = (_ZERO1_SLIPS[0], _ZERO1_SLIPS[2], (_whole_states, "data parallelism"))

_MLP_DIAGNOSES, _MLP_SLIPS = slips(
    parallel_mlp,
    ("Enter.apply(x)", "x", "this rank's part of x.grad", "y is right, but each rank has only this rank's part of x.grad: in "
     "the backward pass the input's gradient has to be summed where x enters."),
    ("        def backward(ctx, grad):\n            return grad\n", "        def backward(ctx, grad):\n            grad = "
     "grad.clone()\n            dist.all_reduce(grad)\n            return grad\n", "the same on every rank",
     "the gradient of y is "
     "summed over ranks, although it is whole and the same on every rank already: all gradients come out `ranks` times too "
     "large."),
    ("            dist.all_reduce(y)\n", "", "part of y", "this is each rank's part of y; the parts have to be added up."),
    ("            return y\n", "            return y / dist.get_world_size()\n", "mean", "y is the mean of the ranks' parts; the "
     "product over all hidden units is their sum."),
    ("            return grad\n\n    class", "            return grad / dist.get_world_size()\n\n    class", "not the mean",
     "x.grad is the mean of the ranks' parts, not the mean of anything that is whole; it is their sum."),
)  # fmt: skip

_ORDER_DIAGNOSES, _ORDER_SLIPS = slips(
    one_f_one_b,
    ("min(stages - stage, microbatches)", "min(stages - stage - 1, microbatches)", "one too few", "the first backward pass comes "
     "before its forward pass, or one too early: there is one too few at the start. The last stage, too, begins with one."),
    ("min(stages - stage, microbatches)", "microbatches", "GPipe", "this is GPipe: all forward passes first. Its bubble is the "
     "same, but every stage keeps all micro-batches."),
    ("min(stages - stage, microbatches)", "min(stages, microbatches)", "every stage", "every stage begins with as many forward "
     "passes as there are stages; later ones need fewer, because their gradient is back sooner."),
    ("min(stages - stage, microbatches)", "min(stage + 1, microbatches)", "the wrong way round",
     "the number of forward passes at "
     "the start is the wrong way round: the first stage waits longest for a gradient, the last one not at all."),
    ("        if i + ahead < microbatches:\n            steps.append((\"F\", i + ahead))\n", "", "forward passes are missing",
     "forward passes are missing: after each backward pass comes one, as long as any are left."),
    ("min(stages - stage, microbatches)", "min(stages - stage + 1, microbatches)", "one more", "one more forward pass at the "
     "start than is needed: for a stage in the middle it may even wait for ever."),
)  # fmt: skip


# --- the exercises --------------------------------------------------------------------------------------------------------

EXERCISES = (
    Exercise(
        "05.1",
        "Three ranks hold [1, 2, 3], [10, 20, 30] and [100, 200, 300]. What does rank 1 (the middle one) hold after an "
        "all-reduce (sum), after an all-gather (as one list), and after a reduce-scatter (sum)?",
        several(
            all_reduce=_held(
                (111, 222, 333),
                (
                    ((37, 74, 111), "this is the mean; the sum was asked for."),
                    ((222,), "this is what a reduce-scatter leaves: an all-reduce leaves the whole sum."),
                    ((10, 20, 30), "this is what rank 1 began with."),
                    (
                        (6, 60, 600),
                        "these are sums within each rank; the sum goes over ranks, place by place.",
                    ),
                ),
            ),
            all_gather=_held(
                (1, 2, 3, 10, 20, 30, 100, 200, 300),
                (
                    ((111, 222, 333), "a gather adds nothing up: it puts pieces side by side."),
                    (
                        (1, 10, 100, 2, 20, 200, 3, 30, 300),
                        "the pieces stand in the order of the ranks, each in one piece.",
                    ),
                ),
            ),
            reduce_scatter=_held(
                (222,),
                (
                    (
                        (111, 222, 333),
                        "this is the whole sum; after scattering, each rank keeps its part only.",
                    ),
                    ((111,), "this is the part of rank 0: ranks count from 0."),
                    ((333,), "this is the part of the last rank."),
                    ((60,), "this is the sum within the rank; the sum goes over ranks."),
                ),
            ),
        ),
        (
            "Sums go over ranks, place by place.",
            "An all-gather puts the lists side by side, in rank order. A reduce-scatter sums, then each keeps a part.",
            "Write the three lists below each other and add the columns. With three ranks a part is one number, and the middle "
            "rank keeps the middle one.",
        ),
        """answer = {
    "all_reduce": [111, 222, 333],
    "all_gather": [1, 2, 3, 10, 20, 30, 100, 200, 300],
    "reduce_scatter": [222],
}""",
        wrong=(
            (
                {
                    "all_reduce": (37, 74, 111),
                    "all_gather": (1, 2, 3, 10, 20, 30, 100, 200, 300),
                    "reduce_scatter": (222,),
                },
                "the mean",
            ),
            (
                {"all_reduce": (111, 222, 333), "all_gather": (111, 222, 333), "reduce_scatter": (222,)},
                "side by side",
            ),
            (
                {
                    "all_reduce": (111, 222, 333),
                    "all_gather": (1, 2, 3, 10, 20, 30, 100, 200, 300),
                    "reduce_scatter": (111,),
                },
                "ranks count from 0",
            ),
        ),
        placeholder={"all_reduce": ..., "all_gather": ..., "reduce_scatter": ...},
        minutes=5,
        difficulty=1,
    ),
    Exercise(
        "05.2",
        "Write ring_all_reduce(x): the sum of all ranks' x by messages to the right neighbour alone, first a "
        "reduce-scatter, then "
        "an all-gather. It is run on 3 ranks, with a length that they divide and one that they do not, and compared with the sum "
        "in one process; the ledger counts what each rank sends.",
        ranked(
            _ring_sum,
            [(3, (12,)), (3, (20,))],
            names=["12 numbers", "20 numbers"],
            ledger=_ring_sent,
            harness=_ring_case,
            diagnoses=_RING_DIAGNOSES,
            right="No rank has sent as much as two whole tensors, however many ranks there are.",
        ),
        (
            "Draw three ranks in a circle, each with three pieces. Which piece arrives at rank 1 in the first "
            "turn, and where does "
            "the sum of piece 0 come to an end?",
            "In turn k of the first round rank r sends piece r − k and adds to piece r − k − 1, all modulo "
            "ranks. After it, rank r "
            "has finished the piece that it added to last.",
            "Make pass_on(send, receive): dist.isend to the right, dist.recv from the left into an empty tensor of the right "
            "length, wait for the send. Call it ranks − 1 times and add, then ranks − 1 times and replace; torch.cat at the end.",
        ),
        _solution(ring_all_reduce),
        kind="build",
        minutes=20,
        difficulty=3,
        wrong=_RING_SLIPS,
        skeleton=skeleton(ring_all_reduce),
        own=lambda: ring_all_reduce,
    ),
    Exercise(
        "05.3",
        "DDP takes the mean of the ranks' gradients. A rank computes the mean loss over its own rows. By which factor must it "
        "multiply that loss, so that DDP's mean is the gradient of the mean over the whole batch? A function of rows_here, "
        "batch and ranks.",
        function(
            _weight,
            [(3, 5, 2), (2, 5, 2), (4, 8, 2), (1, 7, 4), (2, 7, 4)],
            diagnoses=[
                (
                    lambda rows_here, batch, ranks: 1.0,
                    "without a factor, a row of a short share counts more than others.",
                ),
                (
                    lambda rows_here, batch, ranks: rows_here / batch,
                    "right for a sum over ranks; DDP takes the mean, so that it comes out `ranks` times too small.",
                ),
                (
                    lambda rows_here, batch, ranks: batch / (rows_here * ranks),
                    "the other way round: this is its inverse.",
                ),
                (lambda rows_here, batch, ranks: 1 / ranks, "DDP divides by the number of ranks already."),
                (
                    lambda rows_here, batch, ranks: rows_here / ranks,
                    "the size of the whole batch is missing.",
                ),
            ],
            right="With equal shares it is 1, which is why the slip goes unnoticed until a batch does not divide.",
        ),
        (
            "Write both down: the mean over the batch is the sum over all rows divided by batch.",
            "A rank's mean loss is its sum divided by rows_here. DDP adds the ranks' gradients up and divides by ranks.",
            "factor · (sum / rows_here) / ranks has to be sum / batch. Solve for the factor.",
        ),
        """def answer(rows_here, batch, ranks):
    return rows_here * ranks / batch""",
        wrong=(
            (lambda rows_here, batch, ranks: 1.0, "counts more"),
            (lambda rows_here, batch, ranks: rows_here / batch, "takes the mean"),
            (lambda rows_here, batch, ranks: batch / (rows_here * ranks), "inverse"),
        ),
        minutes=5,
        difficulty=2,
    ),
    Exercise(
        "05.4",
        "Write ddp_backward(model, loss, limit, send): a backward pass after which every rank holds the mean of all ranks' "
        "gradients, sent in buckets that leave while it still goes on. It is run twice in a row on 2 ranks, and "
        "compared with the "
        "gradient in one process; the ledger counts calls and bytes.",
        ranked(
            _ddp_mean,
            [(2, (_LIMIT,)), (2, (100,)), (2, (10**9,))],
            names=["buckets of 1,000 bytes", "buckets of 100 bytes", "a limit that is never reached"],
            ledger=_ddp_sent,
            harness=_ddp_case,
            diagnoses=_DDP_DIAGNOSES,
            right="This is the heart of DistributedDataParallel.",
        ),
        (
            "p.register_post_accumulate_grad_hook(f) calls f(p) during the backward pass, as soon as p.grad is complete.",
            "The hook puts p into a list. When the list has `limit` bytes of gradients, join them in one flat "
            "tensor, send it, keep "
            "what send returns beside the tensor and its parameters, and begin a new list.",
            "After loss.backward(): note how many have left; send what is left in the list; for each bucket wait, divide by the "
            "number of ranks, split the flat tensor by the parameters' sizes and copy the parts into p.grad. Remove the hooks.",
        ),
        _solution(ddp_backward),
        kind="build",
        minutes=25,
        difficulty=4,
        wrong=(*_DDP_SLIPS[:3], _DDP_SLIPS[4]),
        skeleton=skeleton(ddp_backward),
        own=lambda: ddp_backward,
    ),
    Exercise(
        "05.5",
        "Write zero1_step(w, g, state, lr, t): one step of AdamW whose moments lie in slices, one on each rank. "
        "It is run for four "
        "steps on 3 ranks, with a number of weights that they divide and one that they do not, and compared with "
        "torch.optim.AdamW in one process: weights, and the moments that each rank keeps.",
        ranked(
            _zero1_alone,
            [(3, (12,)), (3, (20,))],
            names=["12 weights", "20 weights"],
            ledger=_zero1_sent,
            harness=_zero1_case,
            diagnoses=_ZERO1_DIAGNOSES,
            right="The same bytes as one all-reduce, and a third of the moments on each of three ranks.",
        ),
        (
            "A rank needs the mean gradient of its own slice alone. Which collective leaves just that?",
            "Fill g and w up to ranks · size numbers, size = ceil(n / ranks). After the reduce-scatter divide by "
            "ranks, and step the "
            "slice w[rank · size : (rank + 1) · size] as in notebook 03.",
            "reduce_scatter_tensor(mine, filled g); m and v from state, or zeros; the AdamW step on the slice; "
            "all_gather_into_tensor(whole, slice); return the first n.",
        ),
        _solution(zero1_step),
        kind="build",
        minutes=20,
        difficulty=3,
        wrong=_ZERO1_SLIPS,
        skeleton=skeleton(zero1_step),
        own=lambda: zero1_step,
    ),
    Exercise(
        "05.6",
        "A model of 1e9 parameters is trained in 16 bits on 8 ranks, one micro-batch a step. How many GB (1e9 bytes) does each "
        "rank send per step under plain data parallelism, and how many under ZeRO-3 (gathered again for the backward pass)?",
        several(
            data_parallel=number(
                2 * 7 / 8 * _SIXTEEN_BIT / 1e9,
                diagnoses=[
                    (
                        7 / 8 * _SIXTEEN_BIT / 1e9,
                        "half of it: an all-reduce is a reduce-scatter and an all-gather.",
                    ),
                    (_SIXTEEN_BIT / 1e9, "this is the payload; a rank sends 2(n−1)/n of it."),
                    (
                        2 * _SIXTEEN_BIT / 1e9,
                        "nearly: a rank need not send its own eighth to itself, (n−1)/n.",
                    ),
                    (2 * 7 / 8 * 4, "twice that: this is for 32 bits, 4 bytes each."),
                ],
            ),
            zero3=number(
                3 * 7 / 8 * _SIXTEEN_BIT / 1e9,
                diagnoses=[
                    (
                        2 * 7 / 8 * _SIXTEEN_BIT / 1e9,
                        "one call is missing: gather, gather again, reduce-scatter.",
                    ),
                    (3 * _SIXTEEN_BIT / 1e9, "this is the payload; on the wire (n−1)/n of it."),
                    (7 / 8 * _SIXTEEN_BIT / 1e9, "this is one all-gather alone."),
                    (3 * 7 / 8 * 4, "twice that: this is for 32 bits, 4 bytes each."),
                ],
                right="One and a half times the traffic, for an eighth of the memory.",
            ),
        ),
        (
            "All gradients together are 1e9 · 2 bytes. A ring all-reduce sends 2(n−1)/n of that.",
            "ZeRO-3: parameters are gathered twice, gradients are reduce-scattered once. Each sends (n−1)/n of the whole.",
            "Count the calls of each strategy, two for an all-reduce, and multiply by 7/8 of the bytes of the model.",
        ),
        """full = 1e9 * 2 / 1e9  # GB
answer = {"data_parallel": 2 * 7 / 8 * full, "zero3": 3 * 7 / 8 * full}""",
        wrong=(
            ({"data_parallel": 2.0, "zero3": 5.25}, "payload"),
            ({"data_parallel": 3.5, "zero3": 3.5}, "one call is missing"),
            ({"data_parallel": 7.0, "zero3": 10.5}, "32 bits"),
        ),
        placeholder={"data_parallel": ..., "zero3": ...},
        minutes=5,
        difficulty=2,
    ),
    Exercise(
        "05.7",
        "Write parallel_mlp(x, A, B): gelu(x A) B, of which each rank holds some hidden units, with a backward "
        "pass that is right "
        "as well. It is run on 2 ranks and compared with one process: y, and the gradients of x, A and B.",
        ranked(
            _mlp_alone,
            [(2, ())],
            names=["forward and backward"],
            ledger=lambda ranks, inputs: {"all_reduce": (2, 2 * 4 * 5 * _D)},
            harness=_mlp_case,
            diagnoses=_MLP_DIAGNOSES,
            right="Megatron-LM calls the two functions f and g.",
        ),
        (
            "Forward, the only sum over ranks stands at the end. Backward, which gradient is a sum over ranks?",
            "Two small classes of torch.autograd.Function: one does nothing forward and adds up backward; the "
            "other adds up forward "
            "and does nothing backward.",
            "forward(ctx, x) returns x.view_as(x) where nothing is to be done; where the sum is taken, work on a clone, "
            "dist.all_reduce it and return it. Apply the first to x, then gelu(x @ A) @ B, then the second.",
        ),
        _solution(parallel_mlp),
        kind="build",
        minutes=20,
        difficulty=4,
        wrong=_MLP_SLIPS[:3],
        skeleton=skeleton(parallel_mlp),
        own=lambda: parallel_mlp,
    ),
    Exercise(
        "05.8",
        "In a block whose query, key and value matrices are three modules of their own, each split by columns, how many "
        "all-reduces of activations does tensor parallelism issue per block and step, if nothing else is changed? (One joint "
        "qkv matrix: 4.)",
        number(
            6,
            rel=0.0,
            abs=0.01,
            slips=(),
            diagnoses=[
                (
                    4,
                    "four is the count with one joint matrix; look at the backward pass of three that share an input.",
                ),
                (2, "these are the ones of the forward pass alone."),
                (3, "three in the backward pass of q, k, v, yes; and the MLP, and the forward pass?"),
                (8, "q, k and v bring two more, not four: only the backward pass repeats."),
                (12, "nothing in the forward pass repeats: columns need no sum."),
            ],
            right="Two more, each as large as the others. Adding up before sending (one shared input, prepared once) mends it.",
        ),
        (
            "Forward, columns need no sum; rows do: one after attention, one after the MLP. That does not change.",
            "Backward, the gradient of a column-split matrix's input is a sum over ranks. How many such inputs are there?",
            "Count three things and add: sums of the forward pass, of the MLP's input, and of the inputs of q, k and v, each of "
            "which asks for its own.",
        ),
        "answer = 2 + 1 + 3  # forward; backward of the MLP; backward of q, k and v",
        wrong=((4, "backward pass of three"), (8, "only the backward pass"), (2, "forward pass alone")),
        minutes=5,
        difficulty=3,
    ),
    Exercise(
        "05.9",
        "Write one_f_one_b(stage, stages, microbatches): the order in which a stage works under 1F1B. The orders "
        "of all stages are "
        "played against each other: every step must find what it needs, no stage may wait longer than the formula says, and none "
        "may keep more micro-batches at once than it has to.",
        judged(_judge_order, wanted="a list of steps for each stage, judged by playing them"),
        (
            "How many micro-batches can stage s send on before the gradient of the first one comes back to it? "
            "Begin with the last "
            "stage, for which the answer is one.",
            "Stage s of p begins with p − s forward passes, or with all of them if there are fewer. After that, "
            "backward passes are "
            "taken in the order of the micro-batches.",
            "A loop over the backward passes 0 … m − 1; after backward pass i, append the next forward pass if "
            "there is one left. "
            "Its number is i plus the forward passes at the start.",
        ),
        source(one_f_one_b),
        kind="build",
        minutes=20,
        difficulty=3,
        wrong=_ORDER_SLIPS,
        skeleton=skeleton(one_f_one_b),
        own=lambda: one_f_one_b,
    ),
    Exercise(
        "05.10",
        "The figure shows a pipeline of 4 stages and 6 micro-batches in which three stages follow 1F1B and one "
        "does not. Which stage "
        "is it, as numbered in the figure (1 to 4)? How many micro-batches does it keep at once, at most? How many micro-batches "
        "would it keep under 1F1B?",
        several(
            stage=number(
                3,
                rel=0.0,
                abs=0.01,
                slips=(),
                diagnoses=[
                    (
                        2,
                        "the figure counts stages from 1; or look once more at how many forward passes each begins with.",
                    ),
                    (4, "the last stage takes a backward pass after each forward pass, as it should."),
                    (1, "the first stage begins with four forward passes, as it should."),
                ],
            ),
            kept=number(
                3,
                rel=0.0,
                abs=0.01,
                slips=(),
                diagnoses=[
                    (6, "at no time: by the last forward pass some micro-batches are through."),
                    (4, "this is what the first stage keeps."),
                    (2, "this is what it would keep under 1F1B."),
                ],
            ),
            needed=number(
                2,
                rel=0.0,
                abs=0.01,
                slips=(),
                diagnoses=[
                    (1, "this is what the last stage keeps."),
                    (3, "this is what the stage before it keeps."),
                    (4, "this is what the first stage keeps."),
                ],
                right="The step takes longer, too: the stage waits for a forward pass where a gradient is ready.",
            ),
        ),
        (
            "Count for each stage how many light boxes come before its first dark one.",
            "Under 1F1B stage k of 4, counted from 1, begins with 5 − k forward passes.",
            "A micro-batch is kept from its light box to its dark one. Go along the row of that stage and count: "
            "one more at each "
            "light box, one fewer at each dark one.",
        ),
        'answer = {"stage": 3, "kept": 3, "needed": 2}',
        kind="read",
        wrong=(
            ({"stage": 2, "kept": 3, "needed": 2}, "counts stages from 1"),
            ({"stage": 3, "kept": 6, "needed": 2}, "at no time"),
            ({"stage": 3, "kept": 3, "needed": 1}, "last stage keeps"),
        ),
        placeholder={"stage": ..., "kept": ..., "needed": ...},
        minutes=5,
        difficulty=2,
    ),
    Exercise(
        "05.11",
        "A pipeline has 8 stages and no interleaving. How many micro-batches does a step need at least, so that at most 10 % of "
        "the time is idle?",
        number(
            _stages_busy(8, 0.1),
            rel=0.0,
            abs=0.01,
            slips=(),
            diagnoses=[
                (
                    70,
                    "this solves (p−1)/m = 0.1, the ratio to the ideal time; asked is the share of the whole time.",
                ),
                (72, "p − 1 = 7 stages wait, not 8."),
                (9, "too few by far: with m = 9 the share is 7/16. Solve (p−1)/(m+p−1) for m."),
                (64, "nearly: one micro-batch fewer already leaves exactly a tenth."),
                (80, "this solves 8/m = 0.1; the formula is (p−1)/(m+p−1)."),
            ],
            right="Times a sequence or more, times the data-parallel ranks: pipelines ask for large batches.",
        ),
        (
            "The share of idle time is (p − 1)/(m + p − 1).",
            "Set it to 0.1 and solve for m.",
            "7 idle units are a tenth of the whole; the rest are the micro-batches.",
        ),
        "p = 8\nanswer = (p - 1) / 0.1 - (p - 1)",
        wrong=((70, "ratio to the ideal"), (72, "7 stages wait"), (9, "too few")),
        minutes=5,
        difficulty=2,
    ),
    Exercise(
        "05.12",
        "Lay out Llama 3 70B on 256 A100 GPUs (80 GB each, in servers of 8), 512 sequences a step, so that it "
        "fits and a step takes "
        "at most a tenth longer than with the best layout that the planner knows. Give data, tensor, pipeline, "
        "zero, micro_batch and "
        "recompute.",
        Check(_judge_layout, "a dict with these six keys; recompute is none, selective or full"),
        (
            "The three numbers of ranks multiply to 256. Tensor ranks talk most, so they belong into one server.",
            "What is computed a second time costs up to a third of the step; what is kept costs memory, and micro-batches of one "
            "sequence keep least. Selective recomputation costs little.",
            "Start from a whole server for the tensor ranks and no pipeline, with the optimizer's states in "
            "slices; look at the memory "
            "with sl.costs.planner.estimate, and change one thing at a time.",
        ),
        """answer = {"data": 32, "tensor": 8, "pipeline": 1, "zero": 1, "micro_batch": 1, "recompute": "selective"}""",
        kind="design",
        minutes=10,
        difficulty=3,
        wrong=(
            (
                dict(data=256, tensor=1, pipeline=1, zero=0, micro_batch=1, recompute="full"),
                "parameters, gradients and moments",
            ),
            (dict(data=32, tensor=8, pipeline=1, zero=1, micro_batch=8, recompute="none"), "activations"),
            (dict(data=256, tensor=1, pipeline=1, zero=3, micro_batch=1, recompute="full"), "computed twice"),
            (
                dict(data=16, tensor=8, pipeline=1, zero=1, micro_batch=1, recompute="selective"),
                "is not 16 data",
            ),
        ),
        placeholder={
            "data": ...,
            "tensor": ...,
            "pipeline": ...,
            "zero": ...,
            "micro_batch": ...,
            "recompute": ...,
        },
    ),
)
