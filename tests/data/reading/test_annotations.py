"""Sets with files of annotations, as labelling tools write them, are read with labels, splits and boxes."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from made_annotations import (
    BOXED,
    EXPECTED,
    NO_SPLIT,
    WHOLE,
    coco,
    coco_roboflow,
    cvat_boxes,
    fiftyone_classification,
    fiftyone_detections,
    fiftyone_labels,
    image,
    roboflow_classes,
    studio_choices,
    studio_min,
    studio_rectangles,
    voc,
    voc_roboflow,
    write,
    yolo_roboflow,
)
from made_data import make
from mien.data.dataset import Dataset, collect
from mien.data.export import export_dataset
from mien.data.readers import open_source
from mien.data.reading.label_reading import LabelChoice
from mien.data.reading.opening import Opened
from mien.data.reading.reading import Choices
from mien.errors import DataError, MissingExtraError
from mien.labels import FER2013


def read(path: Path, choices: Choices | None = None) -> tuple[Opened, Dataset, list[str]]:
    opened = open_source(path, choices=choices)
    problems: list[str] = []
    dataset = collect(opened, problem=lambda p: problems.append(f"{p.source}: {p.reason}"), name="set")
    return opened, dataset, problems


def counts(dataset: Dataset) -> Counter:
    names = (*dataset.label_names, None)
    return Counter((s, names[label]) for s, label in zip(dataset.splits, dataset.labels, strict=True))


@pytest.fixture(params=[*BOXED, *WHOLE], ids=lambda make: make.__name__)
def made(request, tmp_path: Path):
    """A set as a tool writes it, the folder and what is in it."""
    return tmp_path / "set", request.param(tmp_path / "set"), request.param in BOXED


def test_an_export_is_read_with_labels_splits_and_boxes(made) -> None:
    root, expected, boxed = made
    opened, dataset, problems = read(root)
    assert counts(dataset) == expected
    assert problems == []
    assert (dataset.shapes[:, :2] == (16, 20)).all()  # one face: the whole image
    if boxed:
        assert np.abs(dataset.columns["box"] - (5, 4, 15, 12)).max() < 1e-4
    assert open_source(root).fingerprint == opened.fingerprint


def test_a_stray_text_and_a_stray_image_are_problems_and_change_nothing(made) -> None:
    root, expected, _ = made
    write(root / "README.txt", "About these faces\n")
    image(root / "stray.png", 99)
    _, dataset, problems = read(root)
    assert counts(dataset) == expected
    assert sorted(p.partition(":")[0] for p in problems) == ["README.txt", "stray.png"]


def test_a_stray_image_of_the_same_name_changes_nothing(made) -> None:
    root, expected, _ = made
    if (root / "a.png").exists():
        pytest.skip("the images lie right in the root")
    image(root / "a.png", 99)
    before = read(root)[1]
    assert counts(before) == expected
    assert "a.png" not in before.sources


def test_upper_case_names_are_read(made) -> None:
    root, expected, _ = made
    files = sorted(p for p in root.rglob("*") if p.is_file())
    for file in files:
        file.rename(file.with_suffix(file.suffix.upper()))
    for folder in sorted((p for p in root.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)):
        folder.rename(folder.with_name(folder.name.upper() + "_"))
        folder.with_name(folder.name.upper() + "_").rename(folder.with_name(folder.name.upper()))
    _, dataset, problems = read(root)
    assert counts(dataset) == expected
    assert problems == []


def test_a_zip_and_a_folder_deeper_are_read_alike(made, tmp_path: Path) -> None:
    root, expected, _ = made
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in root.rglob("*"):
            archive.write(file, Path("outer", "Faces v1") / file.relative_to(root))
    shutil.move(root, tmp_path / "wrapped" / "inner" / "set")
    for place in (tmp_path / "set.zip", tmp_path / "wrapped"):
        _, dataset, problems = read(place)
        assert counts(dataset) == expected
        assert problems == []


def test_a_category_of_two_names_is_refused(tmp_path: Path) -> None:
    image(tmp_path / "a.png", 1)
    data = coco(["a.png"], ["happy"])
    data["categories"].append({**data["categories"][1], "name": "sad"})
    write(tmp_path / "a.json", json.dumps(data))
    with pytest.raises(DataError, match="its category 1 is angry and sad; give each its own id"):
        read(tmp_path)


def test_several_faces_of_an_image_are_cut_out_at_their_boxes(tmp_path: Path) -> None:
    yolo_roboflow(tmp_path)
    write(tmp_path / "train/labels/a.txt", "1 0.25 0.5 0.5 1\n2 0.75 0.25 0.5 0.5\n")
    opened, dataset, problems = read(tmp_path)
    whole = np.asarray(Image.open(tmp_path / "train/images/a.png"))
    rows = [i for i, s in enumerate(dataset.sources) if s.startswith("train/images/a.png")]
    assert [dataset.sources[i] for i in rows] == ["train/images/a.png#1", "train/images/a.png#2"]
    assert [dataset.label_names[dataset.labels[i]] for i in rows] == ["happy", "sad"]
    assert (dataset.image(rows[0]) == whole[:, :10]).all()
    assert (dataset.image(rows[1]) == whole[:8, 10:]).all()
    assert problems == []
    assert any("several faces" in note for note in opened.reading.notes)


def test_bad_lines_of_yolo_are_problems_by_file_and_line(tmp_path: Path) -> None:
    yolo_roboflow(tmp_path)
    write(tmp_path / "train/labels/a.txt", "1 0.5 0.5 1 1\n9 0.5 0.5 1 1\n1 320 240 50 50\n1 0.5 0.5 x 1\n1 0.5 0.5\n")
    write(tmp_path / "train/labels/b.txt", "")
    write(tmp_path / "train/labels/gone.txt", "1 0.5 0.5 1 1\n")
    image(tmp_path / "train/images/without.png", 9)
    opened, dataset, problems = read(tmp_path)
    assert counts(dataset) == Counter({("train", "happy"): 1, ("validation", "angry"): 1})
    assert sorted(problems) == [
        "train/images/b.png: no face is labelled in it",
        "train/images/without.png: has no label: no file of annotations names it",
        "train/labels/a.txt:2: class 9; data.yaml names 0 to 2",
        "train/labels/a.txt:3: holds 320; expected shares of the image's width and height, 0 to 1",
        "train/labels/a.txt:4: '1 0.5 0.5 x 1'; expected a class number and four shares",
        "train/labels/a.txt:5: has 2 numbers behind the class; expected 4 (a box), or the points of a polygon",
        "train/labels/gone.txt: its image is not there",
    ]
    assert "images in which no face is labelled, left out: 1" in opened.reading.notes


def test_numbers_of_yolo_that_nothing_names_are_refused_until_the_user_names_them(tmp_path: Path) -> None:
    yolo_roboflow(tmp_path)
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(DataError, match="nothing says what they mean"):
        open_source(tmp_path)
    _, dataset, _ = read(tmp_path, Choices(labels=LabelChoice.parse("0=angry,1=happy,2=sad")))
    assert counts(dataset) == EXPECTED


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("nc: 4\nnames: [angry, happy, sad]\n", "nc is 4, but names has 3"),
        ("names: [angry, happy, happy]\n", "names 'happy' twice"),
        ("names: [angry, happy, joy]\n", "are both 'happy'"),
        ("names: {one: angry}\n", "names is no list"),
        ("names: [angry\n", "can't be read as YAML"),
        ("names: ['4', '5', '6']\n", "nothing says what they mean"),
    ],
)
def test_a_wrong_data_yaml_is_refused_in_one_line(tmp_path: Path, text: str, wrong: str) -> None:
    yolo_roboflow(tmp_path)
    write(tmp_path / "data.yaml", text)
    with pytest.raises(DataError, match=wrong) as caught:
        open_source(tmp_path)
    assert "\n" not in str(caught.value)


def test_class_names_of_yaml_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    yolo_roboflow(tmp_path)
    write(tmp_path / "data.yaml", "names:\n  0: no\n  1: yes\n  2: 0.5\n")
    opened = open_source(tmp_path)
    assert opened.label_names == ("no", "yes", "0.5")
    assert any("own classes: no, yes, 0.5" in line for line in opened.reading.lines())


def test_without_a_reader_of_yaml_the_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    yolo_roboflow(tmp_path)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"reading data.yaml needs the extra \[data\]"):
        open_source(tmp_path)


def test_names_counted_from_one_are_read_by_number(tmp_path: Path) -> None:
    yolo_roboflow(tmp_path)
    write(tmp_path / "data.yaml", "names:\n  1: happy\n  2: sad\n")
    _, dataset, problems = read(tmp_path)
    assert counts(dataset) == Counter({("train", "happy"): 1, ("train", "sad"): 1})
    assert problems == ["valid/labels/c.txt:1: class 0; data.yaml names 1 to 2"]


def test_two_lists_of_names_that_differ_are_refused(tmp_path: Path) -> None:
    yolo_roboflow(tmp_path)
    write(tmp_path / "classes.txt", "happy\nangry\nsad\n")
    with pytest.raises(DataError, match="name the classes differently"):
        open_source(tmp_path)


def test_bad_entries_of_coco_are_problems(tmp_path: Path) -> None:
    for stem in "abc":
        image(tmp_path / f"{stem}.png", ord(stem))
    about = coco(["a.png", "b.png", "gone.png", "c.png"], ["happy", "sad", "sad"])
    about["annotations"][1]["category_id"] = 77
    about["annotations"] += [{"id": 8, "image_id": 55, "category_id": 1, "bbox": [0, 0, 1, 1]}, "text", None]
    write(tmp_path / "labels.json", about)
    _, dataset, problems = read(tmp_path)
    assert counts(dataset) == Counter({("", "happy"): 1})
    assert sorted(problems) == [
        "c.png: no face is labelled in it",
        "labels.json, annotation 2: category_id 77 is none of its categories",
        "labels.json, annotation 8: image_id 55 is none of its images",
        "labels.json, image 3: 'gone.png': no such image",
    ]


def test_an_image_in_the_files_of_two_splits_is_said(tmp_path: Path) -> None:
    image(tmp_path / "images/a.png")
    write(tmp_path / "train.json", coco(["a.png"], ["happy"]))
    write(tmp_path / "val.json", coco(["a.png"], ["happy"]))
    write(tmp_path / "all.json", coco(["a.png"], ["happy"]))
    _, dataset, problems = read(tmp_path)
    assert counts(dataset) == Counter({("train", "happy"): 1})
    assert problems == ["images/a.png: is in train and in validation; read as train"]


def test_a_path_never_means_an_image_of_another_folder(tmp_path: Path) -> None:
    image(tmp_path / "sad/1.png", 1)
    image(tmp_path / "other/2.png", 2)
    write(tmp_path / "a.json", coco(["/home/me/happy/1.png", "happy/1.png", "/home/me/other/2.png"], ["happy"] * 3))
    _, dataset, problems = read(tmp_path)
    assert list(dataset.sources) == ["other/2.png"]
    assert "a.json, image 1: '/home/me/happy/1.png': no such image" in problems


def test_categories_that_are_no_expressions_become_own_classes(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    about = coco(["a.png"], ["happy"])
    about["categories"] = [{"id": 2, "name": "face", "supercategory": "person"}]
    write(tmp_path / "a.json", about)
    opened = open_source(tmp_path)
    assert opened.label_names == ("face",)
    assert any("own classes: face" in line for line in opened.reading.lines())


def test_annotations_of_few_images_change_nothing_in_class_folders(tmp_path: Path) -> None:
    for seed in range(6):
        image(tmp_path / ("happy" if seed % 2 else "sad") / f"{seed}.png", seed)
    write(tmp_path / "stray.json", coco(["0.png"], ["happy"]))
    write(tmp_path / "happy/1.txt", "0 0.5 0.5 1 1\n")
    write(tmp_path / "sad/0.xml", voc("0.png", "face"))
    opened, dataset, problems = read(tmp_path)
    assert opened.reading.layout == "class folders without splits"
    assert counts(dataset) == Counter({("", "happy"): 3, ("", "sad"): 3})
    assert sorted(p.partition(":")[0] for p in problems) == ["happy/1.txt", "sad/0.xml", "stray.json"]


def test_xml_with_a_doctype_is_a_problem_of_that_file(tmp_path: Path) -> None:
    voc_roboflow(tmp_path)
    bomb = '<!DOCTYPE x [<!ENTITY a "happy">]>' + voc("b.jpg", "&a;")
    write(tmp_path / "train/b.xml", bomb)
    write(tmp_path / "train/broken.xml", voc("a.jpg", "happy")[:90])
    _, dataset, problems = read(tmp_path)
    assert counts(dataset) == Counter({("train", "happy"): 1, ("validation", "angry"): 1})
    assert [p.partition(" (")[0] for p in problems[:2]] == [
        "train/b.xml: declares a DOCTYPE or entities; refused, annotations need none",
        "train/broken.xml: not XML",
    ]


def test_an_xml_file_that_names_one_image_and_is_called_as_another_is_a_problem(tmp_path: Path) -> None:
    voc_roboflow(tmp_path)
    write(tmp_path / "train/a.xml", voc("b.jpg", "happy"))
    _, dataset, problems = read(tmp_path)
    assert counts(dataset) == Counter({("train", "sad"): 1, ("validation", "angry"): 1})
    assert "train/a.xml: names the image 'b.jpg', but has the name of a.jpg; rename one of them" in problems


@pytest.mark.parametrize("junk", [None, True, 3, "x", [], {}, [None], "http://[broken"])
@pytest.mark.parametrize("make_set", [coco_roboflow, studio_choices, studio_min, fiftyone_detections, fiftyone_labels])
def test_json_of_unexpected_values_is_told_in_one_line(tmp_path: Path, make_set, junk) -> None:
    make_set(tmp_path)
    for file in tmp_path.rglob("*.json"):
        whole = json.loads(file.read_text())
        for keys in places(whole):
            write(file, replaced(whole, keys, junk))
            try:
                read(tmp_path)
            except DataError as error:
                assert "\n" not in str(error)
        write(file, whole)


def places(value, above=()):
    """The way to each value in JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*above, key)
        yield from places(one, (*above, key))


