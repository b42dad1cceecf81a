"""The output folder of shards, on a disk or at any URL of fsspec. Files are written atomically."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.cluster.remote import open_url
from mien.errors import OutputError


class OutputFolder:
    """A flat folder of files. They are written under another name, then moved: not every file system is atomic."""

    def __init__(self, place: str) -> None:
        """Raises DataError or MissingExtraError for a place that can't be used."""
        self.name = place.rstrip("/")
        self._system, self._root = open_url(self.name)

    def names(self) -> set[str]:
        """All files but hidden ones."""
        with self._errors("listed", self.name):
            try:
                self._system.invalidate_cache()
                found = self._system.ls(self._root, detail=False)
            except FileNotFoundError:
                return set()
        names = {str(path).rstrip("/").rpartition("/")[2] for path in found}
        return {name for name in names if name and not name.startswith(".")}

    def make(self) -> None:
        """Makes the folder, on file systems that have folders."""
        with self._errors("written", self.name):
            self._system.makedirs(self._root, exist_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Writes a whole file."""
        with self._errors("written", f"{self.name}/{name}"):
            self._system.pipe_file(self._part(name), data)
            self._system.mv(self._part(name), f"{self._root}/{name}")

    def write_file(self, name: str, made: Path) -> None:
        """Writes a whole file from one on the disk."""
        with self._errors("written", f"{self.name}/{name}"):
            self._system.put_file(str(made), self._part(name))
            self._system.mv(self._part(name), f"{self._root}/{name}")

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A copy of the file, deleted when the block ends."""
        with tempfile.TemporaryDirectory(prefix="mien-") as folder:
            place = Path(folder) / name
            with self._errors("read", f"{self.name}/{name}"):
                self._system.get_file(f"{self._root}/{name}", str(place))
            yield place

    def read(self, name: str) -> bytes:
        """A whole file."""
        with self._errors("read", f"{self.name}/{name}"):
            return bytes(self._system.cat_file(f"{self._root}/{name}"))

    def _part(self, name: str) -> str:
        return f"{self._root}/.{name}.part"

    @staticmethod
    @contextmanager
    def _errors(verb: str, place: str) -> Iterator[None]:
        """Turns the errors of any file system into OutputError."""
        try:
            yield
        except Exception as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise OutputError(f"{place}: can't be {verb} ({reason}); check the URL and your access to it") from error
