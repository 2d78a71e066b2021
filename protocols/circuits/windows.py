"""Sliding windows of convolutions and pooling, as index arithmetic: which element each window reads.

Images are (N, C, H, W). A convolution is one matrix product of gathered windows with the kernel, so it costs
one opening an output element, whatever the kernel's size. Gathering is local.

Symbols: N images, C channels, H, W height and width, kh, kw kernel, oh, ow output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalMisuse

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """Geometry of a two-dimensional window; pads are (top, left, bottom, right)."""

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of windows. Raises LocalMisuse when none fits."""
        sizes = []
        for axis, size in enumerate((height, width)):
            reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1
            padded = size + self.pads[axis] + self.pads[axis + 2]
            sizes.append((padded - reach) // self.strides[axis] + 1)
        if min(sizes) < 1:
            raise LocalMisuse(f"a {self.kernel} window does not fit an image of {height} x {width}")
        return sizes[0], sizes[1]


def same_pads(
    kernel: Sequence[int], strides: Sequence[int], size: Sequence[int], upper: bool
) -> tuple[int, int, int, int]:
    """Pads that make ceil(size / stride) windows; an odd one at the end when `upper`."""
    total = [max(0, (-(-s // d) - 1) * d + k - s) for k, d, s in zip(kernel, strides, size, strict=True)]
    less, more = [p // 2 for p in total], [p - p // 2 for p in total]
    first, last = (less, more) if upper else (more, less)
    return first[0], first[1], last[0], last[1]


def gather(shape: tuple[int, ...], window: Window) -> Indices:
    """Flat index of each window's elements, (N, oh, ow, C, kh * kw); -1 in the padding."""
    n, channels, height, width = shape
    oh, ow = window.output(height, width)
    rows = _line(oh, window.strides[0], window.pads[0], window.kernel[0], window.dilations[0])
    columns = _line(ow, window.strides[1], window.pads[1], window.kernel[1], window.dilations[1])
    y, x = rows[:, None, :, None], columns[None, :, None, :]  # (oh, ow, kh, kw)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    plane = np.where(inside, y * width + x, -1).reshape(oh, ow, -1)
    starts = (np.arange(n * channels) * height * width).reshape(n, 1, 1, channels, 1)
    spread = np.broadcast_to(plane[None, :, :, None, :], (n, oh, ow, channels, plane.shape[2]))
    return np.where(spread >= 0, spread + starts, -1)


def _line(windows: int, stride: int, pad: int, kernel: int, dilation: int) -> Indices:
    starts = np.arange(windows)[:, None] * stride - pad
    return np.asarray(starts + np.arange(kernel)[None, :] * dilation)


def inside_only(indices: Indices) -> Indices:
    """Padding replaced by an element of the same window, for maxima. Raises LocalMisuse for empty windows."""
    first = indices.max(axis=-1, keepdims=True)
    if (first < 0).any():
        raise LocalMisuse("a pooling window lies in the padding alone", fix="use smaller pads")
    return np.where(indices < 0, first, indices)
