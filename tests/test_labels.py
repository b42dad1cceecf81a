"""Expression names and their maps."""

import pytest

from mien.errors import DataError
from mien.labels import EIGHT, EXPRESSIONS, FER2013, FERPLUS_VOTES, canonical, canonical_all, color_rgb, emoji


def test_orders():
    assert ",".join(FER2013) == "angry,disgust,fear,happy,sad,surprise,neutral"
    assert ",".join(EIGHT) == "angry,disgust,fear,happy,sad,surprise,neutral,contempt"
    assert {v for v in FERPLUS_VOTES if v} == set(EIGHT)
    assert FERPLUS_VOTES[8:] == (None, None)


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("Anger", "angry"),
        ("HAPPINESS", "happy"),
        (" sadness ", "sad"),
        ("Surprised", "surprise"),
        ("bored", "bored"),
        ("B_happy", "happy"),
        ("disguested", "disgust"),
        ("😀", "happy"),
        ("x", "x"),
    ],
)
def test_spellings(spelled, name):
    assert canonical(spelled) == name


def test_two_names_for_one_expression_are_refused():
    with pytest.raises(DataError, match="'Anger' and 'angry' are both 'angry'"):
        canonical_all(["Anger", "happy", "angry"], "set")


def test_every_expression_has_its_own_colour_and_emoji():
    assert len({e.color_rgb for e in EXPRESSIONS.values()}) == len(EIGHT)
    assert len({e.emoji for e in EXPRESSIONS.values()}) == len(EIGHT)
    assert color_rgb("bored") == color_rgb("bored")
    assert emoji("bored") == ""
