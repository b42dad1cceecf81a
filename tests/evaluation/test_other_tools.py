"""Files as other tools write them: which column is which, what the scores are, and rows without an answer."""

import json
import sys

import numpy as np
import pytest

from mien.cli import main
from mien.data.samples import Samples
from mien.errors import DataError
from mien.evaluation.evaluate import Extras, evaluate_predictions
from mien.evaluation.folder import PREDICTIONS_FILE, write_evaluation
from mien.evaluation.page import write_page
from mien.evaluation.predictions import read_predictions
from mien.labels import EIGHT, FER2013


def read(tmp_path, content, name="p.csv", **settings):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return read_predictions(path, **settings)


def measured(tmp_path, content, name="p.csv", **settings):
    return evaluate_predictions(read(tmp_path, content, name, **settings))


def refused(tmp_path, content, name="p.csv", **settings):
    with pytest.raises(DataError) as caught:
        read(tmp_path, content, name, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# No answer


@pytest.mark.parametrize("nothing", ["", "None", "nan", "no face", "No_Face", "NULL", "n/a", "-1"])
def test_a_row_without_an_answer_counts_as_wrong(tmp_path, nothing):
    found = measured(tmp_path, f"source,label,expression\na,happy,happy\nb,sad,{nothing}\nc,sad,sad\nd,sad,sad\n")
    assert (found.n, found.n_unanswered, found.accuracy) == (4, 1, 0.75)
    assert [c.recall for c in found.per_class] == [1, pytest.approx(2 / 3)]
    assert [c.support for c in found.per_class] == [1, 3]
    assert found.balanced_accuracy == pytest.approx(5 / 6)
    assert found.predicted_index.tolist() == [0, -1, 1, 1]


@pytest.mark.parametrize("nothing", [",", "nan,nan", "0,0"])
def test_scores_of_nothing_are_no_answer_and_no_part_of_the_calibration(tmp_path, nothing):
    rows = "a,happy,0.9,0.1\nb,sad,0.2,0.8\n"
    found = measured(tmp_path, f"source,label,happy,sad\n{rows}c,sad,{nothing}\n")
    without = measured(tmp_path, f"source,label,happy,sad\n{rows}")
    assert (found.n, found.n_unanswered, found.accuracy) == (3, 1, pytest.approx(2 / 3))
    assert (found.nll, found.nll_n, found.ece) == (without.nll, 2, without.ece)
    assert found.calibration.brier == without.calibration.brier
    assert found.top_2_accuracy == pytest.approx(2 / 3)


@pytest.mark.parametrize("table", ["csv", "parquet"])
def test_an_evaluation_with_unanswered_rows_is_written_shown_and_read_again(tmp_path, table):
    found = measured(tmp_path, "source,label,happy,=sad\n=a,happy,0.9,0.1\nb,=sad,0.2,0.8\nc,=sad,,\n")
    write_evaluation(found, tmp_path / "out", table=table)
    write_page(found, tmp_path / "out")
    texts = [place.read_text() for place in (tmp_path / "out").glob("*.csv")]
    assert not any("\n=" in text or ",=" in text for text in texts)
    again = evaluate_predictions(read_predictions((tmp_path / "out" / PREDICTIONS_FILE).with_suffix(f".{table}")))
    assert (again.n, again.n_unanswered, again.confusion) == (3, 1, found.confusion)
    assert "unanswered         1 of 3 faces, counted as wrong" in (tmp_path / "out" / "report.txt").read_text()


def test_a_page_without_a_curve_has_no_figure_of_them(tmp_path):
    found = measured(tmp_path, "source,label,happy,sad\na,angry,0.9,0.1\nb,fear,0.8,0.2\n")
    write_page(found, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("curves.*"))


def test_unanswered_faces_count_as_wrong_in_groups_and_by_votes(tmp_path):
    said = "source,expression\n" + "".join(f"f{i},{'happy' if i % 2 else ''}\n" for i in range(8))
    votes = np.zeros((8, 8), np.float32)
    votes[:, EIGHT.index("happy")] = 10
    samples = Samples(np.zeros((8, 4, 4, 1), np.uint8), np.full(8, 3), FER2013, tuple(f"f{i}" for i in range(8)), votes)
    extras = Extras(columns={"half": np.arange(8) % 2})
    found = evaluate_predictions(read(tmp_path, said, with_data=True), samples, extras=extras)
    assert (found.accuracy, found.n_unanswered, found.votes.majority.accuracy) == (0.5, 4, 0.5)
    assert sorted(g.accuracy for g in found.groups[0].groups) == [0, 1]


def test_a_file_without_any_answer_is_refused(tmp_path):
    assert "none of its 1 rows has a prediction" in refused(tmp_path, "source,label,expression\na,happy,\n")


# Which column is which

ROWS = "a.png,happy,happy\nb.png,sad,happy\n"


@pytest.mark.parametrize(
    "header",
    [
        "image,truth,prediction", "path,y_true,y_pred", "file,label,dominant_emotion", "filename,target,top1",
        "Image Path,Ground Truth,Predicted Label", "img,label,emotion", "img,emotion,pred", "source,true,label",
        "name,class,answer",
    ],
)  # fmt: skip
def test_usual_names_of_columns(tmp_path, header):
    found = measured(tmp_path, f"{header}\n{ROWS}")
    assert (found.n, found.accuracy, found.sources) == (2, 0.5, ("a.png", "b.png"))
    assert [c.support for c in found.per_class] == [1, 1]
    names = header.split(",")
    assert found.notes == (f"columns read: image '{names[0]}', truth '{names[1]}', answer '{names[2]}'",)


def test_without_images_rows_are_numbered(tmp_path):
    assert measured(tmp_path, "y_true,y_pred\nhappy,happy\nsad,happy\n").sources == ("line 2", "line 3")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("image,label,pred,top1\na,happy,happy,sad\n", "the answer may be 'pred' or 'top1'"),
        ("image,emotion,expression\na,happy,sad\n", "--column answer=expression"),
        ("path,file,label,pred\nx,y,happy,sad\n", "--column image=path"),
        ("a.png,happy,sad\nb.png,sad,sad\n", "its first line names the image a.png; expected a header"),
        ("foo,bar\n1,2\n", "no column with the truth (label, truth, y_true ...); it has foo, bar"),
    ],
)
def test_columns_that_could_be_either_are_refused(tmp_path, content, says):
    assert says in refused(tmp_path, content)


