"""Labels that another reading explains far better are told, right ones never; what a sample is; what an import does."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.data.dataset import Dataset
from mien.data.importing import judge_import
from mien.data.label_orders import orders_of
from mien.data.plausibility import Better, Plausibility, check_labels, check_source, judge
from mien.data.readers import open_source
from mien.data.reading.label_reading import LabelChoice, Labels, read_labels
from mien.data.sampling import sample_labelled
from mien.data.source import offsets_of, text_column
from mien.errors import DataError
from mien.labels import EIGHT, FER2013, ORDERS
from places import SHARED

NUMBERS = {name: i for i, name in enumerate(FER2013)}


def seen(truth, seed=0, skill=0.8, habit=6):
    """What a model says that is right of a share of the faces, else says anything, often the class `habit`."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(truth)) < skill, truth, rng.integers(0, 7, len(truth)))
    said = np.where(rng.random(len(truth)) < 0.2, habit, said)
    logits = rng.normal(0, 1, (len(truth), 7))
    logits[np.arange(len(truth)), said] += 3
    made = np.exp(logits)
    return (made / made.sum(1, keepdims=True)).astype(np.float32)


def classes(count):
    return np.repeat(np.arange(7), count)


def read_as_fer2013(truth, key):
    """What FER2013's order makes of numbers that were written in another one, counted from 0."""
    names = ORDERS[key][1]
    return np.array([names.index(FER2013[k]) for k in truth])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [20, 40])
def test_of_right_labels_nothing_is_said(seed, count):
    truth = classes(count)
    found = judge(seen(truth, seed), FER2013, truth, FER2013, numbers=NUMBERS)
    assert found.better is None
    assert found.can_judge
    assert "no other order" in found.sentence()


@pytest.mark.parametrize("key", ["affectnet-7", "raf-db", "ferplus"])
def test_another_order_of_the_numbers_is_told_with_both_figures(key):
    truth = classes(40)
    found = judge(seen(truth), FER2013, read_as_fer2013(truth, key), FER2013, numbers=NUMBERS)
    better = found.better
    assert better.agreement > 0.5
    assert better.before < 0.3
    assert f"{better.agreement:.2f}" in found.sentence()
    assert f"{better.before:.2f}" in found.sentence()
    assert ORDERS[key][0] in better.what
    choice = LabelChoice.parse(better.labels)
    named = read_labels([str(n) for n in range(7)], "x", choice=choice)
    assert [named.names[named.index(str(n))] for n in range(7)] == list(ORDERS[key][1][:7])


def test_eight_classes_in_the_order_of_affectnet():
    truth = np.tile(np.arange(8), 40)
    given = np.array([ORDERS["affectnet"][1].index(EIGHT[k]) for k in truth])  # read as FER2013's with 7 for contempt
    numbers = {name: i for i, name in enumerate(EIGHT)}
    found = judge(seen(np.minimum(truth, 6)), FER2013, given, EIGHT, numbers=numbers)
    assert found.better.labels == "affectnet"


@pytest.mark.parametrize(("a", "b"), [(0, 1), (2, 5), (4, 6), (3, 6)])
def test_two_exchanged_classes_are_told(a, b):
    truth = classes(40)
    given = truth.copy()
    given[truth == a], given[truth == b] = b, a
    found = judge(seen(truth), FER2013, given, FER2013)
    assert found.better.what == f"{FER2013[a]} and {FER2013[b]} exchanged"
    choice = LabelChoice.parse(found.better.labels)
    names = read_labels(FER2013, "x", choice=choice)
    assert names.names[names.index(FER2013[a])] == FER2013[b]
    assert names.names[names.index("happy" if 3 not in (a, b) else "fear")] == ("happy" if 3 not in (a, b) else "fear")


def test_names_that_were_moved_round_are_told():
    truth = classes(40)
    given = np.array([1, 2, 0, 3, 4, 5, 6])[truth]
    found = judge(seen(truth), FER2013, given, FER2013)
    assert found.better.what == "other names (fear for angry, angry for disgust, disgust for fear)"
    assert set(found.better.labels.split(",")) == {"disgust=angry", "fear=disgust", "angry=fear"}


