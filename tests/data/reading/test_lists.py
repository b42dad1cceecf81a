"""Lists of images in the ways they come, and what numbers in them mean: read right or refused, and nothing lost."""

import json
import unicodedata

import numpy as np
import pytest

from made_layouts import counted, everywhere, png, put, read, write_list
from mien.data.importing import plan_import
from mien.errors import DataError
from mien.labels import FER2013

SEVEN = list(FER2013)


PAIRS = {("", "happy"): 1, ("", "sad"): 1, ("", "angry"): 1}
LISTS = {
    "image,label": ("list.csv", "image,label\na.png,happy\nb.png,sad\nimg/c.png,Anger\n"),
    "image_name": ("list.csv", "image_name,label\na.png,happy\nb.png,sad\nimg/c.png,angry\n"),
    "pth": ("labels.csv", ",pth,label,relFCs\n0,a.png,happy,0.5\n1,b.png,sad,0.7\n2,img/c.png,angry,0.1\n"),
    "Image Path": ("l.csv", "Image Path,Emotion\na.png,happy\nb.png,sad\nimg/c.png,angry\n"),
    "semicolons": ("l.csv", "path;label\na.png;happy\nb.png;sad\nimg/c.png;angry\n"),
    "tabs": ("l.tsv", "file\texpression\na.png\thappy\nb.png\tsad\nimg/c.png\tangry\n"),
    "bars": ("l.txt", "file|class\na.png|happy\nb.png|sad\nimg/c.png|angry\n"),
    "blanks": ("train_list.lst", "a.png happy\nb.png sad\nimg/c.png angry\n"),
    "no header": ("l.csv", "a.png,happy\nb.png,sad\nimg/c.png,angry\n"),
    "no header, label first": ("l.csv", "happy,a.png\nsad,b.png\nangry,img/c.png\n"),
    "number,exp": ("l.csv", "number,exp\na,happy\nb,sad\nc,angry\n"),
    "JSON lines": ("metadata.jsonl", '{"file_name": "a.png", "label": "happy"}\n'
                   '{"file_name": "b.png", "label": "sad"}\n'
                   '{"file_name": "img/c.png", "label": "angry"}\n'),
    "JSON": ("l.json", json.dumps([{"image": "a.png", "emotion": "happy"}, {"image": "b.png", "emotion": "sad"},
                                   {"image": "c.png", "emotion": "angry"}])),
    "Windows": ("l.csv", "image,label\n.\\a.png,happy\nb.png,sad\nimg\\c.png,angry\n"),
    "absolute": ("l.csv", "image,label\n/home/me/set/a.png,happy\nC:\\data\\b.png,sad\nD:\\x\\img\\c.png,angry\n"),
    "quotes": ("l.csv", '"image","label"\n"a.png","happy"\n"b.png","sad"\n"img/c.png","angry"\n'),
    "unknown titles": ("l.csv", "Bild;Klasse;Wert\na.png;Freude;0,5\nb.png;Trauer;0,1\nimg/c.png;Wut;0,2\n"),
    "names and numbers": ("l.csv", "image,label,emotion\na.png,4,happy\nb.png,0,sad\nimg/c.png,1,angry\n"),
    "a JSON object": ("l.json", json.dumps({"a.png": "happy", "b.png": "sad", "img/c.png": "angry"}, indent=1)),
    "Excel": ("l.csv", "sep=;\r\nBild;Klasse;Wert\r\na.png;Freude;0,5\r\nb.png;Trauer;1\r\nimg/c.png;Wut;0\r\n"),
    "titles above": ("l.csv", "# by me\nFaces of 2020\n\nimage,label\na.png,happy\nb.png,sad\nimg/c.png,angry\n"),
    "colons": ("l.txt", "a.png: happy\nb.png: sad\nimg/c.png: angry\n"),
    "no suffix": ("labels", "a.png,happy\nb.png,sad\nimg/c.png,angry\n"),
    "single quotes": ("l.csv", "'image','label'\n'a.png','happy'\n'b.png','sad'\n'img/c.png','angry'\n"),
    "numbered, no header": ("l.csv", "0,a.png,happy\n1,b.png,sad\n2,img/c.png,angry\n"),
    "addresses": ("l.csv", "image,label\nhttps://x.y/a.png?v=1,happy\ns3://b/b.png,sad\nfile:///h/img/c.png,angry\n"),
    "from a folder above": ("l.csv", "image,label\na.png,happy\nb.png,sad\nfaces/all/img/c.png,angry\n"),
    "numbers that names explain": ("l.csv", "image,label,feeling\na.png,6,happy\nb.png,0,sad\nimg/c.png,3,angry\n"),
    "other words for label": ("l.csv", "image,expression_label,age\na.png,happy,3\nb.png,sad,4\nimg/c.png,angry,5\n"),
    "yes and no": ("l.csv", "image,angry,happy,sad,hat\na.png,False,True,False,True\nb.png,False,False,True,True\n"
                   "img/c.png,True,False,False,False\n"),
    "marks": ("l.csv", "image,angry,happy,sad\na.png,,x,\nb.png,,,x\nimg/c.png,x,,\n"),
    "emoji": ("l.csv", "image,label\na.png,😀\nb.png,😢\nimg/c.png,😠\n"),
    "JSON pairs of a key": ("dataset.json", json.dumps({"labels": [["a.png", "happy"], ["b.png", "sad"],
                                                                    ["img/c.png", "angry"]]})),
    "a list in a cell": ("l.csv", "image;label\na.png;['happy']\nb.png;['sad']\nimg/c.png;['angry']\n"),
    "JSON, wrapped": ("l.json", json.dumps({"version": 1, "data": [{"image": "a.png", "label": "happy"},
                      {"image": "b.png", "label": "sad"}, {"image": "img/c.png", "label": "angry"}]})),
    "JSON of objects": ("l.json", json.dumps({"a.png": {"emotion": "happy", "age": 3}, "b.png": {"emotion": "sad"},
                                              "img/c.png": {"emotion": "angry"}})),
    "JSON by class": ("l.json", json.dumps({"happy": ["a.png"], "sad": ["b.png"], "angry": ["img/c.png"]})),
    "JSON pairs": ("l.json", json.dumps([["a.png", "happy"], ["b.png", "sad"], ["img/c.png", "angry"]])),
    "JSON columns": ("l.json", json.dumps({"image": ["a.png", "b.png", "img/c.png"],
                                           "label": ["happy", "sad", "angry"]})),
    "pandas columns": ("l.json", json.dumps({"image": {"0": "a.png", "1": "b.png", "2": "img/c.png"},
                                             "label": {"0": "happy", "1": "sad", "2": "angry"}})),
    "pandas split": ("l.json", json.dumps({"columns": ["image", "label"], "index": [0, 1, 2],
                                           "data": [["a.png", "happy"], ["b.png", "sad"], ["img/c.png", "angry"]]})),
    "JSON labels in objects": ("l.json", json.dumps([{"image": "a.png", "label": {"name": "happy", "id": 3}},
                               {"image": "b.png", "label": {"name": "sad", "id": 4}},
                               {"image": "img/c.png", "label": {"name": "angry", "id": 0}}])),
    "SageMaker": ("output.manifest", "\n".join(
        json.dumps({"source-ref": f"s3://b/{n}", "emotion": i, "emotion-metadata": {"class-name": e, "confidence": 1}})
        for n, i, e in (("a.png", 1, "happy"), ("b.png", 2, "sad"), ("img/c.png", 0, "angry")))),
    "one-hot": ("_classes.csv", "filename, angry, happy, sad\na.png,0,1,0\nb.png,0,0,1\nimg/c.png,1,0,0\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", LISTS)
def test_lists(tmp_path, case):
    name, text = LISTS[case]
    root = tmp_path / "set"
    put(root, "a.png", "b.png", "img/c.png")
    write_list(root, text, name)
    expected = {("train", k): n for (_, k), n in PAIRS.items()} if name.startswith("train") else PAIRS
    everywhere(root, expected)


BOXED = {
    "TensorFlow": ("filename,width,height,class,xmin,ymin,xmax,ymax", "{0},9,9,{1},1,2,4,6"),
    "corners": ("label,image,x1,y1,x2,y2", "{1},{0},1,2,4,6"),
    "sizes": ("image_path,bbox_x,bbox_y,bbox_w,bbox_h,emotion", "{0},1,2,3,4,{1}"),
    "sides": ("Name;Left;Top;Right;Bottom;Emotion", "{0};1,0;2,0;4,0;6,0;{1}"),
    "shares": ("ImageID,LabelName,XMin,XMax,YMin,YMax", "{0},{1},0.125,0.5,0.25,0.75"),
    "regions": ("file_name,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,label", "{0},1,2,3,4,{1}"),
    "points too": ("image,label,x1,y1,x2,y2,x3,y3,left,top,width,height", "{0},{1},0,0,9,9,5,5,1,2,3,4"),
}


@pytest.mark.parametrize("case", BOXED)
def test_lists_of_boxes(tmp_path, case):
    titles, row = BOXED[case]
    put(tmp_path, "a.png", "b.png")
    write_list(tmp_path, "\n".join([titles, row.format("a.png", "happy"), row.format("b.png", "sad")]))
    found, problems, source = read(tmp_path)
    assert (found, problems) == ({"a.png": ("", "happy"), "b.png": ("", "sad")}, {})
    (chunk,) = source.chunks()
    assert chunk.columns["box"].tolist() == [[1, 2, 4, 6]] * 2
    assert {image.shape[:2] for image in chunk.images} == {(8, 8)}  # one face: the whole image


def test_an_image_without_a_box_or_with_that_of_another_image_is_kept_whole(tmp_path):
    put(tmp_path, "a.png", "b.png")
    write_list(tmp_path, "image,x1,y1,x2,y2,label\na.png,100,90,180,190,happy\nb.png,nan,nan,nan,nan,sad\n")
    found, problems, source = read(tmp_path)
    assert (found, problems) == ({"a.png": ("", "happy"), "b.png": ("", "sad")}, {})
    (chunk,) = source.chunks()
    assert np.isnan(chunk.columns["box"]).all()


def test_each_face_of_an_image_is_cut_out_at_its_box(tmp_path):
    put(tmp_path, "a.png", "b.png")
    rows = ["a.png,1,1,4,5,happy", "a.png,4,2,8,8,sad", "b.png,0,0,8,8,sad", "b.png,0,0,8,8,happy", "a.png,1,x,4,5,sad"]
    write_list(tmp_path, "\n".join(["image,xmin,ymin,xmax,ymax,label", *rows]))
    found, problems, source = read(tmp_path)
    assert found == {"a.png#1": ("", "happy"), "a.png#2": ("", "sad")}
    assert [image.shape[:2] for chunk in source.chunks() for image in chunk.images] == [(4, 3), (6, 4)]
    assert problems == {
        "b.png": "has the labels 'sad' and 'happy'", "list.csv:6": "its box is 1, x, 4, 5; expected four numbers"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('image,label,bbox\na.png,happy,"[1, 2, 4, 6]"\nb.png,sad,\n', "bbox"),
        ("a.png,1,2,4,6,happy\nb.png,1,2,4,6,sad\n", "column_2, column_3, column_4, column_5"),
    ],
)
def test_a_word_on_columns_that_may_be_boxes(tmp_path, text, named):
    put(tmp_path, "a.png", "b.png")
    write_list(tmp_path, text)
    found, _, source = read(tmp_path)
    assert found == {"a.png": ("", "happy"), "b.png": ("", "sad")}
    assert any(note.startswith(f"{named}: boxes? They are kept") for note in source.reading.notes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(("end", "form"), [("\n", "NFC"), ("\r\n", "NFD")])
def test_encodings_of_lists(tmp_path, encoding, end, form):
    put(tmp_path / "set", unicodedata.normalize(form, "ä.png"), "b.png")
    text = "image,label\nä.png,happy\nb.png,sad\n".replace("\n", end)
    write_list(tmp_path / "set", text, encoding=encoding)
    everywhere(tmp_path / "set", {("", "happy"): 1, ("", "sad"): 1})


def test_a_list_in_another_encoding_is_refused(tmp_path):
    put(tmp_path, "a.png")
    write_list(tmp_path, "image,label\na.png,fröhlich\n", encoding="latin-1")
    with pytest.raises(DataError, match="not UTF-8"):
        read(tmp_path / "list.csv")


CLASS_FILES = {
    "classes.txt": "sad\nhappy\nangry\n",
    "labels.txt": "0: sad\n1: happy\n2: angry\n",
    "label_map.json": json.dumps({"0": "sad", "1": "happy", "2": "angry"}),
    "class_to_idx.json": json.dumps({"sad": 0, "happy": 1, "angry": 2}),
    "my_meanings.json": json.dumps({"sad": 0, "happy": 1, "angry": 2}),
    "config.json": json.dumps({"architectures": ["ViT"], "id2label": {"0": "sad", "1": "happy", "2": "angry"}}),
    "classes.csv": "id,name\n0,sad\n1,happy\n2,angry\n",
    "data.yaml": "train: train\nnames: [sad, happy, angry]\n",
    "dataset.yml": "path: .\nnames:\n  0: sad\n  1: happy\n  2: angry\n",
}


@pytest.mark.parametrize("file", CLASS_FILES)
@pytest.mark.parametrize("kind", ["list", "folders", "pixels"])
def test_a_file_of_class_names_explains_numbers(tmp_path, file, kind):
    root = tmp_path / "set"
    numbers = {"a.png": 1, "b.png": 0, "img/c.png": 2}
    put(root, *(f"{n}/x.png" if kind == "folders" else name for name, n in numbers.items() if kind != "pixels"))
    lines = {"list": "image,label\n" + "".join(f"{name},{n}\n" for name, n in numbers.items()),
             "pixels": "label,pixels\n" + "".join(f"{n},1 2 3 4\n" for n in numbers.values())}  # fmt: skip
    if kind in lines:
        write_list(root, lines[kind])
    write_list(root, CLASS_FILES[file], file)
    found, problems, source = read(root)
    assert counted(found) == PAIRS
    assert not problems
    assert source.reading.labels.said == (f"0 sad, 1 happy, 2 angry (named in {file})",)


def test_numbers_beside_other_names_are_no_names_of_classes(tmp_path):
    put(tmp_path, *(f"{number}/{number}{letter}.png" for number in range(3) for letter in "ab"))
    write_list(tmp_path, json.dumps({"width": 0, "height": 1, "depth": 2}), "sizes.json")
    write_list(tmp_path, "sad\nhappy\nangry\n", "notes.txt")
    _, problems, source = read(tmp_path)
    assert source.reading.labels.names == ("0", "1", "2")
    assert {where.rpartition("/")[2] for where in problems} == {"sizes.json", "notes.txt"}


def test_files_of_class_names_that_differ_are_refused(tmp_path):
    put(tmp_path, "a.png")
    write_list(tmp_path, "image,label\na.png,0\n")
    write_list(tmp_path, "sad\nhappy\n", "classes.txt")
    write_list(tmp_path, "happy\nsad\n", "labels.txt")
    with pytest.raises(DataError, match=r"classes.txt and labels.txt name the numbers differently"):
        read(tmp_path)


def test_names_in_deeper_folders_say_nothing_of_one_file(tmp_path):
    put(tmp_path, "a.png", "b.png")
    write_list(tmp_path, "image,label\na.png,0\nb.png,1\n")
    write_list(tmp_path / "other", "sad\nhappy\n", "classes.txt")
    with pytest.raises(DataError, match="nothing says what they mean"):
        read(tmp_path / "list.csv")


def test_names_without_a_suffix_are_looked_for_below_their_list_first(tmp_path):
    for split, first, second in (("train", "happy", "sad"), ("test", "sad", "angry")):
        put(tmp_path, f"{split}/images/0.png", f"{split}/images/1.png")
        write_list(tmp_path / split, f"id,label\n0,{first}\n1,{second}\n", "labels.csv")
    found, problems, _ = read(tmp_path)
    assert counted(found) == {
        ("train", "happy"): 1, ("train", "sad"): 1, ("test", "sad"): 1, ("test", "angry"): 1
    }  # fmt: skip
    assert not problems


def test_several_labels_in_a_cell_are_problems(tmp_path):
    put(tmp_path, "a.png", "b.png", "c.png", "d.png")
    write_list(tmp_path, "image;label\na.png;happy\nb.png;happy,sad\nc.png;['happy', 'bored']\nd.png;[\"bored\"]\n")
    found, problems, _ = read(tmp_path)
    assert found == {"a.png": ("", "happy"), "d.png": ("", "bored")}
    assert problems["list.csv:3"] == "'happy,sad' are several labels; expected one"


def test_votes_and_scores_are_no_labels(tmp_path):
    put(tmp_path, "a.png", "b.png")
    write_list(tmp_path, "image,angry,happy,sad\na.png,0.1,0.8,0.1\nb.png,0.7,0.2,0.1\n")
    with pytest.raises(DataError, match="its columns angry, happy, sad hold votes or scores, not one class"):
        read(tmp_path / "list.csv")
    assert "hold votes or scores" in read(tmp_path)[1]["list.csv"]


def test_lists_of_predictions_label_nothing(tmp_path):
    put(tmp_path, "a.png", "b.png")
    write_list(tmp_path, "image,label\na.png,happy\n", "labels.csv")
    write_list(tmp_path, "image,label\na.png,sad\nb.png,sad\n", "sample_submission.csv")
    found, problems, _ = read(tmp_path)
    assert found == {"a.png": ("", "happy")}
    assert "holds predictions" in problems["sample_submission.csv"]


def test_lines_that_contradict_each_other_are_problems(tmp_path):
    put(tmp_path, "a.png", "b.png")
    write_list(tmp_path, "image,label\na.png,happy\na.png,sad\nb.png,sad\n")
    found, problems, _ = read(tmp_path)
    assert found == {"b.png": ("", "sad")}
    assert problems == {"a.png": "has the labels 'happy' and 'sad'"}


def test_a_first_row_of_data_is_no_header(tmp_path):
    put(tmp_path, "b.png", "c.png")
    for first in ("gone.png,angry", "gone,angry", "7,happy", "b.png,class"):
        write_list(tmp_path, f"{first}\nb,happy\nc,sad\n")
        _, problems, source = read(tmp_path)
        assert source.total - len(source.unused) == 3, first
        assert any(name in ("list.csv:1", "b.png") for name in problems), first


def test_a_name_that_contradicts_its_number_is_a_problem(tmp_path):
    put(tmp_path, *(f"{i}.png" for i in range(60)))
    lines = [f"{i}.png,{i % 2},{'happy' if i % 2 or i == 50 else 'sad'}\n" for i in range(60)]
    write_list(tmp_path, "image,label,called\n" + "".join(lines))
    found, problems, _ = read(tmp_path)
    assert (len(found), problems["list.csv:52"]) == (59, "'happy' here, and 'sad' where the number is 0 too")


def test_what_a_program_predicted_explains_no_numbers(tmp_path):
    put(tmp_path, *(f"{i}.png" for i in range(3)))
    write_list(tmp_path, "image,label,predicted\n0.png,0,happy\n1.png,1,sad\n2.png,2,angry\n")
    with pytest.raises(DataError, match="nothing says what they mean"):
        read(tmp_path)


def test_delimiters_in_the_texts_of_a_column(tmp_path):
    put(tmp_path, "a.png", "b.png")
    write_list(tmp_path, "image;label;note\na.png;happy;so, so, so, so\nb.png;sad;no, no, no, no\n")
    assert counted(read(tmp_path)[0]) == {("", "happy"): 1, ("", "sad"): 1}


def test_names_with_blanks_in_a_list_of_blanks(tmp_path):
    put(tmp_path, "my face.png", "b.png")
    write_list(tmp_path, "my face.png happy\nb.png sad\n", "list.txt")
    assert counted(read(tmp_path / "list.txt")[0]) == {("", "happy"): 1, ("", "sad"): 1}


def test_images_in_a_folder_of_a_split_beside_classes_are_problems(tmp_path):
    put(tmp_path, "happy/1.png", "sad/1.png", "test/1.png", "images/1.png")
    found, problems, _ = read(tmp_path)
    assert counted(found) == {("", "happy"): 1, ("", "sad"): 1}
    assert set(problems) == {"test/1.png", "images/1.png"}


def test_a_folder_of_another_class_in_a_class_folder_is_left_out(tmp_path):
    put(tmp_path, "happy/1.png", "happy/sad/2.png", "sad/3.png")
    found, problems, source = read(tmp_path)
    assert (len(found), list(problems)) == (2, ["happy/sad/2.png"])
    assert "happy/sad lies in the folder of another class; its images are left out" in source.reading.notes


def test_lists_of_splits_beside_class_folders(tmp_path):
    put(tmp_path, "happy/1.png", "sad/1.png")
    write_list(tmp_path, "happy/1.png\nhappy/9.png\n", "train.txt")
    write_list(tmp_path, "sad/1.png\n", "test.txt")
    found, problems, source = read(tmp_path)
    assert counted(found) == {("train", "happy"): 1, ("test", "sad"): 1}
    assert not problems
    assert "train.txt: 1 lines name no image of the set" in source.reading.notes


def test_raf_db_counted_from_0_is_refused(tmp_path):
    put(tmp_path, *(f"train_0000{i}_aligned.jpg" for i in range(1, 8)))
    write_list(tmp_path, "image,label\n" + "".join(f"train_0000{i}_aligned.jpg,{i - 1}\n" for i in range(1, 8)))
    with pytest.raises(DataError, match=r"RAF-DB's order has 1 to 7: counted from 0\? Say it:  --labels 0=surprise"):
        read(tmp_path)


def test_what_is_packed_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "faces.dat").write_bytes(b"PAR1 and so on")
    with pytest.raises(DataError, match=r"holds a Parquet file \(faces.dat\) and no images; end its name in .parquet"):
        read(tmp_path)


