"""Each setting has one definition: its default, range and help reach the command line, mien.toml and Python."""

import subprocess
import sys

import pytest

from mien.config import check_ranges, settings_of
from mien.crop_spec import CropSpec
from mien.data.settings import AuditSettings, CropSettings
from mien.errors import ServingError
from mien.recognition.settings import WatchSettings
from mien.serving.settings import ServeSettings

# A module is loaded with one default changed in its text, before anything else imports it.
CHANGED = """
import inspect, sys
from importlib.util import find_spec, module_from_spec
from pathlib import Path

name, before, after = sys.argv[1:4]
spec = find_spec(name)
text = Path(spec.origin).read_text("utf-8")
assert text.count(before) == 1, text.count(before)
sys.modules[name] = module = module_from_spec(spec)
exec(compile(text.replace(before, after), spec.origin, "exec"), module.__dict__)

def option(command, parameter):
    return inspect.signature(command).parameters[parameter].default

def fields(settings):  # what the tables of the docs are compared with
    return {name: field.default for name, field in settings.__dataclass_fields__.items()}

def toml(table):
    file = Path(sys.argv[4]) / "mien.toml"
    file.write_text(f"[import]\\nsource = 'x'\\n[{table}]\\n")
    from mien.pipeline.settings import read_settings
    return getattr(read_settings(file), table)
"""


def with_changed(tmp_path, module, before, after, code):
    words = [sys.executable, "-c", CHANGED + code, module, before, after, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_changed_default_of_the_crop_reaches_command_toml_and_docs(tmp_path):
    code = """
from mien.cli.data.cropping import crop
print(option(crop, "size"), toml("crop").size, fields(module.CropSettings)["size"])
"""
    before, after = 'Setting("Side of a crop, pixels.", 8, 2048, metavar="PX")] = 48', 'Setting("", 8)] = 64'
    assert with_changed(tmp_path, "mien.data.settings", before, after, code) == ["64", "64", "64"]


def test_a_changed_default_of_the_audit_reaches_command_toml_and_python(tmp_path):
    code = """
from mien.cli.data.auditing import audit
from mien.data.audit import audit as library
print(option(audit, "near"), toml("audit").near)
print(option(library, "near"), module.AuditSettings().near)
"""
    assert with_changed(tmp_path, "mien.data.settings", "] = 8\n", "] = 5\n", code) == ["5", "5", "5", "5"]


def test_a_changed_default_of_watching_reaches_command_and_python(tmp_path):
    code = """
from mien.cli.watch import watch
from mien.recognition.shortcuts import Recognizer, watch as library
print(option(watch, "smooth_s"), option(library, "smooth_s"), option(Recognizer.watch, "smooth_s"))
"""
    assert with_changed(tmp_path, "mien.recognition.settings", "= 0.5", "= 0.7", code) == ["0.7", "0.7", "0.7"]


def test_a_changed_default_of_the_server_reaches_command_and_docs(tmp_path):
    code = """
from mien.cli.serve import serve
print(option(serve, "port"), fields(module.ServeSettings)["port"])
"""
    assert with_changed(tmp_path, "mien.serving.settings", "] = 8000", "] = 9000", code) == ["9000", "9000"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CropSettings(size=4), "size is 4; expected 8 to 2048"),
        (lambda: CropSettings(channels=2), "channels is 2; expected 1"),
        (lambda: CropSpec(margin=float("nan")), "margin is nan; expected -0.5 to 3"),
        (lambda: AuditSettings(folds=1), "folds is 1; expected 2 or more"),
        (lambda: check_ranges(WatchSettings(max_seconds=0)), "max_seconds is 0; expected above 0"),
        (lambda: ServeSettings(port=-1), "port is -1; expected 0 to 65535"),
    ],
)
def test_a_value_out_of_range_is_named(make, message):
    with pytest.raises((ValueError, ServingError), match=message):
        make()


def test_every_setting_of_a_table_has_a_meaning():
    for cls in (CropSettings, AuditSettings, WatchSettings, ServeSettings):
        assert all(setting.about for setting in settings_of(cls).values() if setting.option)
