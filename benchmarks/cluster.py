"""Measures shards on Ray: images/s with 1 and 2 workers, a killed worker, memory, traffic.

    python benchmarks/cluster.py [--data ../shared/data] [--photo ../shared/media/several-faces.jpg] [--only speed]

Faces: FER2013 as small JPEGs, detector none. Photos: crops of one photograph, 320 x 240, mtcnn.
Speed is measured from the first shard to the last; the start of Ray and the loading of models are reported
separately. Memory is the proportional set size of all processes of the command, Ray's included.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from page import SHARED, arguments, table, write_page

PARTS = ("speed", "killed", "memory")


@dataclass(frozen=True, slots=True)
class Work:
    """One run of `predict_shards`. actors: of Ray; 0 for the local engine. kill_at: images done when one dies."""

    images: str
    out: str
    detector: str
    actors: int
    shard_size: int
    kill_at: int = 0
    watch_memory: bool = False


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "--work":
        print(json.dumps(run(Work(**json.loads(sys.argv[2])))))
        return
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--photo", type=Path, default=SHARED / "media/several-faces.jpg")
    parser.add_argument("--faces", type=int, default=20_000, help="small JPEGs")
    parser.add_argument("--photos", type=int, default=800)
    parser.add_argument("--files", type=int, default=100_000, help="links, for the memory")
    parser.add_argument("--only", choices=PARTS, action="append", help="some of the parts")
    options = parser.parse_args()
    parts = options.only or PARTS
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mien-bench-") as scratch:
        folder = Path(scratch)
        faces = write_faces(options.data, folder / "faces", options.faces)
        if "speed" in parts:
            photos = write_photos(options.photo, folder / "photos", options.photos)
            lines += speed(folder, faces, photos, options.repeats)
        if "killed" in parts:
            lines += killed(folder, faces, options.faces)
        if "memory" in parts:
            lines += memory(folder, faces, options.files)
    write_page(options.results, "cluster", "Predicting in shards, on Ray", lines, packages=("ray", "onnxruntime"))


def speed(folder: Path, faces: Path, photos: Path, repeats: int) -> list[str]:
    rows = []
    for what, images, detector, size in (("faces", faces, "none", 500), ("photos", photos, "mtcnn", 20)):
        found: dict[int, list[dict[str, float]]] = {0: [], 1: [], 2: []}
        for turn in range(repeats):
            for actors, measured in found.items():
                out = folder / f"{what}-{actors}-{turn}"
                measured.append(child(Work(str(images), str(out), detector, actors, size)))
        one = statistics.median(m["rate"] for m in found[1])
        for actors, measured in found.items():
            rate = statistics.median(m["rate"] for m in measured)
            last = measured[-1]
            rows.append(
                (
                    what, f"Ray, {actors}" if actors else "local", f"{rate:,.0f}",
                    f"{rate / one:.2f}", f"{statistics.median(m['start_s'] for m in measured):.1f}",
                    f"{last['file_bytes'] / last['images']:,.0f}",
                    f"{(last['rows_bytes'] + last['names_bytes']) / last['images']:,.0f}",
                )
            )  # fmt: skip
    header = (
        "images",
        "engine",
        "images/s",
        "to one",
        "s to the first shard",
        "bytes a file",
        "bytes moved an image",
    )
    return [
        "## Speed",
        "",
        f"Median of {repeats}, the engines in turns. The local engine uses a thread a core. Moved: rows to the process "
        "that writes them, and names to the workers, through Ray; the files are read by the workers.",
        "",
        *table(header, rows),
        "",
    ]


def killed(folder: Path, faces: Path, count: int) -> list[str]:
    undisturbed, out = folder / "undisturbed", folder / "killed"
    child(Work(str(faces), str(undisturbed), "none", 2, 500))
    measured = child(Work(str(faces), str(out), "none", 2, 500, kill_at=count // 2))
    images = np.concatenate([pq.read_table(p, columns=["image"])["image"] for p in sorted(out.glob("shard-*"))])
    once = bool(np.array_equal(np.unique(images), np.arange(count))) and len(images) == count
    same = all(p.read_bytes() == (undisturbed / p.name).read_bytes() for p in out.glob("shard-*"))
    return [
        "## A worker is killed",
        "",
        f"{count:,} images, two workers, one killed (SIGKILL) after {measured['killed_at']:,.0f} images: "
        f"{len(images):,} rows, every image exactly once: {'yes' if once else 'NO'}; failed: "
        f"{measured['failed']:,.0f}; shards equal to those of an undisturbed run: {'yes' if same else 'NO'}.",
        "",
    ]


def memory(folder: Path, faces: Path, count: int) -> list[str]:
    links = folder / "links"
    few = sorted(faces.iterdir())[:50]
    for i in range(count):
        place = links / f"{i // 1000:04d}"
        if i % 1000 == 0:
            place.mkdir(parents=True)
        (place / f"{i:06d}.jpg").hardlink_to(few[i % len(few)])
    rows = []
    for actors in (0, 2):
        measured = child(Work(str(links), str(folder / f"memory-{actors}"), "none", actors, 1000, watch_memory=True))
        rows.append(
            (
                f"Ray, {actors}" if actors else "local", f"{measured['images']:,.0f}",
                *(f"{measured[f'own_{part}']:,.0f}" for part in ("10", "50", "100")),
                *(f"{measured[f'all_{part}']:,.0f}" for part in ("10", "50", "100")), f"{measured['all_peak']:,.0f}",
            )
        )  # fmt: skip
    header = (
        "engine", "images", "this process at 10 %", "50 %", "100 %", "all processes at 10 %", "50 %", "100 %", "peak",
    )  # fmt: skip
    return ["## Memory, MB", "", f"{count:,} links to 50 files.", "", *table(header, rows), ""]


def child(work: Work) -> dict[str, float]:
    """The work in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--work", json.dumps(asdict(work))], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{work}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def run(work: Work) -> dict[str, float]:
    from mien.cluster.predict import PredictSettings, predict_shards
    from mien.cluster.ray_workers import RaySettings
    from mien.faces import DetectorChoice

    begun = time.perf_counter()
    seen: list[tuple[float, int]] = []
    found: dict[str, float] = {}
    peak = 0.0

    def told(done: int, total: int) -> None:
        nonlocal peak
        whole = done // work.shard_size * work.shard_size == done or done == total
        if done and whole and (not seen or done > seen[-1][1]):
            seen.append((time.perf_counter(), done))
        if work.kill_at and done >= work.kill_at and "killed_at" not in found:
            workers = [pid for pid in below(os.getpid()) if command(pid).startswith("ray::_Actor")]
            os.kill(workers[0], signal.SIGKILL)
            found["killed_at"] = done
        if work.watch_memory and whole:
            peak = max(peak, all_mb())
            for part in (10, 50, 100):
                if done * 100 >= total * part and f"own_{part}" not in found:
                    found[f"own_{part}"] = pss_mb(os.getpid())
                    found[f"all_{part}"] = all_mb()

    settings = PredictSettings(("mien-small",), DetectorChoice(work.detector))
    summary = predict_shards(
        [work.images],
        work.out,
        settings=settings,
        ray=RaySettings(actors=work.actors) if work.actors else None,
        shard_size=work.shard_size,
        progress=told,
    )
    (first, first_done), (last, last_done) = seen[0], seen[-1]
    files = [p for p in Path(work.images).rglob("*") if p.is_file()]
    return {
        **found,
        "all_peak": peak,
        "images": summary.images,
        "failed": summary.failed,
        "rate": (last_done - first_done) / (last - first),
        "start_s": first - begun,
        "rows_bytes": sum(p.stat().st_size for p in Path(work.out).glob("shard-*")),
        "names_bytes": sum(len(os.fsencode(p)) for p in files),
        "file_bytes": sum(p.stat().st_size for p in files),
    }


