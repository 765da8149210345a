"""Where a script may go, the GPU that is rented for it, and the words of its report."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.runs import ejected_script
from ftwizard.runs.ejected_script import Accelerator, EjectReport, list_commands

REPORT = EjectReport(
    origin="plan one.yaml", folder="/data/one-script",
    files={"train.py": 900, "data/train.jsonl": 2_000, "data/validation.jsonl": 400},
    rows={"train.jsonl": 10, "validation.jsonl": 2}, form="messages", versions={"trl": "1.0"},
    are_recorded=False, differing={}, left_out=(),
)  # fmt: skip


def test_a_new_or_empty_folder_is_accepted(tmp_path: Path) -> None:
    ejected_script.require_empty(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    ejected_script.require_empty(tmp_path / "empty")


def test_each_folder_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    refused = {
        tmp_path: "is not empty",
        tmp_path / "file": "is not a folder",
        tmp_path / "link": "is not a folder",
        tmp_path / "none" / "new": "does not exist",
        tmp_path / "file" / "new": "does not exist",
    }
    for path, reason in refused.items():
        with pytest.raises(FtwizardError, match=reason) as error:
            ejected_script.require_empty(path)
        assert error.value.hint
    # Root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(FtwizardError, match="not writable for you"):
        ejected_script.require_empty(tmp_path / "new")


@pytest.mark.parametrize("name", ["A100:0", "A100:0.5", "A100:", "A 100", "", "H100:1\nrun: x"])
def test_what_names_no_gpus_is_refused(name: str) -> None:
    with pytest.raises(FtwizardError) as error:
        ejected_script.parse_accelerator(name)
    assert "--" not in error.value.text, "a dialog shows it as well"
    assert error.value.hint


def test_a_gpu_may_have_a_count() -> None:
    parse = ejected_script.parse_accelerator
    assert parse("L4") == parse(" L4 ") == Accelerator("L4")
    assert parse("A100-80GB:4") == Accelerator("A100-80GB", 4)


def test_several_processes_are_started_by_torchrun() -> None:
    lines = list(ejected_script.describe_report(msgspec.structs.replace(REPORT, processes=4)))
    assert "  .venv/bin/torchrun --standalone --nproc-per-node 4 train.py" in lines
    assert any("4 GPUs" in line and ".venv/bin/python train.py" in line for line in lines)


@pytest.mark.parametrize("name", [
    "A100", "A100-80GB", "A100-80GB-SXM", "A10G", "H100", "H100-SXM", "H200", "B200", "GH200", "L4", "L40S",
    "RTX4090", "RTXA6000", "RTX6000-Ada", "RTXPRO6000", "T4", "V100-32GB",
])  # fmt: skip
def test_a_gpu_of_the_catalog_has_no_warning(name: str) -> None:
    rented = msgspec.structs.replace(REPORT, task="sky launch task.yaml", gpu=name)
    assert "!" not in "".join(ejected_script.describe_report(rented))


def test_a_gpu_that_is_not_in_the_catalog_has_a_warning() -> None:
    rented = msgspec.structs.replace(REPORT, task="sky launch task.yaml", gpu="H1000")
    (warning,) = [line for line in ejected_script.describe_report(rented) if line.startswith("!")]
    assert warning == (
        "! H1000 is not a GPU that ftwizard knows. See whether SkyPilot has it: sky gpus list"
    )


def test_the_report_says_where_it_is_and_how_it_is_started() -> None:
    first, *rest = ejected_script.describe_report(REPORT)
    assert first.startswith("/data/one-script/train.py trains as plan one.yaml does")
    assert rest == [
        "To start it, in that folder:",
        *(f"  {command}" for command in list_commands(1)),
        "12 rows of your data were copied to data/ (2 kB). Only you can read them.",
        "requirements.txt has the versions installed here.",
    ]
    rented = msgspec.structs.replace(
        REPORT, task="sky launch -c ft-one task.yaml", differing={"trl": "1.1"},
        left_out=("sample answers",),
    )  # fmt: skip
    text = "\n".join(ejected_script.describe_report(rented))
    assert (
        "On a machine that SkyPilot rents, in that folder:\n  sky launch -c ft-one task.yaml"
        in text
    )
    assert "! Other versions are installed here: trl." in text
    assert text.endswith("Not in the script: sample answers.")
