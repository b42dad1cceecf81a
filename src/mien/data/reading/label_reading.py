"""From labels as written (names, digits, digits as text, whole floats) to classes: one rule for all containers.

Names are read in any known spelling. Numbers are read only where something says what they mean: the data set's own
list of names, its published layout, or the user; without any of these they must be exactly those of a known order.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from mien.data.reading.trees import first_of
from mien.errors import DataError
from mien.labels import EIGHT, ORDERS, canonical

_NUMBER = re.compile(r"[+-]?\d{1,9}(\.0*)?(e[+-]?0+)?|\d\.0*e[+-]\d{2}", re.IGNORECASE)
_FRACTION = re.compile(r"[+-]?(\d*\.\d+|\d+\.\d*)(e[+-]?\d+)?", re.IGNORECASE)
NO_LABEL = frozenset({"", "-1", "nan", "none", "null", "n/a", "#n/a", "<na>", "na", "?", "-", "--"})
"""Values that mean no label."""

CODES: dict[str, str] = {
    "an": "angry", "di": "disgust", "fe": "fear", "af": "fear", "ha": "happy", "sa": "sad", "su": "surprise",
    "ne": "neutral", "co": "contempt",
    "ang": "angry", "dis": "disgust", "fea": "fear", "afr": "fear", "hap": "happy", "sad": "sad", "sur": "surprise",
    "neu": "neutral", "con": "contempt",
}  # fmt: skip
"""Short forms of expressions, as in JAFFE, KDEF and CREMA-D; they count only where all labels are such."""

_WRITTEN = (*EIGHT, "anger", "disgusted", "fearful", "happiness", "sadness", "surprised", "contemptuous")
_ALIKE = 0.82
"""How alike, by `difflib`, two words are of which one may be the other, misspelt."""

DROPPED = "-"
"""The name under which a user's mapping leaves a label out."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What the labels of a data set mean.

    names: the classes, in mien's order. meaning: label as written -> index into `names`. said: how they were read, one
    line each. assumed: the key in `labels.ORDERS` of an order of numbers that the files do not state; '' where they do.
    numbers: class name -> its number as written, where labels are numbers. left_out: labels as written that the user
    leaves out.
    """

    names: tuple[str, ...] = ()
    meaning: Mapping[str, int] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    assumed: str = ""
    numbers: Mapping[str, int] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()

    def index(self, written: str) -> int | None:
        """A label's index into `names`, -1 for no label, None for one that is none of these."""
        found = self.meaning.get(written)
        if found is not None:
            return found
        return -1 if is_no_label(written) else self.meaning.get(plain(written))

    def wrong(self, written: str) -> str:
        """Why a label without an index can't be used."""
        if written in self.left_out or plain(written) in self.left_out:
            return f"label '{written[:40]}'; --labels leaves it out"
        expected = [str(n) for n in self.numbers.values()] or list(self.names)
        return (
            f"label '{written[:40]}'; expected {expected[0]} to {expected[-1]}"
            if self.numbers
            else (f"label '{written[:40]}'; expected one of {', '.join(expected)}")
        )


@dataclass(frozen=True, slots=True)
class LabelChoice:
    """The user's meaning of labels: names for numbers in their order, or new names for old ones.

    given: as typed, for the manifest's history.
    """

    given: str
    names: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    first: int | None = None

    @classmethod
    def parse(cls, text: str) -> LabelChoice:
        """`affectnet` (a key of `labels.ORDERS`), `neutral,happy,...`, `0=neutral,1=happy`, or a TOML or CSV file of
        old and new names. Raises DataError.
        """
        if text.lower() in ORDERS:
            _, names, first = ORDERS[text.lower()]
            return cls(text, names, first=first)
        if text.lower().endswith((".toml", ".csv")):
            return cls(text, renamed=_from_file(Path(text)))
        parts = [part.strip() for part in text.split(",")]
        if all("=" in part for part in parts):
            pairs = [part.partition("=") for part in parts]
            return cls(text, renamed={plain(old): new.strip() or DROPPED for old, _, new in pairs})
        if "" in parts or any("=" in part for part in parts) or len(parts) < 2 or len(set(parts)) < len(parts):
            raise DataError(
                f"--labels {text}: expected names in the order of their numbers (neutral,happy,...), OLD=NEW pairs, "
                f"a TOML or CSV file of old and new names, or one of {', '.join(ORDERS)}"
            )
        return cls(text, tuple(parts))


