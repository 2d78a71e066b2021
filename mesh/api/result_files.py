"""A job's result in a file: JSON as the node gives it, or NPZ with every vector as an array of its own.

An NPZ is a ZIP of NPY files, and long vectors come from the node as NPY, so that they are copied piece by
piece from the socket to the disk: neither numpy nor memory is needed for them. Short vectors and numbers get
the 128 bytes of an NPY header here (format version 1.0, numpy/lib/format.py).

    update_ill.npy …   one array for each answer that is a vector or a number
    facts.json         the whole result but for long vectors: what, over how many sites and rows, the receipt
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zipfile
from pathlib import Path

from mesh.api.client import Client
from mesh.api.jsonshape import encode
from mesh.api.shapes import AnswerInfo, JobResult
from protocols.errors import ConfigError

FORMATS = (".json", ".npz")


def write_result(client: Client, job: str, result: JobResult, path: Path) -> None:
    """Write the result of a job. Raises ConfigError C-648 for another format or a full disk."""
    if path.suffix not in FORMATS:
        raise _refuse(f"{path}: a result is not written as that", f"end it in {' or '.join(FORMATS)}")
    long = [answer for answer in result.answers if answer.length]
    if path.suffix == ".json" and long:
        raise _refuse(f"{long[0].length:,} values are not written as JSON", "end the file in .npz")
    new = path.with_name(f"{path.name}.{os.getpid()}.part")
    facts = json.dumps(encode(result), indent=1) + "\n"
    try:
        if path.suffix == ".json":
            new.write_text(facts, "utf-8")
        else:
            with zipfile.ZipFile(new, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                archive.writestr("facts.json", facts)
                for index, answer in enumerate(result.answers):
                    _member(archive, client, job, index, answer)
        new.replace(path)
    except OSError as error:
        raise _refuse(f"{path} cannot be written: {error.strerror}", "choose another place") from None
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


def _member(archive: zipfile.ZipFile, client: Client, job: str, index: int, answer: AnswerInfo) -> None:
    base = f"{answer.statistic}_{answer.column}"
    taken = f"{base}.npy" in archive.namelist()
    with archive.open(f"{base}_{index}.npy" if taken else f"{base}.npy", "w", force_zip64=True) as file:
        if answer.length:
            client.vector(job, index, file.write)
        else:
            file.write(_npy(answer))


def _npy(answer: AnswerInfo) -> bytes:
    """A number, or a short vector, as an NPY file of float64."""
    value = answer.value
    values = value if isinstance(value, tuple) else (value,)
    numbers = [float("nan") if item is None or isinstance(item, str) else float(item) for item in values]
    shape = f"({len(numbers)},)" if isinstance(value, tuple) else "()"
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    padded = header.ljust(117) + "\n"
    return (
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", len(padded))
        + padded.encode()
        + struct.pack(f"<{len(numbers)}d", *numbers)
    )


def _refuse(what: str, fix: str) -> ConfigError:
    return ConfigError(what, code="C-648", fix=fix)
