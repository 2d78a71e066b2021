"""A key of its own for each thing at rest, so that destroying the key erases the thing wherever it lies.

What SQLite deletes stays in its log for a while, and what a file system overwrites on flash or in snapshots
too. So what has to be gone for good is stored as noise under a fresh data key; the key, wrapped by the node's
key store, is a file that is overwritten in place, synced and unlinked.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from nacl.secret import SecretBox

from mesh.data.synced_files import sync_folder, write_synced


class DataKeys:
    """The data keys in one folder. `wrapping_key`: 32 bytes derived from the key store."""

    def __init__(self, folder: Path, wrapping_key: bytes) -> None:
        self.folder = folder
        self._box = SecretBox(wrapping_key)

    def seal(self, name: str, body: bytes) -> bytes:
        """`body` under a fresh data key, which is durable as `name` on return. Raises OSError."""
        data_key = os.urandom(SecretBox.KEY_SIZE)
        write_synced(self.folder / name, bytes(self._box.encrypt(data_key)))
        return bytes(SecretBox(data_key).encrypt(body))

    def open(self, name: str, sealed: bytes) -> bytes:
        """What was sealed as `name`. Raises OSError, nacl.exceptions.CryptoError."""
        data_key = self._box.decrypt((self.folder / name).read_bytes())
        return bytes(SecretBox(data_key).decrypt(sealed))

    def destroy(self, name: str) -> None:
        """Overwrite the key in place, then unlink it; it need not be there. Raises OSError."""
        path = self.folder / name
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.pwrite(descriptor, os.urandom(max(1, os.fstat(descriptor).st_size)), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        path.unlink(missing_ok=True)
        sync_folder(self.folder)
