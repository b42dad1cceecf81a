"""Smoothed probabilities that do not depend on the frame rate, and events that flicker does not make."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.recognition.events import EventFinder
from mien.recognition.smoothing import DetailsSmoother, Smoother
from mien.results import Box, ExpressionEvent, Face, FrameResult, TrackedFace
from mien.results.details import BLENDSHAPES, Details, EyesOpen, Gaze, Pose

Floats = NDArray[np.float32]


def wave(time_s: float) -> Floats:
    """Two probabilities that swing once in three seconds."""
    p = 0.5 + 0.4 * math.sin(2 * math.pi * time_s / 3)
    return np.array([p, 1 - p], np.float32)


def smoothed(times: list[float], *, time_constant_s: float = 0.5) -> dict[float, Floats]:
    smoother = Smoother(time_constant_s)
    return {round(t, 6): smoother.smooth(1, t, wave(t)) for t in times}


def test_the_frame_rate_does_not_matter() -> None:
    fine = smoothed([i / 1000 for i in range(6001)])
    irregular = sorted({*np.random.default_rng(0).uniform(0, 6, 150).round(3).tolist(), 0.0, *map(float, range(7))})
    for times in ([i / 10 for i in range(61)], [i / 25 for i in range(151)], [i / 60 for i in range(361)], irregular):
        for time_s, values in smoothed(times).items():
            if time_s in fine:
                assert np.abs(values - fine[time_s]).max() < 0.005
                assert values.sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(fine[1.5] - wave(1.5)).max() > 0.2  # it does smooth


def test_a_step_shows_by_63_percent_after_the_time_constant() -> None:
    smoother = Smoother(2.0)
    smoother.smooth(1, 0.0, np.float32([0, 1]))
    for step in range(1, 2001):
        values = smoother.smooth(1, step / 1000, np.float32([1, 0]))
    assert values[0] == pytest.approx(1 - math.exp(-1), abs=0.001)


def test_none_and_the_first_answer() -> None:
    for time_constant_s in (0.0, 5.0):
        assert (Smoother(time_constant_s).smooth(1, 3.0, wave(0.2)) == wave(0.2)).all()
    none = Smoother(0)
    none.smooth(1, 0.0, wave(0))
    assert (none.smooth(1, 0.04, wave(0.7)) == wave(0.7)).all()


def test_tracks_do_not_mix_and_equal_times_and_clocks_set_back_do_no_harm() -> None:
    smoother = Smoother(0.5)
    smoother.smooth(1, 0.0, np.float32([1, 0]))
    assert smoother.smooth(2, 0.0, np.float32([0, 1]))[0] == 0
    assert smoother.smooth(1, 0.0, np.float32([0, 1]))[0] == 1
    assert smoother.smooth(1, -100.0, np.float32([0, 1]))[0] == 0


def test_after_a_gap_little_of_the_past_is_left() -> None:
    smoother = Smoother(0.5)
    smoother.smooth(1, 0.0, np.float32([1, 0]))
    assert smoother.smooth(1, 10.0, np.float32([0, 1]))[0] < 0.1


def test_tracks_that_are_over_are_forgotten() -> None:
    smoother = Smoother(0.5)
    for track in range(5000):
        smoother.smooth(track, float(track), wave(0))
    assert len(smoother._states) < 100


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_no_time_constant(wrong: float) -> None:
    with pytest.raises(ValueError, match="time constant"):
        Smoother(wrong)


def frames(pattern: str, *, track: int = 1, start: int = 0, rate: int = 10) -> list[FrameResult]:
    """One frame a letter: h happy, s sad, H happier, '.' nobody."""
    results = []
    for number, letter in enumerate(pattern, start=start):
        faces: tuple[TrackedFace, ...] = ()
        if letter != ".":
            happy = {"h": 0.7, "H": 0.9, "s": 0.2, "n": 0.51}[letter]
            values = {"happy": happy, "sad": 1 - happy}
            best = max(values, key=values.__getitem__)
            face = Face(Box(0, 0, 9, 9), 1.0, best, values[best], values)
            faces = (TrackedFace(track, face, True, values, best),)
        results.append(FrameResult(number, number / rate, 9, 9, faces))
    return results


def events(pattern: str, **options: float) -> list[tuple[str, float, float]]:
    finder = EventFinder(**options)
    found = [event for result in frames(pattern) for event in finder.take(result)] + finder.finish()
    return [(e.expression, e.start_s, e.end_s) for e in found]


def test_a_change_is_two_events_with_their_frames() -> None:
    assert events("hhhhhhsssss") == [("happy", 0.0, 0.5), ("sad", 0.6, 1.0)]


def test_flicker_makes_no_event() -> None:
    assert events("hhhhhshhsshhhh") == [("happy", 0.0, 1.3)]
    assert events("hshshshs") == []
    assert events("h") == []
    assert events("hshshshs", least_s=0.0) != []


def test_too_small_a_lead_is_no_change() -> None:
    assert events("ssssnnnnnnn") == [("sad", 0.0, 0.3)]
    assert [e[0] for e in events("ssssnnnnnnn", margin=0.01)] == ["sad", "happy"]


def test_the_peak() -> None:
    finder = EventFinder()
    for result in frames("hhhHhh"):
        assert finder.take(result) == []
    (event,) = finder.finish()
    assert event == ExpressionEvent(1, "happy", 0.0, 0.5, 0.3, 0.9)
    assert finder.finish() == []


def test_a_short_absence_goes_on_and_a_long_one_ends() -> None:
    assert events("hhhhh...hhhhh") == [("happy", 0.0, 1.2)]
    assert events("hhhhh" + "." * 15 + "hhhhh") == [("happy", 0.0, 0.4), ("happy", 2.0, 2.4)]


def test_an_event_is_given_when_its_track_is_gone_and_nothing_is_kept() -> None:
    finder = EventFinder()
    found = [event for result in frames("hhhhh" + "." * 15) for event in finder.take(result)]
    assert [(e.start_s, e.end_s) for e in found] == [(0.0, 0.4)]
    assert not finder._states


def test_two_tracks_have_their_own_events() -> None:
    finder = EventFinder()
    found = []
    for one, two in zip(frames("hhhhhhhh"), frames("ssssssss", track=2), strict=True):
        found += finder.take(FrameResult(one.frame, one.time_s, 9, 9, one.faces + two.faces))
    assert [(e.track, e.expression) for e in found + finder.finish()] == [(1, "happy"), (2, "sad")]


def details(
    x: float = 0.0,
    roll: float = 0.0,
    openness: float = 0.9,
    gaze: Gaze | None = Gaze(0.0, 0.0),  # noqa: B008
) -> Details:
    """A face of 100 pixels, moved, tilted, and with eyes that are open so far."""
    mesh = np.linspace((x, 0, 0), (x + 100, 100, 10), 478).astype(np.float32)
    shapes = dict.fromkeys(BLENDSHAPES, 0.1) | {"eyeBlinkLeft": 1 - openness, "eyeBlinkRight": 1 - openness}
    return Details(mesh, Pose(0.0, 0.0, roll), gaze, EyesOpen(openness, openness), 0.1, shapes)


def test_details_of_a_still_face_are_steady_and_a_blink_keeps_its_depth() -> None:
    random = np.random.default_rng(0)
    smoother, raw, steady = DetailsSmoother(), [], []
    for frame in range(75):
        now = details(x=float(random.normal(0, 0.5)), openness=0.2 if 40 <= frame < 44 else 0.9)
        after = smoother.smooth(1, frame / 25, now)
        assert now.mesh is not None and after.mesh is not None and after.eyes_open is not None
        raw.append(now.mesh[0, 0])
        steady.append((after.mesh[0, 0], after.eyes_open.left))
    points, eyes = np.array(steady).T
    assert np.abs(np.diff(points[5:], 2)).mean() < 0.4 * np.abs(np.diff(raw[5:], 2)).mean()
    assert eyes[40:45].min() < 0.3 and eyes[50:].min() > 0.85


def test_details_begin_anew_after_a_gap_and_where_the_angle_wraps() -> None:
    smoother = DetailsSmoother()
    smoother.smooth(1, 0.0, details(roll=179.0))
    turned = smoother.smooth(1, 0.04, details(roll=-179.0))
    assert turned.pose == Pose(0.0, 0.0, -179.0)
    late = details(x=50.0, roll=-100.0)
    assert smoother.smooth(1, 2.0, late) == late
    assert smoother.smooth(2, 2.04, details(x=9.0)) == details(x=9.0)  # another track
    closed = smoother.smooth(1, 2.04, details(x=50.0, roll=-100.0, gaze=None))
    assert closed.gaze is None
    opened = smoother.smooth(1, 2.08, details(x=50.0, roll=-100.0, gaze=Gaze(5.0, 0.0)))
    assert opened.gaze == Gaze(5.0, 0.0)
    missing = Details(error="too small")
    assert smoother.smooth(1, 2.12, missing) is missing
