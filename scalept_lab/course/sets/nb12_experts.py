"""Exercises of the second half of notebook 12: mixture of experts and expert parallelism. The first half is in `nb12`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from scalept_lab.course.answers import build, choice, number, several
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.ranks import ranked
from scalept_lab.course.sets.pieces import skeleton, slips, source

if TYPE_CHECKING:
    from torch import Tensor

FIRST = 7  # number of the first exercise here

# --- the pieces that the learner writes -----------------------------------------------------------------------------------


def route(
    logits: Tensor, k: int, factor: float | None = None, renormalise: bool = True, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Which experts each token goes to, with which weights, and to which place in their queues.

    logits       (T, E), the router's
    k            experts per token
    factor       capacity factor: an expert has ceil(factor · k · T / E) places; None: as many as come
    renormalise  whether the weights of a token's k experts add up to 1
    bias         (E,), added to the probabilities for the choice of experts, not for the weights

    Returns three tensors (T, k): expert, the best first; weight, its probability (softmax over all E, then renormalised or not);
    place, from 0 on, or -1 where the queue is full and the choice is dropped. All first choices queue up before any second
    choice, and within a choice the tokens come in order. A dropped choice keeps its weight.
    """
    import torch.nn.functional as F

    T, E = logits.shape
    probability = logits.softmax(-1)
    score = probability if bias is None else probability + bias
    expert = score.topk(k, dim=-1).indices
    weight = probability.gather(-1, expert)
    if renormalise:
        weight = weight / weight.sum(-1, keepdim=True)
    queue = expert.T.flatten()
    came = F.one_hot(queue, E).cumsum(0)
    place = came.gather(-1, queue[:, None]).view(k, T).T - 1
    if factor is not None:
        places = math.ceil(factor * k * T / E)
        place = place.masked_fill(place >= places, -1)
    return expert, weight, place


