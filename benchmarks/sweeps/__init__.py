"""The recorded sweeps, by name. Importing a module enters its sweeps."""

from sweeps import (  # noqa: F401
    calibrated,
    compress,
    curriculum,
    decoding,
    delayed,
    equal_compute,
    experts,
    formats,
    grids,
    heads,
    laws,
    lengths,
    precision,
    privacy,
    text,
    transfer,
    vla,
)
from sweeps.jobs import SWEEPS, Job, Sweep

__all__ = ["SWEEPS", "Job", "Sweep"]
