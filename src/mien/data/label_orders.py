"""Other ways to read the labels of a data set: published orders of the numbers, and names made of the wrong order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mien.labels import ORDERS


@dataclass(frozen=True, slots=True)
class Candidate:
    """Another reading. moves: class name -> the name it would have; classes that keep theirs may be left out."""

    what: str
    moves: Mapping[str, str]
    labels: str


def orders_of(numbers: Mapping[str, int]) -> list[Candidate]:
    """Every known order, counted from 0 or from 1, of the numbers that classes are written as; each way once."""
    found: dict[tuple[str, ...], Candidate] = {}
    # Of two orders that say the same the one with no more numbers than there are comes first.
    for key in sorted(ORDERS, key=lambda key: len(ORDERS[key][1])):
        title, names, usual = ORDERS[key]
        for first in (usual, 1 - usual):
            if not set(numbers.values()) <= set(range(first, first + len(names))):
                continue
            moves = {name: names[number - first] for name, number in numbers.items()}
            if first == usual:
                made = Candidate(title, moves, key)
            else:
                made = Candidate(f"{title} counted from {first}", moves, label_choice(moves, numbers))
            if any(old != new for old, new in moves.items()):
                found.setdefault(tuple(moves.values()), made)
    return list(found.values())


def orders_mistaken(present: set[str]) -> list[Candidate]:
    """What names would be, if they were made of numbers in one known order that are in another; each way once."""
    found: dict[tuple[str, ...], Candidate] = {}
    for title, names, first in ORDERS.values():
        if present <= set(names):
            numbers = {name: first + names.index(name) for name in sorted(present)}
            for one in orders_of(numbers):
                made = Candidate(f"{one.what} instead of {title}", one.moves, label_choice(one.moves, {}))
                found.setdefault(tuple(one.moves.values()), made)
    return list(found.values())


def label_choice(moves: Mapping[str, str], numbers: Mapping[str, int]) -> str:
    """The value of --labels: of all numbers, or where labels are names of those that change."""
    if numbers:
        return ",".join(
            f"{number}={moves.get(name, name)}" for name, number in sorted(numbers.items(), key=lambda n: n[1])
        )
    return ",".join(f"{old}={new}" for old, new in moves.items() if old != new)
