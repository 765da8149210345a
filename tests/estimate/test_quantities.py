"""Sources and dates of every computed figure, set where the figure is created."""

from __future__ import annotations

import argparse
import ast
import datetime
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import ftwizard
from ftwizard.advice import evidence, report
from ftwizard.catalog import gpu_specs, model_configs
from ftwizard.catalog.prices import packaged
from ftwizard.catalog.providers import catalog
from ftwizard.cli import advise_data, cost_inputs
from ftwizard.data.tokens.stats import TokenEstimate
from ftwizard.estimate import article, disk, plan_estimate, training_machine
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.estimate.batching import from_counts as lengths_of
from ftwizard.estimate.duration import RunSpeed
from ftwizard.hardware import machine as machine_facts
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.models import architectures
from ftwizard.plan.schema import Data, Files, Model, Plan, Recipe
from ftwizard.pricing.offer import TrainingLoad
from ftwizard.quantity import Figure
from tests.helpers.machines import make_machine

PROVIDERS = Path(ftwizard.__file__).parent / "assets" / "providers.toml"
TODAY = datetime.date(2026, 11, 25)
LENGTHS: dict[str, LengthDistribution | None] = {
    "train": lengths_of([200, 300, 450] * 200), "validation": lengths_of([200, 300, 450] * 20),
}  # fmt: skip
MODELS = [
    next(config for config in model_configs.configs() if config.name == name)
    for name in (
        "Llama 3.1 8B", "Llama 3.3 70B", "gpt-oss-20B", "Gemma 3 27B", "Qwen3 30B-A3B",
    )
]  # fmt: skip
CARDS = (None, "RTX 4090", "A100 80 GB", "H100")
RECIPES = (
    Recipe(method="qlora"),
    Recipe(method="lora", batch_size=4, packing=True),
    Recipe(method="full", batch_size=8, gradient_checkpointing=False),
)


def machine(card: str | None) -> MachineInfo:
    """Return a machine with this GPU, or without one."""
    item = gpu_specs.find_gpu(card) if card else None
    gpu = (Gpu(name=item.name, memory=round(item.memory * 2**30)),) if item else ()
    return make_machine(*gpu, memory=64 * 10**9, cores=8, disk_free=10**12, extras=("local",))


def figures(result: Any, where: str = "") -> Iterator[tuple[str, Figure]]:
    """Yield every figure in nested objects, with its path."""
    if isinstance(result, Figure):
        yield where, result
    elif isinstance(result, msgspec.Struct):
        for name in result.__struct_fields__:
            yield from figures(getattr(result, name), f"{where}.{name}")
    elif isinstance(result, dict):
        for name, item in result.items():
            yield from figures(item, f"{where}.{name}")
    elif isinstance(result, list | tuple):
        for number, item in enumerate(result):
            yield from figures(item, f"{where}[{number}]")


def undated(result: Any) -> list[str]:
    """Return the paths of figures without a source or without a past date."""
    return [where for where, item in figures(result) if not item.source or not is_date(item.as_of)]


def is_date(text: str | None) -> bool:
    """Return whether a text is a month or a day that is not in the future."""
    if not text or len(text) not in (7, 10):
        return False
    day = datetime.date.fromisoformat(text if len(text) == 10 else f"{text}-01")
    return day <= datetime.date.today()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda item: item.method)
@pytest.mark.parametrize("model", MODELS, ids=lambda item: item.name)
def test_every_plan_figure_has_a_source_and_a_date(
    model: model_configs.ModelConfig, recipe: Recipe
) -> None:
    plan = Plan(data=Data(files=Files(train="rows")), model=Model(name=model.name), recipe=recipe)
    shape = architectures.build_shape(model.config, model.source)
    speeds = (
        RunSpeed(run="one", tokens_per_s=900, as_of="2026-10-01"),
        RunSpeed(run="b", tokens_per_s=1),
    )
    hour = packaged().gpu("a100-40gb", "on demand")[0]
    for card in CARDS:
        facts = machine(card)
        estimate = plan_estimate.estimate_plan(plan, LENGTHS, shape, facts, hour=hour)
        assert estimate is not None and len(list(figures(estimate))) >= 12
        result = [
            estimate,
            plan_estimate.estimate_plan(plan, LENGTHS, shape, facts, speeds=speeds),
            plan_estimate.run_hours(estimate),
            plan_estimate.check_plan_fit(plan, LENGTHS, shape, facts),
            article.compare_with_article(plan, LENGTHS, shape, facts),
            plan_estimate.estimate_gpus(plan, LENGTHS, shape, {item for item, _ in packaged().cards()}).hours,
            training_machine.rental_price(facts.gpus[0] if facts.gpus else None, packaged()),
            disk.estimate_parts(
                trained=estimate.memory.trained if estimate.memory else 1, parameters=shape.parameters,
                adapter=recipe.method != "full", merges=True, download=10**9,
            ),
            disk.estimate_later_exports(shape.parameters),
        ]  # fmt: skip
        assert undated(result) == []


