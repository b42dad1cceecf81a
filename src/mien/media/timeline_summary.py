"""The summary of a video by track: seconds and share of each expression, and the changes between them.

Counted while frames pass; only the counts are kept.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mien.labels import color_rgb
from mien.pages.text import percent
from mien.results import FrameResult, TrackedFace
from mien.results.documents import rounded

_SHOWN = 20  # at most this many tracks are listed, the longest first


@dataclass(frozen=True, slots=True)
class ExpressionShare:
    """How long an expression was a track's most likely, by smoothed probability. share: of the track, 0 to 1."""

    expression: str
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Transition:
    """How often a track's most likely expression changed from one to another."""

    before: str
    after: str
    count: int


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """One face through a video.

    first_s, last_s: times of its first and last frame. seconds: how long it was in view, without the gaps. expressions:
    most seconds first. transitions: most frequent first. confidence: mean over its frames, 0 to 1.
    """

    track: int
    first_s: float
    last_s: float
    frames: int
    seconds: float
    confidence: float
    expressions: tuple[ExpressionShare, ...]
    transitions: tuple[Transition, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return rounded(self, first_s=3, last_s=3, seconds=3, confidence=4) | {
            "expressions": [rounded(e, seconds=3, share=4) for e in self.expressions],
            "transitions": [{"from": t.before, "to": t.after, "count": t.count} for t in self.transitions],
        }


@dataclass(frozen=True, slots=True)
class TimelineSummary:
    """A whole video. seconds: from the first frame to the last. tracks: in the order of their numbers."""

    frames: int
    frames_with_faces: int
    seconds: float
    tracks: tuple[TrackSummary, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return rounded(self, seconds=3) | {"tracks": [track.to_dict() for track in self.tracks]}


class TimelineCounter:
    """Counts frames as they pass; memory grows by a few hundred bytes for each track, not with time.

    The time between two frames that follow each other and both show a track belongs by halves to the expressions of
    the two. So the sum follows the times of the frames, also if their rate varies or frames were dropped.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._frames = self._with_faces = 0
        self._first_s = self._last_s = 0.0

    def write(self, result: FrameResult) -> None:
        """Counts one frame."""
        if not self._frames:
            self._first_s = result.time_s
        self._last_s = result.time_s
        self._frames += 1
        self._with_faces += bool(result.faces)
        for tracked in result.faces:
            track = self._tracks.get(tracked.track)
            if track is None:
                track = self._tracks[tracked.track] = _Track(tracked.track, result.time_s)
            track.add(tracked, self._frames, result.time_s)

    def close(self) -> None:
        """Nothing to close."""

    def summary(self) -> TimelineSummary:
        """What was counted so far."""
        tracks = tuple(self._tracks[number].summary() for number in sorted(self._tracks))
        return TimelineSummary(self._frames, self._with_faces, self._last_s - self._first_s, tracks)


def summary_text(summary: TimelineSummary, *, width: int = 100, colors: bool = False) -> str:
    """A table for people, one row a track, the longest first. width: letters. colors: codes of a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("track", "from", "to", "seen"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("expressions", overflow="fold")
    table.add_column("changes", justify="right", no_wrap=True)
    table.add_column("confidence", justify="right", no_wrap=True)
    longest = sorted(summary.tracks, key=lambda t: (-t.seconds, -t.frames, t.track))
    for track in longest[:_SHOWN]:
        shares = Text()
        for share in track.expressions:
            words = f"{share.expression}\N{NO-BREAK SPACE}{percent(share.share, digits=0)}"
            red, green, blue = color_rgb(share.expression)
            shares.append(", " if shares else "").append(words, f"bold rgb({red},{green},{blue})")
        times = [clock(t, tenths=True) for t in (track.first_s, track.last_s, track.seconds)]
        changes = sum(t.count for t in track.transitions)
        table.add_row(str(track.track), *times, shares, str(changes), f"{track.confidence:.2f}")
    output = io.StringIO()
    console = Console(
        file=output, width=width, highlight=False, force_terminal=colors, color_system="truecolor" if colors else None
    )
    if longest:
        console.print(table)
        rest = longest[_SHOWN:]
        if rest:
            words = "1 more track was" if len(rest) == 1 else f"{len(rest)} more tracks were"
            console.print(f"{words} seen for {clock(rest[0].seconds, tenths=True)} or less")
        console.print()
    console.print(
        f"{_count(summary.frames, 'frame')} in {clock(summary.seconds, tenths=True)}, "
        f"{summary.frames_with_faces} with a face, {_count(len(summary.tracks), 'track')}"
    )
    return output.getvalue()


def clock(seconds: float, *, tenths: bool = False) -> str:
    """Seconds as people read them: 1:05, 1:00:05; with tenths 1:05.0."""
    units = round(seconds * 10) if tenths else round(seconds) * 10
    minutes, rest = divmod(units, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 10:02d}" + (f".{rest % 10}" if tenths else "")
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


@dataclass(slots=True)
class _Track:
    """Counts of one track so far. last_frame: the count of frames, not the source's number, when it was last seen."""

    track: int
    first_s: float
    last_s: float = 0.0
    last_frame: int = 0
    expression: str | None = None
    frames: int = 0
    confidence: float = 0.0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    seen: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, face: TrackedFace, frame: int, time_s: float) -> None:
        now = face.smoothed_expression
        if self.expression is not None:
            if frame == self.last_frame + 1:
                half = max(0.0, time_s - self.last_s) / 2
                self.seconds[self.expression] += half
                self.seconds[now] += half
            if now != self.expression:
                self.transitions[self.expression, now] += 1
        self.expression, self.last_frame, self.last_s = now, frame, time_s
        self.frames += 1
        self.seen[now] += 1
        self.confidence += face.face.confidence

    def summary(self) -> TrackSummary:
        total = sum(self.seconds.values())
        # A track of single frames has no seconds: shares are those of its frames.
        weights: Mapping[str, float] = self.seconds if total > 0 else self.seen
        whole = sum(weights.values())
        return TrackSummary(
            track=self.track,
            first_s=self.first_s,
            last_s=self.last_s,
            frames=self.frames,
            seconds=total,
            confidence=self.confidence / self.frames,
            expressions=tuple(
                ExpressionShare(name, self.seconds.get(name, 0.0), weights[name] / whole)
                for name in sorted(weights, key=lambda name: -weights[name])
                if weights[name] > 0
            ),
            transitions=tuple(Transition(*pair, count) for pair, count in self.transitions.most_common()),
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
