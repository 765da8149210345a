"""The user's own llama.cpp quantizes where there is one; a tool that fails says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.export import quantizer, tools

PROGRAM = '#!/bin/sh\n[ "$3" = Q4_K_M ] || { echo "unknown type $3" >&2; exit 3; }\ncp "$1" "$2"\n'
"""Takes the arguments of llama-quantize."""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "llama.cpp" / "build" / "bin" / "llama-quantize"
    path.parent.mkdir(parents=True)
    path.write_text(PROGRAM)
    path.chmod(0o755)
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path / "llama.cpp"))
    return path


def test_the_program_of_the_user_comes_first(program: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "a.gguf", tmp_path / "b.gguf"
    source.write_bytes(b"GGUF")
    chosen = quantizer.find()
    assert chosen.program == str(program)
    tool = quantizer.quantize(source, target, "q4_k_m", chosen, lambda: None)
    assert target.read_bytes() == b"GGUF"
    assert tool.name == str(program) and tool.arguments[:3] == ["a.gguf", "b.gguf", "Q4_K_M"]


def test_a_program_that_fails_is_quoted(program: Path, tmp_path: Path) -> None:
    with pytest.raises(tools.ToolError) as error:
        quantizer.quantize(tmp_path / "a", tmp_path / "b", "q2_k", quantizer.find(), lambda: None)
    assert error.value.message == (
        "llama-quantize failed: exit status 3; its last line is: unknown type Q2_K"
    )


def test_without_llama_cpp_cyllama_quantizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert quantizer.find().program is None


def test_what_is_asked_meanwhile_ends_the_tool(program: Path, tmp_path: Path) -> None:
    program.write_text("#!/bin/sh\nsleep 60\n")

    def cancel() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantizer.quantize(tmp_path / "a", tmp_path / "b", "q2_k", quantizer.find(), cancel)
