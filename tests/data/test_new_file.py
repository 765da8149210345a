"""New files: complete or absent, and never in place of an existing file."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftwizard.data.new_file import new_file
from ftwizard.errors import FtwizardError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    """Limit the files of this process to 64 kB, as a quota would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write(path: Path, data: bytes = b"new", *, not_over: tuple[Path, ...] = ()) -> None:
    with new_file(path, not_over=not_over) as file:
        file.write(data)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def get_write_error(path: Path, *, not_over: tuple[Path, ...] = ()) -> FtwizardError:
    with pytest.raises(FtwizardError) as caught:
        write(path, not_over=not_over)
    return caught.value


def test_file_appears_only_after_writing_completes(folder: Path) -> None:
    with new_file(folder / "a") as file:
        file.write(b"rows")
        assert not (folder / "a").exists()
    assert (folder / "a").read_bytes() == b"rows"
    assert names(folder) == ["a"]


def test_new_file_has_the_default_permissions(folder: Path) -> None:
    write(folder / "a")
    (folder / "b").write_bytes(b"")
    assert (folder / "a").stat().st_mode == (folder / "b").stat().st_mode


def test_existing_paths_are_never_overwritten(folder: Path) -> None:
    (folder / "file").write_bytes(b"old")
    (folder / "link").symlink_to("file")
    (folder / "nowhere").symlink_to("gone")
    os.mkfifo(folder / "pipe")
    for name in ("file", "link", "nowhere", "pipe", "."):
        before = names(folder)
        error = get_write_error(folder / name)
        assert str(folder) in error.message
        assert names(folder) == before
    assert (folder / "file").read_bytes() == b"old"
    assert "does not exist" in get_write_error(folder / "gone" / "file").message


def test_input_file_is_recognized_through_links(folder: Path) -> None:
    data = folder / "data"
    data.write_bytes(b"old")
    (folder / "soft").symlink_to(data)
    (folder / "hard").hardlink_to(data)
    (folder / "sub").mkdir()
    for name in ("data", "soft", "hard", "sub/../data"):
        error = get_write_error(folder / name, not_over=(data,))
        assert "is the input file" in error.message
    assert data.read_bytes() == b"old"


def test_file_created_meanwhile_is_kept(folder: Path) -> None:
    with pytest.raises(FtwizardError, match="another process"), new_file(folder / "a") as file:
        file.write(b"ours")
        (folder / "a").write_bytes(b"theirs")
    assert (folder / "a").read_bytes() == b"theirs"
    assert names(folder) == ["a"]


def test_interrupted_write_leaves_no_file(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_file(folder / "a") as file:
        file.write(b"rows")
        raise KeyboardInterrupt
    assert names(folder) == []


@pytest.mark.usefixtures("file_size_limit")
@pytest.mark.parametrize("size", [1 << 17, (1 << 16) + 100])
def test_write_beyond_quota_raises_error_and_leaves_no_file(folder: Path, size: int) -> None:
    with pytest.raises(FtwizardError, match="a was not written"):
        write(folder / "a", b"x" * size)
    assert names(folder) == []


def test_unwritable_folder_is_named_in_the_error(folder: Path) -> None:
    if os.geteuid() == 0:
        folder = Path("/proc/self")  # not even root can create files here
    else:
        folder.chmod(0o500)
    error = get_write_error(folder / "a")
    assert "could not be created" in error.message and str(folder) in error.message