def is_no_label(written: str) -> bool:
    """Whether this means no label."""
    return plain(written).lower() in NO_LABEL


def is_number(written: str) -> bool:
    """Whether a label is a whole number, in any spelling."""
    return bool(_NUMBER.fullmatch(written.strip()))


def plain(written: str) -> str:
    """A label without what differs between containers: ' 3', '3.0' and '03' are '3'."""
    text = written.strip()
    if text[:1] in "+-0123456789" and _NUMBER.fullmatch(text):
        return str(int(float(text)))
    return text


def read_labels(
    written: Iterable[str],
    where: str,
    *,
    choice: LabelChoice | None = None,
    declared: Sequence[str] = (),
    order: str = "",
    usual: str = "",
    as_names: bool = False,
    assume: bool = True,
) -> Labels:
    """What the distinct labels of a data set mean.

    written: the labels, as often as they like. where: names the data set in errors. choice: what the user says; it
    goes before everything else. declared: the data set's own names of the numbers 0, 1, 2, ... order: the key in
    `labels.ORDERS` that its published layout uses. usual: the one that files of its kind use, though nothing says so.
    as_names: numbers are names too, and so are `none` and `nan` (of folders). assume: numbers that are exactly those
    of FER2013 are read so where nothing says what they mean; the reading says that they are.
    Raises DataError where labels are numbers that nothing explains, fractions, or two names of one class.
    """
    texts = sorted({text for text in written if (text.strip() if as_names else not is_no_label(text))})
    if choice is not None:
        return _chosen(texts, where, choice, declared)
    numbers = {text: int(plain(text)) for text in texts if _NUMBER.fullmatch(text.strip())}
    if declared:
        return _declared(texts, where, declared)
    if order or (usual and numbers):
        if order:
            _check_order(set(numbers.values()), where, order)
        return _by_order(texts, order or usual, stated=bool(order))
    if as_names:
        if numbers and any(canonical(text) in EIGHT for text in texts):
            raise _mixed(where, texts, numbers)
        return _named(texts)
    fractions = [text for text in texts if text not in numbers and _FRACTION.fullmatch(text.strip())]
    if fractions:
        raise DataError(f"{where}: the label '{fractions[0]}' is a fraction; expected names or whole numbers; "
                        "name the column of the labels with --label-column")  # fmt: skip
    if not numbers:
        return _named(texts)
    if len(numbers) < len(texts):
        raise _mixed(where, texts, numbers)
    found = set(numbers.values())
    if assume and found == numbers_of("fer2013"):
        return _by_order(texts, "fer2013", stated=False)
    raise DataError(f"{where}: the labels are {span(found)}, and nothing says what they mean; {candidates(found)}")


def _mixed(where: str, texts: Sequence[str], numbers: Mapping[str, int]) -> DataError:
    number, name = next(iter(numbers)), next(text for text in texts if text not in numbers)
    return DataError(
        f"{where}: labels are numbers and names ('{number}', '{name}'); say what the numbers mean, or leave them out: "
        f"--labels {number}=angry  or  --labels {number}=-"
    )


def _check_order(numbers: set[int], where: str, order: str) -> None:
    """Raises DataError where the numbers of a published layout were counted from another start."""
    title, names, first = ORDERS[order]
    known = numbers_of(order)
    last = max(known)
    if 2 * len(numbers) <= len(known):
        return
    start = first - 1 if first - 1 in numbers and last not in numbers else first + 1
    if start < first or (last + 1 in numbers and first not in numbers):
        own = ",".join(f"{start + i}={name}" for i, name in enumerate(names))
        raise DataError(f"{where}: the labels are {span(numbers)}; {title} has {first} to {last}: counted from "
                        f"{start}? Say it:  --labels {own}")  # fmt: skip


def numbers_of(order: str) -> set[int]:
    """The numbers that an order of `labels.ORDERS` gives names to."""
    _, names, first = ORDERS[order]
    return set(range(first, first + len(names)))


def span(numbers: Collection[int]) -> str:
    """Numbers in words: `0 to 6`, `1, 3, 5`."""
    found = sorted(numbers)
    if len(found) > 2 and found == list(range(found[0], found[-1] + 1)):
        return f"{found[0]} to {found[-1]}"
    return first_of(list(map(str, found)), 12)


