"""The tables of `mesh.data.vault`."""

from __future__ import annotations

TABLES = """
CREATE TABLE IF NOT EXISTS held (
    vault BLOB PRIMARY KEY, name TEXT NOT NULL, owner BLOB NOT NULL, terms BLOB NOT NULL, standing BLOB,
    since REAL NOT NULL, renewed REAL NOT NULL, bytes INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS fragments (
    vault BLOB NOT NULL, generation INTEGER NOT NULL, origin BLOB NOT NULL,
    PRIMARY KEY (vault, generation, origin)
) STRICT;
CREATE TABLE IF NOT EXISTS ledger (
    entry INTEGER PRIMARY KEY, vault BLOB NOT NULL, use BLOB NOT NULL, at REAL NOT NULL, body BLOB NOT NULL,
    UNIQUE (vault, use)
) STRICT;
CREATE TABLE IF NOT EXISTS learning (
    vault BLOB PRIMARY KEY, generation INTEGER NOT NULL, holders BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS ended (
    vault BLOB PRIMARY KEY, name TEXT NOT NULL, at REAL NOT NULL, reason TEXT NOT NULL, proof BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS votes (
    vault BLOB NOT NULL, generation INTEGER NOT NULL, body BLOB NOT NULL, kind TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS kept (
    vault BLOB NOT NULL, generation INTEGER NOT NULL, tag BLOB NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (vault, generation)
) STRICT;
CREATE TABLE IF NOT EXISTS own (
    vault BLOB PRIMARY KEY, name TEXT NOT NULL, source TEXT NOT NULL, since REAL NOT NULL,
    standing BLOB NOT NULL, proof BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS receipts (
    entry INTEGER PRIMARY KEY, vault BLOB UNIQUE NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL,
    since REAL NOT NULL, standing BLOB NOT NULL, proof BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS confirmed (
    vault BLOB NOT NULL, party BLOB NOT NULL, body BLOB NOT NULL, PRIMARY KEY (vault, party)
) STRICT;
"""
