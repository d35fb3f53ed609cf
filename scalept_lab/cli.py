"""The command line: `scalept …`. Every subcommand takes --json; bad input ends with one line and exit status 2."""

from __future__ import annotations

import argparse
import io
import json
import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from scalept_lab import outside
from scalept_lab.checks import positive, whole
from scalept_lab.errors import InputError, printable

CLOSED = 141  # what a shell reports of a command whose reader went away


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        try:
            return _answer(arguments)
        finally:
            sys.stdout.flush()
    except OSError as error:  # of the streams themselves: a command's own is told in _answer
        _drop_unread()
        if isinstance(error, BrokenPipeError):
            return CLOSED
        print(f"scalept: {error.strerror or error}", file=sys.stderr)
        return 2


def _drop_unread() -> bool:
    """Whether stdout or stderr leads nowhere: its reader went away, its disk is full. What is left for it is dropped, or
    Python would try once more at exit, and complain.
    """
    dropped = False
    for stream in (sys.stdout, sys.stderr):
        try:
            poll = select.poll()
            poll.register(stream.fileno(), 0)
            stream.flush()
            unread = any(event & select.POLLERR for _, event in poll.poll(0))
        except io.UnsupportedOperation:  # no file: a notebook's, or a test's
            continue
        except OSError:
            unread = True
        if unread:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            dropped = True
    return dropped


