"""Work on Ray: the rows of the local engine, lost workers, crops in order, trials of one study. One cluster for all."""

import gc
import os
import signal
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from made_data import tree
from mien.cluster import tune as cluster_tune
from mien.cluster.crop import RayCrops
from mien.cluster.plan import SUMMARY, shard_name
from mien.cluster.predict import PredictSettings, predict_shards
from mien.cluster.ray_workers import TRIES, Lost, RaySettings, connected, in_order, ray_workers
from mien.cluster.tune import TuneSettings, tune_on_ray
from mien.data.arrays import open_arrays
from mien.data.crops import CropSettings, crop_dataset
from mien.data.importing import import_dataset
from mien.data.toy import write_toy_folders
from mien.errors import ClusterError, MissingExtraError, ModelFileError
from mien.faces import DetectorChoice
from tiny_models import make_model

ray = pytest.importorskip("ray", reason="needs the extra [cluster]")
pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra [cluster]")

# Ray leaves sockets and processes to its own shutdown.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

TWO = RaySettings(actors=2)


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers can't import tests
    with connected(TWO):
        yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray does not wait for the processes that it ends
        gc.collect()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eleven faces, one of them broken."""
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0)
    for i in range(11):
        assert cv2.imwrite(str(folder / f"{i:04d}.png"), noise.integers(0, 255, (48, 48), np.uint8))
    (folder / "0003.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def contents(out):
    return {place.name: place.read_bytes() for place in out.glob("*") if place.name.startswith(("shard", "summary"))}


def doubled(scratch):
    """Tasks are doubled; the first worker that meets task 3 dies, and each that meets task 5."""

    def work(number):
        marker = scratch / "died"
        if number == 5 or (number == 3 and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with (scratch / f"{os.getpid()}.txt").open("a") as file:
            file.write(f"{number}\n")
        return 2 * number

    return work


@pytest.mark.long
def test_a_lost_worker_is_replaced_and_its_task_done_again(tmp_path):
    with ray_workers(partial(doubled, tmp_path), TWO) as workers:
        found = {task: result for _, task, result in workers.work_off(range(8))}
    lost = found.pop(5)
    assert found == {n: 2 * n for n in (0, 1, 2, 3, 4, 6, 7)}
    assert isinstance(lost, Lost)
    assert lost.reason
    done = [int(n) for place in tmp_path.glob("*.txt") for n in place.read_text().split()]
    assert sorted(done) == [0, 1, 2, 3, 4, 6, 7]


def refusing():
    raise ModelFileError("tiny.onnx: is another file on that machine")


def test_an_error_of_ours_comes_out_as_it_was_raised():
    with (
        ray_workers(refusing, TWO) as workers,
        pytest.raises(ModelFileError, match=r"^tiny\.onnx: is another file on that machine$"),
    ):
        list(workers.work_off(range(3)))


def sleeping():
    def work(number):
        time.sleep(0.3 if number == 0 else 0)
        return number

    return work


@pytest.mark.long
def test_tasks_are_taken_as_workers_are_free_and_results_can_be_put_in_order():
    taken = []

    def tasks():
        for number in range(6):
            taken.append(number)
            yield number

    with ray_workers(sleeping, TWO) as workers:
        results = workers.work_off(tasks())
        first = next(results)
        assert len(taken) <= 3
        order = [first[1], *(task for _, task, _ in results)]
        assert sorted(order) == list(range(6))
        assert list(in_order(workers.work_off(range(5)))) == list(range(5))


def test_both_engines_give_the_same_bytes(photos, model, tmp_path):
    settings = PredictSettings((str(model),), DetectorChoice("none"))
    told = []
    here = predict_shards([str(photos)], str(tmp_path / "a"), settings=settings, shard_size=2)
    there = predict_shards(
        [str(photos)], str(tmp_path / "b"), settings=settings, shard_size=2, ray=TWO, progress=lambda *n: told.append(n)
    )
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert (there.images, there.faces, there.failed) == (here.images, here.faces, here.failed) == (11, 10, 1)
    assert told[-1] == (11, 11)
    assert {place.name for place in (tmp_path / "b").iterdir()} == {
        "plan.json", "listing.parquet", SUMMARY, *(shard_name(i) for i in range(6)),
    }  # fmt: skip
    (tmp_path / "b" / shard_name(3)).unlink()  # what one engine left, the other finishes
    predict_shards([str(photos)], str(tmp_path / "b"), settings=settings, shard_size=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


class Deadly:
    """A detector that kills its process at images brighter than any other; once, or each time."""

    name = "deadly"

    def __init__(self, inner, marker):
        self.inner, self.marker = inner, marker

    def detect(self, image):
        if image.min() == 255 and not (self.marker and self.marker.exists()):
            if self.marker:
                self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.detect(image)


class DeadlySettings(PredictSettings):
    """Settings whose recognizers have a deadly detector."""

    marker = None

    def recognizer(self):
        made = super().recognizer()
        made.steps.detector = Deadly(made.steps.detector, self.marker)
        return made


@pytest.mark.slow
@pytest.mark.parametrize("each_time", [False, True])
def test_every_image_is_a_row_once_whatever_dies(each_time, photos, model, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for place in photos.glob("*.png"):
        (folder / place.name).write_bytes(place.read_bytes())
    cv2.imwrite(str(folder / "0006.png"), np.full((48, 48), 255, np.uint8))

    class Settings(DeadlySettings):
        marker = None if each_time else tmp_path / "died"

    settings = Settings((str(model),), DetectorChoice("none"))
    out = tmp_path / "out"
    found = predict_shards([str(folder)], str(out), settings=settings, shard_size=4, ray=TWO)
    rows = [row for place in sorted(out.glob("shard-*")) for row in pq.read_table(place).to_pylist()]
    assert [row["image"] for row in rows] == list(range(11))
    assert found.images == 11
    errors = [row["image"] for row in rows if row["error"]]
    if each_time:
        assert errors == [3, 6]
        assert f"its worker was lost {TRIES} times" in rows[6]["error"]
        assert "delete shard-000001.parquet" in rows[6]["error"]
        assert (found.failed, found.faces) == (2, 9)
        again = predict_shards([str(folder)], str(out), settings=settings, shard_size=4, ray=TWO)
        assert (again.failed, again.done_before) == (2, 3)
    else:
        assert (tmp_path / "died").exists()
        assert errors == [3]


def test_crops_are_those_of_the_local_engine_in_the_same_order(tmp_path):
    write_toy_folders(tmp_path / "toy", train=90, validation=7, test=7, seed=1)
    (tmp_path / "toy" / "train" / "happy" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    import_dataset(tmp_path / "toy", tmp_path / "arrays")
    settings, choice = CropSettings(no_face="keep"), DetectorChoice("none")
    for source in ("toy", "arrays"):
        here = crop_dataset(tmp_path / source, tmp_path / f"{source}-a", detector=choice, settings=settings)
        engine = partial(RayCrops, detector=choice, settings=settings, ray=TWO)
        there = crop_dataset(
            tmp_path / source, tmp_path / f"{source}-b", detector=choice, settings=settings, engine=engine
        )
        a, b = open_arrays(tmp_path / f"{source}-a"), open_arrays(tmp_path / f"{source}-b")
        assert len(a) >= 104
        assert np.array_equal(a.pixels, b.pixels)
        assert set(a.columns) == set(b.columns)
        for name, values in a.columns.items():
            assert np.array_equal(values, b.columns[name], equal_nan=values.dtype.kind == "f"), name
        assert here.problems == there.problems
        assert a.steps == b.steps
        assert len(here.problems) == (source == "toy")
    assert tree(tmp_path / "toy-a")["pixels.u8"] == tree(tmp_path / "toy-b")["pixels.u8"]


RECIPE = """
seed = 1
[optimizer]
epochs = 2
warmup_epochs = 0.0
[search]
"optimizer.learning_rate" = { low = 1e-3, high = 3e-2, log = true }
"""


def scripted_start(settings):
    """Trials that do not train; the worker of the first one dies in it, once."""
    import mien.training.tune as tuning

    def fake(recipe, _data, folder, *, watcher, **_):
        if folder.name == "trial-0000" and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        history = [{"epoch": float(e), "label_accuracy": recipe.optimizer.learning_rate} for e in (1, 2)]
        for row in history:
            watcher.on_epoch(row)
        return SimpleNamespace(history=history)

    tuning.train_run = fake
    return START(settings)


START = cluster_tune._start


@pytest.mark.long
def test_trials_of_one_study_on_ray_and_one_that_is_killed_goes_on(tmp_path, monkeypatch):
    pytest.importorskip("optuna", reason="tuning needs the extra [tune]")
    monkeypatch.setattr(cluster_tune, "_start", scripted_start)
    (tmp_path / "small.toml").write_text(RECIPE)
    settings = TuneSettings(str(tmp_path / "small.toml"), tmp_path, tmp_path / "out", trials=5)
    ended = []
    found = tune_on_ray(settings, ray=TWO, on_end=ended.append)
    assert sorted(t.number for t in ended) == [0, 1, 2, 3, 4]
    assert [t.number for t in found.trials] == [0, 1, 2, 3, 4]
    assert {t.state for t in found.trials} <= {"complete", "pruned"}
    assert (tmp_path / "out" / "trial-0000" / "died").exists()
    assert (tmp_path / "out" / "best.toml").exists()


def test_refusals(monkeypatch):
    with (
        pytest.raises(ClusterError, match="3 actors were requested, but the cluster has 2 cores"),
        ray_workers(sleeping, RaySettings(actors=3)),
    ):
        pass
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"\[cluster\]"), ray_workers(sleeping, TWO):
        pass


def ray_process(parent):
    """A worker of the Ray that a process started, from /proc."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    for pid in parents:
        above = pid
        while above in parents and above != parent:
            above = parents[above]
        try:
            if above == parent and Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::_Actor"):
                return pid
        except OSError:
            continue
    raise AssertionError(f"no worker of {parent}")


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_the_command_survives_a_killed_worker_and_resumes_after_ctrl_c(photos, model, tmp_path):
    import json
    import subprocess

    faces = tmp_path / "faces"
    faces.mkdir()
    for i in range(3000):
        (faces / f"{i:05d}.png").hardlink_to(photos / "0000.png") if i % 50 else (faces / f"{i:05d}.png").write_bytes(
            (photos / "0001.png").read_bytes()
        )
    out = tmp_path / "out"
    call = [sys.executable, "-m", "mien", "predict", str(faces), "-d", "none", "-m", str(model)]
    call += ["--shards", str(out), "--shard-size", "20", "--engine", "ray", "--actors", "2", "-f", "json"]
    running = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120

    def wait_for(count):
        while len(list(out.glob("shard-*"))) < count:
            assert time.monotonic() < deadline and running.poll() is None, running.communicate()
            time.sleep(0.01)

    wait_for(5)
    os.kill(ray_process(running.pid), signal.SIGKILL)
    wait_for(20)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=120)
    assert running.returncode == 130, told
    assert told == f"mien: stopped; finished shards are in {out}, the same command resumes\n"
    ended = subprocess.run(call, check=True, capture_output=True, text=True)
    assert ended.stderr == ""
    assert json.loads(ended.stdout)["images"] == 3000
    images = [n for place in sorted(out.glob("shard-*")) for n in pq.read_table(place)["image"].to_pylist()]
    assert images == list(range(3000))
