"""Checks the meaning of labels: a shipped model classifies a sample of the labelled faces.

A model alone can't say whether labels are right: it errs itself, and says neutral of many angry faces. But where
another known order of the numbers, two classes exchanged, or the names moved round agree far better with what it
sees, and by more than chance and the model's habits explain, then the labels were hardly meant as they are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from mien.crop import fit_face
from mien.data.label_orders import Candidate, label_choice, orders_mistaken, orders_of
from mien.data.reading.label_reading import Labels
from mien.data.sampling import sample_labelled
from mien.data.source import Source
from mien.labels import EIGHT
from mien.model_file import load_model
from mien.pages.text import percent

MODEL = "mien-small-fer2013"
"""The model that judges labels: the shipped one with the best figures in docs/data.md."""

QUICK_MODEL, QUICK_PER_CLASS = "mien-nano-fer2013", 14
"""The model and the faces of each class that clear most right labels first, for a sixth of the work."""

MIN_FACES = 30
"""Fewer faces of the model's expressions are no evidence."""

ALPHA = 0.01
"""The probability of a false alarm over all candidates together."""

MIN_GAIN = 0.2
"""By how much more of the faces that it moves another reading must agree."""

_MIN_EXCESS = 0.12  # agreement beyond chance; of photographs instead of faces it is next to nothing
_SURE = 3  # standard errors above chance
_SIMPLER = 0.05  # that two classes were exchanged is said unless more renaming agrees with more of all faces
_AWAY = 0.4  # of right classes nearly all pairs have 0.1 to 0.3, of exchanged ones 0.7 and more
_FLOOR = 1e-3  # below this a probability says only: no


@dataclass(frozen=True, slots=True)
class Better:
    """Another reading of the same labels that agrees far better with what the model sees.

    what: the reading, in words. agreement: the share of faces on which it agrees; before: that of the reading at hand,
    on the same faces. labels: the value of --labels that asks for it.
    """

    what: str
    agreement: float
    before: float
    labels: str

    def sentence(self) -> str:
        """Both figures in one line."""
        return f"with {self.what} the labels agree {self.agreement:.2f}, as they are read {self.before:.2f}"


@dataclass(frozen=True, slots=True)
class Plausibility:
    """How well labels agree with what a model sees.

    n: faces judged, of expressions that the model knows. agreement: the share on which it agrees. better: a reading
    that agrees far better, if there is one. reason: why nothing can be said, '' where something can. about: whether the
    labels are expressions at all. model: the name of the model.
    """

    n: int
    agreement: float = 0.0
    better: Better | None = None
    reason: str = ""
    about: bool = True
    model: str = MODEL

    @property
    def can_judge(self) -> bool:
        """Whether the sample is large enough to judge."""
        return not self.reason

    def sentence(self) -> str:
        """What was found, in one line; '' where labels are no expressions."""
        if not self.about:
            return ""
        if self.reason:
            return f"labels can't be judged: {self.reason}"
        seen = f"{self.model} looked at {self.n} faces"
        if self.better:
            return f"{self.better.sentence()} ({seen})"
        return f"labels agree {self.agreement:.2f}, and no other order fits better ({seen})"


_NOT_ABOUT = Plausibility(0, about=False, reason="they are no expressions that mien knows")

_Test = Callable[[Candidate, int], bool]  # whether a candidate agrees far better than the reading; how many are tried


def check_labels(
    faces: Sequence[NDArray[np.uint8]],
    labels: NDArray[np.int64],
    label_names: Sequence[str],
    *,
    numbers: Mapping[str, int] | None = None,
    model: str = MODEL,
) -> Plausibility:
    """Whether another reading of the labels agrees far better with what a model sees.

    faces: a sample of face crops, uint8 (H, W, 1 or 3), RGB, of any size; best as many of each class, see
    `mien.data.sampling`. labels: int64 (N,), indices into `label_names`, -1 for none. numbers: class name -> number as
    written, where labels were numbers: other known orders of them are tried. Raises ModelFileError.
    """
    labels = np.asarray(labels)
    if not set(label_names) & set(EIGHT):
        return _NOT_ABOUT
    network = load_model(model)
    info = network.info
    count = int(np.array([name in info.labels for name in label_names] + [False])[labels].sum())
    if count < MIN_FACES:
        return Plausibility(count, reason=_few(count), model=model)
    rows = np.flatnonzero(labels >= 0)  # also of classes that the model lacks: their numbers distinguish orders
    fitted = np.stack([fit_face(faces[row], info.size, info.channels) for row in rows.tolist()])
    seen = np.concatenate([network.probabilities(fitted[i : i + 64]) for i in range(0, len(fitted), 64)])
    return judge(seen, info.labels, labels[rows], label_names, numbers=numbers, model=model)


