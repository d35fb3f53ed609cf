"""Any object as an answer, any word on the command line, any value in the environment.

Each door makes one case from a `Random`: what it is, and a call that must end in a result, or in an InputError of one line.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.torture import generate

Case = tuple[str, Callable[[], Any]]


# --- objects ------------------------------------------------------------------------------------------------


def _raising(error: Callable[[], BaseException], *names: str) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise error()

    return type("Odd", (), dict.fromkeys(names, fail))()


def _itself() -> list:
    found: list = [1]
    found.append(found)
    return found


def _dict_itself() -> dict:
    found: dict = {"a": 1}
    found["b"] = found
    return found


def _deep(kind: type = list) -> Any:
    found: Any = 1
    for _ in range(100_000):
        found = [found] if kind is list else {"a": found} if kind is dict else (found,)
    return found


def _deep_call(*_: Any) -> Any:
    return _deep_call()


def _generator():
    yield 1
    raise KeyError("inside")


def _endless():
    while True:
        yield 1


def _closed() -> Any:
    file = io.StringIO("x")
    file.close()
    return file


def _numpy(what: str) -> Any:
    import numpy as np

    return {
        "object": lambda: np.array([1, "a", None, object()], object), "masked": lambda: np.ma.masked_array([1.0, 2.0], [True,
        False]),
        "empty": lambda: np.array([]), "nan": lambda: np.full((3, 3), np.nan), "structured": lambda: np.zeros(3, "f8,i4"),
        "text": lambda: np.array(["1", "2"]), "zero-d": lambda: np.array(5.0), "void": lambda: np.void(b"abc"),
        "complex": lambda: np.array([1 + 2j]), "dates": lambda: np.array(["2020-01-01"], "datetime64[D]"),
        "large": lambda: np.zeros(3_000_000), "raising": lambda: np.array([_raising(ValueError, "__float__", "__eq__")], object),
        "longdouble": lambda: np.longdouble("1e4000"), "broadcast": lambda: np.broadcast_to(np.float64(1), (100_000, 1_000_000)),
    }[what]()  # fmt: skip


def _torch(what: str) -> Any:
    import torch

    return {
        "meta": lambda: torch.empty(3, device="meta"), "meta scalar": lambda: torch.empty((), device="meta"),
        "sparse": lambda: torch.eye(3).to_sparse(), "gradient": lambda: torch.ones(2, requires_grad=True) * 2,
        "complex": lambda: torch.ones(2, dtype=torch.complex64), "bfloat16": lambda: torch.ones(2, dtype=torch.bfloat16),
        "module": lambda: torch.nn.Linear(2, 2), "dtype": lambda: torch.float32, "empty": lambda: torch.empty(0),
        "expanded": lambda: torch.ones(1).expand(10**12), "quantized": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0,
        torch.qint8),
    }[what]()  # fmt: skip


def _pandas(what: str) -> Any:
    import pandas as pd

    return {
        "frame": lambda: pd.DataFrame({"a": [1, 2], "b": ["x", None]}), "series": lambda: pd.Series([1, 2]), "NA": lambda: pd.NA,
        "empty": lambda: pd.DataFrame(), "timestamp": lambda: pd.Timestamp("2020"), "index": lambda: pd.Index([1, 2]),
        "doubled": lambda: pd.DataFrame([[1, 2]], columns=["N", "N"]), "NaT": lambda: pd.NaT,
    }[what]()  # fmt: skip


def _own_answer(text: str) -> Any:
    """An object whose every magic says another thing."""

    class Liar(str):
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 0

        def __len__(self) -> int:
            return 10**9

    return Liar(text)


class _Attributes:
    def __getattr__(self, name: str) -> Any:
        return self


class _Growing:
    """Everything that it gives has more of itself."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: _Growing()

    def __iter__(self):
        return _endless()


class _EndlessTolist:
    def tolist(self) -> Any:
        return _EndlessTolist()

    detach = to_dict = tolist


def _prints(*_: Any) -> Any:
    print("x" * 5_000_000)
    return 1


def _changes(*given: Any) -> Any:
    for part in given:
        with contextlib.suppress(Exception):
            part.clear()
        with contextlib.suppress(Exception):
            part[...] = 0
    return 0


def _exits(*_: Any) -> Any:
    os._exit(3)


def _slow(*_: Any) -> Any:
    import time

    time.sleep(0.3)
    return 1


def _large(*_: Any) -> Any:
    return [0] * 1_000_000