def test_a_column_that_is_named_is_taken(tmp_path):
    rows = "image,label,pred,top1\na,happy,happy,sad\n"
    assert measured(tmp_path, rows, columns={"answer": "TOP1"}).accuracy == 0
    assert measured(tmp_path, rows, columns={"answer": "pred"}).accuracy == 1
    assert "0 such columns; " in refused(tmp_path, rows, columns={"answer": "guess"})
    assert "expected image, truth, answer, confidence" in refused(tmp_path, rows, columns={"reply": "pred"})


def test_equal_columns_are_one(tmp_path):
    assert measured(tmp_path, "image,label,pred,top1\na,happy,happy,Happiness\n").accuracy == 1


@pytest.mark.parametrize("spelled", ["prob_{}", "p_{}", "{}_score", "emotion.{}", "P({})", "Scores {}"])
def test_classes_with_something_around_their_name(tmp_path, spelled):
    header = ",".join(spelled.format(name) for name in ("Happiness", "sadness"))
    found = measured(tmp_path, f"image,label,{header}\na,happy,0.9,0.1\nb,sad,0.2,0.8\n")
    assert (found.labels, found.accuracy, found.nll_n) == (("happy", "sad"), 1, 2)


def test_classes_of_ones_own(tmp_path):
    found = measured(tmp_path, "source,label,bored,engaged,age\na,bored,0.9,0.1,30\nb,engaged,0.2,0.8,31\n")
    assert (found.labels, found.accuracy) == (("bored", "engaged"), 1)


def test_semicolons_with_decimal_commas(tmp_path):
    found = measured(tmp_path, "image;label;happy;sad\na;happy;0,9;0,1\n")
    np.testing.assert_allclose(found.probabilities, [[0.9, 0.1]])


# What the scores are


def scored(tmp_path, *rows, **settings):
    text = "source,label,happy,sad,fear\n" + "".join(f"f{i},happy,{row}\n" for i, row in enumerate(rows))
    return measured(tmp_path, text, **settings)


