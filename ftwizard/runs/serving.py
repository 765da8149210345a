"""The command that serves a run's merged model on this machine, with the server that is installed."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.cells import cell_len

from ftwizard.hardware import machine
from ftwizard.jobs.folder import JobFolder

PORT = 8000
"""The default port of all these servers but SGLang, whose own is 30000."""
ADDRESS = f"http://localhost:{PORT}/v1"
TRANSFORMERS_NEEDS = ("fastapi", "uvicorn", "openai")
"""What ``transformers serve`` imports; part of the extra ``local``."""


class ServeCommand(NamedTuple):
    """A command that serves a model with an OpenAI-compatible API."""

    argv: list[str]
    install: Sequence[str] = ()
    """The command that installs the server first; empty if it is installed."""

    @property
    def line(self) -> str:
        """Return the line for a shell."""
        return " ".join(self._words)

    def fold(self, width: int) -> str:
        """Return the command on lines of ``width`` cells, where words allow it.

        Each but the last ends with a backslash, so that lines copied from a screen stay one command.
        """
        lines = [""]
        for word in self._words:
            if lines[-1] and cell_len(f"{lines[-1]} {word}") > width - len(" \\"):
                lines.append("")
            lines[-1] += f" {word}" if lines[-1] else word
        return " \\\n".join(lines)

    @property
    def _words(self) -> list[str]:
        install = [*map(shlex.quote, self.install), "&&"] if self.install else []
        return [*install, *map(shlex.quote, self.argv)]


def find_serve_command(
    folder: JobFolder,
    *,
    has_gpu: Callable[[], bool] = lambda: bool(machine.list_gpus()),
    find_program: Callable[[str], str | None] | None = None,
) -> ServeCommand | None:
    """Return the command for the fastest installed server that loads the merged model as it is.

    Servers for GGUF files (llama.cpp, Ollama) cannot, so they are not offered. Without any other
    it is our own, which is slower but runs wherever the model was trained. None if there is no merged
    model.
    """
    if not folder.merged.is_dir():
        return None
    model, find = str(folder.merged), find_program or _find_program
    port = ("--port", str(PORT))
    servers = {
        "vllm": ("serve", model),
        "sglang": ("serve", "--model-path", model, *port),
        "text-generation-launcher": ("--model-id", model, *port),
    }
    installed = [[program, *argv] for name, argv in servers.items() if (program := find(name))]
    if installed and has_gpu():
        return ServeCommand(installed[0])
    return ServeCommand(["ftwizard", "serve", folder.id, *port])


def make_transformers_command(
    model: Path,
    find: Callable[[str], str | None] | None = None,
    is_installed: Callable[[str], bool] = machine.is_installed,
) -> ServeCommand:
    """Return the command of transformers' server for a model's folder."""
    find = find or _find_program
    program = find("transformers")
    call = [program] if program else [sys.executable, "-m", "transformers.cli.transformers"]
    argv = [*call, "serve", str(model)]
    if all(map(is_installed, TRANSFORMERS_NEEDS)):
        return ServeCommand(argv)
    pip = [find("pip") or "pip"] if is_installed("pip") else ["uv", "pip"]
    return ServeCommand(argv, [*pip, "install", "transformers[serving]"])


def _find_program(name: str) -> str | None:
    """Return how to call a program: its name if it is in PATH, its path next to this Python, or None.

    The one next to this Python comes first: it is known to have the packages that were trained with.
    """
    on_path, own = shutil.which(name), Path(sys.executable).parent / name
    if own.is_file() and (on_path is None or Path(on_path).resolve() != own.resolve()):
        return str(own)
    return name if on_path else None
