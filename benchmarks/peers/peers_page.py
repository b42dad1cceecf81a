"""Writes the dated page of the peers: tables, targets, a chart, and the raw figures beside it."""

from __future__ import annotations

import datetime
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalogue import Peer
from page import machine, table
from records import Records

from mien.files import make_folder, write_text

NAME = "peers"
ABOUT = """\
One run of `python benchmarks/peers/run.py`. Each peer sits in an environment of its own, from the package registry by
exact version (`benchmarks/peers/pins/`), gets the same files, and is asked by one small script
(`benchmarks/peers/adapters/`), mien as well. Every process is given {cores} cores and is otherwise left as its package
comes.

- **Accuracy**: {n} faces of FER2013's PublicTest, 48 x 48 grey crops, without looking for a face in them; figures as
  `mien evaluate --predictions` gives them, with 95 % intervals (Wilson). *Labels* are FER2013's own seven. *Votes* are
  FER+'s majority of more than half among eight expressions ({votes_n} faces); a peer without contempt gets its
  {contempt} faces wrong. Every peer here knows neutral. *Training* is the accuracy by labels on {seen_n}
  faces of FER2013's Training: far above PublicTest's where a network was trained on them.
- **Faces/s**: crops in memory to probabilities, with the package's own resizing, in batches of 64 where it takes them;
  median of {rounds} processes in turns, each after a warm-up. *Cores busy* is processor time per second meanwhile.
- **Photo**: a JPEG of 640 x 480 with five faces, from file to expressions with the package's default detector, warm.
- **Cold**: the shortest program from that photo to printed expressions, from the start of the process to its end;
  median of {cold} in turns, files in the system's cache. **Peak** is that process's largest resident memory; *batch*
  that of one that classifies in batches.
- **Size**: files of the packages and of what they need, without the interpreter. For `fer` without PyTorch, which the
  package asks for, but uses only with `mtcnn=True`.
"""


def write_results(folder: Path, peers: Sequence[Peer], records: Records) -> Path:
    """Writes results/<date>-peers.md, .json and .svg; the page's path. Raises SystemExit where nothing was measured."""
    ran = [peer for peer in peers if records.get(peer, "answers")]
    if not ran:
        raise SystemExit("nothing was measured; run it without --only-page")
    make_folder(folder)
    stem = f"{datetime.date.today().isoformat()}-{NAME}"
    write_text(folder / f"{stem}.json", json.dumps(_raw(peers, records), indent=1) + "\n")
    chart = write_chart(folder / f"{stem}.svg", ran, records)
    write_text(folder / f"{stem}.md", page_text(peers, records, chart))
    return folder / f"{stem}.md"


def page_text(peers: Sequence[Peer], records: Records, chart: Path | None) -> str:
    """The page as Markdown."""
    ran = [peer for peer in peers if records.get(peer, "answers")]
    rounds = max(len(records.get(peer, "speed") or ()) for peer in ran)
    cold = max(len(records.get(peer, "cold") or ()) for peer in ran)
    scores = records.get(ran[0], "answers")
    about = ABOUT.format(
        cores=2, n=f"{scores['label']['n']:,}", votes_n=f"{scores['votes']['n']:,}",
        contempt=scores["votes"]["contempt"], seen_n=f"{records.get(ran[0], 'training')['label']['n']:,}",
        rounds=rounds, cold=cold,
    )  # fmt: skip
    lines = [
        "# mien and its peers",
        "",
        f"{datetime.date.today().isoformat()}. {machine('onnxruntime')}.",
        "",
        about,
        *([f"![accuracy against faces a second]({chart.name})", ""] if chart else []),
        "## What was to be reached",
        "",
        *table(("claim", "measured", "reached"), reached(ran, records)),
        "",
        "## Accuracy",
        "",
        *table(
            (
                *("", "version", "labels: accuracy", "macro recall", "disgust", "fear"),
                *("votes: accuracy", "macro recall", "training: accuracy"),
            ),
            [_accuracy_row(peer, records) for peer in ran],
        ),
        "",
        "## Speed, memory, size",
        "",
        *table(
            ("", "faces/s", "cores busy", "photo, ms", "cold, s", "peak, MB", "batch, MB", "size, MB"),
            [_cost_row(peer, records) for peer in ran],
        ),
        "",
        "## Photographs",
        "",
        "Faces found with the package's default detector, and what they are said to show. There is no ground truth.",
        "",
        *_photo_table([peer for peer in ran if records.get(peer, "cold")], records),
        "",
        "## What is known of each",
        "",
        *[f"- **{peer.name}** ({peer.licence}): {peer.note}" for peer in ran],
        "",
    ]
    if failed := [peer for peer in peers if records.failed(peer)]:
        lines += [
            "## Can't be run here",
            "",
            "Installed and asked in the same way; their last words. Where that is a download, their weights are not in",
            "the package, and this machine reaches nothing but registries of packages.",
            "",
            *table(
                ("", "version", "its last words", ""),
                [
                    (
                        peer.name,
                        (records.get(peer, "environment") or {}).get("version", "-"),
                        f"`{records.get(peer, 'failed').replace('|', '/').replace('`', '')}`",
                        peer.note,
                    )
                    for peer in failed
                ],
            ),
            "",
        ]
    return "\n".join(lines)