def test_splits_of_lists(tmp_path):
    put(tmp_path / "column", "a.png", "b.png", "c.png")
    write_list(tmp_path / "column", "image,label,set\na.png,happy,train\nb.png,sad,Testing\nc.png,sad,later\n")
    found, problems, _ = read(tmp_path / "column")
    assert counted(found) == {("train", "happy"): 1, ("test", "sad"): 1}
    assert "'later' is no split" in problems["list.csv:4"]
    found, problems, _ = read(tmp_path / "column", split_map="later=validation")
    assert found["c.png"] == ("validation", "sad")
    put(tmp_path / "files", "images/a.png", "images/b.png")
    for split, line in (("train", "images/a.png happy"), ("test", "images/b.png sad")):
        write_list(tmp_path / "files", line + "\n", f"{split}.txt")
    everywhere(tmp_path / "files", {("train", "happy"): 1, ("test", "sad"): 1})


def test_columns_and_root_can_be_said(tmp_path):
    put(tmp_path / "elsewhere", "deep/a.png", "deep/b.png")
    write_list(tmp_path / "set", "what,who,when\nx,deep/a.png,happy\ny,deep/b.png,sad\n")
    with pytest.raises(DataError, match=r"its columns are what, who, when; .*--image-column and --label-column"):
        read(tmp_path / "set/list.csv")
    options = {"image_column": "who", "label_column": "when", "root": tmp_path / "elsewhere"}
    found, _, _ = read(tmp_path / "set/list.csv", **options)
    assert found == {"deep/a.png": ("", "happy"), "deep/b.png": ("", "sad")}
    found, _, _ = read(tmp_path / "set/list.csv", **options | {"image_column": "2", "label_column": "3"})
    assert len(found) == 2
    with pytest.raises(DataError, match="no column 'whom'; it has what, who, when"):
        read(tmp_path / "set/list.csv", **options | {"image_column": "whom"})
    with pytest.raises(DataError, match="no such folder"):
        read(tmp_path / "set/list.csv", root=tmp_path / "nowhere")