def replaced(value, keys, junk):
    """The same JSON with another value at a place."""
    if not keys:
        return junk
    copy = value.copy()
    copy[keys[0]] = replaced(value[keys[0]], keys[1:], junk)
    return copy


def test_annotators_who_disagree_are_a_problem_and_ground_truth_decides(tmp_path: Path) -> None:
    studio_choices(tmp_path)
    (file,) = tmp_path.glob("*.json")
    tasks = json.loads(file.read_text())
    other = json.loads(json.dumps(tasks[0]["annotations"][0]).replace("happy", "angry"))
    tasks[0]["annotations"].append(other)
    tasks[1]["annotations"] = []
    write(file, tasks)
    _, dataset, problems = read(tmp_path)
    assert counts(dataset) == Counter({("", "angry"): 1})
    assert problems == ["images/a.png: its annotators disagree: happy or angry", "images/b.png: has no label"]
    other["ground_truth"] = True
    write(file, tasks)
    assert counts(read(tmp_path)[1]) == Counter({("", "angry"): 2})


def test_a_choice_for_each_rectangle_is_its_label(tmp_path: Path) -> None:
    studio_rectangles(tmp_path)
    tasks = json.loads((tmp_path / "export.json").read_text())
    for task in tasks:
        (shape,) = task["annotations"][0]["result"]
        label = shape["value"]["rectanglelabels"][0]
        shape["value"]["rectanglelabels"] = ["face"]
        value = {k: v for k, v in shape["value"].items() if k != "rectanglelabels"} | {"choices": [label]}
        task["annotations"][0]["result"].append({**shape, "type": "choices", "from_name": "emotion", "value": value})
    write(tmp_path / "export.json", tasks)
    _, dataset, problems = read(tmp_path)
    assert counts(dataset) == NO_SPLIT
    assert problems == []


