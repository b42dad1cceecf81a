"""What happens in a track: changes of expression with a start, an end and a peak; blinks, nods and shakes of the head.

docs/details.md says how gestures were tested.
"""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from mien.errors import ArgumentError
from mien.results import ExpressionEvent, FrameResult, GestureEvent, GestureSummary, TrackedFace


@dataclass(slots=True)
class _Stretch:
    """A current stretch of one expression, from its first frame to the last one so far."""

    expression: str
    start_s: float
    end_s: float
    peak_s: float
    peak: float

    def extend(self, time_s: float, probability: float) -> None:
        self.end_s = time_s
        if probability > self.peak:
            self.peak, self.peak_s = probability, time_s

    def event(self, track: int) -> ExpressionEvent:
        return ExpressionEvent(track, self.expression, self.start_s, self.end_s, self.peak_s, self.peak)


@dataclass(slots=True)
class _State:
    """The state of a track: its current expression, and one that may replace it."""

    last_s: float
    holding: _Stretch | None = None
    rising: _Stretch | None = None


class EventFinder:
    """Takes the results of frames one by one and gives the events that have ended.

    Another expression takes over when it has been the most likely, by smoothed probability, for `least_s` seconds
    and leads by `margin`; its event then starts with the first of these frames. A shorter change is no
    event: the stretch before it continues. A track that is lost for `gap_s` seconds ends its event.
    """

    def __init__(self, *, least_s: float = 0.3, margin: float = 0.05, gap_s: float = 1.0) -> None:
        """Raises ArgumentError for negative values and a margin of 1 or more."""
        if least_s < 0 or gap_s < 0 or not 0 <= margin < 1:
            raise ArgumentError("events: least_s and gap_s must not be negative; margin lies between 0 and 1")
        self._least_s, self._margin, self._gap_s = least_s, margin, gap_s
        self._states: dict[int, _State] = {}

    def take(self, result: FrameResult) -> list[ExpressionEvent]:
        """The events that are known to have ended by this frame, by their start. Frames come in order of time."""
        ended = []
        for face in result.faces:
            state = self._states.get(face.track)
            if state is not None and result.time_s - state.last_s > self._gap_s:
                ended += self._end(face.track)
                state = None
            if state is None:
                state = self._states[face.track] = _State(result.time_s)
            ended += self._update(state, face, result.time_s)
        gone = [track for track, state in self._states.items() if result.time_s - state.last_s > self._gap_s]
        for track in gone:
            ended += self._end(track)
        return sorted(ended, key=lambda event: (event.start_s, event.track))

    def finish(self) -> list[ExpressionEvent]:
        """The events that went on to the end, by their start."""
        ended = [event for track in list(self._states) for event in self._end(track)]
        return sorted(ended, key=lambda event: (event.start_s, event.track))

    def _update(self, state: _State, face: TrackedFace, time_s: float) -> list[ExpressionEvent]:
        state.last_s = time_s
        top = face.smoothed_expression
        probability = face.smoothed[top]
        holding = state.holding
        if holding is not None and top == holding.expression:
            state.rising = None
            holding.extend(time_s, probability)
            return []
        if state.rising is None or state.rising.expression != top:
            state.rising = _Stretch(top, time_s, time_s, time_s, probability)
        state.rising.extend(time_s, probability)
        lead = probability - (face.smoothed[holding.expression] if holding is not None else 0.0)
        if time_s - state.rising.start_s < self._least_s or lead < self._margin:
            return []
        state.holding, state.rising = state.rising, None
        return [holding.event(face.track)] if holding is not None else []

    def _end(self, track: int) -> list[ExpressionEvent]:
        holding = self._states.pop(track).holding
        return [holding.event(track)] if holding is not None else []


_BEFORE_S = 0.6  # how open eyes usually are is the median of this time
_DROP, _OPEN = 0.2, 0.5  # a blink: from at least _OPEN, eyes close by at least _DROP
_BLINK_S = 0.5  # eyes that stay closed for longer do not blink
_SWING, _SWINGS, _SWING_S = 4.0, 3, 0.6  # a nod or shake: 3 turns of at least 4 degrees, each within 0.6 seconds
_STILL = 1.0  # degrees between frames of a head that does not move
_GAP_S = 0.5  # a face without details for longer begins anew


