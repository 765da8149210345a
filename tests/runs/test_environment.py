"""The recorded hardware and versions of a run."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import pytest

from ftwizard.hardware import machine
from ftwizard.hardware.machine import Gpu
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import environment


def test_the_environment_of_this_process_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "list_gpus", lambda: (Gpu(name="NVIDIA L4", memory=24_000),))
    folder = JobFolder(tmp_path)
    environment.record_environment(folder)
    recorded = environment.read_environment(folder)
    assert recorded is not None
    assert recorded.packages["transformers"] == metadata.version("transformers")
    assert [(gpu.name, gpu.memory) for gpu in recorded.gpus] == [("NVIDIA L4", 24_000)]
    assert recorded.cores == len(os.sched_getaffinity(0)) and recorded.memory > 1 << 28
    text = (tmp_path / environment.FILE).read_text()
    assert f'"{platform.node()}"' not in text and str(Path.home()) not in text


def test_packages_that_are_missing_have_no_version() -> None:
    assert environment.read_versions(["msgspec", "no-such-package"]) == {
        "msgspec": metadata.version("msgspec")
    }


def test_runs_of_earlier_versions_have_no_environment(tmp_path: Path) -> None:
    assert environment.read_environment(JobFolder(tmp_path)) is None
