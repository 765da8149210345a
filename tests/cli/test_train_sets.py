"""Files of items that a plan names are checked before its run starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.__main__ import main
from tests.paths import TICKETS


def test_a_file_of_items_is_checked_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FTWIZARD_HOME", str(tmp_path / "home"))
    (tmp_path / "model").mkdir()
    (tmp_path / "faq.jsonl").write_text('{"prompt": "a", "expected": "b", "scorer": "exakt"}\n')
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"data: {{files: {{train: {TICKETS / 'train.jsonl'}}}}}\n"
        f"model: {{name: {tmp_path / 'model'}}}\nevaluate: {{sets: [faq.jsonl]}}\n"
    )
    assert main(["train", str(plan)]) == 1
    assert "line 1: “exakt” is not a scorer (did you mean exact?)" in capsys.readouterr().err
    assert not (tmp_path / "home" / "runs").exists()