def balance(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The balance loss of a router, and its gradient, without autograd.

    logits  (T, E), the router's; each token goes to the k experts with the largest
    Returns (loss, gradient): loss = E · Σ_e f_e · P_e, with f_e the share of all T · k choices that fell on expert e and P_e the
    mean over tokens of its probability (softmax over all E); gradient (T, E), d loss / d logits. The choices count as constant.
    """
    import torch

    T, E = logits.shape
    p = logits.softmax(-1)
    chosen = p.topk(k, dim=-1).indices
    f = torch.bincount(chosen.flatten(), minlength=E) / (T * k)
    P = p.mean(0)
    loss = E * (f * P).sum()
    pull = E * f / T
    gradient = p * (pull - (p * pull).sum(-1, keepdim=True))
    return loss, gradient


def expert_parallel(x: Tensor, expert: Tensor, weight: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """A layer of experts that is spread over the ranks: for this rank's tokens, the weighted sum over their experts.

    x       (T, D), this rank's tokens; T may differ between ranks
    expert  (T, k), which of all E experts each token goes to; weight (T, k)
    up      (E/n, D, F) and down (E/n, F, D), the experts of this rank: rank 0 has the first E/n, and so on
    Returns (T, D): Σ weight · gelu(x up) down, with the "tanh" form of gelu. Differentiable in x, weight, up and down.
    """
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
    from torch.distributed.nn.functional import all_to_all_single

    tokens, chosen = torch.arange(len(x)).repeat_interleave(expert.shape[1]), expert.flatten()
    ranks, mine = dist.get_world_size(), len(up)
    order = chosen.argsort(stable=True)
    leaving = torch.bincount(chosen, minlength=ranks * mine)
    coming = torch.empty_like(leaving)
    dist.all_to_all_single(coming, leaving)
    send = leaving.view(ranks, mine).sum(1).tolist()
    receive = coming.view(ranks, mine).sum(1).tolist()
    rows = x[tokens[order]]
    arrived = all_to_all_single(rows.new_empty(sum(receive), x.shape[1]), rows, receive, send)
    which = torch.arange(mine).repeat(ranks).repeat_interleave(coming)
    done = torch.zeros_like(arrived)
    for e in range(mine):
        at = (which == e).nonzero()[:, 0]
        done = done.index_add(0, at, F.gelu(arrived[at] @ up[e], approximate="tanh") @ down[e])
    back = all_to_all_single(torch.empty_like(rows), done, send, receive)
    return torch.zeros_like(x).index_add(0, tokens[order], weight.flatten()[order, None] * back)


def _own_route() -> Any:
    from scalept_lab.model import experts

    return experts.route


def _own_expert_parallel() -> Any:
    from scalept_lab.parallel import experts

    return experts.expert_parallel


def _kits_route(*arguments: Any) -> Any:
    return _own_route()(*arguments)


# --- the router -----------------------------------------------------------------------------------------------------------


def _logits(tokens: int, experts: int, seed: int = 0) -> Tensor:
    """A router that likes the first experts better, as one does that nobody balances."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    liked = torch.linspace(1.5, 0.0, experts, dtype=torch.float64)
    return torch.randn(tokens, experts, generator=generator, dtype=torch.float64) + liked


def _route_cases() -> list[tuple[Any, ...]]:
    import torch

    bias = torch.tensor([-0.6, -0.2, 0.1, 0.4], dtype=torch.float64)
    return [
        (_logits(12, 4), 2, None, True, None),
        (_logits(12, 4, 1), 2, 1.0, True, None),
        (_logits(9, 4, 2), 1, 1.0, False, None),
        (_logits(12, 4, 3), 2, 1.25, False, bias),
        (_logits(3, 8, 4), 2, 1.0, True, None),
    ]


_QUEUE = """    queue = expert.T.flatten()
    came = F.one_hot(queue, E).cumsum(0)
    place = came.gather(-1, queue[:, None]).view(k, T).T - 1
"""
_ROUTE_DIAGNOSES, _ROUTE_SLIPS = slips(
    route,
    ("math.ceil(", "math.floor(", "rounded up", "an expert has a place too few where factor · k · T / E is no whole number: "
     "it is "
     "rounded up."),
    ("factor * k * T / E", "factor * T / E", "k choices", "there are too few places: every token makes k choices, and all of "
     "them queue up."),
    ("place >= places", "place > places", "one too many", "an expert takes one too many: places are counted from 0, so that "
     "the "
     "last one has the number of places less one."),
    ("weight = probability.gather(-1, expert)", "weight = logits.gather(-1, expert).softmax(-1)", "over all E",
     "the weights of a token add up to 1 also where they are not renormalised: the softmax goes over all E, before the "
     "choice. Over "
     "the chosen alone it is the renormalised one."),
    ("if renormalise:", "if False:", "add up to 1", "the weights of a token do not add up to 1 where that is asked for: divide "
     "them by their sum."),
    (_QUEUE, _QUEUE.replace("expert.T.flatten()", "expert.flatten()").replace("view(k, T).T", "view(T, k)"), "first choices",
     "the queue is in the wrong order: all first choices come before any second choice, and then the tokens in order. Yours "
     "serves one token after the other, so that second choices take places away from first ones."),
    ("weight = probability.gather", "weight = score.gather", "in the choice alone", "the bias gets into the weights: it "
     "counts in "
     "the choice alone, and the weights are the router's probabilities."),
    ("probability if bias is None else probability + bias", "probability", "bias is left out", "the bias is left out of the "
     "choice."),
    (".view(k, T).T - 1", ".view(k, T).T", "from 0", "places are counted from 0."),
)  # fmt: skip

# --- the balance loss -----------------------------------------------------------------------------------------------------


def _by_autograd(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The oracle: the loss one expert at a time, its gradient from autograd."""
    import torch

    leaf = logits.clone().requires_grad_()
    p = leaf.softmax(-1)
    chosen = leaf.detach().topk(k).indices
    E, loss = leaf.shape[1], torch.zeros((), dtype=leaf.dtype)
    for e in range(E):
        loss = loss + E * (chosen == e).double().mean() * p[:, e].mean()
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


def _balance_cases() -> list[tuple[Any, ...]]:
    import torch

    even = torch.zeros(6, 3, dtype=torch.float64)
    return [(_logits(12, 4), 1), (_logits(10, 4, 1), 2), (_logits(16, 8, 2), 3), (even, 3)]


_BALANCE_DIAGNOSES, _BALANCE_SLIPS = slips(
    balance,
    ("/ (T * k)", "/ T", "add up to 1", "f is a share of all T · k choices: its E numbers add up to 1."),
    ("loss = E * (f", "loss = (f", "E is missing", "the factor E is missing from the loss: it makes the loss of an even load 1 "
     "for any number of experts."),
    ("pull - (p * pull).sum(-1, keepdim=True)", "pull", "all the others", "the gradient lacks half of the softmax's: raising "
     "one logit lowers the probabilities of all the others."),
    ("pull = E * f / T", "pull = E * f", "mean over T", "the gradient is T times too large: P is a mean over T tokens, so that "
     "one token moves it by 1/T."),
    ("chosen = p.topk(k, dim=-1).indices", "chosen = p.topk(1, dim=-1).indices.expand(T, k)", "all k choices",
     "f counts the first choice of each token alone: it counts all k choices."),
    ("f = torch.bincount(chosen.flatten(), minlength=E) / (T * k)", "f = p.mean(0)", "choices that were made",
     "f is not the mean probability but the share of choices that were made: with the mean in both places the loss is "
     "another."),
)  # fmt: skip

# --- expert parallelism ---------------------------------------------------------------------------------------------------

_E, _D, _F, _K = 4, 6, 5, 2
_TOKENS = (7, 5, 8, 4)  # ranks need not have equally many


def _layer() -> tuple[Tensor, Tensor]:
    import torch

    generator = torch.Generator().manual_seed(0)
    up = torch.randn(_E, _D, _F, generator=generator, dtype=torch.float64)
    return up, torch.randn(_E, _F, _D, generator=generator, dtype=torch.float64)


def _inputs(rank: int, ranks: int, everything_to: int | None = None) -> tuple[Tensor, ...]:
    """What a rank has: its tokens, where they go, and its experts."""
    import torch

    generator = torch.Generator().manual_seed(1 + rank)
    x = torch.randn(_TOKENS[rank], _D, generator=generator, dtype=torch.float64)
    expert, weight, _ = route(_logits(len(x), _E, 5 + rank), _K)
    if everything_to is not None:
        expert = torch.tensor([0, 1]).expand(len(x), _K) + everything_to * _E // ranks
    mine = slice(rank * _E // ranks, (rank + 1) * _E // ranks)
    up, down = _layer()
    return x, expert, weight, up[mine], down[mine]


def _all_to_the_first(rank: int, ranks: int) -> tuple[Tensor, ...]:
    return _inputs(rank, ranks, everything_to=0)


def _with_gradients(
    layer: Any, x: Tensor, expert: Tensor, weight: Tensor, up: Tensor, down: Tensor
) -> dict[str, Any]:
    """What the layer returns, and the gradients of Σ y² for all that it is made from."""
    import torch

    leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, up, down)]
    y = layer(leaves[0], expert, *leaves[1:])
    (y**2).sum().backward()
    gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    return {"y": y, **dict(zip(("of x", "of weight", "of up", "of down"), gradients, strict=True))}


def _in_one_process(ranks: int, inputs: Any) -> list[dict[str, Any]]:
    """The oracle: all tokens through all experts, each weighted with what its tokens gave it, which is mostly 0."""
    import torch
    import torch.nn.functional as F

    x, expert, weight, up, down = zip(*(inputs(rank, ranks) for rank in range(ranks)), strict=True)
    chosen = torch.cat(expert)

    def layer(x: Tensor, _: Tensor, weight: Tensor, up: Tensor, down: Tensor) -> Tensor:
        given = (weight[:, :, None] * F.one_hot(chosen, _E)).sum(1)
        each = F.gelu(torch.einsum("td,edf->tef", x, up), approximate="tanh")
        return torch.einsum("te,tef,efd->td", given, each, down)

    both = _with_gradients(layer, torch.cat(x), chosen, torch.cat(weight), torch.cat(up), torch.cat(down))
    tokens, experts = [len(part) for part in x], [len(part) for part in up]
    split = {
        name: part.split(experts if name in ("of up", "of down") else tokens) for name, part in both.items()
    }
    return [{name: parts[rank] for name, parts in split.items()} for rank in range(ranks)]


def _sent(ranks: int, inputs: Any) -> list[dict[str, tuple[int, int]]]:
    """Counts once; rows there and results back, and the gradients of both: what leaves a rank, then what had come to it."""
    import torch

    experts = [inputs(rank, ranks)[1].flatten() for rank in range(ranks)]
    leaving = [len(chosen) for chosen in experts]
    coming = [int((torch.cat(experts) * ranks // _E == rank).sum()) for rank in range(ranks)]
    return [
        {"all_to_all": (5, 8 * _E + 8 * _D * 2 * (out + into))}
        for out, into in zip(leaving, coming, strict=True)
    ]


_PARALLEL_DIAGNOSES, _PARALLEL_SLIPS = slips(
    expert_parallel,
    ("weight.flatten()[order, None] * back", "back", "weights are missing", "the weights are missing: a token's result is the "
     "weighted sum over its experts."),
    ("weight.flatten()[order, None]", "weight.flatten()[:, None]", "other choices", "rows meet the weights of other "
     "choices: they "
     "were sorted before they left, and the weights were not."),
    ("arange(mine).repeat(ranks).repeat_interleave(coming)",
     "arange(mine).repeat_interleave(coming.view(ranks, mine).sum(0))", "rank by rank", "rows go to the wrong expert of the "
     "right "
     "rank: they arrive rank by rank, and each rank's are sorted by expert; they are not sorted by expert over all ranks."),
    ("done, send, receive)", "done.detach(), send, receive)", "backward pass", "the forward pass is right, and the "
     "gradients do "
     "not get through: in the backward pass they have to go the other way, through the same two exchanges of rows."),
)  # fmt: skip

# --- what it costs --------------------------------------------------------------------------------------------------------

_MIXTRAL = dict(depth=32, width=4096, hidden=14336, experts=8, active=2)
_EXPERT = 3 * 4096 * 14336  # gate, up and down
_HELD, _PASSED = 32 * 8 * _EXPERT, 32 * 2 * _EXPERT
_SENT = 32 * 2 * 2 * 4096 * 2  # layers, there and back, experts, width, bytes

EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        f"12.{FIRST}",
        "Write route(logits, k, factor, renormalise, bias): which experts each token goes to, with which weights, and which "
        "place "
        "it gets in each expert's queue. An expert has ceil(factor · k · T / E) places; a choice that comes later is dropped.",
        build(
            _kits_route,
            _route_cases,
            names=["two experts", "full queues", "one expert, weights as they are", "with a bias", "more experts than tokens"],
            diagnoses=_ROUTE_DIAGNOSES,
            right="The kit's layer uses the same function.",
        ),
        (
            "Four steps: probabilities, the choice, the weights of what was chosen, the places. The bias belongs to one of "
            "them.",
            "For the places, write all choices into one long list in the order in which they queue up. What is the place of an "
            "entry, if you know how often its expert stands before it?",
            "torch.nn.functional.one_hot of that list, summed up along it (cumsum), says how often each expert has come so "
            "far. "
            "Take the entry's own column, and bring the list back into the shape (T, k).",
        ),
        source(route, "import math\n\nfrom torch import Tensor\n\n\n"),
        kind="build",
        minutes=20,
        difficulty=4,
        wrong=_ROUTE_SLIPS,
        skeleton=skeleton(route),
        own=_own_route,
    ),
    Exercise(
        f"12.{FIRST + 1}",
        "A colleague sends each token to one expert (k = 1) and renormalises its weight. The loss falls, but the router's "
        "matrix gets no gradient from it at all. What is the reason? Choose among 'choice' (the choice of the largest has no "
        "gradient), 'weight' (the weight does not depend on the logits any more), 'rate' (the router's learning rate is too "
        "low) "
        "and 'load' (no balance loss was added).",
        choice(
            "weight",
            {
                "weight": "",
                "choice": "it has none for k = 2 either, and there the router learns: its gradient comes another way.",
                "rate": "a low rate makes steps small; a gradient of zero comes from somewhere else.",
                "load": "a balance loss would bring a gradient of its own; the question is where that of the text's loss is "
                "lost.",
            },
            right="One number divided by itself is 1. That is why layers with one expert per token keep the probability as "
            "it is.",
        ),
        (
            "Write down the output of the layer for one token, with k = 1. Which factor in it comes from the router?",
            "Then write this factor out with its renormalisation.",
            "Ask for each candidate whether it would also stop a router with k = 2, which learns.",
        ),
        'answer = "weight"',
        kind="debug",
        minutes=5,
        difficulty=3,
        wrong=(
            ("choice", "for k = 2 either"),
            ("rate", "a gradient of zero"),
            ("load", "of the text's loss"),
        ),
    ),
    Exercise(
        f"12.{FIRST + 2}",
        "Write balance(logits, k): the balance loss of a router and its gradient with respect to the logits, by hand, without "
        "autograd. Which experts were chosen counts as constant.",
        build(
            _by_autograd,
            _balance_cases,
            names=["one expert", "two experts", "three of eight", "all of three"],
            rel=1e-5,
            abs=1e-8,
            diagnoses=_BALANCE_DIAGNOSES,
            right="Autograd says the same.",
        ),
        (
            "First the loss: f from counting choices, P from averaging probabilities. Both are vectors of E numbers.",
            "The loss depends on a logit through P alone. By how much does it change if one probability of one token changes? "
            "That is the same for every token.",
            "Then through the softmax: d p_j / d logit_i = p_i (1[i = j] − p_j). Multiplied with a vector, this leaves p times "
            "(the vector minus its mean under p).",
        ),
        source(balance, "from torch import Tensor\n\n\n"),
        kind="build",
        minutes=15,
        difficulty=4,
        wrong=_BALANCE_SLIPS,
        skeleton=skeleton(balance),
        own=lambda: balance,
    ),
    Exercise(
        f"12.{FIRST + 3}",
        "Write expert_parallel(x, expert, weight, up, down): a layer whose experts are spread over the ranks. Three "
        "exchanges, in "
        "this order: how many rows go to each of the E experts (one integer for each), the rows themselves, the results "
        "back. It "
        "has to equal one process that holds all experts, in what it returns and in all gradients.",
        ranked(
            _in_one_process,
            [(2, _inputs), (2, _all_to_the_first)],
            names=["2 ranks", "2 ranks, all to the first"],
            rel=1e-6,
            abs=1e-9,
            ledger=_sent,
            harness=_with_gradients,
            diagnoses=_PARALLEL_DIAGNOSES,
            right="Equal to one process, forward and backward.",
        ),
        (
            "Sort all choices by expert before anything leaves: then what goes to one rank lies in one piece. Keep the order, "
            "since weights and results have to be brought back by it.",
            "dist.all_to_all_single(output, input) exchanges the counts. Laid out as (ranks, experts of a rank), what came "
            "says "
            "how many rows each rank sends you, and for which of your experts; summed over experts, it gives the sizes that "
            "the "
            "exchange of rows needs.",
            "all_to_all_single of torch.distributed.nn.functional takes (output, input, sizes received, sizes sent) and has a "
            "backward pass; on the way back the two lists of sizes change places. Add the results up with index_add, which "
            "has one, "
            "too.",
        ),
        source(expert_parallel, "from torch import Tensor\n\n\n"),
        kind="build",
        minutes=30,
        difficulty=5,
        wrong=_PARALLEL_SLIPS,
        skeleton=skeleton(expert_parallel),
        own=_own_expert_parallel,
    ),
    Exercise(
        f"12.{FIRST + 4}",
        "Mixtral 8x7B has 32 layers of width 4,096. In each, a token passes 2 of 8 experts, and an expert is a gated MLP "
        "(three "
        "matrices) with 14,336 hidden units. How many parameters do all experts hold (experts), how many of these does a token "
        "pass (passed), and how many bytes does a token send in a forward pass if every expert lies on another rank, there and "
        "back, in 16 bits, over all layers (bytes)?",
        several(
            experts=number(
                _HELD,
                diagnoses=((_HELD * 2 / 3, "a gated MLP has three matrices."), (_HELD / 32, "this is one layer."),
                           (_HELD / 8, "this is one expert in each layer."), (_PASSED, "this is what a token passes.")),
            ),
            passed=number(
                _PASSED,
                diagnoses=((_HELD, "a token passes 2 of the 8 experts."), (_PASSED / 2, "a token passes two experts."),
                           (_PASSED * 2 / 3, "a gated MLP has three matrices."), (_PASSED / 32, "this is one layer.")),
            ),
            bytes=number(
                _SENT,
                diagnoses=((_SENT / 2, "half of it: a row goes there and comes back, for each of two experts, 2 bytes an "
                "element."),
                           (_SENT / 4, "a quarter of it: count both ways, both experts, and 2 bytes an element."),
                           (_SENT * 2, "twice too much: 16 bits are 2 bytes, and this is the forward pass alone."),
                           (_SENT / 32, "this is one layer."),
                           (_SENT * 8 / 2, "a token travels to the experts that it passes, not to all 8.")),
            ),
        ),
        (
            "Parameters of one expert first: three matrices, each as many as width times hidden units.",
            "What a token passes differs from what is held by one factor alone.",
            "A message holds one row of the width. Count messages: layers, ways, experts.",
        ),
        """expert = 3 * 4096 * 14336
answer = {"experts": 32 * 8 * expert, "passed": 32 * 2 * expert, "bytes": 32 * 2 * 2 * 4096 * 2}""",
        kind="compute",
        minutes=8,
        difficulty=2,
        wrong=(
            ({"experts": _HELD * 2 / 3, "passed": _PASSED, "bytes": _SENT}, "experts: a gated MLP"),
            ({"experts": _HELD, "passed": _PASSED / 2, "bytes": _SENT}, "passed: a token passes two"),
            ({"experts": _HELD, "passed": _PASSED, "bytes": _SENT / 2}, "bytes: half of it"),
            ({"experts": _HELD, "passed": _PASSED, "bytes": _SENT / 32}, "bytes: this is one layer"),
        ),
        placeholder={"experts": ..., "passed": ..., "bytes": ...},
    ),
)  # fmt: skip
