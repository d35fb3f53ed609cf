"""Judging code that runs on several ranks: equal to one process, the calls and bytes that it was asked for, and no rank left.

    ranked(reference, [(2, (x,)), (4, (x,))], ledger=lambda ranks, inputs: {"all_reduce": (1, 4096)})

When the ranks do not agree (one makes a call alone, in another order, on another shape, raises, or returns early), the verdict is
one line that says which rank stands at which call.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

from scalept_lab import scratch
from scalept_lab.course.answers import UNANSWERED, Check, Verdict
from scalept_lab.course.equal import difference, kind
from scalept_lab.course.guard import Place, one_line, place_of, place_of_call
from scalept_lab.errors import InputError

SECONDS = 20.0  # that the ranks have for all cases together
SAME_ON_ALL = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce", "barrier")
TRIED = 20.0  # seconds for all the wrong versions that a diagnosis tries

Rows = Mapping[str, tuple[int, int]]  # kind -> (calls, payload bytes), as `parallel.ledger` counts them
Inputs = Any  # a tuple of arguments, or a function (rank, ranks) -> tuple
Case = tuple[int, Inputs]


def ranked(
    reference: Callable[[int, Any], Sequence[Any]],
    cases: Sequence[Case] | Callable[[], Sequence[Case]],
    *,
    names: Sequence[str] | None = None,
    rel: float = 1e-5,
    abs: float = 1e-7,
    ledger: Callable[[int, Any], Rows | Sequence[Rows] | None] | None = None,
    harness: Callable[..., Any] | None = None,
    diagnoses: Iterable[tuple[Callable[..., Any], str]] = (),
    right: str = "",
    seconds: float = SECONDS,
) -> Check:
    """A check for a function (or class) of the learner's that is called in every rank of a process group.

    cases      (number of ranks, inputs): a tuple of arguments, or a function `(rank, ranks) -> tuple` called in the rank
    reference  `(ranks, inputs) -> what each rank has to return`, worked out in one process
    ledger     `(ranks, inputs) -> {kind: (calls, bytes)}` that each rank may issue, exactly; or a list, a dict for each rank
    harness    called in the rank as `harness(answer, *inputs)` in place of `answer(*inputs)`
    diagnoses  (wrong version, what to tell): tried when the answer is wrong; a wrong version must not hang

    Results may be numbers, tensors, and nested lists, tuples and dicts of them.
    """

    def judge(answer: Any) -> Verdict:
        if not callable(answer):
            return Verdict(False, f"a function is asked for, this is {kind(answer)}.")
        if _blank(answer):
            return UNANSWERED
        asked = list(cases() if callable(cases) else cases)
        labels = list(names) if names is not None else [f"{ranks} ranks" for ranks, _ in asked]
        found: list[list[_Found]] = [[] for _ in asked]
        for ranks in sorted({ranks for ranks, _ in asked}):
            places = [place for place, (number, _) in enumerate(asked) if number == ranks]
            tasks = [(harness, answer, asked[place][1]) for place in places]
            outcome = _on_ranks(tasks, ranks, seconds, [labels[place] for place in places])
            if isinstance(outcome, str):
                return Verdict(False, outcome)
            for place, each in zip(places, outcome, strict=True):
                found[place] = each
        if all(each.result is None or each.result is ... for case in found for each in case) and any(
            want is not None for ranks, inputs in asked for want in reference(ranks, inputs)
        ):
            return UNANSWERED
        rows: list[tuple[str, str, bool]] = []
        for name, (ranks, inputs), case in zip(labels, asked, found, strict=True):
            wrong = _wrong_results(case, reference(ranks, inputs), rel, abs)
            rows.append((name, wrong or "agrees", not wrong))
            allowed = ledger(ranks, inputs) if ledger is not None else None
            if allowed is not None:
                wrong = _wrong_rows(case, allowed)
                rows.append((f"{name}: sent", wrong or "as asked", not wrong))
        if all(ok for *_, ok in rows):
            return Verdict(True, right, rows=tuple(rows))
        text = _diagnosis(diagnoses, harness, asked, found, rel, abs)
        label, wrong, _ = next(row for row in rows if not row[2])
        return Verdict(False, text or f"{label}: {wrong}.", rows=tuple(rows))

    digits = f"{rel:.0e}".replace("e-0", "e-")
    wanted = f"a function called in every rank, equal to one process to {digits}"
    return Check(
        judge, wanted + (", with the calls and bytes asked for" if ledger else ""), 4 * seconds + TRIED
    )


@dataclass(frozen=True)
class _Found:
    """What one rank returned for one case, what it issued, or the exception (one line) it ended with."""

    result: Any
    rows: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class _Call:
    """A call that a rank was about to make: the case, its kind and shape, and the learner's line."""

    case: int
    kind: str
    shape: tuple[int, ...]
    place: Place | None

    def __str__(self) -> str:
        of = f" of {list(self.shape)}" if self.kind != "barrier" else ""
        return f"{self.kind}{of}{f', at {self.place}' if self.place else ''}"