def candidates(numbers: Collection[int]) -> str:
    """What a user can say about numbers, for the end of an error."""
    fitting = [
        f"--labels {key} ({first} {names[0]}, {first + 1} {names[1]}, ..., {first + len(names) - 1} {names[-1]})"
        for key, (_, names, first) in ORDERS.items()
        if set(numbers) <= numbers_of(key)
    ]
    own = ",".join(f"{n}=NAME" for n in sorted(numbers)[:3]) + (",..." if len(numbers) > 3 else "")
    return "name them with  mien data import  and " + ", or ".join([*fitting, f"--labels {own}"])


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in mien's order (that of `labels.EIGHT`), unknown ones behind, by number and alphabet."""

    def key(name: str) -> tuple[int, int, str]:
        return (EIGHT.index(name) if name in EIGHT else len(EIGHT), int(name) if name.isdecimal() else 0, name)

    return tuple(sorted(names, key=key))


def _by_order(texts: Sequence[str], key: str, *, stated: bool) -> Labels:
    title, of_numbers, first = ORDERS[key]
    names = class_order(of_numbers)
    numbers = {first + i: name for i, name in enumerate(of_numbers)}
    meaning = {str(n): names.index(name) for n, name in numbers.items()}
    for text in texts:
        if plain(text) in meaning:
            meaning[text] = meaning[plain(text)]
        elif canonical(text) in names:  # some files of a numbered layout hold names
            meaning[text] = names.index(canonical(text))
    said = f"{', '.join(f'{n} {name}' for n, name in numbers.items())} ({title}"
    said += ")" if stated else "; not stated in the file; --labels names another)"
    return Labels(names, meaning, (said,), "" if stated else key, {name: n for n, name in numbers.items()})


def _declared(texts: Sequence[str], where: str, declared: Sequence[str]) -> Labels:
    """Labels that are numbers of the data set's own names, or these names themselves."""
    mapped = [canonical(name) for name in declared]
    _refuse_twins(dict(zip(declared, mapped, strict=True)), where)
    meaning = {str(i): i for i in range(len(mapped))}
    meaning |= {name: i for i, name in enumerate(declared) if name not in meaning}
    for text in texts:
        if plain(text) in meaning:
            meaning[text] = meaning[plain(text)]
        elif canonical(text) in mapped:
            meaning[text] = mapped.index(canonical(text))
    said = [f"{', '.join(f'{i} {name}' for i, name in enumerate(mapped))} (the data set's own names)", *_own(mapped)]
    return Labels(tuple(mapped), meaning, tuple(said), numbers={name: i for i, name in enumerate(mapped)})


def _named(texts: Sequence[str]) -> Labels:
    spelled = {text: canonical(text) for text in texts}
    codes = {text: CODES.get(text.strip().lower(), "") for text in texts}
    if len(texts) > 2 and all(codes.values()) and len(set(codes.values())) == len(texts):
        spelled = codes
    names = class_order(set(spelled.values()))
    said = []
    changed = [f"{text} -> {name}" for text, name in spelled.items() if name in EIGHT and text.lower() != name]
    if changed:
        said.append(f"read as: {', '.join(changed)}")
    said += _own(names)
    return Labels(names, {text: names.index(name) for text, name in spelled.items()}, tuple(said))


def _own(names: Iterable[str]) -> list[str]:
    """A line that names the classes that are no expressions; none where all are."""
    unknown = [name for name in names if name not in EIGHT]
    said = [f"not expressions that mien knows, kept as own classes: {', '.join(unknown[:20])}"] if unknown else []
    spelt = {name: near[0] for name in unknown if (near := get_close_matches(name, _WRITTEN, 1, _ALIKE))}
    meant = ",".join(f"{name}={canonical(near)}" for name, near in spelt.items())
    return [*said, f"misspelt? --labels {meant} would read them so"] if meant else said


