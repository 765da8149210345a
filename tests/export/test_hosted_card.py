"""The model card of a hosted run: its job, files, cost, and that the weights stay at the platform."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.__main__ import main
from ftwizard.export.card import write
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.plan.schema import Gate, OpenAI, Together
from ftwizard.runs.evaluation import ArmScore, Evaluation, SetResult
from tests.helpers.cards import read_metadata
from tests.helpers.hosted import BASE, TUNED, make_ended, make_plan, make_remote


@pytest.fixture
def run(home: Path) -> JobFolder:
    plan = make_plan(openai=OpenAI(n_epochs=2, suffix="private-name", metadata={"team": "private"}))
    folder = make_ended(home / "runs" / "tickets", plan=plan)
    folder.upload.mkdir()
    (folder.upload / "train.jsonl").write_bytes(b"rows")
    return folder


def test_card_describes_the_job(run: JobFolder) -> None:
    text = write.make_card(run).text
    assert f"Fine-tune of `{BASE}` at OpenAI, trained on 18 examples." in text
    assert "| platform | OpenAI, job `ftjob-1`, succeeded |" in text
    assert f"| tuned model | `{TUNED}` |" in text
    digest = hashlib.sha256(b"rows").hexdigest()[:16]
    assert f"| training file | 18 rows, 900 B, sha256 `{digest}`… |" in text
    assert "`n_epochs` `2`, `batch_size` `auto`, `learning_rate_multiplier` `auto`" in text
    assert "4,500 billed" in text and r"| cost | \$0.10 – \$0.15 | \$0.13 |" in text
    assert "The weights stay at OpenAI" in text and "Not evaluated" in text
    assert (
        f"Step 10 has a lower validation loss (0.4) than step 20 (0.6): `{TUNED}:ckpt-step-10`"
        in text
    )
    for private in ("private", "/data/", str(run.path), "file-1", "reasoning_effort", "recipe."):
        assert private not in text


def test_metadata_names_no_library(run: JobFolder) -> None:
    metadata = read_metadata(write.make_card(run).text)
    assert metadata["tags"] == ["ftwizard", "openai"]
    assert "library_name" not in metadata and "base_model" not in metadata


def test_hyperparameters_are_those_that_the_platform_chose(home: Path) -> None:
    record = make_remote(settings={"batch_size": 4, "learning_rate_multiplier": 1.8})
    text = write.make_card(make_ended(home / "runs" / "one", record)).text
    assert "`batch_size` `4`, `learning_rate_multiplier` `1.8`" in text


def test_card_of_together_has_its_own_names(home: Path) -> None:
    plan = make_plan(
        provider="together", together=Together(lora_r=8, training_method="dpo", dpo_beta=0.2)
    )
    record = make_remote(provider="together", model="meta/Llama-8B", tuned_model="me/Llama-8B-x")
    text = write.make_card(make_ended(home / "runs" / "one", record, plan=plan)).text
    assert "Preference fine-tune of `meta/Llama-8B` at Together" in text
    assert "`lora_r` `8`" in text and "`dpo_beta` `0.2`" in text


def test_scores_are_as_of_any_run(run: JobFolder) -> None:
    arms = {
        name: ArmScore(score=score, low=0.0, high=1.0, metric="accuracy", n=9)
        for name, score in (("base", 0.25), ("tuned", 0.75))
    }
    evaluation = Evaluation(
        verdict="cannot_tell", sets={"target": SetResult(n=9, arms=arms)}, gate=Gate()
    )
    run.evaluations.mkdir()
    write_json(run.evaluation, evaluation)
    text = write.make_card(run).text
    assert "| set | items | base | tuned |" in text and "75%" in text


def test_command_writes_it_and_names_no_upload(
    run: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["card", "tickets"]) == 0
    out = capsys.readouterr().out
    assert "Model card:" in out and "push" not in out
    assert run.card.is_file() and not write.is_edited(run.card)


@pytest.mark.parametrize("changes", [{"tuned_model": "x|y`\x1b[31m"}, {"job_id": "</details><b>"}])
def test_names_from_the_platform_are_not_rendered(home: Path, changes: dict[str, Any]) -> None:
    text = write.make_card(make_ended(home / "runs" / "one", make_remote(**changes))).text
    assert "\x1b" not in text
    assert "</details><b>" not in text.replace("`</details><b>`", "")


def test_run_without_a_model_has_no_card(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = msgspec.structs.replace(make_remote(), tuned_model=None, state="failed")
    make_ended(home / "runs" / "one", record, reason="refused")
    assert main(["card", "one"]) == 1
    assert "has no model yet" in capsys.readouterr().err