# --- in a rank ------------------------------------------------------------------------------------------------


def _run(tasks: list[tuple[Any, Any, Any]], folder: str, forgiving: bool) -> list[_Found]:
    """Every task, one after another; each call is written down before it is made. `forgiving`: an exception is a result."""
    import torch.distributed as dist

    rank, ranks = dist.get_rank(), dist.get_world_size()
    found = []
    with open(Path(folder) / f"{rank}.calls", "w", encoding="utf-8", buffering=1) as log:
        for case, (harness, answer, inputs) in enumerate(tasks):
            args = inputs(rank, ranks) if callable(inputs) else inputs
            call = partial(answer, *args) if harness is None else partial(harness, answer, *args)
            try:
                found.append(_watched(call, case, log))
            except Exception as error:
                if not forgiving:
                    where = place_of(error.__traceback__)
                    _note(log, case, "raised", (), where, one_line(error))
                    raise InputError(f"rank {rank} raised") from error
                found.append(_Found(one_line(error), {}))
            _note(log, case, "returned")
            dist.barrier()  # a rank that is through waits here: its calls of the next case meet nobody's of this one
    return found


def _watched(call: Callable[[], Any], case: int, log: Any) -> _Found:
    from scalept_lab.parallel.ledger import Ledger

    with Ledger(lambda kind, shape: _note(log, case, kind, shape, place_of_call())) as counted:
        result = call()
    return _Found(_detached(result), dict(counted.rows))


def _note(
    log: Any, case: int, kind: str, shape: Sequence[int] = (), place: Place | None = None, text: str = ""
) -> None:
    import json

    where = [place.file, place.line, place.function] if place else None
    log.write(json.dumps([case, kind, [*shape], where, text]) + "\n")


