"""Nothing that only Unix has is outside of the modules that say so; the rest runs on Windows and macOS."""

import ast
from pathlib import Path

import pytest

from mien.errors import OutputError
from mien.files import write_bytes
from places import ROOT

SOURCE = ROOT / "src/mien"
UNIX_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog"}
UNIX_NAMES = {
    "os": {"chown", "fork", "geteuid", "getuid", "killpg", "mkfifo", "nice", "setsid", "statvfs", "sysconf", "uname"},
    "signal": {"SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "alarm", "pause", "setitimer"},
}
DECLARED = {
    "serving/private_folders.py": "folders of videos, which `mien serve` offers where fcntl is",
    "serving/video_work.py": "the process of a video, offered with them",
    "serving/run.py": "the number of open files; without the module it stays",
    "serving/memory.py": "the memory of the process on Linux; without /proc it is 0",
}


def unix_only(tree):
    """(name, whether it is in a function) of each use of what only Unix has."""
    inside = {id(node) for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) for node in ast.walk(each)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names} & UNIX_MODULES
        elif isinstance(node, ast.ImportFrom):
            names = {node.module} & UNIX_MODULES
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = {node.attr} & UNIX_NAMES.get(node.value.id, set())
        else:
            names = set()
        yield from ((name, id(node) in inside) for name in names)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_what_only_unix_has_is_declared(path):
    found = list(unix_only(ast.parse(path.read_text("utf-8"))))
    assert not found or path.relative_to(SOURCE).as_posix() in DECLARED, found
    assert all(in_function for _, in_function in found), found


def test_every_declared_module_needs_it():
    for place in DECLARED:
        assert list(unix_only(ast.parse((SOURCE / place).read_text("utf-8")))), place


@pytest.mark.parametrize("name", ["with space.bin", "größe-表情.bin", "a'b.bin", "x" * 100 + ".bin"])
def test_files_are_written_whole_under_any_name(tmp_path, name):
    (tmp_path / "new folder").mkdir()
    for content in (b"first", b"second"):
        write_bytes(tmp_path / "new folder" / name, content)
        assert (tmp_path / "new folder" / name).read_bytes() == content
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == [name]


def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError) as caught:
        write_bytes(tmp_path / "file" / Path("a.bin"), b"")
    assert "\n" not in str(caught.value)


def test_without_glibc_the_server_keeps_its_allocator(monkeypatch):
    def no_library(name):
        raise TypeError("argument of type 'NoneType' is not iterable")  # what Windows says to CDLL(None)

    memory = pytest.importorskip("mien.serving.memory", reason="the extra [web] is not installed")
    monkeypatch.setattr(memory.ctypes, "CDLL", no_library)
    memory.settle_allocator()
    memory._return_free_pages()
