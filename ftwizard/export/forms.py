"""Exports of one model, each a folder that is complete or not there.

A form is written to a part folder, checked, and renamed. A second export of the same model by the
same tools keeps what is there; a killed one leaves a part folder that the next one deletes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ftwizard import __version__
from ftwizard.errors import FtwizardError
from ftwizard.export import converter, gguf_export, ollama, servers, tools
from ftwizard.export.gguf_export import GgufResult, Say
from ftwizard.export.source import ExportSource
from ftwizard.hardware import machine
from ftwizard.jobs import lock
from ftwizard.jobs.folder import NO_SPACE, hash_file, publish, write_json
from ftwizard.plan.export_forms import ExportForm
from ftwizard.runs.exports import RECORD, ExportRecord, hash_model, read_record
from ftwizard.text import make_visible

MIN_FREE_BYTES = 1 << 20
"""With less, a tool that failed had no space: numpy's message of a short write does not say so."""


class Export(NamedTuple):
    """One finished form."""

    folder: Path
    record: ExportRecord
    reused: bool
    """Whether it was there already."""


def export(source: ExportSource, form: ExportForm, say: Say) -> Export:
    """Export a model in one form, and what that form is made from.

    Raises FtwizardError for a model that cannot be exported so, for a full disk, and while another
    export of the same model runs.
    """
    with _locked(source), _explain_full_disk(source.out):
        say("reading", what="the model")
        return _Exporter(source, hash_model(source.model), say).export(form)


class _Exporter:
    """Exports of one model, whose content is known by its hashes."""

    def __init__(self, source: ExportSource, hashes: dict[str, str], say: Say) -> None:
        self._source = source
        self._hashes = hashes
        self._say = say

    def export(self, form: ExportForm) -> Export:
        target = self._source.out / form.folder
        if (record := self._find(form, target)) is not None:
            return Export(target, record, reused=True)
        write = {"gguf": self._write_gguf, "ollama": self._write_ollama, "vllm": self._write_vllm}
        began = time.monotonic()
        part = target.with_name(f".{form.folder}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        try:
            fields = write[form.kind](form, part)
            self._say("saving", what=form.name)
            files = sorted(path for path in part.iterdir() if path.is_file())
            record = ExportRecord(
                form=form.name,
                source=str(self._source.model),
                source_hashes=self._hashes,
                files={path.name: path.stat().st_size for path in files},
                hashes={path.name: hash_file(path) for path in files},
                version=__version__,
                created=time.time(),
                seconds=round(time.monotonic() - began, 1),
                **fields,
            )
            write_json(part / RECORD, record)
            publish(part, target)
        except tools.ToolError as error:
            if error.disk_full or machine.get_free_bytes(part) < MIN_FREE_BYTES:
                raise _full_disk_error(part.parent) from error
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return Export(target, record, reused=False)

    def _find(self, form: ExportForm, target: Path) -> ExportRecord | None:
        """Return the record of this form, if it was made from this model by this converter."""
        record = read_record(target)
        if record is None or record.form != form.name or record.source_hashes != self._hashes:
            return None
        if form.kind == "vllm":  # written anew: its lines name what is installed
            return None
        wheel = converter.WHEEL.sha256
        checksums = {tool.sha256 for tool in record.tools if tool.sha256}
        if checksums - {wheel} or not _is_there(record, target):
            return None
        return record

    def _write_gguf(self, form: ExportForm, part: Path) -> dict[str, Any]:
        if form.quantization is None:
            result = gguf_export.convert(self._source, part, self._say)
            return self._describe(result, form, [])
        half = self.export(ExportForm("gguf"))
        path = half.folder / half.record.model
        result = gguf_export.quantize(self._source, path, form, part, self._say)
        return self._describe(result, form, half.record.tools)

    def _describe(self, result: GgufResult, form: ExportForm, tools: list[Any]) -> dict[str, Any]:
        path = self._source.out / form.folder / result.file
        line = gguf_export.make_server_line(path, result.facts, self._source.max_length)
        return {
            "tools": [*tools, result.tool],
            "gguf": result.facts,
            "model": result.file,
            "answer": result.answer,
            "findings": result.findings,
            "commands": {"llama.cpp": line},
        }

    def _write_ollama(self, form: ExportForm, part: Path) -> dict[str, Any]:
        gguf = self.export(form.gguf)
        written = ollama.write(self._source, gguf.folder / gguf.record.model, gguf.record, part)
        target = self._source.out / form.folder
        return {
            "tools": gguf.record.tools,
            "gguf": gguf.record.gguf,
            "model": written.model,
            "findings": [*gguf.record.findings, *written.findings],
            "commands": ollama.make_commands(self._source.name, target),
        }

    def _write_vllm(self, form: ExportForm, part: Path) -> dict[str, Any]:
        lines = servers.write(self._source, part)
        model = str(self._source.model)
        return {"model": model, "commands": lines.commands, "findings": lines.findings}


def _is_there(record: ExportRecord, folder: Path) -> bool:
    return not record.model or (folder / record.model).exists()


@contextlib.contextmanager
def _locked(source: ExportSource) -> Iterator[None]:
    shown = make_visible(str(source.out))
    try:
        source.out.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = lock.take_exclusive(source.out / ".lock")
    except OSError as error:
        raise FtwizardError(
            f"Could not write to {shown}: {error.strerror}.", "Name another folder with --out."
        ) from error
    if descriptor is None:
        raise FtwizardError(
            f"Another export of {make_visible(source.name)} is running.", "Wait until it ends."
        )
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explain_full_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise _full_disk_error(folder) from error


def _full_disk_error(folder: Path) -> FtwizardError:
    return FtwizardError(
        f"The disk of {make_visible(str(folder))} is full.",
        "Free some space, then export again; nothing half-written was kept.",
    )
