"""The node's secrets in one file, replaced as a whole: never half written, never readable by others.

Plain form: JSON of hex seeds, mode 0600. With a passphrase: XSalsa20-Poly1305 (NaCl secretbox) under
Argon2id of the passphrase (RFC 9106; libsodium's MODERATE limits, 256 MiB), salt beside the box.

Invariant: a file that others may read is refused, not repaired, since its secrets may already be known.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NoReturn

from mesh.runtime.home import Home
from protocols.errors import ConfigError

SEED_BYTES = 32
FORMAT = 1


class Secret:
    """32 secret bytes that never appear in a repr, a log or a pickle; `reveal` hands them out."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        if len(value) != SEED_BYTES:
            raise ValueError(f"a secret has {SEED_BYTES} bytes")
        self._value = value

    @classmethod
    def fresh(cls) -> Secret:
        """Drawn from the operating system."""
        return cls(secrets.token_bytes(SEED_BYTES))

    def reveal(self) -> bytes:
        """The bytes themselves."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "Secret(redacted)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


@dataclass(frozen=True, slots=True)
class Keys:
    """All secrets of a node.

    identity: Ed25519 seed, the party and peer id. sealing: X25519 seed for sealed shares. vrf: ECVRF seed.
    operator: Ed25519 seed that signs certificates, only with the founder. network: private-network key,
    from the founder or the ticket.
    """

    identity: Secret
    sealing: Secret
    vrf: Secret
    operator: Secret | None = None
    network: Secret | None = None

    @classmethod
    def fresh(cls) -> Keys:
        """Keys of a new node that has neither founded nor joined a mesh."""
        return cls(identity=Secret.fresh(), sealing=Secret.fresh(), vrf=Secret.fresh())


def create(home: Home, passphrase: str | None = None) -> Keys:
    """Make and store fresh keys. Raises ConfigError if the home has keys already."""
    refuse_second(home)
    keys = Keys.fresh()
    save(home, keys, passphrase)
    return keys


def refuse_second(home: Home) -> None:
    """Raises ConfigError if the home has keys already."""
    if home.exists:
        raise ConfigError(
            f"{home.root} already has keys; they are the node's identity and are never overwritten",
            code="C-151",
            fix="use it as it is, or choose another folder with --home DIR",
        )


def save(home: Home, keys: Keys, passphrase: str | None = None) -> None:
    """Replace the key file atomically, 0600; sealed under `passphrase` when one is given."""
    seeds = {
        field.name: getattr(keys, field.name).reveal().hex()
        for field in fields(keys)
        if getattr(keys, field.name) is not None
    }
    document: dict[str, object] = {"format": FORMAT, "seeds": seeds}
    if passphrase:
        document = {"format": FORMAT, "sealed": _seal(json.dumps(document).encode(), passphrase)}
    home.write(home.keys.name, json.dumps(document, indent=1).encode())


def load(home: Home, passphrase: Callable[[], str] | None = None) -> Keys:
    """Read the keys; `passphrase` is asked only when the file is sealed.

    Raises ConfigError: no keys, readable by others, damaged, passphrase missing or wrong.
    """
    home.require()
    _check_permissions(home.keys)
    content = home.read(home.keys.name) or b""
    try:
        document = json.loads(content)
        if "sealed" in document:
            document = json.loads(_unseal(home.keys, document["sealed"], passphrase))
        if document["format"] != FORMAT:
            raise ValueError("written by another version")
        known = {field.name for field in fields(Keys)}
        return Keys(
            **{name: Secret(bytes.fromhex(seed)) for name, seed in document["seeds"].items() if name in known}
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = "it is not a key file" if not isinstance(error, KeyError) else "an entry is missing"
        raise ConfigError(
            f"the key file {home.keys} is damaged: {reason}",
            code="C-152",
            fix="restore it from a backup; without it this node's identity is lost",
        ) from None


def ask_passphrase() -> str:
    """From COPPICE_PASSPHRASE (then forgotten), else typed. Raises ConfigError without either."""
    given = os.environ.pop("COPPICE_PASSPHRASE", None)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise ConfigError(
            "the key file wants a passphrase and nobody is there to type it",
            code="C-153",
            fix="give it in COPPICE_PASSPHRASE, or start in a terminal",
        )
    import getpass

    return getpass.getpass("passphrase: ")


def is_sealed(home: Home) -> bool:
    """Whether the key file wants a passphrase."""
    return b'"sealed"' in (home.read(home.keys.name) or b"")


def _check_permissions(path: Path) -> None:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(
            f"the key file {path} is not a plain file",
            code="C-150",
            fix="put the file itself there, not a link",
        )
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"the key file {path} belongs to user {status.st_uid}, not to you",
            code="C-150",
            fix="run as its owner, or choose another folder with --home DIR",
        )
    if status.st_mode & 0o077:
        raise ConfigError(
            f"the key file {path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}); "
            "its secrets may already be known",
            code="C-150",
            fix=f"run: chmod 600 {path} (and make a new node if others could have read it)",
        )


def _seal(content: bytes, passphrase: str) -> dict[str, str]:
    from nacl import pwhash, secret, utils

    salt = utils.random(pwhash.argon2id.SALTBYTES)
    box = secret.SecretBox(_stretch(passphrase, salt))
    return {"kdf": "argon2id-moderate", "salt": salt.hex(), "box": bytes(box.encrypt(content)).hex()}


def _unseal(path: Path, sealed: dict[str, str], passphrase: Callable[[], str] | None) -> bytes:
    from nacl import exceptions, secret

    if passphrase is None:
        raise ConfigError(
            f"the key file {path} is sealed with a passphrase",
            code="C-153",
            fix="give it in COPPICE_PASSPHRASE, or start in a terminal and type it",
        )
    box = secret.SecretBox(_stretch(passphrase(), bytes.fromhex(sealed["salt"])))
    try:
        return bytes(box.decrypt(bytes.fromhex(sealed["box"])))
    except exceptions.CryptoError:
        raise ConfigError(
            f"the passphrase does not open the key file {path}",
            code="C-153",
            fix="type it again; it cannot be recovered",
        ) from None


def _stretch(passphrase: str, salt: bytes) -> bytes:
    from nacl import pwhash

    return bytes(
        pwhash.argon2id.kdf(
            32,
            passphrase.encode(),
            salt,
            opslimit=pwhash.argon2id.OPSLIMIT_MODERATE,
            memlimit=pwhash.argon2id.MEMLIMIT_MODERATE,
        )
    )
