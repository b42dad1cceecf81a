"""What an interpreter or a notebook shows of a result: one line that says what it is, not its arrays."""

from __future__ import annotations

import mien
from mien.data.toy import write_toy_folders
from places import ASTRONAUT


def one_line(thing):
    text = repr(thing)
    assert str(thing) == text
    assert "\n" not in text and len(text) < 250
    return text


def test_data_models_and_their_figures_are_one_line(tmp_path):
    write_toy_folders(tmp_path / "toy", train=14, validation=7, test=0)
    data = mien.load_dataset(tmp_path / "toy")
    said = one_line(data)
    assert said.startswith(f"Dataset({str(tmp_path / 'toy')!r}, 21 images: train 14, validation 7; labels angry, ")
    assert "1 images: train 1;" in one_line(data["train"][:1])
    assert "21 images; flagged: " in one_line(mien.audit(data, suspects=False))
    assert one_line(mien.load_model("mien-nano")).endswith(", surprise, neutral, contempt)")
    measured = one_line(mien.evaluate("mien-nano", data=data, split="validation", truth="label"))
    assert measured.startswith("Evaluation('mien-nano', 7 images by label: accuracy ")
    assert one_line(mien.list_recipes()[0]).startswith("Recipe('distill', network='resnet'")


def test_what_is_seen_in_images_is_one_line():
    assert one_line(mien.explain("mien-nano", ASTRONAUT)) == "Explanation('mien-nano', occlusion: happy)"
    (face,) = mien.Recognizer("mien-nano", details=True).predict(ASTRONAUT)
    assert one_line(face.details).endswith(", pitch 9, roll 3)")
    with mien.watch(ASTRONAUT.parent, model="mien-nano") as watch:
        assert one_line(watch) == f"Watch({str(ASTRONAUT.parent)!r}, returned=0)"
