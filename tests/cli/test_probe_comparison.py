"""Text and documents of ``probe --compare``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.cli import probe
from ftwizard.estimate.speed_options import LossCheck, OptionResult, SettingValue, SpeedComparison
from ftwizard.plan import plan_file
from ftwizard.quantity import Figure
from ftwizard.train.speed_comparison import ComparedPlan

PLAN = plan_file.parse(
    "data: {files: {train: /a}}\nmodel: {name: /m}\nrecipe: {padding_free: true}\n"
)


def figure(value: float) -> Figure:
    return Figure(value=value, unit="x", source="x")


def option(speed: float, gain: float | None, steps: int = 40, **settings: SettingValue) -> OptionResult:  # fmt: skip
    return OptionResult(
        settings=settings, state="measured", tokens_per_s=figure(speed), memory=figure(2e9), gain=gain,
        check=LossCheck(loss=1.25, gradient_norm=1, tokens=9), steps_per_epoch=steps, batch_size=4,
        gradient_accumulation=1,
    )  # fmt: skip


REPORT = SpeedComparison(
    device="CPU, 2 threads", precision="bf16", attention="sdpa", noise=0.03,
    fastest={"padding_free": True}, gain=0.5,
    options=[
        option(1000, 0.0), option(1500, 0.5, padding_free=True),
        option(4000, 3.0, steps=3, packing=True),
        OptionResult(settings={"kernels": True}, state="impossible", reason="no GPU"),
        msgspec.structs.replace(
            option(3000, None, attention="eager"), state="other_result", reason="the loss is 9"
        ),
    ],
)  # fmt: skip


def report(capsys: Any, comparison: SpeedComparison, out: Path | None = None, **flags: Any) -> str:
    arguments = argparse.Namespace(plan="my plan.yaml", json=flags.get("json", False))
    assert probe._report_comparison(arguments, ComparedPlan(comparison, PLAN), out) == 0
    return " ".join(capsys.readouterr().out.split())


def test_table_names_gains_refusals_and_the_plan_lines(capsys: pytest.CaptureFixture[str]) -> None:
    text = report(capsys, REPORT)
    assert "present 1,000 2.0 GB 40 1.2500" in text
    assert "padding_free: true 1,500 +50% 2.0 GB 40 1.2500" in text
    assert "attention: eager 3,000 refused 2.0 GB" in text
    assert "differed by 3%" in text
    assert "! kernels: true: not possible: no GPU." in text
    assert "! attention: eager: refused: the loss is 9." in text
    assert "packing: true is 300% faster, in 3 instead of 40 larger steps" in text
    assert "by 50%. In the plan: recipe: padding_free: true" in text
    assert "ftwizard probe 'my plan.yaml' --compare --write OUT" in text


def test_nothing_to_gain_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    same = msgspec.structs.replace(
        REPORT, fastest={}, gain=0.0, options=[option(1000, 0.0), option(990, -0.01, kernels=True)]
    )
    text = report(capsys, same)
    assert "Keep the present one." in text and "--write" not in text
    assert "kernels: true 990 -1%" in text


def test_plan_with_the_fastest_settings_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "faster.yaml"
    document = json.loads(report(capsys, REPORT, out, json=True))
    assert document["written"] == str(out) and document["fastest"] == {"padding_free": True}
    assert msgspec.convert(document, SpeedComparison).options[1].gain == 0.5
    assert plan_file.load(out).recipe.padding_free


def test_a_plan_with_several_processes_is_told_that_one_was_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = msgspec.structs.replace(PLAN.where, processes=2)
    several = ComparedPlan(REPORT, msgspec.structs.replace(PLAN, where=where))
    arguments = argparse.Namespace(plan="plan.yaml", json=False)
    assert probe._report_comparison(arguments, several, None) == 0
    assert "Measured with one process. The plan trains with 2" in " ".join(
        capsys.readouterr().out.split()
    )
    assert "Measured with one process" not in report(capsys, REPORT)
