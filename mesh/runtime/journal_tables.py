"""The tables of `mesh.runtime.journal`."""

from __future__ import annotations

TABLES = """
CREATE TABLE IF NOT EXISTS sessions
    (session BLOB PRIMARY KEY, started REAL NOT NULL, ended REAL, outcome TEXT,
     key BLOB, epoch INTEGER, plan BLOB, proof_kind TEXT, proof BLOB);
CREATE TABLE IF NOT EXISTS records
    (id INTEGER PRIMARY KEY, session BLOB NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS mesh (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS records_of ON records (session);
"""
ADDED = {"key": "BLOB", "epoch": "INTEGER", "plan": "BLOB", "proof_kind": "TEXT", "proof": "BLOB"}
"""Columns of `sessions` that journals of earlier versions lack."""
ONLY_NEWEST = """DELETE FROM mesh WHERE kind = ? AND id <=
    (SELECT id FROM mesh WHERE kind = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"""
