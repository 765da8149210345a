"""The monitor of runs of DPO, KTO and GRPO, as text, with a frozen clock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.diagnosis import Curve, diagnose, to_findings
from ftwizard.runs.progress import Progress
from ftwizard.screens.monitor import chart_data
from ftwizard.screens.monitor.chart_data import ChartData, ChartSettings
from tests.helpers.objective_curves import KINDS, list_events
from tests.screens.frames import frame
from tests.screens.monitor.timed_runs import NOW, TimedRun, assert_monitor_frame, watch
from tests.screens.runs_helpers import living

pytestmark = pytest.mark.usefixtures("clock")
SIZES = [(60, 16), (80, 24), (120, 40)]
every_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
STEP_S = 20.0
RUNS = {"dpo": "dpo: displaced", "kto": "kto: learns", "grpo": "grpo: solved"}


def record(run: TimedRun, curve: Curve) -> None:
    """Write the events of a run with this curve, and the findings of its diagnosis."""
    events = list_events(curve)
    last = max(event["step"] for event in events)
    for event in events:
        fields = {name: value for name, value in event.items() if name != "kind"}
        run.write_event(event["kind"], (last - event["step"]) * STEP_S, **fields)
    for index, finding in enumerate(to_findings(diagnose(curve))):
        run.write_event(
            "finding", code=finding.code, severity=finding.severity, step=last, since=finding.step,
            message=finding.message, action=finding.action, actions=list(finding.actions),
            confidence=finding.confidence, evidence=finding.evidence, verdict=index == 0,
        )  # fmt: skip
    run.write_reading()


def draw(objective: str) -> Curve:
    curve = KINDS[RUNS[objective]].draw(1)
    return curve.until(0.8 * (curve.total_steps or 0))


def read(objective: str) -> Progress:
    progress = Progress()
    events = list_events(draw(objective))
    progress.feed([{"v": 1, "t": NOW + k, "attempt": 1, **event} for k, event in enumerate(events)])
    return progress


@every_size
@pytest.mark.parametrize("objective", RUNS)
def test_run_is_shown_with_the_figures_of_its_objective(
    timed_run: TimedRun, objective: str, size: tuple[int, int]
) -> None:
    record(timed_run, draw(objective))
    with living(timed_run.folder):
        assert_monitor_frame(objective, size, watch(size))


def add_general_text(curve: Curve) -> Curve:
    """Return the curve with a score on general text that falls at each evaluation."""
    steps = range(20, int(curve.last_step) + 1, 20)
    scores = [(step, -2.5 - step / 100) for step in steps]
    return replace(curve, metrics={**curve.metrics, "eval_general_logp": scores})


@pytest.mark.parametrize("size", SIZES[1:], ids=lambda size: f"{size[0]}x{size[1]}")
def test_general_text_is_a_figure_a_metric_and_a_finding(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    curve = add_general_text(KINDS["grpo: learns"].draw(1))
    record(timed_run, curve)
    newest = f"{curve.metrics['eval_general_logp'][-1][1]:.2f}"
    with living(timed_run.folder):
        text = " ".join(watch(size).split())
    assert f"general text {newest}" in text
    assert "reward hacking" in text
    progress = Progress()
    events = [{"v": 1, "t": NOW + k, "attempt": 1, **e} for k, e in enumerate(list_events(curve))]
    progress.feed(events)
    assert "eval_general_logp" in chart_data.list_metrics(progress)
    (line,) = ChartData(ChartSettings(metric="eval_general_logp")).lines(progress)
    assert line.name == "general text log-prob", "not smoothed: it has no noise"


def test_figures_and_verdict_do_not_need_color(
    timed_run: TimedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(timed_run, draw("dpo"))
    with living(timed_run.folder):
        colored = watch((80, 24))
        monkeypatch.setenv("NO_COLOR", "1")
        assert watch((80, 24)) == colored
    assert "! chosen answers less likely" in colored and "pair accuracy" in colored


def test_keys_show_the_log_probabilities_of_both_answers(timed_run: TimedRun) -> None:
    names: list[str] = []

    async def press(pilot: Pilot[Any]) -> None:
        for _ in range(5):
            await pilot.press("m")
            await pilot.pause(0.1)
            names.append(frame(pilot.app))

    record(timed_run, draw("dpo"))
    with living(timed_run.folder):
        watch((120, 40), press)
    assert "pair accuracy" in names[0] and "validation pairs" in names[0]
    assert "margin" in names[1]
    assert "── chosen reward" in names[2] and "╌╌ rejected reward" in names[2]
    assert "── chosen log-prob" in names[3] and "╌╌ rejected log-prob" in names[3]


def test_chart_begins_with_the_reward_of_grpo_and_the_loss_of_dpo() -> None:
    def label(objective: str) -> str:
        return ChartData(ChartSettings(smoothing=0.0)).lines(read(objective))[0].name

    assert (label("dpo"), label("kto"), label("grpo")) == ("train", "train", "reward")


def test_metrics_are_offered_by_importance() -> None:
    assert chart_data.list_metrics(read("dpo"))[:5] == [
        "loss", "rewards_accuracies", "rewards_margins", "rewards_chosen", "logps_chosen"
    ]  # fmt: skip
    metrics = chart_data.list_metrics(read("grpo"))
    assert metrics[:6] == [
        "reward", "loss", "kl", "reward_std", "frac_reward_zero_std", "completions_mean_length"
    ]  # fmt: skip
    assert "rewards_correct_mean" in metrics
    lines = ChartData(ChartSettings(metric="rewards_correct_mean", smoothing=0.0)).lines(
        read("grpo")
    )
    assert [line.name for line in lines] == ["reward “correct”"]


def test_loss_of_grpo_is_no_figure_and_ranks_no_evaluation() -> None:
    progress = read("grpo")
    progress.feed(
        [{"v": 1, "t": NOW + 999, "kind": "eval", "attempt": 1, "step": 96, "eval_loss": 0.01}]
    )
    assert progress.best_step is None and progress.eval_loss is None
