"""Task files for SkyPilot: valid for any name and model, and nothing but what the folder has."""

from __future__ import annotations

import io
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ftwizard.export import training_script
from ftwizard.export.training_script import ScriptFacts

CLUSTER = re.compile(r"[a-zA-Z]([-_.a-zA-Z0-9]*[a-zA-Z0-9])?")
"""Names that SkyPilot accepts for clusters (sky/skylet/constants.py, CLUSTER_NAME_VALID_REGEX)."""


def build(model: str = "org/model", origin: str = "run a") -> dict[str, Any]:
    facts = ScriptFacts(
        origin=origin,
        version="1",
        model=model,
        model_note="",
        revision=None,
        precision="bf16",
        attention=None,
        form="messages",
        train=1,
        mixed=0,
        validation=0,
        total=1,
        checkpointing="gradient_checkpointing",
    )
    text = training_script.build_task(training_script.name_cluster(origin), "A100-80GB", facts)
    task: dict[str, Any] = YAML(typ="safe").load(io.StringIO(text))
    return task


def test_a_task_installs_and_runs_the_script_of_its_folder() -> None:
    task = build()
    assert task["workdir"] == "."
    assert task["resources"]["accelerators"] == "A100-80GB:1"
    assert task["resources"]["autostop"]["idle_minutes"] > 0
    assert task["setup"].splitlines()[-1] == ".venv/bin/pip install -r requirements.txt"
    assert task["run"] == ".venv/bin/python train.py\n"
    assert "file_mounts" not in task


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1))
def test_any_local_model_is_mounted_where_the_script_looks_for_it(name: str) -> None:
    assert build(f"/models/{name}")["file_mounts"] == {f"/models/{name}": f"/models/{name}"}


@given(st.text(min_size=1))
def test_any_origin_gives_a_valid_cluster(origin: str) -> None:
    assert CLUSTER.fullmatch(training_script.name_cluster(origin))