def test_several_choices_need_a_name_unless_one_holds_expressions(tmp_path: Path) -> None:
    studio_min(tmp_path)
    rows = json.loads((tmp_path / "export-min.json").read_text())
    write(tmp_path / "export-min.json", [{**row, "gender": "female"} for row in rows])
    assert counts(read(tmp_path)[1]) == NO_SPLIT
    write(tmp_path / "export-min.json", [{**row, "second": row["choice"]} for row in rows])
    with pytest.raises(DataError, match=r"several choices .*--label-column"):
        open_source(tmp_path)
    assert counts(read(tmp_path, Choices(label_column="second"))[1]) == NO_SPLIT


def test_fields_of_labels_other_than_ground_truth_are_named_by_the_user(tmp_path: Path) -> None:
    fiftyone_classification(tmp_path)
    text = (tmp_path / "samples.json").read_text()
    write(tmp_path / "samples.json", text.replace('"ground_truth"', '"mine"'))
    assert counts(read(tmp_path)[1]) == EXPECTED
    samples = json.loads(text)
    for sample in samples["samples"]:
        sample["first"] = sample["second"] = sample.pop("ground_truth")
    write(tmp_path / "samples.json", samples)
    with pytest.raises(DataError, match="--label-column"):
        open_source(tmp_path)


