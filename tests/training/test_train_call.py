"""`mien.train` from Python: opened data, callbacks, an own augmentation, and the network that comes back."""

import numpy as np
import pytest

import mien
from mien.data.toy import write_toy_folders

torch = pytest.importorskip("torch", reason="needs the extra [train]")

EPOCHS = {"optimizer": {"epochs": 2}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    write_toy_folders(folder, train=140, validation=42, test=0, seed=3)
    return mien.load_dataset(folder)


class Heard(mien.Callback):
    def __init__(self):
        self.begun, self.steps, self.rows = None, [], []

    def on_start(self, history):
        self.begun = list(history)

    def on_step(self, epoch, done, total, images_per_s):
        self.steps.append((epoch, done, total))

    def on_epoch(self, row):
        self.rows.append(row)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    seen, heard = [], Heard()

    def darker(batch):
        seen.append((batch.shape[1:], batch.dtype, float(batch.max())))
        return batch * 0.5

    out = tmp_path_factory.mktemp("runs") / "a"
    run = mien.train("toy", data, out=out, augment=darker, callbacks=[heard], device="cpu", **EPOCHS)
    return run, heard, seen


def test_an_opened_data_set_is_trained_on(trained):
    run, _, _ = trained
    assert len(run.history) == 2 and run.model.is_file()
    assert repr(run) == f"Run({str(run.folder)!r}, recipe='toy', epochs=2, toy.onnx)"


def test_callbacks_hear_every_step_and_epoch(trained):
    run, heard, _ = trained
    assert heard.begun == [] and heard.rows == run.history
    assert {epoch for epoch, _, _ in heard.steps} == {0, 1}
    assert all(0 < done <= total for _, done, total in heard.steps)


def test_an_own_augmentation_gets_each_batch_after_the_recipes(trained):
    run, heard, seen = trained
    assert len(seen) >= len(heard.steps)
    side = run.recipe.input.view
    assert {shape for shape, _, _ in seen} == {(1, side, side)}
    assert all(kind == torch.float32 and 1 < top <= 255 for _, kind, top in seen)


def test_an_augmentation_that_changes_the_shape_is_refused_in_one_line(data, tmp_path):
    with pytest.raises(mien.TrainingError, match=r"augment: returned shape .* expected a tensor of shape"):
        mien.train("toy", data, out=tmp_path / "b", augment=lambda batch: batch[..., 1:], **EPOCHS)


def test_the_network_of_a_run_gives_the_answers_of_its_model_file(trained, data):
    run, _, _ = trained
    model = mien.ModelFile(run.model)
    faces = data["validation"].faces(size=model.info.size, channels=1)
    side = run.recipe.input.seen
    start = (model.info.size - side) // 2
    batch = torch.from_numpy(faces.copy()).permute(0, 3, 1, 2).float()[..., start : start + side, start : start + side]
    with torch.no_grad():
        logits = run.to_torch()(batch)["label"]
    own = torch.softmax(logits / model.info.temperature, 1).numpy()
    np.testing.assert_allclose(own, model.probabilities(faces), atol=2e-3)


def test_a_run_that_is_paused_says_so(data, tmp_path):
    run = mien.train("toy", data, out=tmp_path / "c", stop_after=1, **EPOCHS)
    assert "paused" in repr(run)
    with pytest.raises(mien.TrainingError, match="paused and has no model file yet"):
        _ = run.model
    assert sum(p.numel() for p in run.to_torch().parameters()) > 0
