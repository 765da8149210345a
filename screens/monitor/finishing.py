"""Steps with the model of an ended run, as the public commands that do them: with progress and cancel."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, ClassVar

import msgspec
from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from ftwizard.errors import FtwizardError
from ftwizard.jobs import launch
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import export_forms
from ftwizard.runs import next_steps
from ftwizard.runs.exports import PushReport, describe_upload
from ftwizard.runs.next_steps import SuggestedStep
from ftwizard.runs.result import read_result, read_trained
from ftwizard.runs.served_model import ServedModel
from ftwizard.screens import crash_log, palette, subprocesses
from ftwizard.screens.dialogs.command_progress import CommandProgress, run_command
from ftwizard.screens.dialogs.dialog import Dialog
from ftwizard.screens.dialogs.forms import FormDialog
from ftwizard.screens.dialogs.questions import ChooseDialog, DestructiveConfirm, ResultDialog
from ftwizard.text import format_bytes, make_visible

FORMS = {
    "gguf": "for llama.cpp: nothing is lost",
    "gguf:q8_0": "8 bit: nearly nothing is lost",
    "gguf:q4_k_m": "4 bit: answers may change",
    "ollama": "for Ollama, with a Modelfile",
    "ollama:q8_0": "8 bit, with a Modelfile",
    "vllm": "command lines, no new files",
}
"""What each form of an export is for."""
BASES = (
    ("16-bit", "16-bit        as published; answers may differ a little"),
    ("dequantized", "dequantized   as training used it, in 4 bit; nearest to the adapter"),
)
"""What an adapter of QLoRA can be merged into."""


async def run_step(app: App[Any], folder: JobFolder, step: SuggestedStep) -> object:
    """Run a step; return its document, its FtwizardError, or None if it was canceled.

    One that starts a training asks first.
    """
    title = f"{step.text[:1].upper()}{step.text[1:]}"
    if step.does_train and not await _confirm_training(app, folder, step):
        return None
    trained = read_trained(folder)
    is_qlora = trained is not None and trained.method == "qlora"
    if step.command == "merge" and is_qlora and "--onto" not in step.options:
        base = await app.push_screen_wait(ChooseDialog("Merge into which base?", "", BASES))
        if base is None:
            return None
        step = step._replace(options=(*step.options, "--onto", base))
    argv = (step.command, step.subject or str(folder.path), *step.options)
    return await app.push_screen_wait(CommandProgress(title, *argv, lasting=step.does_train))


async def _confirm_training(app: App[Any], folder: JobFolder, step: SuggestedStep) -> bool:
    details = f"It trains a new run: {step.format_command(folder.id)}\nThis run is kept as it is."
    return await app.push_screen_wait(DestructiveConfirm(f"{step.describe()}?", details, "train"))


async def choose_export(app: App[Any], folder: JobFolder) -> SuggestedStep | None:
    """Ask for the form of an export; return the step that makes it, None on Esc."""
    result = read_result(folder)
    merged_bytes = result.merged.size_bytes if result and result.merged else None
    steps = {name: next_steps.make_export(name, merged_bytes) for name in FORMS}
    options = []
    for name, purpose in FORMS.items():
        share = export_forms.parse(name).bits / export_forms.HALF_BITS
        size = f"~{format_bytes(merged_bytes * share)}" if merged_bytes and share else ""
        options.append((name, f"{name:<12} {size:>8}  {purpose}"))
    details = "Files go to the folder of the run. A quantized form needs the 16-bit file, too."
    chosen = await app.push_screen_wait(ChooseDialog("Export to which form?", details, options))
    return steps[chosen] if chosen else None


class RepositoryDialog(FormDialog[str]):
    """Asks for a repository on the Hub; dismisses with its name."""

    MAX_LENGTH = 200

    def __init__(self, run_id: str) -> None:
        super().__init__(
            "Upload to the Hugging Face Hub?",
            "The merged model, else the adapter, with its model card. The repository is private: only "
            "you and your organization can see it. The license of the base model applies.",
            fields=[("repository", run_id)],
            enter="see what is sent",
        )

    def parse(self, typed: list[str]) -> str:
        name = typed[0].strip()
        if not name or len(name.split("/")) > 2 or " " in name:
            raise ValueError("Type owner/name, or a name in your account.")
        return name


async def ask_for_push(app: App[Any], folder: JobFolder) -> SuggestedStep | None:
    """Ask for the repository of an upload, then show what it sends and what to know before.

    Return its step; None on Esc, and if it cannot be done, which was shown.
    """
    repository = await app.push_screen_wait(RepositoryDialog(make_visible(folder.id)))
    if not repository:
        return None
    form = () if folder.merged.is_dir() else ("--adapter",)
    options = ("--repo", repository, *form)
    argv = ("push", str(folder.path), *options, "--check")
    document = await run_command(app, "Checking the upload", *argv)
    if document is None:
        return None
    plan = msgspec.convert(document, PushReport).plan
    text = describe_upload(plan, folder.id)
    lines = [Text.assemble(("! ", palette.WARNING), line) for line in text.warnings]
    lines += [*map(Text, text.facts), *(Text(f"  {name}", "dim") for name in text.files)]
    title = Text(f"Upload to {make_visible(plan.repo, 120)}?", "bold")
    account = Text("\n").join(lines)
    if not await app.push_screen_wait(ResultDialog(title, account, "upload", "cancel")):
        return None
    doing = f"upload it to {make_visible(repository, 60)}"
    return SuggestedStep(doing, "push", (*options, "--yes"))


class ValueDialog(FormDialog[str]):
    """Asks for what the command of a step leaves open; dismisses with it."""

    MAX_LENGTH = 200

    def __init__(self, step: SuggestedStep) -> None:
        super().__init__(
            f"{step.text}?",
            f"The command: ftwizard {step.command} RUN {' '.join(step.options)}",
            fields=[(step.options[-1], "")],
            enter="judge again",
        )

    def parse(self, typed: list[str]) -> str:
        if not typed[0].strip():
            raise ValueError(f"Type the {self._fields[0][0]}.")
        return typed[0].strip()


class ServeDialog(Dialog[object]):
    """Serves a model while it is open; dismisses with the error that ended it, or None on Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "stop", show=False, tooltip="stop the server"),
    ]

    def __init__(self, folder: JobFolder) -> None:
        super().__init__(Text("Serve the model on this machine", "bold"), keys=[("esc", "stop")])
        self._argv = ("serve", str(folder.path))
        self._is_stopped = False

    def body(self) -> ComposeResult:
        yield Static("Loading the model…", id="activity", markup=False)

    def on_mount(self) -> None:
        self._serve()

    @work(group="serving", exclusive=True, exit_on_error=False)
    async def _serve(self) -> None:
        try:
            await self._run_server()
        except FtwizardError as error:
            self.dismiss(error)
        except OSError as error:
            self.dismiss(subprocesses.to_start_error("serve", error))
        except Exception as error:  # noqa: BLE001 (the dialog could not be closed)
            self.dismiss(crash_log.to_user_error(error))

    async def _run_server(self) -> None:
        """Run the server until it ends, which is an error, or until it is canceled."""
        child = await asyncio.create_subprocess_exec(
            *launch.get_python_command(), "-m", "ftwizard", *self._argv, "--json",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=subprocesses.environment("serve"),
            start_new_session=True,
        )  # fmt: skip
        assert child.stdout and child.stderr
        errors = asyncio.create_task(child.stderr.read())
        printed = b""
        try:
            while part := await child.stdout.read(65_536):
                printed += part
                with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
                    self._show(msgspec.json.decode(printed, type=ServedModel))
            code = await child.wait()
            document = subprocesses.decode_document("serve", code, printed, await errors)
            url = make_visible(str(document.get("url")), 100)
            raise FtwizardError(f"The server at {url} ended.", "Serve it again with s.")
        finally:
            errors.cancel()
            await asyncio.shield(subprocesses.end(child))

    def _show(self, served: ServedModel) -> None:
        lines = Text.assemble(
            "✓ It answers at ", (make_visible(served.url, 200), "bold"), "\n",
            f"model {make_visible(served.model, 80)}, {served.engine}, {make_visible(served.device, 60)}",
            "\n", ("It is served as long as this is open.", "dim"),
        )  # fmt: skip
        self.query_one("#activity", Static).update(lines)

    def action_stop(self) -> None:
        if not self._is_stopped:  # a second Esc would not wait for the end
            self._is_stopped = True
            self.workers.cancel_group(self, "serving")
            self.query_one("#activity", Static).update("Stopping the server…")

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Close once the server has ended, so that nothing is started beside it."""
        if event.state == WorkerState.CANCELLED:
            self.dismiss(None)
