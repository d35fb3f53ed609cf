"""Many runs, each trained once: on any `concurrent.futures.Executor`, cached on disk, resumable after any kind of end."""

from __future__ import annotations

import concurrent.futures as futures
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from scalept_lab import machine, scratch
from scalept_lab.checks import positive, shown, whole
from scalept_lab.config import TrainConfig, recommend
from scalept_lab.costs import counts
from scalept_lab.errors import InputError
from scalept_lab.folders import writing
from scalept_lab.processes import local_processes
from scalept_lab.runs import RunRecord, Store
from scalept_lab.screen import Bar
from scalept_lab.train import pacing

Value = TypeVar("Value")
MOST = 100_000  # runs of a sweep
Submit = Callable[[TrainConfig, str], futures.Future]  # of a run, and the folder for its record


@dataclass(frozen=True, init=False)
class Sweep:
    """A set of runs to make: every width with every number of tokens (and every seed), each with its measured recipe.

    >>> len(Sweep(width=[16, 32], tokens=[1e5, 2e5, 4e5]))
    6
    """

    configs: tuple[TrainConfig, ...]

    def __init__(
        self, width: Sequence[int] | int = (), tokens: Sequence[float] | float = (), seed: Sequence[int] | int = 0,
        *, configs: Iterable[TrainConfig] = (), **fields: Any,
    ):  # fmt: skip
        axes = _axis("width", width, whole), _axis("tokens", tokens, positive), _axis("seed", seed, _seed)
        if (runs := math.prod(len(axis) for axis in axes)) > MOST:
            raise InputError(f"sweep: expected at most {MOST:,} runs, got {runs:,}; take fewer values")
        made = [recommend(w, t, seed=s, **fields) for w, t, s in itertools.product(*axes)]
        given = _axis("configs", configs, _config)
        unique = {config.id(): config for config in [*given, *made]}
        if not unique:
            raise InputError("sweep: expected at least one width and one number of tokens, got an empty list")
        object.__setattr__(self, "configs", tuple(unique.values()))

    @classmethod
    def isoflop(cls, slices: Mapping[float, Sequence[int]], seed: int = 0, **fields: Any) -> Sweep:
        """Slices of equal compute: for each number of FLOPs the widths to try, the tokens following from the two."""
        if not isinstance(slices, Mapping):
            raise InputError(
                f"slices: expected widths by FLOPs, as in {{1e10: [16, 32]}}, got {shown(slices)}"
            )
        pairs = [
            (width, positive("flops", flops))
            for flops, widths in slices.items()
            for width in _axis("width", widths, whole)
        ]
        return cls(configs=[at_flops(width, flops, seed=seed, **fields) for width, flops in pairs])

    def __len__(self) -> int:
        return len(self.configs)

    def __iter__(self) -> Iterator[TrainConfig]:
        return iter(self.configs)

    @property
    def flops(self) -> float:
        return sum(flops_of(config) for config in self.configs)


def at_flops(width: int, flops: float, **fields: Any) -> TrainConfig:
    """The run of this width that costs `flops` (to within one step). Raises: InputError if that is not one step."""
    # Twice, since the recipe depends on the number of tokens, which this is to find.
    tokens = pacing.at_flops(recommend(width, 1e6, **fields), flops).tokens
    return pacing.at_flops(recommend(width, tokens, **fields), flops)


def flops_of(config: TrainConfig) -> float:
    """Training FLOPs of a run: what its record will say under C."""
    return pacing.flops(config)


def run_all(
    configs: Iterable[TrainConfig],
    store: Store,
    executor: futures.Executor | None = None,
    progress: bool = True,
) -> list[RunRecord]:
    """Train what `store` does not hold yet; return the records of all, in the order of `configs`.

    A finished run is written at once, so stopping (or killing) a sweep loses at most the runs in flight. Without an
    `executor`, one process per core with one thread each: small models leave a second thread idle, and two threads
    can stall when the machine has other work. Beside a GPU, runs that are sooner done there (`train.placement`) go to one more
    process, one after the other: each process on a GPU would hold a context of its own in its memory, and wait for its turn.
    """
    if executor is not None and not isinstance(executor, futures.Executor):
        kind = type(executor).__name__
        raise InputError(
            f"executor: expected a concurrent.futures.Executor, got {kind}; docs/at_scale.md has other ways"
        )
    configs = list(configs)
    todo = [config for config in configs if not finished(store, config)]
    scratch.sweep(_heartbeat(store.folder, "").absolute(), "[0-9a-f]{16}")  # of workers that were killed
    if todo:
        prepare_corpora(todo)
        todo.sort(key=flops_of, reverse=True)  # the longest first, so that no core waits long at the end
        if executor is not None:
            _run(
                todo, store, lambda config, folder: executor.submit(train_and_save, config, folder), progress
            )
        else:
            with _lanes(todo) as submit:
                _run(todo, store, submit, progress)
    found = [store.get(config.id()) for config in configs]
    return [record for record in found if record is not None]


@contextmanager
def _lanes(todo: Sequence[TrainConfig]) -> Iterator[Submit]:
    """Worker processes of this machine: one for each core, and one for its GPU, as far as the runs have a use for them."""
    from scalept_lab.train.placement import device_for

    device = {config.id(): device_for(config, min(machine.cores(), len(todo))) for config in todo}
    runs = Counter(device.values())
    with ExitStack() as stack:
        lane = {
            name: stack.enter_context(local_processes(min(machine.cores(), count) if name == "cpu" else 1))
            for name, count in runs.items()
        }
        yield lambda config, folder: lane[device[config.id()]].submit(
            train_and_save, config, folder, device[config.id()]
        )


