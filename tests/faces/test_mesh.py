"""The details of faces: the mesh held against MediaPipe's, pose, gaze, eyes and mouth, and where they are absent."""

import csv
import json
import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from typer.testing import CliRunner

import mien
from mien.cli import app
from mien.crop import Square, sampled
from mien.errors import ArgumentError
from mien.faces import make_detector, mesh
from mien.faces.mesh import MESH_SIZE, FaceMesh
from mien.images import read_image
from mien.results import Detections
from mien.results.details import BLENDSHAPES
from mien.results.rows import columns
from places import ASTRONAUT, ROOT, SHARED
from turned import turned

REFERENCE = Path(__file__).with_name("mediapipe.npz")
EYES = [33, 263]  # the outer corners
needs_photos = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the photographs of ../shared")


@pytest.fixture(scope="module")
def recognizer():
    return mien.Recognizer("mien-nano", details=True, threads=1)


@pytest.fixture(scope="module")
def astronaut(recognizer):
    return recognizer.predict(ASTRONAUT)[0]


@pytest.fixture(scope="module")
def reference():
    """What MediaPipe 0.10.21 found, made by scripts/mesh_reference.py, with the photographs."""
    rows = dict(np.load(REFERENCE))
    return [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]


def photograph(name):
    for folder in (SHARED / "media", SHARED / "cases" / "photos"):
        if (folder / name).is_file():
            return read_image(folder / name)
    import av

    clip, number = name.removesuffix(".png").rsplit("-", 1)
    with av.open(str(SHARED / "media" / clip)) as file:
        frames = (frame for i, frame in enumerate(file.decode(video=0)) if i == int(number))
        return next(frames).to_ndarray(format="rgb24")


def difference(points, row):
    """Of each point, in percent of the distance between the eyes."""
    apart = np.hypot(*(row["mesh"][EYES[1], :2] - row["mesh"][EYES[0], :2]))
    return 100 * np.hypot(*(points - row["mesh"])[:, :2].T) / apart


@needs_photos
def test_the_mesh_is_mediapipes_where_it_sees_the_same_square(reference, recognizer):
    network, apart = recognizer.steps._mesh._network, []
    for row in reference:
        square = Square(*row["square"].tolist())
        points, _, _ = network.run(None, {"image": sampled(photograph(str(row["photo"])), square, MESH_SIZE)[None]})
        apart.append(difference(mesh._placed(points[0], square), row))
    medians, worst = np.median(apart, axis=1), np.max(apart, axis=1)
    assert len(apart) == 20
    assert len({str(row["photo"]) for row in reference}) == 12
    assert np.median(medians) <= 0.2
    assert np.max(worst) <= 3


@needs_photos
def test_the_mesh_in_miens_own_square_is_close_to_mediapipes(reference, recognizer):
    medians, turns = [], []
    for name in {str(row["photo"]) for row in reference}:
        faces = recognizer.predict(photograph(name))
        for row in (row for row in reference if row["photo"] == name):
            face = faces[int(row["face"])]
            if face.mesh is None:
                continue
            medians.append(np.median(difference(face.mesh, row)))
            flip = np.diag([1, -1, -1])  # MediaPipe's y is up, its z towards the camera
            turns.append(np.abs(np.array(face.pose) - mesh._angles(flip @ row["matrix"] @ flip)))
    assert len(medians) >= 18
    assert np.median(medians) <= 1
    assert max(medians) <= 2.1
    assert np.quantile(turns, 0.9, axis=0).max() <= 5  # degrees of yaw, pitch, roll


def test_blendshapes_are_mediapipes_on_equal_points(reference, tmp_path):
    """On the same 478 points; MediaPipe takes those of the photograph, where faces are tilted."""
    whole = ROOT / "src/mien/faces/weights/mesh.onnx"
    onnx.utils.extract_model(str(whole), str(tmp_path / "b.onnx"), ["mesh"], ["blendshapes"])
    network = ort.InferenceSession(str(tmp_path / "b.onnx"))
    (found,) = network.run(None, {"mesh": np.stack([row["mesh"] for row in reference])})
    assert np.abs(found - np.stack([row["blendshapes"] for row in reference])).max() <= 0.02
    assert found.shape == (20, len(BLENDSHAPES))


@pytest.mark.parametrize("angle", [-120, -30, -10, 10, 45, 90, 180])
def test_roll_is_the_angle_of_a_turned_photograph(recognizer, astronaut, angle):
    image, _ = turned(read_image(ASTRONAUT), angle)
    (face,) = recognizer.predict(image)
    assert abs((face.pose.roll - astronaut.pose.roll - angle + 180) % 360 - 180) <= 2
    assert abs(face.pose.yaw - astronaut.pose.yaw) <= 3
    assert abs(face.pose.pitch - astronaut.pose.pitch) <= 3


