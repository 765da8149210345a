"""Doctor: every check says what was found, and what is missing says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard import doctor
from ftwizard.machine import Facts, Gpu


def facts(*gpus: Gpu, disk: int = 10**12) -> Facts:
    return Facts(
        gpus=gpus, no_gpu=None if gpus else "no NVIDIA driver here", memory=16 * 10**9, cores=8,
        bfloat16_cpu=True, disk_free=disk, credentials=(), extras=(),
    )  # fmt: skip


def by_name(found: list[doctor.Check]) -> dict[str, doctor.Check]:
    return {one.name: one for one in found}


def test_the_packages_of_the_extra_are_compared_with_what_is_installed() -> None:
    found = by_name(doctor.checks(facts()))
    assert {"torch", "transformers", "trl", "peft", "bitsandbytes", "datasets"} <= set(found)
    assert found["trl"].status == "ok"


def test_what_is_missing_or_too_old_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    versions = {"trl": "0.9", "torch": None}
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, known(name)))
    found = by_name(doctor.checks(facts()))
    assert found["trl"].status == found["torch"].status == "missing"
    assert "0.9, needs" in found["trl"].found
    assert "ftwizard[local]" in found["torch"].fix


def test_a_gpu_that_torch_cannot_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "2.9.0+cpu")
    found = doctor.checks(facts(Gpu(name="evil\x1b]0;x\x07", memory=24 * 10**9)))
    (torch,) = (one for one in found if "cannot use the GPU" in one.found)
    assert torch.status == "missing"
    assert not any("\x1b" in one.found for one in found)


def test_no_gpu_and_a_full_disk_are_warnings() -> None:
    found = by_name(doctor.checks(facts(disk=10**9)))
    assert (found["GPU"].status, found["disk"].status) == ("warning", "warning")
    assert "FTWIZARD_HOME" in found["disk"].fix


def test_sessions_that_take_their_processes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "logind.conf"
    monkeypatch.setattr(doctor, "LOGIND", file)
    assert "logind" not in by_name(doctor.checks(facts()))
    file.write_text("[Login]\n#KillUserProcesses=yes\nKillUserProcesses=no\n")
    assert "logind" not in by_name(doctor.checks(facts()))
    file.write_text("[Login]\nKillUserProcesses = yes\n")
    assert "enable-linger" in by_name(doctor.checks(facts()))["logind"].fix
