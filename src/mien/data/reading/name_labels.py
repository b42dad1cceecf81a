"""Labels from file names: a table of naming schemes, published ones and names of expressions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from mien.data.reading.folders import find_folders, is_expression, split_of
from mien.data.reading.published import split_above
from mien.data.reading.reading import Found, Scan
from mien.data.reading.sources import ImageFiles, Record, found_files
from mien.data.reading.trees import base_name
from mien.data.source import split_rank
from mien.labels import canonical

_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

_NEGATIONS = {"not", "no", "non", "un", "without", "never"}

_TWO_LETTERS = {
    "AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Naming:
    """A scheme of names. pattern: of a whole name without its folder, any case; its groups are `label`, a key of
    `codes`, and `identity`. codes: what is written -> the class, or '' where it is no expression; a scheme without
    codes tells people only. identity: how a person is written, of the pattern's groups; '' for the group as it is.
    frames: names of folders count too, which hold a clip's frames. in_folders: the title where folders tell classes.
    """

    title: str
    pattern: re.Pattern[str]
    codes: Mapping[str, str] = field(default_factory=dict)
    identity: str = "{identity}"
    frames: bool = False
    in_folders: str = ""


@dataclass(frozen=True, slots=True)
class Named:
    """What a name says: class, person, split as written; '' for what it doesn't. code: of the class, as written."""

    label: str = ""
    identity: str = ""
    split: str = ""
    code: str = ""


def _naming(title: str, pattern: str, codes: Mapping[str, str], **more: str | bool) -> Naming:
    compiled = re.compile(pattern + r"(?:\.\w+)?", re.IGNORECASE)
    return Naming(title, compiled, codes, **more)  # type: ignore[arg-type]