def train_and_save(config: TrainConfig, folder: str, device: str | None = None) -> str:
    """One run, as a worker makes it: train (on `device`, or where it is sooner done), leave the record in `folder`, return its
    id."""
    from scalept_lab.train.loop import train

    beat = _heartbeat(folder, config.id())
    with writing(beat):
        beat.parent.mkdir(parents=True, exist_ok=True)

    def tell(step: int) -> None:
        with suppress(OSError):  # a bar that stands still is no reason to lose a run
            # read in the middle of it, fewer decimals are less than the number, and a bar only grows
            beat.write_text(f"{step / config.steps:.6f}", encoding="utf-8")

    try:
        tell(0)  # over what a killed process may have left
        record = train(config, progress=tell, device=device)
    except InputError:
        raise  # the learner can mend this; it must not be stored as a result
    except Exception as error:
        record = _failed(config, error)
    finally:
        with suppress(OSError):
            beat.unlink(missing_ok=True)
    Store(folder).save(record)
    return record.id


def _run(todo: list[TrainConfig], store: Store, submit: Submit, progress: bool) -> None:
    folder = str(store.folder.resolve())  # a worker on another machine starts in another folder
    pending: dict[futures.Future, TrainConfig] = {}
    cost = {config.id(): flops_of(config) for config in todo}
    share = dict.fromkeys(cost, 0.0)  # of each run; a heartbeat that is gone for a moment takes nothing back
    title = f"training {len(todo)} runs" if len(todo) > 1 else "training 1 run"
    try:
        pending |= {submit(config, folder): config for config in todo}
        with Bar(title, shown=progress) as bar:
            while pending:
                finished, _ = futures.wait(pending, timeout=0.5, return_when=futures.FIRST_COMPLETED)
                for future in finished:
                    share[pending.pop(future).id()] = 1.0
                    future.result()
                for config in pending.values():
                    share[config.id()] = max(share[config.id()], _share(store, config))
                now = next((config for config in pending.values() if share[config.id()] > 0), None)
                done = sum(cost[name] * share[name] for name in cost) / sum(cost.values())
                bar.at(done, _name(now) if now else "")
    except futures.BrokenExecutor:
        raise InputError(
            "a worker process was killed (out of memory, or a script without `if __name__ == '__main__':`); "
            "finished runs are kept: run it again to go on, with an executor of fewer workers if it ends here again"
        ) from None
    finally:
        for future in pending:  # after an error or an interrupt, start nothing more
            future.cancel()


def _name(config: TrainConfig) -> str:
    return f"width {config.model.width}, {config.tokens:,} tokens, seed {config.seed}"


def _heartbeat(folder: str | Path, run_id: str) -> Path:
    return Path(folder) / ".progress" / run_id


def _share(store: Store, config: TrainConfig) -> float:
    """How much of a run is done, as its worker last wrote it: a file, so that it works on any executor."""
    try:
        return min(1.0, float(_heartbeat(store.folder, config.id()).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return 0.0


def finished(store: Store, config: TrainConfig) -> bool:
    """Whether a run needs no training any more: its record is there, and of the text that its corpus has now."""
    if store.get(config.id()) is None:  # do not build a corpus to learn that
        return False
    return store.finished(config.id(), prepared_sha256(config)) is not None


def prepared_sha256(config: TrainConfig) -> str:
    """The fingerprint of the text that the corpus of a run has now."""
    from scalept_lab.data.corpora import prepare

    return prepare(config.corpus).sha256


def prepare_corpora(configs: Iterable[TrainConfig]) -> None:
    """Build each corpus once, here, with its progress shown, rather than in every worker. Raises: InputError."""
    from scalept_lab.data.corpora import prepare

    for name in sorted({config.corpus for config in configs}):
        prepare(name)


def _failed(config: TrainConfig, error: Exception) -> RunRecord:
    shape = counts.shape(config.model)
    line = f"{type(error).__name__}: {error}".splitlines()[0]
    return RunRecord(
        id=config.id(), config=config.model_dump(), N=shape.non_embedding, N_total=shape.total, D=0, C=0, L=None,
        seconds=0, peak_rss_bytes=machine.peak_rss_bytes(), status="failed", error=line, provenance=machine.provenance(),
    )  # fmt: skip


def _axis(name: str, values: Any, check: Callable[[str, Any], Value]) -> list[Value]:
    """One value or several, each checked. A text is one value, and none of its letters. Raises: InputError."""
    one = (
        isinstance(values, (str, bytes))
        or not isinstance(values, Iterable)
        or getattr(values, "ndim", 1) == 0
    )
    found = [values] if one else list(itertools.islice(values, MOST + 1))
    if len(found) > MOST:
        raise InputError(f"{name}: expected at most {MOST:,} values, got more; take fewer")
    # of an array, Python's own numbers
    return [check(name, value.item() if getattr(value, "ndim", None) == 0 else value) for value in found]


def _seed(name: str, value: Any) -> int:
    return whole(name, value, 0)


def _config(name: str, value: Any) -> TrainConfig:
    if not isinstance(value, TrainConfig):
        raise InputError(f"{name}: expected TrainConfigs, as recommend(…) makes them, got {shown(value)}")
    return value
