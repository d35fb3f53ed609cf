"""What a package shows without importing it: names that are fetched when they are first used.

`import scalept_lab` costs a worker process nothing, and `sl.costs.count(…)` loads that one module of one room. Third-party
packages are left out here: on Colab this runs before they are installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def shown(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of `package`: its modules by name, and the names that each one gives.

    homes: module -> names, separated by blanks (none: the module is reached by its own name alone). Raises: ImportError for
    a name that two modules give: the later one would take the place of the other.
    """
    names = [name for names in homes.values() for name in names.split()]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ImportError(f"{package}: two modules give {', '.join(sorted(twice))}; rename one")
    home = {name: module for module, names in homes.items() for name in names.split()}
    known = sorted({*home, *(module for module in homes if "." not in module)})

    def get(name: str) -> Any:
        if name in home:
            return getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        if name in homes:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)

    return get, lambda: known, known