def test_a_list_without_the_column_that_the_user_names_is_passed_over(tmp_path):
    put(tmp_path, "a.png", "b.png")
    write_list(tmp_path, "image,what\na.png,bored\nb.png,awake\n")
    write_list(tmp_path, "a,b\n1,2\n", "other.csv")
    found, problems, _ = read(tmp_path, label_column="what")
    assert counted(found) == {("", "bored"): 1, ("", "awake"): 1}
    assert "no column 'what'" in problems["other.csv"]


def test_columns_of_a_set_that_has_none_are_refused(tmp_path):
    put(tmp_path, "happy/a.png", "sad/b.png")
    with pytest.raises(DataError, match="is read as class folders without splits; --image-column, --label-column and"):
        read(tmp_path, label_column="what")


def test_a_plan_of_nothing_is_refused(tmp_path):
    put(tmp_path, "happy/a.png", "sad/b.png")
    for place in tmp_path.glob("*/*.png"):
        place.write_bytes(b"")
    with pytest.raises(DataError, match=r"no sample can be read of 2; first: happy/a.png: is empty"):
        plan_import(tmp_path, check=False)


def test_images_that_no_line_names_are_told(tmp_path):
    put(tmp_path, "a.png", "b.png")
    write_list(tmp_path, "image,label\na.png,happy\n")
    found, problems, _ = read(tmp_path)
    assert found == {"a.png": ("", "happy")}
    assert problems == {"b.png": "is not named in list.csv"}


