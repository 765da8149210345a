"""Downloads from Together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.runs.remote import RemoteJob
from tests.providers.together.world import MakeWorld, World, refused


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.helpers.adapters import write_adapter, write_llama

    folder = tmp_path_factory.mktemp("adapter")
    return write_adapter(write_llama(folder / "base"), folder / "adapter")


@pytest.fixture
def small_adapter(tmp_path: Path) -> Path:
    """Files with the names of an adapter."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 400)
    return folder


def download(world: World, remote: RemoteJob) -> Path:
    folder = world.folder / "downloaded"
    assert world.platform.download(remote, folder, lambda done, total: None)
    return folder


@pytest.mark.parametrize(
    "scenario", [{}, {"compression": "gz"}, {"compression": "none", "redirects_download": False}]
)
def test_the_adapter_is_what_the_job_made(
    make_world: MakeWorld, adapter: Path, scenario: dict[str, Any]
) -> None:
    from ftwizard.export.adapters import read_adapter

    world = make_world(adapter=str(adapter), **scenario)
    remote, _ = world.finish()
    reports: list[tuple[int, int]] = []
    folder = world.folder / "result" / "adapter"
    assert world.platform.download(remote, folder, lambda *pair: reports.append(pair))
    for path in adapter.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert reports[-1][0] == reports[-1][1] > 0
    assert len(read_adapter(folder).modules) == 2
    assert [path.name for path in folder.parent.iterdir()] == ["adapter"]


def test_a_full_model_is_downloaded(make_world: MakeWorld, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model-00001-of-00001.safetensors").write_bytes(b"1")
    world = make_world(model_folder=str(model))
    remote, _ = world.finish(lora=False)
    assert {path.name for path in download(world, remote).iterdir()} == {
        "config.json", "model-00001-of-00001.safetensors",
    }  # fmt: skip


def test_a_download_that_breaks_continues(make_world: MakeWorld, small_adapter: Path) -> None:
    world = make_world(adapter=str(small_adapter), compression="none")
    remote, _ = world.finish()
    world.fail_next(path="/_storage/download", drop="half", times=2)
    folder = download(world, remote)
    weights = "adapter_model.safetensors"
    assert (folder / weights).read_bytes() == (small_adapter / weights).read_bytes()


def test_a_download_that_never_ends_is_given_up(make_world: MakeWorld, small_adapter: Path) -> None:
    world = make_world(adapter=str(small_adapter), redirects_download=False)
    remote, _ = world.finish()
    world.fail_next(path="/v1/finetune/download", drop="before", times=99)
    with refused("unreachable"):
        download(world, remote)
    assert not (world.folder / "downloaded").exists()


def test_nothing_to_download(make_world: MakeWorld) -> None:
    world = make_world()
    remote, _ = world.finish()
    folder = world.folder / "downloaded"
    assert not world.platform.download(remote, folder, lambda done, total: None)
    unfinished = msgspec.structs.replace(remote, job_id=world.create(remote).id)
    assert not world.platform.download(unfinished, folder, lambda done, total: None)
    assert not folder.exists()


def test_a_download_does_not_fill_the_disk(
    make_world: MakeWorld, small_adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(adapter=str(small_adapter))
    remote, _ = world.finish()
    monkeypatch.setattr(
        "ftwizard.providers.together.downloads.get_free_bytes", lambda path: 100_000_100
    )
    with pytest.raises(FtwizardError, match="does not fit on the disk"):
        download(world, remote)
    assert not (world.folder / "downloaded").exists()


def test_a_damaged_download_leaves_the_old_folder(make_world: MakeWorld, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tar.zst"
    broken.write_bytes(b"\x28\xb5\x2f\xfdgarbage")
    world = make_world(archive=str(broken))
    remote, _ = world.finish()
    folder = world.folder / "downloaded"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(FtwizardError, match="damaged"):
        download(world, remote)
    assert [path.name for path in folder.iterdir()] == ["old"]
