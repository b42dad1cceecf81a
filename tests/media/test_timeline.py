"""Timelines, events, summaries and plots of video: rows that survive, seconds by the frames' own times, flat memory."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from made_frames import MODEL, frame, seen
from mien.errors import MissingExtraError, OutputError
from mien.labels import FER2013
from mien.media.timeline import EventLines, open_timeline, recover_timeline
from mien.media.timeline_summary import TimelineCounter, TimelineSummary, clock, summary_text
from mien.results import ExpressionEvent, FrameResult, ModelSummary
from mien.results.rows import frame_columns
from places import TESTS

HERE = TESTS
FRAMES = (
    frame(0, 0.0),
    frame(1, 1 / 30, seen(1, "happy"), seen(2, "sad", box=(300, 80, 380, 190))),
    frame(4, 4 / 30, seen(1, "fear", abstained=True)),
)
COLUMNS = [
    *("frame", "time_s", "track", "source", "width", "height", "face", "x1", "y1", "x2", "y2", "detection_score"),
    *("expression", "confidence", *FER2013, "error", "smoothed_expression"),
]


def write(path: Path, *frames: FrameResult) -> None:
    with open_timeline(path, MODEL, source="talk.mp4") as timeline:
        for result in frames:
            timeline.write(result)


def read(path: Path) -> list[dict[str, object]]:
    """Rows of any format, empty cells as None, in the types of Parquet."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        words = {"source", "expression", "error", "smoothed_expression"}
        return [{k: (v if k in words else float(v)) if v else None for k, v in row.items()} for row in rows]
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


# Formats


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_one_row_for_each_face_and_frame_in_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("of an earlier run")
    write(path, *FRAMES)
    rows = read(path)
    assert [list(row) for row in rows] == [COLUMNS] * 4
    assert [(row["frame"], row["track"]) for row in rows] == [(0, None), (1, 1), (1, 2), (4, 1)]
    assert all(
        value is None for name, value in rows[0].items() if name not in {"frame", "time_s", "source", "width", "height"}
    )
    assert [row["time_s"] for row in rows] == [0.0, 0.033333, 0.033333, 0.133333]
    assert [rows[2][name] for name in ("x1", "y1", "x2", "y2")] == [300, 80, 380, 190]
    assert rows[2]["sad"] == rows[2]["confidence"] == pytest.approx(0.82)
    assert rows[2]["angry"] == pytest.approx(0.03)
    assert (rows[3]["expression"], rows[3]["smoothed_expression"]) == (None, "fear")  # abstained
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_no_frame_at_all_is_a_valid_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    write(path)
    assert read(path) == []


def test_a_label_called_like_a_column_keeps_its_own_column() -> None:
    columns = frame_columns(("track", "happy"))
    assert columns[-4:] == ("label_track", "happy", "error", "smoothed_expression")
    assert len(set(columns)) == len(columns)


@pytest.mark.parametrize("path", [None, Path("-")])
def test_without_a_file_rows_go_to_standard_output(path: Path | None, capsys: pytest.CaptureFixture[str]) -> None:
    with open_timeline(path, MODEL, source="talk.mp4") as timeline:
        timeline.write(FRAMES[1])
    print("still open")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split(",") == COLUMNS
    assert lines[1].startswith("1,0.033333,1,talk.mp4,640,360,1,100,100,200,220,0.91,happy,0.82,")
    assert lines[-1] == "still open"


@pytest.mark.parametrize("name", ["out.txt", "out", "nowhere/out.csv", "folder.csv", "folder.jsonl", "folder.parquet"])
def test_a_place_that_does_not_work_is_one_clear_error(tmp_path: Path, name: str) -> None:
    if name.startswith("folder"):
        (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match=name):
        open_timeline(tmp_path / name, MODEL)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"mien\[data\]"):
        open_timeline(tmp_path / "out.parquet", MODEL)
    assert not list(tmp_path.iterdir())


def test_events_are_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.events.jsonl"
    with EventLines(path) as events:
        events.write(ExpressionEvent(3, "happy", 1.0, 2.5, 1.75, 0.93))
        assert json.loads(path.read_text()) == {  # at once, not at the end
            **{"track": 3, "expression": "happy", "start_s": 1.0, "end_s": 2.5, "peak_s": 1.75, "peak": 0.93}
        }


# What survives

_WRITER = """
import sys
from pathlib import Path
import mien.media.timeline as timeline
from made_frames import MODEL, frame, seen
timeline._PART_ROWS = 10
out = timeline.open_timeline(None if sys.argv[1] == "-" else Path(sys.argv[1]), MODEL)
for number in range(100_000 if sys.argv[1] == "-" else 57):
    out.write(frame(number, number / 25, seen(1)))
sys.stderr.write("ready\\n")
sys.stdin.read()
"""


