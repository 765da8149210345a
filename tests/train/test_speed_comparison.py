"""Comparison of settings that change the speed, with real probes of a tiny model in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.estimate import probe_cache, speed_options
from ftwizard.jobs.folder import Attempt, write_json
from ftwizard.jobs.worker import Worker
from ftwizard.models import hub
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.train import probe, probe_runner, speed_comparison
from ftwizard.train.probe_runner import ProbeOutcome, ProbeResult
from tests.helpers import training

FORCED = {
    (): 100.0,
    ("padding_free",): 150.0,
    ("attention",): 130.0,
    ("packing",): 400.0,
    ("attention", "padding_free"): 170.0,
}
"""Tokens/s by the settings that differ, as the clock of a test machine is not to be trusted."""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    folder = training.prepare(
        tmp_path, "plan", dropout=0.0, precision="fp32", batch_size=4, training=24
    )
    return plan_file.load(folder.plan, begun=True)


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Plan]]:
    """Run probes in this process, with forced speeds; return the probed plans."""
    plans: list[Plan] = []
    run_probe = probe_runner.run_probe

    def try_here(folder: Any, plan: Plan, number: int, say: Callable[..., None]) -> Any:
        write_json(folder.attempt(number), Attempt(number=number, started=0, host="", argv=[]))
        folder.plan.write_text(plan_file.dump(plan))
        with training.own_signals():
            worker = Worker(folder)
            try:
                outcome = probe.run(worker).result
            finally:
                worker.events.close()
        assert isinstance(outcome, ProbeOutcome)
        recipe = plan.recipe
        differing = [n for n in ("attention", "padding_free", "packing") if getattr(recipe, n) not in (False, "auto")]  # fmt: skip
        measured = msgspec.structs.replace(
            outcome.measured, useful_tokens_per_s=FORCED[tuple(differing)]
        )
        write_json(folder.result, msgspec.structs.replace(outcome, measured=measured))
        return probe_runner._End("finished", True, {}, [])

    def record(plan: Plan, *arguments: Any) -> ProbeResult:
        plans.append(plan)
        return run_probe(plan, *arguments)

    monkeypatch.setattr(probe_runner, "_try", try_here)
    monkeypatch.setattr(probe_runner, "run_probe", record)
    monkeypatch.setattr(probe, "exit_with_starter", lambda folder: None)
    monkeypatch.setattr(probe, "_prefer_for_oom_kill", lambda: None)
    yield plans


def test_options_are_measured_and_the_fastest_same_training_is_chosen(
    plan: Plan, probed: list[Plan]
) -> None:
    source = hub.locate(plan.model.name)
    phases: list[str] = []
    compared = speed_comparison.compare(
        plan, source, 1, lambda phase, **fields: phases.append(str(fields.get("what")))
    )
    report = compared.report
    assert phases == [], "progress comes from the probes' processes"
    states = {option.name: option.state for option in report.options}
    assert states == {
        "present": "measured",
        "attention: eager": "measured",
        "attention: flash_attention_2": "impossible",
        "attention: kernels-community/flash-attn2": "impossible",
        "kernels: true": "impossible",
        "padding_free: true": "measured",
        "packing: true": "measured",
        "attention: eager, padding_free: true": "measured",
    }
    gains = {option.name: option.gain for option in report.options if option.gain is not None}
    assert gains["padding_free: true"] == pytest.approx(0.5)
    assert report.noise == 0 and report.attention == "sdpa"
    assert report.fastest == {"attention": "eager", "padding_free": True}
    assert report.gain == pytest.approx(0.7), "packing is faster, in fewer steps"
    by_name = {option.name: option for option in report.options}
    packed, present = by_name["packing: true"], by_name["present"]
    assert (packed.steps_per_epoch or 0) < (present.steps_per_epoch or 0)
    assert all("no GPU" in o.reason or "there is none" in o.reason for o in report.options if o.state == "impossible")  # fmt: skip
    losses = [o.check.loss for o in report.options if o.check]
    assert len(losses) == 5 and losses == pytest.approx([losses[0]] * 5, rel=1e-4)

    assert compared.plan == speed_options.with_settings(plan, report.fastest)
    assert len(probed) == 6, "the present settings twice"
    for name in ("padding_free", "packing"):
        other = speed_options.with_settings(plan, {name: True})
        cached = probe_cache.read_cached_probe(other, source)
        assert cached and cached.useful_tokens_per_s.value == FORCED[(name,)]


def test_option_that_cannot_be_probed_is_reported(
    plan: Plan, probed: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_as_it_is(other: Plan, *arguments: Any) -> ProbeResult:
        if other.recipe.is_flat:
            raise FtwizardError("recipe.padding_free would let rows see each other.")
        return real(other, *arguments)

    real = probe_runner.run_probe
    monkeypatch.setattr(probe_runner, "run_probe", only_as_it_is)
    compared = speed_comparison.compare(
        plan, hub.locate(plan.model.name), 1, lambda phase, **fields: None
    )
    failed = [option for option in compared.report.options if option.state == "failed"]
    assert [option.name for option in failed] == ["padding_free: true", "packing: true"]
    assert "see each other" in failed[0].reason
    assert compared.report.fastest == {"attention": "eager"}