def test_names_made_of_numbers_in_the_wrong_order_are_told():
    truth = classes(40)
    found = judge(seen(truth), FER2013, read_as_fer2013(truth, "affectnet-7"), FER2013)
    assert found.better.what == "AffectNet's order without contempt instead of FER2013's order"


@pytest.mark.parametrize("seed", range(5))
def test_a_model_that_always_says_the_same_is_no_evidence(seed):
    """Of photographs it says neutral: a reading that calls the largest class neutral is no better."""
    truth = np.repeat(np.arange(7), [5, 5, 10, 200, 20, 5, 30])
    probabilities = seen(np.full(len(truth), 6), seed)
    found = judge(probabilities, FER2013, truth, FER2013, numbers=NUMBERS)
    assert found.better is None
    assert not found.can_judge
    assert "photographs" in found.sentence()


@pytest.mark.parametrize("seed", range(10))
def test_labels_at_random_raise_no_alarm(seed):
    truth = classes(40)
    given = np.random.default_rng(seed).permutation(truth)
    found = judge(seen(truth, seed), FER2013, given, FER2013, numbers=NUMBERS)
    assert found.better is None
    assert not found.can_judge


class FakeModel:
    """Sees what `marked` images show; counts the faces."""

    def __init__(self):
        self.info = SimpleNamespace(labels=FER2013, size=8, channels=1)
        self.faces = 0

    def probabilities(self, faces):
        self.faces += len(faces)
        return seen(faces[:, 4, 4, 0] // 10)


@pytest.mark.parametrize(
    ("names", "better", "faces"), [(FER2013, False, 98), (("disgust", "angry", *FER2013[2:]), True, 378)]
)
def test_few_faces_clear_right_labels_and_wrong_ones_get_the_full_check(monkeypatch, names, better, faces):
    model = FakeModel()
    monkeypatch.setattr("mien.data.plausibility.load_model", lambda _name: model)
    found = check_source(replace(arrays(None, [50] * 7), label_names=names))
    assert (found.better is not None, model.faces) == (better, faces)
    assert found.can_judge


def test_few_faces_or_one_class_are_not_judged():
    few = classes(4)
    assert "30 are needed" in judge(seen(few), FER2013, few, FER2013).sentence()
    one = np.full(40, 3)
    assert not judge(seen(one), FER2013, one, FER2013).can_judge
    none = np.full(40, -1)
    assert judge(seen(one), FER2013, none, FER2013).n == 0


def test_orders_that_say_the_same_come_once():
    ways = [tuple(one.moves.items()) for one in orders_of(NUMBERS)]
    assert len(ways) == len(set(ways))
    assert {one.labels for one in orders_of(NUMBERS)} >= {"affectnet-7", "ferplus", "ck+"}
    assert all(dict(one.moves) != {n: n for n in FER2013} for one in orders_of(NUMBERS))


def test_other_classes_than_expressions_are_not_looked_at():
    faces = [np.zeros((20, 20, 3), np.uint8)] * 40
    found = check_labels(faces, np.arange(40) % 2, ("engaged", "bored"), model="no such model")
    assert not found.about
    assert found.sentence() == ""
    assert judge_import(found, Labels(("engaged", "bored"))) == ()


# What an import does


BETTER = Better("AffectNet's order", 0.7, 0.09, "affectnet")


def test_an_assumed_order_is_refused_where_another_fits_far_better():
    with pytest.raises(DataError) as caught:
        judge_import(Plausibility(280, 0.09, BETTER), Labels(FER2013, assumed="fer2013"), "faces.csv")
    text = str(caught.value)
    assert text.startswith("faces.csv: ")
    assert "\n" not in text
    for part in ("0.70", "0.09", "FER2013's order", "AffectNet's order", "--labels affectnet,", "--labels fer2013"):
        assert part in text


def test_stated_labels_are_warned_of():
    (line,) = judge_import(Plausibility(280, 0.09, BETTER), Labels(FER2013))
    assert "0.70" in line
    assert "0.09" in line
    assert "--labels affectnet" in line


def test_names_that_the_user_renamed_wrongly_are_his_to_correct():
    labels = read_labels(FER2013, "x", choice=LabelChoice.parse("angry=disgust,disgust=angry"))
    swap = Better("angry and disgust exchanged", 0.7, 0.5, "angry=disgust,disgust=angry")
    (line,) = judge_import(Plausibility(280, 0.5, swap), labels)
    assert line.endswith("correct --labels")


def test_labels_that_are_right_or_too_few_in_named_folders_are_not_spoken_of():
    assert judge_import(Plausibility(280, 0.7), Labels(FER2013, assumed="fer2013")) == ()
    few = Plausibility(10, reason="10 labelled faces of known expressions; 30 are needed")
    assert judge_import(few, Labels(FER2013)) == ()
    assert judge_import(few, Labels(FER2013, assumed="fer2013")) == (few.sentence(),)


# The sample


def dataset_of(images, labels, names=FER2013):
    shapes = np.array([i.shape for i in images], np.int32)
    columns = {
        "source": text_column([f"{i}.png" for i in range(len(images))]),
        "split": text_column(["train"] * len(images)),
        "label": np.array(labels, np.int64),
    }
    return Dataset(names, columns, np.concatenate([i.reshape(-1) for i in images]), offsets_of(shapes), shapes)


def marked(label, number):
    """An image that shows its label and number."""
    image = np.full((8, 8, 1), 10 * label, np.uint8)
    image[0, :2, 0] = divmod(number, 256)
    return image


def folders(root, counts):
    for label, count in enumerate(counts):
        for i in range(count):
            place = root / FER2013[label] / f"{i:03d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place), marked(label, i))
    return open_source(root)


def pixel_table(root, counts):
    rows = [f"{k},{' '.join(map(str, marked(k, i).reshape(-1)))}" for k, n in enumerate(counts) for i in range(n)]
    (root / "faces.csv").write_text("\n".join(["emotion,pixels", *rows]) + "\n")
    return open_source(root / "faces.csv")


class Plain:
    """A source that can do no more than pass its records."""

    def __init__(self, dataset):
        self.chunks, self.label_names = dataset.chunks, dataset.label_names


def arrays(_root, counts):
    return dataset_of(
        [marked(k, i) for k, n in enumerate(counts) for i in range(n)], np.repeat(np.arange(len(counts)), counts)
    )


def parquet(root, counts):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [cv2.imencode(".png", marked(k, i))[1].tobytes() for k, n in enumerate(counts) for i in range(n)]
    labels = np.repeat(np.arange(len(counts)), counts)
    pq.write_table(pa.table({"image": images, "label": labels}), root / "faces.parquet")
    return open_source(root / "faces.parquet")


@pytest.mark.parametrize(
    "make", [folders, pixel_table, parquet, arrays, lambda root, counts: Plain(arrays(root, counts))]
)
def test_a_sample_has_as_many_of_each_class_and_is_the_same_again(make, tmp_path):
    source = make(tmp_path, [30, 3, 12, 40, 25, 9, 1])
    sample = sample_labelled(source, size=8, channels=1, per_class=8)
    assert np.bincount(sample.labels, minlength=7).tolist() == [8, 3, 8, 8, 8, 8, 1]
    assert (sample.faces[:, 4, 4, 0] == 10 * sample.labels).all()
    assert len(np.unique(sample.faces.reshape(len(sample.faces), -1), axis=0)) == len(sample.faces)
    again = sample_labelled(source, size=8, channels=1, per_class=8)
    assert np.array_equal(again.faces, sample.faces)
    other = sample_labelled(source, size=8, channels=1, per_class=8, seed=1)
    assert not np.array_equal(other.faces, sample.faces)


def test_labels_in_files_of_their_own_are_sampled_too(tmp_path):
    opened = folders(tmp_path, [30, 30])
    files = opened.source
    kept = {r.name: r.label for r in files.records}
    bare = replace(
        files,
        records=[replace(r, label="") for r in files.records],
        complete=lambda _tree, record: replace(record, label=kept[record.name]),
    )
    assert np.bincount(sample_labelled(bare, size=8, channels=1, per_class=5).labels).tolist() == [5, 5]


def test_a_sample_reads_no_more_files_than_it_needs(tmp_path, monkeypatch):
    source = folders(tmp_path, [30, 30])
    reads = []
    tree = type(source.source.tree)
    image = tree.image
    monkeypatch.setattr(tree, "image", lambda self, name: reads.append(name) or image(self, name))
    assert len(sample_labelled(source, size=8, channels=1, per_class=5).labels) == 10
    assert len(reads) == 10


def test_a_damaged_image_and_one_without_a_label_are_passed_over(tmp_path):
    folders(tmp_path, [5, 5])
    (tmp_path / "angry/000.png").write_bytes(b"no image")
    sample = sample_labelled(open_source(tmp_path), size=8, channels=1)
    assert np.bincount(sample.labels).tolist() == [4, 5]
    empty = sample_labelled(dataset_of([marked(0, 0)], [-1]), size=8, channels=1)
    assert empty.faces.shape == (0, 8, 8, 1)


def test_large_photographs_end_the_sample_early(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.data.sampling.MAX_PIXELS", 8 * 8 * 20)
    source = dataset_of([marked(k, i) for i in range(600) for k in range(2)], [0, 1] * 600)
    monkeypatch.setattr("mien.data.samples.CHUNK", 12)
    found = check_source(source)
    assert not found.can_judge
    assert "mien data crop" in found.sentence()


# With the shipped model on real faces


@pytest.fixture(scope="module")
def faces():
    place = SHARED / "data/fer2013-public.parquet"
    if not place.exists():
        pytest.skip("FER2013 (../shared/data) is not here")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(place, columns=["image", "label"])
    labels = np.array(table["label"].to_pylist())
    rows = np.concatenate([np.flatnonzero(labels == k)[:20] for k in range(7)])
    cells = table["image"].take(rows).to_pylist()
    return [cv2.imdecode(np.frombuffer(c["bytes"], np.uint8), 0)[..., None] for c in cells], labels[rows]


def test_real_faces_with_right_and_with_wrong_orders(faces):
    images, truth = faces
    assert check_labels(images, truth, FER2013, numbers=NUMBERS).better is None
    found = check_labels(images, read_as_fer2013(truth, "affectnet-7"), FER2013, numbers=NUMBERS)
    assert found.better.labels == "affectnet-7"
    colour = [cv2.resize(cv2.cvtColor(i, cv2.COLOR_GRAY2RGB), (100, 90)) for i in images]
    found = check_labels(colour, read_as_fer2013(truth, "raf-db"), FER2013, numbers=NUMBERS)
    assert "RAF-DB" in found.sentence()


def test_numbers_of_a_class_that_the_model_does_not_know_tell_orders_apart(faces):
    images, truth = faces
    given = read_as_fer2013(truth, "affectnet")
    with_contempt = [*images, *images[:10]], np.concatenate((given, np.full(10, 7)))
    found = check_labels(*with_contempt, EIGHT, numbers={name: i for i, name in enumerate(EIGHT)})
    assert found.better.labels == "affectnet"
    assert found.n == len(images)


def test_an_audit_tells_of_a_wrong_order(faces, tmp_path):
    images, truth = faces
    for i, (image, label) in enumerate(zip(images, read_as_fer2013(truth, "affectnet-7"), strict=True)):
        place = tmp_path / "faces" / FER2013[label] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place), image)
    command = ["data", "audit", str(tmp_path / "faces"), "--out", str(tmp_path / "audit"), "--no-suspects", "-q"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "with AffectNet's order without contempt instead of FER2013's order the labels agree" in done.output
    assert "instead of FER2013" in (tmp_path / "audit/index.html").read_text("utf-8")
    assert "instead of FER2013" in (tmp_path / "audit/summary.json").read_text("utf-8")
