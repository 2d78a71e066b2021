"""Arrays that a hot function reuses from call to call, instead of asking the allocator for pages.

On Linux a fresh array of 100 kB or more costs a page fault for every 4 kB; measured here, that took longer
than the arithmetic on it. A buffer belongs to one name and one thread. The rule of use: the name is the
function's own, and the array is dead when that function returns. Contents are whatever was there before,
secrets included: as with every numpy temporary, the memory of the process is trusted.
"""

from __future__ import annotations

from threading import local
from typing import Any

import numpy as np
import numpy.typing as npt

LIMIT_BYTES = 1 << 21
"""Larger requests are allocated afresh, so that one long vector does not stay in memory for ever."""

_buffers = local()


def take(name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An uninitialised array of this shape and dtype, valid until the same name is taken again."""
    kind = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    if count * kind.itemsize > LIMIT_BYTES:
        return np.empty(shape, dtype=kind)
    buffer = getattr(_buffers, name, None)
    if buffer is None or buffer.dtype != kind or buffer.size < count:
        buffer = np.empty(count, dtype=kind)
        setattr(_buffers, name, buffer)
    return buffer[:count].reshape(shape)
