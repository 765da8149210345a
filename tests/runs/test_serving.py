"""The serve command: what is installed decides."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.runs.serving import (
    TRANSFORMERS_NEEDS,
    ServeCommand,
    find_serve_command,
    make_transformers_command,
)


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    job = JobFolder(tmp_path / "my run")
    job.merged.mkdir(parents=True)
    return job


OWN = "ftwizard serve 'my run' --port 8000"


def find_line(folder: JobFolder, *programs: str, gpu: bool = True) -> str:
    command = find_serve_command(
        folder,
        has_gpu=lambda: gpu,
        find_program=lambda name: name if name in programs else None,
    )
    assert command
    return command.line.replace(str(folder.merged), "MERGED")


def test_installed_server_decides(folder: JobFolder) -> None:
    assert find_line(folder, "vllm", "transformers") == "vllm serve 'MERGED'"
    assert find_line(folder, "sglang") == "sglang serve --model-path 'MERGED' --port 8000"
    tgi = find_line(folder, "text-generation-launcher", "transformers")
    assert tgi == "text-generation-launcher --model-id 'MERGED' --port 8000"
    assert find_line(folder, "transformers") == OWN


def test_gpu_servers_are_not_offered_without_a_gpu(folder: JobFolder) -> None:
    assert find_line(folder, "vllm", "transformers", gpu=False) == OWN


def test_server_of_gguf_files_is_not_offered(folder: JobFolder) -> None:
    assert find_line(folder, "llama-server", "ollama", "transformers") == OWN


def make_line(folder: JobFolder, *programs: str, serving: bool = True) -> str:
    command = make_transformers_command(
        folder.merged,
        lambda name: name if name in programs else None,
        lambda name: serving or name not in TRANSFORMERS_NEEDS,
    )
    return command.line.replace(str(folder.merged), "MERGED")


def test_missing_server_packages_are_installed_first(folder: JobFolder) -> None:
    line = make_line(folder, "pip", "transformers", serving=False)
    assert line == "pip install 'transformers[serving]' && transformers serve 'MERGED'"


def test_installed_library_without_its_program_is_called_as_a_module(folder: JobFolder) -> None:
    assert make_line(folder) == f"{sys.executable} -m transformers.cli.transformers serve 'MERGED'"
    assert importlib.util.find_spec("transformers.cli.transformers")


def test_folded_command_is_still_one_command_for_a_shell(folder: JobFolder) -> None:
    command = ServeCommand(["printf", "%s|", "serve", str(folder.merged)], ["echo", "a" * 30])
    folded = command.fold(50)
    assert folded.count("\n") == 2 and folded.splitlines()[0].endswith(" \\")
    indented = folded.replace("\n", "\n     ")  # as selected in a dialog
    outputs = {
        subprocess.check_output(["bash", "-c", text]) for text in (command.line, folded, indented)
    }
    assert outputs == {f"{'a' * 30}\nserve|{folder.merged}|".encode()}


def test_no_merged_model_has_no_command(tmp_path: Path) -> None:
    assert find_serve_command(JobFolder(tmp_path)) is None


def test_offered_command_of_this_environment_exists(folder: JobFolder) -> None:
    command = make_transformers_command(folder.merged)
    assert not command.install, "the extra local includes what it needs"
    assert Path(command.argv[0]).name == command.argv[0] or Path(command.argv[0]).is_file()
