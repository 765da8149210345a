"""Ejected scripts: the losses of the run, the rows as they stand in the folder, and refusals."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ftwizard.data.example import IGNORE_INDEX
from ftwizard.errors import FtwizardError
from ftwizard.export import eject as ejection
from ftwizard.export.eject import Origin
from ftwizard.plan import plan_file
from ftwizard.runs.ejected_script import Accelerator
from tests.helpers import disks, training
from tests.helpers.ejected import WITHOUT_FTWIZARD, assert_same_losses, continue_weights, eject
from tests.helpers.models import make_tiny

MARKED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>"
    "{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def with_template(root: Path, template: str | None) -> Path:
    """Return a tiny model with another chat template."""
    import torch
    from transformers import AutoTokenizer

    torch.manual_seed(3)
    folder = make_tiny(root / "templated")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_script_runs_alone_with_the_losses_of_the_run(tmp_path: Path) -> None:
    folder = training.train(
        tmp_path, "run", gradient_accumulation=2, epochs=2, more={"finish": {"merge": True}}
    )
    out = tmp_path / "script"
    assert eject(folder, out).form == "conversations"
    assert "ftwizard" not in (out / "train.py").read_text().split('"""', 2)[2]
    subprocess.run(
        [sys.executable, "-c", WITHOUT_FTWIZARD, out / "train.py"], check=True, capture_output=True
    )
    assert_same_losses(folder, out)
    assert (out / "output" / "adapter" / "adapter_model.safetensors").is_file()
    assert (out / "output" / "merged" / "model.safetensors").is_file()


