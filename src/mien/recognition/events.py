"""When a face changes its expression: stretches of a track with a start, an end and a peak."""

from __future__ import annotations

from dataclasses import dataclass

from mien.errors import ArgumentError
from mien.results import ExpressionEvent, FrameResult, TrackedFace


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