def _chosen(texts: Sequence[str], where: str, choice: LabelChoice, declared: Sequence[str]) -> Labels:
    renamed = choice.renamed or _numbered(texts, where, choice)
    known = {plain(name): str(i) for i, name in enumerate(declared)}
    meaning: dict[str, str] = {}
    for text in texts:
        as_written = (
            declared[int(plain(text))]
            if declared and plain(text).isdecimal() and int(plain(text)) < len(declared)
            else text
        )
        for form in (plain(text), plain(as_written), canonical(as_written), known.get(plain(text), "")):
            if form in renamed:
                meaning[text] = renamed[form]
                break
    rest = [text for text in texts if text not in meaning]
    numbers = [text for text in rest if _NUMBER.fullmatch(text.strip()) and not declared]
    if numbers and choice.renamed:
        raise DataError(f"{where}: --labels names no class for the number {', '.join(numbers[:9])}; name all of them, "
                        f"or leave one out with  {numbers[0]}={DROPPED}")  # fmt: skip
    unused = set(renamed) - {f for text in texts for f in (plain(text), canonical(text))} - set(map(plain, declared))
    unused -= set(map(canonical, declared))
    if choice.renamed and unused:
        raise DataError(
            f"{where}: no label '{sorted(unused)[0]}', which --labels names; it has {', '.join(texts[:20])}"
        )
    if choice.renamed:  # names that the mapping leaves alone mean what they say
        meaning |= {t: canonical(declared[int(plain(t))] if declared and plain(t).isdecimal() else t) for t in rest}
    named = {text: canonical(name) for text, name in meaning.items() if name != DROPPED}
    names = class_order({canonical(n) for n in renamed.values() if n != DROPPED} | set(named.values()))
    said = f"{', '.join(f'{old} {new}' for old, new in renamed.items())} (as --labels says)"
    numbered = {canonical(new): int(old) for old, new in renamed.items() if old.isdecimal() and new != DROPPED}
    index = {text: names.index(name) for text, name in named.items()}
    index |= {old: names.index(canonical(new)) for old, new in renamed.items() if new != DROPPED and old not in meaning}
    left_out = frozenset(text for text, name in meaning.items() if name == DROPPED)
    return Labels(names, index, (said,), numbers=numbered, left_out=left_out)


def _numbered(texts: Sequence[str], where: str, choice: LabelChoice) -> dict[str, str]:
    """The numbers that a user's names stand for, counted from 0, or from 1 where the labels are."""
    numbers = {int(plain(text)) for text in texts if _NUMBER.fullmatch(text.strip())}
    count = len(choice.names)
    if not numbers:
        mapped = {canonical(name) for name in choice.names}
        strange = [text for text in texts if canonical(text) not in mapped]
        if strange:
            raise DataError(f"{where}: --labels lists names for numbers, but the labels are names ('{strange[0]}'); "
                            f"rename with  --labels {strange[0]}=NAME,...")  # fmt: skip
        return {text: canonical(text) for text in texts}
    first = choice.first
    if first is None:
        if 0 not in numbers and count not in numbers:
            raise DataError(f"{where}: the labels are {span(numbers)} and --labels has {count} names: counted from "
                            f"0 or from 1? Say it:  --labels {min(numbers)}=NAME,...")  # fmt: skip
        first = 1 if 0 not in numbers else 0
    outside = {n for n in numbers if not first <= n < first + count}
    if outside and choice.first is None:
        raise DataError(f"{where}: --labels has {count} names; the labels are {span(numbers)}; name each number")
    return {str(first + i): name for i, name in enumerate(choice.names)}


def _refuse_twins(spelled: Mapping[str, str], where: str) -> None:
    """Raises DataError where two labels mean the same class: one of them may be a mistake."""
    first: dict[str, str] = {}
    for text, name in spelled.items():
        if name in first and plain(first[name]) != plain(text):
            raise DataError(f"{where}: '{first[name]}' and '{text}' are both '{name}'; rename one of them, or merge "
                            f"them with  --labels '{first[name]}={name},{text}={name}'")  # fmt: skip
        first.setdefault(name, text)


def _from_file(path: Path) -> dict[str, str]:
    """A mapping of old names to new ones: TOML of `old = "new"`, or CSV of two columns. Raises DataError."""
    try:
        data = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: can't be read ({error}); expected a mapping of old label names to new ones"
        ) from error
    if path.suffix.lower() == ".toml":
        try:
            table = tomllib.loads(data)
        except tomllib.TOMLDecodeError as error:
            raise DataError(f'{path}: not TOML ({error}); expected lines such as  joy = "happy"') from error
        pairs = table.get("labels", table)
        if not isinstance(pairs, dict) or not all(isinstance(new, str) for new in pairs.values()):
            raise DataError(f'{path}: expected lines such as  joy = "happy"')
        return {plain(str(old)): new.strip() or DROPPED for old, new in pairs.items()}
    rows = [row for row in csv.reader(data.splitlines()) if row]
    if not rows or any(len(row) != 2 for row in rows):
        raise DataError(f"{path}: expected two columns, an old label name and its new one, in each line")
    return {plain(old): new.strip() or DROPPED for old, new in rows}
