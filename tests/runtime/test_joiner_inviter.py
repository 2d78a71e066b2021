"""The step from guest to member: the way back to the inviter is on disk before the ticket is cleared."""

from __future__ import annotations

from types import SimpleNamespace

import trio

from mesh.api.shapes import InviteSpec
from mesh.overlay import joining, ticket
from mesh.overlay.epoch_record import genesis
from mesh.runtime import identity as identities
from mesh.runtime import keystore
from mesh.runtime.home import Home
from mesh.runtime.joining.admissions import Admissions
from mesh.runtime.joining.joiner import Joiner
from mesh.runtime.joining.known import KnownMembers
from mesh.runtime.journal import Journal
from protocols.wire import codec
from tests.runtime.memory_mesh import config, founder, in_place

__all__ = ["in_place"]

ADDRESS = "/ip4/192.0.2.10/tcp/4710"


async def test_a_new_member_knows_the_way_to_its_inviter_before_it_has_heard_of_anybody(
    tmp_path, in_place, nursery
):
    """A link that falls right after the grant must not leave a member that knows nobody to dial."""
    inviter = founder(tmp_path, "inviter")
    desk_journal, home = Journal(tmp_path / "desk.db"), Home(tmp_path / "joiner")
    await nursery.start(desk_journal.run)
    desk = Admissions(inviter, config("inviter"), desk_journal)
    invitation = await desk.invite(InviteSpec(), (ADDRESS,))
    home.create()
    keys = keystore.create(home)
    home.save_pending_join(invitation.ticket)
    identity = identities.load(home, config("joiner"), keys)
    journal = Journal(home.journal)
    await nursery.start(journal.run)
    transport = SimpleNamespace(reintroduce=lambda: None)
    joiner = Joiner(home, identity, journal, transport, SimpleNamespace(), None)
    request = joining.request(
        ticket.from_text(invitation.ticket).ticket, identity.applicant, identity.keys.identity.reveal()
    )
    seed = inviter.keys.operator.reveal()
    record = genesis(inviter.mesh, seed, inviter.party, bytes(32), trio.current_time())
    await joiner._keep(await desk.asked(request, record))
    known = codec.decode(KnownMembers, journal.recall(KnownMembers.__name__)[-1])
    assert [(one.party, one.addresses) for one in known.members] == [(inviter.party, (ADDRESS,))]
    nursery.cancel_scope.cancel()
