"""The live estimate of a recipe: measurements and counts take precedence over calculations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.advice.recipe_advice import advise_method
from ftwizard.estimate import probe_cache
from ftwizard.estimate.probe_cache import CachedProbe
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.plan import plan_file, schema
from ftwizard.runs.prediction import RunFigures
from ftwizard.screens.draft import live_estimate, setting_values
from ftwizard.screens.draft.drafts import Draft, temporary_plan
from ftwizard.text import format_bytes
from tests.helpers.estimates import make_report
from tests.helpers.machines import make_machine
from tests.helpers.probes import measured
from tests.screens.runs_helpers import make_run
from tests.screens.wizard.data.reports import report

GB = 10**9
MODEL = "Qwen/Qwen3-4B"


def machine(*gpus: Gpu) -> MachineInfo:
    return make_machine(*gpus, memory=64 * GB, cores=8, disk_free=10**12, extras=("local",))


def draft(*gpus: Gpu, rows: str = "/data/rows.jsonl", model: str = MODEL) -> Draft:
    files = schema.Files(train=rows)
    return (
        Draft(machine(*gpus))
        .with_plan(model=schema.Model(name=model))
        .with_check(files, report(rows))
    )


def card(gigabytes: float, used: float = 0) -> Gpu:
    return Gpu(name="NVIDIA GeForce RTX 4090", memory=round(gigabytes * GB), used=round(used * GB))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))


def test_memory_is_compared_with_the_free_gpu_memory() -> None:
    alone, shared = (draft(card(25.8, used)) for used in (0.2, 17.2))
    assert "of 25.8 GB ✓ fits" in live_estimate.format_prospect(alone).plain
    assert "of 8.6 GB free ✗ does not fit" in live_estimate.format_prospect(shared).plain


def test_method_advice_uses_the_free_memory_of_the_chosen_gpu() -> None:
    def method(draft: Draft) -> Any:
        return setting_values.get_advice(draft, "lora")["method"]

    small, large = card(12), card(80)
    assert method(draft(card(25.8))).value == "lora"
    busy = method(draft(card(25.8, 17.2)))
    assert busy.value == "qlora" and "8.6 GB free" in busy.reason
    both = draft(small, large)
    assert method(both).value == "qlora", "the first GPU is used"
    chosen = both.with_plan(where=schema.Where(gpu=1))
    assert method(chosen).value == "lora"
    assert "free" not in advise_method(None, machine(small)).reason


@pytest.fixture
def rows(tmp_path: Path) -> str:
    file = tmp_path / "rows.jsonl"
    file.write_text("{}\n")
    return str(file)


def cache_probe_of(draft: Draft, halved: int = 0) -> CachedProbe:
    """Cache a probe of the plan and return it."""
    with temporary_plan(draft) as file:
        plan = plan_file.load(Path(file))
    recipe = plan.recipe
    fits = probe_cache.with_batch(
        plan, recipe.batch_size // 2**halved, recipe.gradient_accumulation
    )
    probe = probe_cache.from_measurements(measured(), fits, halved, 6, RunFigures())
    probe_cache.cache_probe(plan, probe)
    return probe


def test_probe_of_the_same_plan_replaces_the_calculation(rows: str) -> None:
    before = draft(rows=rows)
    worked_out = live_estimate.estimate_recipe(before)
    probe = cache_probe_of(before)
    recipe = live_estimate.estimate_recipe(before)
    assert worked_out and recipe and worked_out.time and recipe.time
    assert "a probe" in recipe.time.source and "a probe" not in worked_out.time.source
    assert live_estimate.format_prospect(before).plain.startswith(
        f"→ {format_bytes(probe.memory.value)} of 64.0 GB ✓ fits"
    )
    other = before.with_recipe(batch_size=before.plan.recipe.batch_size * 2)
    assert "–" in live_estimate.format_prospect(other).plain.split("of 64.0 GB")[0], (
        "this batch size was not probed"
    )


def test_probe_of_a_smaller_batch_is_ignored(rows: str) -> None:
    before = draft(rows=rows)
    expected = live_estimate.format_prospect(before).plain
    cache_probe_of(before, halved=1)
    assert live_estimate.format_prospect(before).plain == expected


def test_earlier_runs_replace_the_calculated_time(home: Path, rows: str) -> None:
    item = draft(rows=rows)
    make_run(home, "before").plan.write_text(plan_file.dump(item.plan))
    recipe = live_estimate.estimate_recipe(item)
    assert recipe and recipe.time and "earlier" in recipe.time.source


def estimated(draft: Draft, **more: Any) -> Draft:
    arrived = live_estimate.estimate_recipe(draft)
    assert arrived and arrived.memory
    peak = msgspec.structs.replace(arrived.memory.peak, value=9e9, low=9e9, high=9e9)
    counted = msgspec.structs.replace(arrived.memory, peak=peak)
    rated = msgspec.structs.replace(draft.plan.recipe, learning_rate=2e-4)
    recipe = msgspec.json.decode(msgspec.json.encode(rated))
    document = {
        "parameters": 4 * 10**9, "recipe": recipe,
        "follows": msgspec.to_builtins(arrived), "memory": msgspec.to_builtins(counted),
        "probe": None, "parts": {"train": {"cut": 0, "kept": 7}}, **more,
    }  # fmt: skip
    return draft.with_estimate(make_report(**document))


def test_estimate_of_the_same_plan_replaces_the_calculation() -> None:
    item = estimated(draft().with_recipe(target_modules=("q_proj", "v_proj"), learning_rate=None))
    assert "→ 9.0 GB of 64.0 GB" in live_estimate.format_prospect(item).plain
    changed = item.with_recipe(batch_size=32)
    assert "9.0 GB of" not in live_estimate.format_prospect(changed).plain


def test_counted_lengths_are_reused_for_other_settings() -> None:
    plain = draft()
    every = live_estimate.get_lengths(plain)["train"]
    assert every
    counted = msgspec.to_builtins({"train": every.scaled(7), "validation": None})
    item = estimated(plain, lengths=counted).with_recipe(batch_size=1, gradient_accumulation=1)
    train = live_estimate.get_lengths(item)["train"]
    assert item.estimate is None and train and train.rows == 7
    other = item.with_plan(model=schema.Model(name="Qwen/Qwen3-0.6B"))
    assert other.lengths is None, "another tokenizer gives other counts"
    cut = estimated(plain, lengths=counted, parts={"train": {"cut": 2}})
    assert cut.lengths is None, "truncated rows may be longer"


@pytest.mark.parametrize("width", [56, 76, 120])
def test_problems_come_first_and_lines_fit_the_width(width: int) -> None:
    item = draft(card(25.8, 17.2)).with_recipe(max_length=128)
    text = live_estimate.format_prospect(item, width).plain.splitlines()
    assert len(text) <= live_estimate.MAX_LINES
    assert all(len(line) <= width for line in text)
    whole = " ".join(text)
    assert whole.index("does not fit") < whole.index("rows truncated") < whole.index("step")
    for words in ("does not fit", "of rows truncated", "step"):
        assert words in whole


def test_caution_depends_on_rank_and_target_modules() -> None:
    small, large = (
        live_estimate.describe_caution("Qwen/Qwen3-30B-A3B", schema.Recipe(rank=rank))
        for rank in (8, 64)
    )
    assert small and large and small != large
    assert live_estimate.describe_caution(MODEL, schema.Recipe()) == ""
    odd = schema.Recipe(target_modules=("w_q",))
    assert "w_q" in live_estimate.describe_caution(MODEL, odd)
    assert live_estimate.describe_caution(MODEL, msgspec.structs.replace(odd, method="full")) == ""
    cautions = setting_values.find_cautions(draft().with_recipe(target_modules=("w_q",)))
    assert "w_q" in cautions["target_modules"]


def test_several_gpus_are_judged_one_by_one() -> None:
    cards = (card(25.8), card(25.8, 17.2))
    several = draft(*cards).with_plan(where=schema.Where(processes=2, parallel="ddp"))
    text = live_estimate.format_prospect(several).plain
    assert "per GPU of 8.6 GB free ✗ does not fit" in text, "the one with the least free memory"
    assert "2 GPUs, DDP" in text
    alone = live_estimate.estimate_recipe(draft(*cards))
    estimate = live_estimate.estimate_recipe(several)
    assert alone and estimate and estimate.steps.value < alone.steps.value
    assert (
        "per process"
        in live_estimate.format_prospect(draft().with_plan(where=schema.Where(processes=2))).plain
    )


def test_slurm_job_is_not_judged_by_the_hardware_of_this_machine() -> None:
    where = schema.Where(scheduler="slurm")
    unknown = draft(card(25.8)).with_plan(where=where)
    text = live_estimate.format_prospect(unknown).plain
    assert "fits" not in text and " GB" in text, "only what it needs"
    known = unknown.with_plan(slurm=schema.Slurm(gpu_type="a100_80gb"))
    assert "of 85.9 GB ✓ fits" in live_estimate.format_prospect(known).plain
    estimate = live_estimate.estimate_recipe(known)
    assert estimate and estimate.time and estimate.time.source.startswith("A100 SXM 80 GB")
