"""report.html: what is on it, that it opens in a browser, wrong answers by whose fault, and explained faces."""

import re
from dataclasses import replace

import numpy as np
import pytest

from mien.data.samples import Samples
from mien.data.toy import toy_faces
from mien.errors import DataError, MissingExtraError
from mien.evaluation.evaluate import Extras, evaluate_predictions, evaluate_samples
from mien.evaluation.extremes import explain_extremes
from mien.evaluation.folder import PREDICTIONS_FILE, write_evaluation
from mien.evaluation.mistakes import find_mistakes
from mien.evaluation.page import FIGURES_FOLDER, PAGE_FILE, write_page
from mien.evaluation.page_faces import SHOWN, SHOWN_IN_CELL, cell_faces
from mien.evaluation.predictions import read_predictions
from mien.images import read_image
from mien.labels import EIGHT, FER2013
from mien.model_file import ModelFile
from mien.pages import png
from mien.pages.text import percent, three
from tiny_models import make_model


def toy(count=200, votes=True):
    """Toy faces of which a few have doubtful labels, with names that are no good HTML."""
    samples = toy_faces(count)
    ballots = 10 * np.eye(8, dtype=np.float32)[samples.labels]
    ballots[: count // 5] = 10 * np.eye(8, dtype=np.float32)[(samples.labels[: count // 5] + 1) % 7]
    names = tuple(f"<b>{i}</b>$x$.png" for i in range(count))
    return replace(samples, sources=names, votes=ballots if votes else None)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A page with every section, of an ensemble, and what it was made of."""
    place = tmp_path_factory.mktemp("page")
    models = [ModelFile(make_model(place / f"m{seed}.onnx", EIGHT, seed=seed)) for seed in (0, 1)]
    samples = toy()
    extras = Extras(
        columns={"age <i>": np.arange(len(samples)) % 3},
        train=samples.images[:9],
        target_accuracy=0.2,
        speed=True,
        robustness_faces=30,
    )
    result = evaluate_samples(models, samples, extras=extras, data="toys", split="validation")
    extremes = explain_extremes(models, result, samples, count=2)
    out = place / "out"
    write_evaluation(result, out)
    (out / FIGURES_FOLDER).mkdir()
    for name in ("mine.png", "groups-7.svg", "explained-wrong.png"):
        (out / FIGURES_FOLDER / name).write_text("old")
    write_page(result, out, samples=samples, extremes=extremes, vector=True)
    return models, samples, result, extremes, out


def test_everything_is_on_the_page(everything):
    _, _, result, extremes, out = everything
    text = (out / PAGE_FILE).read_text("utf-8")
    sections = re.findall(r"<h2><a[^>]*>(.*?)</a></h2>", text)
    assert sections == [
        "Classes", "Confusion", "Each class against the rest", "Calibration", "Abstaining", "Raters&#39; agreement",
        "Groups", "Copies in train", "Ensemble", "Robustness", "Wrong predictions", "What predictions depend on",
        "Speed and size", "All key figures", "How it was measured",
    ]  # fmt: skip
    assert "<b>" not in text.partition("<script")[0] and "<i>" not in text
    low, high = result.accuracy_95
    assert f"right on {percent(result.accuracy)} of 200 faces (95 %: {100 * low:.1f} – {100 * high:.1f})" in text
    for figure in (result.macro_f1, result.calibration.brier):
        assert three(figure) in text
    assert text.count("<table") >= 12
    assert len(extremes.right.names) == len(extremes.wrong.names) == 2

    folder = out / FIGURES_FOLDER
    names = {"confusion", "classes", "wrong-model", "wrong-label", "curves", "reliability", "risk-coverage", "groups-1",
             "robustness", "relative-error",
             "explained-right", "explained-wrong"}  # fmt: skip
    files = {p.name for p in folder.iterdir()}
    assert files == {f"{name}{suffix}" for name in names for suffix in (".png", ".svg", ".pdf")} | {"mine.png"}
    assert all(b"STIXGeneral" in (folder / f"{name}.pdf").read_bytes() for name in names)
    assert all(read_image(folder / f"{name}.png").size for name in names)
    assert all("<svg" in (folder / f"{name}.svg").read_text("utf-8") for name in names)
    assert (folder / "mine.png").read_text() == "old"  # not ours


def test_cells_of_the_confusion_matrix_open_their_faces(everything):
    text, result = (everything[-1] / PAGE_FILE).read_text("utf-8"), everything[2]
    for (truth, called), faces in cell_faces(result).items():
        assert truth != called and len(faces) == min(SHOWN_IN_CELL, result.confusion[truth][called])
        assert all(result.truth_index[i] == truth and result.predicted_index[i] == called for i in faces)
        anchor = f"confusion-{truth}-{called}"
        assert f'<a href="#{anchor}">{result.confusion[truth][called]:,}</a>' in text
        behind = text.partition(f'id="{anchor}"')[2].partition('class="behind"')[0].partition("</section>")[0]
        assert behind.count("<img ") == len(faces)


def test_diversity_of_several_models(everything):
    models, samples, result, *_ = everything
    alone = [evaluate_samples([model], samples) for model in models]
    found = result.diversity
    assert [share.accuracy for share in found.members] == [e.accuracy for e in alone]
    differ = (alone[0].predicted_index != alone[1].predicted_index).mean()
    assert found.disagreement == ((0, differ), (differ, 0)) and found.mean_disagreement == differ
    right = np.logical_or(*(e.predicted_index == e.truth_index for e in alone)).mean()
    assert found.any_right == right
    assert result.to_dict()["diversity"]["mean_disagreement"] == pytest.approx(differ)
    assert alone[0].diversity is None


def test_extremes_are_the_most_confident(everything):
    models, samples, result, extremes, _ = everything
    hits = result.truth_index == result.predicted_index
    for explanation, chosen in ((extremes.right, hits), (extremes.wrong, ~hits)):
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(-result.confidence[rows], kind="stable")][:2]
        assert explanation.names == tuple(result.sources[i] for i in rows)
        assert explanation.expressions == tuple(result.labels[i] for i in result.predicted_index[rows])
        assert (explanation.faces == samples.images[rows]).all()
        assert explanation.maps.shape == (2, 48, 48)
    assert extremes.right_truth == extremes.right.expressions
    sure = ModelFile(make_model(models[0].path.parent / "sure.onnx", favourite="happy"))
    happy = Samples(samples.images[:3], np.full(3, 3), FER2013, ("a", "b", "c"))
    found = explain_extremes([sure], evaluate_samples([sure], happy), happy, count=1)
    assert found.wrong is None and found.right.expressions == ("happy",)
    with pytest.raises(DataError, match="at least one"):
        explain_extremes([], result, samples, count=1)


def test_predictions_give_a_page_with_and_without_faces(everything, undrawn, tmp_path):
    _, samples, _, _, out = everything
    said = read_predictions(out / "predictions.csv")
    without = evaluate_predictions(said)
    page = write_page(without, tmp_path / "a").read_text("utf-8")
    assert "The faces are not shown" in page and 'gallery"' not in page
    order = np.arange(len(samples))[::-1]  # faces are found by their source, wherever they stand
    other = Samples(
        samples.images[order], samples.labels[order], FER2013, tuple(samples.sources[i] for i in order),
        samples.votes[order],
    )  # fmt: skip
    found = evaluate_predictions(said, other)
    assert [other.sources[i] for i in found.rows] == list(found.sources)
    assert 'class="gallery"' in write_page(found, tmp_path / "b", samples=other).read_text("utf-8")


def test_labels_alone_give_a_page(tmp_path):
    lines = ["source,label,expression", *(f"f{i},{FER2013[i % 3]},{FER2013[i % 2]}" for i in range(9))]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    page = write_page(evaluate_predictions(read_predictions(tmp_path / "p.csv")), tmp_path)
    assert "no label is marked" in page.read_text("utf-8")
    assert sorted(p.name for p in (tmp_path / FIGURES_FOLDER).iterdir()) == ["classes.png", "confusion.png"]


def test_without_matplotlib_the_page_is_whole_and_no_old_figure_stays(everything, tmp_path, monkeypatch):
    (tmp_path / FIGURES_FOLDER).mkdir()
    (tmp_path / FIGURES_FOLDER / "confusion.png").write_text("of another evaluation")
    monkeypatch.setattr("mien.pages.drawing.new_figure", missing)
    said = []
    page = write_page(everything[2], tmp_path, warn=said.append)
    assert "Confusion matrix" in page.read_text("utf-8") and not list((tmp_path / FIGURES_FOLDER).iterdir())
    assert said == ["no figures/: drawing figures needs the extra [data]: install it with  pip install 'mien[data]'"]


def missing(*_):
    raise MissingExtraError("data", "drawing figures")


# The command


def test_command(undrawn, tmp_path, capsys, monkeypatch):
    from mien.cli.evaluate import evaluate as command

    samples = toy_faces(14)
    for i, (image, label) in enumerate(zip(samples.images, samples.labels, strict=True)):
        folder = tmp_path / "data" / "validation" / FER2013[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(png(image))
    make_model(tmp_path / "m.onnx")
    arguments = {"models": [str(tmp_path / "m.onnx")], "data": tmp_path / "data", "out": tmp_path / "out"}
    command(**arguments, speed=False, robustness=True, robustness_faces=5, explain=1)
    said = capsys.readouterr().out
    assert f"{tmp_path / 'out' / PAGE_FILE}, " in said and "on the same 5 faces, clean, it is" in said
    page = (tmp_path / "out" / PAGE_FILE).read_text("utf-8")
    assert "What predictions depend on" in page and "Robustness" in page

    predictions = tmp_path / "out" / PREDICTIONS_FILE
    for option in ("robustness", "explain"):
        with pytest.raises(DataError, match=f"--{option}: is for models"):
            command(predictions=predictions, out=tmp_path / "none", **{option: 1})
    assert not (tmp_path / "none").exists()


# Whose fault a wrong answer is


def measured(labels, called, votes=None, truth=None):
    """An evaluation of a model that gives 0.9 - i / 100 to what it calls face i."""
    n = len(labels)
    lines = ["source,label," + ",".join(FER2013)]
    for i, (label, name) in enumerate(zip(labels, called, strict=True)):
        p = np.full(7, (0.1 + i / 100) / 6)
        p[FER2013.index(name)] = 0.9 - i / 100
        lines.append(f"f{i},{label}," + ",".join(f"{v:.6f}" for v in p))
    path = truth / "p.csv"
    path.write_text("\n".join(lines))
    index = np.array([FER2013.index(name) for name in labels])
    samples = Samples(np.zeros((n, 16, 16, 1), np.uint8), index, FER2013, tuple(f"f{i}" for i in range(n)), votes)
    return evaluate_predictions(read_predictions(path), samples)


def test_votes_tell_whose_fault_it_is(tmp_path):
    votes = np.zeros((6, 8), np.float32)
    happy, sad, fear = (EIGHT.index(name) for name in ("happy", "sad", "fear"))
    votes[0, happy] = 10  # clear
    votes[1, sad] = 10  # another expression has more votes
    votes[2, [happy, sad, fear]] = (4, 3, 3)  # most votes, but less than half
    votes[3, [happy, sad]] = (5, 5)  # half
    votes[5, happy] = 10  # and 4: nobody voted
    result = measured(["happy"] * 6, ["sad"] * 5 + ["happy"], votes, tmp_path)
    found = find_mistakes(result, votes)
    assert (found.model.tolist(), found.label.tolist()) == ([0, 3, 4], [1, 2])  # the most confident first
    assert "votes" in found.why
    majority = replace(result, truth="votes")
    votes[0, sad] = 7  # 10 of 17: a majority, but less than 60 %
    assert find_mistakes(majority, votes).label.tolist() == [0, 1, 2, 3]


def test_without_votes_the_probabilities_tell(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    p = 0.1 + 0.7 * np.eye(3)[truth] + rng.dirichlet(np.ones(3), 400) * 0.1
    given = truth.copy()
    given[:20] = (truth[:20] + 1) % 3  # wrong labels, which the model contradicts as surely as it knows the others
    p[20:30] = (0.38, 0.32, 0.3)  # faces that it knows nothing about
    given[20:30] = 1
    p /= p.sum(1, keepdims=True)
    base = measured(["happy"], ["happy"], None, tmp_path)
    result = replace(
        base, n=400, truth_index=given, predicted_index=p.argmax(1), confidence=p.max(1), probabilities=p,
        labels=("happy", "sad", "fear"),
    )  # fmt: skip
    found = find_mistakes(result)
    assert set(range(20)) <= set(found.label.tolist())
    assert len(found.label) + len(found.model) == int((given != p.argmax(1)).sum())
    assert (np.diff(result.confidence[found.label]) <= 0).all()
    assert set(found.model.tolist()) == set(range(20, 30))


def test_a_weak_model_does_not_judge_labels(tmp_path):
    rng = np.random.default_rng(0)
    base = measured(["happy"], ["happy"], None, tmp_path)

    def judged(p, given):
        p = p / p.sum(1, keepdims=True)
        evaluation = replace(
            base, n=len(p), truth_index=given, predicted_index=p.argmax(1), confidence=p.max(1), probabilities=p,
            labels=("happy", "sad", "fear"),
        )  # fmt: skip
        return find_mistakes(evaluation)

    guessed = judged(rng.dirichlet(np.ones(3), 300), rng.integers(0, 3, 300))
    assert not len(guessed.label) and "can't judge labels" in guessed.why
    given = np.array([0] * 140 + [1] * 140 + [2] * 40)
    seen = np.where(given == 2, 0, given)  # a model that calls the third class happy
    seen[:10] = 1  # and contradicts ten labels of the first
    found = judged(0.1 + 0.8 * np.eye(3)[seen], given)
    assert set(found.label.tolist()) <= set(range(10)) and set(range(280, 320)) <= set(found.model.tolist())


def test_galleries_are_capped_and_say_how_many(undrawn, tmp_path):
    samples = toy(7 * (SHOWN + 4), votes=False)
    model = ModelFile(make_model(tmp_path / "m.onnx", ("happy", "sad"), favourite="happy"))
    happy = np.flatnonzero(samples.labels == 3)
    some = Samples(samples.images[happy], np.full(len(happy), 4), FER2013, tuple(map(str, happy)))
    page = write_page(evaluate_samples([model], some), tmp_path / "out", samples=some).read_text("utf-8")
    assert f"The first {SHOWN} of {SHOWN + 4}," in page
    gallery = page[page.index("The model is wrong") :]
    assert gallery.count("<img ") == SHOWN
    assert "sad → happy" in gallery
