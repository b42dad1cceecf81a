"""Expression names: the only place that knows their order, other data sets' spellings, colours and emoji.

Names say how a face *appears to human raters*, not what a person feels.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from mien.errors import DataError


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression: its name in mien, an RGB colour for drawings, and an emoji for text."""

    name: str
    color_rgb: tuple[int, int, int]
    emoji: str


EXPRESSIONS: dict[str, Expression] = {
    e.name: e
    for e in (
        Expression("angry", (214, 61, 57), "😠"),
        Expression("disgust", (104, 142, 38), "🤢"),
        Expression("fear", (130, 86, 178), "😨"),
        Expression("happy", (240, 180, 20), "😀"),
        Expression("sad", (52, 120, 200), "😢"),
        Expression("surprise", (235, 120, 30), "😲"),
        Expression("neutral", (120, 130, 140), "😐"),
        Expression("contempt", (170, 110, 80), "😏"),
    )
}

FER2013: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The seven labels of FER2013, in the data set's order: its label number is the index."""

EIGHT: tuple[str, ...] = (*FER2013, "contempt")
"""The eight expressions of FER+, in FER2013's order with contempt last."""

FERPLUS_VOTES: tuple[str | None, ...] = (
    "neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt", None, None,
)  # fmt: skip
"""What each column of FER+'s votes stands for; None: unknown and not-a-face, which are no expressions."""

ORDERS: dict[str, tuple[str, tuple[str, ...], int]] = {
    "fer2013": ("FER2013's order", FER2013, 0),
    "ckextended": ("FER2013's order with 7 for contempt, as CK+ extended has it", EIGHT, 0),
    "raf-db": ("RAF-DB's order", ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"), 1),
    "affectnet": (
        "AffectNet's order", ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt"), 0,
    ),
    "affectnet-7": (
        "AffectNet's order without contempt", ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry"), 0,
    ),
    "ferplus": (
        "FER+'s order", ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt"), 0,
    ),
    "ck+": ("CK+'s order", ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise"), 0),
}  # fmt: skip
"""The numbers that published data sets use: key -> (title, names in the order of the numbers, the first number)."""

_SPELLINGS: dict[str, str] = {
    spelling: name
    for name, spellings in {
        "angry": (
            "anger angriness wut ärger wütend verärgert colère colere fâché enojo enojado enfado "
            "enfadado ira rabia rabbia arrabbiato raiva zangado boos woede гнев злость злой 愤怒 生气 "
            "憤怒 生氣 怒り 분노 화남 kızgın öfke öfkeli غضب marah"
        ),
        "disgust": (
            "disgusted ekel angeekelt dégoût degout asco disgusto disgustato nojo walging отвращение "
            "厌恶 恶心 厭惡 嫌悪 혐오 iğrenme tiksinme اشمئزاز jijik"
        ),
        "fear": (
            "fearful afraid scared angst ängstlich furcht peur miedo temor paura impaurito medo bang "
            "страх 恐惧 害怕 恐懼 恐れ 恐怖 두려움 공포 korku korkmuş خوف takut"
        ),
        "happy": (
            "happiness joy joyful freude glücklich fröhlich joie heureux alegría alegria feliz "
            "felicidad felicidade gioia felice felicità blij радость счастье 高兴 开心 快乐 高興 開心 "
            "快樂 喜び 幸せ 행복 기쁨 mutlu mutluluk سعادة senang"
        ),
        "sad": (
            "sadness trauer traurig traurigkeit triste tristesse tristeza tristezza verdrietig "
            "verdriet грусть печаль 悲伤 难过 伤心 悲傷 難過 傷心 悲しみ 슬픔 üzgün üzüntü حزن sedih"
        ),
        "surprise": (
            "surprised suprise suprised surprize überraschung überrascht surpris sorpresa sorprendido "
            "sorpreso surpresa verrast verrassing удивление 惊讶 吃惊 惊喜 驚訝 驚き 놀람 şaşkın "
            "şaşkınlık مفاجأة terkejut"
        ),
        "neutral": (
            "neutrality neutre neutro neutrale neutraal нейтральный нейтрально 中性 中立 無表情 중립 "
            "무표정 nötr محايد netral"
        ),
        "contempt": (
            "contemptuous verachtung mépris mepris desprecio disprezzo desprezo minachting презрение "
            "蔑视 轻蔑 蔑視 軽蔑 경멸"
        ),
    }.items()
    for spelling in spellings.split()
}  # fmt: skip

_FILLER = frozenset(
    {"face", "faces", "facial", "emotion", "emotions", "expression", "expressions", "img", "imgs", "image", "images"}
    | {"pic", "pics", "photo", "photos", "class", "label"}
)
"""Words in a folder's name that say nothing of the expression."""

_WORDS = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

_OTHER_COLORS = ((0, 150, 136), (233, 30, 99), (63, 81, 181), (121, 85, 72))


def canonical(name: str) -> str:
    """mien's spelling of an expression name: `Happiness`, `3_happy`, `happy faces`, `Freude` -> `happy`.

    Names that it does not know come back in lower case.
    """
    plain = unicodedata.normalize("NFC", name).strip().lower()
    if plain in EXPRESSIONS:
        return plain
    if plain in _SPELLINGS:
        return _SPELLINGS[plain]
    words = [word for word in _WORDS.findall(_CAMEL.sub(" ", name).lower()) if word not in _FILLER]
    bare = words[0] if len(words) == 1 else ""
    bare = _SPELLINGS.get(bare, bare)
    return bare if bare in EXPRESSIONS else plain


def canonical_all(names: Sequence[str], source: str) -> tuple[str, ...]:
    """`canonical` for a whole list of labels. Raises DataError where two of them mean the same expression."""
    mapped = tuple(canonical(n) for n in names)
    for i, name in enumerate(mapped):
        if name in mapped[:i]:
            first = names[mapped.index(name)]
            raise DataError(f"{source}: '{first}' and '{names[i]}' are both '{name}'; rename or merge one of them")
    return mapped


def color_rgb(name: str) -> tuple[int, int, int]:
    """The colour of an expression, red first, 0-255; labels that mien does not know get a steady one of their own."""
    known = EXPRESSIONS.get(name)
    return known.color_rgb if known else _OTHER_COLORS[sum(name.encode()) % len(_OTHER_COLORS)]


def emoji(name: str) -> str:
    """The emoji of an expression, or an empty string for labels that mien does not know."""
    known = EXPRESSIONS.get(name)
    return known.emoji if known else ""
