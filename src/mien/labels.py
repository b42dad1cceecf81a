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
    """One expression: its name, an RGB colour with a contrast of 3 on light and dark pages, and an emoji for text."""

    name: str
    color_rgb: tuple[int, int, int]
    emoji: str


EXPRESSIONS: dict[str, Expression] = {
    e.name: e
    for e in (
        Expression("angry", (214, 61, 57), "😠"),
        Expression("disgust", (104, 142, 38), "🤢"),
        Expression("fear", (142, 100, 196), "😨"),
        Expression("happy", (186, 135, 0), "😀"),
        Expression("sad", (52, 120, 200), "😢"),
        Expression("surprise", (224, 104, 20), "😲"),
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
    "aff-wild2": (
        "Aff-Wild2's order", ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprise"), 0,
    ),
    "ck+": ("CK+'s order", ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise"), 0),
}  # fmt: skip
"""The numbers that published data sets use: key -> (title, names in the order of the numbers, the first number)."""

_SPELLINGS: dict[str, str] = {
    spelling: name
    for name, spellings in {
        "angry": (
            "angery "
            "anger angriness angrily furious rage wut ärger wütend verärgert zorn colère fâché fâchée enojo "
            "enojado enojada enojados enfado enfadado enfadada ira rabia rabbia arrabbiato arrabbiata raiva zangado "
            "boos woede ilska sint sinne vred vrede zły złość гнев злость злой злость гнів злість θυμός düh "
            "furios supărat 愤怒 生气 憤怒 生氣 怒 怒り 분노 화남 화난 kızgın öfke öfkeli غضب غاضب خشم marah giận "
            "गुस्सा क्रोध โกรธ כעס"
        ),
        "disgust": (
            "disguested disguist "
            "disgusted disgusting disgustedly ekel angeekelt dégoût dégoûté asco disgusto disgustato nojo walging "
            "avsky äckel avsmak odraza wstręt obrzydzenie отвращение відраза αηδία undor dezgust 厌恶 恶心 厭惡 嫌悪 "
            "혐오 iğrenme tiksinme اشمئزاز نفرت jijik घृणा รังเกียจ"
        ),
        "fear": (
            "fearfull "
            "fearful fearfully fearfulness afraid scared frightened terrified angst ängstlich furcht peur effrayé "
            "miedo temor paura impaurito medo bang rädd rädsla redd frygt strach страх страх φόβος félelem frică "
            "恐惧 害怕 恐懼 恐れ 恐怖 두려움 공포 korku korkmuş خوف ترس takut sợ डर กลัว פחד"
        ),
        "happy": (
            "happyness hapy "
            "happiness happily joy joyful freude glücklich fröhlich glück joie heureux heureuse "
            "alegría alegre feliz felices felicidad felicidade gioia felice felicità blij glad gledje glede glæde "
            "radość szczęśliwy szczęście радость счастье радість щастя χαρά boldog öröm fericit 高兴 开心 快乐 高興 "
            "開心 快樂 喜悦 喜び 喜悅 嬉しい 幸せ 행복 기쁨 행복한 mutlu mutluluk سعادة سعيد شادی senang bahagia vui "
            "खुश खुशी ดีใจ มีความสุข שמחה שמח"
        ),
        "sad": (
            "sadnes "
            "sadness sadly trauer traurig traurigkeit triste tristes tristesse tristeza tristezza verdrietig verdriet "
            "ledsen sorg trist smutek smutny smutna грусть печаль грустный сум λύπη szomorú szomorúság trist 悲伤 难过 "
            "伤心 悲傷 難過 傷心 悲しみ 悲しい 슬픔 슬픈 üzgün üzüntü حزن حزين غم sedih buồn उदास दुखी เศร้า עצב עצוב"
        ),
        "surprise": (
            "surprized "
            "surprised suprise suprised surprize surprising surprisedly überraschung überrascht surpris sorpresa "
            "sorprendido sorprendida sorpreso surpresa surpreso verrast verrassing förvånad överraskad overrasket "
            "zaskoczony zdziwiony zaskoczenie удивление подив здивування έκπληξη meglepett meglepetés surpriză 惊讶 "
            "吃惊 惊喜 驚訝 驚喜 驚き 놀람 놀란 şaşkın şaşkınlık مفاجأة تعجب terkejut ngạc आश्चर्य ประหลาดใจ הפתעה"
        ),
        "neutral": (
            "netural nuetral "
            "neutrality natural neutre neutro neutra neutrale neutraal нейтральный нейтрально neutralny nøytral "
            "ουδέτερο semleges neutru 中性 中立 無表情 无表情 중립 무표정 nötr محايد خنثی netral तटस्थ เฉยๆ ניטרלי"
        ),
        "contempt": (
            "contemptuous contemptuously verachtung verächtlich mépris desprecio disprezzo desprezo minachting forakt "
            "förakt pogarda презрение зневага 蔑视 轻蔑 蔑視 軽蔑 경멸 멸시"
        ),
    }.items()
    for spelling in spellings.split()
}

_SPELLINGS |= {e.emoji: e.name for e in EXPRESSIONS.values()}

_FILLER = frozenset(
    {"face", "faces", "facial", "emotion", "emotions", "expression", "expressions", "img", "imgs", "image", "images"}
    | {"pic", "pics", "photo", "photos", "class", "label", "person", "people", "of", "the", "dataset", "data", "set"}
    | {"cropped", "crop", "crops", "aligned", "augmented", "aug", "resized", "hd", "v", "new", "folder", "looking"}
)
"""Words in a folder's name that say nothing of the expression."""

_WORDS = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def _bare(word: str) -> str:
    """A word without what keyboards lack: `Dégoût`, `degout` and `wütend`, `wuetend` are one each."""
    for umlaut, letters in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss")):
        word = word.replace(umlaut, letters)
    marks = "".join(c for c in unicodedata.normalize("NFD", word) if not "\u0300" <= c <= "\u036f")
    return unicodedata.normalize("NFC", marks.replace("ł", "l").replace("ø", "o").replace("æ", "ae"))


_BARE: dict[str, str] = {_bare(spelling): name for spelling, name in _SPELLINGS.items()}

_OTHER_COLORS = ((0, 150, 136), (233, 30, 99), (63, 81, 181), (121, 85, 72))


def canonical(name: str) -> str:
    """mien's spelling of an expression name: `Happiness`, `3_happy`, `B_happy`, `happy faces`, `Freude` -> `happy`.

    Names that it does not know come back in lower case.
    """
    plain = unicodedata.normalize("NFC", name).strip().lower()
    if plain in EXPRESSIONS:
        return plain
    words = [word for word in _WORDS.findall(_CAMEL.sub(" ", name).lower()) if word not in _FILLER]
    words = [word for word in words if len(word) > 1 or not word.isascii()]  # A_neutral, B_happy: a numbering
    for word in (plain, words[0] if len(words) == 1 else ""):
        found = word if word in EXPRESSIONS else _SPELLINGS.get(word) or _BARE.get(_bare(word))
        if found:
            return found
    return plain


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