def test_several_lists_of_the_same_images(tmp_path):
    put(tmp_path, "a.png", "b.png", "c.png")
    write_list(tmp_path, "image,label\na.png,happy\nb.png,sad\nc.png,sad\n", "all.csv")
    write_list(tmp_path, "image,label,age\na.png,happy,30\n", "train.csv")
    write_list(tmp_path, "image,label\nb.png,sad\nc.png,happy\n", "test.csv")
    found, problems, source = read(tmp_path)
    assert found == {"a.png": ("train", "happy"), "b.png": ("test", "sad"), "c.png": ("test", "happy")}
    assert problems == {"c.png": "'sad' here and 'happy' in another line"}
    assert "2 lines name an image again, with the same label" in source.reading.notes


def test_a_list_without_known_labels_is_named(tmp_path):
    put(tmp_path, "a.png", "b.png")
    write_list(tmp_path, "image,valence\na.png,0.1\nb.png,0.2\n")
    found, problems, source = read(tmp_path)
    assert (len(found), list(problems)) == (2, ["list.csv"])
    assert any("list.csv names images, but none of its columns (image, valence)" in n for n in source.reading.notes)


def test_paths_that_more_than_one_image_could_be(tmp_path):
    put(tmp_path, "x/1.png", "y/1.png")
    write_list(tmp_path, "image,label\n1.png,happy\nx/1.png,sad\n")
    found, problems, _ = read(tmp_path)
    assert found == {"x/1.png": ("", "sad")}
    assert "'1.png': may be x/1.png or y/1.png; write the path" in problems["list.csv:2"]


