"""Drawing on frames: legible at any size, steady, nobody recognisable where that is wanted; badges; plots."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from made_frames import MODEL, frame, seen
from mien.errors import MissingExtraError, OutputError
from mien.images import read_image
from mien.labels import EIGHT, FER2013, color_rgb
from mien.media.overlay import Privacy, RecentBoxes, draw_frame
from mien.media.timeline_plot import TimelinePlot
from mien.results import Box, TrackedFace
from mien.results.badges import UNSURE, badge
from mien.results.details import BLENDSHAPES, Details

GREY = (90, 90, 90)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def plate_of(drawn: NDArray[np.uint8], color: tuple[int, ...]) -> tuple[int, int, int, int]:
    """x, y, width, height of the plate: the largest stretch of lines that hold much of one colour."""
    mask = (drawn == np.array(color, np.uint8)).all(axis=2).astype(np.uint8)
    line = max(2, round(0.0026 * (drawn.shape[0] * drawn.shape[1]) ** 0.5)) + 2
    mask = np.pad(mask, 12)  # at the edge, closing would fill what is beside a line
    filled = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((11, 1), np.uint8))  # letters have another colour
    filled = filled[12:-12, 12:-12]
    opened = cv2.morphologyEx(filled, cv2.MORPH_OPEN, np.ones((line, line), np.uint8))  # without lines of boxes
    assert opened.any()
    x, y, width, height = cv2.boundingRect(opened)
    return x, y, width, height


# Frames


@pytest.mark.parametrize("size", [(120, 160), (360, 640), (2160, 3840), (1, 1), (9, 300), (48, 48), (41, 23)])
@pytest.mark.parametrize("privacy", ["none", "blur", "box"])
def test_any_size_and_any_box(size: tuple[int, int], privacy: Privacy) -> None:
    height, width = size
    image = np.full((height, width, 3), 128, np.uint8)
    image.flags.writeable = False  # as sources give them
    boxes = [
        (0.3 * width, 0.3 * height, 0.5 * width, 0.6 * height),
        (-50, -50, 2, 2),
        (width - 2, height - 2, 9e4, 9e4),
        (-500, -500, -400, -400),
    ]
    faces = [seen(i + 1, box=box) for i, box in enumerate(boxes)]
    drawn = draw_frame(image, faces, emoji=True, privacy=privacy)
    assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)
    assert drawn.flags.writeable
    assert (drawn != 128).any()


def test_no_faces_is_a_copy() -> None:
    image = noise(20, 30)
    drawn = draw_frame(image, [])
    assert drawn is not image
    assert (drawn == image).all()


def test_colour_says_the_smoothed_expression_and_grey_says_unsure() -> None:
    image = np.full((360, 640, 3), 200, np.uint8)
    of_this_frame = seen(1, "happy")
    smoothed = TrackedFace(1, of_this_frame.face, True, {**of_this_frame.smoothed, "sad": 0.9}, "sad")
    assert plate_of(draw_frame(image, [smoothed]), color_rgb("sad"))[3] > 5
    assert plate_of(draw_frame(image, [seen(1, abstained=True)]), GREY)[3] > 5


def test_bar_is_as_long_as_the_percent() -> None:
    image = np.full((720, 1280, 3), 100, np.uint8)
    lengths = {}
    for confidence in (0.25, 0.5, 1.0):
        drawn = draw_frame(image, [seen(1, "happy", confidence, box=(500, 300, 600, 420))])
        white = (drawn == 255).all(axis=2)
        lengths[confidence] = int(white.sum(axis=1).max())
    assert lengths[0.5] == pytest.approx(lengths[1.0] / 2, abs=1)
    assert lengths[0.25] == pytest.approx(lengths[1.0] / 4, abs=1)


@pytest.mark.parametrize(("width", "height"), [(160, 120), (640, 360), (1920, 1080), (3840, 2160)])
def test_plates_are_legible_and_stay_in_the_frame(width: int, height: int) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    for left in (0, 0.4 * width, 0.85 * width):  # at the edges, too
        face = seen(1, "surprise", box=(left, 0, left + 0.15 * width, 0.3 * height))
        drawn = draw_frame(image, [face])
        _, _, plate_width, plate_height = plate_of(drawn, color_rgb("surprise"))
        assert plate_height >= max(9, 0.015 * height)
        assert plate_width >= 4 * plate_height


def test_nothing_jumps_when_a_face_moves_and_when_its_percent_changes() -> None:
    image = np.full((360, 640, 3), 200, np.uint8)
    places = []
    for step in range(0, 200, 2):  # past another face, up to the frame's edge
        moving = seen(7, "sad", 0.5 + step / 500, box=(150 + 1.5 * step, 160 - step, 230 + 1.5 * step, 260 - step))
        drawn = draw_frame(image, [seen(3, "fear", box=(300, 100, 380, 200)), moving])
        places.append(plate_of(drawn, color_rgb("sad")))
    jumps = 0
    for (x, y, width, _), (next_x, next_y, next_width, _) in itertools.pairwise(places):
        jumps += abs(next_x - x) > 6 or abs(next_y - y) > 6
        assert abs(next_width - width) <= 2
    assert jumps <= 2  # where it passes the other plate


def test_plates_of_neighbours_do_not_cover_each_other() -> None:
    image = np.full((360, 640, 3), 200, np.uint8)
    names = ("happy", "angry", "surprise")
    faces = [seen(i + 1, name, box=(200 + 40 * i, 150, 238 + 40 * i, 200)) for i, name in enumerate(names)]
    drawn = draw_frame(image, faces)
    alone = [draw_frame(image, [face]) for face in faces]
    for name, single in zip(names, alone, strict=True):
        color = color_rgb(name)
        counts = [int((p == np.array(color, np.uint8)).all(axis=2).sum()) for p in (drawn, single)]
        assert counts[0] > 0.75 * counts[1]  # boxes may lose some of their lines, plates nothing


# Privacy


@pytest.mark.parametrize("privacy", ["blur", "box"])
def test_hidden_faces_keep_no_detail_also_around_the_box(privacy: Privacy) -> None:
    image = noise(360, 640)
    face = seen(1, box=(300, 150, 360, 230))
    drawn = draw_frame(image, [face], privacy=privacy)
    for y1, y2, x1, x2 in ((160, 220, 306, 354), (238, 250, 285, 375)):  # in the box, and below it
        before, after = (
            cv2.Laplacian(cv2.cvtColor(p[y1:y2, x1:x2], cv2.COLOR_RGB2GRAY), cv2.CV_64F).std() for p in (image, drawn)
        )
        assert after < 0.02 * before
    assert (drawn[300:] == image[300:]).all()
    assert (image == noise(360, 640)).all()


@pytest.mark.parametrize("size", [12, 60, 600])
def test_blur_keeps_nothing_but_six_by_six_colours(size: int) -> None:
    image = noise(size, size)
    cell = size // 6
    cells = image.reshape(6, cell, 6, cell, 3).swapaxes(1, 2).reshape(36, -1, 3)
    shuffled = np.random.default_rng(1).permuted(cells, axis=1)  # another face of the same 36 colours
    other = shuffled.reshape(6, 6, cell, cell, 3).swapaxes(1, 2).reshape(image.shape)
    one, two = (draw_frame(p, [], privacy="blur", also_hide=[Box(0, 0, size, size)]) for p in (image, other))
    assert (image != other).mean() > 0.5
    assert (one == two).all()


def test_a_face_that_is_missed_for_a_moment_stays_hidden() -> None:
    recent = RecentBoxes(hold_s=1.0)
    first, other = seen(1, box=(10, 10, 50, 60)), seen(2, box=(100, 10, 150, 60))
    assert recent.update(frame(0, 0.0, first, other)) == ()
    assert recent.update(frame(1, 0.5, other)) == (first.face.box,)
    assert recent.update(frame(2, 1.0, other)) == (first.face.box,)
    assert recent.update(frame(3, 1.6, other)) == ()
    assert recent.update(frame(4, 1.7)) == (other.face.box,)
    drawn = draw_frame(noise(360, 640), [], privacy="box", also_hide=[first.face.box])
    assert len(np.unique(drawn[10:60, 10:50].reshape(-1, 3), axis=0)) == 1


def test_unknown_privacy_hides_nothing_silently() -> None:
    with pytest.raises(ValueError, match="none, blur or box"):
        draw_frame(noise(9, 9), [], privacy="Blur")  # type: ignore[arg-type]


# Badges


@pytest.mark.parametrize("size", [8, 16, 17, 96, 512])
def test_badges_can_be_told_apart_without_their_colours(size: int) -> None:
    features = {}
    for name in (*EIGHT, UNSURE, "bored"):
        drawn = badge(name, size)
        assert (drawn.shape, drawn.dtype) == ((size, size, 4), np.uint8)
        assert drawn[0, 0, 3] < 128 < drawn[size // 2, size // 2, 3]
        features[name] = cv2.resize(cv2.cvtColor(drawn[..., :3], cv2.COLOR_RGB2HSV)[..., 2], (16, 16)).astype(float)
    if size >= 16:
        for one, other in itertools.combinations(features, 2):
            assert np.abs(features[one] - features[other]).max() > 60, (one, other)


def test_badge_sizes_have_limits() -> None:
    for size in (7, 513):
        with pytest.raises(ValueError, match="8 to 512"):
            badge("happy", size)


def test_badge_stands_beside_the_face_or_over_a_hidden_one() -> None:
    image = np.full((360, 640, 3), 60, np.uint8)
    face = seen(1, "happy", box=(300, 150, 360, 230))
    middle, corner = (slice(180, 200), slice(320, 340)), (slice(226, 234), slice(356, 364))
    beside, over = draw_frame(image, [face], emoji=True), draw_frame(image, [face], emoji=True, privacy="box")
    assert (beside[middle] == 60).all()
    assert len(np.unique(beside[corner].reshape(-1, 3), axis=0)) > 3
    assert len(np.unique(over[middle].reshape(-1, 3), axis=0)) > 3


# Plots


def test_plot_shows_tracks_longest_first_and_names_the_rest(tmp_path: Path) -> None:
    plot = TimelinePlot(tmp_path / "plot.png", MODEL)
    image = noise(360, 640)
    for i in range(110):
        faces = [seen(2, "happy"), *[seen(10 + k, "sad", box=(9, 9, 40, 40)) for k in range(12) if k * 9 <= i]]
        plot.write(frame(i, i / 25, *faces, image=image))
    rows = [axes for axes in plot.figure().axes if axes.get_ylabel()]
    assert [axes.get_ylabel().split()[0] for axes in rows] == ["#2", *(f"#{n}" for n in range(10, 17))]
    assert rows[-1].get_xlabel() == "shorter, not drawn: #17, #18, #19, #20, #21"
    assert len(rows[-1].figure.axes) == 2 * len(rows)  # faces above each


def test_plot_has_no_faces_where_nobody_should_be_recognised(tmp_path: Path) -> None:
    plot = TimelinePlot(tmp_path / "plot.png", MODEL, faces=False)
    plot.write(frame(0, 0.0, seen(1), image=noise(360, 640)))
    assert len(plot.figure().axes) == 1


@pytest.mark.parametrize("faces", [(), (seen(1),), (seen(1), seen(2, "sad", box=(-90, -90, -9, -9)))])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_plots_of_little_are_images_too(tmp_path: Path, faces: tuple[TrackedFace, ...], count: int) -> None:
    path = tmp_path / "plot.png"
    with TimelinePlot(path, MODEL, title="a $ in a_{name}") as plot:
        for i in range(count):
            plot.write(frame(i, i / 25, *faces, image=noise(360, 640)))
        assert not path.exists()
    assert min(read_image(path).shape[:2]) > 100
    assert list(tmp_path.iterdir()) == [path]


def test_plot_of_hours_keeps_few_numbers_and_the_right_ones(tmp_path: Path) -> None:
    plot = TimelinePlot(tmp_path / "plot.png", MODEL)
    for i in range(4000):
        hours = i / 1000
        name = FER2013[int(hours)]
        away = 1500 <= i < 1700
        passer_by = seen(100 + i // 20, "sad")  # 200 people who pass
        plot.write(frame(i, 3600 * hours, *([] if away else [seen(1, name, 1.0)]), passer_by))
    assert len(plot._tracks) <= 34
    assert max(len(track.steps) for track in plot._tracks.values()) <= 1024
    row = next(axes for axes in plot.figure().axes if axes.get_ylabel().startswith("#1\n"))
    assert row.get_ylabel().split("\n")[1:] == ["0:00 to", "3:59:56"]
    assert [text.get_text() for text in row.figure.axes[-1].get_xticklabels()][:2] == ["0:00", "30:00"]
    spans = [
        [float(f(p.vertices[:, 0])) / 3600 for f in (np.min, np.max)]
        for collection in row.collections
        for p in collection.get_paths()
    ]
    # Two stretches with the gap between them, each of seven areas.
    assert sorted({(round(a, 1), round(b, 1)) for a, b in spans}) == [(0.0, 1.5), (1.7, 4.0)]


@pytest.mark.parametrize("name", ["nowhere/plot.png", "plot.jpg", "folder.png"])
def test_a_plot_that_can_not_be_written_is_told_before_the_run(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=name):
        TimelinePlot(tmp_path / name, MODEL)


def test_plot_without_matplotlib_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"mien\[data\]"):
        TimelinePlot(tmp_path / "plot.png", MODEL)


def test_the_blendshapes_that_change_most_are_below_their_track(tmp_path: Path) -> None:
    plot = TimelinePlot(tmp_path / "p.png", replace(MODEL, details=True))
    for i in range(40):
        shapes = dict.fromkeys(BLENDSHAPES, 0.1) | {"jawOpen": i / 40, "eyeBlinkLeft": (i % 2) * 0.5}
        details = Details(error="covered") if 10 <= i < 20 else Details(blendshapes=shapes)
        face = seen(1)
        plot.write(frame(i, i / 25, replace(face, face=replace(face.face, details=details))))
    _, shapes_row = plot.figure().axes
    names = [text.get_text() for text in shapes_row.get_legend().get_texts()]
    assert names[:2] == ["jawOpen", "eyeBlink"]
    drawn = shapes_row.get_lines()[0].get_ydata()
    assert np.isnan(drawn).any()
    assert np.nanmax(drawn) == pytest.approx(39 / 40)
