"""Exercises of notebook 14: eight broken runs. What they died of is in `nb14_diagnoses`; here they are mended."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from scalept_lab.course.answers import build, choice, number, several
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.ranks import ranked
from scalept_lab.course.sets.nb14_diagnoses import DIAGNOSES
from scalept_lab.course.sets.pieces import NUMPY, skeleton, slips, source

if TYPE_CHECKING:
    from torch import Tensor

# --- the pieces that the learner writes -----------------------------------------------------------------------------------


def train_share(w: Tensor, batches: list, rate: float) -> Tensor:
    """One rank's part of data-parallel training: y ≈ x · w by gradient descent, equal to one process that has all rows.

    w        (K,), the same on every rank; it is not changed
    batches  this rank's parts (x, y), x (R, K) and y (R,). R may differ and may be 0, and ranks may have unequally many parts
    rate     the learning rate

    The first call tells all ranks how many turns there are: one all_reduce of one number. Then each turn makes ONE all_reduce, of
    K + 1 numbers: in turn t all ranks bring their t-th part, or nothing. After each turn w falls by rate · the gradient of the
    mean of (x · w − y)² over ALL rows of the turn; a turn without a row changes nothing. Returns (K,).
    """
    import torch
    import torch.distributed as dist

    turns = torch.tensor([len(batches)])
    dist.all_reduce(turns, op=dist.ReduceOp.MAX)
    w = w.clone()
    for turn in range(int(turns)):
        both = torch.zeros(len(w) + 1, dtype=w.dtype)
        if turn < len(batches):
            x, y = batches[turn]
            both[:-1] = 2 * (x.T @ (x @ w - y))
            both[-1] = len(x)
        dist.all_reduce(both)
        w -= rate * both[:-1] / both[-1].clamp(min=1)
    return w


def choose_scale(gradients: np.ndarray, lost: float) -> float:
    """The factor for the loss that keeps gradients alive in fp16: a power of two, 1, 2, 4, …

    gradients  in full precision, without a factor; any shape. Exact zeros and values that are not finite are left out
    lost       the share of them that may become zero

    Returns the smallest power of two, from 1 on, with which at most the share `lost` becomes zero when it is cast to
    np.float16. If a value becomes infinite before that: the largest power with which none does, and 1 at least.
    """
    size = np.abs(gradients[np.isfinite(gradients) & (gradients != 0)])
    scale = 1.0
    if not size.size:
        return scale
    while True:
        with np.errstate(over="ignore"):
            cast = (size * scale).astype(np.float16)
        if np.isinf(cast).any():
            return max(1.0, scale / 2)
        if (cast == 0).mean() <= lost:
            return scale
        scale *= 2


def leaked(train: list, heldout: list, size: int, share: float) -> list:
    """Which held-out documents also stand in the training text. A run is any `size` tokens that follow each other in a document.

    train    documents, integer arrays of any length; heldout the same
    share    a held-out document is reported if at least this share of its runs, every place counted, stands in one of `train`

    Returns the places of the reported documents in `heldout`, in order. A held-out document without a run is reported only if
    it equals a training document.
    """

    def runs(document: Any) -> list:
        row = [int(token) for token in document]
        return [tuple(row[at : at + size]) for at in range(len(row) - size + 1)]

    known = {run for document in train for run in runs(document)}
    whole = {tuple(int(token) for token in document) for document in train}
    found = []
    for place, document in enumerate(heldout):
        mine = runs(document)
        shared = sum(run in known for run in mine)
        if not mine and tuple(int(token) for token in document) in whole:
            found.append(place)
        if mine and shared >= share * len(mine):
            found.append(place)
    return found


def rows_at(step: int, windows: int, batch: int, seed: int) -> np.ndarray:
    """Which windows a step reads, worked out from the step alone: after a kill there is nothing to remember but the step.

    All epochs stand in one line: epoch e is np.random.default_rng([seed, e]).permutation(windows). Step k (from 0 on) takes the
    places k · batch to (k + 1) · batch − 1 of that line, so that a batch may begin in one epoch and end in a later one.

    Returns (batch,) integers below `windows`. Work must not grow with the step.
    """
    found: list = []
    while len(found) < batch:
        epoch, at = divmod(step * batch + len(found), windows)
        order = np.random.default_rng([seed, epoch]).permutation(windows)
        found.extend(order[at : at + batch - len(found)])
    return np.array(found)


def one_unit(rows: list) -> list:
    """Rows of several loggers in one unit: (N, L), N without embeddings and L in nats per token.

    rows  dicts: "loss"; "unit", "nats" or "bits"; "per", "token" or "byte"; "bytes_per_token"; "params"; "counted", "total" or
          "non-embedding"; "vocab" and "width". A model has an input embedding and an output layer of vocab · width numbers each,
          and "total" counts both

    Returns a list of pairs of floats, one for each row, in order.
    """
    found = []
    for row in rows:
        L, N = row["loss"], row["params"]
        if row["unit"] == "bits":
            L *= math.log(2)
        if row["per"] == "byte":
            L *= row["bytes_per_token"]
        if row["counted"] == "total":
            N -= 2 * row["vocab"] * row["width"]
        found.append((float(N), float(L)))
    return found


# --- 1: the deadlock ------------------------------------------------------------------------------------------------------

_K, _RATE = 3, 0.05


def _parts(rank: int, ranks: int, sizes: Any) -> list:
    import torch

    generator = torch.Generator().manual_seed(7 + rank)
    return [
        (
            torch.randn(size, _K, generator=generator, dtype=torch.float64),
            torch.randn(size, generator=generator, dtype=torch.float64),
        )
        for size in sizes[rank]
    ]


def _start() -> Tensor:
    import torch

    return torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)


_EVEN, _UNEVEN, _SHORT = ((4, 4), (4, 4)), ((4, 5, 1), (4, 3, 0)), ((6, 2), (3, 1, 2, 0))


def _even(rank: int, ranks: int) -> tuple[Any, ...]:
    return _start(), _parts(rank, ranks, _EVEN), _RATE


def _uneven(rank: int, ranks: int) -> tuple[Any, ...]:
    return _start(), _parts(rank, ranks, _UNEVEN), _RATE


def _short(rank: int, ranks: int) -> tuple[Any, ...]:
    return _start(), _parts(rank, ranks, _SHORT), _RATE


def _in_one_process(ranks: int, inputs: Any) -> list:
    """The oracle: all rows of a turn in one batch, and torch's own gradient."""
    import torch

    w, _, rate = inputs(0, ranks)
    parts = [inputs(rank, ranks)[1] for rank in range(ranks)]
    for turn in range(max(map(len, parts))):
        mine = [part[turn] for part in parts if turn < len(part)]
        x, y = torch.cat([x for x, _ in mine]), torch.cat([y for _, y in mine])
        if len(x):
            leaf = w.clone().requires_grad_()
            ((x @ leaf - y) ** 2).mean().backward()
            assert leaf.grad is not None
            w = w - rate * leaf.grad
    return [w] * ranks