@dataclass(slots=True)
class _Blinks:
    """The eyes of one track. open_eyes: time and mean openness, while no blink is going on."""

    open_eyes: deque[tuple[float, float]] = field(default_factory=deque)
    start_s: float | None = None
    last_s: float = 0.0
    usual: float = 0.0
    least: float = 0.0

    def take(self, time_s: float, openness: float) -> tuple[float, float, float] | None:
        if self.start_s is None:
            while self.open_eyes and time_s - self.open_eyes[0][0] > _BEFORE_S:
                self.open_eyes.popleft()
            usual = statistics.median(v for _, v in self.open_eyes) if self.open_eyes else 0.0
            if usual >= _OPEN and openness <= usual - _DROP:
                self.start_s, self.usual, self.least = time_s, usual, openness
            else:
                self.open_eyes.append((time_s, openness))
            self.last_s = time_s
            return None
        self.least = min(self.least, openness)
        if openness < (self.usual + self.least) / 2 and time_s - self.start_s <= _BLINK_S:
            self.last_s = time_s
            return None
        start_s, self.start_s = self.start_s, None
        if time_s - start_s > _BLINK_S:
            self.open_eyes.clear()
            return None
        self.open_eyes.append((time_s, openness))
        return start_s, self.last_s, self.usual - self.least


@dataclass(slots=True)
class _Swings:
    """One angle of one track: its turning points, as long as each swing is large and quick enough."""

    turns: list[tuple[float, float]] = field(default_factory=list)  # time and angle; the last may still move on
    way: int = 0

    def take(self, time_s: float, angle: float) -> tuple[float, float, float] | None:
        if not self.turns:
            self.turns = [(time_s, angle)]
        last_s, last = self.turns[-1]
        if self.way * (angle - last) > 0:  # it moves on
            self.turns[-1] = (time_s, angle)
        elif abs(angle - last) >= _SWING:  # it has turned round
            self.turns.append((time_s, angle))
            self.way = 1 if angle > last else -1
        elif self.way == 0 and (abs(angle - last) < _STILL or time_s - last_s > _SWING_S):
            self.turns = [(time_s, angle)]
        slow = len(self.turns) > 1 and self.turns[-1][0] - self.turns[-2][0] > _SWING_S
        if self.way == 0 or not (slow or time_s - self.turns[-1][0] > _SWING_S):
            return None
        done = self.turns[:-1] if slow else self.turns
        self.turns, self.way = [(time_s, angle)], 0
        swings = [abs(after - before) for (_, before), (_, after) in pairwise(done)]
        return (done[0][0], done[-1][0], sum(swings) / len(swings)) if len(swings) >= _SWINGS else None


@dataclass(slots=True)
class _Track:
    last_s: float
    seen_s: float = 0.0
    blinks: _Blinks = field(default_factory=_Blinks)
    pitch: _Swings = field(default_factory=_Swings)
    yaw: _Swings = field(default_factory=_Swings)


class GestureFinder:
    """Takes the results of frames one by one, and has the gestures that ended by the last one in `ended`.

    A blink: both eyes, on average, close by a fifth or more for at most half a second. A nod or a shake: the head's
    pitch or yaw swings at least three times by 4 degrees or more, each within 0.6 seconds. Frames come in order
    of time.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._found: defaultdict[int, list[GestureEvent]] = defaultdict(list)
        self.ended: list[GestureEvent] = []

    def write(self, result: FrameResult) -> None:
        """Takes one frame."""
        ended: list[GestureEvent] = []
        for face in result.faces:
            if (pose := face.face.pose) is None or (eyes := face.face.eyes_open) is None:
                continue
            track = self._tracks.get(face.track)
            seen_s = 0.0 if track is None else track.seen_s
            if track is None or result.time_s - track.last_s > _GAP_S:
                track = self._tracks[face.track] = _Track(result.time_s, seen_s)
            track.seen_s += result.time_s - track.last_s
            track.last_s = result.time_s
            steps: tuple[tuple[str, Callable[[float, float], tuple[float, float, float] | None], float], ...] = (
                ("blink", track.blinks.take, (eyes.left + eyes.right) / 2),
                ("nod", track.pitch.take, pose.pitch),
                ("shake", track.yaw.take, pose.yaw),
            )
            for gesture, take, value in steps:
                if (found := take(result.time_s, value)) is not None:
                    ended.append(GestureEvent(face.track, gesture, *found))
        for event in ended:
            self._found[event.track].append(event)
        self.ended = sorted(ended, key=lambda event: (event.start_s, event.track))

    def close(self) -> None:
        """Nothing to close: a gesture that goes on at the end is none."""

    def summary(self) -> tuple[GestureSummary, ...]:
        """What each track did so far, in the order of their numbers."""
        return tuple(
            GestureSummary.of(number, track.seen_s, self._found[number])
            for number, track in sorted(self._tracks.items())
        )