def check_source(source: Source, labels: Labels | None = None, *, seed: int = 0, model: str = MODEL) -> Plausibility:
    """`check_labels` for a sample of a source: `PER_CLASS` faces of each expression.

    A small model classifies a few of the faces first. Only labels that these do not clear get the full check: of wrong
    labels that the full check finds, the first step clears none (docs/data.md). labels: how they were read.
    """
    if not set(source.label_names) & set(EIGHT):
        return _NOT_ABOUT
    info = load_model(QUICK_MODEL).info
    sample = sample_labelled(source, size=info.size, channels=info.channels, seed=seed)
    names, numbers = source.label_names, labels.numbers if labels else None
    few = first_of_each(sample.labels, names)
    if len(few) >= MIN_FACES:
        seen = load_model(QUICK_MODEL).probabilities(sample.faces[few])
        if found := judge_quickly(seen, info.labels, sample.labels[few], names, numbers=numbers):
            return found
    found = check_labels(list(sample.faces), sample.labels, names, numbers=numbers, model=model)
    if sample.cut and not found.can_judge:
        return replace(found, reason="the images are large photographs; cut the faces out with  mien data crop  first")
    return found


def judge(
    probabilities: NDArray[np.float32],
    known: Sequence[str],
    labels: NDArray[np.int64],
    label_names: Sequence[str],
    *,
    numbers: Mapping[str, int] | None = None,
    model: str = MODEL,
) -> Plausibility:
    """`check_labels` for what a model has said: probabilities float32 (N, K) of the classes `known`.

    labels: int64 (N,); faces whose label is none of `known` are left out.
    """
    view = _View.of(probabilities, known, labels, label_names)
    count = len(view.read)
    if count < MIN_FACES or len(view.classes) < 2:
        return Plausibility(count, reason=_few(count) if count < MIN_FACES else "they are of one class", model=model)
    better = _best(view, _orders(labels, label_names, numbers), view.moved_by_order)
    better = better or _renaming(view, _present(numbers or {}, labels, label_names))
    reason = ""
    if better is None and view.excess({}) < view.least:
        reason = (
            f"a model agrees with {percent(view.agreement, digits=0)} of {count}, hardly more than by chance: the "
            "images look like photographs instead of faces, or the labels are not of expressions"
        )
    return Plausibility(count, view.agreement, better, reason, model=model)


def first_of_each(labels: NDArray[np.int64], label_names: Sequence[str]) -> NDArray[np.intp]:
    """The places of the first `QUICK_PER_CLASS` faces of each class: what `judge_quickly` needs."""
    return np.concatenate([np.flatnonzero(labels == label)[:QUICK_PER_CLASS] for label in range(len(label_names))])


def judge_quickly(
    probabilities: NDArray[np.float32],
    known: Sequence[str],
    labels: NDArray[np.int64],
    label_names: Sequence[str],
    *,
    numbers: Mapping[str, int] | None = None,
) -> Plausibility | None:
    """As `judge`, for a few faces and `QUICK_MODEL`: clears right labels; None where the full check is needed."""
    view = _View.of(probabilities, known, labels, label_names)
    if not view.clearly_right(_orders(labels, label_names, numbers)):
        return None
    return Plausibility(len(view.read), view.agreement, model=QUICK_MODEL)


# Other readings


def _present(numbers: Mapping[str, int], labels: NDArray[np.int64], label_names: Sequence[str]) -> dict[str, int]:
    present = {label_names[i] for i in np.unique(labels[labels >= 0]).tolist()}
    return {name: number for name, number in numbers.items() if name in present}


