"""Doctor checks: a detail for each, and a fix for each problem."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from ftwizard import credentials, doctor
from ftwizard.doctor import extras, gpu, system, trial_report, versions
from ftwizard.doctor.check import Check
from ftwizard.hardware import hub_kernels
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.hardware.nvml import GpuProcess, NoGpuCause, NvidiaDriver, NvmlGpu
from ftwizard.train import runtime
from tests.helpers.machines import make_machine
from tests.paths import ROOT

GB = 10**9
CARD = Gpu(name="evil\x1b]0;x\x07", memory=24 * GB)
FINE = NvidiaDriver(
    version="570.124.06", cuda=(12, 8), cards=(NvmlGpu(index=0, name="one", capability=(8, 9)),)
)


def facts(*gpus: Gpu, no_gpu: str = "no NVIDIA driver here", **more: Any) -> MachineInfo:
    return make_machine(*gpus, no_gpu=None if gpus else no_gpu, cores=8, disk_free=10**12, **more)


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_every_problem_has_a_fix_and_every_check_a_detail() -> None:
    driver = NvidiaDriver(cards=(NvmlGpu(index=0), NvmlGpu(index=1, lost=True)), cuda=(11, 4))
    for checks in (
        doctor.collect_checks(facts(), NvidiaDriver()),
        doctor.collect_checks(facts(CARD), driver),
    ):
        assert all(check.fix for check in checks if check.status != "ok")
        assert all(check.detail for check in checks)
        assert len({check.name for check in checks}) == len(checks)
        assert not any("\x1b" in check.detail + check.fix for check in checks)


# ------------------------------------------------------------------------------- packages


def test_extras_are_compared_with_installed_packages() -> None:
    checks = by_name(list(extras.run_checks()))
    assert {"torch", "transformers", "trl", "peft", "bitsandbytes", "datasets"} <= set(checks)
    assert checks["trl"].status == "ok"
    assert checks["gguf"].status == "ok" and "pytest" not in checks


def test_missing_or_outdated_packages_give_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"trl": "0.9", "torch": None, "gguf": None}
    get_version = versions.get_version
    monkeypatch.setattr(versions, "get_version", lambda name: there.get(name, get_version(name)))
    checks = by_name(list(extras.run_checks()))
    assert checks["trl"].status == checks["torch"].status == "missing"
    assert "0.9, needs" in checks["trl"].detail
    assert checks["torch"].fix.endswith("pip install 'ftwizard[local]'")
    assert checks["gguf"].status == "warning"
    assert checks["gguf"].fix.endswith("pip install 'ftwizard[export]'")


def test_extras_match_pyproject() -> None:
    file = ROOT / "pyproject.toml"
    declared = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
    assert set(extras.read_extras()) == set(declared)
    for name, needs in extras.read_extras().items():
        own = {Requirement(line).name for line in declared[name]} - {"ftwizard"}
        assert own <= {need.name for need in needs}


# ------------------------------------------------------------------------- driver and torch

VERSION_PY = """from typing import Optional
__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip', 'rocm', 'xpu']
__version__ = '{version}'
cuda: Optional[str] = {cuda}
"""


def build(folder: Path, version: str, cuda: str = "None") -> versions.Build:
    (folder / "version.py").write_text(VERSION_PY.format(version=version, cuda=cuda))
    build = versions.read_torch_build(folder)
    assert build is not None
    return build


def test_torch_build_is_read_from_its_version_file(tmp_path: Path) -> None:
    assert build(tmp_path, "2.13.0+cu130", "'13.0'").cuda == (13, 0)
    assert build(tmp_path, "2.13.0+cpu").cuda is None
    assert versions.read_torch_build(tmp_path / "none") is None
    here = versions.read_torch_build()
    assert here is not None and here.version == versions.get_version("torch")


@pytest.mark.parametrize(
    ("driver", "cuda", "status", "fix"),
    [
        ((12, 8), "'12.6'", "ok", ""),
        ((12, 2), "'12.8'", "ok", ""),  # minor version compatibility
        ((13, 0), "'12.8'", "ok", ""),
        ((12, 8), "'13.0'", "missing", "580"),
        ((12, 8), "'13.0'", "missing", "whl/cu126"),
        ((11, 4), "'12.8'", "missing", "525"),
        ((13, 0), "None", "missing", "whl/cu130"),
        ((12, 8), "None", "missing", "whl/cu126"),
        (None, "'12.8'", "ok", ""),
    ],
)
def test_driver_and_torch_mismatch_gives_a_fix(
    tmp_path: Path, driver: versions.Version | None, cuda: str, status: str, fix: str
) -> None:
    nvidia = NvidiaDriver(version="1", cuda=driver, cards=FINE.cards)
    (check,) = versions.check_build(nvidia, build(tmp_path, "2.13.0", cuda))
    assert check.status == status and fix in check.fix and bool(fix) == bool(check.fix)


def test_new_gpu_is_not_sent_to_a_build_without_its_kernels(tmp_path: Path) -> None:
    new = NvidiaDriver(version="570", cuda=(12, 8), cards=(NvmlGpu(index=0, capability=(12, 0)),))
    for torch in (build(tmp_path, "2.13.0", "'13.0'"), build(tmp_path, "2.13.0+cpu")):
        (check,) = versions.check_build(new, torch)
        assert "580" in check.fix and "cu126" not in check.fix


def test_build_check_is_silent_without_gpu_or_torch(tmp_path: Path) -> None:
    assert not list(versions.check_build(NvidiaDriver(), build(tmp_path, "2.13.0+cpu")))
    assert not list(versions.check_build(FINE, None))


@pytest.mark.parametrize(
    ("capability", "archs", "runs"),
    [
        ((8, 6), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_80", "sm_86"], False),
        ((12, 0), ["sm_80", "compute_90"], True),
        ((6, 1), ["sm_75", "sm_80", "compute_120"], False),
        ((9, 0), ["sm_90a"], True),
        ((10, 0), ["sm_90a"], False),
        ((10, 3), ["sm_100f"], True),
        ((8, 0), [], False),
    ],
)
def test_has_kernels_follows_cuda_compatibility_rules(
    capability: versions.Version, archs: list[str], runs: bool
) -> None:
    assert versions.has_kernels(capability, archs) == runs


@given(st.tuples(st.integers(5, 13), st.integers(0, 9)))
def test_gpu_runs_kernels_built_for_its_capability(capability: versions.Version) -> None:
    major, minor = capability
    for arch in (f"sm_{major}{minor}", f"sm_{major}{minor}a", f"compute_{major}{minor}"):
        assert versions.has_kernels(capability, [arch])


# ------------------------------------------------------------------------------------ GPUs


def card_checks(card: NvmlGpu) -> dict[str, Check]:
    return by_name(list(gpu.check_card(card)))


def test_healthy_gpu_gives_no_checks() -> None:
    assert card_checks(NvmlGpu(index=0, memory_total=80 * GB, memory_used=GB // 2)) == {}
    assert card_checks(NvmlGpu(index=0)) == {}


def test_memory_used_by_other_processes_warns() -> None:
    processes = (GpuProcess(pid=1, memory=12 * GB), GpuProcess(pid=2**30, memory=None))
    card = NvmlGpu(index=1, memory_total=24 * GB, memory_used=13 * GB, processes=processes)
    usage = card_checks(card)["GPU 1"]
    assert usage.status == "warning" and "13.0 GB of 24.0 GB" in usage.detail
    assert "processes 1 (12.0 GB), 1073741824" in usage.detail and "where.gpu" in usage.fix


def test_lost_faulty_and_mig_gpus_give_fixes() -> None:
    assert "Xid" in card_checks(NvmlGpu(index=2, lost=True))["GPU 2"].fix
    errors = card_checks(NvmlGpu(index=0, uncorrected_errors=2))["GPU 0 memory"]
    assert "2 uncorrectable" in errors.detail and "--gpu-reset" in errors.fix
    assert "MIG" in card_checks(NvmlGpu(index=0, mig=[]))["GPU 0 MIG"].fix


@pytest.mark.parametrize(
    ("cause", "fix"),
    [
        ("mismatch", "reboot"),
        ("not_loaded", "modprobe"),
        ("hidden", "unset CUDA_VISIBLE_DEVICES"),
        ("unmatched", "nvidia-smi -L"),
        ("lost", "reboot"),
        ("hung", "dmesg"),
        ("no_driver", gpu.CPU_ADVICE),
        ("other", gpu.CPU_ADVICE),
        (None, gpu.CPU_ADVICE),
    ],
)
def test_missing_gpu_gives_a_reason_and_a_fix(
    tmp_path: Path, cause: NoGpuCause | None, fix: str
) -> None:
    info = facts(no_gpu="the reason", no_gpu_cause=cause)
    check = next(gpu.run_checks(info, NvidiaDriver(), root=tmp_path))
    assert check.status == "warning" and "the reason" in check.detail and fix in check.fix


def test_gpu_on_the_bus_without_driver_suggests_installing_it(tmp_path: Path) -> None:
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030200\n")
    info, driver = facts(no_gpu_cause="no_driver"), NvidiaDriver(cause="no_driver")
    check = next(gpu.run_checks(info, driver, root=tmp_path))
    assert "1 NVIDIA card on the bus" in check.detail and "ubuntu-drivers" in check.fix
    (tmp_path / ".dockerenv").touch()
    assert "--gpus all" in next(gpu.run_checks(info, driver, root=tmp_path)).fix
    (device / "class").write_text("0x040300\n")  # its sound device
    assert gpu.count_nvidia_cards(tmp_path) == 0


def test_identical_gpus_are_counted() -> None:
    check = next(gpu.run_checks(facts(*[Gpu(name="H100", memory=80 * GB)] * 8), NvidiaDriver()))
    assert check.detail == "8 × H100, 80.0 GB"


def test_several_gpus_note_that_a_run_uses_only_one() -> None:
    cards = (NvmlGpu(index=0), NvmlGpu(index=1), NvmlGpu(index=2, lost=True))
    for driver, detail in ((NvidiaDriver(cards=cards), "2; a run uses one of them"), (FINE, "")):
        check = by_name(list(gpu.run_checks(facts(CARD), driver))).get("several GPUs")
        assert check.detail.startswith(detail) if check else not detail


# --------------------------------------------------------------- precision and attention


def test_auto_precision_and_attention_depend_on_the_gpu() -> None:
    assert gpu.AMPERE == runtime.AMPERE
    old, new = (gpu.check_precision(facts(CARD), version) for version in ((7, 5), (8, 0)))
    assert (old.status, new.status) == ("warning", "ok") and "fp16" in old.detail
    assert "bf16, which the CPU" in gpu.check_precision(facts(), None).detail
    without_compiler = gpu.check_attention((8, 0), facts(CARD)).detail
    assert "FlashAttention" in without_compiler and hub_kernels.FLASH_ATTENTION in without_compiler
    assert gpu.check_attention((7, 5), facts(CARD)).detail == "auto uses sdpa"
    installed = facts(CARD, flash_attn=True)
    assert "uses flash-attn" in gpu.check_attention((8, 0), installed).detail
    assert "uses sdpa" in gpu.check_attention((7, 5), installed).detail
    assert "uses sdpa" in gpu.check_attention(None, facts(flash_attn=True)).detail


def test_first_visible_gpu_follows_the_selection() -> None:
    driver = NvidiaDriver(cards=(NvmlGpu(index=0, lost=True), NvmlGpu(index=1), NvmlGpu(index=2)))
    taken = [gpu.get_first_visible(driver, selection) for selection in (None, "2,1", "MIG-x")]
    assert [card.index for card in taken if card] == [1, 2, 1]
    assert gpu.get_first_visible(NvidiaDriver(), None) is None


# ------------------------------------------------------------------------------------ keys


def check_keys(environment: dict[str, str]) -> tuple[list[Check], dict[str, Check]]:
    credential_list = credentials.find_credentials(environment)
    checks = list(system.check_keys(credential_list, environment))
    return checks, by_name(checks)


def test_keys_are_listed_without_their_values(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    environment = {"OPENAI_API_KEY": "sk-secret", "HF_TOKEN": "hf_secret"}
    checks, named = check_keys(environment)
    assert "OPENAI_API_KEY is set" in named["key: openai"].detail
    assert "HF_TOKEN is set" in named["key: huggingface"].detail
    assert named["keys: none for"].detail == "together, aws, gcp, azure"
    assert "secret" not in repr(checks)
    assert "no provider uses it yet" in named["key: openai"].detail


def test_missing_hugging_face_token_warns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    checks = check_keys({"HF_HUB_OFFLINE": "1"})[1]
    assert checks["key: huggingface"].status == "warning"
    assert "hf auth login" in checks["key: huggingface"].fix
    assert checks["Hub"].fix == "unset HF_HUB_OFFLINE"
    (tmp_path / "token").write_text("hf_secret")
    (tmp_path / "token").chmod(0o600)
    moved = check_keys({"HF_HOME": str(tmp_path)})[1]["key: huggingface"]
    assert moved.status == "ok" and str(tmp_path / "token") in moved.detail


# ------------------------------------------------------------------- error explanations


@pytest.mark.parametrize(
    ("error", "meaning", "fix"),
    [
        (
            "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
            "too old",
            "Update the driver",
        ),
        ("RuntimeError: CUDA error: no kernel image is available", "capability", "build for it"),
        (
            "Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized",
            "fabric",
            "nvidia-fabricmanager",
        ),
        (
            "Error 804: forward compatibility was attempted on non supported HW",
            "804",
            "LD_LIBRARY_PATH",
        ),
        (
            "OSError: libcudart.so.12: cannot open shared object file: No such file or directory",
            "libcudart.so.12 is missing",
            "--force-reinstall",
        ),
        ("ImportError: x.so: undefined symbol: _ZN3c104cuda9SetDeviceEi", "another version", ""),
        (
            "RuntimeError: \n🚨 CUDA VERSION MISMATCH 🚨\nRequested CUDA version: 12.9",
            "no binary",
            "pip install -U bitsandbytes",
        ),
        (
            "RuntimeError: Method 'cgemm' not available in CPU-only version of bitsandbytes.",
            "for the CPU only",
            "--force-reinstall",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "no free memory", "Stop"),
        (
            "RuntimeError: operator torchvision::nms does not exist",
            "another torch",
            "pip uninstall torchvision",
        ),
        ("ModuleNotFoundError: No module named 'triton'", "find triton", "ftwizard[local]"),
        ("ValueError: something new", "ValueError: something new", ""),
        ("", "no error message", ""),
    ],
)
def test_errors_are_explained_in_plain_words(error: str, meaning: str, fix: str) -> None:
    means, what_to_do = trial_report.explain_error(error)
    assert meaning in means and fix in what_to_do


@given(st.text(max_size=300))
def test_any_error_text_gets_a_one_line_explanation(error: str) -> None:
    means, _ = trial_report.explain_error(error)
    assert means and "\n" not in means
