"""Compares mien with other packages for expression recognition: same images, same machine, one run.

    python benchmarks/peers/run.py [--peers fer,human] [--work DIR] [--faces N] [--again]

Each peer gets its own environment under DIR, from the package registry by exact version (pins/), and runs through
one small script (adapters/). A measured peer is not measured again without --again; one that cannot run
is a row with its reason. Measurements are kept in DIR/measured/, so a stopped run resumes. Needs the
folder `shared` beside the repository, the extra [data], and for two of the peers Node and npm.

Examples:

    python benchmarks/peers/run.py --faces 200 --repeats 1 --cold-repeats 1 --work DIR --results DIR
    python benchmarks/peers/run.py --peers mien,fer --again
    python benchmarks/peers/run.py --only-page
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import environments
from catalogue import PEERS, Peer, mien_peer
from page import RESULTS, SHARED
from peers_page import write_results
from photo import photo_640
from records import Records
from scoring import score, spread

from mien.data.samples import Samples
from mien.evaluation.inputs import read_inputs
from mien.model_file import shipped_models

HERE = Path(__file__).parent
CORES = 2
SPEED_FACES = 2048
TRAINING_FACES = 1000
ANSWERS_LIMIT_S, SPEED_LIMIT_S, COLD_LIMIT_S = 900.0, 240.0, 120.0
PHOTOS = ("several-faces.jpg", "astronaut.png", "solvay-1927.jpg")


class AskError(Exception):
    """A peer didn't answer; says why in one line."""


def main() -> None:
    options = parse()
    peers = chosen(options.peers)
    records = Records(options.work / "measured")
    if options.again:
        records.forget(peers)
    if not options.only_page:
        measure(peers, records, options)
    everyone = [peer for peer in all_peers() if records.has(peer)]
    print(write_results(options.results, everyone, records))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mien-peers"
    parser.add_argument("--peers", default="", help="names of packages, joined by commas; default: all")
    parser.add_argument("--work", type=Path, default=cache, help=f"for environments and figures; default: {cache}")
    parser.add_argument("--faces", type=int, default=3589, help="faces of PublicTest to answer; default: all")
    parser.add_argument("--repeats", type=int, default=3, help="rounds in which speeds are measured, in turns")
    parser.add_argument("--cold-repeats", type=int, default=5, help="cold starts of each peer, in turns")
    parser.add_argument("--again", action="store_true", help="measure the chosen peers anew")
    parser.add_argument("--only-page", action="store_true", help="write the page of what was measured")
    parser.add_argument("--data", type=Path, default=SHARED / "data/fer2013-public.parquet")
    parser.add_argument("--train-data", type=Path, default=SHARED / "data/fer2013-train.parquet")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the dated page goes")
    return parser.parse_args()


def all_peers() -> list[Peer]:
    """mien's shipped models, then the others."""
    return [*(mien_peer(name) for name in shipped_models()), *PEERS]


def chosen(names: str) -> list[Peer]:
    """The peers of these packages, environments or rows."""
    if not names:
        return all_peers()
    wanted = [name.strip() for name in names.split(",")]
    found = [p for p in all_peers() if {p.name, p.package, p.environment} & set(wanted)]
    known = {n for p in all_peers() for n in (p.name, p.package, p.environment)}
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"--peers {unknown[0]}: unknown; expected some of {', '.join(sorted(known))}")
    return found


def measure(peers: Sequence[Peer], records: Records, options: argparse.Namespace) -> None:
    """Everything that is not measured yet; speeds and cold starts of all peers in turns."""
    held_out, seen = (
        spread(read_inputs(data, split, size=48, channels=1).samples, min(options.faces, most))
        for data, split, most in ((options.data, "validation", 10**9), (options.train_data, "train", TRAINING_FACES))
    )
    folder = options.work / "images"
    folder.mkdir(parents=True, exist_ok=True)
    speed_faces, photo = folder / "speed-faces.u8", folder / "photo-640x480.jpg"
    np.resize(held_out.images, (SPEED_FACES, *held_out.images.shape[1:])).tofile(speed_faces)
    photo_640(SHARED / "media/several-faces.jpg", photo)
    photos = [folder / name for name in PHOTOS]
    for place in photos:
        shutil.copyfile(SHARED / "media" / place.name, place)

    for peer in peers:
        if not records.failed(peer) and not records.get(peer, "answers"):
            with part(peer, "answers", records, options.work):
                first_answers(peer, records, held_out, seen, photos, options.work)
    for turn in range(options.repeats):
        for peer in peers:
            done = records.get(peer, "speed") or []
            if not records.failed(peer) and len(done) <= turn:
                with part(peer, "speed", records, options.work):
                    said, run = ask(peer, "speed", options.work, SPEED_LIMIT_S, speed_faces, photo)
                    records.put(peer, "speed", [*done, {**said, "peak_bytes": run["peak_bytes"]}])
    for turn in range(options.cold_repeats):
        for peer in peers:
            done = records.get(peer, "cold") or []
            if peer.cold and not records.failed(peer) and len(done) <= turn:
                with part(peer, "cold", records, options.work):
                    place = environments.folder(options.work, peer.environment)
                    command = [word.replace("{photo}", str(photo)) for word in peer.cold]
                    if not done:
                        start(command, place, COLD_LIMIT_S)  # so that its files are in the system's cache
                    records.put(peer, "cold", [*done, start(command, place, COLD_LIMIT_S)])


