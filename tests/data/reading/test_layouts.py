"""Whatever people have: folders in the ways they come, each read right or refused, and nothing lost."""

import json

import pytest

from made_layouts import counted, everywhere, put, read
from mien.data.readers import open_source
from mien.data.reading.layouts import READ
from mien.errors import DataError
from mien.labels import FER2013
from places import ROOT

SEVEN = list(FER2013)


def test_the_documentation_lists_the_layouts_that_are_read():
    table = (ROOT / "docs/data.md").read_text("utf-8").partition("| layout | recognised by |")[2]
    rows = table.partition("\n\n")[0].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == list(READ)


FOLDERS = {
    "expressions": (["happy/1.png", "sad/1.png"], {("", "happy"): 1, ("", "sad"): 1}),
    "own classes": (["engaged/1.png", "bored/1.png", "bored/2.png"], {("", "engaged"): 1, ("", "bored"): 2}),
    "pain": (["pain/1.png", "no_pain/1.png"], {("", "pain"): 1, ("", "no_pain"): 1}),
    "numbers": ([f"{i}/1.png" for i in range(7)], {("", str(i)): 1 for i in range(7)}),
    "numbers with splits": (["train/0/1.png", "train/1/1.png", "test/0/1.png"],
                            {("train", "0"): 1, ("train", "1"): 1, ("test", "0"): 1}),
    "prefixes": ([f"{i}_{name}/1.png" for i, name in enumerate(SEVEN)], {("", name): 1 for name in SEVEN}),
    "prefixes and splits": (["01_train/1. Angry/a.png", "02_test/4 - HAPPY/a.png"],
                            {("train", "angry"): 1, ("test", "happy"): 1}),
    "words around": (["happy_faces/1.png", "sad-face/1.png", "AngryImages/1.png"],
                     {("", "happy"): 1, ("", "sad"): 1, ("", "angry"): 1}),
    "Chinese": (["愤怒/1.png", "高兴/1.png"], {("", "angry"): 1, ("", "happy"): 1}),
    "French": (["colère/1.png", "joie/1.png", "peur/1.png"], {("", "angry"): 1, ("", "happy"): 1, ("", "fear"): 1}),
    "German": (["Freude/1.png", "Überraschung/1.png"], {("", "happy"): 1, ("", "surprise"): 1}),
    "upper case": (["TRAIN/HAPPY/1.PNG", "TEST/SAD/1.PNG"], {("train", "happy"): 1, ("test", "sad"): 1}),
    "train_set": (["train_set/happy/1.png", "train_set/sad/1.png", "val_set/happy/1.png"],
                  {("train", "happy"): 1, ("train", "sad"): 1, ("validation", "happy"): 1}),
    "Training Set": (["Training Set/happy/1.png", "Test Set/sad/1.png"],
                     {("train", "happy"): 1, ("test", "sad"): 1}),
    "FER2013Train": (["FER2013Train/happy/1.png", "FER2013Valid/sad/1.png", "FER2013Test/sad/1.png"],
                     {("train", "happy"): 1, ("validation", "sad"): 1, ("test", "sad"): 1}),
    "train, dev, holdout": (["train/zen/1.png", "train/zest/2.png", "dev/zen/1.png", "holdout/zest/1.png"],
                            {("train", "zen"): 1, ("train", "zest"): 1, ("validation", "zen"): 1, ("test", "zest"): 1}),
    "eval, tests": (["train/happy/1.png", "eval/happy/1.png", "tests/happy/1.png"],
                    {("train", "happy"): 1, ("validation", "happy"): 1, ("test", "happy"): 1}),
    "splits below classes": (["happy/train/1.png", "happy/test/1.png", "sad/train/1.png"],
                             {("train", "happy"): 1, ("test", "happy"): 1, ("train", "sad"): 1}),
    "people above classes": (["S01/happy/1.png", "S01/sad/1.png", "S02/happy/1.png", "S02/sad/1.png"],
                             {("", "happy"): 2, ("", "sad"): 2}),
    "people above own classes": (["S01/bored/1.png", "S01/awake/1.png", "S02/bored/1.png", "S02/awake/1.png"],
                                 {("", "bored"): 2, ("", "awake"): 2}),
    "people below classes": (["happy/S01/1.png", "happy/S02/1.png", "sad/S01/1.png", "sad/S02/1.png"],
                             {("", "happy"): 2, ("", "sad"): 2}),
    "people below splits": (["train/S01/happy/1.png", "train/S02/sad/1.png", "test/S03/happy/1.png"],
                            {("train", "happy"): 1, ("train", "sad"): 1, ("test", "happy"): 1}),
    "splits with more words": (["my_train_48x48/happy/1.png", "my_val_48x48/sad/1.png"],
                               {("train", "happy"): 1, ("validation", "sad"): 1}),
    "splits in Spanish": (["entrenamiento/happy/1.png", "prueba/sad/1.png"],
                          {("train", "happy"): 1, ("test", "sad"): 1}),
    "splits in Chinese": (["训练集/happy/1.png", "测试集/sad/1.png"], {("train", "happy"): 1, ("test", "sad"): 1}),
    "trainval": (["trainval/happy/1.png", "trainval/sad/1.png", "test/happy/1.png"],
                 {("train", "happy"): 1, ("train", "sad"): 1, ("test", "happy"): 1}),
    "split and class in one name": (["train_happy/1.png", "train_sad/1.png", "Test-Happy/1.png"],
                                    {("train", "happy"): 1, ("train", "sad"): 1, ("test", "happy"): 1}),
    "split and class below a split": (["train/train_happy/1.png", "train/train_sad/1.png", "test/happy_test/1.png"],
                                      {("train", "happy"): 1, ("train", "sad"): 1, ("test", "happy"): 1}),
    "short forms": ([f"{code}/1.png" for code in ("AN", "DI", "FE", "HA", "NE", "SA", "SU")],
                    {("", name): 1 for name in SEVEN}),
    "plurals and adverbs": (["Felices/1.png", "Tristes/1.png", "Sadly_angry/1.png", "not_happy/1.png"],
                            {("", "happy"): 1, ("", "sad"): 1, ("", "sadly_angry"): 1, ("", "not_happy"): 1}),
    "letters that keyboards lack": (["degout/1.png", "wuetend/1.png", "Colère/1.png".replace("Col", "triste_col")],
                                    {("", "disgust"): 1, ("", "angry"): 1, ("", "triste_colère"): 1}),
    "two levels above people": (["NI/Strong/P001/Anger/1.png", "VL/Strong/P001/Joy/1.png", "VL/Weak/P002/Joy/1.png"],
                                {("", "angry"): 1, ("", "happy"): 2}),
    "a class called none": (["none/1.png", "happy/1.png"], {("", "none"): 1, ("", "happy"): 1}),
    "images between": (["train/images/happy/1.png", "train/images/sad/1.png", "test/images/happy/1.png"],
                       {("train", "happy"): 1, ("train", "sad"): 1, ("test", "happy"): 1}),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS)
