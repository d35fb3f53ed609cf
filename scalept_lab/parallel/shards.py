"""Reading what torch.distributed.checkpoint (DCP) wrote, without executing anything that a file may name.

DCP's table of contents, `.metadata`, is a pickle, and a pickle can name any function and call it; entries of it that are
no tensors are pickles too. Here only the classes of a table are made, and only tensors are read (with `weights_only`).
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import metadata as contents

from scalept_lab.errors import InputError

KNOWN = {
    "torch.distributed.checkpoint.metadata": {*contents.__all__, "_MEM_FORMAT_ENCODING"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch": {"Size", *(name for name, value in vars(torch).items() if isinstance(value, torch.dtype))},
    "torch.serialization": {"_get_layout"},
    "pathlib": {"PosixPath", "WindowsPath"},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in KNOWN.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no table of contents needs")


class ShardReader(dcp.FileSystemReader):
    """DCP's reader of a folder, for tables that hold nothing but tensors in the files of that folder."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> contents.Metadata:
        with open(Path(self.path) / ".metadata", "rb") as file:
            table = _Unpickler(file).load()
        table.storage_meta = table.storage_meta or contents.StorageMeta()
        table.storage_meta.load_id = self.load_id
        return table

    def sizes(self, files: set[str]) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor. `files`: where they may lie. Raises: InputError if anything else is in the table."""
        path = Path(self.path) / ".metadata"
        try:
            table = self.read_metadata()
            sizes = {name: tuple(entry.size) for name, entry in table.state_dict_metadata.items()}  # type: ignore[union-attr]
            places = {place.relative_path for place in table.storage_data.values()}
        except Exception as error:  # a damaged pickle raises anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"{path}: not a table of tensors ({reason}); do not load it, begin from another one"
            ) from None
        if strange := places - files:
            raise InputError(f"{path}: points to {min(strange)}, outside the checkpoint; do not load it")
        return sizes
