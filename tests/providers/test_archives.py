"""Unpacking of downloaded archives, hostile ones included."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ftwizard.providers.archives import (
    MAX_FILES,
    MIN_FREE_BYTES,
    DiskTooSmall,
    UnsafeArchive,
    unpack,
)
from tests.doubles.together_service.archive import compress

REQUIRED = ("adapter_config.json", "adapter_model.safetensors")


def write_archive(
    path: Path, members: list[tuple[str, bytes | Callable[[tarfile.TarInfo], None]]]
) -> Path:
    """Write a tar; a member that is no bytes changes its header."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                content(info)
                tar.addfile(info)
    return path


def good_members(prefix: str = "") -> list[tuple[str, bytes | Callable[[tarfile.TarInfo], None]]]:
    return [(f"{prefix}{name}", name.encode()) for name in REQUIRED]


@pytest.mark.parametrize("compression", ["zst", "gz", "none"])
@pytest.mark.parametrize("prefix", ["", "./", "ft-1/", "a/b/"])
def test_the_folder_with_the_files_becomes_the_folder(
    tmp_path: Path, compression: str, prefix: str
) -> None:
    archive = write_archive(tmp_path / "a", good_members(prefix))
    archive.write_bytes(compress(archive.read_bytes(), compression))
    folder = tmp_path / "out" / "adapter"
    unpack(archive, folder, REQUIRED)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        name: name for name in REQUIRED
    }
    assert [path.name for path in folder.parent.iterdir()] == ["adapter"]


def test_an_older_folder_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "old").touch()
    unpack(write_archive(tmp_path / "a", good_members()), folder, REQUIRED)
    assert {path.name for path in folder.iterdir()} == set(REQUIRED)


def as_link(kind: bytes, target: str) -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, target

    return change


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("../escaped", b"x"),
        ("a/../../escaped", b"x"),
        ("/tmp/escaped", b"x"),
        ("..\\escaped", b"x"),
        ("link", as_link(tarfile.SYMTYPE, "/etc/passwd")),
        ("link", as_link(tarfile.LNKTYPE, "adapter_config.json")),
        ("device", as_link(tarfile.CHRTYPE, "")),
        ("pipe", as_link(tarfile.FIFOTYPE, "")),
    ],
)
def test_nothing_outside_the_folder_is_touched(
    tmp_path: Path, name: str, content: bytes | Callable[[tarfile.TarInfo], None]
) -> None:
    archive = write_archive(tmp_path / "a", [*good_members(), (name, content)])
    with pytest.raises(UnsafeArchive):
        unpack(archive, tmp_path / "out" / "adapter", REQUIRED)
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("compression", ["zst", "gz", "none"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_an_archive_cut_anywhere_unpacks_to_nothing(
    tmp_path: Path, compression: str, share: float
) -> None:
    members = [*good_members(), ("big", bytes(range(256)) * 500)]
    data = compress(write_archive(tmp_path / "a", members).read_bytes().rstrip(b"\0"), compression)
    archive = tmp_path / "cut"
    archive.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UnsafeArchive):
        unpack(archive, tmp_path / "out" / "adapter", REQUIRED)
    assert not (tmp_path / "out" / "adapter").exists()


@pytest.mark.parametrize("name", ["./adapter_config.json", "adapter_config.json/x", "x" * 300])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    archive = write_archive(tmp_path / "a", [*good_members(), (name, b"x")])
    with pytest.raises(UnsafeArchive):
        unpack(archive, tmp_path / "adapter", REQUIRED)


def test_a_model_without_its_files(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a", good_members()[:1])
    with pytest.raises(
        UnsafeArchive, match=r"no adapter_config.json and adapter_model.safetensors"
    ):
        unpack(archive, tmp_path / "adapter", REQUIRED)


def test_a_bomb_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_archive(tmp_path / "a", [*good_members(), ("zeros", bytes(3_000_000))])
    archive.write_bytes(compress(archive.read_bytes(), "zst"))
    assert archive.stat().st_size < 10_000
    monkeypatch.setattr(
        "ftwizard.providers.archives.get_free_bytes", lambda path: MIN_FREE_BYTES + 1_000_000
    )
    with pytest.raises(DiskTooSmall, match="does not fit"):
        unpack(archive, tmp_path / "out" / "adapter", REQUIRED)
    assert list((tmp_path / "out").iterdir()) == []


def test_too_many_files(tmp_path: Path) -> None:
    def as_folder(info: tarfile.TarInfo) -> None:
        info.type = tarfile.DIRTYPE

    archive = write_archive(tmp_path / "a", [("d", as_folder)] * (MAX_FILES + 1))
    with pytest.raises(UnsafeArchive, match="more than"):
        unpack(archive, tmp_path / "adapter", REQUIRED)