@pytest.mark.parametrize(
    ("row", "expected", "note"),
    [
        ("93.1,6.2,0.7", [0.931, 0.062, 0.007], "its scores are percent: they are divided by 100"),
        ("33,33,33", [1 / 3] * 3, "its percent are rounded (rows add up to 99 to 99): each row is divided by its sum"),
        ("0.3,0.3,0.3", [1 / 3] * 3, "its probabilities are rounded (rows add up to 0.9 to 0.9)"),
        ("2.0,0.5,-1.0", np.exp([2, 0.5, -1]) / np.exp([2, 0.5, -1]).sum(), "its scores are logits (-1 to 2)"),
        ("0.2,0.3,0.5", [0.2, 0.3, 0.5], ""),
    ],
)
def test_scores_become_probabilities_and_it_is_said(tmp_path, row, expected, note):
    found = scored(tmp_path, row, row)
    np.testing.assert_allclose(found.probabilities, [expected] * 2, atol=1e-6)
    assert found.notes[:1] == () if not note else found.notes[0].startswith(note)


@pytest.mark.parametrize("row", ["3.1,0.4,2.0", "0.95,0.85,0.75", "0.011,0.012,0.013"])
def test_unclear_scores_are_refused_until_they_are_named(tmp_path, row):
    with pytest.raises(DataError, match=r"rows add up to .*--scores logits takes the softmax"):
        scored(tmp_path, row)
    values = np.array([float(cell) for cell in row.split(",")])
    np.testing.assert_allclose(scored(tmp_path, row, scores="probabilities").probabilities[0], values / values.sum())
    powers = np.exp(values)
    np.testing.assert_allclose(scored(tmp_path, row, scores="logits").probabilities[0], powers / powers.sum())


def test_among_equal_scores_the_tools_own_answer_holds(tmp_path):
    found = measured(tmp_path, "source,label,expression,happy,sad\na,sad,sad,0.5,0.5\n")
    assert found.accuracy == 1


# Numbers


def test_numbers_0_to_6_are_fer2013s_and_it_is_said(tmp_path):
    found = measured(tmp_path, "y_true,y_pred\n" + "".join(f"{i}.0,{min(i, 5)}\n" for i in range(7)))
    assert (found.labels, found.accuracy) == (FER2013, pytest.approx(6 / 7))
    assert any("read in FER2013's order (0 angry ... 6 neutral)" in note for note in found.notes)


@pytest.mark.parametrize("numbers", [range(6), range(1, 8), range(8), [0, 1]])
def test_other_numbers_are_refused_until_their_order_is_named(tmp_path, numbers):
    text = "y_true,y_pred\n" + "".join(f"{i},{i}\n" for i in numbers)
    assert "their order is unknown; name the classes from 0 on, for example  --classes angry," in refused(
        tmp_path, text
    )
    order = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
    found = measured(tmp_path, text, classes=order)
    assert {found.labels[i] for i in found.truth_index} == {
        "angry" if order[i] == "anger" else order[i] for i in numbers
    }


BESIDE = "path,y_true,y_pred,pred_name\n"


def test_numbers_that_a_column_beside_them_names_have_that_order(tmp_path):
    rows = "a,0,0,angry\nb,1,1,disgust\nc,2,2,fear\nd,3,3,happy\ne,4,4,neutral\nf,5,5,sad\ng,6,6,surprise\n"
    found = measured(tmp_path, BESIDE + rows + "h,6,4,neutral\n")
    assert [found.labels[i] for i in found.truth_index[-2:]] == ["surprise", "surprise"]
    assert any(note.endswith("4 neutral, 5 sad, 6 surprise") for note in found.notes)
    message = refused(tmp_path, BESIDE + rows.replace("g,6,6,surprise", "g,6,5,sad"))
    assert "(0, 1, 2, 3, 4, 5, 6), and their order is unknown" in message  # never FER2013's, which the names contradict


# Tools

