"""Toy faces: seeded, balanced, told apart by a simple learner, and written as a data set."""

import cv2
import numpy as np
import pytest

from mien.data.fitted import read_dataset
from mien.data.toy import toy_faces, write_toy_folders
from mien.errors import OutputError
from mien.labels import FER2013


def test_shape_and_balance():
    faces = toy_faces(70, size=32, seed=1)
    assert faces.images.shape == (70, 32, 32, 1)
    assert faces.images.dtype == np.uint8
    assert faces.label_names == FER2013
    assert np.bincount(faces.labels).tolist() == [10] * 7
    assert len(set(faces.sources)) == 70
    assert faces.votes is None


def test_seeded():
    one, again, other = toy_faces(14, seed=3), toy_faces(14, seed=3), toy_faces(14, seed=4)
    np.testing.assert_array_equal(one.images, again.images)
    np.testing.assert_array_equal(one.labels, again.labels)
    assert (one.images != other.images).any()
    assert len({image.tobytes() for image in one.images}) == 14


def test_colour_and_grey_are_the_same_faces():
    grey, color = toy_faces(7, seed=5), toy_faces(7, seed=5, channels=3)
    assert color.images.shape == (7, 48, 48, 3)
    for g, c in zip(grey.images, color.images, strict=True):
        assert np.abs(cv2.cvtColor(c, cv2.COLOR_RGB2GRAY).astype(int) - g[..., 0]).mean() < 2


@pytest.mark.parametrize("arguments", [{"count": 0}, {"count": 7, "size": 8}, {"count": 7, "channels": 4}])
def test_impossible_faces(arguments):
    with pytest.raises(ValueError, match="expected"):
        toy_faces(**arguments)


def test_expressions_can_be_learnt_but_not_from_brightness():
    """Ridge regression on blurred gradients tells them apart far above chance; mean and spread of the greys do not."""
    train, test = toy_faces(700, seed=6), toy_faces(210, seed=7)

    def shapes(faces):
        rows = []
        for image in faces.images[..., 0].astype(np.float32):
            strength = cv2.magnitude(cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1))
            rows.append(cv2.resize(strength / strength.mean(), (16, 16), interpolation=cv2.INTER_AREA).ravel())
        return np.array(rows)

    def greys(faces):
        flat = faces.images.reshape(len(faces), -1).astype(np.float32)
        return np.stack((flat.mean(1), flat.std(1)), 1) / 128

    def accuracy(features):
        x, seen = (np.hstack((features(f), np.ones((len(f), 1)))) for f in (train, test))
        weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ np.eye(7)[train.labels])
        return np.mean((seen @ weights).argmax(1) == test.labels)

    assert accuracy(shapes) > 0.6
    assert accuracy(greys) < 0.3


def test_written_as_class_folders(tmp_path):
    out = tmp_path / "faces"
    write_toy_folders(out, train=28, validation=14, test=14, seed=2)
    dataset = read_dataset(out, size=48, channels=1)
    assert {name: len(samples) for name, samples in dataset.items()} == {"train": 28, "validation": 14, "test": 14}
    assert all(samples.label_names == FER2013 for samples in dataset.values())
    assert not list(out.rglob("*.part"))
    images = [image.tobytes() for samples in dataset.values() for image in samples.images]
    assert len(set(images)) == 56
    np.testing.assert_array_equal(
        np.sort(dataset["train"].images.reshape(28, -1).sum(1)),
        np.sort(toy_faces(28, seed=6).images.reshape(28, -1).sum(1)),
    )
    with pytest.raises(OutputError, match="exists already"):
        write_toy_folders(out)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"another place|new folder"):
        write_toy_folders(tmp_path / "file" / "faces", train=7, validation=7, test=7)


def test_the_demo_keeps_its_hands_off_what_is_there(tmp_path):
    from mien.cli.demo import demo

    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        demo(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
