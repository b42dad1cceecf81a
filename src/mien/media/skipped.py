"""Counts of the files in folders that are no images, so that none is ignored silently."""

from __future__ import annotations

from pathlib import Path

_HINTS = {"video": " (use mien watch)"}
_NAMED = 3  # names that are shown of unexpected files


class SkippedFiles:
    """Counts files by what they are, and keeps the first names of those whose kind is not known."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        """What -> how many: "text", "video", "ZIP", "unknown", ..."""
        self._names: dict[str, list[str]] = {}

    def add(self, path: str, what: str) -> None:
        """Counts one more. what: as `describe_file` returns it."""
        kind = what.removeprefix("a ").removeprefix("an ")
        self.counts[kind] = self.counts.get(kind, 0) + 1
        names = self._names.setdefault(kind, [])
        if len(names) < _NAMED:
            names.append(Path(path).name)

    def line(self) -> str:
        """What was skipped, in one line; empty where nothing was."""
        total = sum(self.counts.values())
        if not total:
            return ""
        return f"{total:,} file{' was' if total == 1 else 's were'} skipped: {self._listed()}"

    def in_brackets(self) -> str:
        """The same as part of an error."""
        return f" ({self._listed()})" if self.counts else ""

    def _listed(self) -> str:
        return ", ".join(self._counted(kind) for kind in sorted(self.counts, key=lambda kind: -self.counts[kind]))

    def _counted(self, kind: str) -> str:
        count = self.counts[kind]
        counted = f"{count:,} {kind}{'s' if count > 1 and kind in _COUNTABLE else ''}{_HINTS.get(kind, '')}"
        if kind not in _UNEXPECTED and not kind.startswith("not readable"):
            return counted
        names = ["".join(c if c.isprintable() else "?" for c in name) for name in self._names[kind]]
        return f"{counted}: {', '.join(names)}{', ...' if count > len(names) else ''}"


_COUNTABLE = frozenset({"video", "ZIP", "PDF", "archive", "program", "database", "raw camera file", "web page"})
_UNEXPECTED = frozenset({"unknown", "empty", "broken link", "raw camera file"})
