"""Earlier runs on the same data: advice on more epochs, and on another model's learning rate."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.advice import plan_warnings, run_history
from ftwizard.advice.recipe_advice import EarlierRate
from ftwizard.cli import parser, train
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.plan import plan_file, schema
from ftwizard.plan.schema import Plan, RiskName
from ftwizard.screens.draft import drafts
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.wizard import open_points
from ftwizard.train import launcher
from tests.advice.test_provider_advice import machine
from tests.screens.runs_helpers import make_run

FALLING, FLAT, RISING = [2.0, 1.5, 1.2, 1.0], [2.0, 1.2, 1.199, 1.198], [2.0, 1.2, 1.25, 1.4]
SMALL, LARGE = "Qwen/Qwen3-0.6B", "meta-llama/Llama-3.1-70B"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    file.write_text(json.dumps({"messages": turns}) + "\n")
    return file


def make_plan(
    rows: Path, epochs: float = 5, model: str = SMALL, allow: tuple[RiskName, ...] = (),
    rate: float = 2e-4,
) -> Plan:  # fmt: skip
    return Plan(
        data=schema.Data(files=schema.Files(train=str(rows))),
        model=schema.Model(name=model),
        recipe=schema.Recipe(epochs=epochs, learning_rate=rate),
        allow=allow,
    )


def write_run(
    home: Path, name: str, rows: Path, losses: list[float], **more: float | str
) -> JobFolder:
    """Write a run on ``rows`` that ended with these validation losses."""
    folder = make_run(home, name, steps=0, end_reason=str(more.pop("ended", "finished")))
    sha256 = run_history.hash_rows(str(rows))
    assert sha256 is not None
    record = folder.read_job()
    write_json(folder.job, msgspec.structs.replace(record, hashes={"train": sha256}))
    epochs = float(more.pop("epochs", 3))
    chosen = make_plan(rows, epochs, **more)  # type: ignore[arg-type]
    folder.plan.write_text(plan_file.dump(chosen))
    folder.events.unlink()
    events = EventWriter(folder.events, 1)
    for number, loss in enumerate(losses, 1):
        step = number * 10
        events.write("log", step=step, loss=1.0, epoch=epochs * number / len(losses), tokens=1)
        events.write("eval", step=step, eval_loss=loss)
    events.write("done", end_reason="finished")
    events.close()
    return folder


@pytest.mark.parametrize(
    ("losses", "falling"),
    [(FALLING, True), (FLAT, False), (RISING, False), ([2.0, 1.0, 1.5, 1.2], False)],
)
def test_earlier_loss_reports_whether_it_was_still_falling(
    home: Path, rows: Path, losses: list[float], falling: bool
) -> None:
    write_run(home, "one", rows, losses)
    earlier_loss = run_history.find_earlier_loss(make_plan(rows))
    assert (
        earlier_loss is not None and earlier_loss.falling is falling and earlier_loss.run == "one"
    )
    assert ("was still falling" in earlier_loss.summary) is falling


@given(st.lists(st.floats(0.01, 10), min_size=3, max_size=12))
def test_loss_is_falling_only_if_it_ends_at_its_minimum(losses: list[float]) -> None:
    result = run_history.summarize_losses("one", 3.0, losses)
    assert result is not None
    assert not result.falling or losses[-1] == min(losses) < losses[-3]


def test_two_evaluations_or_a_nan_loss_give_no_summary() -> None:
    assert run_history.summarize_losses("one", 3.0, [2.0, 1.0]) is None
    assert run_history.summarize_losses("one", 3.0, [2.0, float("nan"), 1.0]) is None


def test_runs_on_other_data_are_ignored(home: Path, rows: Path) -> None:
    write_run(home, "one", rows, FALLING)
    rows.write_text(rows.read_text() * 2)
    assert run_history.find_earlier_loss(make_plan(rows)) is None


def test_longest_run_of_the_same_model_is_used(home: Path, rows: Path) -> None:
    write_run(home, "short", rows, FALLING, epochs=1)
    write_run(home, "long", rows, FLAT, epochs=3)
    write_run(home, "later", rows, FALLING, epochs=2)
    write_run(home, "other", rows, FALLING, epochs=9, model=LARGE)
    earlier_loss = run_history.find_earlier_loss(make_plan(rows))
    assert earlier_loss is not None and earlier_loss.run == "long"


def test_many_epochs_need_no_allow_when_an_earlier_loss_was_falling(home: Path, rows: Path) -> None:
    with pytest.raises(FtwizardError) as refused:
        plan_warnings.find_supporting_run(make_plan(rows))
    assert refused.value.exit_code == DECLINED and "Start with 3" in refused.value.hint
    write_run(home, "one", rows, FLAT)
    with pytest.raises(FtwizardError) as refused:
        plan_warnings.find_supporting_run(make_plan(rows))
    assert "run one had flattened or risen" in refused.value.hint
    assert "--allow many-epochs" in refused.value.hint
    assert plan_warnings.find_supporting_run(make_plan(rows, allow=("many-epochs",))) is None
    assert plan_warnings.find_supporting_run(make_plan(rows, epochs=3)) is None
    write_run(home, "two", rows, FALLING, epochs=4)
    supporting_run = plan_warnings.find_supporting_run(make_plan(rows))
    assert supporting_run is not None and supporting_run.run == "two"
    assert plan_warnings.explain_epochs(make_plan(rows)) == supporting_run.summary
    assert not plan_warnings.find_warnings(make_plan(rows), None)


def test_many_epochs_warn_unless_allowed(home: Path, rows: Path) -> None:
    (warning,) = plan_warnings.find_warnings(make_plan(rows), None)
    assert warning.code == "many-epochs"
    assert not plan_warnings.find_warnings(make_plan(rows, allow=("many-epochs",)), None)


def test_learning_rate_of_another_models_run_warns(home: Path, rows: Path) -> None:
    write_run(home, "one", rows, FALLING, rate=3e-4)
    chosen = make_plan(rows, epochs=3, model=LARGE, rate=3e-4)
    rate = run_history.find_earlier_rate(chosen)
    assert rate == EarlierRate(rate=3e-4, parameters=596_049_920)
    (warning,) = plan_warnings.find_warnings(chosen, 70_553_706_496)
    assert warning.code == "rate-from-another-size" and "1e-4" in warning.message
    assert run_history.find_earlier_rate(make_plan(rows, epochs=3, model=LARGE, rate=1e-4)) is None
    assert run_history.find_earlier_rate(make_plan(rows, epochs=3, rate=3e-4)) is None


def test_wizard_explains_many_epochs_by_the_earlier_run(home: Path, rows: Path) -> None:
    draft = Draft(machine()).with_plan(**msgspec.structs.asdict(make_plan(rows)))
    assert drafts.find_earlier_run(draft) is None
    assert "memorization" in open_points.format_open_points(draft).plain
    write_run(home, "one", rows, FALLING)
    text = open_points.format_open_points(draft).plain
    assert (
        "epochs 5, advised 3: On the same data, the validation loss of run one" in text
        and "memorization" not in text
    )
    assert drafts.find_earlier_run(draft.with_recipe(epochs=3.0)) is None


def test_train_reports_warnings_in_text_and_json(
    home: Path,
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(plan_file.dump(make_plan(rows, rate=0.01)))
    write_run(home, "before", rows, FALLING)
    begun = write_run(home, "begun", rows, [])
    before = plan_warnings.find_supporting_run(make_plan(rows))
    assert before is not None
    record = msgspec.structs.replace(begun.read_job(), inputs={"epochs": before.summary})
    write_json(begun.job, record)
    monkeypatch.setattr(launcher, "start", lambda *_, **__: begun)
    argv = ["train", str(file), "--name", "begun"]
    assert train.train(parser.parser().parse_args(argv)) == 0
    text = capsys.readouterr()
    assert text.out == "begun\n"
    warning, why = text.err.splitlines()
    assert warning.startswith("! 1e-2 is far above the usual 2e-4")
    assert why == f"· 5 epochs: {before.summary}"
    assert train.train(parser.parser().parse_args([*argv, "--json"])) == 0
    text = capsys.readouterr()
    document = json.loads(text.out)
    assert not text.err and [warning["code"] for warning in document["warnings"]] == [
        "rate-too-high"
    ]
    assert document["epochs_because"] == before.summary and document["id"] == "begun"
