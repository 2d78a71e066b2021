"""Share vaults: what to deposit, and what stands of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BinsSpec:
    """Edges of the histogram of one column that the vault is to answer."""

    column: str
    edges: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ShareSpec:
    """What to put into the mesh as shares, and the owner's rules for it. Empty `at`: holders by rank."""

    path: str
    name: str
    holders: int = 4
    threshold: int = 1
    at: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    allow: tuple[str, ...] = ("count", "sum", "mean", "variance", "stddev")
    requesters: tuple[str, ...] = ("any-member",)
    min_sites: int = 1
    min_rows: int = 10
    max_uses: int = 0
    expires: str | None = None
    bins: tuple[BinsSpec, ...] = ()
    schema_path: str | None = None


@dataclass(frozen=True, slots=True)
class HolderInfo:
    """One holder of a vault. `state`: holds, silent, away, erased, replaced.

    `erased_at`: by its own clock, seconds since 1970. `receipt`: its signed `VaultErased`, CBOR in hex.
    """

    name: str
    party: str
    state: str
    note: str = ""
    erased_at: float | None = None
    receipt: str = ""


@dataclass(frozen=True, slots=True)
class VaultInfo:
    """A vault that this node deposited (`role` owner) or holds a share of (holder)."""

    name: str
    vault: str
    role: str
    owner: str
    state: str
    threshold: int
    generation: int
    holders: tuple[HolderInfo, ...]
    columns: tuple[str, ...]
    share_bytes: int
    deposited_at: float
    renewed_at: float | None = None
    uses: int | None = None
    max_uses: int = 0
    expires_at: float | None = None
    warnings: tuple[str, ...] = ()
