"""Looking at a data set: explore's page, info's figures, and the preview of augmentation."""

import json
import re
from importlib import import_module

import numpy as np
import pytest
from typer.testing import CliRunner

import mien
from mien.cli import app
from mien.data.arrays import write_arrays
from mien.data.dataset import Dataset
from mien.data.explore import choose_samples, explore, measure_light
from mien.data.info import describe, describe_dataset
from mien.data.source import Problem, Step, offsets_of, text_column
from mien.data.toy import toy_faces
from mien.errors import DataError, MissingExtraError, OutputError
from mien.images import read_image
from mien.pages import png


def dataset_of(images, labels, names, splits=None, **columns):
    """A data set in memory, of images of any sizes."""
    shapes = np.array([p.shape for p in images], np.int32).reshape(-1, 3)
    pixels = np.concatenate([p.reshape(-1) for p in images]) if images else np.zeros(0, np.uint8)
    always = {
        "source": text_column([f"<b>{i}</b>.png" for i in range(len(images))]),
        "split": text_column(splits or [""] * len(images)),
        "label": np.array(labels, np.int64),
    }
    return Dataset(names, {**always, **columns}, pixels, offsets_of(shapes), shapes, name="toy", fingerprint="1")


def toy(count=42, channels=1, splits=("train", "validation")):
    samples = toy_faces(count, channels=channels)
    chosen = [splits[i % 3 == 0] for i in range(count)]
    return dataset_of(list(samples.images), samples.labels, samples.label_names, chosen)


