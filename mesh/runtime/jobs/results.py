"""Long vectors that jobs ended with: one NPY file each, kept as long as the job is listed.

A vector of ten million values as JSON costs a node seconds and gigabytes; as a file it is written once, in a
thread, and read by whoever asks. The files hold results only, which are this person's to know; mode 0600.

Invariant: after `retain(jobs)` there are files of these jobs only; a file is whole or not there.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from protocols.errors import ConfigError, LocalMisuse

INLINE_VALUES = 4096
"""A vector of more values than these goes to a file instead of into the answer."""


class Results:
    """Vectors by job and place among the job's answers. Blocking: call in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, job: str, index: int, values: npt.NDArray[np.float64]) -> None:
        """Store a vector. Raises ConfigError C-145 when the disk does not take it."""
        path = self._path(job, index)
        new = path.with_suffix(".new")
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
            new.replace(path)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise ConfigError(
                f"the result cannot be written to {self._folder}: {error.strerror}",
                code="C-145",
                fix=f"free {values.nbytes:,} bytes and run the job again",
            ) from error

    def path(self, job: str, index: int) -> Path:
        """Where a vector is. Raises LocalMisuse C-404 if there is none."""
        path = self._path(job, index)
        if not path.is_file():
            raise LocalMisuse(
                f"answer {index} of job {job} is no long vector",
                code="C-404",
                fix=f"coppice jobs result {job}",
            )
        return path

    def retain(self, jobs: Collection[str]) -> None:
        """Remove the vectors of all other jobs."""
        for path in self._folder.glob("*") if self._folder.is_dir() else ():
            if path.name.partition("-")[0] not in jobs:
                path.unlink(missing_ok=True)

    def _path(self, job: str, index: int) -> Path:
        return self._folder / f"{job}-{index}.npy"
