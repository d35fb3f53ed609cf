"""Install the course from the archive that this file came in, without a network: `python3 install.py`.

Every file is held to the sha256 in offline/manifest.json first. Then come .venv here, with the wheels of the archive, the
corpora, in the usual cache, and `scalept check --class`. The standard library alone is needed. Run it again at any time: what
is there stays.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent
MANIFEST = "offline/manifest.json"
LARGEST = 10**7  # bytes of a manifest


class Trouble(Exception):
    """What keeps the course from being installed, in one line."""


def manifest(root):
    """What the archive should hold. Raises Trouble where it is missing or damaged."""
    path = root / MANIFEST
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is far too long")
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema"] != 1:
            raise ValueError("it is of schema {!r}, this installs 1".format(found["schema"]))
        if not (isinstance(found["python"], str) and isinstance(found["system"], str)):
            raise ValueError("it names no Python and no system")
        for name, (size, sha256) in found["files"].items():
            if (
                not (isinstance(size, int) and len(sha256) == 64)
                or os.path.isabs(name)
                or ".." in name.split("/")
            ):
                raise ValueError(f"{name[:60]!r} is described wrongly")
        return found
    except OSError:
        raise Trouble(
            f"{MANIFEST}: not here; unpack the whole archive, and run install.py in its folder"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise Trouble(f"{MANIFEST}: damaged ({reason}); copy the archive again") from None


def verify(root, listed):
    """Raises Trouble for the first file that is not what it was when it was packed; says how many more there are."""
    wrong = []
    for name, (size, sha256) in listed.items():
        path = root / name
        try:
            if path.stat().st_size != size:
                wrong.append(f"{name}: expected {size:,} bytes, got {path.stat().st_size:,}")
            elif _sha256(path) != sha256:
                wrong.append(f"{name}: its sha256 is not the one it was packed with")
        except OSError as error:
            wrong.append(f"{name}: {error.strerror or error}")
    if wrong:
        more = f" ({len(wrong) - 1} more like it)" if wrong[1:] else ""
        raise Trouble(f"{wrong[0]}{more}; the archive is damaged or was cut short: copy and unpack it again")


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def fits(python, system):
    """Raises Trouble where the wheels are for another Python or another system."""
    here = f"{sys.version_info[0]}.{sys.version_info[1]}", sysconfig.get_platform()
    if here != (python, system):
        raise Trouble(
            f"expected Python {python} on {system}, which this archive was made for, got {here[0]} on {here[1]}; "
            f"run it with python{python}, or make an archive on a machine like this one"
        )


def install(root):
    """The course in `.venv`, from the wheels of the archive alone. Raises Trouble."""
    venv = root / ".venv"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists() and _run([sys.executable, "-m", "venv", "--clear", str(venv)]):
        raise Trouble(f"{venv} could not be made (on Debian and Ubuntu: sudo apt install python3-venv)")
    offline = ["--no-index", "--find-links", str(root / "offline" / "wheels"), "--quiet"]
    wanted = ["--constraint", str(root / "constraints.txt"), "--editable", str(root)]
    if said := _run([str(python), "-m", "pip", "install", *offline, *wanted]):
        raise Trouble(f"pip could not install the course: {said}")
    (venv / ".installed").touch()  # for make, which would install it once more
    return python


def _run(command):
    """The last line of what a command complained about; "" where it ended well. No setting of pip's reaches it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    env.update(PIP_CONFIG_FILE=os.devnull, PIP_DISABLE_PIP_VERSION_CHECK="1")
    found = subprocess.run(command, env=env, capture_output=True, text=True)
    if found.returncode == 0:
        return ""
    lines = [line for line in (found.stdout + found.stderr).splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {found.returncode}"


def fill(source, cache):
    """Copy the corpora to the cache, each whole or not at all; one that is there stays."""
    for folder in sorted(source.iterdir()):
        there = cache / "prepared" / folder.name
        if not there.exists():
            draft = there.with_name(f".{there.name}-{os.getpid()}")
            draft.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, draft)
            draft.rename(there)


def main():
    """Install, say each step, and end with the verdict of `scalept check --class`; 2, with one line, where it fails."""
    try:
        found = manifest(ROOT)
        fits(found["python"], found["system"])
        print(f"checking {len(found['files'])} files", flush=True)
        verify(ROOT, found["files"])
        print("installing into .venv", flush=True)
        python = install(ROOT)
        asked = "from scalept_lab import folders; print(folders.cache())"
        cache = subprocess.run(
            [str(python), "-c", asked], capture_output=True, text=True, check=True
        ).stdout.strip()
        fill(ROOT / "offline" / "cache" / "prepared", Path(cache))
    except (Trouble, OSError, subprocess.CalledProcessError) as error:
        print(f"install.py: {error}", file=sys.stderr)
        return 2
    return subprocess.run([str(python), "-m", "scalept_lab.cli", "check", "--class"], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
