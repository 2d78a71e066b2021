"""A substitute comes to the registers of the seat it takes over.

t+1 members of the generation before, the helpers, hold f(i) for every register; the share at the new
member's point j is sum over them of lambda_i f(i). Helper i sends lambda_i f(i) + z_i, sealed, the z_i
adding up to zero (`replicated.ZeroStream` under the old keys, labelled by the start and j).

Privacy. What honest helpers send is uniform but for its sum, so the substitute learns f(j) and nothing of
any other share. Whoever holds seat j now knows what its former holder knew: t corrupted seats stay t
corrupted seats as long as those who left them are counted with those who took them.

Public values and opened bits are the same at every point: the weights add up to one, so public residues come
out as they are; bits are sent as they are and must be equal from all helpers.

Symbols: i helpers, j the substitute's point, lambda_i Lagrange weights of i at j, f sharing polynomials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import rns
from protocols.arithmetic.rns import Residues
from protocols.engine.committee import lagrange
from protocols.errors import LocalMisuse, MalformedMessage
from protocols.sharing.prss import SetKeys
from protocols.sharing.replicated import ZeroStream
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between

MAX_REGISTERS = 1 << 16


@dataclass(frozen=True, slots=True)
class Form:
    """A register's number, whether it holds public bits, and its shape behind the residue axis."""

    number: Annotated[int, Between(0, 1 << 32)]
    bits: bool
    shape: Annotated[tuple[Annotated[int, Between(0, 1 << 26)], ...], AtMost(8)]


@dataclass(frozen=True)
class Summand:
    """What one helper sends: all registers one after the other, and the public bits packed."""

    forms: Annotated[tuple[Form, ...], AtMost(MAX_REGISTERS)]
    residues: Annotated[npt.NDArray[np.uint64], AtMost(1 << 24)]
    bits: Annotated[bytes, AtMost(1 << 24)]


def summand(
    keys: SetKeys, helpers: Sequence[int], at: int, registers: Mapping[int, Any], label: bytes
) -> bytes:
    """Our summand of all registers at the point `at`, encoded."""
    forms, flat, bits = packed(registers)
    moved = tuple(point - at for point in helpers)
    zeros = ZeroStream(keys, tuple(helpers), b"coppice/programs/recovery/1", label, bytes([at]))
    weighted = rns.scale(flat, lagrange(moved, keys.point - at))
    hidden = rns.add(weighted, zeros.residues(flat.shape[1]))
    return codec.encode(Summand(forms, hidden.ravel(), bits))


def packed(registers: Mapping[int, Any]) -> tuple[tuple[Form, ...], Residues, bytes]:
    """Registers one after the other: forms, residues (2, L), public bits. Raises LocalMisuse for others."""
    forms, bits = described(registers)
    flat = np.concatenate([np.zeros(0, dtype=np.uint64), *rows(registers)])
    return forms, flat.reshape(2, -1), bits


def described(registers: Mapping[int, Any]) -> tuple[tuple[Form, ...], bytes]:
    """Forms and public bits. Raises LocalMisuse for a register that is neither residues nor bits."""
    forms: list[Form] = []
    bits: list[npt.NDArray[np.bool_]] = [np.zeros(0, dtype=np.bool_)]
    for number in sorted(registers):
        value = registers[number]
        if not isinstance(value, np.ndarray) or value.dtype not in (np.bool_, np.uint64):
            raise LocalMisuse(f"register {number} cannot leave this member")
        if value.dtype == np.bool_:
            forms.append(Form(number, True, value.shape))
            bits.append(value.ravel())
        else:
            forms.append(Form(number, False, value.shape[1:]))
    return tuple(forms), np.packbits(np.concatenate(bits)).tobytes()


def rows(registers: Mapping[int, Any]) -> list[npt.NDArray[np.uint64]]:
    """The words (L,) of all residues in the order of `packed`: first modulo one number, then the other."""
    shares = [registers[n].reshape(2, -1) for n in sorted(registers) if registers[n].dtype == np.uint64]
    return [share[index] for index in (0, 1) for share in shares]


def joined(summands: Sequence[bytes]) -> dict[int, Any]:
    """The registers at our point from all helpers' summands. Raises MalformedMessage."""
    parts = [codec.decode(Summand, data) for data in summands]
    first = parts[0]
    if any((part.forms, part.bits, part.residues.size) != (first.forms, first.bits, first.residues.size)
           for part in parts):  # fmt: skip
        raise MalformedMessage("helpers describe different registers")
    if first.residues.size % 2:
        raise MalformedMessage("a helper's residues are not in pairs")
    total = np.zeros((2, first.residues.size // 2), dtype=np.uint64)
    for part in parts:
        rows = part.residues.reshape(2, -1)
        if (rows >= np.array(rns.MODULI, dtype=np.uint64)[:, None]).any():
            raise MalformedMessage("a helper's residues are not canonical")
        total = rns.add(total, rows)
    return unpacked(first.forms, total, first.bits)


def unpacked(forms: Sequence[Form], total: Residues, bits: bytes) -> dict[int, Any]:
    """The registers that `packed` took. Raises MalformedMessage when the forms do not fill what there is."""
    public = np.unpackbits(np.frombuffer(bits, dtype=np.uint8)).astype(np.bool_)
    counts = [math.prod(form.shape) for form in forms]
    shared = sum(count for form, count in zip(forms, counts, strict=True) if not form.bits)
    if shared != total.shape[1] or sum(counts) - shared > public.size:
        raise MalformedMessage("registers do not fill what was sent of them")
    found: dict[int, Any] = {}
    share_at = bit_at = 0
    for form, count in zip(forms, counts, strict=True):
        if form.bits:
            found[form.number] = public[bit_at : bit_at + count].reshape(form.shape)
            bit_at += count
        else:
            share = np.ascontiguousarray(total[:, share_at : share_at + count])
            found[form.number] = share.reshape(2, *form.shape)
            share_at += count
    return found