def _sent(ranks: int, inputs: Any) -> dict[str, tuple[int, int]]:
    turns = max(len(inputs(rank, ranks)[1]) for rank in range(ranks))
    return {"one number": (1, 8), "all_reduce": (turns, 8 * (_K + 1) * turns)}


_SHARE_DIAGNOSES, _SHARE_SLIPS = slips(
    train_share,
    ("both[:-1] = 2 * (x.T @ (x @ w - y))\n            both[-1] = len(x)",
     "both[:-1] = 2 * (x.T @ (x @ w - y)) / max(1, len(x))\n            both[-1] = 1", "by its rows",
     "you average the means of the ranks: a rank with one row then counts as much as one with five. Each part counts by its "
     "rows."),
    ("/ both[-1].clamp(min=1)", "", "mean over", "the gradient is that of the sum over the rows: the mean over all rows of the "
     "turn is asked for."),
    ("2 * (x.T", "(x.T", "factor of 2", "the gradient of a square has a factor of 2."),
    ("ReduceOp.MAX", "ReduceOp.MIN", "the shortest", "you stop with the rank that has the shortest list, and the rows that "
        "others "
     "still have are lost."),
)  # fmt: skip

# --- 3: fp16 --------------------------------------------------------------------------------------------------------------


def _scale_cases() -> list[tuple[Any, ...]]:
    generator = np.random.default_rng(0)
    small = 10.0 ** generator.normal(-8, 1, 400) * generator.choice([-1, 1], 400)
    return [
        (small, 0.01),
        (np.concatenate([small, np.zeros(600)]), 0.01),
        (np.concatenate([small, [3.0, np.nan, np.inf]]), 0.0001),
        (np.full((2, 3), 1e-3), 0.0),
        (np.zeros(4), 0.1),
        (np.array([5e4, 1e-9]), 0.0),
    ]