def _orders(
    labels: NDArray[np.int64], label_names: Sequence[str], numbers: Mapping[str, int] | None
) -> list[Candidate]:
    """The known orders that the labels may be in instead."""
    written = _present(numbers or {}, labels, label_names)
    present = _present(dict.fromkeys(label_names, 0), labels, label_names)
    return orders_of(written) if written else orders_mistaken(set(present))


def _renaming(view: _View, numbers: Mapping[str, int]) -> Better | None:
    """Two classes exchanged, or more names moved round where that agrees still better."""
    pairs = combinations([view.known[i] for i in view.classes], 2)
    swap = _best(view, [_renamed({a: b, b: a}, numbers) for a, b in pairs], view.swapped)
    moved = _best(view, _moved_round(view, numbers), view.moved_round)
    if swap and moved:
        return moved if moved.agreement > swap.agreement + _SIMPLER else swap
    return swap or moved


def _renamed(moves: Mapping[str, str], numbers: Mapping[str, int]) -> Candidate:
    if len(moves) == 2:
        what = f"{' and '.join(moves)} exchanged"
    else:
        what = f"other names ({', '.join(f'{new} for {old}' for old, new in moves.items())})"
    return Candidate(what, moves, label_choice(moves, numbers))


def _moved_round(view: _View, numbers: Mapping[str, int]) -> list[Candidate]:
    """The names in the order that agrees best."""
    shares = view.shares - view.shares.mean(0)
    ways = np.array(list(permutations(range(len(view.classes)))), np.int8)
    best = ways[shares[np.arange(ways.shape[1]), ways].sum(1).argmax()]
    names = [view.known[i] for i in view.classes]
    moves = {names[i]: names[j] for i, j in enumerate(best.tolist()) if i != j}
    return [_renamed(moves, numbers)] if moves else []


# Evidence


