"""``verify``: whether each form of a run's model is still the model that was trained."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ftwizard import user_paths
from ftwizard.cli import output, progress, run_argument
from ftwizard.errors import CANNOT_TELL, FAILED, USAGE, FtwizardError, MissingExtra
from ftwizard.hardware import machine
from ftwizard.jobs import ending
from ftwizard.plan import plan_file
from ftwizard.runs import custody, default_run
from ftwizard.text import format_bytes, make_visible
from ftwizard.train import command


def verify(arguments: argparse.Namespace) -> int:
    """Verify the chain; return 0 if it holds, 1 if a hop broke, 4 for cannot tell."""
    try:
        return _verify(arguments)
    except Exception as error:  # also of an import
        if not ending.find_shortage(error):
            raise
        free = format_bytes(machine.get_free_memory())
        message = f"Cannot tell: memory ran out before anything was compared. {free} are free."
        hint = "Close other programs, or verify on a machine with more memory."
        raise FtwizardError(message, hint, CANNOT_TELL) from error


def _verify(arguments: argparse.Namespace) -> int:
    run_argument.refuse_hosted(arguments.run, "verified")
    folder = run_argument.find(arguments.run, default_run.choose_local)
    run_argument.require_folder(folder, "verify")
    if bool(arguments.server) != bool(arguments.model):
        raise FtwizardError("--server and --model belong together.", "Pass both.", USAGE)
    gguf = _find_file(arguments.gguf) if arguments.gguf else None
    key = _read_key(arguments.key_variable) if arguments.key_variable else None
    command.check_installed(plan_file.read_run(folder))
    try:
        from ftwizard.evaluate.chat import prepare_environment, silence_progress

        prepare_environment(plan_file.read_run(folder))
        from ftwizard.export.card import write
        from ftwizard.serve import chain
        from ftwizard.serve.server_client import Server
    except ImportError as error:
        raise MissingExtra("local", error.name or "torch") from error
    server = None
    if arguments.server:
        server = Server(url=arguments.server.rstrip("/"), model=arguments.model, key=key)
    silence_progress()
    with progress.reporter() as say:
        result = chain.verify(folder, gguf=gguf, server=server, say=say)
    write.refresh(folder)
    output.print_report(arguments, result, custody.describe(result))
    return {True: 0, False: FAILED, None: CANNOT_TELL}[result.outcome]


def _read_key(variable: str) -> str:
    if key := os.environ.get(variable, "").strip():
        return key
    raise FtwizardError(
        f"The variable {make_visible(variable, 60)} is not set.",
        "Set it to the server's key.",
        USAGE,
    )


def _find_file(name: str) -> Path:
    file = user_paths.expand(name).absolute()
    if not file.is_file():
        shown = make_visible(str(file))
        raise FtwizardError(f"{shown} does not exist.", user_paths.suggest_file(file))
    return file
