"""Pack the course into one archive that is installed without a network: `make bundle`.

The archive holds the files that git tracks, the wheels of everything that they need for the Python and the system at hand, the
prepared corpora, and `install.py`, which checks each file by the sha256 in `offline/manifest.json`, installs, and ends with
`scalept check --class`. Run it on the kind of machine that the class has; run by the Python of .venv.

    make bundle                                # dist/scalept-lab-offline-….tar
    make bundle PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"     # where torch came from there
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOP = "scalept-lab"  # the folder that the archive unpacks to
CORPORA = ("python", "language")  # what the notebooks train on
MANIFEST = "offline/manifest.json"
README = """\
ScalePT Lab, to be installed without a network.

    tar xf scalept-lab-offline-….tar      (or: python3 -m tarfile -e scalept-lab-offline-….tar)
    cd scalept-lab
    python3 install.py                    checks every file, installs into .venv here, asks whether all is well
    make lab                              the course (without make: .venv/bin/python -m jupyterlab notebooks)
"""


class Trouble(Exception):
    """What keeps the archive from being made, in one line."""


def pack(files: Mapping[str, Path], out: Path, **about: str) -> dict:
    """Write `files` (name in the archive -> file) and their manifest to the tar file `out`, whole or not at all.

    Returns the manifest: `about`, and `files` with [bytes, sha256] for each name. Equal files give equal archives.
    """
    order = sorted(files, key=lambda name: (name.startswith("offline/"), name))
    manifest = {"schema": 1, **about, "files": {name: _described(files[name]) for name in order}}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as draft:
        listed, made = Path(draft, "manifest.json"), Path(draft, "archive")
        listed.write_text(json.dumps(manifest, indent=0), encoding="utf-8")
        with tarfile.open(made, "w", dereference=True) as archive:
            # what judges the rest comes first: an archive that is cut short still has it
            first = {"install.py": files["install.py"], MANIFEST: listed}
            for name, path in (first | {name: files[name] for name in order}).items():
                archive.add(path, f"{TOP}/{name}", recursive=False, filter=_nobodys)
        os.replace(made, out)
    return manifest


def _described(path: Path) -> list:
    with open(path, "rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member


def tracked() -> dict[str, Path]:
    """What git tracks here, as it is now. Raises Trouble where this is no checkout."""
    try:
        found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise Trouble("expected a git checkout, found none: clone the repository, and bundle there") from None
    names = [os.fsdecode(name) for name in found.stdout.split(b"\0") if name]
    return {name: ROOT / name for name in names if (ROOT / name).is_file()}


def needed() -> list[str]:
    """The requirements of the course and of its own installation; torch in the build that is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    own = [text for text in project["project"]["dependencies"] if not text.startswith("torch>")]
    return [*own, f"torch=={metadata.version('torch')}", *project["build-system"]["requires"], "editables"]


def wheels(folder: Path, pip_arguments: list[str]) -> None:
    """Fill `folder` with the wheels of `needed()`. Raises Trouble with the last line that pip said."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), *pip_arguments]
    found = subprocess.run(
        [*command, "--constraint", str(ROOT / "constraints.txt"), *needed()], capture_output=True, text=True
    )
    if found.returncode:
        said = [line for line in found.stderr.splitlines() if line.strip()]
        raise Trouble(f"pip could not gather the wheels: {said[-1] if said else 'it said nothing'}")


def corpora(folder: Path) -> None:
    """Prepare the corpora of the notebooks in a cache of their own. Raises Trouble where only the fallback can be had."""
    from scalept_lab.data.corpora import FINGERPRINTS, prepare

    for name in CORPORA:
        made = prepare(name, cache=folder)
        if made.sha256 != FINGERPRINTS[name]:
            raise Trouble(
                f"corpus {name}: expected the pinned fingerprint, got another; run make test here first"
            )


def below(folder: Path, name: str) -> dict[str, Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f"{name}/{path.relative_to(folder).as_posix()}": path for path in files}


def main() -> int:
    """Make the archive and say what is in it; 2, with one line, where it cannot be made."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--out", type=Path, help="default: dist/scalept-lab-offline-PYTHON-SYSTEM.tar")
    options.add_argument("pip", nargs="*", metavar="PIP_ARGUMENT", help="after --: handed on to pip wheel")
    chosen = options.parse_args()
    python, system = f"{sys.version_info.major}.{sys.version_info.minor}", sysconfig.get_platform()
    out = chosen.out or ROOT / "dist" / f"{TOP}-offline-{python}-{system}.tar"
    try:
        files = tracked()
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            (place / "OFFLINE.txt").write_text(README, encoding="utf-8")
            print("gathering wheels (the first time they are downloaded)", flush=True)
            wheels(place / "wheels", chosen.pip)
            print("preparing the corpora", flush=True)
            corpora(place / "cache")
            files |= {"install.py": ROOT / ".ci" / "install.py", "OFFLINE.txt": place / "OFFLINE.txt"}
            files |= below(place / "wheels", "offline/wheels") | below(place / "cache", "offline/cache")
            manifest = pack(files, out, python=python, system=system)
    except (Trouble, OSError) as error:
        print(f"make bundle: {error}", file=sys.stderr)
        return 2
    kinds = sum(name.endswith(".whl") for name in manifest["files"])
    print(
        f"{out}: {out.stat().st_size / 1e6:.0f} MB, {len(files)} files, {kinds} wheels, Python {python}, {system}"
    )
    print(f"sha256 {_described(out)[1]}")
    print(README.partition("\n\n")[2].rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
