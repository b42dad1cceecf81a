"""The terminal view: what it shows in several sizes, in resumed runs, without a terminal, and after Ctrl-C."""

import io
import re

import pytest
from rich.console import Console

from mien.cli.training_options import TrainingProgress, training_view
from mien.training.callbacks import Confusion
from mien.training.curves_view import CurvesView, PlotLine, can_show_curves, plot
from mien.training.recipe import load_recipe

RECIPE = load_recipe("toy", ["optimizer.epochs=10"])
LABELS = ("angry", "happy", "sad")
NAN = float("nan")


def row(epoch, accuracy, loss=1.0):
    return {
        "epoch": float(epoch), "learning_rate": 0.1, "train_loss": 2.0 / epoch, "label_loss": loss,
        "label_accuracy": accuracy,
    }  # fmt: skip


def confusion(epoch, head="label"):
    return Confusion(epoch, head, LABELS, ((3, 1, 0), (0, 0, 0), (2, 2, 4)))


def terminal(width, height, **options):
    return Console(record=True, width=width, height=height, force_terminal=True, file=io.StringIO(), **options)


def shown(view, console):
    console.print(view)
    return console.export_text()


def view_of(history, console, confusions=()):
    view = CurvesView(RECIPE, console)
    view._live.start = lambda *_: None  # the live display would draw into the test
    watcher = view.watcher()
    watcher.on_start(history, confusions)
    return view, watcher


def braille(text):
    return sum(0x2800 < ord(character) <= 0x28FF for character in text)


@pytest.mark.parametrize("width, height", [(120, 40), (80, 24), (60, 20), (40, 12), (28, 8), (20, 5), (10, 3)])
def test_it_fits_every_terminal(width, height):
    console = terminal(width, height)
    view, watcher = view_of([row(e, 0.1 * e) for e in range(1, 5)], console, [confusion(4)])
    watcher.on_validation([confusion(4)])
    watcher.on_step(4, 300, 1000, 123.0)
    lines = shown(view, console).rstrip("\n").split("\n")
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert "epoch 5/10"[: width - 1] in "\n".join(lines)
    if width >= 28 and height >= 8:
        assert braille("".join(lines)) > 4


def test_it_shows_earlier_epochs_best_rate_time_and_recall():
    console = terminal(100, 24)
    history = [row(1, 0.3), row(2, 0.625), row(3, 0.5)]
    view, watcher = view_of(history, console, [confusion(1), confusion(3)])
    watcher.on_step(3, 100, 1000, 10.0)
    text = shown(view, console)
    assert "best so far: epoch 2, label 0.6250" in text
    assert "epoch 4/10" in text
    assert "10 images/s, 12 min left" in text  # 6900 faces of this and six more epochs
    assert re.search(r"recall: +angry 0.75 +happy - +sad 0.50", text)
    assert "validation 0.500" in text  # the last accuracy
    watcher.on_epoch(row(4, 0.75))
    assert "best so far: epoch 4, label 0.7500" in shown(view, console)


def test_it_shows_how_far_the_teachers_are():
    console = terminal(100, 24)
    view, watcher = view_of([], console)
    watcher.on_asking(64, 6000, 20.0)
    assert "asking the teachers" in (text := shown(view, console))
    assert "20 images/s, 5 min left before the first epoch" in text
    watcher.on_step(0, 100, 1000, 10.0)
    assert "epoch 1/10" in (text := shown(view, console))
    assert "teachers" not in text


def test_no_epoch_yet_and_no_truth():
    console = terminal(80, 24)
    view, watcher = view_of([], console)
    assert "epoch 1/10" in shown(view, console)
    watcher.on_epoch(row(1, NAN, loss=NAN))
    text = shown(view, console)
    assert "best so far" not in text
    assert "nan" not in text


def test_two_heads_have_curves_and_recalls_of_their_own():
    console = terminal(100, 30)
    both = row(1, 0.5) | {"votes_loss": 1.0, "votes_accuracy": 0.7}
    view, _ = view_of([both], console, [confusion(1), confusion(1, "votes")])
    text = shown(view, console)
    for words in ("label 0.500", "votes 0.700", "recall (label):", "recall (votes):"):
        assert words in text


def dots(curve, width=18, height=4, last=10):
    lines = plot("t", [curve], width, height, last).plain.split("\n")[1:]
    return [line[8:] for line in lines]


def test_a_rising_line_goes_from_corner_to_corner():
    lines = dots(PlotLine("c", "red", ((1.0, 0.0), (10.0, 1.0))))
    assert lines[-1][0] == "⡠" or braille(lines[-1][0]) == 1
    assert braille(lines[0][-1]) == 1
    assert braille(lines[0][:5]) == 0
    assert braille(lines[-1][-5:]) == 0


def test_half_of_the_epochs_fill_half_of_the_width():
    lines = dots(PlotLine("c", "red", ((1.0, 0.5), (5.5, 0.5))))
    drawn = [i for line in lines for i, character in enumerate(line) if braille(character)]
    assert min(drawn) == 0
    assert max(drawn) in (4, 5)


def test_a_gap_of_no_numbers_is_left_out():
    with_gap = dots(PlotLine("c", "red", ((1.0, 0.0), (3.0, NAN), (10.0, 1.0))))
    assert with_gap == dots(PlotLine("c", "red", ((1.0, 0.0), (10.0, 1.0))))


def test_plain_lines_where_there_is_no_terminal(monkeypatch, capsys):
    assert not can_show_curves(Console(file=io.StringIO()))
    assert not can_show_curves(Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"}))
    view = training_view(RECIPE, curves=True, quiet=False)
    assert isinstance(view, TrainingProgress)
    with view:
        view.watcher().on_epoch(row(1, 0.5))
    assert "label_accuracy 0.5000" in capsys.readouterr().err


def test_ctrl_c_gives_the_cursor_back():
    console = terminal(80, 24)
    with pytest.raises(KeyboardInterrupt), CurvesView(RECIPE, console) as view:
        watcher = view.watcher()
        watcher.on_start([], [])
        watcher.on_step(0, 100, 1000, 50.0)
        assert "\x1b[?25l" in console.file.getvalue()  # hidden
        view.log("a note")
        raise KeyboardInterrupt
    written = console.file.getvalue()
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l")
    assert "a note" in written
    assert written.endswith(("\n", "\x1b[?25h"))
