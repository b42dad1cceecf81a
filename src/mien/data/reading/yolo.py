"""YOLO exports: a text file of class numbers and boxes beside each image, and a data.yaml or classes.txt of names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mien.data.reading.annotations import NO_IMAGE, Annotated, Mark, bounds, floats
from mien.data.reading.reading import Found, Scan
from mien.data.reading.sources import Box
from mien.data.reading.trees import base_name, folder_of, suffix_of
from mien.errors import DataError, import_extra

_NAME_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt", "labels.names")
_SPLIT_KEYS = ("train", "val", "valid", "validation", "test")
_LABEL_FOLDERS = ("labels", "label", "annotations", "labels_txt")
_IMAGE_FOLDERS = ("images", "image", "img", "imgs")
_NO_SPLIT = "images/data"  # how mien's own exports call samples of no split; YOLO wants them as `train`
_LOOKED_AT = 50
_MAX_YAML = 1024 * 1024


@dataclass(slots=True)
class _Config:
    """What a data.yaml or a list of names says. names: class number -> name. splits: key -> paths. keypoints: values
    behind each box, for poses.
    """

    file: str = ""
    names: dict[int, str] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=dict)
    path: str = ""
    keypoints: int = 0


def find_yolo(scan: Scan) -> Found | None:
    """Label files of YOLO beside images or in parallel folders. Raises DataError, MissingExtraError."""
    texts = {name.lower(): name for name in scan.with_suffix(".txt")}
    gathered = Annotated(scan, "YOLO", fractions=True)
    pairs = _pairs(gathered.images.images, texts) if texts else {}
    if not pairs or not _looks_like_yolo(scan, list(pairs.values())):
        return None
    config = _config(scan, gathered)
    if config is None:
        config = _Config()
    of_lists = _splits(gathered, config)
    for image, text in pairs.items():
        split = of_lists.get(image) or (gathered.split_of(image, text) if image not in of_lists else "")
        gathered.used.add(text)
        gathered.add(image, split, _marks(scan, text, config))
    _orphans(gathered, texts, set(pairs.values()))
    if not config.names:
        return gathered.found("numbers that no data.yaml and no classes.txt names")
    numbered = list(config.names) == list(range(len(config.names)))
    if numbered and not all(name.isdecimal() for name in config.names.values()):
        return gathered.found(config.file, declared=tuple(config.names.values()))
    return _by_name(gathered, config)


def _by_name(gathered: Annotated, config: _Config) -> Found | None:
    """As `Annotated.found`, with names in place of numbers: for names that are not counted from 0, or are numbers."""
    gathered.rename(lambda label: config.names.get(int(label), label))
    return gathered.found(config.file)


def _pairs(images: Sequence[str], texts: Mapping[str, str]) -> dict[str, str]:
    """Image -> its label file: the same name in the parallel folder labels, or beside it."""
    pairs = {}
    for image in images:
        stem = image[: len(image) - len(suffix_of(image))].lower()
        for candidate in _label_files(stem):
            if candidate in texts:
                pairs[image] = texts[candidate]
                break
    return pairs


def _label_files(stem: str) -> Iterator[str]:
    parts = stem.split("/")
    places = [i for i, part in enumerate(parts[:-1]) if part in _IMAGE_FOLDERS]
    for place in reversed(places):
        for folder in _LABEL_FOLDERS:
            yield "/".join([*parts[:place], folder, *parts[place + 1 :]]) + ".txt"
    yield stem + ".txt"
    if not places:  # train/a.png with labels/train/a.txt or train/labels/a.txt
        yield "/".join([*parts[:-1], "labels", parts[-1]]) + ".txt"
        yield "/".join([*parts[:-2], "labels", *parts[-2:]]) + ".txt"


def _looks_like_yolo(scan: Scan, files: Sequence[str]) -> bool:
    """Whether label files mostly hold lines of YOLO; empty ones tell nothing."""
    step = max(1, len(files) // _LOOKED_AT)
    good = bad = 0
    for name in files[::step]:
        for line in scan.head(name, 4096).decode("utf-8-sig", "replace").splitlines()[:1]:
            cells = line.split()
            if cells:
                fits = len(cells) >= 5 and floats(cells) is not None and _class_number(cells[0]) is not None
                good, bad = good + fits, bad + (not fits)
    return good > bad


def _class_number(cell: str) -> int | None:
    try:
        number = float(cell)
        return int(number) if number == int(number) and number >= 0 else None
    except (ValueError, OverflowError):
        return None


def _marks(scan: Scan, name: str, config: _Config) -> Iterator[Mark]:
    try:
        lines = scan.text(name).splitlines()
    except DataError as error:
        yield Mark("", wrong=str(error).removeprefix(f"{scan.tree.where(name)}: "), where=name)
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        cells = line.split()
        label = _class_number(cells[0])
        values = floats(cells[1:])
        if label is None or values is None:
            yield Mark("", wrong=f"'{line[:60]}'; expected a class number and four shares", where=where)
        elif config.names and label not in config.names:
            known = f"{min(config.names)} to {max(config.names)}"
            yield Mark("", wrong=f"class {label}; {config.file} names {known}", where=where)
        else:
            box = _box(values, config.keypoints)
            yield Mark(str(label), box) if not isinstance(box, str) else Mark("", wrong=box, where=where)


def _box(values: list[float], keypoints: int) -> Box | str:
    """A box in shares, of a rectangle, a polygon or a pose; or why there is none."""
    pose = keypoints and len(values) == 4 + keypoints
    polygon = len(values) >= 6 and len(values) % 2 == 0 and not pose
    if len(values) != 4 and not pose and not polygon:
        return f"has {len(values)} numbers behind the class; expected 4 (a box), or the points of a polygon"
    shares = values if polygon else values[:4]
    if min(shares) < -0.01 or max(shares) > 1.01:
        return f"holds {max(shares, key=abs):g}; expected shares of the image's width and height, 0 to 1"
    if polygon:
        return bounds(shares)
    x, y, width, height = shares
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _orphans(gathered: Annotated, texts: Mapping[str, str], paired: set[str]) -> None:
    """Label files whose image is not there: those that lie where others are."""
    folders = {folder_of(name) for name in paired}
    for name in texts.values():
        if name in paired or name in gathered.used or folder_of(name) not in folders:
            continue
        cells = gathered.scan.head(name, 4096).decode("utf-8-sig", "replace").split("\n", 1)[0].split()
        if not cells or (len(cells) >= 5 and floats(cells) is not None):
            gathered.used.add(name)
            gathered.wrong(name, "its image is not there")


def _config(scan: Scan, gathered: Annotated) -> _Config | None:
    """The one description of the classes. Raises DataError where several contradict each other."""
    found = [c for name in scan.with_suffix(".yaml", ".yml") if (c := _read_yaml(scan, name))]
    lists = [name for name in scan.named(*_NAME_LISTS) if scan.tree.size(name)]
    lists += [name for name in scan.with_suffix(".names") if name not in lists]
    found += [_Config(name, dict(enumerate(_lines(scan, name)))) for name in lists]
    for config in found:
        gathered.used.add(config.file)
        _check_names(scan, config)
        if config.names != found[0].names:
            raise DataError(
                f"{scan.root}: {found[0].file} and {config.file} name the classes differently; keep the right one"
            )
    if scan.named("obj.data"):
        gathered.used.update(scan.named("obj.data"))
    return found[0] if found else None


def _check_names(scan: Scan, config: _Config) -> None:
    names = list(config.names.values())
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{scan.tree.where(config.file)}: names '{twice}' twice; expected a name for each class")


def _lines(scan: Scan, name: str) -> list[str]:
    lines = [line.strip() for line in scan.text(name).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _read_yaml(scan: Scan, name: str) -> _Config | None:
    """A data.yaml; None where it is another YAML file. All its scalars are text: a class may be called `no`."""
    yaml = import_extra("yaml", "data", f"reading {name}")
    where = scan.tree.where(name)
    if scan.tree.size(name) > _MAX_YAML:
        return None
    try:
        data: Any = yaml.load(scan.text(name), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, DataError) as error:
        if base_name(name).lower() in ("data.yaml", "data.yml"):
            raise DataError(f"{where}: can't be read as YAML ({' '.join(str(error).split())[:120]})") from error
        return None
    if not isinstance(data, dict) or "names" not in data:
        return None
    names = _names(data["names"], where)
    count = data.get("nc")
    if isinstance(count, str) and count.isdecimal() and int(count) != len(names):
        raise DataError(f"{where}: nc is {count}, but names has {len(names)}; correct the file")
    splits = {}
    for key in _SPLIT_KEYS:
        value = data.get(key)
        paths = value if isinstance(value, list) else [value]
        splits[key] = [path for path in paths if isinstance(path, str) and path]
    shape = data.get("kpt_shape")
    keypoints = 0
    if isinstance(shape, list) and all(isinstance(n, str) and n.isdecimal() for n in shape) and len(shape) == 2:
        keypoints = int(shape[0]) * int(shape[1])
    path = data.get("path")
    return _Config(name, names, splits, path if isinstance(path, str) else "", keypoints)


def _names(value: Any, where: str) -> dict[int, str]:
    if isinstance(value, list):
        value = {str(i): name for i, name in enumerate(value)}
    wrong = f"{where}: names is no list of class names, and no number: name pairs; correct the file"
    if not isinstance(value, dict) or not value:
        raise DataError(wrong)
    if not all(str(k).isdecimal() and isinstance(v, str) and v.strip() for k, v in value.items()):
        raise DataError(wrong)
    return dict(sorted((int(number), name.strip()) for number, name in value.items()))


def _splits(gathered: Annotated, config: _Config) -> dict[str, str]:
    """Image -> split, for those in the folders or lists that data.yaml names, or in the train.txt of Darknet."""
    scan = gathered.scan
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    named = [(key, path) for key, paths in config.splits.items() for path in paths]
    for key, path in named:
        place = _place(scan, config, path)
        if place is None:
            if key != "test":  # Roboflow names test folders that it doesn't make
                gathered.notes.append(f"{config.file} names {path} for {key}, which is not there")
            continue
        if place in taken:
            gathered.notes.append(
                f"{config.file} names {place or '.'} for {taken[place]} and {key}; read as {taken[place]}"
            )
            continue
        taken[place] = key
        unsplit = len(named) == 1 and place.lower().endswith(_NO_SPLIT)
        split = "" if unsplit else gathered.split_word(key)
        if suffix_of(place) == ".txt":
            gathered.used.add(place)
            inside = _listed(gathered, place, split)
        else:
            prefix = f"{place}/" if place else ""
            inside = [image for image in gathered.images.images if image.startswith(prefix)]
        for image in inside:
            found.setdefault(image, split)
    if not named:
        for name in scan.named("train.txt", "valid.txt", "val.txt", "validation.txt", "test.txt"):
            lines = _lines(scan, name)
            if lines and "/" in lines[0] + name and suffix_of(lines[0]):
                gathered.used.add(name)
                split = gathered.split_word(base_name(name).rpartition(".")[0])
                for image in _listed(gathered, name, split):
                    found.setdefault(image, split)
    return found


def _listed(gathered: Annotated, name: str, split: str) -> list[str]:
    """The images that a list of a split names."""
    images = []
    for number, line in enumerate(_lines(gathered.scan, name), start=1):
        written = line.removeprefix("data/") if line.startswith("data/obj_train_data") else line
        image = gathered.images.find(written, folder_of(name), split) if written else None
        if image:
            images.append(image)
        elif written:
            gathered.wrong(f"{name}:{number}", f"'{line[:100]}': {NO_IMAGE}", split)
    return images


def _place(scan: Scan, config: _Config, path: str) -> str | None:
    """The folder or list that a path of data.yaml means, from the file's own folder: `../train/images` too, and paths
    of other machines; '' for the folder itself, None where none of them is there.
    """
    own = folder_of(config.file)
    parts = [p for p in f"{config.path}/{path}".replace("\\", "/").split("/") if p not in ("", ".", "..")]
    places = {f.lower(): f for f in scan.tree.folders} | {t.lower(): t for t in scan.with_suffix(".txt")}
    for i in range(len(parts)):
        for base in dict.fromkeys((own, "")):
            place = places.get((base + "/".join(parts[i:])).lower())
            if place is not None:
                return place
    return own.rstrip("/") if not parts else None