def test_probed_time_has_the_date_of_the_probe() -> None:
    train = lengths_of([300] * 100)
    assert train is not None
    here = training_machine.TrainingMachine(gpu=True, probed=1000.0, probed_on="2026-11-02")
    shape = architectures.build_shape(MODELS[0].config, MODELS[0].source)
    plan = Plan(data=Data(files=Files(train="rows")), model=Model(name="m"), recipe=Recipe())
    on = plan_estimate.estimate_on(here, plan, {"train": train}, shape)
    assert on is not None
    assert on.time is not None and on.time.as_of == "2026-11-02"
    assert on.whole is not None and on.whole.as_of == "2026-11"  # the date of the assumptions


@pytest.mark.parametrize("edition", ["current", "2026-04"])
@pytest.mark.parametrize("share", [False, True])
def test_every_cost_figure_has_a_source_and_a_date(
    edition: str, share: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_CONFIG", str(tmp_path))
    arguments = argparse.Namespace(
        edition=edition, share_data=share, confidential=False, sort="provider", gpu=None,
        price=["openai/gpt-4.1-mini/training=5", "machine=1.5"], tokens_in=None, tokens_out=None,
        requests_per_month=Decimal(10_000), serve_on="a100-40gb",
    )  # fmt: skip
    load = TrainingLoad(
        tokens=TokenEstimate(value=1_000_000, low=900_000, high=1_200_000), epochs=3, rows=4_000,
        counted="counted",
    )  # fmt: skip
    costs = cost_inputs.compute_costs(load, arguments, request=(Decimal(200), Decimal(100)))
    assert len(list(figures(costs))) > 50
    assert undated(costs) == []


def test_every_evidence_figure_has_a_source_and_a_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_CONFIG", str(tmp_path))
    rows = tmp_path / "rows.jsonl"
    item = (
        '{"messages": [{"role": "user", "content": "%d"}, {"role": "assistant", "content": "b"}]}'
    )
    rows.write_text("\n".join(item % number for number in range(40)))
    result = advise_data.read_evidence(str(rows))
    assert isinstance(result, evidence.Evidence) and result.tokens is not None
    document = report.advise_on_data(result, machine("A100 80 GB"), {}, TODAY)
    assert len(list(figures(document))) >= 3
    assert undated(document) == []


def test_every_provider_claim_has_a_source_and_a_date() -> None:
    text = PROVIDERS.read_text("utf-8")
    assert "$" not in text, "amounts belong in fields, not in text"
    expected = catalog()
    claims = [
        claim
        for provider in expected.providers
        for factors in (provider.factors, *(platform.factors for platform in provider.platforms))
        for some in factors.values()
        for claim in some
    ]
    prices = [(claim.price, claim) for claim in claims if "$" in claim.statement]
    needs = [(need.memory, need) for need in expected.needs]
    assert len(prices) >= 8 and len(needs) == 4
    for result, item in (*prices, *needs):
        assert result is not None and (result.source, result.as_of) == (item.source, item.as_of)
        assert undated(result) == []
    assert all(claim.source and is_date(claim.as_of) for claim in claims)


@pytest.mark.parametrize("one_disk", [True, False])
def test_every_disk_figure_has_a_source_and_a_date(
    one_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_facts, "is_same_disk", lambda *_: one_disk)
    needs = disk.estimate_parts(
        trained=1, parameters=10**9, adapter=True, merges=True, download=10**9
    )
    space = disk.check_space(needs, tmp_path, tmp_path / "cache", 10**9)
    assert (space.elsewhere is None) == one_disk
    assert len(list(figures(space))) >= 7 and undated(space) == []


def test_every_figure_call_sets_a_source_and_a_date() -> None:
    folder = Path(ftwizard.__file__).parent
    incomplete = []
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Figure":
                named = {keyword.arg for keyword in node.keywords}
                if not {"source", "as_of"} <= named:
                    incomplete.append(f"{file.relative_to(folder)}:{node.lineno}")
    assert incomplete == []
