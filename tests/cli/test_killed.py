"""Commands that are killed in the middle (SIGKILL), and go on: the same bytes as an undisturbed run."""

import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from made_data import make, tree
from mien.data.arrays import write_arrays
from mien.data.export import export_dataset
from mien.data.toy import write_toy_folders
from places import ASTRONAUT

# Photographs are read in small chunks here, so that there is something to go on with.
RUN = "import mien.data.reading.sources as files; files.CHUNK_BYTES = 1 << 20; from mien.cli import main; main()"


@pytest.fixture
def whole(run, monkeypatch):
    """Runs a command to its end, in this process."""
    monkeypatch.setattr("mien.data.reading.sources.CHUNK_BYTES", 1 << 20)

    def go(*arguments):
        code, _, problems = run(*arguments)
        assert code in (0, 3), problems

    return go


def kill_when(seen, arguments):
    """Starts a command and kills it as soon as `seen` finds what it waits for; it must not have ended by itself."""
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not seen():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the command ended before it could be killed"


def killed_in_the_middle(whole, tmp_path, *arguments):
    """What a killed and resumed command leaves, beside what an undisturbed one leaves."""
    whole(*arguments, "--out", tmp_path / "whole" / "out")
    journal = tmp_path / "killed" / ".out.part" / ".journal"
    kill_when(lambda: list(journal.glob("rows-*.parquet")), (*arguments, "--out", tmp_path / "killed" / "out"))
    assert not (tmp_path / "killed" / "out").exists()
    whole(*arguments, "--out", tmp_path / "killed" / "out", "--resume")
    return tree(tmp_path / "killed"), tree(tmp_path / "whole")


@pytest.fixture
def places(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    return tmp_path


def noise(count, side=48):
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (count, side, side, 1), dtype=np.uint8))
    return make(images, [i % 7 for i in range(count)], ["train" if i % 5 else "test" for i in range(count)])


@pytest.fixture(scope="module")
def faces_csv(tmp_path_factory):
    place = tmp_path_factory.mktemp("csv") / "fer2013.csv"
    export_dataset(noise(6000), place, as_="csv")
    return place


def test_import(whole, places, faces_csv):
    left, expected = killed_in_the_middle(whole, places, "data", "import", faces_csv)
    assert left == expected
    assert len(left) == 2


@pytest.mark.long
def test_dedupe(whole, places):
    data = noise(12_000)
    data = data.take(np.concatenate([np.arange(12_000), np.arange(0, 600, 2)]))
    write_arrays(data, places / "in", command="import", settings={})
    left, expected = killed_in_the_middle(whole, places, "data", "dedupe", places / "in")
    assert left == expected
    assert {"out/manifest.parquet", "out-groups.csv", "out-groups.html"} < set(left)


def test_crop(whole, places):
    photographs = places / "photographs"
    photographs.mkdir()
    astronaut = ASTRONAUT
    for i in range(12):
        shutil.copy(astronaut, photographs / f"{i:02d}.png")
    (photographs / "99.png").write_bytes(b"no image")
    left, expected = killed_in_the_middle(whole, places, "data", "crop", photographs)
    assert left == expected
    assert "out/problems.csv" in left


@pytest.mark.long
def test_audit(whole, places):
    write_toy_folders(places / "in", train=210, validation=70, test=0)
    settings = ("data", "audit", places / "in", "--folds", "2")
    whole(*settings, "--out", places / "whole" / "out")
    part = places / "killed" / ".out.part"
    kill_when(lambda: list(part.rglob("answers.npy")), (*settings, "--out", places / "killed" / "out"))
    whole(*settings, "--out", places / "killed" / "out", "--resume")
    left, expected = tree(places / "killed"), tree(places / "whole")
    for name in ("out/flags.csv", "out/out-of-fold.npy"):
        assert left[name] == expected[name]