def _answer(arguments: Sequence[str] | None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that knows no α shows its number
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        result, text = options.command(options)
    except InputError as error:
        if _speaks():
            print(f"scalept {options.name}: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a folder where a file should be, no right to write, a full disk
        if isinstance(error, BrokenPipeError) and _drop_unread():  # and not the pipe of a worker
            return CLOSED
        where = f"{error.filename}: " if error.filename else ""
        print(InputError(f"scalept {options.name}: {where}{error.strerror or error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"scalept {options.name}: interrupted; what was finished is kept, run it again to go on",
            file=sys.stderr,
        )
        return 130
    if _speaks():
        print(json.dumps(result) if options.json else text)
    return 1 if isinstance(result, dict) and result.get("ok") is False else 0


def _speaks() -> bool:
    """Under `torchrun` every rank runs the command; the first one answers for all. A rank that is none of its group says so."""
    rank, ranks = (os.environ.get(name, "").strip() for name in ("RANK", "WORLD_SIZE"))
    # their lengths too: Python reads no number of more than 4,300 digits
    known = all(text.isdecimal() and len(text) < 10 for text in (rank, ranks))
    return not (known and 0 < int(rank) < int(ranks))


def check(options: argparse.Namespace) -> tuple[Any, str]:
    if options.room is not None:
        from scalept_lab.course import readiness, room

        told = room.read(options.room) if options.room else readiness.check()
        return told.as_json(), str(told)
    from scalept_lab import machine

    found = machine.check()
    if found["torch"] and len(machine.devices()) > 1:
        from scalept_lab.config import recommend
        from scalept_lab.train.placement import device_for

        cores = found["cores"]
        found["sweeps_on"] = {
            f"width {width}": device_for(recommend(width, 1e6), cores) for width in (16, 64, 256)
        }
    speed = f"{found['gflops']} GFLOP/s on one thread" if found["gflops"] else "speed unknown"
    return found, (
        f"Python {found['python']}, torch {found['torch']}, {found['cores']} cores, "
        f"{found['memory_bytes'] / 1e9:.1f} GB of memory, device {found['device']}, {speed}\n"
        + "".join(
            f"a sweep trains {width} on {where}\n" for width, where in found.get("sweeps_on", {}).items()
        )
        + ("ready" if found["ok"] else "NOT ready: Python 3.11, torch and 1.5 GB of memory are needed")
    )


def study(options: argparse.Namespace) -> tuple[Any, str]:
    from scalept_lab import folders, machine
    from scalept_lab.study.standard import run_standard_study

    began, started = datetime.now(UTC).replace(microsecond=0), time.perf_counter()
    done = run_standard_study(
        options.out or folders.results() / "study",
        options.budget_flops,
        seed=options.seed,
        quiet=options.json,
    )
    seconds = time.perf_counter() - started
    text = f"{done}\nfinished in {seconds / 60:.1f} minutes"
    if all(datetime.fromisoformat(record.provenance["created"]) >= began for record in done.records):
        speed = (sum(record.C for record in done.records) + done.score.shot.flops) / seconds / 1e9
        most = machine.gflops() * (machine.cores() if machine.device() == "cpu" else 1)
        text += f" at {speed:.0f} GFLOP/s, {speed / most:.2f} of what large matrix products reach here"
    return {**done.as_json(), "seconds": round(seconds, 1)}, text


def fit(options: argparse.Namespace) -> tuple[Any, str]:
    from scalept_lab.laws.card import fit_file

    pinned = {}
    for text in options.pin:
        name, _, value = str(text).partition("=")  # argparse makes a list of "--"
        pinned[name] = positive(f"--pin {name or text}", value, hint="write it as in --pin E=1.69")
    found = fit_file(
        options.points, options.form, options.bootstrap, variable=options.variable, pinned=pinned
    )
    card = found["card"]
    table = {key: value for key, value in found.items() if key != "card"}
    return found, "\n".join([_table(table), "", "what these runs can tell:", *card["sentences"]])


def count(options: argparse.Namespace) -> tuple[Any, str]:
    from scalept_lab.costs import counts

    found = counts.count(options.model)
    return found, _table(found)


def memory(options: argparse.Namespace) -> tuple[Any, str]:
    from scalept_lab.costs import counts

    found = counts.memory(options.params, gpus=options.gpus, zero=options.zero, precision=options.precision)
    return found, "\n".join(f"{key:<10} {value / 1e9:>10.2f} GB per GPU" for key, value in found.items())


def plan(options: argparse.Namespace) -> tuple[Any, str]:
    from scalept_lab.laws import formulas

    if options.plan or options.scenario:
        return _whole_plan(options)
    if options.flops is None:
        raise InputError("expected --flops C, --scenario NAME or a plan's file, got none of them; give one")
    found = formulas.plan(options.flops, law=options.law)
    text = _table(found)
    if options.law == "hoffmann":  # the digits behind the printed constants move the answer by a quarter
        text += "\n\nwith the constants before rounding (--law hoffmann-unrounded):\n"
        text += _table(formulas.plan(options.flops, law="hoffmann-unrounded"), "  ")
    return found, text


def _whole_plan(options: argparse.Namespace) -> tuple[Any, str]:
    """A plan's file: the naive one of a scenario written, or one read, checked, billed and scored."""
    from scalept_lab.study import plan as planning
    from scalept_lab.study import review, rivals

    if options.plan and (options.scenario or options.flops is not None):
        raise InputError("expected a plan's file, --scenario or --flops, got two of them; give one")
    made = planning.read_plan(options.plan) if options.plan else rivals.naive(options.scenario)
    if options.seal:
        made = planning.seal(made)
    if options.out or (options.seal and options.plan):
        made.save(options.out or options.plan)
    checks = review.check(made)
    standing, why = None, ""
    try:
        standing = rivals.score(made)
    except InputError as error:
        why = str(error)
    cost = planning.bill(made) if checks[0].ok else None
    if options.report:
        from scalept_lab.study.report import write_plan_report

        write_plan_report(made, options.report)
    found = {
        "ok": all(each.ok for each in checks) if options.plan else True,
        "scenario": made.scenario,
        "N": made.N,
        "D": made.tokens,
        "checks": review.as_rows(checks),
        "bill": cost,
        "score": standing.as_dict() if standing else None,
    }
    lines = [
        f"{made.case.title}: {made.N:.3g} parameters, {made.tokens:.3g} tokens, {made.layout.layout()}",
        "",
    ]
    for each in checks:
        lines.append(f"{'yes' if each.ok else 'NO':<4} {each.question}: {each.found}")
        lines += [f"     {each.advice}"] if each.advice else []
    if cost:
        lines += ["", f"{cost['hours']:,.1f} hours, {cost['gpu_hours']:,.0f} GPU hours, {cost['kwh']:,.0f} kWh, "
                  f"{cost['dollars']:,.0f} $ (assumptions: --report)"]  # fmt: skip
    if standing:
        lines += ["", f"loss {standing.loss:.4f}, naive plan {standing.naive:.4f}, best found {standing.best:.4f}: skill "
                  f"{standing.skill:.2f}; better than the naive plan under {standing.share:.0%} of the law's draws"]  # fmt: skip
    else:
        lines += ["", f"not scored: {why}"]
    return found, "\n".join(lines)


def train(options: argparse.Namespace) -> tuple[Any, str]:
    from scalept_lab.config import TrainConfig, parse

    whole("--every", options.every)
    config = parse(TrainConfig, outside.json_value(options.config, "a JSON file with a run's config"))
    from scalept_lab.screen import Bar
    from scalept_lab.train.loop import Keep
    from scalept_lab.train.loop import train as train_run

    keep = Keep(options.checkpoint, options.every, options.background) if options.checkpoint else None
    title = f"training {config.steps:,} steps"
    with Bar(title, shown=not options.json and _speaks()) as bar:
        record = train_run(config, keep=keep, progress=lambda step: bar.at(step / config.steps))
    loss = (
        f"loss {record.L:.4f} nats per token" if record.L is not None else f"{record.status}: {record.error}"
    )
    return record.model_dump(), f"{record.N:,} parameters, {record.D:,} tokens, {record.C:.3g} FLOPs: {loss}"


def merge(options: argparse.Namespace) -> tuple[Any, str]:
    from scalept_lab.study import merging, pooling

    gathered = merging.gather(options.folders, f"{options.out} is not written")
    found = merging.write(gathered, options.out)
    lines = [f"{found['accepted']} records in {options.out}, {found['duplicates']} duplicates"]
    lines += [printable(f"rejected {r['file']}:{r['line']}: {r['reason']}", 1000) for r in found["rejected"]]
    pool = pooling.pooled(gathered)
    if len(pool.learners) > 1:
        lines += ["", *pool.lines()]
    return found | pool.as_json(), "\n".join(lines)


def progress(options: argparse.Namespace) -> tuple[Any, str]:
    from scalept_lab.course import learner

    if options.folder:
        from scalept_lab.course.classroom import class_progress

        of_class = class_progress(options.folder)
        return of_class.as_dict(), repr(of_class)
    found = learner.progress(options.notebook)
    if options.out:
        learner.export(options.out)
    return found.as_dict() | {"file": str(learner.path())}, f"{found!r}\nkept in {learner.path()}"


def run(options: argparse.Namespace) -> tuple[Any, str]:
    from scalept_lab.course import notebooks

    found = notebooks.run(options.notebooks, save=options.save, empty=options.empty_cache)
    lines = [
        f"{'ok' if one['ok'] else 'FAILED':<7} {one['seconds']:>6.1f} s {one['peak_rss_bytes'] / 1e6:>6.0f} MB  {one['path']}"
        + (f"\n        {one['error']}" if one["error"] else "")
        for one in found["notebooks"]
    ]
    return found, "\n".join(lines)


def _table(values: Any, indent: str = "") -> str:
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", _table(value, indent + "  ")]
        else:
            lines.append(
                f"{indent}{key:<18} {value:,}"
                if isinstance(value, int)
                else f"{indent}{key:<18} {_short(value)}"
            )
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)) and all(isinstance(item, (int, float)) for item in value):
        return " to ".join(f"{item:.6g}" for item in value)
    return str(value)


class _Parser(argparse.ArgumentParser):
    """Argument errors as the rest of the bad input: one line, exit status 2."""

    def error(self, message: str) -> Any:
        self.exit(2, f"{InputError(f'{self.prog}: {message}; see {self.prog} --help')}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="scalept", description="Learn to scale pre-training by doing it.")
    subcommands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def add(name: str, command: Callable, text: str) -> argparse.ArgumentParser:
        sub = subcommands.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        sub.set_defaults(command=command)
        return sub

    sub = add("check", check, "what this machine is, and whether it is enough")
    sub.add_argument(
        "--class", dest="room", nargs="?", const="", metavar="FOLDER",
        help="is it ready for a class, without a network? With FOLDER: the table of a room, from the --json of its machines",
    )  # fmt: skip

    sub = add("study", study, "the live scaling study: sweep, law, sealed prediction, hero run, report")
    sub.add_argument(
        "--budget-flops", type=float, default=None, metavar="X", help="FLOPs for the sweep (default 6e12)"
    )
    sub.add_argument(
        "--out", metavar="DIR", help="folder of the study (default $SCALEPT_RESULTS/study, or results/study)"
    )
    sub.add_argument("--seed", type=int, default=0, help="seed of every run (default 0)")

    sub = add("fit", fit, "fit a scaling law to a file of runs, and say what the runs can tell")
    sub.add_argument(
        "points",
        metavar="POINTS",
        help="CSV, JSON, JSONL or Parquet with params, tokens, loss (flops, unique_tokens)",
    )
    sub.add_argument(
        "--form", default="auto",
        help="auto (the one that forecasts best), chinchilla, tied, power_of_sum, data_constrained, power, broken_power",
    )  # fmt: skip
    sub.add_argument(
        "--variable",
        default="",
        help="what a power law takes: params, tokens or flops (default: what varies)",
    )
    sub.add_argument(
        "--pin", action="append", default=[], metavar="NAME=VALUE", help="hold a constant, as in --pin E=1.69"
    )
    sub.add_argument(
        "--bootstrap", type=int, default=1000, metavar="K", help="refits for the intervals (default 1000)"
    )

    sub = add("count", count, "parameters and FLOPs per token of a model")
    sub.add_argument("model", metavar="NAME", help="gpt2, bert-base, vit-b16, … or a config.json")

    sub = add("memory", memory, "bytes per GPU for parameters, gradients and optimizer")
    sub.add_argument("--params", type=float, required=True, metavar="N")
    sub.add_argument("--gpus", type=int, default=1, metavar="G")
    sub.add_argument("--zero", type=int, default=0, help="ZeRO stage, 0 to 3")
    sub.add_argument(
        "--precision", default="mixed", help="mixed, mixed-fp32-grads (gradients in 32 bits), fp32 or bf16"
    )

    sub = add(
        "plan",
        plan,
        "the compute-optimal model and data for a budget; or a whole plan, checked, billed and scored",
    )
    sub.add_argument("plan", nargs="?", metavar="PLAN.json", help="a plan's file: checks, bill and score")
    sub.add_argument("--flops", type=float, metavar="C", help="the best N and D for so much compute")
    sub.add_argument(
        "--scenario", metavar="NAME", help="day, month, robots or serving: the naive plan, to be edited"
    )
    sub.add_argument("--out", metavar="FILE", help="write the plan there")
    sub.add_argument(
        "--seal", action="store_true", help="seal the plan's prediction, in its file or in --out"
    )
    sub.add_argument("--report", metavar="FILE", help="write the plan's page (HTML) there")
    sub.add_argument("--law", default="hoffmann", help="hoffmann, besiroglu, kaplan, or a JSON file of a fit")

    sub = add("train", train, "train one run from a config file, alone or on all ranks of a torchrun")
    sub.add_argument("config", metavar="CONFIG.json")
    sub.add_argument("--checkpoint", metavar="DIR", help="leave checkpoints here, and go on from the newest")
    sub.add_argument(
        "--every", type=int, default=100, metavar="K", help="steps between checkpoints (default 100)"
    )
    sub.add_argument("--background", action="store_true", help="go on training while a checkpoint is written")

    sub = add(
        "merge", merge, "pool a class: run records of many folders into one file, one law, and who stands out"
    )
    sub.add_argument(
        "folders",
        nargs="+",
        metavar="DIR",
        help="folders of class files (study.export), of run records or of studies",
    )
    sub.add_argument("--out", required=True, metavar="FILE", help="a .jsonl or .parquet file")

    sub = add(
        "progress", progress, "how far you are: exercises, hints, predictions and how well they were judged"
    )
    sub.add_argument("notebook", nargs="?", metavar="NN", help="one notebook, e.g. 01 (default: all)")
    sub.add_argument(
        "--out", metavar="FILE", help="also copy the learner's file there, for a teacher or another machine"
    )
    sub.add_argument(
        "--class", dest="folder", metavar="FOLDER", help="instead: a table of the class whose files are there"
    )

    sub = add("run", run, "run notebooks; time and memory of each")
    sub.add_argument("notebooks", nargs="+", metavar="NOTEBOOK")
    sub.add_argument("--save", action="store_true", help="write the outputs into the notebooks")
    sub.add_argument(
        "--empty-cache",
        action="store_true",
        help="as a first run: without the corpora and results that are there",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