CASES: dict[str, dict[str, Any]] = {
    "messages": {"template": MARKED, "packing": True, "method": "full", "schedule": "constant"},
    "pairs": {"template": None, "method": "qlora", "max_steps": 5, "precision": "bf16"},
    "tokens": {"template": MARKED, "max_length": 120, "schedule": "cosine", "packing": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("form", CASES)
def test_each_form_and_method_has_the_losses_of_the_run(tmp_path: Path, form: str) -> None:
    settings = dict(CASES[form])
    model = with_template(tmp_path, settings.pop("template"))
    folder = training.prepare(tmp_path, "run", model=model, **settings)
    if form == "tokens":  # a weight, which TRL does not know, and rows that are mixed in
        rows = training.rows(16)
        rows[3]["messages"][1:1] = [
            {"role": "assistant", "content": "no", "weight": 0}, {"role": "user", "content": "and?"},
        ]  # fmt: skip
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        mixed = "".join(json.dumps(row) + "\n" for row in training.rows(9, 900))
        (tmp_path / "mix.jsonl").write_text(mixed)
        text = folder.plan.read_text().replace("share: 0.0", "share: 0.25")
        folder.plan.write_text(text.replace("rows: general", f"rows: {tmp_path / 'mix.jsonl'}"))
    training.again(folder)
    out = tmp_path / "script"
    report = eject(folder, out)
    assert report.form == form
    runpy.run_path(str(out / "train.py"), run_name="__main__")
    assert_same_losses(folder, out)


@pytest.mark.slow
def test_a_child_begins_with_the_weights_of_its_parent(tmp_path: Path) -> None:
    parent = training.train(tmp_path, "parent")
    child = continue_weights(training.prepare(tmp_path, "child", max_steps=3), parent)
    out = tmp_path / "script"
    eject(child, out)
    runpy.run_path(str(out / "train.py"), run_name="__main__")
    assert_same_losses(child, out)


def test_only_the_owner_can_read_the_rows(tmp_path: Path) -> None:
    folder = training.prepare(tmp_path, "run")
    out = tmp_path / "script"
    report = eject(folder, out)
    assert report.rows == {"train.jsonl": 16, "validation.jsonl": 9}
    for path in (out, *out.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    first = json.loads((out / "data" / "train.jsonl").read_text().splitlines()[0])
    assert first == training.rows(1)[0]
    # The model, which is a folder, is the only path of this machine.
    script = (out / "train.py").read_text()
    assert script.count(str(tmp_path)) == 1


def test_rows_without_trainable_tokens_are_not_copied(tmp_path: Path) -> None:
    folder = training.prepare(tmp_path, "run", max_length=40)
    out = tmp_path / "script"
    copied = eject(folder, out).rows["train.jsonl"]
    assert 0 < copied < 16


def test_a_template_that_only_tokens_can_repeat_is_said_so(tmp_path: Path) -> None:
    rows = training.rows(16)
    rows[0]["messages"][1]["weight"] = 0
    rows[0]["messages"] += [
        {"role": "user", "content": "and?"}, {"role": "assistant", "content": "yes"},
    ]  # fmt: skip
    folder = training.prepare(tmp_path, "run", model=with_template(tmp_path, MARKED))
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "script"
    assert eject(folder, out).form == "tokens"
    assert "The rows are token ids with labels" in (out / "train.py").read_text()
    first = json.loads((out / "data" / "train.jsonl").read_text().splitlines()[0])
    assert IGNORE_INDEX in first["labels"]


def test_a_folder_with_files_is_left_as_it_is(tmp_path: Path) -> None:
    folder = training.prepare(tmp_path, "run")
    out = tmp_path / "script"
    out.mkdir()
    (out / "train.py").write_text("mine")
    with pytest.raises(FtwizardError, match="is not empty"):
        eject(folder, out)
    assert [path.name for path in out.iterdir()] == ["train.py"]
    assert (out / "train.py").read_text() == "mine"
    with pytest.raises(FtwizardError, match="is not a folder"):
        eject(folder, out / "train.py")


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    folder = training.prepare(tmp_path, "run")
    with disks.mount(tmp_path, "16k") as disk:
        with pytest.raises(FtwizardError, match="No disk space is left in") as caught:
            eject(folder, disk / "script")
        assert list(disk.iterdir()) == []
    assert "was not written" in caught.value.message


def test_a_full_fine_tune_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = training.prepare(tmp_path, "run", method="full")
    folder.origin.mkdir()
    with pytest.raises(FtwizardError, match="began with the weights of another run"):
        eject(folder, tmp_path / "script")
    assert not (tmp_path / "script").exists()


def test_no_secret_of_the_environment_is_in_a_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_Zq8")
    monkeypatch.setenv("JUDGE_KEY", "sk-Zq8")
    folder = training.prepare(
        tmp_path, "run",
        more={"evaluate": {"judge": {
            "url": "http://localhost/v1", "model": "judge", "key_variable": "JUDGE_KEY",
        }}},
    )  # fmt: skip
    out = tmp_path / "script"
    eject(folder, out)
    text = "".join(path.read_text() for path in out.rglob("*") if path.is_file())
    assert "Zq8" not in text


def test_a_plan_has_the_installed_versions(tmp_path: Path) -> None:
    from ftwizard.runs import environment

    folder = training.prepare(tmp_path, "run")
    plan = plan_file.load(folder.plan, begun=True)
    out = tmp_path / "script"
    report = ejection.eject(Origin("plan plan.yaml", plan), out, lambda *_, **__: None)
    assert not report.are_recorded
    installed = environment.read_versions(["trl"])["trl"]
    assert f"trl=={installed}\n" in (out / "requirements.txt").read_text()


def test_a_task_for_skypilot_stands_next_to_the_script(tmp_path: Path) -> None:
    folder = training.prepare(tmp_path, "run")
    plan = plan_file.load(folder.plan, begun=True)
    out = tmp_path / "script"
    origin = Origin("plan plan.yaml", plan)
    report = ejection.eject(origin, out, lambda *_, **__: None, Accelerator("L4"))
    task = YAML(typ="safe").load((out / "task.yaml").read_text())
    assert report.task == f"sky launch -c {task['name']} task.yaml"
    assert report.gpu == "L4"
    assert task["file_mounts"] == {plan.model.name: plan.model.name}
    for command in (task["setup"], task["run"]):
        named = [word for word in command.split() if word.endswith((".txt", ".py"))]
        assert named and all((out / name).is_file() for name in named)