@dataclass(frozen=True, slots=True)
class _View:
    """A model's predictions, corrected for what it predicts too often.

    logs: float64 (N, K), logarithms of the probabilities less their mean over the sample, each class weighing the same.
    read: the labels, int (N,), indices into `known`. said: the class with the largest of `logs` among `classes`.
    classes: those that occur. shares: float64 (C, C), of class -> share of its faces that is predicted as each.
    """

    known: Sequence[str]
    logs: NDArray[np.float64]
    read: NDArray[np.int64]
    said: NDArray[np.int64]
    classes: list[int]
    shares: NDArray[np.float64]

    @classmethod
    def of(
        cls, probabilities: NDArray[np.float32], known: Sequence[str], labels: NDArray[np.int64], names: Sequence[str]
    ) -> _View:
        """labels: int64 (N,), indices into `names`; faces whose label is none of `known` are left out."""
        read = np.array([known.index(name) if name in known else -1 for name in names] + [-1])[labels]
        probabilities, read = probabilities[read >= 0], read[read >= 0]
        classes, counts = np.unique(read, return_counts=True)
        logs = np.log(probabilities.astype(np.float64) + _FLOOR)
        for_each = np.stack([logs[read == k].mean(0) for k in classes.tolist()]) if len(classes) else logs[:0]
        logs = logs - for_each.mean(0) if len(classes) else logs
        said = classes[logs[:, classes].argmax(1)] if len(classes) else read
        shares = np.zeros((len(classes), len(classes)))
        np.add.at(shares, (np.searchsorted(classes, read), np.searchsorted(classes, said)), 1)
        return cls(known, logs, read, said, classes.tolist(), shares / np.maximum(counts, 1)[:, None])

    @property
    def agreement(self) -> float:
        """The share of faces on which the model agrees with the labels."""
        return float((self.said == self.read).mean())

    @property
    def least(self) -> float:
        """The agreement beyond chance from which a model is taken to see anything of the labels."""
        count = len(self.classes)
        spread = sum((1 - 1 / count) / count / int((self.read == k).sum()) for k in self.classes)
        return max(_MIN_EXCESS, _SURE * math.sqrt(spread) / count)

    def moved(self, moves: Mapping[str, str]) -> NDArray[np.int64]:
        """The labels of another reading, int (N,), -1 for classes that the model lacks."""
        new = [moves.get(name, name) for name in self.known]
        table = np.array([self.known.index(name) if name in self.known else -1 for name in new])
        return table[self.read]

    def excess(self, moves: Mapping[str, str]) -> float:
        """The share of faces on which a reading agrees, less what it would by chance; each class weighs the same."""
        shares = self.shares - self.shares.mean(0)
        found = []
        for row, k in enumerate(self.classes):
            name = moves.get(self.known[k], self.known[k])
            column = self.known.index(name) if name in self.known else -1
            if column in self.classes:
                found.append(shares[row, self.classes.index(column)])
        return float(np.mean(found)) if found else 0.0

    def _won_and_lost(self, moves: Mapping[str, str]) -> tuple[int, int, int]:
        """Of the faces that another reading moves: on how many it agrees, on how many this one, and how many."""
        new = self.moved(moves)
        differ = (new != self.read) & (new >= 0)
        won, lost = int((self.said == new)[differ].sum()), int((self.said == self.read)[differ].sum())
        return won, lost, int(differ.sum())

    def moved_by_order(self, one: Candidate, tried: int) -> bool:
        """Whether an order agrees far better: on more of the faces it moves, beyond chance, and not by habit."""
        won, lost, count = self._won_and_lost(one.moves)
        return (
            (won - lost) / max(1, count) >= MIN_GAIN
            and self.excess(one.moves) - self.excess({}) >= MIN_GAIN / 2
            and self.excess(one.moves) >= self.least
            and sign_test(won, lost) * tried < ALPHA
        )

    def _towards(self, a: int, b: int) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """How much more like `b` than `a` the faces of each are; how often one of `a` is more so than one of `b`."""
        towards = self.logs[:, b] - self.logs[:, a]
        first, second = towards[self.read == a], towards[self.read == b]
        return first, second, float((first[:, None] > second).mean())

    def swapped(self, one: Candidate, tried: int) -> bool:
        """Whether two classes are each the other: by both, and by their faces in one line from one to the other."""
        a, b = (self.known.index(name) for name in one.moves)
        first, second, wins = self._towards(a, b)
        middle = (first.mean() + second.mean()) / 2
        n, m = len(first), len(second)
        z = (wins - 0.5) * math.sqrt(12 * n * m / (n + m + 1))
        each = min(float((first > middle).mean()), float((second < middle).mean()))
        probable = math.erfc(z / math.sqrt(2)) / 2 * tried < ALPHA
        return probable and each > 0.5 and wins >= 0.5 + MIN_GAIN and self.excess(one.moves) >= self.least

    def clearly_right(self, orders: Sequence[Candidate]) -> bool:
        """Whether nothing points away from the labels as they are read: no order, and no class towards any other.

        In every renaming, the faces of some class belong to another one, towards which they lie.
        """
        if len(self.read) < MIN_FACES or len(self.classes) < 2 or self.excess({}) < self.least:
            return False
        if any(self._towards(a, b)[2] > _AWAY for a, b in combinations(self.classes, 2)):
            return False
        found = (self._won_and_lost(one.moves) for one in orders)
        return all(won < lost for won, lost, count in found if count)

    def moved_round(self, one: Candidate, _tried: int) -> bool:
        """As for an order, of all that there are; and each class that moves must agree better."""
        for old, new in one.moves.items():
            row = self.classes.index(self.known.index(old))
            to = self.classes.index(self.known.index(new))
            if self.shares[row, to] <= self.shares[row, row]:
                return False
        return self.moved_by_order(one, math.factorial(len(self.classes)))


def _best(view: _View, candidates: Sequence[Candidate], far_better: _Test) -> Better | None:
    """The reading that agrees best of those that agree far better."""
    found = [one for one in candidates if far_better(one, len(candidates))]
    made = []
    for one in found:
        new = view.moved(one.moves)
        both = new >= 0
        after, before = float((view.said == new)[both].mean()), float((view.said == view.read)[both].mean())
        made.append(Better(one.what, after, before, one.labels))
    return max(made, key=lambda b: b.agreement - b.before, default=None)


def sign_test(won: int, lost: int) -> float:
    """How probable it is that a fair coin gives at least `won` of `won + lost`."""
    n = won + lost
    return sum(math.comb(n, k) for k in range(won, n + 1)) / 2**n if n else 1.0


def _few(count: int) -> str:
    return f"{count} labelled faces of known expressions; {MIN_FACES} are needed"
