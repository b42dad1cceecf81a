"""The notebooks of examples/ are kept with their outputs, and run from top to bottom."""

import json
import os
import re

import pytest

from places import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SAID = {
    "1-recognise": ("happy", "abstained: False"),
    "2-data-to-report": ("700 of 700 faces stay", "mean ± sd", r"\begin{tabular}"),
    "3-own-network-and-loss": ("Keep ", "Small", "parameters"),
    "4-video": ("track 1", "timeline.csv"),
}
"""What the outputs of each notebook have among others."""


def text_of(cells):
    return "".join(
        output.get("text", "") + output.get("data", {}).get("text/plain", "")
        for cell in cells
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
    )


def plain(cells):
    """Cells whose texts are one string, as nbformat joins the lines of a file."""

    def joined(part):
        return {key: "".join(value) if key in ("text", "text/plain") else value for key, value in part.items()}

    return json.loads(json.dumps(cells), object_hook=joined)


@pytest.mark.parametrize("place", NOTEBOOKS, ids=lambda place: place.stem)
def test_each_notebook_is_kept_with_its_outputs_and_without_paths_of_a_machine(place):
    cells = plain(json.loads(place.read_text("utf-8"))["cells"])
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert all(words in text_of(cells) for words in SAID[place.stem])
    assert "/tmp/" not in text_of(cells) and "Error" not in text_of(cells)
    assert place.stat().st_size < 500_000
    assert len(NOTEBOOKS) == len(SAID) == 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Jupyter's own machinery
@pytest.mark.parametrize("place", NOTEBOOKS, ids=lambda place: place.stem)
def test_each_notebook_runs(place, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other are slow on a busy machine
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(place, as_version=4)
    for cell in notebook.cells:  # one epoch each: that the cells run is tested, not how good the models are
        cell.source = re.sub(r'"epochs": \d+', '"epochs": 1', cell.source)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = text_of(notebook.cells)
    assert all(words in text for words in SAID[place.stem])
