"""The words of the project: docs/style.md lists the banned ones, and nothing that people read uses them."""

import re
from fnmatch import fnmatch

import pytest

from places import ROOT

STYLE = ROOT / "docs/style.md"
KINDS = {".py", ".toml", ".html", ".js", ".css", ".md", ".sh", ".ipynb"}
FOLDERS = ("src/mien", "docs", "scripts", "examples", "deploy")
SINGLE = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md")
SINGLE += ("pyproject.toml", "mkdocs.yml", "noxfile.py")
READ = (
    *sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.suffix in KINDS and p != STYLE),
    *(ROOT / name for name in SINGLE),
)
BETWEEN_WORDS = r"""[\s"'#]+"""  # a phrase may continue on the next line of a comment or string


def table(title):
    """The rows of the table under a heading of docs/style.md, as lists of cells."""
    section = STYLE.read_text("utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows[1:]]


def banned():
    """Banned word -> what to say instead."""
    return {word.strip(): say for say, words, _ in table("Words") for word in words.split(",")}


def allowed():
    """(glob of paths, text) for names that are not ours."""
    return [(where, text.strip()) for where, texts, _ in table("Words of others") for text in texts.split(",")]


def pattern_of(word):
    """Matches whole words in any case, in parts of identifiers too; a word in backticks exactly."""
    if word.startswith("`"):
        return re.compile(rf"(?<![A-Za-z]){re.escape(word.strip('`'))}(?![a-z])")
    spaced = BETWEEN_WORDS.join(re.escape(part) for part in word.split())
    capital = re.escape(word.split()[0].capitalize()) if " " not in word else "(?!)"
    return re.compile(rf"(?:(?<![A-Za-z])(?i:{spaced})|(?<=[a-z]){capital})(?![a-z])")


def places_of(word, name, text):
    """(line number, line) of each match in a file, but those inside names that are not ours."""
    spared = [
        match.span()
        for where, other in allowed()
        if fnmatch(name, where)
        for match in re.finditer(re.escape(other), text)
    ]
    for match in pattern_of(word).finditer(text):
        if not any(start <= match.start() and match.end() <= end for start, end in spared):
            number = text.count("\n", 0, match.start()) + 1
            yield number, text.splitlines()[number - 1].strip()


@pytest.mark.parametrize("word", banned())
def test_banned_words_are_not_used(word):
    places = [
        f"{path.relative_to(ROOT)}:{number}: {line[:100]}"
        for path in READ
        for number, line in places_of(word, path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
    ]
    assert not places, f"say '{banned()[word]}':\n" + "\n".join(places[:20])


@pytest.mark.parametrize("word", banned())
def test_banned_words_are_not_in_file_names(word):
    assert [p for p in READ if pattern_of(word).search(p.relative_to(ROOT).as_posix())] == []


@pytest.mark.parametrize(("where", "text"), allowed())
def test_every_allowed_name_is_still_used(where, text):
    assert any(pattern_of(word).search(text) for word in banned()), f"{text}: has no banned word; remove it"
    found = [p for p in ROOT.glob(where) if text in p.read_text("utf-8")]
    assert found, f"{where}: no longer has {text}; remove it from docs/style.md"


@pytest.mark.parametrize(
    ("word", "text", "found"),
    [
        ("picture", "A Picture of it", True),
        ("picture", "on_picture = 1", True),
        ("picture", "class PictureError:", True),
        ("picture", "myPicture", True),
        ("picture", "picturesque", False),
        ("go on with", "runs can\n    # go on\n    # with it", True),
        ("go on with", "'they go '\n    'on with it'", True),
        ("`Seen`", "class Seen:", True),
        ("`Seen`", "frames that were seen", False),
    ],
)
def test_what_counts_as_a_use_of_a_word(word, text, found):
    assert bool(list(places_of(word, "nowhere.py", text))) is found


def test_shares_are_written_in_one_form():
    """As `41.8 %`: the format of Python writes `41.8%`."""
    reading = ROOT / "src" / "mien" / "data" / "reading"
    sources = [path for path in (ROOT / "src" / "mien").rglob("*.py") if reading not in path.parents]
    found = [str(path) for path in sources if re.search(r":\.\d%\}", path.read_text("utf-8"))]
    assert found == []
