"""Plans over made-up parties, and the policy of the data they ask about."""

from __future__ import annotations

from mesh.data.policy import Policy
from protocols.identifiers import Digest, PartyId
from protocols.sessions.plan import Job, Plan, Query, Seat, Stage
from protocols.statistics import registry

PARTIES = tuple(PartyId(bytes([number]) * 32) for number in range(1, 9))
OWNER, OTHER = PARTIES[0], PARTIES[3]
MEAN = Query("mean", "temp", ())
OPEN = Policy(allow=("mean", "sum", "count", "histogram", "variance"), min_sites=3, min_rows=2)


def make_plan(
    *queries: Query, dealers: int = 4, nonce: bytes = b"", min_sites: int = 3, threshold: int = 2
) -> Plan:
    job = Job("readings", queries or (MEAN,), min_sites, "test")
    sizes = {1: 4, 2: 7}
    seats = tuple(Seat(party, bytes(32)) for party in PARTIES[: sizes[threshold]])
    stage = Stage("root", seats, threshold, (PARTIES[7],), (), PARTIES[:dealers], ())
    length = registry.job_length(job)
    return Plan(Digest(bytes(32)), 1, nonce, OTHER, job, length, 1, 1000, 2000, (stage,), ())
