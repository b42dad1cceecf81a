"""From what people name to images: folders by content, addresses, and lists on standard input."""

from __future__ import annotations

import base64
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.errors import ImageError
from mien.media.addresses import NamedImage, read_source, resolve, source_name
from mien.media.sources import SkippedFiles, expand_sources, read_listing

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))


def encoded(format_name: str) -> bytes:
    file = io.BytesIO()
    IMAGE.save(file, format_name)
    return file.getvalue()


JPEG = encoded("JPEG")
URL = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images under odd names, and files that are none."""
    place = tmp_path / "photos"
    place.mkdir()
    for name in ("a.jpg_large", "b", "c.jpeg!d", "d.txt"):
        (place / name).write_bytes(JPEG)
    (place / "e.avifs").write_bytes(encoded("AVIF"))
    (place / "broken.heic").write_bytes(b"not one")
    (place / "f.jxl").write_bytes(b"\xff\x0a" + bytes(40))
    (place / ".hidden").write_bytes(JPEG)
    (place / "movie.mjpeg").write_bytes(JPEG)
    (place / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(40))
    (place / "notes.md").write_text("notes")
    (place / "list.csv").write_text("a,b\n")
    (place / "more.zip").write_bytes(b"PK\x03\x04" + bytes(40))
    (place / "thumbs.db").write_bytes(bytes(range(256)))
    (place / "nothing").write_bytes(b"")
    (place / "gone").symlink_to(place / "nowhere")
    os.mkfifo(place / "pipe")
    return place


def test_content_decides_in_folders_and_the_rest_is_counted(folder: Path) -> None:
    skipped = SkippedFiles()
    found = [path.name for path in expand_sources([folder], skipped=skipped) if isinstance(path, Path)]
    assert found == ["a.jpg_large", "b", "broken.heic", "c.jpeg!d", "d.txt", "e.avifs", "f.jxl"]
    assert skipped.counts == {
        "video": 2, "text": 2, "ZIP": 1, "unknown": 1, "empty": 1, "broken link": 1, "no regular file": 1,
    }  # fmt: skip
    assert skipped.line() == (
        "9 files were skipped: 2 videos (use mien watch), 2 text, 1 broken link: gone, 1 ZIP, 1 empty: nothing, "
        "1 no regular file, 1 unknown: thumbs.db"
    )


def test_a_folder_without_images_says_what_is_in_it(folder: Path) -> None:
    for path in [*folder.glob("[a-f]*"), folder / "movie.mjpeg"]:
        path.unlink()
    with pytest.raises(ImageError, match=r"no images in this folder \(2 text, "):
        expand_sources([folder])


def test_known_suffixes_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    monkeypatch.setattr(Path, "open", None)
    assert list(expand_sources([tmp_path])) == [tmp_path / "a.jpg"]


def test_outputs_are_no_sources(folder: Path) -> None:
    (folder / "out").mkdir()
    shutil.copy(folder / "b", folder / "out" / "b")
    skipped = SkippedFiles()
    found = list(expand_sources([folder], exclude=[folder / "out", folder / "list.csv"], skipped=skipped))
    assert len(found) == 7
    assert skipped.counts["text"] == 1


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "file://localhost{}", "FILE://{}"])
def test_file_urls(form: str, tmp_path: Path) -> None:
    place = tmp_path / "a b#1%.jpg"
    place.write_bytes(JPEG)
    url = form.format(str(place).replace("%", "%25").replace(" ", "%20"))
    assert resolve(url) == place
    assert list(expand_sources([url])) == [place]
    assert source_name(url) == str(place)
    assert read_source(url).shape == (40, 60, 3)


def test_a_file_url_of_a_folder_is_the_folder(folder: Path) -> None:
    assert len(list(expand_sources([f"file://{folder}"]))) == 7


@pytest.mark.parametrize(
    "url", ["file:///C:/a/b.jpg", "file://C:/a/b.jpg", "file:///C|/a/b.jpg", "file:///C:\\a\\b.jpg"]
)
def test_windows_drives_in_file_urls(url: str) -> None:
    assert str(resolve(url)) == "C:/a/b.jpg"


def test_a_file_on_another_machine() -> None:
    with pytest.raises(ImageError, match="another machine"):
        resolve("file://server/share/a.jpg")


@pytest.mark.parametrize(
    "url",
    [URL, URL.rstrip("="), URL.replace("+", "-").replace("/", "_").replace("image_", "image/"), URL.replace("+", "%2B"),
     URL.upper()[:23].replace("DATA", "Data") + URL[23:], URL[:60] + "\n " + URL[60:],
     "data:;base64," + URL.partition(",")[2], URL.replace(";base64", ";charset=utf-8;base64")],
)  # fmt: skip
def test_data_urls_as_people_have_them(url: str) -> None:
    assert read_source(url).shape == (40, 60, 3)
    assert list(expand_sources([url])) == [url]


@pytest.mark.parametrize(
    ("url", "reason"),
    [(URL[:200] + "@@" + URL[200:], "not valid base64"), (URL.partition(",")[0], "no comma"),
     ("data:text/plain;base64,aGVsbG8=", "not an image"), ("data:,hello", "not an image"), ("data:,", "is empty")],
)  # fmt: skip
def test_no_message_repeats_a_data_url(url: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        read_source(url)
    assert str(caught.value).startswith("data URL (")
    assert len(str(caught.value)) < 200
    assert str(caught.value).startswith(f"{source_name(url)}: ")


def test_a_data_url_is_called_by_its_type_and_size() -> None:
    assert source_name("data:image/png;base64," + "A" * 32_000) == "data URL (image/png, 24 kB)"


@pytest.mark.parametrize(
    ("source", "reason"),
    [("http://host/a.jpg?key=1", "--shards OUT"), ("https://host/a.jpg", "download the image first"),
     ("s3://bucket/a.jpg", "--shards OUT"), ("rtsp://camera/1", "mien watch rtsp://camera/1"), ("0", "mien watch 0"),
     ("/dev/video3", "mien watch 3")],
)  # fmt: skip
def test_what_is_not_read_here_says_what_to_do(source: str, reason: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (resolve, lambda s: list(expand_sources([s]))):
        with pytest.raises(ImageError, match=reason) as caught:
            call(source)
        assert str(caught.value).startswith(f"{source}: ")


def test_files_with_names_like_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("0", "12:30.jpg", "data.jpg"):
        Path(name).write_bytes(JPEG)
        assert read_source(name).shape == (40, 60, 3)
        assert list(expand_sources([name])) == [Path(name)]
    Path("2024").mkdir()
    Path("2024", "a").write_bytes(JPEG)
    assert list(expand_sources(["2024"])) == [Path("2024", "a")]


def test_base64_in_place_of_a_path_is_not_repeated() -> None:
    text = base64.b64encode(bytes(9000)).decode()
    with pytest.raises(ImageError, match="too long for a path") as caught:
        read_source(text)
    assert len(str(caught.value)) < 300
    assert len(source_name(text)) < 200


LINES = ["a b.jpg", "grüße/ü.png", "https://host/c.jpg"]


@pytest.mark.parametrize(
    "data",
    ["\n".join(LINES).encode(), "\r\n".join(LINES).encode(), "\n".join(LINES).encode("utf-8-sig"),
     "\r\n".join(LINES).encode("utf-16"), "\n".join(LINES).encode("utf-16-le"), "\n".join(LINES).encode("utf-16-be"),
     "\0".join(LINES).encode() + b"\0", "\n".join(f'"{line}"' for line in LINES).encode(),
     "\n".join(f"'{line}' " for line in LINES).encode()],
)  # fmt: skip
def test_lists_of_every_encoding(data: bytes) -> None:
    assert list(read_listing(io.BytesIO(data))) == LINES


def test_quotes_that_belong_to_a_name_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('"a"').touch()
    assert list(read_listing(io.BytesIO(b'"a"\n"b"\n'))) == ['"a"', "b"]


def test_bytes_that_are_no_text_stay_what_they_are() -> None:
    assert [os.fsencode(str(line)) for line in read_listing(io.BytesIO(b"a\xff.jpg\n"))] == [b"a\xff.jpg"]


def test_an_image_on_standard_input() -> None:
    (found,) = expand_sources(["-"], listing=io.BytesIO(JPEG))
    assert found == NamedImage("standard input", JPEG)
    assert read_source(found).shape == (40, 60, 3)


@pytest.mark.parametrize(("data", "what"), [(b"%PDF-1.4", "a PDF"), (b"\x1a\x45\xdf\xa3" + bytes(9), "a video")])
def test_neither_a_list_nor_an_image(data: bytes, what: str) -> None:
    with pytest.raises(ImageError, match=f"standard input: is {what}; expected a list"):
        list(read_listing(io.BytesIO(data)))
