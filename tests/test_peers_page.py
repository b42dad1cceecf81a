"""The peers' benchmark: what they say becomes figures by fair rules, and the page claims only what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.data.samples import Samples
from mien.labels import FER2013
from places import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS / "peers"), str(BENCHMARKS), *sys.path])


def samples(votes: np.ndarray | None = None) -> Samples:
    """Seven faces, one of each of FER2013's labels."""
    images = np.zeros((7, 48, 48, 1), np.uint8)
    if votes is None:
        votes = np.eye(8, dtype=np.float32)[:7] * 10
    return Samples(images, np.arange(7), FER2013, tuple(f"row {i}" for i in range(7)), votes)


def test_labels_in_any_spelling_and_order_are_matched_by_name(tmp_path: Path) -> None:
    from scoring import score

    labels = ("Neutral", "Happiness", "Surprise", "Sadness", "Anger", "Disgusted", "Fearful")
    right = ("Anger", "Disgusted", "Fearful", "Happiness", "Sadness", "Surprise", "Neutral")
    values = np.array([[0.9 if label == truth else 0.01 for label in labels] for truth in right])
    found = score(labels, values, samples(), tmp_path)
    assert found["label"].accuracy == found["votes"].accuracy == 1.0


def test_sigmoids_and_rounded_values_keep_their_likeliest_class(tmp_path: Path) -> None:
    from scoring import distributions, score

    values = np.full((7, 7), 0.6) + 0.3 * np.eye(7)  # as a network gives that ends in sigmoids
    assert np.allclose(distributions(values).sum(1), 1)
    assert score(FER2013, values, samples(), tmp_path)["label"].accuracy == 1.0


def test_no_answer_is_a_wrong_answer_even_for_the_first_class(tmp_path: Path) -> None:
    from scoring import score

    found = score(FER2013, np.zeros((7, 7)), samples(), tmp_path)
    assert found["label"].accuracy == found["votes"].accuracy == 0.0


def test_a_class_that_the_ruler_lacks_is_dropped_and_one_that_the_peer_lacks_is_wrong(tmp_path: Path) -> None:
    from scoring import score

    surest_of_contempt = np.concatenate([0.4 * np.eye(7), np.full((7, 1), 0.6)], axis=1)
    found = score((*FER2013, "contempt"), surest_of_contempt, samples(), tmp_path)
    assert (found["label"].accuracy, found["votes"].accuracy) == (1.0, 0.0)

    only_contempt = np.zeros((7, 8), np.float32)
    only_contempt[:, 7] = 10
    without = score(FER2013, np.eye(7), samples(only_contempt), tmp_path)
    assert (without["label"].accuracy, without["votes"].accuracy, without["votes"].contempt) == (1.0, 0.0, 7)


def test_faces_without_a_majority_are_left_out_of_the_votes_alone(tmp_path: Path) -> None:
    from scoring import score

    votes = np.eye(8, dtype=np.float32)[:7] * 10
    votes[2] = 1
    found = score(FER2013, np.eye(7), samples(votes), tmp_path)
    assert (found["label"].n, found["votes"].n) == (7, 6)


@pytest.mark.parametrize("value", [np.nan, -0.1])
def test_values_that_are_no_probabilities_are_refused(value: float) -> None:
    from scoring import distributions

    with pytest.raises(ValueError, match="negative or no numbers"):
        distributions(np.array([[0.5, value]]))


def test_mien_evaluate_reads_the_predictions_that_were_written(tmp_path: Path) -> None:
    from scoring import score

    from mien.evaluation.predictions import read_predictions

    score(FER2013, np.eye(7), samples(), tmp_path)
    assert len(read_predictions(tmp_path / "predictions-votes.csv")) == 7


def test_the_page_says_no_where_a_claim_is_not_reached(tmp_path: Path) -> None:
    from catalogue import PEERS, mien_peer
    from peers_page import page_text, reached
    from records import Records

    records = Records(tmp_path)
    fer = next(peer for peer in PEERS if peer.name == "fer, tflite")
    peers = [mien_peer("mien-small"), mien_peer("mien-small-fer2013"), fer]
    for peer, accuracy, speed, cold in zip(peers, (0.6, 0.7, 0.65), (1500, 1500, 3000), (0.5, 0.5, 1.2), strict=True):
        score = {
            "n": 7,
            "accuracy": accuracy,
            "low": 0.5,
            "high": 0.9,
            "macro_recall": 0.5,
            "recall": {},
            "contempt": 0,
        }
        records.put(peer, "environment", {"version": "1", "bytes": 10**6})
        records.put(peer, "answers", {"label": score, "votes": {**score, "accuracy": accuracy + 0.2 * peer.ours}})
        records.put(peer, "training", {"label": score, "votes": score})
        records.put(peer, "photos", {"a.jpg": ["happy", "happy", "sad"]})
        records.put(peer, "speed", [{"faces_per_s": speed, "cores_busy": 1, "photo_ms": 9, "peak_bytes": 1}])
        records.put(peer, "cold", [{"seconds": cold, "peak_bytes": 10**8}])
    claims = reached(peers, records)
    assert [row[2] for row in claims] == ["no", "yes", "no"]
    assert "0.50 times its faces/s at +5.0 points" in claims[0][1]
    assert "at +15.0 points" in claims[1][1]
    assert "2.4 times faster than the next, fer, tflite" in claims[2][1]

    broken = next(peer for peer in PEERS if peer.name == "rmn")
    records.put(broken, "failed", "OSError: no such | host")
    page = page_text([*peers, broken], records, None)
    assert "3: 2 happy, 1 sad" in page
    assert "| rmn | - | `OSError: no such / host` |" in page


def test_what_was_measured_survives_a_run_that_is_stopped(tmp_path: Path) -> None:
    from catalogue import PEERS
    from records import Records

    Records(tmp_path).put(PEERS[0], "speed", [{"faces_per_s": 1.0}])
    again = Records(tmp_path)
    again.put(PEERS[0], "cold", [])
    assert again.get(PEERS[0], "speed") == [{"faces_per_s": 1.0}]
    again.forget([PEERS[0]])
    assert not Records(tmp_path).has(PEERS[0])


def test_every_peer_has_its_adapter_and_its_exact_versions() -> None:
    from catalogue import PEERS

    peers = BENCHMARKS / "peers"
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    for peer in PEERS:
        assert (peers / "adapters" / peer.adapter).is_file()
        if peer.node:
            wanted = json.loads((peers / "pins" / peer.environment / "package.json").read_text("utf-8"))["dependencies"]
            assert peer.package in wanted
            assert all(version[0].isdigit() for version in wanted.values())
        else:
            lines = (peers / "pins" / f"{peer.environment}.txt").read_text("utf-8").splitlines()
            assert all("==" in line for line in lines)
            assert any(line.startswith(f"{peer.package}==") for line in lines)
