"""Run budgets in dollars or hours: required price, warning, and limit over all attempts."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from ftwizard.catalog.prices import PriceRate
from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import EventReader, EventWriter
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, write_json
from ftwizard.plan import plan_file
from ftwizard.plan.checks import check_plan
from ftwizard.plan.schema import Budget, Data, Files, Model, Plan
from ftwizard.pricing import machine_rate
from ftwizard.strict_yaml import SettingsError
from ftwizard.train import budget
from ftwizard.train.budget import Limit
from ftwizard.train.callbacks import RunControl

HOUR = PriceRate(
    usd=Decimal("3.60"), unit="hour", source="own", as_of="2026-11", confidence="high"
)  # 0.1 cent per second


def make_plan(**limits: float) -> Plan:
    return Plan(
        data=Data(files=Files(train="rows.jsonl")), model=Model(name="m"), budget=Budget(**limits)
    )


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def write_attempts(folder: JobFolder, *attempts: float) -> None:
    """Write the events of attempts of these lengths (seconds), hours apart."""
    lines, began = [], 1_700_000_000.0
    for number, seconds in enumerate(attempts, 1):
        for at in (began, began + seconds):
            lines.append(f'{{"v":1,"t":{at},"kind":"phase","phase":"x","attempt":{number}}}\n')
        began += 10_000 + seconds
    folder.events.write_text("".join(lines))


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    (tmp_path / "requests").mkdir()
    (tmp_path / "attempts").mkdir()
    job_folder = JobFolder(tmp_path)
    record = JobRecord(
        kind="train", argv=[], version="1", created=0.0, inputs=machine_rate.price_record(HOUR)
    )
    write_json(job_folder.job, record)
    return job_folder


def test_dollar_budget_requires_an_hourly_price() -> None:
    with pytest.raises(FtwizardError, match=r"budget\.usd is 5, but the hourly price") as refused:
        budget.require_price(make_plan(usd=5.0), None)
    assert "--price machine=USD" in refused.value.hint
    budget.require_price(make_plan(usd=5.0), HOUR)
    budget.require_price(make_plan(hours=1.0), None)


@pytest.mark.parametrize("usd", [0.0, -1.0, float("nan"), float("inf")])
def test_budget_must_be_a_positive_number(usd: float) -> None:
    with pytest.raises(SettingsError, match=r"budget\.usd"):
        check_plan(make_plan(usd=usd))


def test_plan_file_keeps_the_budget(tmp_path: Path) -> None:
    text = plan_file.dump(make_plan(usd=2.5))
    assert "usd: 2.5" in text and plan_file.parse(text).budget.usd == 2.5


def test_dollar_budget_counts_earlier_attempts_without_the_gaps(folder: JobFolder) -> None:
    write_attempts(folder, 100, 50)
    writer = EventWriter(folder.events, 3)
    writer.write("phase", phase="reading")
    writer.close()
    worker: Any = SimpleNamespace(folder=folder)
    (limit,) = budget.limits(worker, make_plan(usd=1.0))
    assert limit.seconds == pytest.approx(1000)
    assert 150 <= limit.used() < 150 + 30
    assert "$0.15 of $1.00" in limit.describe_warning()
    (hours,) = budget.limits(worker, make_plan(hours=1.0))
    assert hours.used() < 30, "hours count one attempt"


def test_spent_budget_prevents_another_attempt(folder: JobFolder) -> None:
    write_attempts(folder, 600, 500)
    with pytest.raises(FtwizardError, match=r"has spent its budget: \$1\.10 of \$1\.00") as refused:
        budget.require_rest(folder, make_plan(usd=1.0), HOUR)
    assert "Raise budget.usd" in refused.value.hint
    budget.require_rest(folder, make_plan(usd=2.0), HOUR)
    budget.require_rest(folder, make_plan(usd=1.0), None)
    budget.require_rest(folder, make_plan(hours=0.1), HOUR)


def test_budget_warns_once_at_80_percent_then_saves_and_stops(folder: JobFolder) -> None:
    clock = Clock()
    limit = Limit("budget.usd", 100.0, 30.0, 0.0, lambda s: f"${s / 100:.2f}", " at a price", clock)
    writer = EventWriter(folder.events, 1)
    worker: Any = SimpleNamespace(folder=folder, attempt=1, events=writer, stop_asked=lambda: False)
    run_control = RunControl(worker, [limit])
    args: Any = SimpleNamespace(eval_strategy="steps")
    state = TrainerState(global_step=7, max_steps=99)

    def step(now: float) -> TrainerControl:
        clock.now = now
        return run_control.on_step_end(args, state, TrainerControl())

    assert not step(49).should_training_stop
    assert not EventReader(folder.events).read()
    for now in (50, 60, 69):
        assert not step(now).should_training_stop
    (text,) = EventReader(folder.events).read()
    assert (text["code"], text["severity"], text["step"]) == ("budget", "warning", 7)
    assert text["message"].startswith("budget.usd is 80% used: $0.80 of $1.00 at a price. ")
    control = step(70)
    assert control.should_training_stop and control.should_save
    assert run_control.end_reason == "stopped"
    assert run_control.message == (
        "budget.usd is used up: $1.00 of $1.00 at a price. Raise it in plan.yaml to continue."
    )
    writer.close()


def test_free_machine_has_no_dollar_limit(folder: JobFolder) -> None:
    free = PriceRate(usd=Decimal(0), unit="hour", source="own", as_of="2026-11", confidence="high")
    again = Attempt(
        number=2, started=0.0, host="h", argv=[], inputs=machine_rate.price_record(free)
    )
    write_json(folder.attempt(2), again)
    worker: Any = SimpleNamespace(folder=folder)
    assert budget.limits(worker, make_plan(usd=1.0)) == []
