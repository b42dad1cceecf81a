"""The files of `mien init` for FER2013 and for folders run to their end, with screen and crop; on real faces if any."""

import numpy as np
import pytest

import mien
from mien.data.export import export_dataset
from mien.data.samples import ALL
from mien.data.toy import write_toy_folders
from mien.pages import png
from mien.pipeline.run import run_pipeline, starter
from places import SHARED

pytestmark = pytest.mark.slow
QUICK = 'set = ["optimizer.epochs=1", "optimizer.warmup_epochs=0", "distill.teachers=[]", "network.widths=[16, 24]", '


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """18 faces of each class, of three splits: of FER2013, or drawn ones where the folder shared is absent."""
    place = SHARED / "data/fer2013-public.parquet"
    if not place.is_file():
        place = tmp_path_factory.mktemp("faces") / "toy"
        write_toy_folders(place, train=18 * 7, validation=0, test=0)
    data = mien.load_dataset(place)
    rows = np.concatenate([np.flatnonzero(data.labels == label)[:18] for label in range(7)])
    some = data.take(np.sort(rows))
    splits = np.array([("train", "train", "validation", "test")[i % 4] for i in range(len(some))], object)
    return some.with_columns(split=splits)


def run(folder, kind, **changes):
    text = starter(kind).replace("set = [", QUICK)
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    (folder / "mien.toml").write_text(text)
    return {stage.name: stage for stage in run_pipeline(folder / "mien.toml").stages}


def test_fer2013_with_a_screen(faces, tmp_path):
    export_dataset(faces, tmp_path / "fer2013.csv", as_="csv")
    screen = ("[dedupe] ", '[screen]\ndetectors = ["yunet"]\n\n[dedupe] ')
    stages = run(tmp_path, "fer2013", screen=screen)
    assert {stage.state for stage in stages.values()} == {"ran"}
    assert {"screen", "audit", "drop", "train/small", "compare", "evaluate", "export", "card"} <= set(stages)
    counted = stages["screen"].record.outcome
    assert counted.samples_in == len(faces) and 0.4 * len(faces) < counted.samples_out <= len(faces)
    assert (tmp_path / "work/index.html").is_file()


def test_folders_with_a_crop(faces, tmp_path):
    """Photographs: each face enlarged, on a plain background."""
    images = faces.samples(ALL, size=48, channels=3)
    for i, (image, label) in enumerate(zip(images.images, images.labels, strict=True)):
        photo = np.full((260, 260, 3), 120, np.uint8)
        photo[34:226, 34:226] = image.repeat(4, 0).repeat(4, 1)
        folder = tmp_path / "images" / images.label_names[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(png(photo))
    stages = run(tmp_path, "folders")
    assert {stage.state for stage in stages.values()} == {"ran"}
    counted = stages["crop"].record.outcome
    assert counted.samples_in == len(faces) and counted.samples_out > 0.4 * len(faces)  # of drawn faces half are missed
    assert list((tmp_path / "work").rglob("*.onnx"))
