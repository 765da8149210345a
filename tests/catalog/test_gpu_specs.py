"""GPU specs: lookup by driver name or typed name, and figures with a datasheet and a date."""

from __future__ import annotations

import argparse
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.catalog import gpu_specs
from ftwizard.catalog.gpu_specs import GpuSpec, cards, find_gpu, find_typed_gpu, nearest_gpu
from ftwizard.cli import estimate
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.hardware import machine
from tests.helpers.machines import make_machine


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100 SXM 80 GB"),
        ("NVIDIA A100-SXM4-40GB", "A100 SXM 40 GB"),
        ("NVIDIA A100-PCIE-40GB", "A100 PCIe 40 GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80 GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A40", "A40"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA GeForce RTX 4090", "GeForce RTX 4090"),
        ("GeForce RTX 3090", "GeForce RTX 3090"),
        ("NVIDIA GeForce RTX 5090", "GeForce RTX 5090"),
        ("Tesla V100-SXM2-16GB", "V100 SXM 16 GB"),
        ("Tesla V100-PCIE-32GB", "V100 PCIe 32 GB"),
        ("Tesla T4", "T4"),
        ("A10G 24GB", "A10G"),
        ("A100 40 GB", "A100 SXM 40 GB"),
        ("a100-80gb", "A100 SXM 80 GB"),
        ("v100 16 GiB", "V100 SXM 16 GB"),
        ("rtx4090", "GeForce RTX 4090"),
        ("rtx-4090", "GeForce RTX 4090"),
        ("A100 80 GB", "A100 SXM 80 GB"),
        ("NVIDIA H200 NVL", "H200 NVL"),
        ("NVIDIA GH200 480GB", "GH200 (H100 96 GB)"),
    ],
)
def test_find_gpu_matches_driver_and_typed_names(name: str, expected: str) -> None:
    gpu = find_gpu(name)
    assert gpu is not None and gpu.name == expected
    assert find_typed_gpu(name) == gpu, "no words are left over"


@pytest.mark.parametrize(
    "name",
    [
        None, "", "Double 0", "AMD Instinct MI300X", "NVIDIA GeForce GTX 1080", "NVIDIA L400",
        "A100 24 GB", "T4 160 GB",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D", "NVIDIA GeForce RTX 3090 Ti", "NVIDIA A100-SXM-64GB",
        "GRID A100-40C",
    ],
)  # fmt: skip
def test_find_gpu_rejects_unknown_names(name: str | None) -> None:
    assert find_gpu(name) is None


@pytest.mark.parametrize("spec", cards(), ids=lambda item: str(item.name))
def test_display_name_finds_its_own_gpu(spec: GpuSpec) -> None:
    for name in (spec.name, spec.name.lower(), spec.name.upper()):
        assert find_gpu(name) == spec