@contextmanager
def part(peer: Peer, what: str, records: Records, work: Path) -> Iterator[None]:
    """A part of the work on a peer: prints its time; where it fails, the record says why and the run goes on."""
    started = time.perf_counter()
    try:
        yield
    except (environments.SetUpError, AskError) as error:
        records.put(peer, "failed", without_places(str(error), work))
        print(f"{peer.name}: {error}", file=sys.stderr)
    print(f"{peer.name}: {what}: {time.perf_counter() - started:.1f} s", flush=True)


def first_answers(
    peer: Peer, records: Records, held_out: Samples, seen: Samples, photos: Sequence[Path], work: Path
) -> None:
    """What is measured once: the environment, what it finds in the photos, and what it says of every face."""
    place = environments.environment(work, peer.environment, node=peer.node)
    records.put(peer, "environment", {
        "version": environments.package_version(peer.package, peer.environment, node=peer.node),
        "runs_on": environments.versions(place, node=peer.node),
        "bytes": environments.size_bytes(place),
    })  # fmt: skip
    found, _ = ask(peer, "photos", work, SPEED_LIMIT_S, *photos)
    records.put(peer, "photos", found["faces"])
    records.put(peer, "training", scores(peer, seen, work / "answers" / "training", work))
    records.put(peer, "answers", scores(peer, held_out, work / "answers" / "public", work))


def scores(peer: Peer, samples: Samples, folder: Path, work: Path) -> dict[str, dict]:
    """A peer's figures on these faces by each ruler; its predictions are kept in the folder. Raises AskError."""
    kept = folder / re.sub(r"\W+", "-", peer.name)
    kept.mkdir(parents=True, exist_ok=True)
    faces = folder / "faces.u8"
    samples.images.tofile(faces)
    said, _ = ask(peer, "answers", work, ANSWERS_LIMIT_S, faces)
    try:
        found = score(said["labels"], np.array(said["probabilities"], float), samples, kept)
    except ValueError as error:
        raise AskError(str(error)) from error
    return {ruler: asdict(value) for ruler, value in found.items()}


def ask(peer: Peer, task: str, work: Path, limit_s: float, *files: Path) -> tuple[dict, dict]:
    """What an adapter answers, and how its process ran. Raises AskError."""
    place = environments.folder(work, peer.environment)
    out = place / "home" / "out.json"
    program = ["node"] if peer.node else ["bin/python"]
    adapter = str(HERE / "adapters" / peer.adapter)
    run = start([*program, adapter, peer.variant, task, str(out), *map(str, files)], place, limit_s)
    answer = json.loads(out.read_text("utf-8"))
    out.unlink()
    return answer, run


def start(command: Sequence[str], place: Path, limit_s: float) -> dict:
    """Runs a command in an environment's folder -> seconds and peak_bytes. Raises AskError with its last words."""
    variables = environments.clean_environment(place)
    output = place / "home" / "output.txt"
    launch = [sys.executable, "-I", "-S", str(HERE / "launch.py"), str(CORES), str(limit_s), str(output)]
    done = subprocess.run([*launch, *command], cwd=place, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AskError(last_words(done.stderr))
    run = json.loads(done.stdout)
    code = run.pop("code")
    if code:
        late = f"took longer than {limit_s:.0f} s" if run["seconds"] >= limit_s else ""
        raise AskError(late or last_words(output.read_text("utf-8", errors="replace")))
    return run


def last_words(text: str) -> str:
    """The line of a failed program's output that says why: the last that names an error, or the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no output"]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit)\b.*", line)]
    line = (named or lines)[-1]
    return line if len(line) <= 240 else f"{line[:240]} ..."


def without_places(text: str, work: Path) -> str:
    """A message without the folders of this machine."""
    for place in (str(work), str(Path.home()), str(HERE.parents[1])):
        text = text.replace(place, "...")
    return re.sub(r" at 0x[0-9a-f]+", "", text)


if __name__ == "__main__":
    main()
