"""Blinks, nods and shakes: made up, and counted by eye in a clip."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from made_frames import frame, seen
from mien.cli import app
from mien.recognition.events import GestureFinder
from mien.results.details import Details, EyesOpen, Pose
from places import SHARED

RATE = 25


def found(eyes, pitch=0.0, yaw=0.0):
    """The gestures of one face, whose eyes, pitch and yaw are those at each frame; None: no details."""
    finder, ended = GestureFinder(), []
    count = max(map(np.size, (eyes, pitch, yaw)))
    columns = [np.broadcast_to(np.array(values, object), count) for values in (eyes, pitch, yaw)]
    for i, (openness, down, left) in enumerate(zip(*columns, strict=True)):
        details = Details(error="covered")
        if openness is not None:
            details = Details(pose=Pose(left, down, 0.0), eyes_open=EyesOpen(openness, openness))
        face = seen(1)
        finder.write(frame(i, i / RATE, replace(face, face=replace(face.face, details=details))))
        ended += finder.ended
    finder.close()
    return [(event.gesture, event.start_s, event.end_s) for event in ended], finder.summary()


def test_a_blink_is_short_and_from_open_eyes():
    events, (summary,) = found([0.9] * 20 + [0.4, 0.3, 0.5] + [0.9] * 20 + [0.6] + [0.9] * 9)
    assert events == [("blink", 0.8, pytest.approx(0.88)), ("blink", pytest.approx(1.72), pytest.approx(1.72))]
    assert (summary.blinks, summary.nods, summary.shakes) == (2, 0, 0)
    assert summary.to_dict()["blinks_per_minute"] == pytest.approx(60 * 2 / summary.seconds, abs=0.1)
    assert summary.blink_s == pytest.approx(0.04)


@pytest.mark.parametrize(
    "eyes",
    [
        [0.9] * 20 + [0.2] * 20 + [0.9] * 20,  # closed for longer
        [0.3] * 20 + [0.9] * 20,  # opened
        [0.3, 0.1] * 20,  # half closed all the time
        [0.9] * 20 + [0.75] + [0.9] * 20,  # too little
        [0.9] * 20 + [None] * 20 + [0.3] + [0.9] * 20,  # not seen before
    ],
)
def test_what_is_no_blink(eyes):
    assert found(eyes)[0] == []


def test_nods_and_shakes_swing():
    swing = np.concatenate([np.zeros(10), 8 * np.sin(np.linspace(0, 4 * np.pi, 40)), np.zeros(30)])
    ((gesture, start_s, end_s),) = found(0.9, pitch=swing)[0]
    assert gesture == "nod"
    assert 0.3 <= start_s < end_s <= 2.1
    (summary,) = found(0.9, yaw=swing)[1]
    assert (summary.nods, summary.shakes) == (0, 1)


@pytest.mark.parametrize(
    "angle",
    [
        3 * np.sin(np.linspace(0, 8 * np.pi, 80)),  # too small
        20 * np.sin(np.linspace(0, 4 * np.pi, 200)),  # too slow
        np.concatenate([np.zeros(10), np.linspace(0, 30, 10), np.full(40, 30.0)]),  # a turn
    ],
)
def test_what_is_no_nod(angle):
    assert found(0.9, pitch=angle)[0] == found(0.9, yaw=angle)[0] == []


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the clips of ../shared")
def test_blinks_of_a_clip_are_those_counted_by_eye():
    """By eye: frames 153, 202, 248, 288, 386 and 425 to 430 of 24 a second; the eyes look down before and after."""
    clip = SHARED / "media" / "one-face-pexels.mp4"
    done = CliRunner().invoke(app, ["watch", str(clip), "--model", "mien-nano", "--details", "--events", "-q"])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"track": 1, "gesture"')]
    assert [row["gesture"] for row in rows] == ["blink"] * 6
    starts = [round(row["start_s"] * 24000 / 1001) for row in rows]
    assert np.abs(np.array(starts) - [153, 202, 248, 288, 386, 425]).max() <= 1
