"""A data set on disk: what is written, what is refused, and what a killed write leaves."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow.parquet as pq
import pytest

from mien.data.arrays import MANIFEST, PIXELS, open_arrays, read_problems, staging, write_arrays
from mien.data.dataset import collect
from mien.data.source import Chunk, Problem, Step, text_column
from mien.errors import DataError, OutputError
from places import TESTS


@dataclass(frozen=True)
class Made:
    """A source of drawn images: record i is an image of grey i, every tenth is a problem."""

    count: int = 95
    sides: tuple[int, ...] = (8,)
    fingerprint: str = "made"
    stop_at: int | None = None
    label_names: tuple[str, ...] = ("happy", "sad")
    steps: tuple[Step, ...] = ()
    seen: list = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.count

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        self.seen.append(start)
        for first in range(start, self.count, 20):
            if self.stop_at is not None and first >= self.stop_at:
                raise KeyboardInterrupt
            records = range(first, min(first + 20, self.count))
            good = [i for i in records if i % 10 != 9]
            images = [np.full((self.sides[i % len(self.sides)], 8, 1), i, np.uint8) for i in good]
            columns = {
                "source": text_column([f"{i}.png" for i in good]),
                "split": text_column(["train" if i % 2 else "test" for i in good]),
                "label": np.array([i % 2 for i in good], np.int64),
                "votes": np.full((len(good), 8), first, np.float32),
            }
            problems = tuple(Problem(f"{i}.png", "is empty") for i in records if i % 10 == 9)
            yield Chunk(images, columns, problems, len(records))


def write(source, out, **options):
    return write_arrays(source, out, command="import", settings={"from": "made"}, **options)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("sides", [(8,), (8, 5, 3)])
def test_what_was_written_is_read(tmp_path, sides):
    written = write(Made(sides=sides), tmp_path / "a")
    opened = open_arrays(tmp_path / "a")
    for dataset in (written, opened):
        assert len(dataset) == 86
        assert dataset.label_names == ("happy", "sad")
        assert dataset.sources[:3].tolist() == ["0.png", "1.png", "2.png"]
        assert dataset.votes.shape == (86, 8)
        assert dataset.votes[-1, 0] == 80
        for row in (0, 17, 85):
            i = int(dataset.sources[row].removesuffix(".png"))
            assert dataset.image(row).shape == (sides[i % len(sides)], 8, 1)
            assert (dataset.image(row) == i).all()
    (step,) = opened.steps
    assert (step.command, step.samples_in, step.samples_out, step.problems) == ("import", 95, 86, 9)
    assert [p.source for p in read_problems(tmp_path / "a")] == [f"{i}.png" for i in range(9, 95, 10)]
    assert opened.counts() == {"train": {"happy": 0, "sad": 38}, "test": {"happy": 48, "sad": 0}}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_pixels_of_a_uniform_set_are_a_view(tmp_path):
    dataset = write(Made(), tmp_path / "a")
    faces = dataset.faces(size=8, channels=1)
    assert faces.shape == (86, 8, 8, 1)
    assert np.shares_memory(faces, dataset.pixels)
    assert (dataset.take(np.array([3, 1])).faces(size=8, channels=1)[:, 0, 0, 0] == [3, 1]).all()
    assert dataset.faces(np.array([5]), size=4, channels=3).shape == (1, 4, 4, 3)


def test_taken_rows_are_written_alone_with_their_history(tmp_path):
    dataset = write(Made(sides=(8, 3)), tmp_path / "a")
    chosen = dataset.take(np.array([80, 2, 41]))
    again = write_arrays(chosen, tmp_path / "b", command="drop", settings={})
    assert [again.image(i)[0, 0, 0] for i in range(3)] == [int(s[:-4]) for s in chosen.sources]
    assert [s.command for s in again.steps] == ["import", "drop"]
    assert (tmp_path / "b" / PIXELS).stat().st_size == sum(again.image(i).size for i in range(3))


def test_an_interrupted_write_goes_on_where_it_stopped(tmp_path):
    write(Made(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        write(Made(stop_at=40), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with (staging(tmp_path / "a") / PIXELS).open("ab") as file:
        file.write(b"what a killed chunk left")
    with pytest.raises(OutputError, match="--resume"):
        write(Made(), tmp_path / "a")
    rest = Made()
    write(rest, tmp_path / "a", resume=True)
    assert rest.seen == [40]
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")
    write(Made(), tmp_path / "a", resume=True)  # a finished one is left as it is
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")


@pytest.mark.parametrize("stop_at", [20, 80])
def test_unfinished_work_of_another_job_is_not_gone_on_with(tmp_path, stop_at):
    with pytest.raises(KeyboardInterrupt):
        write(Made(stop_at=stop_at), tmp_path / "a")
    with pytest.raises(OutputError, match="source changed"):
        write(Made(fingerprint="other"), tmp_path / "a", resume=True)
    with pytest.raises(OutputError, match="settings changed"):
        write_arrays(Made(), tmp_path / "a", command="import", settings={"from": "elsewhere"}, resume=True)


def test_a_killed_process_leaves_nothing_half_done(tmp_path):
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import test_arrays as t\n"
        "class Slow(t.Made):\n"
        "    def chunks(self, start=0):\n"
        "        for chunk in super().chunks(start):\n"
        "            time.sleep(0.15); yield chunk\n"
        "from pathlib import Path; t.write(Slow(), Path(sys.argv[2]))\n"
    )
    here = str(TESTS)
    process = subprocess.Popen([sys.executable, "-c", script, here, str(tmp_path / "a")])
    part = staging(tmp_path / "a")
    while process.poll() is None and len(list(part.glob(".journal/rows-*.parquet"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "a").exists()
    write(Made(), tmp_path / "a", resume=True)
    write(Made(), tmp_path / "whole")
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")


def test_an_existing_place_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        write(Made(), tmp_path / "a")
    with pytest.raises(OutputError, match="exists already"):
        write(Made(), tmp_path / "a", resume=True)


def test_nothing_left_is_an_error_that_names_the_first_problem(tmp_path):
    class Bad(Made):
        def chunks(self, start=0):
            nothing = {"source": text_column([]), "split": text_column([]), "label": np.zeros(0, np.int64)}
            yield Chunk([], nothing, (Problem("x.png", "is empty"),), 1)

    with pytest.raises(DataError, match=r"x\.png: is empty"):
        write(Bad(count=1), tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_damaged_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="no data set of arrays"):
        open_arrays(tmp_path)
    write(Made(), tmp_path / "a")
    with (tmp_path / "a" / PIXELS).open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="the manifest expects"):
        open_arrays(tmp_path / "a")
    (tmp_path / "a" / MANIFEST).write_bytes(b"no parquet")
    with pytest.raises(DataError, match="can't read it as Parquet"):
        open_arrays(tmp_path / "a")


def test_another_format_is_named(tmp_path):
    write(Made(), tmp_path / "a")
    table = pq.ParquetFile(tmp_path / "a" / MANIFEST).read()
    about = json.loads(table.schema.metadata[b"mien"]) | {"format": 9}
    pq.write_table(table.replace_schema_metadata({"mien": json.dumps(about)}), tmp_path / "a" / MANIFEST)
    with pytest.raises(DataError, match="format 9"):
        open_arrays(tmp_path / "a")


def test_collect_keeps_pixels_out_of_memory_and_tells_problems():
    told = []
    dataset = collect(Made(sides=(8, 3)), problem=told.append, name="made")
    assert isinstance(dataset.pixels, np.memmap)
    assert len(dataset) == 86
    assert len(told) == 9
    assert (dataset.image(50) == int(dataset.sources[50][:-4])).all()
    samples = dataset.samples("train", size=8, channels=1)
    assert samples.images.shape == (38, 8, 8, 1)
    with pytest.raises(DataError, match="have no label"):
        dataset.with_columns(label=np.full(86, -1)).samples("train", size=8, channels=1)