def mixed():
    """Grey and coloured images of several sizes, some without a label, none with a split, and odd class names."""
    random = np.random.default_rng(0)
    shapes = [(48, 48, 1), (60, 90, 3), (1, 1, 1), (300, 20, 3), (48, 48, 1)] * 3
    images = [random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    return dataset_of(images, [0, 1, -1, 2, 0] * 3, ("../$x$ <script>", "笑顔", r"$\frac$", "nobody"))


@pytest.mark.parametrize("dataset", [toy(), mixed()], ids=["grey", "mixed"])
def test_explore_writes_a_page_and_whole_images(dataset, tmp_path):
    (tmp_path / "looks" / "out").mkdir(parents=True)  # an empty folder may be there
    page = explore(dataset, tmp_path / "looks" / "out", per_class=3)
    assert page == tmp_path / "looks" / "out" / "index.html"
    text = page.read_text("utf-8")
    assert not re.search(r"<script>|<b>", text.partition('<script type="module">')[0])
    for name in ("Classes", "Samples", "Mean faces", "Brightness and contrast", "Sizes"):
        assert f">{name}</a></h2>" in text
    images = sorted(page.parent.glob("*.png"))
    assert {"counts.png", "mean-faces.png", "brightness-contrast.png"} <= {p.name for p in images}
    assert all(read_image(p).size for p in images)
    assert [p.name for p in (tmp_path / "looks").iterdir()] == ["out"]


def test_samples_are_drawn_by_the_seed():
    dataset = toy()
    first, again, other = (choose_samples(dataset, 3, 4, seed=seed).tolist() for seed in (1, 1, 2))
    assert first == again != other
    assert set(dataset.labels[first].tolist()) == {3}
    assert choose_samples(dataset, 3, 99, seed=0).tolist() == np.flatnonzero(dataset.labels == 3).tolist()
    assert choose_samples(dataset, -1, 5, seed=0).tolist() == []


def test_explore_refuses_a_folder_in_use_and_leaves_nothing_where_it_fails(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("used", "used/mine.txt", "link"):
        with pytest.raises(OutputError, match="exists already"):
            explore(toy(), tmp_path / name)

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explore(toy(), tmp_path / "new", progress=stop)
    with pytest.raises(DataError, match="no samples"):
        explore(dataset_of([], [], ("a",)), tmp_path / "new")
    assert {p.name for p in tmp_path.iterdir()} == {"used", "link"}


def test_explore_shows_the_largest_of_many_classes(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.data.explore.MAX_CLASSES", 2)
    images = [np.full((8, 8, 1), 9, np.uint8)] * 6
    dataset = dataset_of(images, [0, 1, 1, 2, 2, -1], ("a", "b", "c"))
    text = explore(dataset, tmp_path / "out", per_class=1).read_text("utf-8")
    assert "The 2 largest classes are shown; 2 more are not." in text
    assert "<h3>b (2)</h3>" in text and "<h3>a (1)</h3>" not in text


def test_light_and_mean_faces():
    dark, light = np.full((32, 32, 1), 10, np.uint8), np.full((32, 32, 3), 200, np.uint8)
    half = np.repeat(np.uint8([[0], [100]]), 16, axis=0).repeat(32, axis=1)[..., None]
    splits = ["train", "train", "train", "validation"]
    dataset = dataset_of([dark, half, light, light], [0, 0, -1, 0], ("a",), splits)
    found = measure_light(dataset)
    assert found.brightness.tolist() == [10, 50, 200, 200]
    assert found.contrast.tolist() == [0, 50, 0, 0]
    assert found.mean_faces.shape == (2, 32, 32, 3)
    assert found.mean_faces[0, 0, 0].tolist() == [5, 5, 5]  # of train alone
    assert (found.mean_faces[1] == 200).all()


# info


def arrays(tmp_path, dataset=None):
    write_arrays(dataset or toy(), tmp_path / "set", command="import", settings={"source": "[red]x"})
    return tmp_path / "set"


def test_info_counts(tmp_path):
    votes = np.zeros((15, 8), np.float32)
    votes[:4, 3] = 10
    found = describe(arrays(tmp_path, mixed().with_columns(votes=votes, identity=np.arange(15))))
    assert (found.kind, found.samples, found.voted) == ("arrays", 15, 4)
    assert [(s.split, s.labels, s.unlabelled, s.samples) for s in found.splits] == [("", (6, 3, 3, 0), 3, 15)]
    size = found.sizes[0]
    assert (size.height, size.width, size.channels, size.samples) == (48, 48, 1, 6)
    assert found.columns == (("identity", "int64"),)
    assert found.disk_bytes == sum(p.stat().st_size for p in (tmp_path / "set").iterdir())
    assert (found.steps[0].command, found.steps[0].samples_out) == ("import", 15)


def test_info_prints_one_screen_and_json(tmp_path):
    place = arrays(tmp_path)
    shown = CliRunner().invoke(app, ["data", "info", str(place)], env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    for text in ("train", "validation", "happy", "48 x 48 grey", "42 -> 42", 'source="[red]x"', "14.3 %"):
        assert text in shown.output
    assert len(shown.output.splitlines()) <= 24
    printed = json.loads(CliRunner().invoke(app, ["data", "info", str(place), "--format", "json"]).output)
    assert (printed["splits"][0]["split"], sum(printed["splits"][0]["labels"])) == ("train", 28)
    assert printed == json.loads(json.dumps(describe(place).to_dict()))


def test_info_shows_names_as_they_are(tmp_path, capsys):
    from mien.cli.data.looking import _print_info

    dataset = mixed().with_step(Step("[bold]screen", {"detector": ["mtcnn"]}, "1", 20, 15, 5))
    problems = tuple(Problem(f"[link]\x1b[31m{i}", "is empty") for i in range(12))
    _print_info(describe_dataset(dataset, kind="class folders", problems=problems))
    shown = capsys.readouterr().out
    for text in ("../$x$ <script>", "[bold]screen", "20 -> 15, 5 problems", "[link][31m9: is empty", "and 2 more"):
        assert text in shown
    assert "\x1b" not in shown and "[link][31m10" not in shown


# augment


def test_preview_shows_each_level_on_the_same_faces():
    pytest.importorskip("torch")
    from mien.training.preview import augmented_rows, choose_faces, preview_augmentation
    from mien.training.recipe_sections import LEVELS, AugmentSettings, InputSettings

    dataset = toy()
    rows = choose_faces(dataset, 7, seed=0)
    assert sorted(dataset.labels[rows].tolist()) == [*range(7)]
    assert set(dataset.splits[rows].tolist()) == {"train"}
    assert len(set(choose_faces(dataset, 30, seed=0).tolist())) == 28  # all of train, each once

    images = dataset.faces(rows[:2], size=48, channels=1)
    off = AugmentSettings(
        flip=False, rotate_deg=0, scale=0, shift=0, brightness=0, contrast=0, erase=0, mixup=0, off_for_last=0
    )
    first, *same, second, _, _ = augmented_rows(images, off, input=InputSettings(), views=2, seed=0)
    assert (first == images[0, 2:46, 2:46]).all() and (second == images[1, 2:46, 2:46]).all()
    assert all(np.abs(view.astype(int) - first).max() <= 1 for view in same)

    def change(settings):
        original, *views = augmented_rows(images[:1], settings, input=InputSettings(), views=20, seed=0)
        return np.mean([np.abs(view.astype(int) - original).mean() for view in views])

    assert change(LEVELS["low"]) < change(LEVELS["mid"]) < change(LEVELS["high"])
    sheet = preview_augmentation(dataset, LEVELS, faces=2, views=3)
    assert sheet.shape[2] == 3
    assert (sheet == preview_augmentation(dataset, LEVELS, faces=2, views=3)).all()
    assert preview_augmentation(mixed(), {"mid": LEVELS["mid"]}, faces=3, views=1).shape[1] == 4 + 2 * 100


def test_augment_command(tmp_path):
    pytest.importorskip("torch")
    place = str(arrays(tmp_path))
    run = CliRunner().invoke
    sizes = {}
    for name, options in {"all": [], "high": ["--level", "high"], "recipe": ["--recipe", "toy"]}.items():
        out = tmp_path / f"{name}.png"
        result = run(app, ["data", "augment", place, "--out", str(out), "--faces", "2", "--views", "3", *options])
        assert result.exit_code == 0, result.exception
        sizes[name] = read_image(out).shape
    assert sizes["all"][0] == 3 * sizes["high"][0] == 3 * sizes["recipe"][0]
    wrong = run(app, ["data", "augment", place, "--out", str(tmp_path / "set" / "a.png")])
    assert isinstance(wrong.exception, OutputError)
    wrong = run(app, ["data", "augment", place, "--out", str(tmp_path / "a.jpg")])
    assert isinstance(wrong.exception, OutputError)
    assert not (tmp_path / "a.jpg").exists()


def test_augment_without_torch_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("mien.training.before_torch"), "can_train", lambda: False)
    result = CliRunner().invoke(app, ["data", "augment", str(arrays(tmp_path)), "--out", str(tmp_path / "a.png")])
    assert isinstance(result.exception, MissingExtraError)


# explore as a command


def test_explore_command(tmp_path):
    place = arrays(tmp_path)
    result = CliRunner().invoke(
        app, ["data", "explore", str(place), "--out", str(tmp_path / "out"), "--per-class", "2"]
    )
    assert result.exit_code == 0, result.exception
    assert result.output.strip() == str(tmp_path / "out" / "index.html")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "good.png").write_bytes(png(np.zeros((9, 9, 3), np.uint8)))
    (tmp_path / "photos" / "bad.png").write_bytes(b"no image")
    result = CliRunner().invoke(app, ["data", "explore", str(tmp_path / "photos"), "--out", str(tmp_path / "two")])
    assert result.exit_code == 3, result.exception
    assert "bad.png" in result.stderr
    found = describe(tmp_path / "photos")
    assert (found.samples, [p.source for p in found.problems]) == (1, ["bad.png"])
    inside = CliRunner().invoke(app, ["data", "explore", str(place), "--out", str(place / "out")])
    assert isinstance(inside.exception, OutputError)


def test_a_data_set_becomes_tensors_and_a_hugging_face_data_set():
    torch, _ = pytest.importorskip("torch"), pytest.importorskip("datasets")
    data = mixed()
    with pytest.raises(DataError, match="give size=48"):
        data.to_torch()
    image, label = data.to_torch(size=48, channels=3)[0]
    assert (image.shape, image.dtype, int(label)) == ((3, 48, 48), torch.uint8, int(data.labels[0]))
    found = data.to_huggingface()
    assert sum(split.num_rows for split in found.values()) == len(data)
    first = next(iter(found.values()))
    assert first.features["label"].names == list(data.label_names)
    assert np.array(first[0]["image"]).shape[:2] == data.image(0).shape[:2]


def test_a_report_has_a_row_for_each_flag_and_saves_itself(tmp_path):
    pytest.importorskip("pandas")
    report = mien.audit(mixed(), suspects=False)
    assert len(report.to_pandas()) == sum(kind["total"] for kind in report.to_dict()["kinds"])
    report.save(tmp_path / "report")
    assert {f.name for f in (tmp_path / "report").iterdir()} == {"index.html", "flags.csv", "summary.json"}
