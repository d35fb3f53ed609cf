"""A Binder session, simulated: an ordinary user with an empty home, the pip part of environment.yml, and 2 GB of memory.

    sudo .venv/bin/python tests/hosted/binder.py                    # JupyterLab, then 00 and 08
    PYTHON=/usr/bin/python3.12 PIP_INDEX=no tests/hosted/binder.py notebooks/02_model_scaling.ipynb

Needs root on Linux: it makes the user (and removes it), and a control group whose memory is limited. The user clones this
repository as it is committed, and installs what environment.yml says. JupyterLab must answer, and stays open while the
notebooks run, as on Binder; all of it together has the 2 GB. `PIP_INDEX=no` leaves out the line that names an index of
PyTorch's, for a machine that does not reach it.

Prints a line for each step, then a row of the table of machines. Ends with 1 if anything did not hold.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ["notebooks/00_start_here.ipynb", "notebooks/08_scaling_curves.ipynb"]
USER, LIMIT, PORT = "scalept-binder", 2_000_000_000, 8899


def main(notebooks: list[str]) -> int:
    if sys.platform != "linux" or os.geteuid() != 0:
        print("expected root on Linux, to make a user and to limit memory; run it with sudo", file=sys.stderr)
        return 2
    started = time.perf_counter()
    group = _limited_group()
    base = Path(tempfile.mkdtemp(prefix="binder-"))
    base.chmod(0o755)
    home = base / "home"
    _run(
        "useradd", "--create-home", "--skel", "/nonexistent", "--home-dir", home, "--shell", "/bin/bash", USER
    )
    lab = None
    try:
        _run("git", "clone", "--quiet", f"file://{ROOT}", home / "repo")
        _run("chown", "--recursive", f"{USER}:", home)
        env = {**os.environ, "HOME": str(home), "USER": USER, "TMPDIR": "/tmp"}
        for name in ("PYTHONPATH", "VIRTUAL_ENV", "PYENV_VERSION"):
            env.pop(name, None)
        user = {
            "user": USER,
            "group": pwd.getpwnam(USER).pw_gid,
            "extra_groups": [],
            "cwd": home / "repo",
            "env": env,
        }

        python = home / "env/bin/python"
        _run(
            _usable(Path(os.environ.get("PYTHON", sys.executable)), base, user),
            "-m",
            "venv",
            home / "env",
            **user,
        )
        (home / "repo" / "pip.txt").write_text("\n".join(_pip_part()))
        _run(python, "-m", "pip", "install", "--quiet", "--requirement", "pip.txt", **user)
        print(f"installed in {time.perf_counter() - started:.0f} s", flush=True)

        (group / "cgroup.procs").write_text(str(os.getpid()))  # and all that it starts from here on
        lab = subprocess.Popen([python, "-m", "jupyterlab", "--no-browser", f"--port={PORT}", "--IdentityProvider.token="],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user)  # fmt: skip
        opened = _opened(f"http://127.0.0.1:{PORT}/lab")
        print("JupyterLab:", f"open after {opened:.0f} s" if opened else "does not answer", flush=True)
        answer = subprocess.run(
            [python.with_name("scalept"), "run", "--json", *notebooks], stdout=subprocess.PIPE, **user
        )
        found = json.loads(answer.stdout)["notebooks"]
        for result in found:
            told = "passed" if result["ok"] else result["error"]
            print(
                f"{Path(result['path']).name}: {told}, {result['seconds']:.0f} s, {result['peak_rss_bytes'] / 1e6:.0f} MB"
            )
    finally:
        if lab:
            lab.terminate()
            lab.wait()
        (group.parent / "cgroup.procs").write_text(str(os.getpid()))
        for _ in range(60):  # what the notebooks and JupyterLab started ends a moment after them
            if not (group / "cgroup.procs").read_text():
                break
            time.sleep(0.5)
        group.rmdir()
        _run("userdel", USER)
        shutil.rmtree(base)
    passed = sum(result["ok"] for result in found)
    seconds = sum(result["seconds"] for result in found)
    peak = max(result["peak_rss_bytes"] for result in found)
    print(f"simulated Binder, Python {sys.version.split()[0]}, {LIMIT / 1e9:g} GB | {passed} of {len(found)} notebooks | "
          f"{seconds:.0f} s ({time.perf_counter() - started:.0f} s with the installation) | {peak / 1e6:.0f} MB")  # fmt: skip
    return int(passed < len(found) or not opened)


def _pip_part() -> list[str]:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (part,) = [entry["pip"] for entry in entries if isinstance(entry, dict)]
    return [line for line in part if os.environ.get("PIP_INDEX") != "no" or "index-url" not in line]


def _usable(python: Path, base: Path, user: dict) -> Path:
    """A Python that the user may run: this one, or a copy of its installation where that lies in root's home."""
    attempt = ["sh", "-c", '"$0" -c ""', str(python)]  # the shell runs in any case, and tells
    if subprocess.run(attempt, stderr=subprocess.DEVNULL, **user).returncode == 0:
        return python
    prefix = _run(python, "-c", "import sys; print(sys.base_prefix)").strip()
    shutil.copytree(prefix, base / "python", symlinks=True)
    user["env"]["LD_LIBRARY_PATH"] = str(base / "python/lib")  # its libpython, not the system's
    return base / "python/bin/python3"


def _limited_group() -> Path:
    """A control group below the one that this process is in, of version 1 or 2, that may hold `LIMIT` bytes."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("memory", ""):
            place = Path("/sys/fs/cgroup", controllers, path.lstrip("/"))
            limit = "memory.limit_in_bytes" if controllers else "memory.max"
            group = place / f"scalept-{os.getpid()}"
            group.mkdir()
            if (group / limit).exists():
                (group / limit).write_text(str(LIMIT))
                return group
            group.rmdir()
    raise SystemExit(
        "expected a control group for memory below this one, found none; run it in a container of 2 GB"
    )


def _opened(address: str, seconds: float = 120) -> float:
    """Seconds until the page answers; 0 if it does not."""
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        try:
            with urllib.request.urlopen(address) as page:
                if page.status == 200 and b"JupyterLab" in page.read():
                    return time.perf_counter() - started
        except urllib.error.URLError:
            time.sleep(0.5)
    return 0.0


def _run(*command: str | Path, **options) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or NOTEBOOKS))
