"""What each part of the course takes of memory, each in a fresh process.

    python benchmarks/memory.py [PART …]

`own` is what the process has to itself when the part is done (USS), `held` what it and its children hold together then, `peak`
the most that was at any time, both with a shared page counted once (`course.memory`), `RSS` the sum of their resident sizes,
where it counts once per process. Millions of bytes. Corpora are built in an empty cache. By hand: a few minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile

import psutil

from scalept_lab.course.memory import PeakMemory

IMPORTS = {
    "bare Python": "",
    "a kernel": "import ipykernel.kernelapp",
    "import scalept_lab": "import scalept_lab",
    "numpy": "import numpy",
    "pandas": "import pandas",
    "scipy.special": "import scipy.special",
    "scipy.stats": "import scipy.stats",
    "matplotlib": "import matplotlib.pyplot",
    "datasets, with pyarrow": "import datasets",
    "transformers": "import transformers",
    "torch": "import torch",
    "torch and its compiler": "import torch, torch._dynamo",
    "first cell of a notebook": "import numpy, pandas, torch, scalept_lab\nfrom scalept_lab.course import check, claim, predict",
    "the training loop": "import scalept_lab.train.loop",
}
CORPORA = ("python-small", "python", "transformers", "language")
ONE_RUN = """
import scalept_lab as sl
config = sl.recommend(32, 200 * 8 * 64, batch=8)
sl.prepare(config.corpus)
"""
RANKS = """
import time
from scalept_lab.parallel import launch
def nothing():
    time.sleep(2)  # long enough to be seen
def step():
    import torch
    model = torch.nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    time.sleep(2)
launch({what}, {ranks})
"""
SWEEP = """
import tempfile
sl.study.sweep.run_all([config, config.replace(seed=1)], sl.Store(tempfile.mkdtemp()), progress=False)
"""
TRIAL = "sl.train.trial(config.replace(parallel=sl.config.Parallel(strategy={strategy!r})), {ranks})"
WORKERS = {
    "a server, one rank that does nothing": RANKS.format(what="nothing", ranks=1),
    **{f"{ranks} ranks, one step each": RANKS.format(what="step", ranks=ranks) for ranks in (1, 2, 4)},
    "a run in this process": ONE_RUN + "sl.train.fit_model(config)",
    "a sweep in two workers": ONE_RUN + SWEEP,
    **{
        f"{ranks} ranks, {strategy}": ONE_RUN + TRIAL.format(ranks=ranks, strategy=strategy)
        for ranks, strategy in ((2, "ddp"), (4, "ddp"), (4, "fsdp"))
    },
}
PARTS = {
    "imports": IMPORTS,
    "corpora": {f"prepare({name!r})": f"import scalept_lab as sl\nsl.prepare({name!r})" for name in CORPORA},
    "workers": WORKERS,
}

PROBE = """
import json as _json, os as _os, sys as _sys
import psutil as _psutil
from scalept_lab.course.memory import held_by as _held_by
_me = _psutil.Process()
_family = [_me, *_me.children(recursive=True)]
print(_json.dumps([
    _me.memory_full_info().uss, _held_by(_p.pid for _p in _family), sum(_p.memory_info().rss for _p in _family)
]))
"""


def cost(code: str) -> dict[str, float]:
    """`own`, `held`, `peak` and `RSS` of a fresh Python that runs `code`, in millions of bytes."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "SCALEPT_CACHE": folder, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code + PROBE]
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, cwd=folder
        )
        memory, most_rss = PeakMemory(child.pid, interval=0.02), 0
        while child.poll() is None:
            most_rss = max(most_rss, _rss(child.pid))
            try:
                child.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        peak = memory.stop()
        lines = child.stdout.read().splitlines() if child.stdout else []
    if child.returncode:
        raise SystemExit(f"a part ended with status {child.returncode}: {code}")
    own, held, rss = json.loads(lines[-1])
    found = {"own": own, "held": held, "peak": max(peak, held), "RSS": max(most_rss, rss)}
    return {name: size / 1e6 for name, size in found.items()}


def _rss(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named"
    )
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"expected parts of {', '.join(PARTS)}, got {unknown[0]}")
    print("| part | own MB | held | peak | largest RSS |\n|---|---|---|---|---|")
    for part in parts:
        for name, code in PARTS[part].items():
            found = cost(code)
            print(f"| {name} | " + " | ".join(f"{size:.0f}" for size in found.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