EMOTION = {"angry": 1.0, "disgust": 0.0, "fear": 0.5, "happy": 97.0, "sad": 0.5, "surprise": 0.5, "neutral": 0.5}
FACE = {"emotion": EMOTION, "dominant_emotion": "happy", "region": {"x": 1, "y": 2, "left_eye": [3, 4]}}
SHARES = {name: value / 100 for name, value in EMOTION.items()}
TOOLS = {
    "deepface": [{"image": "a.png", **FACE}, {"image": "b.png", "emotion": None, "dominant_emotion": None}],
    "deepface by image": {"a.png": [FACE], "b.png": []},
    "fer": {"a.png": [{"box": [1, 2, 3, 4], "emotions": SHARES}], "b.png": []},
    "rmn": [
        {"image": "a.png", "results": [{"emo_label": "happy", "proba_list": [{k: v} for k, v in SHARES.items()]}]},
        {"image": "b.png", "results": []},
    ],
    "transformers": [
        {"image": "a.png", "predictions": [{"label": k, "score": v} for k, v in SHARES.items()]},
        {"image": "b.png", "predictions": []},
    ],
    "mien": {"model": {"name": "m"}, "images": [
        {"source": "a.png", "faces": [{"expression": "happy", "confidence": 0.97, "probabilities": SHARES}]},
        {"source": "b.png", "faces": [], "error": "b.png: damaged"},
    ]},
    "rekognition": [
        {"image": "a.png", "FaceDetails": [
            {"Emotions": [{"Type": k.upper(), "Confidence": v} for k, v in EMOTION.items()]}
        ]},
        {"image": "b.png", "FaceDetails": []},
    ],
    "rekognition with classes of its own": [
        {"image": "a.png", "FaceDetails": [{"BoundingBox": {"Width": 0.7}, "Emotions": [
            {"Type": k, "Confidence": v} for k, v in {"HAPPY": 97.0, "SAD": 1.0, "CALM": 1.5, "CONFUSED": 0.5}.items()
        ]}]},
        {"image": "b.png", "FaceDetails": []},
    ],
    "transformers, its best two": [
        {"image": "a.png", "predictions": [{"label": "happy", "score": 0.97}, {"label": "sad", "score": 0.02}]},
        {"image": "b.png", "predictions": []},
        {"image": "c.png", "predictions": [{"label": "fear", "score": 0.6}, {"label": "happy", "score": 0.3}]},
    ],
    "pandas, orient split": {
        "columns": ["image", *EMOTION], "index": [0, 1], "data": [["a.png", *SHARES.values()], ["b.png", *[None] * 7]],
    },
    "columns of lists": {"images": ["a.png", "b.png"], **{k: [v, None] for k, v in SHARES.items()}},
    "nested": [
        {"image": "a.png", "faceAttributes": {"emotion": SHARES}}, {"image": "b.png", "faceAttributes": None}
    ],
    "answers by image": {"a.png": "happy", "b.png": None},
}  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS)
def test_json_of_tools(tmp_path, tool):
    found = read(tmp_path, TOOLS[tool], "p.json", with_data=True)
    assert found.sources[:2] == ("a.png", "b.png")
    assert [found.labels[i] if i >= 0 else None for i in found.called[:2]] == ["happy", None]
    if tool != "answers by image":
        assert found.probabilities[0, found.labels.index("happy")] == pytest.approx(0.97)


@pytest.mark.parametrize(
    "table", ["image,label,score\na,happy,0.9\n", "Filename,Predictions\na,happy\n", "img,LABEL_3,LABEL_4\na,0.9,0.1\n"]
)
def test_names_of_columns_that_tools_give_predictions(tmp_path, table):
    found = read(tmp_path, table, with_data=True, classes=FER2013)
    assert (found.labels[found.called[0]], found.truth.tolist()) == ("happy", [-1])


@pytest.mark.parametrize("records", ['{"label": "sad", "score": 0.01}', '{"label": "sad", "score": -0.2}'])
def test_scores_of_a_few_classes_that_are_not_the_best_are_refused(tmp_path, records):
    few = f'{{"image": "a", "p": [{{"label": "happy", "score": 0.3}}, {records}]}}'
    text = f'[{few}, {{"image": "b", "p": {{"fear": 1}}}}]'
    assert "scores of 2 classes of 3 alone, which are not the best ones" in refused(
        tmp_path, text, "p.json", with_data=True
    )


@pytest.mark.parametrize(
    ("start", "what"), [(b"\x93NUMPY\x01\0", "a NumPy array"), (b"PK\x03\x04", "a ZIP"), (b"%PDF-1.4", "a PDF")]
)
def test_files_that_are_no_tables_are_named(tmp_path, start, what):
    (tmp_path / "p.csv").write_bytes(start + b"\0" * 90)
    with pytest.raises(DataError, match=f"is {what}; expected predictions as CSV"):
        read_predictions(tmp_path / "p.csv")