def test_a_mirrored_face_looks_the_other_way(recognizer, astronaut):
    (face,) = recognizer.predict(np.ascontiguousarray(read_image(ASTRONAUT)[:, ::-1]))
    assert abs(face.pose.yaw + astronaut.pose.yaw) <= 3
    assert abs(face.pose.roll + astronaut.pose.roll) <= 2
    assert abs(face.gaze.yaw + astronaut.gaze.yaw) <= 3
    assert abs(face.eyes_open.left - astronaut.eyes_open.right) <= 0.05


def test_what_the_astronaut_does(astronaut):
    assert astronaut.mesh.shape == (478, 3)
    assert astronaut.mesh.dtype == np.float32
    assert abs(astronaut.gaze.yaw) < 8  # she looks into the camera
    assert min(astronaut.eyes_open) > 0.8
    assert 0.1 < astronaut.mouth_open < 0.4
    assert min(astronaut.blendshapes["mouthSmileLeft"], astronaut.blendshapes["mouthSmileRight"]) > 0.8
    assert tuple(astronaut.blendshapes) == BLENDSHAPES
    inside = (astronaut.mesh[:, 0] > astronaut.box.x1 - 10) & (astronaut.mesh[:, 0] < astronaut.box.x2 + 10)
    assert inside.all()


def test_details_are_absent_with_a_reason(recognizer, monkeypatch):
    found = mien.Recognizer("mien-nano", details=True, min_face=10).predict(read_image(ASTRONAUT)[::3, ::3])
    assert [face.details.error for face in found] == ["smaller than 40 pixels"]
    assert found[0].mesh is found[0].pose is found[0].gaze is found[0].mouth_open is found[0].blendshapes is None
    (crop,) = mien.Recognizer("mien-nano", detector="none", details=True).predict(
        read_image(ASTRONAUT)[60:180, 170:280]
    )
    assert "detector" in crop.details.error
    monkeypatch.setattr(mesh, "MOST_YAW", 0.1)
    assert recognizer.predict(ASTRONAUT)[0].details.error.startswith("in profile: turned by ")
    covered = FaceMesh(threads=1).details(
        np.full((100, 100, 3), 90, np.uint8),
        Detections(np.array([[0, 0, 99, 99]], np.float32), np.ones(1, np.float32)),
    )
    assert covered[0].error.startswith("covered, dark or blurred")
    assert mien.predict(ASTRONAUT).faces[0].details is None
    assert mien.predict(ASTRONAUT).faces[0].pose is None


def test_rows_of_all_formats_have_the_details(tmp_path, recognizer, astronaut):
    table = tmp_path / "faces.csv"
    drawn = ["--draw", "mesh", "--draw", "pose", "--draw", "gaze", "--annotate", str(tmp_path / "drawn")]
    done = CliRunner().invoke(
        app, ["predict", str(ASTRONAUT), "--model", "mien-nano", "--details", "--out", str(table), "-q", *drawn]
    )
    assert done.exit_code == 0, done.output
    with table.open() as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == columns(recognizer.labels, details=True)
    assert float(row["yaw"]) == pytest.approx(astronaut.pose.yaw, abs=0.1)
    assert float(row["jawOpen"]) == pytest.approx(astronaut.blendshapes["jawOpen"], abs=1e-3)
    assert row["details_error"] == ""
    assert len(list((tmp_path / "drawn").iterdir())) == 1
    frame = recognizer.predict(ASTRONAUT).to_pandas()
    assert tuple(frame) == columns(recognizer.labels, details=True)
    document = json.loads(recognizer.predict(ASTRONAUT).to_json())["faces"][0]["details"]
    assert len(document["mesh"]) == 478
    assert set(document["pose"]) == {"yaw", "pitch", "roll"}
    assert document["blendshapes"]["jawOpen"] == float(row["jawOpen"])
    assert "details" not in mien.predict(ASTRONAUT).to_dict()["faces"][0]


def test_what_can_be_drawn(recognizer):
    result = recognizer.predict(ASTRONAUT)
    plain = result.plot()
    for name in ("mesh", "pose", "gaze"):
        assert (result.plot(draw=[name]) != plain).any()
    with pytest.raises(ArgumentError, match=r"'meshes' is unknown; did you mean 'mesh'\? expected mesh, pose, gaze"):
        result.plot(draw=["meshes"])
    done = CliRunner().invoke(app, ["predict", str(ASTRONAUT), "--draw", "mesh"])
    assert "add  --annotate DIR" in str(done.exception)


def test_a_detector_without_landmarks_will_do(caplog):
    with caplog.at_level(logging.WARNING):
        found = mien.Recognizer("mien-nano", detector=make_detector("haar"), details=True).predict(ASTRONAUT)
    assert found[0].mesh is not None
    assert not caplog.records