MAGIC = (
    "__eq__", "__repr__", "__len__", "__bool__", "__getattr__", "__float__", "__iter__", "__hash__", "__str__", "__index__",
    "tolist",
    "__call__", "__getitem__", "__array__", "detach", "to_dict", "__class__", "__deepcopy__", "__contains__", "keys", "dtype",
)  # fmt: skip
ERRORS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("odd"), "KeyboardInterrupt": KeyboardInterrupt, "SystemExit": lambda: SystemExit(3),
    "RecursionError": RecursionError, "MemoryError": MemoryError, "StopIteration": StopIteration, "GeneratorExit": GeneratorExit,
    "BaseException": lambda: BaseException("a\nb"), "an error without text": lambda: type("E", (Exception,),
    {"__str__": lambda s: 1 / 0})(),
    "a group": lambda: ExceptionGroup("two\nlines", [ValueError(1)]), "unicode": lambda: ValueError("\ud800\n\x1b[2J"),
}  # fmt: skip
ODD: dict[str, Callable[[], Any]] = {
    "a list in itself": _itself, "a dict in itself": _dict_itself, "100,000 lists": _deep, "100,000 dicts": lambda: _deep(dict),
    "100,000 tuples": lambda: _deep(tuple), "a generator": _generator, "an endless generator": _endless, "a closed file": _closed,
    "stdin": lambda: sys.stdin, "a module": lambda: math, "a class": lambda: dict, "a metaclass": lambda: type,
    "a lambda": lambda: lambda: 1,
    "a lambda of anything": lambda: lambda *_, **__: None, "a builtin": lambda: len, "a method": lambda: [].append,
    "10^400": lambda: 10**400,
    "-10^5000": lambda: -(10**5000), "an exception": lambda: ValueError("x"), "an exception's class": lambda: KeyboardInterrupt,
    "the answer to all": lambda: _own_answer("5"), "any attribute": _Attributes, "ever more": _Growing,
    "tolist for ever": _EndlessTolist,
    "bytes": lambda: b"\xff", "a memory view": lambda: memoryview(b"ab"), "a range": lambda: range(10**18),
    "ellipsis in a list": lambda: [1, ...],
    "a set of tuples": lambda: {(1, 2)}, "a frozen set": lambda: frozenset([1]), "a dict of dicts": lambda: {1: {2: 3},
    None: ...},
    "a partial": lambda: __import__("functools").partial(int, "5"), "a coroutine": lambda: _coroutine(),
    "NotImplemented": lambda: NotImplemented,
    "a float's class": lambda: type("F", (float,), {"__float__": lambda s: 1 / 0})(1), "a str's class": lambda: type("S",
    (str,), {"strip": None})("5"),
    "calls itself": lambda: _deep_call, "prints": lambda: _prints, "changes its inputs": lambda: _changes,
    "exits": lambda: _exits,
    "sleeps": lambda: _slow, "a large list": lambda: _large, "returns a generator": lambda: lambda *_: _generator(),
    "returns itself": lambda: _returns_itself, "returns odd": lambda: lambda *_: _raising(KeyboardInterrupt, "__eq__",
    "__len__", "tolist"),
    "returns a list in itself": lambda: lambda *_: _itself(), "returns 100,000 lists": lambda: lambda *_: _deep(),
    "returns 10^400": lambda: lambda *_: 10**400, "returns NaN": lambda: lambda *_: math.nan,
    "returns a meta tensor": lambda: lambda *_: _torch("meta"),
    "returns its arguments": lambda: lambda *given: given, "async": lambda: _coroutine, "no arguments": lambda: lambda: 1,
    **{f"numpy, {what}": (lambda what=what: _numpy(what)) for what in ("object", "masked", "empty", "nan", "structured",
    "text", "zero-d",
       "void", "complex", "dates", "large", "raising", "longdouble", "broadcast")},
    **{f"torch, {what}": (lambda what=what: _torch(what)) for what in ("meta", "meta scalar", "sparse", "gradient", "complex",
    "bfloat16",
       "module", "dtype", "empty", "expanded", "quantized")},
    **{f"pandas, {what}": (lambda what=what: _pandas(what)) for what in ("frame", "series", "NA", "empty", "timestamp",
    "index", "doubled", "NaT")},
}  # fmt: skip


async def _coroutine(*_: Any) -> int:
    return 1


def _returns_itself(*_: Any) -> Any:
    return _returns_itself