def read_gpu_option(text: str, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Return the names of the GPUs that ``--gpu`` selects."""
    here = make_machine(memory=1, cores=1, disk_free=1)
    monkeypatch.setattr(machine, "read_machine_info", lambda: here)
    return [item.name for item in estimate._read_machine(argparse.Namespace(gpu=text)).gpus]


@pytest.mark.parametrize(
    ("text", "count", "name"),
    [
        ("A100", 1, "A100 SXM 80 GB"),
        ("rtx 4090", 1, "GeForce RTX 4090"),
        ("2 x A100 40 GB", 2, "A100 SXM 40 GB"),
        ("2×A100", 2, "A100 SXM 80 GB"),
        ("64 X T4", 64, "T4"),
        ("A100 x 2", 2, "A100 SXM 80 GB"),
        ("A100x2", 2, "A100 SXM 80 GB"),
        ("RTX 4090 X 3", 3, "GeForce RTX 4090"),
    ],
)
def test_gpu_count_precedes_or_follows_the_name(
    text: str, count: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_gpu_option(text, monkeypatch) == [name] * count


@pytest.mark.parametrize(
    "text",
    [
        "-1 x A100", "+2 x A100", "1.5 x A100", "1,000 x A100", "0 x A100", "65 x A100",
        "1000000 x A100", "A100 x 1.5", "A100 x -1", "2 x A100 and L4", "2 x A100, L4", "A100 L4",
        "2 x A100 x 2", "A100 2", "x A100", "two x A100", "2 x", "A100 x", "A100 24 GB",
    ],
)  # fmt: skip
def test_invalid_gpu_counts_and_leftover_words_are_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FtwizardError, match=r"is not a valid number of GPUs|Unknown GPU") as error:
        read_gpu_option(text, monkeypatch)
    assert error.value.exit_code == USAGE


def test_nearest_gpu_suggests_close_names_only() -> None:
    assert nearest_gpu("rtx 4080") == "GeForce RTX 4090"
    assert nearest_gpu("voodoo 2") is None


def test_memory_size_distinguishes_gpus_of_the_same_name() -> None:
    for memory, expected in (
        (42_949_672_960, "A100 SXM 40 GB"),
        (85_899_345_920, "A100 SXM 80 GB"),
    ):
        gpu = find_gpu("NVIDIA Graphics A100", memory)
        assert gpu is not None and gpu.name == expected


def test_unexpected_memory_size_matches_no_gpu() -> None:
    for name, mib in (("NVIDIA A100-SXM-64GB", 65_536), ("NVIDIA H100", 65_247),
                      ("NVIDIA GeForce RTX 4090", 49_140)):  # fmt: skip
        assert find_gpu(name, mib * 2**20) is None


@pytest.mark.parametrize("spec", cards(), ids=lambda item: item.name)
def test_driver_memory_is_close_to_the_nominal_size(spec: GpuSpec) -> None:
    assert 0.93 * spec.memory * 1024 <= spec.driver_memory <= spec.memory * 1024
    words = " ".join(spec.words)
    assert find_gpu(words, spec.usable) == spec


def test_usable_memory_is_below_the_nominal_size() -> None:
    result = {card.name: card.usable for card in cards()}
    assert result["L40S"] == 46_068 * 2**20 == 48_305_799_168
    assert result["L4"] == 23_034 * 2**20 and result["T4"] == 15_360 * 2**20


@given(st.none() | st.text(max_size=80), st.none() | st.integers(1, 2**40))
def test_find_gpu_handles_any_name_and_memory(name: str | None, memory: int | None) -> None:
    assert find_gpu(name, memory) is None or find_gpu(name, memory) in cards()


@pytest.mark.parametrize("spec", cards(), ids=lambda item: item.name)
def test_gpu_figures_are_plausible_sourced_and_dated(spec: GpuSpec) -> None:
    assert re.fullmatch(r"20\d\d-\d\d", spec.as_of)
    assert re.search("datasheet|whitepaper", spec.source)
    assert 8 <= spec.memory <= 300 and 20 <= spec.tflops <= 5000 and 200 <= spec.bandwidth <= 10_000
    assert 7.0 <= spec.capability <= 13
    assert spec.bf16 == spec.flash == (spec.capability >= 8.0)


def test_common_gpus_are_listed() -> None:
    names = " ".join(card.name for card in cards())
    for wanted in ("H100 SXM", "H100 PCIe", "H200", "B200", "L40S", "L4", "A10G", "A6000",
                   "6000 Ada", "4090", "3090", "5090", "V100", "T4", "A40"):  # fmt: skip
        assert wanted in names


def test_find_gpu_prefers_the_entry_of_a_variant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = next(spec for spec in cards() if spec.words == ("3090",))
    variant = msgspec.structs.replace(plain, name="GeForce RTX 3090 Ti", words=("3090", "ti"))
    monkeypatch.setattr(gpu_specs, "cards", lambda: (variant, plain))
    for name in ("NVIDIA GeForce RTX 3090 Ti", "rtx3090ti", "3090 ti"):
        assert find_gpu(name) == variant
    assert find_gpu("NVIDIA GeForce RTX 3090") == plain
    assert find_gpu("NVIDIA GeForce RTX 3090 Ti Laptop GPU") is None