def start_writer(path: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", _WRITER, path]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


def write_and_be_killed(path: Path) -> None:
    with start_writer(str(path)) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_every_line_survives_sigkill(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    write_and_be_killed(path)
    assert [row["frame"] for row in read(path)] == list(range(57))


def test_parquet_parts_survive_sigkill_are_read_as_they_are_and_joined(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "out.parquet"
    write_and_be_killed(path)
    assert not path.exists()
    kept = pq.read_table(f"{path}.parts")
    assert kept["frame"].to_pylist() == list(range(50))
    assert recover_timeline(path) == path
    assert pq.read_table(path).equals(kept)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="nothing to recover"):
        recover_timeline(path)
    assert path.exists()


def test_a_new_run_does_not_mix_with_the_parts_of_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    write_and_be_killed(path)
    write(path, *FRAMES)
    assert [row["frame"] for row in read(path)] == [0, 1, 1, 4]
    assert list(tmp_path.iterdir()) == [path]


def test_what_came_before_an_error_stands(tmp_path: Path) -> None:
    for suffix in (".csv", ".jsonl", ".parquet"):
        path = tmp_path / f"out{suffix}"
        with pytest.raises(RuntimeError), open_timeline(path, MODEL) as timeline:
            timeline.write(FRAMES[1])
            raise RuntimeError
        timeline.close()
        assert len(read(path)) == 2


def test_a_reader_that_goes_away_is_a_broken_pipe_once() -> None:
    with start_writer("-") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("frame,time_s,")
        process.stdout.close()
        assert "BrokenPipeError" in process.stderr.read()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_and_closing_stays_quiet(tmp_path: Path) -> None:
    path = tmp_path / "full.jsonl"
    path.symlink_to("/dev/full")
    timeline = open_timeline(path, MODEL)
    with pytest.raises(OutputError, match=r"full\.jsonl: can't be written on"):
        timeline.write(FRAMES[1])
    timeline.close()


def test_a_full_disk_leaves_whole_frames(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="needs limits of a file's size")
    path, (_, hard) = tmp_path / "full.csv", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OutputError, match="can't be written on"), open_timeline(path, MODEL) as timeline:
            for _ in range(100):
                timeline.write(FRAMES[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert path.read_text().endswith("\n")
    head, *rows = csv.reader(path.read_text().splitlines())
    assert {len(row) for row in rows} == {len(head)}
    assert len(rows) % 2 == 0  # a row for each face of a frame


# Summary


def summary(*frames: FrameResult) -> TimelineSummary:
    counter = TimelineCounter()
    for result in frames:
        counter.write(result)
    return counter.summary()


def test_seconds_follow_the_frames_times_not_their_number() -> None:
    times = [0.0, 0.1, 0.2, 1.2, 3.2]  # a rate that drops
    names = ["happy", "happy", "happy", "sad", "sad"]
    made = [frame(i, t, seen(1, name)) for i, (t, name) in enumerate(zip(times, names, strict=True))]
    (track,) = summary(*made).tracks
    assert (track.first_s, track.last_s, track.frames) == (0.0, 3.2, 5)
    assert track.seconds == pytest.approx(3.2)
    # From 0.2 to 1.2 the face went from happy to sad: half of it for each.
    assert [e.expression for e in track.expressions] == ["sad", "happy"]
    assert [e.seconds for e in track.expressions] == pytest.approx([2.5, 0.7])
    assert [e.share for e in track.expressions] == pytest.approx([2.5 / 3.2, 0.7 / 3.2])


def test_a_gap_is_not_seen_time_but_a_change_over_it_counts() -> None:
    made = [
        frame(0, 0.0, seen(1, "happy", 0.9)),
        frame(1, 1.0, seen(1, "happy", 0.7)),
        frame(2, 2.0),
        frame(3, 60.0, seen(1, "sad", 0.8), seen(7, "fear")),
        frame(4, 61.0, seen(1, "happy", 0.8)),
    ]
    result = summary(*made)
    first, second = result.tracks
    assert (result.frames, result.frames_with_faces, result.seconds) == (5, 4, 61.0)
    assert (first.seconds, first.last_s) == (2.0, 61.0)
    assert first.confidence == pytest.approx(0.8)
    assert {(t.before, t.after): t.count for t in first.transitions} == {("happy", "sad"): 1, ("sad", "happy"): 1}
    # One frame has no length, and still an expression.
    assert (second.track, second.seconds) == (7, 0.0)
    assert [(e.expression, e.share) for e in second.expressions] == [("fear", 1.0)]


def test_summary_as_json_and_as_text() -> None:
    result = summary(*(frame(i, i / 2, seen(1, "happy" if i < 150 else "sad")) for i in range(200)))
    stored = json.loads(json.dumps(result.to_dict()))
    assert stored["tracks"][0]["transitions"] == [{"from": "happy", "to": "sad", "count": 1}]
    assert sum(e["share"] for e in stored["tracks"][0]["expressions"]) == pytest.approx(1, abs=1e-3)
    text = summary_text(result)
    assert "happy\N{NO-BREAK SPACE}75\N{NO-BREAK SPACE}%, sad\N{NO-BREAK SPACE}25\N{NO-BREAK SPACE}%" in text
    assert "200 frames in 1:39.5, 200 with a face, 1 track" in text
    assert "\x1b" not in text
    assert "\x1b" in summary_text(result, colors=True)


def test_text_of_many_tracks_and_of_none() -> None:
    made = [frame(i, i / 10, seen(1, "happy"), seen(2 + i, "sad")) for i in range(40)]
    text = summary_text(summary(*made))
    assert text.splitlines()[1].split()[0] == "1"
    assert "21 more tracks were seen for 0:00.0 or less" in text
    assert summary_text(summary()) == "0 frames in 0:00.0, 0 with a face, 0 tracks\n"


@pytest.mark.parametrize(
    ("seconds", "text", "with_tenths"),
    [(0, "0:00", "0:00.0"), (59.96, "1:00", "1:00.0"), (65.24, "1:05", "1:05.2"), (3599.99, "1:00:00", "1:00:00.0")],
)
def test_clock(seconds: float, text: str, with_tenths: str) -> None:
    assert (clock(seconds), clock(seconds, tenths=True)) == (text, with_tenths)


def test_model_without_labels_of_its_own_order_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    order = tuple(reversed(FER2013))
    with open_timeline(path, ModelSummary("other", order, "votes")) as timeline:
        timeline.write(FRAMES[1])
    (first, _) = read(path)
    assert list(first)[14:-2] == list(order)
    assert first["happy"] == pytest.approx(0.82)
