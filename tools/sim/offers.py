"""What a party reads of an offer of a plan by role: what the codec lets pass and `excerpt.read` allows.

The initiator says one and the same offer to all who have the same posts; it is decoded, and shown to hang
together with its header, once for all of them, as a plan that goes out whole is one object for everybody.
What an excerpt must show to one party in particular is checked for each.
"""

from __future__ import annotations

from protocols.errors import LocalMisuse, ProtocolError, UnexpectedMessage
from protocols.identifiers import PartyId, SessionId
from protocols.sessions.excerpt import PartialPlan, read
from protocols.sessions.offers import ExcerptOffer
from protocols.wire import codec


class OfferReader:
    """Reads the offers of one session."""

    def __init__(self) -> None:
        self._decoded: dict[int, tuple[ExcerptOffer, ExcerptOffer]] = {}

    def read(self, offer: ExcerptOffer, party: PartyId, session: SessionId) -> PartialPlan:
        """The plan as `party` may know it. Raises LocalMisuse for what leaves no node; ProtocolError."""
        known = self._decoded.get(id(offer))
        if known is None:
            known = self._decoded[id(offer)] = (offer, _decoded(offer))  # held: its id is not used again
        mine = read(known[1].excerpt, party)
        if mine.session != session:
            raise UnexpectedMessage("that is another session, which is not simulated")
        return mine


def _decoded(offer: ExcerptOffer) -> ExcerptOffer:
    try:
        return codec.decode(ExcerptOffer, codec.encode(offer))
    except ProtocolError as error:
        raise LocalMisuse(str(error)) from error