# Numbers


@pytest.mark.parametrize("form", [str, lambda i: f"{i}.0", lambda i: f" {i}"])
@pytest.mark.parametrize("kind", ["list", "pixels", "JSON"])
def test_numbers_mean_the_same_in_every_container(tmp_path, form, kind):
    put(tmp_path, *(f"{i}.png" for i in range(7)))
    lines = {
        "list": ("l.csv", "image,label\n" + "".join(f"{i}.png,{form(i)}\n" for i in range(7))),
        "pixels": ("l.csv", "emotion,pixels,Usage\n" + "".join(f"{form(i)},1 2 3 4,Training\n" for i in range(7))),
        "JSON": ("l.jsonl", "".join(json.dumps({"image": f"{i}.png", "label": form(i)}) + "\n" for i in range(7))),
    }
    name, text = lines[kind]
    write_list(tmp_path, text, name)
    found, _, source = read(tmp_path / name)
    assert [label for _, label in found.values()] == SEVEN
    assert source.reading.labels.assumed == "fer2013"
    assert "FER2013's order; not stated in the file" in source.reading.labels.said[0]


@pytest.mark.parametrize("numbers", [range(1, 8), range(8), [0, 1], [0, 3, 6], [2], range(10), range(100, 107)])
def test_numbers_that_nothing_explains_are_refused(tmp_path, numbers):
    put(tmp_path, *(f"{i}.png" for i in numbers))
    write_list(tmp_path, "image,label\n" + "".join(f"{i}.png,{i}\n" for i in numbers))
    with pytest.raises(DataError, match=r"nothing says what they mean; name them with .*--labels") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_numbers_beside_valence_and_arousal_are_not_taken_for_those_of_fer2013(tmp_path):
    put(tmp_path, *(f"{i}.png" for i in range(7)))
    write_list(tmp_path, "image,expression,valence,arousal\n" + "".join(f"{i}.png,{i},0.1,-0.2\n" for i in range(7)))
    with pytest.raises(DataError, match="--labels aff-wild2"):
        read(tmp_path)
    assert read(tmp_path, labels="affectnet-7")[0]["0.png"] == ("", "neutral")