def test_several_classes_of_one_image_are_a_problem(tmp_path: Path) -> None:
    roboflow_classes(tmp_path)
    write(tmp_path / "train/_classes.csv", "filename, angry, happy, sad\na.jpg, 1, 1, 0\nb.jpg, 0, 0, 0\n")
    _, dataset, problems = read(tmp_path)
    assert counts(dataset) == Counter({("validation", "angry"): 1})
    assert problems == [
        "_classes.csv:2: has 2 classes (angry, happy); expected one",
        "_classes.csv:3: has no label",
        "train/a.jpg: is not named in train/_classes.csv, valid/_classes.csv",
        "train/b.jpg: is not named in train/_classes.csv, valid/_classes.csv",
    ]


def test_cvat_for_video_is_refused_by_name(tmp_path: Path) -> None:
    image(tmp_path / "images/frame_000000.png")
    track = '<track id="0" label="happy"><box frame="0" xtl="1" ytl="1" xbr="5" ybr="5"/></track>'
    write(tmp_path / "annotations.xml", f"<annotations><version>1.1</version>{track}</annotations>")
    with pytest.raises(DataError, match="CVAT for video"):
        open_source(tmp_path)


def test_segmentation_masks_are_refused_by_name(tmp_path: Path) -> None:
    for seed in range(3):
        image(tmp_path / "train/images" / f"{seed}.png", seed)
        image(tmp_path / "train/masks" / f"{seed}.png", seed)
    with pytest.raises(DataError, match="segmentation masks"):
        open_source(tmp_path)