def _detached(value: Any) -> Any:
    """The same without graphs, which do not travel."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: _detached(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_detached(part) for part in value]
    return value


# --- in the notebook's process --------------------------------------------------------------------------------


def _on_ranks(
    tasks: list[tuple[Any, Any, Any]],
    ranks: int,
    seconds: float,
    labels: Sequence[str],
    forgiving: bool = False,
) -> list[list[_Found]] | str:
    """What each rank found for each task, or one line that says why there is nothing."""
    from scalept_lab.parallel.launcher import RankError, launch

    with scratch.folder("check-") as folder:
        try:
            by_rank = launch(_run, ranks, tasks, folder, forgiving, seconds=seconds)
        except (RankError, InputError) as error:
            return (
                _why(folder, ranks, labels, seconds)
                or f"your code could not be run on {ranks} ranks: {error}"
            )
    return [list(each) for each in zip(*by_rank, strict=True)]


def _why(folder: str, ranks: int, labels: Sequence[str], seconds: float) -> str:
    """One line from what the ranks wrote down: who raised, where they part, or what each waits for."""
    calls, raised, since = [], {}, {}
    for rank in range(ranks):
        path = Path(folder) / f"{rank}.calls"
        mine, text = _calls(path)
        calls.append(mine)
        if text:
            raised[rank], since[rank] = text, path.stat().st_mtime_ns
    case = max(
        (mine[-1].case for mine in calls if mine), default=0
    )  # none begins the next before all have returned
    now = [[call for call in mine if call.case == case] for mine in calls]
    at = f"with {labels[case]}, " if case < len(labels) else ""
    if parted := _where_they_part(now):
        return f"{at}{parted}."
    if raised:
        rank = min(since, key=since.__getitem__)  # the others' connections broke when it ended
        text = raised[rank]
        waiting = [f"; rank {other} {_stands(mine)}" for other, mine in enumerate(now) if other not in raised]
        return f"{at}{text.replace('raised', f'rank {rank} raised', 1)}{''.join(waiting)}."
    stand = "; ".join(f"rank {rank} {_stands(mine)}" for rank, mine in enumerate(now))
    if not stand:
        return ""
    return f"{at}not done after {seconds:g} seconds: {stand}."


def _calls(path: Path) -> tuple[list[_Call], str]:
    import json

    calls, raised = [], ""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        try:
            case, name, shape, where, text = json.loads(line)
        except ValueError:  # the rank was killed while it wrote
            continue
        place = Place(*where) if where else None
        if name == "raised":
            raised = f"raised {text}{f', at {place}' if place else ''}"
        calls.append(_Call(case, name, tuple(shape), place))
    return calls, raised


def _where_they_part(calls: Sequence[Sequence[_Call]]) -> str:
    """The first call in which ranks differ, as far as ranks have to agree: in kind, and for most kinds in shape."""
    lanes = [[call for call in mine if call.kind not in ("point_to_point", "recv")] for mine in calls]
    for turn in range(max(map(len, lanes), default=0)):
        made = [mine[turn] if turn < len(mine) else None for mine in lanes]
        here = {rank: call for rank, call in enumerate(made) if call is not None}
        first, one = next(iter(here.items()))
        for rank, call in here.items():
            differs = call.kind != one.kind or (call.kind in SAME_ON_ALL and call.shape != one.shape)
            if differs and "raised" not in (call.kind, one.kind):
                return f"the ranks part at call {turn + 1}: rank {first} {_makes(one)}; rank {rank} {_makes(call)}"
    return ""


def _makes(call: _Call) -> str:
    return "returns" if call.kind == "returned" else f"makes {call}"


def _stands(calls: Sequence[_Call]) -> str:
    if not calls:
        return "has made no call"
    return "has returned" if calls[-1].kind == "returned" else f"waits in call {len(calls)}, {calls[-1]}"


def _wrong_results(case: Sequence[_Found], wanted: Sequence[Any], rel: float, abs: float) -> str:
    for rank, (each, want) in enumerate(zip(case, wanted, strict=True)):
        if text := difference(each.result, want, rel, abs):
            return f"rank {rank} returns something else: {text}"
    return ""


def _wrong_rows(case: Sequence[_Found], allowed: Rows | Sequence[Rows]) -> str:
    of_rank = [allowed] * len(case) if isinstance(allowed, Mapping) else list(allowed)
    for rank, (each, want) in enumerate(zip(case, of_rank, strict=True)):
        if each.rows != dict(want):
            return f"rank {rank} sends {_said(each.rows)}; asked for: {_said(want)}"
    return ""


def _said(rows: Rows) -> str:
    return (
        ", ".join(f"{calls} × {name} ({size:,} bytes)" for name, (calls, size) in rows.items()) or "nothing"
    )


def _diagnosis(
    diagnoses: Iterable[tuple[Callable[..., Any], str]],
    harness: Callable[..., Any] | None,
    asked: Sequence[Case],
    found: Sequence[Sequence[_Found]],
    rel: float,
    abs: float,
) -> str:
    """The text of the first wrong version that does in every case what the learner's did."""
    known = list(diagnoses)
    left = set(range(len(known)))
    for ranks in sorted({ranks for ranks, _ in asked}):
        places = [place for place, (number, _) in enumerate(asked) if number == ranks]
        tasks = [(harness, wrong, asked[place][1]) for wrong, _ in known for place in places]
        outcome = _on_ranks(tasks, ranks, TRIED, [], forgiving=True)
        if isinstance(outcome, str):
            return ""
        for index in range(len(known)):
            did = outcome[index * len(places) : (index + 1) * len(places)]
            if any(not _same(mine, found[place], rel, abs) for mine, place in zip(did, places, strict=True)):
                left.discard(index)
    return known[min(left)][1] if left else ""


def _same(did: Sequence[_Found], found: Sequence[_Found], rel: float, abs: float) -> bool:
    return all(
        a.rows == b.rows and not difference(a.result, b.result, rel, abs)
        for a, b in zip(did, found, strict=True)
    )


def _blank(answer: Any) -> bool:
    """Whether the body is still the three dots: known without a single rank."""
    if not isinstance(answer, FunctionType):
        return False
    idle = {"RESUME", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "NOP", "COPY_FREE_VARS"}
    return all(step.opname in idle for step in dis.get_instructions(answer)) and answer.__code__.co_consts[
        1:
    ] in (
        (),
        (None,),
        (...,),
    )
