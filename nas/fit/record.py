"""The folder in which a fit keeps what it has found out, a JSON file for each step, so that it resumes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nas.errors import UsageError, UserError
from nas.files import atomic_write


@dataclass(frozen=True)
class Record:
    """A folder of JSON files.

    Args:
        folder: Folder; made when the first file is written.
    """

    folder: Path

    def read(self, name: str) -> dict[str, Any] | None:
        """The content of a file; None if it does not exist.

        Raises:
            UserError: It is damaged.
        """
        path = self.folder / f"{name}.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}); delete it to repeat this step") from None
        if not isinstance(content, dict):
            raise UserError(f"{path} does not hold a record; delete it to repeat this step")
        return content

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file, whole or not at all.

        Raises:
            UserError: The folder cannot be written.
        """
        path = self.folder / f"{name}.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror or error}); free up disk space, or set dir="
            ) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from the same fit.

        Raises:
            UsageError: Another process runs it.
            UserError: The folder cannot be written.
        """
        lock = FileLock(self.folder / "lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"another process is running this fit ({self.folder}); wait for it, or set run= to another name"
            ) from None
        except OSError as error:
            raise UserError(f"{self.folder} cannot be written ({error.strerror or error}); set dir=") from None
        try:
            yield
        finally:
            lock.release()

    def once(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The content of a file, made and written if it does not exist."""
        content = self.read(name)
        if content is None:
            content = dict(make())
            self.write(name, content)
        return content