def odd(random: Random) -> tuple[str, Any]:
    """An object that no check expects, and what it is."""
    way = random.random()
    if way < 0.35:
        name, magic = random.choice(list(ERRORS)), random.sample(MAGIC, random.choice((1, 1, 2, 4)))
        what, found = (
            f"{name} from {', '.join(magic)}",
            _raising(ERRORS[name], *[m for m in magic if m != "__class__"]),
        )
        if "__class__" in magic:
            found = type("Odd", (), {"__class__": property(lambda self: 1 / 0)})()
    elif way < 0.45:
        name = random.choice(list(ERRORS))

        def found(*_: Any, error: Callable[[], BaseException] = ERRORS[name]) -> Any:
            raise error()

        what = f"a function that raises {name}"
    elif way < 0.6:
        what, found = "a plain value", generate.value(random)
    else:
        what = random.choice(list(ODD))
        found = ODD[what]()
    wrap = random.random()
    if wrap < 0.12:
        return f"a list of {what}", [found]
    if wrap < 0.2:
        return f"a dict of {what}", {"N": found, "D": found}
    if wrap < 0.25:
        return f"a pair of {what}", (found, 1)
    return what, found


SLOW = ("05", "06", "12", "14")  # sets that start ranks to judge, which takes seconds


# --- what a learner calls -----------------------------------------------------------------------------------


def _called(call: Callable[[], Any]) -> Any:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        return call()


def _exercises() -> list[Any]:
    from scalept_lab.course import exercises

    return [each for number in exercises.notebook_numbers() for each in exercises.notebook_exercises(number)]


def check_case(random: Random, folder: Path) -> Case:
    from scalept_lab.course import exercises

    each = _exercises()
    exercise = random.choice(
        [one for one in each if one.id[:2] not in SLOW] if random.random() < 0.99 else each
    )
    what, answer = odd(random)
    return f"check({exercise.id!r}, {what})", lambda: _called(lambda: exercises.check(exercise.id, answer))


def predict_case(random: Random, folder: Path) -> Case:
    from scalept_lab.course import predictions

    (what, guess), (other, measured) = odd(random), odd(random)
    options: Any = random.choice(((), (), ["up", "down"], [guess, 1]))
    ends = {name: odd(random)[1] for name in ("low", "high") if random.random() < 0.3}
    otherwise = random.choice((None, ("no change", 2.0), ("odd", measured)))
    rivals = random.choice((None, {"no change": 2.0}, {"odd": guess}))

    def call() -> None:
        predictions.predict("08.z", guess, options=options, otherwise=otherwise, **ends)
        predictions.compare("08.z", measured, rivals)

    return f"predict({what}), compare({other})", lambda: _called(call)


def claim_case(random: Random, folder: Path) -> Case:
    from scalept_lab.course import claims

    (what, difference), (other, null) = odd(random), odd(random)
    null = None if callable(null) or random.random() < 0.6 else null  # a function is the notebook's own code

    def call() -> None:
        claims.claim("It is so", difference, "nothing", null=null)
        shown = claims.evidence()
        repr(shown), shown._repr_html_()

    return f"claim({what}, null={other if null is not None else None})", lambda: _called(call)


# --- the command line ---------------------------------------------------------------------------------------


WORDS = (
    "", " ", "0", "-1", "1", "1e308", "1e999", "nan", "inf", "-inf", "1e-320", "9" * 400, "1_000", "٣", "x", "a\nb", "\udcff",
    "中文",
    "\x1b[2J", "--", "-", "--json", "--help", "/", "/dev/zero", "/dev/null", "/nowhere/x", "~nobody/x", "x" * 5000, "E=1",
    "E=", "=1",
    "a=nan", "{0}", "%s", "day", "gpt2", "hoffmann", "auto", "power", "00", "1.5", "True", "[1]", "NUL\0x"[:3],
)  # fmt: skip
COMMANDS: dict[str, tuple[str, ...]] = {
    "fit": ("--form", "--variable", "--pin", "--bootstrap", "@points"), "count": ("@config",), "memory": ("--params", "--gpus",
    "--zero", "--precision"),
    "plan": ("--flops", "--scenario", "--out", "--seal", "--report", "--law", "@plan"), "merge": ("--out", "@class"),
    "progress": ("--out", "--class", "@notebook"), "train": ("--checkpoint", "--every", "--background", "@config"),
    "study": ("--budget-flops", "--out", "--seed"), "run": ("--save", "@notebook"), "check": ("--class",),
}  # fmt: skip
FLAGS = {"--seal", "--background", "--save"}
USUAL = {
    "--params": "1e9", "--gpus": "8", "--zero": "1", "--flops": "1e20", "--scenario": "day", "--form": "chinchilla",
    "--bootstrap": "3",
    "--budget-flops": "1", "--seed": "0", "--every": "10", "--law": "hoffmann", "--precision": "mixed",
}  # fmt: skip


def _valid_files(folder: Path) -> dict[str, str]:
    from benchmarks.torture import doors

    for make in (doors._make_points("csv"), doors._make_hub_config, doors._make_plan, doors._make_class):
        make(folder)
    return {
        "@points": "points.csv",
        "@config": "config.json",
        "@plan": "plan.json",
        "@class": "class",
        "@notebook": "00",
    }


