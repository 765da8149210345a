"""Memory in the estimate: its parts, probe measurements and uncounted models."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from ftwizard.catalog.model_configs import find_config
from ftwizard.estimate import article, plan_estimate, probe_cache, training_machine
from ftwizard.estimate.batching import from_counts
from ftwizard.estimate.longest_rows import find_longest_rows
from ftwizard.estimate.memory import MemoryEstimate
from ftwizard.estimate.report_text import BAR_WIDTH
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.models.architectures import build_shape
from ftwizard.models.shapes import ModelShape
from ftwizard.plan import schema
from ftwizard.plan.schema import Plan
from ftwizard.quantity import Figure
from ftwizard.runs.prediction import RunFigures
from ftwizard.screens import layout
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.draft import texts
from ftwizard.screens.wizard.estimate.page import EstimatePage
from ftwizard.train import memory_ledger
from ftwizard.train.memory_ledger import MemoryCount
from tests.helpers.estimates import make_report
from tests.helpers.machines import make_machine
from tests.helpers.probes import measured
from tests.screens.costs.test_hour_price import ESTIMATE, estimated
from tests.screens.frames import drive, frame, wait_for_text

GB = 10**9
NAME = "meta-llama/Llama-3.1-8B"
CARD = Gpu(name="NVIDIA GeForce RTX 4090", memory=25 * GB)


def machine(*gpus: Gpu) -> MachineInfo:
    return make_machine(*gpus, memory=64 * GB)


def llama() -> ModelShape:
    config = find_config(NAME)
    assert config is not None
    return build_shape(config.config, NAME)


def chosen(**recipe: Any) -> Plan:
    return schema.Plan(
        data=schema.Data(files=schema.Files(train="r.jsonl")), model=schema.Model(name=NAME),
        recipe=schema.Recipe(**recipe),
    )  # fmt: skip


def document(*gpus: Gpu, **more: Any) -> dict[str, Any]:
    """Return an estimate for QLoRA on Llama 3.1 8B with the given GPUs."""
    item, facts = chosen(method="qlora"), machine(*gpus)
    fit = plan_estimate.check_plan_fit(item, {}, llama(), facts)
    gpu = training_machine.plan_gpu(item, facts)
    assert gpu and fit
    return ESTIMATE | {
        "memory": msgspec.to_builtins(fit.memory), "fit": msgspec.to_builtins(fit),
        "here": {"name": gpu.name, "memory": gpu.memory, "gpu": True},
        "room": training_machine.available_bytes(item, facts), "probe": None, "measured": None,
        "article": msgspec.to_builtins(article.compare_with_article(item, {}, llama(), facts)),
        "uncounted": None, "one_gpu": None, **more,
    }  # fmt: skip


def describe(result: dict[str, Any]) -> str:
    return texts.format_estimate(estimated().with_estimate(make_report(**result)), "").plain


def test_longest_rows_that_fit_are_on_the_page() -> None:
    rows = find_longest_rows(chosen(method="qlora"), {}, llama(), machine(CARD), context=131_072)
    four, one = rows
    words = " ".join(describe(document(CARD, longest_rows=msgspec.to_builtins(rows))).split())
    assert (
        f"longest {four.fits:,} tokens fit, {four.may_fit:,} may fit (4 rows per pass); "
        f"{one.fits:,} tokens fit, {one.may_fit:,} may fit (1 row per pass)"
    ) in words
    assert "may fit" not in describe(document(CARD, longest_rows=[]))


def test_memory_parts_are_listed_with_the_figures_of_the_article() -> None:
    words = describe(document(CARD))
    for name in ("weights", "LoRA", "optimizer", "activations"):
        assert f" {name} " in words
    assert "): 16.0 GB (model and overhead 10.0 GB, LoRA 2.0 GB, optimizer 4.0 GB)" in words


def test_memory_used_by_other_programs_is_not_available() -> None:
    result = document(msgspec.structs.replace(CARD, used=20 * GB))
    assert "✗ does not fit" in describe(result) and "of 5.0 GB free of 25.0 GB" in describe(result)


MEASURED = Figure(value=12.5 * GB, unit="bytes", source="measured", as_of="2026-11-25")


def test_probe_measurement_sets_the_bar_and_the_verdict() -> None:
    result = document(CARD, measured=msgspec.to_builtins(MEASURED))
    words = describe(result)
    assert "✓ fits  12.5 GB of 25.0 GB" in words
    assert f"{'█' * (BAR_WIDTH // 2)}{'·' * (BAR_WIDTH // 2)}\n" in words, (
        "half of the bar is filled"
    )
    assert "measured by a probe here on 2026-11-25; estimated" in words


def test_probe_that_halved_the_batch_says_this_batch_did_not_fit() -> None:
    item = chosen(method="qlora")
    probe = probe_cache.from_measurements(
        measured(), probe_cache.with_batch(item, 2, 2), 1, 6, RunFigures()
    )
    result = document(CARD, probe=msgspec.to_builtins(probe))
    assert "probe: batch size 2 fits in 4 kB; this one did not fit" in describe(result)


def test_measured_peak_counts_the_context_once_and_no_other_programs() -> None:
    memory = msgspec.convert(document(CARD)["memory"], MemoryEstimate)
    context = memory.parts["context"].value

    def of(on_device: float) -> float:
        recorded = measured(memory_training=8 * GB, memory_on_device=round(on_device))
        probe = probe_cache.from_measurements(recorded, chosen(), 0, 6, RunFigures())
        return plan_estimate.measured_peak(probe, memory).value

    assert of(8.25 * GB) == 8.25 * GB
    assert of(20 * GB) == 8 * GB + context
    alone = probe_cache.from_measurements(measured(), chosen(), 0, 6, RunFigures())
    assert plan_estimate.measured_peak(alone, memory) == alone.memory


def test_estimate_explains_uncounted_memory_and_the_single_gpu() -> None:
    words = describe(document(CARD, uncounted="Its tensors hide.", one_gpu="A run uses one GPU."))
    assert "Its tensors hide." in words and "A run uses one GPU." in words
    without = describe(ESTIMATE | {"memory": None, "uncounted": "Its tensors hide."})
    assert "unknown for this kind of model" in without and "Its tensors hide." in without


@pytest.mark.parametrize(
    ("gpus", "again", "counts"),
    [((CARD,), False, True), ((CARD,), True, False), ((CARD,), None, False), ((), False, False)],
)
def test_tensors_are_counted_only_for_a_gpu(
    gpus: tuple[Gpu, ...], again: bool | None, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    setups: list[Any] = []

    def memory(config: Any, setup: Any, say: Any) -> MemoryCount:
        setups.append(setup)
        return MemoryCount(why="asked")

    monkeypatch.setattr(memory_ledger, "count_memory", memory)
    monkeypatch.setattr(memory_ledger, "is_installed", lambda name: True)
    item = chosen(gradient_checkpointing=again)
    plan = memory_ledger.count_plan(
        item, {"a": 1}, llama(), {}, machine(*gpus), lambda *_, **__: None
    )
    assert bool(setups) == counts == (plan.why == "asked")


def test_estimate_page_hides_keys_without_effect() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(EstimatePage(estimated()))
        await wait_for_text(pilot, "probe (measure)")
        assert "next field" not in frame(pilot.app)

    drive(FtwizardApp(), (160, 50), play)


def test_time_range_is_rounded_to_its_precision() -> None:
    time = {"value": 4000.0, "low": 1337.0, "high": 12_013.0, "unit": "s", "source": "estimated"}
    assert "22 min – 3 h 20 min, ends" in describe(document(CARD, time=time))


def test_estimate_page_shows_the_caution_about_the_model() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        draft = estimated().with_plan(model=schema.Model(name="Qwen/Qwen3-30B-A3B"))
        pilot.app.push_screen(EstimatePage(draft.with_estimate(make_report(**ESTIMATE))))
        await wait_for_text(pilot, "! Safer for a first run")

    drive(FtwizardApp(), (160, 50), play)


def test_each_of_several_gpus_and_all_of_them_are_on_the_page() -> None:
    plan = msgspec.structs.replace(
        chosen(method="qlora"), where=schema.Where(processes=2, parallel="fsdp")
    )
    lengths = {"train": from_counts([300] * 200)}
    run = plan_estimate.estimate_plan(plan, lengths, llama(), machine(CARD, CARD))
    assert run
    result = document(
        CARD, memory=msgspec.to_builtins(run.memory), follows=msgspec.to_builtins(run)
    )
    draft = estimated().with_estimate(make_report(**result))
    text = layout.wrap_hanging(
        texts.format_estimate(draft, ""), texts.ESTIMATE_NAMES_WIDTH, 78
    ).plain
    assert max(map(len, text.splitlines())) <= 78
    words = " ".join(text.split())
    assert "processes 2 GPUs, FSDP · " in words and "of 25.0 GB, on each NVIDIA" in words
    assert " ▓ gathered " in words and " on all 2: divided among them: " in words
    probed = estimated().with_estimate(
        make_report(**result | {"measured": msgspec.to_builtins(MEASURED)})
    )
    words = " ".join(texts.format_estimate(probed, "").plain.split())
    assert "12.5 GB of" in words and " at most 25.0 GB on all 2: divided among them: " in words


def test_probe_of_a_slurm_plan_is_refused_before_anything_runs() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        draft = estimated().with_plan(where=schema.Where(scheduler="slurm"))
        pilot.app.push_screen(EstimatePage(draft.with_estimate(make_report(**ESTIMATE))))
        await wait_for_text(pilot, "probe (measure)")
        await pilot.press("p")
        await wait_for_text(pilot, "login node")

    drive(FtwizardApp(), (160, 50), play)
