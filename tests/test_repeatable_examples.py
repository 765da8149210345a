"""The examples of property tests: the same each time, whatever other tests have imported."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def draw(profile: str) -> list[tuple[str, int]]:
    drawn = []

    @settings(settings.get_profile(profile), database=None)
    @given(st.text(), st.integers())
    def record(text: str, number: int) -> None:
        drawn.append((text, number))

    record()
    return drawn


def test_imports_change_no_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = draw("repeatable")
    source = tmp_path / "own" / "constants.py"
    source.parent.mkdir()
    source.write_text(f"NAMES = {[f'name {number}' for number in range(99)]}\n")
    spec = importlib.util.spec_from_file_location("own_constants", source)
    assert spec is not None
    monkeypatch.setitem(sys.modules, spec.name, importlib.util.module_from_spec(spec))
    assert draw("repeatable") == before
    assert draw("explore") != draw("explore")