_SCALE_DIAGNOSES, _SCALE_SLIPS = slips(
    choose_scale,
    (" & (gradients != 0)", "", "were zero before", "gradients that were zero before the cast count as lost in yours: no factor "
        "can "
     "bring them back, so leave them out."),
    ("(cast == 0)", "(cast < 2.0**-14)", "subnormal", "yours counts small numbers as lost that fp16 can still hold, with fewer "
     "digits (subnormal ones): only those that become zero are lost."),
    ("        if np.isinf(cast).any():\n            return max(1.0, scale / 2)\n", "        if scale > 1e9:\n            return "
        "scale\n",
     "infinite", "with your factor a large gradient becomes infinite: stop before that, even if more is lost than you want."),
    ("max(1.0, scale / 2)", "scale", "one step back", "with your factor a gradient is infinite already: the one before is the "
     "largest that is safe, one step back."),
    ("            return scale\n        scale *= 2", "            return 1 / scale\n        scale *= 2", "to multiply",
     "this is the factor for the way back: asked for is the one to multiply the loss by."),
)  # fmt: skip

# --- 4: the leak ----------------------------------------------------------------------------------------------------------


def _leak_cases() -> list[tuple[Any, ...]]:
    generator = np.random.default_rng(3)
    train = [generator.integers(0, 50, n) for n in (60, 40, 80, 3)]
    clean = [generator.integers(50, 90, 30), generator.integers(0, 50, 30)]
    half = np.concatenate([train[1][5:20], generator.integers(50, 90, 15)])
    across = np.concatenate(
        [train[0][-6:], train[1][:6]]
    )  # the end of one document and the beginning of the next
    often = np.concatenate([np.full(20, 7), train[2][:10]])
    return [
        (train, [*clean, train[2][10:50], half], 8, 0.9),
        (train, [*clean, train[2][10:50], half], 8, 0.3),
        (train, [across, clean[0]], 8, 0.1),
        ([*train, np.array([7] * 9)], [often, clean[1]], 5, 0.75),
        (train, [train[3], train[3][:2], train[0][3:11]], 8, 0.5),
        ([train[1][5:13]], [half, train[1]], 8, 0.3),
    ]


def _glued(train: list, heldout: list, size: int, share: float) -> list:
    """Runs that go from one document into the next."""
    return leaked([np.concatenate(train)], heldout, size, share)


def _copies(train: list, heldout: list, size: int, share: float) -> list:
    """Whole documents alone."""
    return [
        place for place, held in enumerate(heldout) if any(np.array_equal(held, known) for known in train)
    ]


def _turned(train: list, heldout: list, size: int, share: float) -> list:
    """A share of the training runs."""
    return [
        place for place, held in enumerate(heldout) if leaked([held], [np.concatenate(train)], size, share)
    ]


_LEAK_MORE: list = [
    (
        _copies,
        "you look for whole documents: a leak is often a part of one, or a document with a changed line. Compare runs.",
    ),
    (_glued, "yours finds runs that begin in one training document and end in the next: nobody wrote those."),
    (_turned, "it is the share of the held-out document's runs that counts, not of the training text's."),
]
_LEAK_DIAGNOSES, _LEAK_SLIPS = slips(
    leaked,
    ("if mine and shared >= share * len(mine)", "if mine and shared > 0", "one run that is shared", "you report a document for "
        "one "
     "run that is shared: phrases that everybody writes would do. Compare the share."),
    ("mine = runs(document)", "mine = list(set(runs(document)))", "every place", "you count each different run once: every "
        "place of "
     "the document counts, so that a run that comes often counts often."),
    ("len(row) - size + 1", "len(row) - size", "last run", "the last run of a document is missing."),
)  # fmt: skip

# --- 7: the loader --------------------------------------------------------------------------------------------------------


def _row_cases() -> list[tuple[int, int, int, int]]:
    return [(0, 10, 4, 0), (1, 10, 4, 0), (2, 10, 4, 0), (7, 10, 4, 5), (3, 3, 8, 1), (10**9, 1000, 16, 2)]