@pytest.mark.parametrize(("name", "kind"), [("train/faces.tfrecord", "TFRecord"), ("data.mdb", "LMDB")])
def test_containers_of_records_are_refused_by_name(tmp_path: Path, name: str, kind: str) -> None:
    write(tmp_path / name, "x" * 100)
    with pytest.raises(DataError, match=kind):
        open_source(tmp_path)


def test_images_that_lie_elsewhere_are_found_under_root(tmp_path: Path) -> None:
    image(tmp_path / "elsewhere/faces/a.png")
    write(tmp_path / "labels/train.json", coco(["faces/a.png"], ["happy"]))
    with pytest.raises(DataError, match="no such image"):
        open_source(tmp_path / "labels")
    _, dataset, problems = read(tmp_path / "labels", Choices(root=tmp_path / "elsewhere"))
    assert counts(dataset) == Counter({("train", "happy"): 1})
    assert problems == []


@pytest.mark.parametrize("layout", ["yolo", "coco"])
@pytest.mark.parametrize("splits", [("train", "validation", "test"), ("",), ("", "train")])
def test_what_mien_exports_comes_back_with_labels_splits_and_pixels(tmp_path: Path, layout: str, splits) -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 255, (9 + i, 12, 3 if i % 2 else 1), np.uint8) for i in range(8)]
    names = (*FER2013, "sleepy")
    dataset = make(images, range(8), [splits[i % len(splits)] for i in range(8)], names=names)
    export_dataset(dataset, tmp_path / "out", as_=layout)
    _, back, problems = read(tmp_path / "out")
    assert back.label_names == names
    order = np.argsort([s.rpartition("/")[2] for s in back.sources])  # exported files are called after their rows
    assert back.labels[order].tolist() == list(range(8))
    assert back.splits[order].tolist() == dataset.splits.tolist()
    for row, place in enumerate(order):
        assert (back.image(int(place)) == images[row]).all()
        height, width = images[row].shape[:2]
        assert np.abs(back.columns["box"][place] - (0, 0, width, height)).max() < 1e-3
    assert [p for p in problems if "manifest" not in p and "README" not in p] == []


def test_a_file_of_annotations_alone_is_read_with_the_images_of_its_folder(tmp_path: Path) -> None:
    for make_set, file in (
        (yolo_roboflow, "data.yaml"),
        (cvat_boxes, "annotations.xml"),
        (studio_min, "export-min.json"),
    ):
        expected = make_set(tmp_path / file)
        write(tmp_path / file / "other.json", [{"image": "a.png", "label": "sad"}])
        assert counts(read(tmp_path / file / file)[1]) == expected