def test_json_lines(tmp_path):
    lines = [json.dumps({"image": f"{name}.png", "truth": "happy", "pred": name}) for name in ("happy", "sad")]
    assert measured(tmp_path, "\n".join(lines), "p.jsonl").accuracy == 0.5


def test_the_csv_of_py_feat(tmp_path):
    text = (
        "FaceRectX,FaceScore,AU01,x_0,anger,disgust,fear,happiness,sadness,surprise,neutral,Identity,input,frame\n"
        "1,0.9,0.2,5,0.01,0.01,0.01,0.9,0.02,0.02,0.03,Person_0,a.png,0\n,,,,,,,,,,,,b.png,0\n"
    )
    found = read(tmp_path, text, with_data=True)
    assert (found.labels, found.called.tolist(), found.sources) == (FER2013, [3, -1], ("a.png", "b.png"))


@pytest.mark.parametrize("content", ["{", "[1, 2]", "[]", '"text"', "[" * 100_000])
def test_json_that_is_no_table_is_refused_in_a_line(tmp_path, content):
    assert refused(tmp_path, content, "p.json").startswith((str(tmp_path), "p.json"))


# Against data


def faces(*sources):
    n = len(sources)
    return Samples(np.zeros((n, 4, 4, 1), np.uint8), np.full(n, 3), FER2013, sources)


@pytest.mark.parametrize("said", ["/data/faces/test/happy/{}.png", "happy/{}.png", ".\\test\\happy\\{}.png", "{}.png"])
def test_paths_are_matched_by_their_end(tmp_path, said):
    rows = "".join(f"{said.format(i)},happy\n" for i in range(2))
    found = read(tmp_path, f"file,pred\n{rows}", with_data=True)
    result = evaluate_predictions(found, faces("test/happy/0.png", "test/happy/1.png"))
    assert (result.n, result.accuracy) == (2, 1)
    assert "2 images are matched by the end of their paths" in result.notes


def test_an_end_that_fits_several_faces_is_refused(tmp_path):
    found = read(tmp_path, "file,pred\n0.png,happy\n", with_data=True)
    with pytest.raises(DataError, match="name faces that the data does not have"):
        evaluate_predictions(found, faces("happy/0.png", "sad/0.png"), data="the data")


# The command


@pytest.fixture
def mien(monkeypatch, capsys):
    def go(*arguments):
        monkeypatch.setattr(sys, "argv", ["mien", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code or 0, *capsys.readouterr()

    return go


def test_the_commands_options(mien, tmp_path):
    (tmp_path / "p.csv").write_text("image,label,pred,top1\na,0,0,1\nb,1,0,1\n")
    command = ["evaluate", "--predictions", tmp_path / "p.csv", "--out", tmp_path / "out", "-q"]
    code, out, err = mien(*command, "--column", "answer=top1", "--classes", "happy,sad", "--format", "json")
    assert code == 0, err
    assert json.loads(out)["accuracy"] == 0.5
    for options, says in (
        ((), "--column answer=pred"),
        (("--column", "answer"), "expected ROLE=NAME"),
        (("--column", "answer=pred", "--classes", "happy"), "--classes names 1, from 0 on"),
    ):
        code, _, err = mien(*command, *options)
        assert (code, err.count("\n")) == (2, 1)
        assert says in err
    code, _, err = mien("evaluate", "mien-nano", "--data", tmp_path, "--scores", "logits", "--out", tmp_path / "o")
    assert (code, "give it with  --predictions FILE" in err) == (2, True)


def test_classes_are_one_line_each(tmp_path):
    found = measured(tmp_path, "source,label,happy,sad,fear\na,happy,1,0,0\nb,contempt,1,0,0\nc,sad,0,1,0\n")
    write_evaluation(found, tmp_path / "out")
    lines = (tmp_path / "out" / "report.txt").read_text().splitlines()
    assert "missing classes    contempt (n = 1): unknown to the model, counted as wrong" in lines
    assert "absent classes     fear: no face in the data, so left out of macro figures" in lines
