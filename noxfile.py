"""What developers do: `nox --list` shows it, `nox -s NAME` does it. Each session makes an environment of its own."""

import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests", "docs", "package"]
PINNED = ("-c", "constraints.txt")
CORE = "images image_arrays signatures labels crop balance inference model_file systems"
"""Tests of reading, paths and networks that hold on any system."""


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and layers."""
    session.install(*PINNED, "-e", ".[dev]")
    for command in ("ruff check .", "ruff format --check .", "mypy", "lint-imports"):
        session.run(*command.split())


@nox.session
def tests(session: nox.Session) -> None:
    """All tests."""
    session.install(*PINNED, "-e", ".[dev]")
    session.run("pytest", "-n", "auto", "--dist", "loadfile", *session.posargs)


@nox.session
def core(session: nox.Session) -> None:
    """Recognition on any system, without the large extras."""
    session.install(*PINNED, "-e", ".[export]", "pytest", "hypothesis")
    files = [f"tests/test_{name}.py" for name in CORE.split()]
    session.run("pytest", *files, "tests/faces/test_faces.py", "tests/recognition/test_recognizer.py", "tests/results")
    session.run("mien", "predict", "src/mien/examples/astronaut.png")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, in the folder site."""
    session.install(*PINNED, "-e", ".[docs]")
    session.run("mkdocs", "build", "--strict")


@nox.session
def package(session: nox.Session) -> None:
    """Sdist and wheel in dist/; then the README's command with the installed wheel."""
    session.install("build", "twine")
    session.run("python", "-m", "build")
    files = sorted(map(str, Path("dist").glob("mien-*")))
    session.run("twine", "check", "--strict", *files)
    (wheel,) = (file for file in files if file.endswith(".whl"))
    size = Path(wheel).stat().st_size / 1e6
    if size > 25:
        sys.exit(f"{wheel}: {size:.1f} MB; at most 25")
    session.install(wheel)
    session.run("mien", "predict", "src/mien/examples/astronaut.png")


@nox.session
def images(session: nox.Session) -> None:
    """The images of the README, from the shipped photograph."""
    session.install(*PINNED, "-e", ".")
    session.run("python", "scripts/readme_images.py")
