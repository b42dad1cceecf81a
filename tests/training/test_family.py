"""How the shipped models came to be: the rounds' recipes, and the script that trains them in their order."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from mien.training.recipe import load_recipe
from places import ROOT

ROUNDS = sorted((ROOT / "scripts/family").glob("*.toml"))

RECORDING_MIEN = """
import json, pathlib, sys
line = sys.argv[1:]
with open("commands.jsonl", "a") as file:
    file.write(json.dumps(line) + "\\n")
out = pathlib.Path(line[line.index("--out") + 1])
if line[0] == "calibrate":
    out.parent.mkdir(parents=True)
    out.touch()
else:
    out.mkdir(parents=True, exist_ok=True)
    (out / "best.safetensors").touch()
    if "--stop-after" not in line:
        (out / "validation.npz").touch()
"""
"""In place of `mien`: notes what was asked for, and leaves what the script looks for."""


@pytest.fixture
def script(tmp_path):
    """Runs the script in a folder of its own; returns the commands that it gave."""
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    command = tmp_path / "bin/mien"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\n{RECORDING_MIEN}")
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"

    def run(*options):
        (tmp_path / "commands.jsonl").write_text("")
        line = ["bash", "scripts/train_family.sh", "DATA", *options]
        subprocess.run(line, cwd=tmp_path, env=os.environ | {"PATH": path}, check=True)
        return [json.loads(one) for one in (tmp_path / "commands.jsonl").read_text().splitlines()]

    return run


def trained(commands):
    """(recipe, run's folder, --set options) of each training."""
    for _, recipe, *options in (one for one in commands if one[0] == "train"):
        sets = [value for key, value in pairwise(options) if key == "--set"]
        yield recipe, options[options.index("--out") + 1], sets


@pytest.mark.parametrize("path", ROUNDS, ids=lambda path: path.stem)
def test_every_round_is_a_recipe_of_a_model_that_it_names(path):
    recipe = load_recipe(str(path))
    assert recipe.name in ("mien-base", "mien-small", "mien-nano", "faceres")
    assert 20 <= len(recipe.description) <= 120


def test_every_round_comes_after_what_it_begins_with_and_is_taught_by(script):
    commands = script()
    made = {"runs/calibrated", "faceres.safetensors", "dlib.safetensors", "mien-small"}
    for name, out, sets in trained(commands):
        recipe = load_recipe(str(ROOT / name) if name.endswith(".toml") else name, sets)
        starts = [start for start in recipe.network.weights.split(",") if start]
        for needed in (*starts, *recipe.distill.teachers):
            folder = str(Path(needed).parent) if Path(needed).parent != Path("runs") else needed
            assert {needed, folder} & made, f"{name} needs {needed}"
        made |= {out, f"{out}-sixth.safetensors"}
    assert {str(path.relative_to(ROOT)) for path in ROUNDS} <= {name for name, *_ in trained(commands)}


def test_stopped_it_goes_on(script):
    assert any("--threads" in one for one in script("--threads", "1"))
    assert script() == []
