"""Vaults: this node as owner, holder and reader of data that outlives its device."""