def _fresh_epoch(step: int, windows: int, batch: int, seed: int) -> np.ndarray:
    """A batch does not go on into the next epoch."""
    a_pass = windows // batch or 1
    order = np.random.default_rng([seed, step // a_pass]).permutation(windows)
    return order[step % a_pass * batch :][:batch]


def _the_kits_rows(step: int, windows: int, batch: int, seed: int) -> np.ndarray:
    """The oracle: the line of all epochs, as far as it is needed, built from the front."""
    first = step * batch
    epochs = range(first // windows, (first + batch) // windows + 1)
    line = np.concatenate([np.random.default_rng([seed, epoch]).permutation(windows) for epoch in epochs])
    return line[first - epochs.start * windows :][:batch]


_ROWS_MORE: list = [
    (
        _fresh_epoch,
        "your batches end with the epoch, so that the windows left over are dropped: the line of epochs has no gaps.",
    )
]
_ROWS_DIAGNOSES, _ROWS_SLIPS = slips(
    rows_at,
    ("default_rng([seed, epoch])", "default_rng(seed)", "same order", "every epoch has the same order in yours: the seed of an "
     "epoch is [seed, epoch]."),
    ("default_rng([seed, epoch])", "default_rng(seed + epoch)", "[seed, epoch]", "the seed of an epoch is [seed, epoch]: with a "
        "sum, "
     "epoch 1 of seed 0 is epoch 0 of seed 1."),
    ("divmod(step * batch + len(found), windows)", "divmod(step + len(found), windows)", "by a whole batch",
     "from one step to the next you move on by one window, not by a whole batch."),
)  # fmt: skip

# --- 8: the units ---------------------------------------------------------------------------------------------------------


def _unit_rows(*kinds: tuple[str, str, str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for i, (unit, per, counted) in enumerate(kinds):
        rows.append({"loss": 2.0 + 0.25 * i, "unit": unit, "per": per, "bytes_per_token": 3.5, "params": 200_000 + 30_000 * i,
                     "counted": counted, "vocab": 512, "width": 64})  # fmt: skip
    return rows


def _unit_cases() -> list[tuple[Any, ...]]:
    clean = ("nats", "token", "non-embedding")
    return [
        (_unit_rows(clean, clean),),
        (_unit_rows(("bits", "token", "non-embedding"), clean),),
        (
            _unit_rows(
                ("nats", "byte", "non-embedding"),
            ),
        ),
        (_unit_rows(("nats", "token", "total"), clean),),
        (_unit_rows(("bits", "byte", "total"), clean, ("bits", "token", "total")),),
    ]


_UNIT_DIAGNOSES, _UNIT_SLIPS = slips(
    one_unit,
    ("L *= math.log(2)", "L /= math.log(2)", "the wrong way", "bits become nats the wrong way: a bit is ln 2 nats, so that the "
        "same "
     "loss is a smaller number in nats."),
    ('L *= row["bytes_per_token"]', 'L /= row["bytes_per_token"]', "several bytes", "per byte becomes per token the wrong way: a "
     "token is several bytes, and its loss is theirs together."),
    ("N -= 2 *", "N -= ", "both", "one of the two tables is still counted: \"total\" holds both."),
    ('if row["counted"] == "total"', 'if row["counted"] != "total"', "which rows", "you take embeddings away from rows that do "
        "not "
     "count them: look at which rows count them."),
)  # fmt: skip


_TARGETS = (99, 48, 22, 10)  # of the four parts of case 6

MENDS: tuple[Exercise, ...] = (
    Exercise(
        "14.9",
        "Write train_share(w, batches, rate): training over ranks that cannot hang, whatever rows a rank has. It has to equal "
        "one "
        "process that has all rows, with exactly the calls of the docstring.",
        ranked(
            _in_one_process, [(2, _even), (2, _uneven), (2, _short)],
            names=["equal parts", "a part of 1 and 0 rows", "2 parts and 4"], rel=1e-9, abs=1e-12, ledger=_sent,
            diagnoses=_SHARE_DIAGNOSES, right="Equal to one process, and no rank waits for a call that another leaves out.",
        ),
        ("A rank must not decide by itself whether it makes a call: what decides has to be the same number on every rank.",
         "An all_reduce with op=dist.ReduceOp.MAX tells every rank the largest of the numbers they bring.",
         "A rank without rows brings zeros. Put the sum of the rows' gradients and the number of rows into one tensor, so that "
         "one "
         "call brings what a mean needs."),
        source(train_share, "from torch import Tensor\n\n\n"), kind="build", minutes=15, difficulty=3, wrong=_SHARE_SLIPS,
        skeleton=skeleton(train_share), own=lambda: train_share,
    ),
    Exercise(
        "14.10",
        'The first line of run 2 was torch.manual_seed(seed + rank), "so that every rank reads other rows", and model and rows '
        'were '
        "both drawn after it. Which change mends the run: \"seed\" (every rank calls torch.manual_seed(seed), for everything), "
        "\"two "
        'seeds" (seed for the weights, then seed + rank for what the ranks read), "average" (average the weights once, at the '
        'end) or '
        '"rate" (a lower rate)?',
        choice("two seeds", {
            "two seeds": "", "seed": "now the ranks agree, and draw the same rows as well: two ranks would learn what one "
                                     "learns. It is "
            "a rival from the list of causes.",
            "average": "the mean of two networks that have learned apart is no network that has learned: the middle between "
                       "them is a "
            "place where neither has been.",
            "rate": "a lower rate moves both ranks more slowly; what separates them was there before the first step.",
        }),
        ("Two things are drawn by chance: say for each whether ranks must agree on it.",
         "Read piece B of run 2 at its left end. Which change makes that value zero?",
         "Then ask of the changes that are left what they do to piece C."),
        'answer = "two seeds"', kind="debug", minutes=5, difficulty=2,
        wrong=(("seed", "draw the same rows"), ("average", "no network that has learned"), ("rate", "before the first step")),
    ),
    Exercise(
        "14.11",
        "Write choose_scale(gradients, lost): the smallest power of two by which a loss has to be multiplied so that fp16 keeps "
        "its "
        "gradients.",
        build(
            choose_scale, _scale_cases, names=["small gradients", "with zeros", "with a large one", "nothing to "
                "do", "only zeros", "both ends"],
            diagnoses=_SCALE_DIAGNOSES, right="No more is lost than was allowed, and nothing is infinite.",
        ),
        ("First throw out what no factor can help: zeros, and what is not finite.",
         "Cast with .astype(np.float16) and look at what came out: how many are zero, is one infinite?",
         "A loop that doubles the factor needs two ways out, and the order of the two questions matters."),
        source(choose_scale, NUMPY), kind="build", minutes=12, difficulty=2, wrong=_SCALE_SLIPS,
        skeleton=skeleton(choose_scale), own=lambda: choose_scale,
    ),
    Exercise(
        "14.12",
        "Write leaked(train, heldout, size, share): the held-out documents that also stand in the training text, in whole or in "
        "part.",
        build(
            leaked, _leak_cases, names=["nine tenths", "a third", "across documents", "often",
                "short ones", "a small training text"],
            diagnoses=[*_LEAK_MORE, *_LEAK_DIAGNOSES], right="Every planted copy is found, and nothing else.",
        ),
        ("A run can be a tuple of integers: tuples can be kept in a set, and asked for in no time.",
         "A document of n tokens has n − size + 1 runs. Never let a run go from one document into the next.",
         "Count the places of the held-out document whose run is known, and compare with the share of all its places. What is "
         "shorter than a run needs a rule of its own."),
        source(leaked, "from typing import Any\n\n\n"), kind="build", minutes=15, difficulty=3,
        wrong=(*_LEAK_SLIPS, *((bad, text.split(":")[0]) for bad, text in _LEAK_MORE)),
        skeleton=skeleton(leaked), own=lambda: leaked,
    ),
    Exercise(
        "14.13",
        "Three tensors of the model of width 16 (its embedding, a matrix inside a block, its output layer) all have the rate "
        "0.02 under "
        "AdamW. The model becomes 128 wide. Which rate does each get under µP (embedding, hidden, output)?",
        several(
            embedding=number(0.02, diagnoses=((0.0025, "an embedding's row is read alone, and not summed over the width: its "
                "rate "
                                               "stays."),)),
            hidden=number(0.0025, slips=(), diagnoses=(
                (0.02, "the rate of width 16 is what broke the run."),
                (0.02 / math.sqrt(8), "this falls with the root of the width: that is how the size of the initial weights "
                                      "falls."),
                (0.16, "this is the wrong way: the wider the sum, the smaller the step of each of its terms."))),
            output=number(0.0025, slips=(), diagnoses=(
                (0.02, "the output layer sums over the width as well."),
                (0.02 / math.sqrt(8), "this falls with the root of the width: that is how the size of the initial weights "
                                      "falls."),
                (0.16, "this is the wrong way: the wider the sum, the smaller the step of each of its terms."))),
        ),
        ("AdamW moves every weight by about the rate, whatever the size of its gradient. Over how many weights does one output "
         "of the "
         "tensor sum?",
         "Steps that all point the same way add up: eight times as many terms, eight times the change.",
         "The change of an output should be the same at every width. Only sums over the width grow with it."),
        'answer = {"embedding": 0.02, "hidden": 0.02 * 16 / 128, "output": 0.02 * 16 / 128}', kind=
            "compute", minutes=6, difficulty=3,
        wrong=(({"embedding": 0.0025, "hidden": 0.0025, "output": 0.0025}, "embedding: an embedding's row"),
               ({"embedding": 0.02, "hidden": 0.02, "output": 0.0025}, "hidden: the rate of width 16"),
               ({"embedding": 0.02, "hidden": 0.0025, "output": 0.16}, "output: this is the wrong way"),
               ({"embedding": 0.02, "hidden": 0.02 / math.sqrt(8), "output": 0.0025}, "hidden: this falls with the root")),
        placeholder={"embedding": ..., "hidden": ..., "output": ...},
    ),
    Exercise(
        "14.14",
        "The four parts of run 6 have 99, 48, 22 and 10 targets, and each part's mean loss was divided by 4. How many times as "
        "much did "
        "a target of the last part count as one of the first (times)? And by which factor should the mean loss of the first "
        "part be "
        "multiplied instead of 1/4 (factor)?",
        several(
            times=number(9.9, diagnoses=((10 / 99, "this is the other way round: in a small part each target counts for more."),
                                         (4.0, "the number of parts is the same for both: compare the targets."))),
            factor=number(99 / 179, slips=(), diagnoses=(
                (0.25, "this is the factor that broke the run."), (1 / 99, "this turns a sum into a mean; the mean is there "
                    "already."),
                (99 / 4, "the factors of all parts add up to 1."), (10 / 179, "this is the last part's."))),
        ),
        ("What counts is how much one target adds to the whole loss: its share of its part, times the factor of the part.",
         "In a mean over m targets each of them counts 1/m.",
         "With the right factors every target counts the same, 1 over the number of all targets."),
        'answer = {"times": (1 / 10) / (1 / 99), "factor": 99 / (99 + 48 + 22 + 10)}', kind="compute", minutes=5, difficulty=2,
        wrong=(({"times": 10 / 99, "factor": 99 / 179}, "times: this is the other way round"),
               ({"times": 4, "factor": 99 / 179}, "times: the number of parts"),
               ({"times": 9.9, "factor": 0.25}, "factor: this is the factor that broke"),
               ({"times": 9.9, "factor": 1 / 99}, "factor: this turns a sum")),
        placeholder={"times": ..., "factor": ...},
    ),
    Exercise(
        "14.15",
        "Write rows_at(step, windows, batch, seed): a loader without a memory, which a killed run can ask again and gets the "
        "answer of "
        "the run that was never killed.",
        build(
            _the_kits_rows, _row_cases, names=["the first step", "the second", "across an epoch",
                "later", "more than an epoch", "step 10⁹"],
            diagnoses=[*_ROWS_MORE, *_ROWS_DIAGNOSES], right="Equal to the unbroken run, wherever it is cut.", seconds=2.0,
        ),
        ("Think of all epochs as one long line of windows, and of a step as a stretch of it.",
         "divmod(place, windows) gives the epoch of a place, and where in the epoch it is.",
         "A stretch may cross the border of an epoch once, or several times: take what the epoch still has, and go on until the "
         "batch "
         "is full."),
        source(rows_at, NUMPY), kind="build", minutes=12, difficulty=3,
        wrong=(*_ROWS_SLIPS, *((bad, "windows left over") for bad, _ in _ROWS_MORE)),
        skeleton=skeleton(rows_at), own=lambda: rows_at,
    ),
    Exercise(
        "14.16",
        "Write one_unit(rows): rows of several loggers as pairs (N, L) that one law can be fitted to.",
        build(
            one_unit, _unit_cases, names=["clean", "bits", "per byte", "total", "all of it"], diagnoses=_UNIT_DIAGNOSES,
            right="One unit for all rows.",
        ),
        ("Go column by column: unit, per, counted. Each is independent of the others.",
         "Check one conversion by its direction: should the number become larger or smaller?",
         "A token of several bytes has the loss of all of them. Embedding and output layer both hold vocab · width numbers."),
        source(one_unit, "import math\n\n\n"), kind="build", minutes=10, difficulty=2, wrong=_UNIT_SLIPS,
        skeleton=skeleton(one_unit), own=lambda: one_unit,
    ),
)  # fmt: skip

EXERCISES: tuple[Exercise, ...] = (*DIAGNOSES, *MENDS)
