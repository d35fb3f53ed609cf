"""Write the repository's address into everything that names it: `make address REPO=owner/name`.

For whoever forks the kit: afterwards its badges open, and its notebooks' first cells install, the fork. The address stands in
pyproject.toml ([project.urls]); this replaces that one wherever it follows a host that serves it. Any Python 3 runs it.
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("*.toml", "*.md", "*.yml", "*.cff", "docs/*.md", "notebooks/*.ipynb", "scalept_lab/**/*.py")
HOSTS = rb"(github\.com/|colab\.research\.google\.com/github/|mybinder\.org/v2/gh/)"
ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*/(?!\.+$)[A-Za-z0-9_.-]+(?<!\.git)")
STANDS = re.compile(r'^Repository = "https://github\.com/([^"]+)"$', re.MULTILINE)


def write_address(new, root=ROOT):
    """The files changed, all of them or none. Raises ValueError, in one line, for what is no owner/name; OSError."""
    if not ADDRESS.fullmatch(new):
        raise ValueError(
            f"REPO: expected owner/name as GitHub has it, got {new!r}; try: make address REPO=anna/my-lab"
        )
    stands = STANDS.search((root / "pyproject.toml").read_text(encoding="utf-8"))
    if not stands:
        raise ValueError(
            'pyproject.toml: expected Repository = "https://github.com/owner/name", got no such line; add it'
        )
    old = re.compile(HOSTS + re.escape(stands[1].encode()) + rb"(?=\.git\b|\.?(?![\w.-]))")
    drafts = {}
    try:
        for path in sorted({path for place in PLACES for path in root.glob(place)}):
            before = path.read_bytes()  # bytes: line ends and outputs stay as they are
            after = old.sub(lambda found: found[1] + new.encode(), before)
            if after != before:
                drafts[path] = path.with_name(f".{path.name}.{os.getpid()}.tmp")
                drafts[path].write_bytes(after)
                drafts[path].chmod(path.stat().st_mode)
        for path, draft in drafts.items():
            os.replace(draft, path)
    finally:
        for draft in drafts.values():
            if draft.exists():
                draft.unlink()
    return list(drafts)


def main():
    """Print what was changed; 2, with one line, for an address that is none."""
    new = os.environ.get("REPO", "")
    try:
        changed = write_address(new)
    except (ValueError, OSError) as error:
        print(f"make address: {error}", file=sys.stderr)
        return 2
    print(
        f"https://github.com/{new} stands in {len(changed)} more files"
        if changed
        else f"nothing to do: {new} stands already"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
