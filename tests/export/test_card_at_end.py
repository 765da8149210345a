"""The model card that a run writes at its end, from a real training of the tiny model."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ftwizard.cli.parser import dispatch
from ftwizard.export.card import curve, write
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import next_steps
from ftwizard.runs.environment import read_environment
from ftwizard.runs.result import read_result
from tests.helpers import jobs, training
from tests.helpers.cards import read_metadata
from tests.helpers.results import make_run_result


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    root = tmp_path_factory.mktemp("carded")
    folder = training.prepare(
        root, "tickets", samples={"count": 0}, more={"finish": {"merge": True}}
    )
    (folder.path / "loss-curve.svg").write_text("of an earlier attempt")
    return training.again(folder)


def test_a_finished_run_has_its_card(trained: JobFolder) -> None:
    text = trained.card.read_text()
    assert read_metadata(text)["library_name"] == "transformers"
    assert "LoRA fine-tune, merged, of a local model, `tiny`, trained on 16 examples." in text
    assert "**? Not evaluated.**" in text and "✓ Proved: all" in text
    assert "| steps | 8 of 8 (1 epoch planned)" in text
    root = ElementTree.parse(trained.path / curve.NAME).getroot()
    (title,) = root.iter("{http://www.w3.org/2000/svg}title")
    assert f"![{title.text}]({curve.NAME})" in text and "Loss over 8 steps" in text
    assert str(trained.path.parent) not in text and str(Path.home()) not in text
    assert not write.is_edited(trained.card)
    environment = read_environment(trained)
    assert environment and f"| torch | `{environment.packages['torch']}` |" in text


def test_the_card_at_the_end_is_the_one_that_the_command_writes(trained: JobFolder) -> None:
    assert write.make_card(trained).text == trained.card.read_text()


def test_commands_write_it_again_unless_it_was_edited(trained: JobFolder, tmp_path: Path) -> None:
    run = JobFolder(tmp_path / trained.id)
    shutil.copytree(trained.path, run.path)

    def call(*words: str) -> None:
        assert dispatch([words[0], str(run.path), *words[1:]], lambda *_, **__: 0) in (0, 4)

    call("export", "--to", "vllm")
    assert "Exported: `vllm`" in run.card.read_text()
    call("merge", "--replace", "--scale", "0.5")
    text = run.card.read_text()
    assert "merged at 0.5 of its trained strength" in text
    assert not next_steps.is_card_older(run)
    run.card.write_text(f"Mine.\n{text}")
    assert not next_steps.is_card_older(run)
    call("merge", "--replace")
    assert run.card.read_text() == f"Mine.\n{text}"
    assert next_steps.is_card_older(run)
    assert next_steps.describe_card(run).endswith(f"a new one: ftwizard card {run.id})")


def test_an_edited_card_survives_the_end_of_a_resumed_run(trained: JobFolder) -> None:
    trained.card.write_text("# My own card\n")
    write.write_at_end(trained, read_result(trained) or make_run_result())
    assert trained.card.read_text() == "# My own card\n"


def test_a_card_that_cannot_be_written_does_not_fail_the_run(tmp_path: Path) -> None:
    folder = training.prepare(tmp_path, "tickets", samples={"count": 0})
    folder.card.mkdir()
    training.again(folder)
    result = read_result(folder)
    assert result and result.end_reason == "finished"
    (finding,) = [e for e in jobs.events(folder, "finding") if e["code"] == "card_failed"]
    assert "The model card was not written" in finding["message"]
    assert finding["action"] == "ftwizard card tickets"
