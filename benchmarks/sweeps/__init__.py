"""The recorded sweeps, by name. Importing a module enters its sweeps."""

from sweeps import compress, curriculum, delayed, grids, laws, lengths, precision, text, transfer, vla  # noqa: F401
from sweeps.jobs import SWEEPS, Job, Sweep

__all__ = ["SWEEPS", "Job", "Sweep"]
