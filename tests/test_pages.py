"""Contact sheets and pages: any image, hostile texts, whole files."""

import base64
import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from mien.errors import OutputError
from mien.images import decode_image
from mien.pages import (
    Bars,
    Column,
    Lines,
    Mark,
    Matrix,
    Page,
    Series,
    Tile,
    contact_sheet,
    draw,
    figure_png,
    figure_text,
    new_figure,
    plain,
    png,
)
from mien.pages.charts import fitting_range, on_one_axis
from mien.pages.images import _caption_lines

HOSTILE = "<script>alert(1)</script> \"a\" & \x1b[31mred\x00 \u202egnp.exe\n'b'"


def grey(height, width, value=90):
    return np.full((height, width, 1), value, np.uint8)


def written(page, tmp_path):
    page.write(tmp_path / "page.html")
    return (tmp_path / "page.html").read_text("utf-8")


class Tags(HTMLParser):
    """What a browser makes of a page: every tag with its attributes, and that all are closed."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.texts = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def test_contact_sheet_takes_any_size_and_keeps_proportions_and_colours():
    red = np.zeros((10, 40, 3), np.uint8)
    red[..., 0] = 200
    sheet = contact_sheet([red, grey(300, 7), grey(1, 1), grey(48, 48)[..., 0]], tile=40, columns=3)
    assert sheet.shape == (4 + 2 * 44, 4 + 3 * 44, 3)
    assert sheet.dtype == np.uint8
    tile = sheet[4:44, 4:44]
    assert tile[20, 20].tolist() == [200, 0, 0]
    assert ((tile == (200, 0, 0)).all(2).sum(0) == 10).all()  # as wide as the tile, a quarter as high
    assert (tile[0] == 255).all()


def test_contact_sheet_of_fewer_images_than_columns_is_as_wide_as_they_are():
    assert contact_sheet([grey(5, 5)] * 2, tile=40, columns=12).shape == (48, 92, 3)
    assert contact_sheet([], tile=40).shape == (48, 48, 3)


def test_captions_are_drawn_below_their_image_and_never_across_the_next():
    plain_sheet = contact_sheet([grey(9, 9)] * 2, ["", "x"], tile=60)
    long = contact_sheet([grey(9, 9)] * 2, ["WWWWWWWW" * 20, "x"], tile=60)
    assert (long[:64] == 90).sum() == (plain_sheet[:64] == 90).sum()
    assert (long[64:, :64] < 200).any()
    assert contact_sheet([grey(9, 9)], ["happy 😀 \x1b[2J"], tile=60).shape[1] == 68
    with pytest.raises(ValueError, match="1 captions for 2 images"):
        contact_sheet([grey(9, 9)] * 2, ["a"])


def test_png_keeps_every_pixel():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert (decode_image(png(image), "a") == image).all()
    assert (decode_image(png(image[..., :1]), "a", grey=True) == image[..., :1]).all()


def test_hostile_texts_become_text(tmp_path):
    page = Page(HOSTILE, HOSTILE)
    page.section(HOSTILE, HOSTILE)
    page.section("second")
    page.table([HOSTILE], [[HOSTILE]], HOSTILE)
    page.gallery([grey(4, 4)], [HOSTILE])
    page.tiles([Tile(HOSTILE, HOSTILE, HOSTILE)])
    page.facts([(HOSTILE, HOSTILE)])
    page.links([(HOSTILE, HOSTILE)])
    page.chart(Bars(HOSTILE, HOSTILE, [HOSTILE], [Column(HOSTILE, [0.5], [HOSTILE])], HOSTILE, [HOSTILE]))
    page.chart(Matrix(HOSTILE, [HOSTILE], [HOSTILE], [[1.0]], [[HOSTILE]], HOSTILE, HOSTILE, links={(0, 0): "a"}))
    page.pairs([(grey(4, 4), grey(4, 4))], [HOSTILE], [(HOSTILE, HOSTILE)])
    page.behind("a", HOSTILE, [grey(4, 4)], [HOSTILE], [HOSTILE], page.anchor())
    text = written(page, tmp_path)
    tags = Tags(text)
    assert not tags.all("script")
    assert "\x1b" not in text and "\x00" not in text and "\u202e" not in text
    assert plain(HOSTILE) in tags.texts
    assert all(image["alt"] == plain(HOSTILE) for image in tags.all("img"))


def test_names_that_are_not_utf8_are_written_escaped(tmp_path):
    page = Page("a")
    page.text(os.fsdecode(b"face\xff.png"))
    assert "face\\udcff.png" in written(page, tmp_path)


def test_page_asks_for_nothing_and_every_image_is_inside(tmp_path):
    page = Page("a")
    page.gallery([grey(5, 9), np.zeros((900, 400, 3), np.uint8)], tile=64)
    tags = Tags(written(page, tmp_path))
    sizes = []
    for image in tags.all("img"):
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/png;base64"
        pixels = decode_image(base64.b64decode(data), "a")
        assert pixels.shape[:2] == (int(image["height"]), int(image["width"]))
        assert image["alt"]
        sizes.append(pixels.shape[:2])
    assert sizes == [(5, 9), (128, 57)]
    assert not tags.all("link") + tags.all("script")
    assert not re.search(r"https?://|url\(|@import", written(page, tmp_path))
    (policy,) = (m["content"] for m in tags.all("meta") if m.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_sections_of_one_name_have_anchors_of_their_own(tmp_path):
    page = Page("a")
    for title in ("Faces: happy", "faces happy", "笑顔", "Faces: happy"):
        page.section(title, "text")
    page.section("empty")  # leaves no hole
    tags = Tags(written(page, tmp_path))
    anchors = [section["id"] for section in tags.all("section")]
    assert anchors == ["faces-happy", "faces-happy-2", "section", "faces-happy-3"]
    assert [a["href"] for a in tags.all("a")][:4] == [f"#{a}" for a in anchors]


def test_columns_of_numbers_stand_right(tmp_path):
    page = Page("a")
    page.table(
        ["name", "count", "share", "mixed", "ok"],
        [["a", 12345, 0.123456, 3, True], ["b", np.int64(7), float("nan"), "x", None], ["7", 1, "12 %", 2, False]],
    )
    tags = Tags(written(page, tmp_path))
    assert [th.get("class") for th in tags.all("th")] == [None, "n", "n", None, None]
    assert {"12,345", "0.1235", "–", "12 %", "yes", "no"} <= set(tags.texts)
    with pytest.raises(ValueError, match="1 cells below 2 headings"):
        page.table(["a", "b"], [["only one"]])


def test_write_leaves_nothing_where_it_fails(tmp_path):
    (tmp_path / "old.html").mkdir()
    for place in (tmp_path / "old.html", tmp_path / "none" / "page.html"):
        with pytest.raises(OutputError):
            Page("a").write(place)
    assert [p.name for p in tmp_path.iterdir()] == ["old.html"]


def test_figures_take_any_label():
    figure = new_figure(3, 2)
    figure.subplots().bar([figure_text(n) for n in ("a$b$", r"$\frac$", "笑顔", HOSTILE)], [1, 2, 3, 4])
    assert decode_image(figure_png(figure), "a").shape == (260, 390, 3)


def test_a_chart_is_drawn_twice_from_the_same_data(tmp_path):
    line = Series("a$b", [0.1, None, 0.9], "#3c55c8", low=[0.0, None, 0.8], high=[0.2, None, 1.0], marked=2)
    lines = Lines("t", [1, 2, 3], [line, Series("b", [1, 2, 3], "#3c55c8", "bars")], "epoch", "y", [Mark("m", x=2)])
    column = Column("c", [0.2, None], ["20", "–"], [0.1, None], [1.4, None], range=(0, 1.5))
    bars = Bars("t", "class", ["x", "y"], [column])
    matrix = Matrix("t", ["x"], ["p", "q"], [[0.1, 0.9]], [["1", "9"]])
    page = Page("a")
    page.section("one")
    page.chart([lines, bars, matrix], "all")
    page.write_figures(tmp_path / "figures")
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == ["all.pdf", "all.png", "all.svg"]
    tags = Tags(written(page, tmp_path))
    (plot,) = (div for div in tags.all("div") if "data-chart" in div)
    shown = json.loads(plot["data-chart"])
    assert shown["series"][0]["values"] == [0.1, None, 0.9] and shown["whole"] and shown["marks"][0]["x"] == 2
    spans = [i["style"] for i in tags.all("i") if i.get("class") == "span"]
    assert spans == ["left:6.67%;width:86.66%"]  # the whole interval
    axes = draw(lines).axes[0]
    assert axes.get_xlabel() == "epoch" and np.isnan(axes.lines[0].get_ydata()[1])
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_ranges_and_axes_have_every_value():
    assert fitting_range([0.52, None], [0.61]) == pytest.approx((0.5, 0.65))
    assert fitting_range([]) == (0.0, 1.0)
    places, (steep,) = on_one_axis([(np.array([0, 0, 0.5]), np.array([0, 0.4, 1.0]))], points=3)
    assert places == [0, 0.5, 1] and steep == [0.4, 1.0, None]


def test_captions_keep_the_ends_of_long_words():
    assert _caption_lines("surprise fer2013-train.parquet:12891", 96) == ["surprise", "fer2…uet:12891"]
    assert _caption_lines("10 out disgust validation", 96) == ["10 out disgust", "validation"]
    assert _caption_lines("грустный 10 out of 20, or so many words that three lines do not hold them", 60)[2][-1] == "…"