def test_numbers_can_be_named(tmp_path):
    put(tmp_path, *(f"{i}.png" for i in range(1, 8)))
    write_list(tmp_path, "image,label\n" + "".join(f"{i}.png,{i}\n" for i in range(1, 8)))
    raf = ["surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"]
    (tmp_path.parent / "map.toml").write_text("[labels]\n" + "".join(f'{i} = "{n}"\n' for i, n in enumerate(raf, 1)))
    (tmp_path.parent / "map.csv").write_text("".join(f"{i},{n}\n" for i, n in enumerate(raf, 1)))
    for given in ("raf-db", ",".join(raf), ",".join(f"{i}={n}" for i, n in enumerate(raf, 1)),
                  str(tmp_path.parent / "map.toml"), str(tmp_path.parent / "map.csv")):  # fmt: skip
        found, _, source = read(tmp_path, labels=given)
        assert [found[f"{i}.png"][1] for i in range(1, 8)] == raf
        assert not source.reading.labels.assumed
    with pytest.raises(DataError, match="has 3 names; the labels are 1 to 7"):
        read(tmp_path, labels="happy,sad,zen")
    with pytest.raises(DataError, match="names no class for the number 3"):
        read(tmp_path, labels="1=happy,2=sad")


def test_raf_db_is_told_by_the_names_of_its_images(tmp_path):
    put(tmp_path, *(f"{s}_0000{i}_aligned.jpg" for s in ("train", "test") for i in range(1, 8)))
    lines = [f"{s}_0000{i}_aligned.jpg,{i}\n" for s in ("train", "test") for i in range(1, 8)]
    write_list(tmp_path, "image,label\n" + "".join(lines))
    found, _, _ = read(tmp_path)
    assert found["train_00001_aligned.jpg"] == ("train", "surprise")
    assert found["test_00007_aligned.jpg"] == ("test", "neutral")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "l.csv",
            "id,label\n7,happy\n8,sad\n",
            "has labels, but names no image that is here; its columns are id, label",
        ),
        ("l.csv", "Bild;Gefühl\na.png;happy\nb.png;sad\n", "not UTF-8 text"),
        ("l.json", '{"items": [{"id": "a", "annotations": [1]}]}', "holds no labels of a form that mien reads"),
        ("l.xml", "<set><face name='a'/></set>", "holds no labels of a form that mien reads"),
    ],
)
def test_why_a_list_beside_images_is_not_read(tmp_path, name, text, says):
    put(tmp_path, "a.png", "b.png")
    write_list(tmp_path, text, name, encoding="cp1252")
    found, problems, _ = read(tmp_path)
    assert set(found.values()) == {("", None)}
    assert problems[name].startswith(says)


