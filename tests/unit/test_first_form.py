"""Runs of the first form of the folder are listed, shown and gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard import models, plan
from ftwizard.__main__ import main
from ftwizard.jobs import launch
from ftwizard.jobs.folder import Attempt, JobFolder, write_json
from ftwizard.paths import local
from ftwizard.train import record, rows
from tests import first_form


@pytest.fixture
def run(tmp_path: Path, home: Path) -> JobFolder:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer_config.json"):
        (model / name).write_text("{}")
    (model / "chat_template.jinja").write_text("{{ messages }}")
    (model / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    given = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "!"}]}
        for n in range(60)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, given)))
    return first_form.lay(tmp_path, home / "runs" / "old")


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(list(argv)) == code
    return capsys.readouterr().out


def test_it_is_listed_and_shown(run: JobFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (listed,) = json.loads(said(capsys, "runs", "--json"))["runs"]
    status = json.loads(said(capsys, "status", "old", "--json"))
    assert status.items() <= listed.items() and listed["predicted"] is None
    assert (listed["state"], listed["end_reason"], listed["attempt"]) == ("ended", "stopped", 1)
    assert (listed["step"], listed["total_steps"], listed["best_step"]) == (22, 144, 18)
    assert listed["loss"] == pytest.approx(5.3568, abs=1e-4)
    assert listed["best_eval_loss"] == pytest.approx(5.3800, abs=1e-4)
    for command, code in (("status", 0), ("watch", 1)):
        shown = said(capsys, command, "old", code=code)
        assert "was stopped" in shown and "ftwizard resume old" in shown
        assert "best of step 18" in shown


def test_its_plan_means_what_it_meant(run: JobFolder, tmp_path: Path) -> None:
    one = plan.load(run.plan, begun=True)
    assert one.data.files.train == str(tmp_path / "rows.jsonl")
    assert (one.data.format, one.recipe.method, one.recipe.learning_rate) == (
        "messages", "lora", 1e-3,
    )  # fmt: skip
    assert one.recipe.target_modules and len(one.recipe.target_modules) == 7
    assert (one.validation_share, one.heldout_share, one.finish.max_new_tokens) == (0.1, 0.1, 4)
    assert (one.data.split.together, one.data.mix.share) == ("prompts", 0)


def test_its_rows_are_divided_as_they_were(run: JobFolder) -> None:
    parts = rows.load(plan.load(run.plan, begun=True), run.read_job().hashes)
    assert [row.line for row in parts["validation"]] == [10, 20, 34, 37, 56, 59]
    assert [row.line for row in parts["heldout"]] == [12, 17, 21, 24, 39, 55]


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Return the checkpoints that starts went on from; nothing is started."""
    found: list[str | None] = []

    def start(folder: JobFolder, argv: list[str], *, checkpoint: Any, **_: Any) -> Attempt:
        found.append(checkpoint())
        return Attempt(number=2, started=0.0, host="here", argv=argv, checkpoint=found[-1])

    monkeypatch.setattr(launch, "start", start)
    monkeypatch.setattr(local, "check_installed", lambda _: None)
    return found


def test_it_goes_on_from_its_newest_checkpoint(
    run: JobFolder, starts: list[str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "goes on from checkpoint-22" in said(capsys, "resume", "old")
    assert starts == ["checkpoints/checkpoint-22"]


def test_another_version_s_word_on_the_training_is_none(run: JobFolder) -> None:
    run.trained.write_text('{"reason": "finished", "step": 18}')
    assert record.read(run) is None


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("rows.jsonl", {"train": "rows.jsonl"}),
        ("model/config.json", {"model": "model"}),
        ("model/model.safetensors", {"model": "model"}),
        ("model/chat_template.jinja", {"model": "model", "template": "model"}),
    ],
)
def test_it_does_not_go_on_with_other_data_or_another_model(
    run: JobFolder, starts: list[str | None], tmp_path: Path, name: str, parts: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    record = run.read_job()
    hashes = {**record.hashes, "template": models.template_hash(tmp_path / "model")}
    write_json(run.job, msgspec.structs.replace(record, hashes=hashes))
    before = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(before + b"\n\n")
    assert main(["resume", "old"]) == 1
    said = capsys.readouterr().err
    changed = ", ".join(f"{part} ({tmp_path / of})" for part, of in parts.items())
    assert f"this has changed: {changed}." in said and not starts
    (tmp_path / name).write_bytes(before)
    assert main(["resume", "old"]) == 0 and starts
