"""The shell blocks of the README and of the how-to pages run as they are written."""

import os
import re
import shutil
import signal
import subprocess

import cv2
import pytest

from mien.data.toy import write_toy_folders
from places import ROOT, SHARED

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/how-to").glob("*.md"))]

ENDLESS = ("mien serve", "python -m http.server")
"""Commands that run until someone stops them."""

ELSEWHERE = ("pip install", "mien watch 0", "mien predict photo.jpg --device")
"""Commands that need a network, a camera or another build of onnxruntime: not run here."""


def commands_of(page):
    """Each command of a page's `sh` blocks, without its comment."""
    text = re.sub(r"<!-- test -->.*?<!-- end test -->", "", page.read_text("utf-8"), flags=re.S)
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+#.*", "", line).removeprefix("pip install . && ")
            if command and not command.startswith(ELSEWHERE):
                yield command


def make_files(folder):
    """What the pages work on: photographs, a clip, faces of usual classes and of four own ones."""
    (folder / "src").symlink_to(ROOT / "src")
    photo = cv2.imread(str(ROOT / "src/mien/examples/astronaut.png"))
    (folder / "photos").mkdir()
    (folder / "holiday").mkdir()
    for name in ("photo.jpg", "photos/one.jpg", "holiday/beach.jpg", "holiday/hills.jpg"):
        cv2.imwrite(str(folder / name), photo)
    shutil.copy(SHARED / "media" / "one-face-pexels.mp4", folder / "talk.mp4")
    write_toy_folders(folder / "faces", train=140, validation=35, test=70, seed=1)
    for own, usual in (("bored", "neutral"), ("calm", "happy"), ("keen", "surprise"), ("lost", "sad")):
        shutil.copytree(folder / "faces/train" / usual, folder / "my-faces" / own)
    first = sorted((folder / "my-faces/bored").iterdir())[0].name
    (folder / "decisions.csv").write_text(f"source,new_label\nbored/{first},calm\n")  # as the audit's page saves them


def stopped(command, folder):
    """Starts an endless command, and stops it as Ctrl-C does. Its output and exit code."""
    with subprocess.Popen(
        command.split(), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    return said, process.returncode


@pytest.mark.long
@pytest.mark.skipif(not (SHARED / "media").is_dir(), reason="the shared clips are absent")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_run_as_they_are_written(page, tmp_path):
    make_files(tmp_path)
    if page.name == "README.md":  # trains on the usual expressions; its predictions are read by later commands
        shutil.rmtree(tmp_path / "my-faces")
        shutil.copytree(tmp_path / "faces", tmp_path / "my-faces")
    ran = 0
    for command in commands_of(page):
        if command.startswith(ENDLESS):
            said, code = stopped(command, tmp_path)
            assert code in (0, 130, -signal.SIGINT), f"{command}\n{said}"
            assert "127.0.0.1" in said, command
        else:
            environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
            done = subprocess.run(
                ["bash", "-euc", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        ran += 1
    assert ran
