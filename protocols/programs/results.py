"""Output shares: sealed to the recipients the plan names, decoded although some of them may be lies.

A member that has finished sends each recipient its degree-t shares of the outputs that are for it, and
nothing to anybody else. A recipient groups shares by attempt (two attempts are two sharings) and
decodes one random combination of all outputs, in both residues, by looking for the t+1 shares that the
most others agree with: at m shares, up to (m-t-1)//2 liars are outvoted and named. Then every output is
interpolated from shares that agree, and the others that agree are checked against it in every column.

What a recipient sees: the whole polynomial of each of its outputs. Together with t corrupted members it
knows no more than the output, since t shares and the value at 0 fix a polynomial of degree t.

Of an output that was truncated, a recipient that gets shares of two attempts sees two draws of its rounding
(`engine.multiply`); whole-number outputs have none.

Symbols: m shares, t degree, j points.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from protocols.arithmetic import rns
from protocols.arithmetic.rns import Residues
from protocols.arithmetic.xof import Xof, derive
from protocols.circuits.builder import EVERYONE
from protocols.engine.boundary import reconstruct
from protocols.errors import MalformedMessage, UnattributableFault
from protocols.identifiers import PartyId, SessionId
from protocols.programs import dealing
from protocols.programs.messages import OutputShare
from protocols.programs.plan import ProgramPlan
from protocols.programs.questions import Compiled
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import Seat
from protocols.sharing.prss import elements
from protocols.wire import sealing

OUTPUT = "program output"


def told(plan: ProgramPlan, program: Compiled, recipient: PartyId) -> list[int]:
    """Positions of the outputs that this recipient learns."""
    del plan
    return [
        at
        for at, (_, name, _) in enumerate(program.lowered.outputs)
        if name == EVERYONE or name == recipient.hex()
    ]


def shared(
    keys: PartyKeys,
    plan: ProgramPlan,
    program: Compiled,
    outputs: tuple[Residues, ...],
    place: tuple[int, int],
    seed: bytes,
) -> list[tuple[Seat, OutputShare]]:
    """Messages with our shares for every recipient; `place` is (generation, attempt)."""
    generation, attempt = place
    messages: list[tuple[Seat, OutputShare]] = []
    for seat in plan.recipients:
        chosen = told(plan, program, seat.party)
        if not chosen:
            continue
        flat = np.concatenate([outputs[at].reshape(2, -1) for at in chosen], axis=1)
        pieces = dealing.pieces_of(flat.astype("<u8").tobytes())
        for number, piece in enumerate(pieces):
            context = _context(plan.session, generation, attempt, keys.party, number)
            once = derive(seed, OUTPUT, context, bytes(seat.party))
            sealed = sealing.seal(seat.sealing_key, piece, context, once)
            messages.append((seat, OutputShare(generation, attempt, number, len(pieces), sealed)))
    return messages


def opened(keys: PartyKeys, session: SessionId, sender: PartyId, message: OutputShare) -> bytes:
    """One piece in clear. Raises MalformedMessage (SealBroken) naming the sender."""
    context = _context(session, message.generation, message.attempt, sender, message.piece)
    try:
        return sealing.unseal(keys.sealing_secret, message.sealed, context)
    except sealing.SealBroken as error:
        raise MalformedMessage(str(error), blame=sender) from None


def share_of(data: bytes, count: int, sender: PartyId) -> Residues:
    """A member's shares (2, count). Raises MalformedMessage naming it when they are none."""
    if len(data) != 16 * count:
        raise MalformedMessage(f"{len(data)} bytes of output shares, not {16 * count}", blame=sender)
    share = np.frombuffer(data, dtype="<u8").astype(np.uint64).reshape(2, -1)
    if (share >= np.array(rns.MODULI, dtype=np.uint64)[:, None]).any():
        raise MalformedMessage("an output share is not canonical", blame=sender)
    return share


def decoded(
    shares: Mapping[int, Residues], t: int, xof: Xof, agreeing: int = 0
) -> tuple[Residues, tuple[int, ...]]:
    """The outputs (2, count) and the points that lie, from shares by point; `xof` unknown to the senders.

    `agreeing`: how many must lie on one polynomial; with 2t+1 it is the honest members' one. Raises
    UnattributableFault when there are fewer, or no more than half of the spare shares on its side.
    """
    if len(shares) < max(t + 1, agreeing):
        raise UnattributableFault("too few shares of a result that could be one")
    points = sorted(shares)
    count = shares[points[0]].shape[1]
    weights = elements(xof, count)
    combined = {p: [int(v) for v in rns.total(rns.mul(shares[p], weights), -1)] for p in points}
    most = min((len(points) - t - 1) // 2, len(points) - agreeing)
    for base in itertools.combinations(points, t + 1):
        agree = [p for p in points if p in base or _fits(combined, base, p)]
        if len(points) - len(agree) <= most:
            honest = {p: shares[p] for p in agree}
            return reconstruct(honest, t), tuple(p for p in points if p not in agree)
    raise UnattributableFault("the shares of a result do not lie on one polynomial")


def _fits(combined: Mapping[int, list[int]], base: tuple[int, ...], at: int) -> bool:
    """Whether the combination at a point is what the base's polynomial gives there, in both residues."""
    for residue, modulus in enumerate(rns.MODULI):
        value = 0
        for i in base:
            weight = Fraction(1)
            for m in base:
                if m != i:
                    weight *= Fraction(at - m, i - m)
            value += combined[i][residue] * weight.numerator * pow(weight.denominator, -1, modulus)
        if value % modulus != combined[at][residue]:
            return False
    return True


def _context(session: SessionId, generation: int, attempt: int, maker: PartyId, piece: int) -> bytes:
    return dealing.seal_context(OUTPUT, session, generation, maker, piece) + attempt.to_bytes(2, "big")
