"""A handful of devices under masks, with every piece in the hands of the test."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.arithmetic.xof import Xof
from protocols.masking import one_shot
from protocols.masking.layout import Layout
from protocols.masking.parameters import TABLE

SEED = b"\x05" * 32
each_set = pytest.mark.parametrize("parameters", TABLE, ids=lambda parameters: parameters.name)


def random_values(parameters, length, number):
    limit = 1 << (parameters.value_bits - 1)
    return np.random.default_rng(number).integers(-limit, limit, size=length, dtype=np.int32)


def key_of(parameters, number):
    return one_shot.MaskKey(parameters, Xof(number.to_bytes(32, "big"), "key"))


def message_of(layout, number, values, key=None, seed=SEED):
    key = key or key_of(layout.parameters, number)
    return one_shot.mask(layout, seed, key, values, Xof(number.to_bytes(32, "big"), "noise"))


def add(layout, messages):
    """What the adders do, span by span: (coordinates,) running sum."""
    parts, start = [], 0
    for index in range(layout.spans):
        total = one_shot.empty_total(layout, index)
        stop = start + layout.span_bytes(index)
        for message in messages:
            one_shot.add_packed(layout, total, message[start:stop])
        parts.append(total)
        start = stop
    return np.concatenate(parts)


def dealt(layout, vectors):
    """What the committee opens for the devices of `vectors` (by number): sums of keys, checks and weights."""
    return field.total(
        np.stack(
            [
                one_shot.dealing(layout, SEED, key_of(layout.parameters, number), vector, number + 1)
                for number, vector in vectors.items()
            ]
        )
    )


class Session:
    """Five devices, summed, with the pieces that the tests below spoil one at a time."""

    def __init__(self, parameters, length=2500, devices=5):
        self.layout = Layout(parameters, length)
        self.devices = devices
        self.vectors = [random_values(parameters, length, number) for number in range(devices)]
        self.expected = np.sum(self.vectors, axis=0, dtype=np.int64)
        self.messages = [message_of(self.layout, i, vector) for i, vector in enumerate(self.vectors)]
        self.total = add(self.layout, self.messages)
        self.opened = dealt(self.layout, dict(enumerate(self.vectors)))

    def unmask(self, total=None, opened=None, seed=SEED, devices=None):
        sums, weight = one_shot.unmask(
            self.layout,
            seed,
            self.total if total is None else total,
            self.opened if opened is None else opened,
            devices or self.devices,
        )
        assert weight == sum(range(1, self.devices + 1))
        return sums