def write_faces(data: Path, folder: Path, count: int) -> Path:
    folder.mkdir()
    written = 0
    with pq.ParquetFile(data / "fer2013-train.parquet") as file:
        for batch in file.iter_batches(2000, columns=["image"]):
            for image in batch.column("image").to_pylist():
                if written == count:
                    return folder
                pixels = cv2.imdecode(np.frombuffer(image["bytes"], np.uint8), cv2.IMREAD_GRAYSCALE)
                cv2.imwrite(str(folder / f"{written:06d}.jpg"), pixels)
                written += 1
    raise SystemExit(f"{data}: has {written:,} faces; ask for fewer with --faces")


def write_photos(source: Path, folder: Path, count: int) -> Path:
    """Cuts of the photograph at random places, about half its size each."""
    folder.mkdir()
    image = cv2.imread(str(source))
    if image is None:
        raise SystemExit(f"{source}: can't read it; this benchmark needs the folder `shared` beside the repository")
    draw = np.random.default_rng(0)
    for i in range(count):
        width = int(draw.integers(400, min(image.shape[1], image.shape[0] * 4 // 3)))
        height = width * 3 // 4
        x, y = draw.integers(0, image.shape[1] - width + 1), draw.integers(0, image.shape[0] - height + 1)
        small = cv2.resize(image[y : y + height, x : x + width], (320, 240), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{i:05d}.jpg"), small)
    return folder


def below(parent: int) -> list[int]:
    """All processes that a process started, directly or not."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            above = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(above, []).append(int(stat.parent.name))
    found, todo = [], [parent]
    while todo:
        todo += (mine := children.get(todo.pop(), []))
        found += mine
    return found


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def pss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def all_mb() -> float:
    return sum(pss_mb(pid) for pid in (os.getpid(), *below(os.getpid())))


if __name__ == "__main__":
    main()