def test_a_line_below_the_table_names_no_class(tmp_path):
    put(tmp_path, "a.png", "b.png")
    write_list(tmp_path, "image,label\na.png,happy\nb.png,sad\nTotal,2\nimage,label\n# the,end\n")
    found, problems, _ = read(tmp_path)
    assert (counted(found), list(problems)) == (
        {("", "happy"): 1, ("", "sad"): 1},
        [f"list.csv:{n}" for n in (4, 5, 6)],
    )


def test_images_as_base64_in_a_list_are_refused_by_name(tmp_path):
    write_list(tmp_path, f"image,label\n{'/9j/4AAQ' * 200},happy\n{'/9j/4AAQ' * 300},sad\n")
    assert all("an image, as base64? Save the images as files" in reason for reason in read(tmp_path)[1].values())


def test_a_list_that_contradicts_the_folders_says_so(tmp_path):
    put(tmp_path, "happy/1.png", "happy/2.png", "sad/3.png")
    write_list(tmp_path, "image,label\nhappy/1.png,Happiness\nhappy/2.png,sad\nsad/3.png,\n")
    found, problems, _ = read(tmp_path)
    assert counted(found) == {("", "happy"): 2, ("", "sad"): 1}
    assert problems == {"list.csv": "labels 1 of 2 images otherwise; give it alone to read its labels"}