def test_folders(tmp_path, case):
    names, expected = FOLDERS[case]
    put(tmp_path / "set", *names)
    everywhere(tmp_path / "set", expected)


def test_people_in_folders_are_known(tmp_path):
    put(tmp_path, *(f"{who}/{name}/1.png" for who in ("S01", "S02") for name in ("happy", "sad")))
    chunk = next(open_source(tmp_path).chunks())
    assert sorted(chunk.columns["identity"].tolist()) == ["S01", "S01", "S02", "S02"]


def test_an_empty_class_folder_is_reported(tmp_path):
    put(tmp_path, "train/happy/1.png", "train/sad/1.png", "test/happy/1.png")
    (tmp_path / "test/sad").mkdir()
    found, problems, source = read(tmp_path)
    assert (len(found), problems) == (3, {})
    assert source.reading.notes == ("the class folder test/sad holds no images",)


def test_what_folders_mean_can_be_said(tmp_path):
    put(tmp_path, "a/0/1.png", "a/1/1.png", "extra/0/1.png")
    found, problems, _ = read(tmp_path, labels="bored,engaged", split_map="a=train,extra=test")
    assert counted(found) == {("train", "bored"): 1, ("train", "engaged"): 1, ("test", "bored"): 1}
    assert not problems
    with pytest.raises(DataError, match="no split 'b', which --split-map names; it has a"):
        read(tmp_path, split_map="a=train,b=test")
    with pytest.raises(DataError, match="expected pairs such as"):
        read(tmp_path, split_map="a=holdout")
    put(tmp_path / "two", "happy/1.png", "joy/1.png", "zen/1.png")
    with pytest.raises(DataError, match="both 'happy'; rename one"):
        read(tmp_path / "two")
    found, _, _ = read(tmp_path / "two", labels="joy=happy,happy=happy,zen=-")
    assert counted(found) == {("", "happy"): 2}


def test_files_are_images_by_their_content(tmp_path):
    put(
        tmp_path, *(f"happy/{name}" for name in ("1.png", "a.jpe", "b.jpg_large", "c", "d.dib", "e.pjpeg")), "sad/1.png"
    )
    (tmp_path / "happy/f.png").write_text("no image")
    (tmp_path / "happy/g.dat").write_bytes(b"\x00\x01\x02")
    found, problems, _ = read(tmp_path)
    assert counted(found) == {("", "happy"): 6, ("", "sad"): 1}
    assert set(problems) == {"happy/f.png", "happy/g.dat"}


def test_hidden_and_linked_files_stay_out(tmp_path):
    put(tmp_path, "happy/1.png", "sad/1.png", ".cache/2.png", "happy/.hidden.png")
    (tmp_path / "angry").symlink_to(tmp_path / "happy")
    found, problems, _ = read(tmp_path)
    assert set(found) == {"happy/1.png", "sad/1.png"}
    assert not problems


def test_lists_in_folders_of_splits_have_those_splits(tmp_path):
    put(tmp_path, "train/1.png", "train/2.png", "test/1.png")
    (tmp_path / "train/metadata.csv").write_text("file_name,label\n1.png,happy\n2.png,sad\n")
    (tmp_path / "test/metadata.csv").write_text("file_name,label\n1.png,sad\n")
    found, _, source = read(tmp_path)
    assert found == {"train/1.png": ("train", "happy"), "train/2.png": ("train", "sad"), "test/1.png": ("test", "sad")}
    assert source.reading.splits == {"train": "train", "test": "test"}


def test_a_list_above_folders_of_splits_has_the_splits_of_its_images(tmp_path):
    put(tmp_path, "train/1.png", "test/1.png")
    lines = [json.dumps({"file_name": f"{s}/1.png", "label": "sad"}) for s in ("train", "test")]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    found, _, _ = read(tmp_path)
    assert found == {"train/1.png": ("train", "sad"), "test/1.png": ("test", "sad")}


def test_a_label_that_the_user_leaves_out_is_a_problem_that_says_so(tmp_path):
    put(tmp_path, "happy/1.png", "old/1.png")
    _, problems, _ = read(tmp_path, labels="old=-")
    assert problems == {"old/1.png": "label 'old'; --labels leaves it out"}