def command_case(random: Random, folder: Path) -> Case:
    name = random.choice(list(COMMANDS))
    files = _valid_files(folder)
    words = [name]
    wrong = random.choice(COMMANDS[name])
    for option in COMMANDS[name]:
        if option != wrong and random.random() < 0.3:
            continue
        if option.startswith("@"):
            good = str(folder / files[option]) if option != "@notebook" else files[option]
            words.append(random.choice((str(folder), *WORDS)) if option == wrong else good)
        elif option in FLAGS:
            words.append(option)
        elif option == wrong or option in USUAL:
            put = (
                random.choice((str(folder), str(folder / "new.json"), *WORDS))
                if option == wrong
                else USUAL[option]
            )
            words += random.choice(([option, put], [f"{option}={put}"]))
    words += ["--json"] * (random.random() < 0.5)
    if random.random() < 0.1:
        words.insert(random.randrange(len(words) + 1), random.choice(WORDS))
    return f"scalept {' '.join(map(repr, words))}"[:200], lambda: command(words, folder)


class Spoke(Exception):
    """The command said something else than it promises."""


def command(words: list[str], folder: Path) -> Any:
    """`scalept …` in this process; what takes minutes is left out.

    Raises: InputError where it refuses, Spoke where it breaks a promise.
    """
    from scalept_lab.cli import main
    from scalept_lab.errors import InputError

    out, err = io.StringIO(), io.StringIO()
    here = os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _nothing_trains():
            try:
                status = main(words)
            except SystemExit as left:  # argparse
                status = left.code
    finally:
        os.chdir(here)
    said = err.getvalue().rstrip("\n")
    if os.environ.get("RANK") and not said and not out.getvalue():
        return status  # of several ranks the first one answers
    if status == 2:
        if len(said.splitlines()) != 1 or out.getvalue():
            raise Spoke(f"status 2 and {len(said.splitlines())} lines: {said[:200]!r}")
        raise InputError(said)
    if status not in (0, 1):
        raise Spoke(f"status {status}: {said[:200]!r}")
    if "--json" in words and status == 0 and "--help" not in words:
        json.loads(
            out.getvalue(), parse_constant=lambda name: (_ for _ in ()).throw(Spoke(f"{name} in its JSON"))
        )
    return status


@contextlib.contextmanager
def _nothing_trains():
    """Corpora, runs and kernels take minutes; all that stands before them is asked."""
    from unittest import mock

    from scalept_lab.errors import InputError

    def stop(*_: Any, **__: Any) -> Any:
        raise InputError("torture: what follows takes minutes")

    with contextlib.ExitStack() as each:
        for place in ("scalept_lab.train.loop.prepare", "scalept_lab.study.study.Study.run",
            "scalept_lab.study.study.Study.estimate",
                      "scalept_lab.course.notebooks.run_notebook", "scalept_lab.course.readiness.check"):  # fmt: skip
            each.enter_context(mock.patch(place, stop))
        yield


# --- the environment ----------------------------------------------------------------------------------------


VARIABLES = (
    "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "SCALEPT_CACHE", "SCALEPT_RESULTS", "SCALEPT_DEVICE",
    "OMP_NUM_THREADS",
    "MASTER_ADDR", "MASTER_PORT", "HOME", "TMPDIR", "TORCHELASTIC_USE_AGENT_STORE", "HF_ENDPOINT", "CXX", "COLUMNS",
)  # fmt: skip


def environment_case(random: Random, folder: Path) -> Case:
    from benchmarks.torture import doors

    chosen = {
        name: random.choice([word for word in WORDS if "\0" not in word])
        for name in random.sample(VARIABLES, random.choice((1, 1, 2, 3)))
    }
    doors._make_class(folder)
    _make_run(folder)
    words = random.choice((["memory", "--params", "1e9"], ["progress"], ["train", str(folder / "run.json")], ["plan",
    "--flops", "1e20"],
                           ["merge", str(folder / "class"), "--out", "x.jsonl"], ["check"]))  # fmt: skip

    def call() -> Any:
        with doors._environment(**chosen):
            return command([*words, "--json"], folder)

    return f"{chosen} scalept {words[0]}"[:200], call


def _make_run(folder: Path) -> None:
    from scalept_lab.config import ModelConfig, TrainConfig

    (folder / "run.json").write_text(
        TrainConfig(model=ModelConfig.family(16), tokens=20_000).model_dump_json(), encoding="utf-8"
    )


OBJECTS: dict[str, tuple[Callable[[Random, Path], Case], float]] = {
    "answers to check": (check_case, 5.0),
    "guesses": (predict_case, 3.0),
    "claims": (claim_case, 3.0),
    "command line": (command_case, 4.0),
    "environment": (environment_case, 2.0),
}
