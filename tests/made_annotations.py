"""Sets with files of annotations, as labelling tools write them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ["angry", "happy", "sad"]
FACES = {"train": {"a": "happy", "b": "sad"}, "valid": {"c": "angry"}}
EXPECTED = Counter({("train", "happy"): 1, ("train", "sad"): 1, ("validation", "angry"): 1})
NO_SPLIT = Counter({("", "happy"): 1, ("", "sad"): 1, ("", "angry"): 1})


def image(path: Path, seed: int = 0, size: tuple[int, int] = (20, 16)) -> Path:
    """An image of `size`, width and height, in its own colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write(path: Path, text: str | dict | list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def each():
    """Split, stem, label and seed of each image of the small set."""
    seed = 0
    for split, images in FACES.items():
        for stem, label in images.items():
            seed += 1
            yield split, stem, label, seed


def yolo_roboflow(root: Path) -> Counter:
    for split, stem, label, seed in each():
        image(root / split / "images" / f"{stem}.png", seed)
        write(root / split / "labels" / f"{stem}.txt", f"{NAMES.index(label)} 0.5 0.5 0.5 0.5")
    write(
        root / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 3\n"
        "names: ['angry', 'happy', 'sad']\n\nroboflow:\n  workspace: me\n  project: faces\n  version: 1\n"
        "  license: CC BY 4.0\n",
    )
    return EXPECTED


def yolo_ultralytics(root: Path) -> Counter:
    words = {"train": "set_a", "valid": "set_b"}
    for split, stem, label, seed in each():
        image(root / "images" / words[split] / f"{stem}.jpg", seed)
        write(root / "labels" / words[split] / f"{stem}.txt", f"{NAMES.index(label)} 0.5 0.5 0.5 0.5\n")
    write(
        root / "faces.yaml",
        "path: ../datasets/faces # dataset root dir\ntrain: images/set_a\nval: images/set_b\ntest: # optional\n\n"
        "# Classes\nnames:\n  0: angry\n  1: happy\n  2: sad\n",
    )
    return EXPECTED


def yolo_polygons(root: Path) -> Counter:
    for split, stem, label, seed in each():
        image(root / "images" / split / f"{stem}.jpg", seed)
        outline = "0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"
        write(root / "labels" / split / f"{stem}.txt", f"{NAMES.index(label)} {outline}\n")
    write(
        root / "data.yaml", "path: /content/faces\ntrain: images/train\nval: images/valid\nnames: [angry, happy, sad]\n"
    )
    return EXPECTED


def yolo_pose(root: Path) -> Counter:
    for split, stem, label, seed in each():
        image(root / "images" / split / f"{stem}.jpg", seed)
        points = "0.4 0.4 2 0.6 0.4 2"
        write(root / "labels" / split / f"{stem}.txt", f"{NAMES.index(label)} 0.5 0.5 0.5 0.5 {points}\n")
    write(
        root / "data.yaml",
        "train: images/train\nval: images/valid\nkpt_shape: [2, 3]\nflip_idx: [1, 0]\nnames: [angry, happy, sad]\n",
    )
    return EXPECTED


def yolo_labelimg(root: Path) -> Counter:
    for _, stem, label, seed in each():
        image(root / f"{stem}.png", seed)
        write(root / f"{stem}.txt", f"\ufeff{NAMES.index(label)} 0.500000 0.500000 0.500000 0.500000\n")
    write(root / "classes.txt", "angry\nhappy\nsad\n")
    return NO_SPLIT


def yolo_darknet(root: Path) -> Counter:
    lists: dict[str, list[str]] = {"train": [], "valid": []}
    for split, stem, label, seed in each():
        image(root / "obj_train_data" / f"{stem}.png", seed)
        write(root / "obj_train_data" / f"{stem}.txt", f"{NAMES.index(label)} 0.500000 0.500000 0.500000 0.500000\n")
        lists[split].append(f"data/obj_train_data/{stem}.png")
    for split, lines in lists.items():
        write(root / f"{split}.txt", "\n".join(lines) + "\n")
    write(root / "obj.names", "angry\nhappy\nsad\n")
    write(root / "obj.data", "classes = 3\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    return EXPECTED


def coco(images: list[str], labels: list[str], first: int = 1) -> dict:
    return {
        "info": {"year": "2024", "version": "1"},
        "licenses": [{"id": 1, "url": "", "name": "Unknown"}],
        "categories": [{"id": 0, "name": "expressions", "supercategory": "none"}]
        + [{"id": i, "name": n, "supercategory": "expressions"} for i, n in enumerate(NAMES, start=1)],
        "images": [
            {"id": i, "license": 1, "file_name": name, "height": 16, "width": 20, "date_captured": "2024-01-01"}
            for i, name in enumerate(images, start=first)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": NAMES.index(label) + 1, "bbox": [5, 4, 10, 8.0], "area": 80,
             "segmentation": [], "iscrowd": 0}
            for i, label in enumerate(labels, start=first)
        ],
    }  # fmt: skip


def coco_roboflow(root: Path) -> Counter:
    for split, stem, _, seed in each():
        image(root / split / f"{stem}.jpg", seed)
    for split, images in FACES.items():
        write(root / split / "_annotations.coco.json", coco([f"{s}.jpg" for s in images], list(images.values()), 0))
    return EXPECTED


def coco_instances(root: Path) -> Counter:
    years = {"train": "train2017", "valid": "val2017"}
    for split, stem, _, seed in each():
        image(root / "images" / years[split] / f"{stem}.jpg", seed)
    for split, images in FACES.items():
        about = coco([f"{s}.jpg" for s in images], list(images.values()))
        write(root / "annotations" / f"instances_{years[split]}.json", about)
    return EXPECTED


def coco_same_names(root: Path) -> Counter:
    """Both splits call their images 1.png."""
    for seed, split in enumerate(("train", "val")):
        image(root / "images" / split / "1.png", seed)
        write(root / "annotations" / f"{split}.json", coco(["1.png"], [NAMES[seed]]))
    return Counter({("train", "angry"): 1, ("validation", "happy"): 1})


def voc(name: str, label: str) -> str:
    return (
        f"<annotation>\n\t<folder>faces</folder>\n\t<filename>{name}</filename>\n\t<path>C:\\me\\{name}</path>\n"
        "\t<source>\n\t\t<database>Unknown</database>\n\t</source>\n\t<size>\n\t\t<width>20</width>\n"
        "\t\t<height>16</height>\n\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n\t<object>\n"
        f"\t\t<name>{label}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n"
        "\t\t<difficult>0</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>5</xmin>\n\t\t\t<ymin>4</ymin>\n"
        "\t\t\t<xmax>15</xmax>\n\t\t\t<ymax>12</ymax>\n\t\t</bndbox>\n\t</object>\n</annotation>\n"
    )


def voc_devkit(root: Path) -> Counter:
    for _, stem, label, seed in each():
        image(root / "VOC2012" / "JPEGImages" / f"{stem}.jpg", seed)
        write(root / "VOC2012" / "Annotations" / f"{stem}.xml", voc(f"{stem}.jpg", label))
    write(root / "VOC2012" / "ImageSets" / "Main" / "train.txt", "a\nb\n")
    write(root / "VOC2012" / "ImageSets" / "Main" / "val.txt", "c\n")
    write(root / "VOC2012" / "ImageSets" / "Main" / "trainval.txt", "a\nb\nc\n")
    write(root / "VOC2012" / "ImageSets" / "Main" / "happy_train.txt", "a  1\nb -1\n")
    return EXPECTED


def voc_roboflow(root: Path) -> Counter:
    for split, stem, label, seed in each():
        image(root / split / f"{stem}.jpg", seed)
        write(root / split / f"{stem}.xml", voc(f"{stem}.jpg", label))
    return EXPECTED


def cvat(shapes: Callable[[str], str]) -> str:
    images = "".join(
        f'  <image id="{seed - 1}" name="{stem}.png" subset="{"Train" if split == "train" else "Validation"}" '
        f'task_id="1" width="20" height="16">\n    {shapes(label)}\n  </image>\n'
        for split, stem, label, seed in each()
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <project>\n'
        "      <name>faces</name>\n    </project>\n    <dumped>2024-01-01</dumped>\n  </meta>\n"
        f"{images}</annotations>\n"
    )


def cvat_images(root: Path) -> None:
    for split, stem, _, seed in each():
        image(root / "images" / ("Train" if split == "train" else "Validation") / f"{stem}.png", seed)


def cvat_boxes(root: Path) -> Counter:
    cvat_images(root)
    place = 'occluded="0" xtl="5.00" ytl="4.00" xbr="15.00" ybr="12.00" z_order="0"'
    write(root / "annotations.xml", cvat(lambda n: f'<box label="{n}" source="manual" {place}>\n    </box>'))
    return EXPECTED


def cvat_attributes(root: Path) -> Counter:
    cvat_images(root)
    place = 'source="manual" occluded="0" xtl="5.00" ytl="4.00" xbr="15.00" ybr="12.00" z_order="0"'
    inner = '<attribute name="glasses">no</attribute><attribute name="emotion">{}</attribute>'
    write(root / "annotations.xml", cvat(lambda n: f'<box label="face" {place}>{inner.format(n)}</box>'))
    return EXPECTED


def cvat_tags(root: Path) -> Counter:
    cvat_images(root)
    write(root / "annotations.xml", cvat(lambda name: f'<tag label="{name}" source="manual">\n    </tag>'))
    return EXPECTED


def studio_images(root: Path) -> None:
    for _, stem, _, seed in each():
        image(root / "images" / f"{stem}.png", seed)


def studio_task(number: int, image: str, result: list[dict]) -> dict:
    return {
        "id": number,
        "annotations": [
            {"id": number + 10, "completed_by": 1, "result": result, "was_cancelled": False, "ground_truth": False,
             "created_at": "2024-01-01T10:00:00Z", "lead_time": 2.5, "task": number, "parent_prediction": None},
        ],
        "file_upload": image.rpartition("/")[2],
        "predictions": [],
        "data": {"image": image},
        "meta": {},
        "project": 1,
    }  # fmt: skip


def studio_choices(root: Path) -> Counter:
    studio_images(root)
    tasks = []
    for _, stem, label, seed in each():
        result = [{"value": {"choices": [label]}, "id": "kf3", "from_name": "choice", "to_name": "image",
                   "type": "choices", "origin": "manual"}]  # fmt: skip
        tasks.append(studio_task(seed, f"/data/upload/1/0a1b2c3d-{stem}.png", result))
    write(root / "project-1-at-2024-01-01-10-00-0a1b2c3d.json", tasks)
    return NO_SPLIT


def studio_rectangles(root: Path) -> Counter:
    studio_images(root)
    tasks = []
    for _, stem, label, seed in each():
        value = {"x": 25.0, "y": 25.0, "width": 50.0, "height": 50.0, "rotation": 0, "rectanglelabels": [label]}
        result = [{"original_width": 20, "original_height": 16, "image_rotation": 0, "value": value, "id": "x1",
                   "from_name": "label", "to_name": "image", "type": "rectanglelabels",
                   "origin": "manual"}]  # fmt: skip
        tasks.append(studio_task(seed, f"/data/local-files/?d=faces/images/{stem}.png", result))
    write(root / "export.json", tasks)
    return NO_SPLIT


def studio_min(root: Path) -> Counter:
    studio_images(root)
    rows = [
        {"image": f"/data/upload/1/0a1b2c3d-{stem}.png", "id": seed, "choice": label, "annotator": 1,
         "annotation_id": seed, "created_at": "2024-01-01", "updated_at": "2024-01-01", "lead_time": 1.2}
        for _, stem, label, seed in each()
    ]  # fmt: skip
    write(root / "export-min.json", rows)
    return NO_SPLIT


def studio_csv(root: Path) -> Counter:
    studio_images(root)
    rows = [
        f"/data/upload/1/0a1b2c3d-{stem}.png,{seed},{label},1,{seed},2024,2024,1.2" for _, stem, label, seed in each()
    ]
    head = "image,id,choice,annotator,annotation_id,created_at,updated_at,lead_time"
    write(root / "export.csv", "\n".join([head, *rows]) + "\n")
    return NO_SPLIT


def studio_csv_boxes(root: Path) -> Counter:
    studio_images(root)
    rows = []
    for _, stem, label, seed in each():
        shape = [{"x": 25.0, "y": 25.0, "width": 50.0, "height": 50.0, "rotation": 0, "rectanglelabels": [label],
                  "original_width": 20, "original_height": 16}]  # fmt: skip
        cell = json.dumps(shape).replace('"', '""')
        rows.append(f'/data/upload/1/0a1b2c3d-{stem}.png,{seed},"{cell}",1,{seed},2024,2024,1.2')
    head = "image,id,label,annotator,annotation_id,created_at,updated_at,lead_time"
    write(root / "export.csv", "\n".join([head, *rows]) + "\n")
    return NO_SPLIT


def fiftyone_labels(root: Path) -> Counter:
    for split, stem, _, seed in each():
        image(root / split / "data" / f"{stem}.jpg", seed)
    for split, images in FACES.items():
        labels = {stem: NAMES.index(label) for stem, label in images.items()}
        write(root / split / "labels.json", {"classes": NAMES, "labels": labels})
    return EXPECTED


def fiftyone_names(root: Path) -> Counter:
    for _, stem, _, seed in each():
        image(root / "data" / f"{stem}.jpg", seed)
    write(root / "labels.json", {"classes": None, "labels": {stem: label for _, stem, label, _ in each()}})
    return NO_SPLIT


def fiftyone_samples(root: Path, truth: Callable[[str], dict]) -> Counter:
    samples = []
    for split, stem, label, seed in each():
        image(root / "data" / f"{stem}.jpg", seed)
        tag = "train" if split == "train" else "validation"
        samples.append({"filepath": f"data/{stem}.jpg", "tags": [tag], "metadata": None, "ground_truth": truth(label)})
    write(root / "metadata.json", {"name": "faces", "media_type": "image", "sample_fields": []})
    write(root / "samples.json", {"samples": samples})
    return EXPECTED


def fiftyone_classification(root: Path) -> Counter:
    return fiftyone_samples(root, lambda label: {"_cls": "Classification", "tags": [], "label": label})


def fiftyone_detections(root: Path) -> Counter:
    def truth(label: str) -> dict:
        one = {
            "_cls": "Detection",
            "attributes": {},
            "tags": [],
            "label": label,
            "bounding_box": [0.25, 0.25, 0.5, 0.5],
        }
        return {"_cls": "Detections", "detections": [one]}

    return fiftyone_samples(root, truth)


def roboflow_classes(root: Path) -> Counter:
    for split, stem, _, seed in each():
        image(root / split / f"{stem}.jpg", seed)
    for split, images in FACES.items():
        rows = [f"{stem}.jpg, " + ", ".join(str(int(n == label)) for n in NAMES) for stem, label in images.items()]
        write(root / split / "_classes.csv", "\n".join(["filename, angry, happy, sad", *rows]) + "\n")
    return EXPECTED


def roboflow_tensorflow(root: Path) -> Counter:
    for split, stem, _, seed in each():
        image(root / split / f"{stem}.jpg", seed)
    for split, images in FACES.items():
        rows = [f"{stem}.jpg,20,16,{label},5,4,15,12" for stem, label in images.items()]
        write(root / split / "_annotations.csv", "\n".join(["filename,width,height,class,xmin,ymin,xmax,ymax", *rows]))
    return EXPECTED


def create_ml(root: Path) -> Counter:
    for split, stem, _, seed in each():
        image(root / split / f"{stem}.jpg", seed)
    for split, images in FACES.items():
        at = {"x": 10, "y": 8, "width": 10, "height": 8}  # its middle
        rows = [{"image": f"{s}.jpg", "annotations": [{"label": n, "coordinates": at}]} for s, n in images.items()]
        write(root / split / "_annotations.createml.json", json.dumps(rows))
    return EXPECTED


def via(root: Path, shape: dict, *, first: str = "", table: bool = False) -> Counter:
    rows = ["#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"]
    images = {}
    for _, stem, label, seed in each():
        image(root / f"{stem}.jpg", seed)
        region = {"shape_attributes": shape, "region_attributes": {"emotion": {label: True}, "id": "1"}}
        images[f"{stem}.jpg900"] = {"filename": f"{stem}.jpg", "size": 900, "regions": [region], "file_attributes": {}}
        cells = [json.dumps(value).replace('"', '""') for value in region.values()]
        rows.append(f'{stem}.jpg,900,"{{}}",1,0,"{cells[0]}","{cells[1]}"')
    text = json.dumps({first: images, "_via_settings": {}} if first else images)
    write(root / ("via.csv" if table else "via.json"), "\n".join(rows) if table else text)
    return NO_SPLIT


def via_project(root: Path) -> Counter:
    return via(root, {"name": "rect", "x": 5, "y": 4, "width": 10, "height": 8}, first="_via_img_metadata")


def via_json(root: Path) -> Counter:
    return via(root, {"name": "ellipse", "cx": 10, "cy": 8, "rx": 5, "ry": 4})


def via_csv(root: Path) -> Counter:
    shape = {"name": "polygon", "all_points_x": [5, 15, 10], "all_points_y": [4, 4, 12]}
    return via(root, shape, table=True)


def labelme_shapes(root: Path) -> Counter:
    for split, stem, label, seed in each():
        image(root / split / f"{stem}.png", seed)
        shape = {"label": label, "points": [[5, 4], [15, 12]], "group_id": None, "shape_type": "rectangle", "flags": {}}
        data = {"version": "5.4.1", "flags": {}, "shapes": [shape], "imagePath": f"{stem}.png", "imageData": None}
        write(root / split / f"{stem}.json", json.dumps(data))
    return EXPECTED


def labelme_flags(root: Path) -> Counter:
    for _, stem, label, seed in each():
        image(root / f"{stem}.png", seed)
        flags = {name: name == label for name in NAMES}
        data = {"version": "5.4.1", "flags": flags, "shapes": [], "imagePath": f"..\\faces\\{stem}.png"}
        write(root / f"{stem}.json", json.dumps(data))
    return NO_SPLIT


BOXED = [
    yolo_roboflow, yolo_ultralytics, yolo_polygons, yolo_pose, yolo_labelimg, yolo_darknet, coco_roboflow,
    coco_instances, coco_same_names, voc_devkit, voc_roboflow, cvat_boxes, cvat_attributes, studio_rectangles,
    studio_csv_boxes, fiftyone_detections, roboflow_tensorflow, labelme_shapes,
    create_ml, via_project, via_json, via_csv,
]  # fmt: skip
WHOLE = [
    cvat_tags, studio_choices, studio_min, studio_csv, fiftyone_labels, fiftyone_names, fiftyone_classification,
    roboflow_classes, labelme_flags,
]  # fmt: skip