def reached(ran: Sequence[Peer], records: Records) -> list[tuple[str, str, str]]:
    """The three claims of mien beside the figures; those whose peers weren't measured are left out."""
    by_name = {peer.name: peer for peer in ran}
    rows = []
    theirs = by_name.get("fer, tflite")
    for ours, share, points in (("mien-small", 1 / 3, 10.0), ("mien-nano", 1.0, 5.0)):
        claim = f"`{ours}` has at least {'1/3 of ' if share < 1 else ''}`fer`'s faces/s at {points:.0f} points more"
        for ruler, name in (("label", f"{ours}-fer2013"), ("votes", ours)):
            mine = by_name.get(name)
            speeds = [median(peer, records, "speed", "faces_per_s") for peer in (mine, theirs) if peer]
            if mine is None or theirs is None or None in speeds:
                continue
            ratio = speeds[0] / speeds[1]
            more = 100 * (_accuracy(mine, records, ruler) - _accuracy(theirs, records, ruler))
            said = f"{ratio:.2f} times its faces/s at {more:+.1f} points (`{name}`)"
            by = "by FER2013's labels" if ruler == "label" else "by FER+'s votes"
            rows.append((f"{claim}, {by}", said, "yes" if ratio >= share and more >= points else "no"))
    mine = by_name.get("mien-small")
    colds = {p.name: s for p in ran if not p.ours and (s := median(p, records, "cold", "seconds")) is not None}
    own = median(mine, records, "cold", "seconds") if mine else None
    if own and colds:
        fastest = min(colds, key=lambda name: colds[name])
        times = colds[fastest] / own
        claim = "cold `mien predict photo.jpg` is the fastest by 3 times"
        rows.append((claim, f"{times:.1f} times faster than the next, {fastest}", "yes" if times >= 3 else "no"))
    return rows


def median(peer: Peer, records: Records, part: str, key: str) -> float | None:
    """The median of a figure over a peer's runs, None where there are none."""
    runs = records.get(peer, part)
    return statistics.median(run[key] for run in runs) if runs else None


def write_chart(path: Path, ran: Sequence[Peer], records: Records) -> Path | None:
    """Accuracy by FER2013's labels against faces/s, with intervals; None without matplotlib or speeds."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return None
    shown = [peer for peer in ran if records.get(peer, "speed")]
    if not shown:
        return None
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for peer in shown:
        score = records.get(peer, "answers")["label"]
        speed = median(peer, records, "speed", "faces_per_s")
        errors = [[score["accuracy"] - score["low"]], [score["high"] - score["accuracy"]]]
        color = "#c8501e" if peer.ours else "#3a5f8a"
        axes.errorbar([speed], [score["accuracy"]], yerr=errors, fmt="o", color=color, capsize=3)
        axes.annotate(peer.name, (speed, score["accuracy"]), xytext=(7, 4), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", xlabel="faces a second, 2 cores", ylabel="accuracy, FER2013 PublicTest, original labels")
    axes.margins(x=0.2)
    axes.grid(alpha=0.3)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": NAME}):
        figure.savefig(path, metadata={"Date": None})
    return path


def _accuracy(peer: Peer, records: Records, ruler: str) -> float:
    return float(records.get(peer, "answers")[ruler]["accuracy"])


def _accuracy_row(peer: Peer, records: Records) -> tuple[str, ...]:
    label, votes = (records.get(peer, "answers")[ruler] for ruler in ("label", "votes"))
    return (
        _title(peer),
        records.get(peer, "environment")["version"],
        f"**{label['accuracy']:.3f}** ({label['low']:.3f}-{label['high']:.3f})",
        f"{label['macro_recall']:.3f}",
        f"{label['recall'].get('disgust', 0):.2f}",
        f"{label['recall'].get('fear', 0):.2f}",
        f"{votes['accuracy']:.3f}",
        f"{votes['macro_recall']:.3f}",
        f"{records.get(peer, 'training')['label']['accuracy']:.3f}",
    )


def _cost_row(peer: Peer, records: Records) -> tuple[str, ...]:
    def shown(part: str, key: str, unit: float, digits: int) -> str:
        value = median(peer, records, part, key)
        return "-" if value is None else f"{value / unit:,.{digits}f}"

    return (
        _title(peer),
        shown("speed", "faces_per_s", 1, 0),
        shown("speed", "cores_busy", 1, 1),
        shown("speed", "photo_ms", 1, 0),
        shown("cold", "seconds", 1, 2),
        shown("cold", "peak_bytes", 1e6, 0),
        shown("speed", "peak_bytes", 1e6, 0),
        f"{records.get(peer, 'environment')['bytes'] / 1e6:,.0f}",
    )


def _photo_table(ran: Sequence[Peer], records: Records) -> list[str]:
    names = list(next(iter(records.get(peer, "photos") for peer in ran), {}))

    def said(labels: Sequence[str]) -> str:
        kinds = sorted(set(labels), key=lambda label: -labels.count(label))
        return f"{len(labels)}: " + ", ".join(f"{labels.count(k)} {k.lower()}" for k in kinds) if labels else "0"

    rows: list[Sequence[Any]] = [
        (_title(peer), *(said(records.get(peer, "photos")[name]) for name in names)) for peer in ran
    ]
    return table(("", *names), rows)


def _title(peer: Peer) -> str:
    return f"**{peer.name}**" if peer.ours else peer.name


def _raw(peers: Sequence[Peer], records: Records) -> dict[str, Any]:
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine("onnxruntime"),
        "peers": {
            peer.name: {"package": peer.package, "licence": peer.licence, **records.whole(peer)} for peer in peers
        },
    }
