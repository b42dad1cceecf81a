"""Settings of all tests."""

import os
import signal
from collections.abc import Iterator

import pytest

from mien.reporting import warnings_to

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a core: networks that take them all would wait for each other. Before anything imports them.
    os.environ["OMP_NUM_THREADS"] = "1"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As for a job in a shell's background; the commands under test would inherit it, and Ctrl-C would not reach them.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Half more workers than cores: many tests wait for another process."""
    return max(1, (os.cpu_count() or 1) * 3 // 2)


def pytest_configure(config: pytest.Config) -> None:
    """xdist takes the files in our order, not those with the most tests first."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that none is alone at the end. Long ones that seldom break are left out."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    if "MIEN_ALL_TESTS" not in os.environ:
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes long; set MIEN_ALL_TESTS=1 to run it"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Pages without the files of their charts, which take the most time. Whether each was to have vectors as well."""
    asked: list[bool] = []
    monkeypatch.setattr("mien.pages.Page.write_figures", lambda *_, vector=True, **__: asked.append(vector))
    return asked


@pytest.fixture
def unexported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without their model files: an export takes a second, which is more than a small training."""
    monkeypatch.setattr("mien.training.run.write_model_file", lambda *_, **__: None)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The warnings of a test, in lines."""
    lines: list[str] = []
    with warnings_to(lines.append):
        yield lines