def test_of_images_of_one_name_those_of_the_lists_split_are_meant(tmp_path):
    put(tmp_path, "train/0.png", "train/1.png", "test/0.png", "test/1.png")
    for name, labels in (("train.csv", ("happy", "sad")), ("test.csv", ("sad", "happy"))):
        write_list(tmp_path, "id,label\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels)), name)
    assert read(tmp_path)[:2] == (
        {
            "train/0.png": ("train", "happy"),
            "train/1.png": ("train", "sad"),
            "test/0.png": ("test", "sad"),
            "test/1.png": ("test", "happy"),
        },
        {},
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PK\x03\x04" + b"\0" * 99, "is a spreadsheet, or a ZIP that is cut short"),
        (b"<!DOCTYPE html><html>", "is a web page, not a data set that mien reads"),
        (png(0), "is a PNG image, not a data set"),
        (b"\x28\xb5\x2f\xfd" + bytes(9), "is a Zstandard file; unpack it"),
        (b"\x01\x02\x03" * 99, "is of an unknown kind, not a data set"),
    ],
)
def test_files_that_are_no_list_are_named(tmp_path, data, says):
    (tmp_path / "faces.dat").write_bytes(data)
    with pytest.raises(DataError, match=says):
        read(tmp_path / "faces.dat")
