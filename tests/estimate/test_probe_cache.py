"""Probe cache: keyed by everything that affects a measurement, and by nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.estimate import probe_cache
from ftwizard.estimate.parallelism import Mode
from ftwizard.estimate.probe_cache import CachedProbe
from ftwizard.models.hub import ModelSource
from ftwizard.plan import plan_file
from ftwizard.plan.changes import pin_defaults
from ftwizard.plan.schema import Plan, Slurm, Where
from ftwizard.runs.prediction import RunFigures
from tests.helpers.probes import measured

SOURCE = ModelSource(kind="hub", name="a/b", fingerprint="one", description="a/b")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    return plan_file.parse(
        f"data: {{files: {{train: {tmp_path}/rows.jsonl}}}}\n"
        "model: {name: a/b}\nrecipe: {batch_size: 8}\n"
    )


def store_probe(plan: Plan, batch: int = 8, halved: int = 0, processes: int = 1) -> CachedProbe:
    fits = probe_cache.with_batch(plan, batch, 8 // batch)
    measurements = msgspec.structs.replace(measured(), processes=processes)
    probe = msgspec.structs.replace(
        probe_cache.from_measurements(measurements, fits, halved, 6, RunFigures()),
        fingerprint="one",
    )
    probe_cache.cache_probe(plan, probe)
    return probe


def change_recipe(plan: Plan, **recipe: Any) -> Plan:
    return msgspec.structs.replace(plan, recipe=msgspec.structs.replace(plan.recipe, **recipe))


def test_cached_probe_serves_the_plan_and_its_fitting_batch(plan: Plan) -> None:
    assert probe_cache.read_cached_probe(plan) is None
    probe = store_probe(plan, batch=2, halved=2)
    assert probe_cache.read_cached_probe(plan) == probe
    smaller = probe_cache.read_cached_probe(
        change_recipe(plan, batch_size=2, gradient_accumulation=4)
    )
    assert smaller and smaller.halved == 0 and smaller.memory == probe.memory
    assert (
        probe_cache.read_cached_probe(change_recipe(plan, batch_size=4, gradient_accumulation=2))
        is None
    )


def test_cached_probe_serves_the_run_that_writes_its_shares_out(plan: Plan) -> None:
    probe = store_probe(plan)
    pinned = pin_defaults(plan)
    assert pinned != plan and probe_cache.read_cached_probe(pinned) == probe
    split = msgspec.structs.replace(pinned.data.split, validation=0.3)
    data = msgspec.structs.replace(pinned.data, split=split)
    assert probe_cache.read_cached_probe(msgspec.structs.replace(pinned, data=data)) is None


@pytest.mark.parametrize(
    "change",
    [{"epochs": 1.0}, {"learning_rate": 1.0}, {"patience": 9}, {"seed": 7}, {"alpha": 64}],
)
def test_settings_that_do_not_affect_a_step_keep_the_cached_probe(
    plan: Plan, change: dict[str, Any]
) -> None:
    probe = store_probe(plan)
    assert probe_cache.read_cached_probe(change_recipe(plan, **change)) == probe


@pytest.mark.parametrize(
    "change",
    [{"rank": 64}, {"max_length": 99}, {"method": "qlora"}, {"packing": True},
     {"precision": "fp32"}, {"gradient_checkpointing": True}, {"target_modules": ("q_proj",)}],
)  # fmt: skip
def test_settings_that_affect_a_step_miss_the_cache(plan: Plan, change: dict[str, Any]) -> None:
    store_probe(plan)
    assert probe_cache.read_cached_probe(change_recipe(plan, **change)) is None


def test_cache_key_uses_file_contents_not_paths(plan: Plan, tmp_path: Path) -> None:
    probe = store_probe(plan)
    rows = tmp_path / "rows.jsonl"
    copy = rows.rename(tmp_path / "moved.jsonl")
    files = msgspec.structs.replace(plan.data.files, train=str(copy))
    moved = msgspec.structs.replace(plan, data=msgspec.structs.replace(plan.data, files=files))
    assert probe_cache.read_cached_probe(moved) == probe
    assert probe_cache.read_cached_probe(plan) is None, "its file was moved"
    rows.write_text("{}\n{}\n")
    assert probe_cache.read_cached_probe(plan) is None


def test_another_fingerprint_or_machine_misses_the_cache(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = store_probe(plan)
    assert probe_cache.read_cached_probe(plan, SOURCE) == probe
    assert (
        probe_cache.read_cached_probe(plan, msgspec.structs.replace(SOURCE, fingerprint="two"))
        is None
    )
    monkeypatch.setattr(probe_cache, "_machine", lambda: ["another"])
    assert probe_cache.read_cached_probe(plan, SOURCE) is None


def test_unreadable_or_unwritable_cache_is_ignored(plan: Plan, cache: Path) -> None:
    store_probe(plan)
    for file in (cache / "probes").iterdir():
        file.write_text('{"batch_size": "x"}')
    assert probe_cache.read_cached_probe(plan) is None
    for file in (cache / "probes").iterdir():
        file.unlink()
    (cache / "probes").rmdir()
    (cache / "probes").write_text("a file")
    store_probe(plan)
    assert probe_cache.read_cached_probe(plan) is None


def test_training_time_includes_all_tokens_and_evaluations() -> None:
    result = probe_cache.training_time(measured(), 3, 6)
    assert result.value == 3 * 50_000 / 1000 + 6 * 4000 / 2000
    none = probe_cache.training_time(measured(evaluation_tokens_per_s=None), 1, 0)
    assert none.value == 50


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=6), st.floats(0.1, 9), st.integers(0, 50))
def test_training_time_lies_within_its_range(rates: list[float], epochs: float, looks: int) -> None:
    result = probe_cache.training_time(measured(rates=rates), epochs, looks)
    assert result.low is not None and result.high is not None
    assert result.low < result.value < result.high


def test_every_probe_figure_has_a_source_and_a_date(plan: Plan) -> None:
    probe = store_probe(plan)
    figures = [probe.memory, probe.tokens_per_s, probe.useful_tokens_per_s, probe.step_s,
               probe.seconds, probe.device_memory, *probe.memory_parts.values()]  # fmt: skip
    assert all(figure.source and figure.as_of for figure in figures)
    assert probe.memory.value == 4000, "the maximum over loading, steps and evaluation"


def test_probe_cache_imports_no_heavy_packages() -> None:
    code = (
        "import sys, ftwizard.estimate.probe_cache; "
        "print({'torch', 'transformers', 'numpy', 'datasets', 'huggingface_hub'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_probe_of_several_processes_counts_for_as_many_in_the_same_mode(plan: Plan) -> None:
    def train_with(processes: int, **where: Any) -> Plan:
        return msgspec.structs.replace(plan, where=Where(processes=processes, **where))

    together = store_probe(train_with(2), processes=2)
    assert "with 2 processes" in together.memory.source and "with 2" in together.seconds.source
    assert probe_cache.read_cached_probe(train_with(2)) == together
    for other in (plan, train_with(3), train_with(2, parallel="fsdp")):
        assert probe_cache.read_cached_probe(other) is None
    alone = store_probe(plan)
    assert probe_cache.read_cached_probe(train_with(3)) == alone, "its speed is scaled"
    assert probe_cache.read_cached_probe(train_with(2)) == together


def test_a_probe_of_one_node_counts_for_plans_with_any_number_of_nodes(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_on(nodes: int, processes: int = 2) -> Plan:
        where = Where(processes=processes, scheduler="slurm")
        return msgspec.structs.replace(plan, where=where, slurm=Slurm(gpus=processes, nodes=nodes))

    assert probe_cache.count_processes(train_on(3)) == 2
    node = store_probe(train_on(3), processes=2)
    monkeypatch.setattr(probe_cache, "_machine", lambda: ["the login node"])
    for nodes in (1, 3, 4):
        assert probe_cache.read_cached_probe(train_on(nodes)) == node
    assert probe_cache.read_cached_probe(train_on(3, processes=4)) is None


@pytest.mark.parametrize(
    ("processes", "mode", "nodes", "is_shown"),
    [
        (2, "ddp", 1, True),
        (2, "fsdp", 1, True),
        (2, "ddp", 2, True),
        (2, "fsdp", 2, False),
        (1, None, 2, False),
    ],
)
def test_memory_of_one_node_is_that_of_several_only_without_sharding(
    plan: Plan, processes: int, mode: Mode | None, nodes: int, is_shown: bool
) -> None:
    probe = store_probe(plan)
    of_node = msgspec.structs.replace(probe.measured, processes=processes, mode=mode)
    where = Where(processes=processes, scheduler="slurm")
    several = msgspec.structs.replace(plan, where=where, slurm=Slurm(nodes=nodes))
    probe = msgspec.structs.replace(probe, measured=of_node)
    assert probe_cache.shows_memory(probe, several) == is_shown
