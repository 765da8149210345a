"""Comparison of settings that change the speed of training: one probe each, the present ones twice."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.estimate import probe_cache, speed_options, training_machine
from ftwizard.estimate.speed_options import OptionResult, SettingValue, SpeedComparison
from ftwizard.models.hub import ModelSource
from ftwizard.plan.schema import Plan
from ftwizard.train import probe_runner
from ftwizard.train.probe_runner import ProbeResult, ReportProgress


class ComparedPlan(NamedTuple):
    """The comparison, and the plan with its fastest settings."""

    report: SpeedComparison
    plan: Plan


def compare(plan: Plan, source: ModelSource, steps: int, say: ReportProgress) -> ComparedPlan:
    """Probe the plan as it is, with each possible option, with those that gain together, and again.

    Raises FtwizardError if the plan as it is cannot be probed. An option that cannot is reported.
    """
    with tempfile.TemporaryDirectory(prefix="ftwizard-compare-") as root:
        return _Comparison(plan, source, steps, say, Path(root)).run()


class _Comparison:
    def __init__(
        self, plan: Plan, source: ModelSource, steps: int, say: ReportProgress, root: Path
    ) -> None:
        self._plan, self._source, self._steps, self._say = plan, source, steps, say
        self._root = root

    def run(self) -> ComparedPlan:
        first = self._probe(self._plan, "the present settings")
        facts = first.facts
        assert facts
        precision = first.measured.precision
        present = self._to_result({}, first)
        self._plan = first.plan  # with the batch that fits
        assert present.tokens_per_s
        results: list[tuple[OptionResult, ProbeResult | None]] = []
        for option in speed_options.list_options(self._plan.recipe, facts):
            if option.reason:
                refused = OptionResult(
                    settings=option.settings, state="impossible", reason=option.reason
                )
                results.append((refused, None))
            else:
                results.append(self._try(option.settings))
        again = self._to_result({}, self._probe(self._plan, "the present settings again"))
        assert again.tokens_per_s
        speeds = present.tokens_per_s.value, again.tokens_per_s.value
        speed, noise = sum(speeds) / 2, max(speeds) / min(speeds) - 1
        present = msgspec.structs.replace(
            present, gain=0.0,
            tokens_per_s=msgspec.structs.replace(
                present.tokens_per_s, value=speed, low=min(speeds), high=max(speeds)
            ),
        )  # fmt: skip

        def judge(result: OptionResult) -> OptionResult:
            if result.state != "measured":
                return result
            return speed_options.judge(result, present, speed, precision)

        judged = [present, *(judge(result) for result, _ in results)]
        if together := speed_options.combine(judged, noise):
            results.append(self._try(together))
            judged.append(judge(results[-1][0]))
        fastest = speed_options.choose_fastest(judged, noise)
        plan = self._plan
        if fastest:
            probes = [probe for _, probe in results]
            chosen = probes[judged.index(fastest) - 1]
            assert chosen
            plan = chosen.plan
        report = SpeedComparison(
            device=first.measured.device,
            precision=precision,
            attention=facts.attention,
            options=judged,
            noise=noise,
            fastest=fastest.settings if fastest else {},
            gain=(fastest.gain or 0.0) if fastest else 0.0,
        )
        return ComparedPlan(report, plan)

    def _try(self, settings: Mapping[str, SettingValue]) -> tuple[OptionResult, ProbeResult | None]:
        """Probe the plan with other settings; report why it failed."""
        name = speed_options.format_settings(settings)
        try:
            probe = self._probe(speed_options.with_settings(self._plan, settings), name)
        except FtwizardError as error:
            return OptionResult(settings=dict(settings), state="failed", reason=error.message), None
        return self._to_result(settings, probe), probe

    def _probe(self, plan: Plan, name: str) -> ProbeResult:
        def say(phase: str, **fields: Any) -> None:
            part = fields.get("what")
            self._say(phase, **{**fields, "what": f"{name}: {part}" if part else name})

        layout = "packed" if plan.recipe.packing else "rows"
        sample = self._root / f"{layout}.json"
        alone = training_machine.train_alone(
            plan
        )  # processes that share cores or links blur a gain
        result = probe_runner.run_probe(alone, self._source, self._steps, say, sample)
        several = msgspec.structs.replace(result.plan, where=plan.where)
        return msgspec.structs.replace(result, plan=several)

    def _to_result(self, settings: Mapping[str, SettingValue], probe: ProbeResult) -> OptionResult:
        """Return the measured option; store its probe for the plan with these settings."""
        cached = msgspec.structs.replace(
            probe_cache.from_measurements(
                probe.measured, probe.plan, probe.halved, probe.evaluations, probe.predicted, probe.epochs
            ),
            fingerprint=self._source.fingerprint,
            findings=probe.findings,
        )  # fmt: skip
        probe_cache.cache_probe(speed_options.with_settings(self._plan, settings), cached)
        assert probe.facts
        return OptionResult(
            settings=dict(settings),
            state="measured",
            tokens_per_s=cached.useful_tokens_per_s,
            memory=cached.memory,
            check=probe.facts.check,
            steps_per_epoch=probe.facts.steps_per_epoch,
            batch_size=cached.batch_size,
            gradient_accumulation=cached.gradient_accumulation,
        )
