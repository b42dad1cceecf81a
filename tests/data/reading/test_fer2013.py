"""The data road on the real FER2013, as far as it is at hand: nothing lost, nothing moved, the figures of the docs."""

import numpy as np
import pytest

from mien.data.export import export_dataset
from mien.data.importing import import_dataset
from mien.data.readers import open_dataset
from mien.data.reading.reading import Choices
from mien.errors import DataError
from places import SHARED

DATA = SHARED / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "fer2013-train.parquet").exists(), reason="needs FER2013 in ../shared/data"),
]


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The two Parquet files as arrays, and written out as fer2013.csv with fer2013new.csv."""
    folder = tmp_path_factory.mktemp("fer2013")
    dataset = import_dataset(DATA, folder / "arrays")
    export_dataset(dataset, folder / "csv", as_="csv")
    return folder, dataset


def test_parquet_to_csv_and_back(imported):
    folder, first = imported
    again = import_dataset(
        folder / "csv" / "fer2013.csv", folder / "again", choices=Choices(ferplus=folder / "csv" / "fer2013new.csv")
    )
    counts = {split: sum(labels.values()) for split, labels in again.counts().items()}
    assert counts == {"train": 28_709, "validation": 3_589}
    for split in counts:
        here, there = (np.flatnonzero(d.splits == split) for d in (first, again))
        for one, other in ((first.labels, again.labels), (first.votes, again.votes)):
            assert np.array_equal(one[here], other[there])
        faces = (d.faces(rows, size=48, channels=1) for d, rows in ((first, here), (again, there)))
        assert np.array_equal(*faces)


def test_votes_land_on_the_right_rows(imported):
    folder, _ = imported
    data = open_dataset(folder / "again")
    agreement = (data.votes.argmax(1) == data.labels).mean()
    assert 0.62 < agreement < 0.66
    shifted = (data.votes[:-1].argmax(1) == data.labels[1:]).mean()
    assert shifted < 0.2


def test_shifted_votes_are_refused(imported, tmp_path):
    folder, _ = imported
    header, *rows = (folder / "csv" / "fer2013new.csv").read_text().splitlines()
    (tmp_path / "fer2013new.csv").write_text("\n".join([header, *rows[1:], rows[0]]) + "\n")
    with pytest.raises(DataError, match=r"shifted|belong together"):
        import_dataset(
            folder / "csv" / "fer2013.csv", tmp_path / "out", choices=Choices(ferplus=tmp_path / "fer2013new.csv")
        )