NAMINGS: tuple[Naming, ...] = (
    _naming(  # session A or B, sex, number, expression, angle: AF01ANS.JPG
        "KDEF", r"[AB](?P<identity>[FM]\d\d)(?P<label>AF|AN|DI|HA|NE|SA|SU)(S|HL|HR|FL|FR)([_-].*)?",
        {"AF": "fear", **{code: name for code, name in _TWO_LETTERS.items() if code != "FE"}}, identity="A{identity}",
    ),
    _naming("JAFFE", r"(?P<identity>[A-Z]{2})[._-](?P<label>AN|DI|FE|HA|NE|SA|SU)\d[._-]\d+([_-].*)?", _TWO_LETTERS),
    _naming(  # camera angle, model, ..., expression, gaze: Rafd090_01_Caucasian_female_angry_frontal.jpg
        "RaFD",
        r"Rafd\d+_(?P<identity>\d+)_[a-z]+_[a-z]+_"
        r"(?P<label>angry|contemptuous|disgusted|fearful|happy|neutral|sad|surprised)_(frontal|left|right)",
        {
            word.upper(): canonical(word)
            for word in ["angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised"]
        },
    ),
    _naming(  # modality, channel, expression, intensity, statement, repetition, actor, all of two digits
        "RAVDESS", r"\d\d-\d\d-(?P<label>0[1-8])-\d\d-\d\d-\d\d-(?P<identity>\d\d)(\D.*)?",
        {
            "01": "neutral", "02": "calm", "03": "happy", "04": "sad", "05": "angry", "06": "fear", "07": "disgust",
            "08": "surprise",
        }, frames=True,
    ),
    _naming(  # actor, sentence, expression, intensity: 1001_DFA_ANG_XX.flv
        "CREMA-D", r"(?P<identity>1\d{3})_[A-Z]{3}_(?P<label>ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX|X)([^A-Z].*)?",
        {"ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}, frames=True,
    ),
    _naming(  # model, expression, mouth closed, open or very open: 01F_AN_C.BMP
        "NimStim", r"(?P<identity>\d\d[FM])_(?P<label>AN|CA|DI|FE|HA|NE|SA|SP|SU)_[COX]",
        {**_TWO_LETTERS, "SP": "surprise", "CA": "calm"},
    ),
    _naming(  # person, age group, sex, expression, set: 004_o_m_a_a.jpg
        "FACES", r"(?P<identity>\d{3})_[ymo]_[fm]_(?P<label>[adfhns])_[ab]",
        {"A": "angry", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"},
    ),
    _naming(  # group, person, image, expression: CFD-WM-001-014-HC.jpg
        "Chicago Face Database", r"CFD-(?P<identity>[A-Z]{2}-\d{3})-\d{3}-(?P<label>A|F|HC|HO|N)",
        {"A": "angry", "F": "fear", "HC": "happy", "HO": "happy", "N": "neutral"},
    ),
    _naming(  # person, expression and strength, origin: F0001_AN01WH_F2D.bmp
        "BU-3DFE", r"(?P<identity>[FM]\d{4})_(?P<label>AN|DI|FE|HA|NE|SA|SU)\d\d[A-Z]{2}_F[23]D.*", _TWO_LETTERS,
    ),
    _naming(
        "Yale faces",
        r"(?P<identity>subject\d\d)\."
        r"(?P<label>happy|sad|surprised|normal|sleepy|wink|centerlight|leftlight|rightlight|glasses|noglasses)",
        {
            "HAPPY": "happy", "SAD": "sad", "SURPRISED": "surprise", "NORMAL": "neutral", "SLEEPY": "sleepy",
            "WINK": "wink", **dict.fromkeys(("CENTERLIGHT", "LEFTLIGHT", "RIGHTLIGHT", "GLASSES", "NOGLASSES"), ""),
        },
    ),
    _naming(  # model, expression, phase: F01-Anger-Apex_4.png
        "ADFES", r"(?P<identity>[FM]\d\d)-(?P<label>[A-Z]+)-(Apex|Face|Onset|Turn|Neutral).*",
        {
            **{word.upper(): canonical(word) for word in
               ("Anger", "Contempt", "Disgust", "Fear", "Joy", "Neutral", "Sadness", "Surprise")},
            "PRIDE": "pride", "EMBARRASSMENT": "embarrassment", "EMBARRAS": "embarrassment",
        },
    ),
    _naming(  # person, kind, expression: bs000_E_HAPPY_0.png
        "Bosphorus", r"(?P<identity>bs\d{3})_(?P<kind>E|N|LFAU|UFAU|CAU|YR|PR|CR|O|IGN)_(?P<label>[A-Z0-9_-]+?)_\d+.*",
        {word: canonical(word) for word in ("ANGER", "DISGUST", "FEAR", "HAPPY", "SADNESS", "SURPRISE")}
        | {"N": "neutral"},
    ),
    _naming("CK+", r"(?P<identity>S\d{3})_\d{3}_\d{8}", {}, in_folders="CK+48"),
)  # fmt: skip
"""The published schemes, the most specific first."""


def find_named_images(scan: Scan) -> Found | None:
    """Images whose names tell what they show, by the scheme that nearly all of them follow."""
    if not scan.images:
        return None
    for naming in NAMINGS:
        if naming.codes and _follows(scan, naming):
            return _found(scan, naming.title, {n: named_by(naming, n) for n in scan.images}, naming.codes)
    words = {name: _in_words(scan, name) for name in scan.images}
    if not _nearly_all(sum(named is not None for named in words.values()), len(words)):
        return None
    return _found(scan, "images named after expressions", _with_folders(scan, words), {})


def find_named_folders(scan: Scan) -> Found | None:
    """Class folders with images of a published data set: their names tell who is shown."""
    naming = next((n for n in NAMINGS if _follows(scan, n)), None)
    found = find_folders(scan, own_classes=False) if naming else None
    if naming is None or found is None or not isinstance(found.source, ImageFiles):
        return None
    names = {r.name: named_by(naming, r.name) or Named() for r in found.source.records}
    other = sum(
        bool(names[r.name].label) and names[r.name].label != canonical(r.label)
        for r in found.source.records
        if is_expression(r.label)
    )
    notes = [f"{other:,} images are named after another expression than their folder; the folder counts"] * bool(other)
    title = naming.in_folders or f"{naming.title} in class folders"
    source, reading = found.source, found.reading
    if "identity" not in source.extra:
        notes.append(f"people are the column identity, from the names; {_example(names)}")
        records = [replace(r, extra=(*r.extra, names[r.name].identity)) for r in source.records]
        source = replace(source, records=records, extra={**source.extra, "identity": object})
    return replace(
        found,
        source=replace(source, kind=title),
        reading=replace(reading, layout=title, notes=(*reading.notes, *notes)),
    )


def named_by(naming: Naming, name: str) -> Named | None:
    """What a scheme reads from a file's path; None where the name is no such name."""
    match = naming.pattern.fullmatch(base_name(name))
    if match is None and naming.frames and "/" in name:
        match = naming.pattern.fullmatch(name.split("/")[-2])
    if match is None:
        return None
    groups = {key: value for key, value in match.groupdict().items() if value}
    code = groups.get("label", "").upper()
    identity = naming.identity.format(identity=groups["identity"].upper())
    return Named(naming.codes.get(code, ""), identity, code=code)


def _follows(scan: Scan, naming: Naming) -> bool:
    missing = (name for name in scan.images if named_by(naming, name) is None)
    misses = sum(1 for _ in islice(missing, max(1, len(scan.images) // 10) + 1))  # enough to say no
    return _nearly_all(len(scan.images) - misses, len(scan.images))


def _nearly_all(fitting: int, count: int) -> bool:
    """Whether nine of ten do, or all but one of a few."""
    return fitting > count - fitting and count - fitting <= max(1, count // 10)


def _in_words(scan: Scan, name: str) -> Named | None:
    """The one expression that is a word of a file's name, and the split that may be its first."""
    stem = base_name(name).rpartition(".")[0] or base_name(name)
    words = _WORD.findall(_CAMEL.sub(" ", stem))
    found = {canonical(word) for word in words if is_expression(word)}
    if len(found) != 1 or _NEGATIONS & {word.lower() for word in words}:
        return None
    split = words[0] if split_of(scan, words[0]) is not None else ""
    return Named(found.pop(), split=split)


def _with_folders(scan: Scan, words: Mapping[str, Named | None]) -> dict[str, Named | None]:
    """The same with people, where each has a folder of images that are called by expressions alone: 0/Anger.jpg."""
    folders: dict[str, list[str]] = {}
    for name, named in words.items():
        if named is not None:
            folders.setdefault(name.rpartition("/")[0], []).append(base_name(name).rpartition(".")[0].lower())
    alone = all(is_expression(stem) and not re.search(r"\d", stem) for stems in folders.values() for stem in stems)
    people = {base_name(folder) for folder in folders}
    if not alone or len(people) < 2 or any(not name or split_of(scan, name) is not None for name in people):
        return dict(words)
    return {
        name: named and replace(named, identity=base_name(name.rpartition("/")[0])) for name, named in words.items()
    }


def _found(scan: Scan, title: str, names: Mapping[str, Named | None], codes: Mapping[str, str]) -> Found:
    """The data set whose images have these names; those that have none are left over."""
    read = {name: named for name, named in names.items() if named is not None}
    people = any(named.identity for named in read.values())
    splits: dict[str, str] = {}
    records = []
    for name, named in read.items():
        word = split_above(scan, name) or named.split
        split = (split_of(scan, word) or "") if word else ""
        if word:
            splits[word] = split
        wrong = f"'{named.code.lower()}' in its name is no expression" if codes and not named.label else ""
        records.append(Record(name, split, named.label, (named.identity,) if people else (), wrong))
    labels = scan.labels({r.label for r in records if not r.wrong}, str(scan.root))
    notes = []
    if codes:
        seen = sorted({(named.code, named.label) for named in read.values() if named.label})
        notes.append("names: " + ", ".join(f"{code} {label}" for code, label in seen))
    if people:
        notes.append(
            f"people are the column identity, from {'the names' if codes else 'the folders'}; {_example(read)}"
        )
    records.sort(key=lambda r: split_rank(r.split))
    stray = f"is not named as images of {title} are" if codes else "no single expression is in its name"
    return found_files(scan, records, labels, title, "the names of the files", splits=splits, notes=notes, stray=stray,
                       extra={"identity": object} if people else {})  # fmt: skip


def _example(names: Mapping[str, Named]) -> str:
    counts = Counter(named.identity for named in names.values() if named.identity)
    first = next((f"{base_name(n)} shows {v.identity}" for n, v in names.items() if v.identity), "none is named")
    return f"{len(counts):,} people ({first})"
