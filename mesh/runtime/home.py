"""The state folder of one node: where everything lies, who may touch it, and who is using it.

Layout (folder 0700, files 0600):
    config.toml   settings           keys          secrets (keystore.py)
    mesh.json     which mesh         certificate   ours, signed by the operator
    join.ticket   a join not done    journal.db    what may not be contradicted
    control.sock  the control API    lock          pid of the process that holds the folder
    logs/node.log                    data/         data sets, policies, ledger
    vaults/       encrypted fragments of vaults that others shared

Invariant: whoever changes the folder holds `lock` (flock, so the kernel frees it when its holder
dies), hence two nodes never share an identity. Every file is replaced as a whole, never patched.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mesh.data.synced_files import sync_folder
from protocols.errors import ConfigError

MAX_SOCKET_PATH_BYTES = 100
"""A Unix socket address holds 108 bytes with its terminator; longer paths go through /proc/self/fd."""

MAX_SMALL_FILE_BYTES = 64 * 1024
PATIENCE = 10
"""Tries, 10 ms apart, to take a lock whose holder has not said who it is."""


@dataclass(frozen=True, slots=True)
class MeshRecord:
    """What this node remembers of its mesh; `members` is the largest number of members ever seen."""

    mesh: str
    operator: str
    founder: bool
    members: int


@dataclass(frozen=True, slots=True)
class Home:
    """A state folder; `open` makes it, the properties name its files."""

    root: Path

    @classmethod
    def locate(cls, flag: Path | None = None) -> Home:
        """The folder to use: --home, else COPPICE_HOME, else the XDG data folder. Touches nothing."""
        if flag is not None:
            return cls(flag.expanduser().absolute())
        from_environment = os.environ.get("COPPICE_HOME")
        if from_environment:
            return cls(Path(from_environment).expanduser().absolute())
        from platformdirs import user_data_path

        return cls(user_data_path("coppice", appauthor=False))

    @property
    def config(self) -> Path:
        """Settings of this node, TOML."""
        return self.root / "config.toml"

    @property
    def keys(self) -> Path:
        """Secrets, see keystore.py."""
        return self.root / "keys"

    @property
    def journal(self) -> Path:
        """SQLite: what was stored before it was sent."""
        return self.root / "journal.db"

    @property
    def socket(self) -> Path:
        """The control API's Unix socket."""
        return self.root / "control.sock"

    @property
    def log(self) -> Path:
        """Log of a detached node."""
        return self.root / "logs" / "node.log"

    @property
    def data(self) -> Path:
        """Data sets, policies, ledger."""
        return self.root / "data"

    @property
    def exists(self) -> bool:
        """Whether `coppice init` was run here."""
        return self.keys.exists()

    def create(self) -> None:
        """Make the folder and those in it, 0700. Raises ConfigError if that fails or they are not ours."""
        try:
            for folder in (self.root, self.root / "logs", self.data):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the state folder {self.root} cannot be made: {error.strerror}",
                code="C-141",
                fix="choose another one with --home DIR",
            ) from error
        self.check()

    def check(self) -> None:
        """Raises ConfigError when there is no folder, or others than its owner may write to it."""
        try:
            status = self.root.stat()
        except FileNotFoundError:
            raise ConfigError(
                f"there is no state folder at {self.root}",
                code="C-142",
                fix=f"run: coppice init --home {self.root}",
            ) from None
        if status.st_uid != os.geteuid():
            raise ConfigError(
                f"the state folder {self.root} belongs to user {status.st_uid}, not to you",
                code="C-143",
                fix="run as its owner, or choose another folder with --home DIR",
            )
        if status.st_mode & 0o022:
            raise ConfigError(
                f"others may write to the state folder {self.root} (mode {stat.S_IMODE(status.st_mode):04o})",
                code="C-143",
                fix=f"run: chmod 700 {self.root}",
            )

    def require(self) -> None:
        """Raises ConfigError unless the folder is initialised and safe."""
        self.check()
        if not self.exists:
            raise ConfigError(
                f"{self.root} is not initialised: it has no keys",
                code="C-142",
                fix=f"run: coppice init --home {self.root}",
            )

    @contextlib.contextmanager
    def lock(self, purpose: str) -> Iterator[None]:
        """Hold the folder alone. Raises ConfigError naming the holder when somebody else has it."""
        path = self.root / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(descriptor)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {purpose}\n".encode(), 0)
            try:
                yield
            finally:
                os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        """Lock, waiting only for a holder without a name: `holder` looking, for a moment."""
        for _ in range(PATIENCE):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                content = os.pread(descriptor, 256, 0)
                if content:
                    break
                time.sleep(0.01)
            else:
                return
        raise self._held(os.pread(descriptor, 256, 0))

    def holder(self) -> int | None:
        """Process id of whoever holds the folder now, or None when it is free."""
        try:
            descriptor = os.open(self.root / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            words = os.pread(descriptor, 256, 0).split()
            return int(words[0]) if words and words[0].isdigit() else 0
        finally:
            os.close(descriptor)
        return None

    def _held(self, content: bytes) -> ConfigError:
        pid, _, purpose = content.decode(errors="replace").strip().partition(" ")
        return ConfigError(
            f"{self.root} is in use by process {pid or 'unknown'} ({purpose or 'starting'})",
            code="C-140",
            fix=f"stop it with: coppice down --home {self.root} (or start this one on another --home)",
        )

    def mesh(self) -> MeshRecord | None:
        """Which mesh this node belongs to, or None before it founded or joined one."""
        content = self.read("mesh.json")
        if content is None:
            return None
        try:
            return MeshRecord(**json.loads(content))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{self.root / 'mesh.json'} is damaged: {error}",
                code="C-144",
                fix="restore it from a backup, or start afresh with another --home",
            ) from error

    def save_mesh(self, record: MeshRecord) -> None:
        """Remember the mesh."""
        self.write("mesh.json", json.dumps(asdict(record), indent=1).encode())

    def certificate(self) -> bytes | None:
        """Our membership certificate as encoded by the overlay, or None."""
        return self.read("certificate")

    def save_certificate(self, encoded: bytes) -> None:
        """Store our membership certificate."""
        self.write("certificate", encoded)

    def pending_join(self) -> str | None:
        """The ticket of a join that has not been granted yet; survives restarts."""
        content = self.read("join.ticket")
        return None if content is None else content.decode()

    def save_pending_join(self, ticket: str) -> None:
        """Keep a ticket (it holds a secret: 0600) until the join is granted or refused."""
        self.write("join.ticket", ticket.encode())

    def clear_pending_join(self) -> None:
        """Forget the ticket."""
        (self.root / "join.ticket").unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        """Content of a small file of the folder, or None. Raises ConfigError when it is too large."""
        try:
            with (self.root / name).open("rb") as file:
                content = file.read(MAX_SMALL_FILE_BYTES + 1)
        except FileNotFoundError:
            return None
        if len(content) > MAX_SMALL_FILE_BYTES:
            raise ConfigError(
                f"{self.root / name} is larger than {MAX_SMALL_FILE_BYTES} bytes",
                code="C-144",
                fix="restore it from a backup, or start afresh with another --home",
            )
        return content

    def write(self, name: str, content: bytes) -> None:
        """Replace a file as a whole, 0600, durably: after a crash it is the old one or the new one."""
        target = self.root / name
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(target)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            sync_folder(target.parent)
        except OSError as error:
            raise ConfigError(
                f"{target} cannot be written: {error.strerror}",
                code="C-145",
                fix="free some space or repair the folder's permissions; nothing was changed",
            ) from error


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """An address for `path` that bind and connect accept, however long the path is.

    A path beyond MAX_SOCKET_PATH_BYTES is reached through an open descriptor of its folder.
    """
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
