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
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "GeForce RTX 4070 Ti SUPER"),
        ("4070 ti", "GeForce RTX 4070 Ti"),
        ("rtx4060ti 16gb", "GeForce RTX 4060 Ti 16 GB"),
        ("NVIDIA GeForce RTX 2080 Ti", "GeForce RTX 2080 Ti"),
        ("NVIDIA GeForce RTX 3060", "GeForce RTX 3060 12 GB"),
        ("rtx 3060 8 GB", "GeForce RTX 3060 8 GB"),
        ("NVIDIA RTX A2000 12GB", "RTX A2000 12 GB"),
        ("NVIDIA RTX 4000 SFF Ada Generation", "RTX 4000 SFF Ada"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "GeForce RTX 4090 Laptop"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU 16GB", "GeForce RTX 3080 Laptop 16 GB"),
        ("NVIDIA RTX A3000 12GB Laptop GPU", "RTX A3000 Laptop"),
        ("NVIDIA GeForce RTX 4090 D", "GeForce RTX 4090 D"),
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
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "NVIDIA GeForce RTX 2080 with Max-Q Design",
        "NVIDIA GeForce RTX 5090 D", "NVIDIA GeForce RTX 3090 Ti Laptop GPU",
        "NVIDIA A100-SXM-64GB", "NVIDIA GeForce RTX 3050 6GB Laptop GPU",
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
    assert nearest_gpu("rtx 4091") == "GeForce RTX 4090"
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
    assert 0.93 * spec.memory * 2**30 <= spec.usable <= spec.memory * 2**30
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
    assert re.search("datasheet|whitepaper|laptop", spec.source)
    assert 6 <= spec.memory <= 300
    assert spec.tflops is None or 18 <= spec.tflops <= 5000
    assert spec.bandwidth is None or 200 <= spec.bandwidth <= 10_000
    assert ("laptop" in spec.words) <= (spec.tflops is None), "its clock depends on the laptop"
    assert spec.bf16 or spec.fp32_tflops, "what bf16 and fp32 run at without TF32"
    assert 7.0 <= spec.capability <= 13
    assert spec.bf16 == spec.flash == (spec.capability >= 8.0)


@pytest.mark.parametrize(
    "name",
    [
        *(f"RTX {number}" for number in ("2080 Ti", "2080 SUPER", 2080, "2070 SUPER", 2070)),
        *(f"RTX {number}" for number in ("2060 SUPER", "3080 Ti", 3080, "3070 Ti", 3070)),
        *(f"RTX {number}" for number in ("3060 Ti", 3060, 3050, "4080 SUPER", 4080, "4070 Ti SUPER")),
        *(f"RTX {number}" for number in ("4070 Ti", "4070 SUPER", 4070, "4060 Ti", 4060)),
        *(f"RTX {number}" for number in (5080, "5070 Ti", 5070, "5060 Ti", 5060, 5050)),
        *(f"RTX {number} Laptop" for number in (5090, 5080, 5070, 4090, 4080, 4070, 4060, 3080, 3070)),
        *(f"A{number}" for number in (2000, 4000, 4500, 5000, 5500, 6000)),
    ],
)  # fmt: skip
def test_consumer_and_workstation_gpus_are_listed(name: str) -> None:
    spec = find_typed_gpu(name)
    assert spec is not None
    assert set(re.findall(r"\w+", name.lower())) <= set(re.findall(r"\w+", spec.name.lower()))


@pytest.mark.parametrize(
    ("name", "vendor"),
    [
        ("MI300X", "AMD"), ("AMD Instinct MI250", "AMD"), ("RX 7900 XTX", "AMD"), ("mi 210", "AMD"),
        ("Intel Arc A770", "Intel"), ("Gaudi 3", "Intel"), ("Apple M3", "Apple"), ("M2 Ultra", "Apple"),
    ],
)  # fmt: skip
def test_gpus_of_other_vendors_are_named_as_not_supported(
    name: str, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu_specs.find_unsupported(name) == vendor
    with pytest.raises(FtwizardError, match=f"not supported.*{vendor}") as error:
        read_gpu_option(name, monkeypatch)
    assert error.value.exit_code == USAGE and "NVIDIA" in error.value.hint


def test_no_nvidia_gpu_is_taken_for_another_vendors() -> None:
    assert not [spec.name for spec in cards() if gpu_specs.find_unsupported(spec.name)]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8 GB", 8 * 10**9), ("8GB", 8 * 10**9), ("8 GiB", 8 * 2**30), ("7.5 gib", int(7.5 * 2**30)),
        ("24G", 24 * 10**9), ("1024 GB", 1024 * 10**9),
        ("0 GB", None), ("0.5 GB", None), ("1025 GiB", None), ("8", None), ("-8 GB", None),
        ("A100 40 GB", None), ("8 GB 8 GB", None), ("8 MB", None), ("", None),
    ],
)  # fmt: skip
def test_memory_size_alone_stands_for_any_other_gpu(text: str, size: int | None) -> None:
    assert gpu_specs.parse_memory_size(text) == size


@pytest.mark.parametrize(("text", "count"), [("8 GB", 1), ("2 x 8 GB", 2), ("8GB x 2", 2)])
def test_gpu_of_a_memory_size_has_it_and_no_known_speed(
    text: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_machine(memory=1, cores=1, disk_free=1)
    monkeypatch.setattr(machine, "read_machine_info", lambda: here)
    gpus = estimate._read_machine(argparse.Namespace(gpu=text)).gpus
    assert [gpu.memory for gpu in gpus] == [8 * 10**9] * count
    assert find_gpu(gpus[0].name, gpus[0].memory) is None


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
