"""The uses of the owner's data, as the ledger's entries tell them: each entry is read once.

Every plan is judged by all earlier uses of its data set (`overlap`), several times in each session. To read
the ledger anew each time took 43 us and 5.7 KB for every job that ever ran. So what was read is kept, a few
hundred bytes a use, and only new entries are read; what uses have in common (sites, queries) is kept once.

Invariant: `of` is what reading all entries up to `seq` would give; `head` is the hash of entry `seq`, by
which the ledger sees that the file is still the one that was read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from mesh.data.errors import DataError
from mesh.data.overlap import Use
from mesh.data.policy import Asked

GENESIS = "0" * 64
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger."""

    seq: int
    at: float
    kind: str
    dataset: str
    session: str
    body: dict[str, object]
    hash: str

    def as_json(self) -> dict[str, object]:
        """Plain values, for the export."""
        return {
            "seq": self.seq,
            "at": self.at,
            "kind": self.kind,
            "dataset": self.dataset,
            "session": self.session,
            "body": self.body,
            "hash": self.hash,
        }


class _OfDataset:
    """Approved sessions in the order of their approval, and those that opened nothing."""

    def __init__(self) -> None:
        self.approved: dict[str, Use] = {}
        self.released: set[str] = set()
        self.damaged: DataError | None = None


class KnownUses:
    """All uses that were read so far."""

    def __init__(self) -> None:
        self.seq, self.head = 0, GENESIS
        self._datasets: dict[str, _OfDataset] = {}
        self._alike: dict[object, object] = {}

    def forget(self) -> None:
        """Begin anew."""
        self.seq, self.head = 0, GENESIS
        self._datasets.clear()
        self._alike.clear()

    def of(self, dataset: str) -> tuple[Use, ...]:
        """Approved jobs that revealed something or may have, oldest first.

        Raises DataError C-622 if one of its entries is damaged, until the file has been mended.
        """
        known = self._datasets.get(dataset)
        if known is None:
            return ()
        if known.damaged is not None:
            self.forget()
            raise known.damaged
        return tuple(use for session, use in known.approved.items() if session not in known.released)

    def take(self, entry: Entry) -> None:
        """The next entry. Raises DataError C-622 if it is damaged; then `skip` it."""
        known = self._of(entry.dataset)
        if entry.kind == "approved":
            known.approved[entry.session] = self._once(_use(entry))
        elif entry.kind == "released":
            known.released.add(entry.session)
        elif entry.kind in ("certified", "result") and entry.session in known.approved:
            # Certain knowledge that something was opened outweighs an earlier release.
            known.released.discard(entry.session)
            if entry.body.get("known", True):
                sites = self._shared(_sites(entry, "roster"))
                use = replace(known.approved[entry.session], sites=sites, certain=True, others=0)
                known.approved[entry.session] = use
        self.seq, self.head = entry.seq, entry.hash

    def skip(self, seq: int, head: str, dataset: str, error: DataError) -> None:
        """The next entry is damaged: its data set's uses are not known."""
        self.seq, self.head = seq, head
        self._of(dataset).damaged = error

    def _of(self, dataset: str) -> _OfDataset:
        return self._datasets.setdefault(dataset, _OfDataset())

    def _once(self, use: Use) -> Use:
        return replace(
            use,
            queries=self._shared(use.queries),
            sites=self._shared(use.sites),
            digest=self._shared(use.digest),
            inputs=self._shared(use.inputs),
            requester=self._shared(use.requester),
        )

    def _shared(self, value: T) -> T:
        """An equal value that is kept already."""
        return self._alike.setdefault(value, value)  # type: ignore[return-value]  # equal, hence of that class


def _use(entry: Entry) -> Use:
    """The use that an approval allows."""
    queries, rows = entry.body.get("queries"), entry.body.get("rows")
    if not isinstance(queries, list) or not isinstance(rows, int):
        raise damaged(entry.seq)
    try:
        asked = tuple(
            Asked(statistic, column, tuple(parameters)) for statistic, column, parameters in queries
        )
    except (TypeError, ValueError):
        raise damaged(entry.seq) from None
    data_digest = str(entry.body.get("data_digest"))
    inputs, fewest = entry.body.get("inputs", []), entry.body.get("min_sites")
    if not isinstance(inputs, list) or not isinstance(fewest, int):
        raise damaged(entry.seq)
    return Use(
        entry.session,
        entry.at,
        asked,
        _sites(entry, "sites"),
        rows,
        data_digest,
        tuple(map(str, inputs)),
        fewest,
        certain=False,
        fewest=_least(entry, fewest),
        requester=str(entry.body.get("requester", "")),
        others=_whole_number(entry, "others", 0),
    )


def _least(entry: Entry, min_sites: int) -> int:
    """Sites without which the session opens nothing; entries of earlier versions name `min_sites` alone."""
    return _whole_number(entry, "least", min_sites)


def _whole_number(entry: Entry, key: str, otherwise: int) -> int:
    value = entry.body.get(key, otherwise)
    if not isinstance(value, int):
        raise damaged(entry.seq)
    return value


def _sites(entry: Entry, key: str) -> frozenset[str]:
    value = entry.body.get(key)
    if not isinstance(value, list):
        raise damaged(entry.seq)
    return frozenset(map(str, value))


def damaged(seq: int) -> DataError:
    """What a reader raises at an entry that makes no sense."""
    return DataError(
        f"ledger: entry {seq} is damaged",
        code="C-622",
        fix="the file was changed by something else than coppice; compare with a backup",
    )
