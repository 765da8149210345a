"""The Modelfile for Ollama: TEMPLATE, stop tokens and parameters as in training.

Ollama ignores the Jinja template in a GGUF file. Its TEMPLATE is written in Go's template language
from the fixed texts of the training template, and only where both render the same prompts.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from ftwizard.export import chat_shape
from ftwizard.export.chat_shape import ChatShape, ShapeError
from ftwizard.export.gguf_export import choose_context
from ftwizard.export.source import ExportSource
from ftwizard.models import model_folder
from ftwizard.runs.exports import ExportRecord, GgufFacts
from ftwizard.text import make_visible
from ftwizard.train import model_loading

FILE = "Modelfile"
REQUIRES = "0.14.0"
"""The first version of Ollama that knows ``REQUIRES``; older ones refuse the file aloud."""
_QUOTES = '"""'
_INSTRUCTION = re.compile(
    r'^(?P<name>FROM|TEMPLATE|PARAMETER[ \t]+\w+)[ \t]+(?:"""(?P<long>.*?)"""|(?P<short>[^\n]*))',
    re.MULTILINE | re.DOTALL,
)
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_OLLAMA_NAMES = {"repetition_penalty": "repeat_penalty"}


class Modelfile(NamedTuple):
    model: str
    """The GGUF file, relative to the folder."""
    findings: list[str]


class _Template(NamedTuple):
    """A template in Go's language; None where none was proved."""

    text: str | None
    findings: list[str]


def write(source: ExportSource, gguf: Path, record: ExportRecord, folder: Path) -> Modelfile:
    """Write the Modelfile of a GGUF file to ``folder``, which is renamed within its parent later."""
    text, modelfile = _render(source, gguf, record, folder)
    (folder / FILE).write_text(text, encoding="utf-8")
    return modelfile


def find_defect(source: ExportSource, gguf: Path, record: ExportRecord, folder: Path) -> str:
    """Return how the Modelfile in ``folder`` renders, stops or loads otherwise than training; empty
    if it does not. Sampling settings and SYSTEM are the user's own.
    """
    wanted = _parse(_render(source, gguf, record, folder)[0])
    actual = _parse((folder / FILE).read_text(encoding="utf-8", errors="replace"))
    model = (folder / "".join(actual.get("FROM", []))).resolve()
    if model != gguf.resolve():
        return f"FROM is {make_visible(str(model), 200)}, not {make_visible(gguf.name, 80)}"
    has_date = "strftime_now" in (source.template or "")  # TEMPLATE has that of its export
    if not has_date and actual.get("TEMPLATE") != wanted.get("TEMPLATE"):
        return "TEMPLATE is not the chat template of the training"
    if missing := {*wanted.get("PARAMETER stop", [])} - {*actual.get("PARAMETER stop", [])}:
        return f"PARAMETER stop {make_visible(min(missing), 80)} is missing"
    context = actual.get("PARAMETER num_ctx", [""])[0]
    if not context.isdecimal() or int(context) < (source.max_length or 1):
        return "PARAMETER num_ctx is missing or too small: prompts would be cut"
    return ""


def _parse(text: str) -> dict[str, list[str]]:
    """Return the values of a Modelfile's instructions by name."""
    values: dict[str, list[str]] = {}
    for match in _INSTRUCTION.finditer(text):
        name = " ".join(match["name"].split())
        values.setdefault(name, []).append(match["long"] or (match["short"] or "").strip())
    return values


def _render(
    source: ExportSource, gguf: Path, record: ExportRecord, folder: Path
) -> tuple[str, Modelfile]:
    assert record.gguf is not None  # of a GGUF export
    tokenizer = model_loading.load_tokenizer(source.model)
    template = _make_template(tokenizer, source, record.gguf)
    model = os.path.relpath(gguf, folder)
    lines = [f"FROM {model}", f"REQUIRES {REQUIRES}", ""]
    findings = list(template.findings)
    if template.text is not None:
        lines += [f"TEMPLATE {_QUOTES}{template.text}{_QUOTES}", ""]
    else:
        lines += [*(f"# {line}" for line in RAW_ADVICE), ""]
    for name, value in _choose_parameters(source, record.gguf, tokenizer):
        lines.append(f"PARAMETER {name} {value}")
    if source.system and template.text is not None:
        if _QUOTES in source.system:
            findings.append('SYSTEM was not written: the system prompt contains """.')
        else:
            lines += ["", f"SYSTEM {_QUOTES}{source.system}{_QUOTES}"]
    return "\n".join(lines) + "\n", Modelfile(model, findings)


RAW_ADVICE = (
    "No TEMPLATE: no Go template of ftwizard's was proved to render this model's prompts.",
    "Ollama would guess one from the Jinja template, and may render other prompts than the training.",
    "Render prompts with the model's tokenizer (apply_chat_template), and send them raw:",
    'POST /api/generate {"model": "…", "raw": true, "prompt": "…"}',
)
RAW_FINDING = (
    "No TEMPLATE was written; render prompts with the tokenizer and send them with raw: true. The "
    "chat template "
)


def _make_template(tokenizer: Any, source: ExportSource, facts: GgufFacts) -> _Template:
    """Return the training template in Go's language, if it was proved to render the same."""
    if source.template is None:
        return _Template(None, [f"{RAW_FINDING}is missing."])
    render = chat_shape.make_renderer(tokenizer)
    try:
        shape = chat_shape.find_shape(render)
    except ShapeError as error:
        return _Template(None, [f"{RAW_FINDING}{error}."])
    findings = []
    if chat_shape.trims(render):
        findings.append(
            "The training template removes white space around messages; Ollama's cannot: trim them "
            "yourself."
        )
    if "strftime_now" in source.template:
        findings.append("The template writes the date; TEMPLATE has the date of this export.")
    if shape.system_head is None:
        findings.append("The training template refuses system prompts; TEMPLATE leaves them out.")
    shape, bos_findings = _without_bos(shape, tokenizer.bos_token, facts)
    text = to_go(shape)
    if text is None:
        return _Template(None, [f'{RAW_FINDING}contains {{{{ or """.'])
    return _Template(text, [*findings, *bos_findings])


def _without_bos(
    shape: ChatShape, bos: str | None, facts: GgufFacts
) -> tuple[ChatShape, list[str]]:
    """Leave the BOS token to llama.cpp where it adds it: written as well, there would be two."""
    if not facts.adds_bos or not bos:
        return shape, []
    with_system = shape.system_head
    if shape.head.startswith(bos) and (with_system is None or with_system.startswith(bos)):
        rest = None if with_system is None else with_system.removeprefix(bos)
        return shape._replace(head=shape.head.removeprefix(bos), system_head=rest), []
    shown = make_visible(bos, 40)
    return shape, [f"Ollama begins each prompt with {shown}, which the training template does not."]


def to_go(shape: ChatShape) -> str | None:
    """Write a shape in Go's template language; None if a text could not be written literally.

    Ollama passes ``.System``, all system messages joined, and ``.Messages``, in which neighbors of
    one role are joined (ollama, template/template.go, ``collate``).
    """
    if any("{{" in text or "}}" in text or _QUOTES in text for text in shape if text):
        return None
    head = shape.head
    if shape.system_head is not None:
        with_system = f"{shape.system_head}{{{{ .System }}}}{shape.system_tail}"
        head = f"{{{{ if .System }}}}{with_system}{{{{ else }}}}{head}{{{{ end }}}}"
    return (
        f'{head}{{{{ range .Messages }}}}{{{{ if eq .Role "user" }}}}{{{{ .Content }}}}{shape.user_tail}'
        f'{{{{ else if eq .Role "assistant" }}}}{{{{ .Content }}}}{shape.answer_tail}'
        "{{ end }}{{ end }}"
    )


def _choose_parameters(
    source: ExportSource, facts: GgufFacts, tokenizer: Any
) -> list[tuple[str, str]]:
    """Return parameters by name; sampling as in ``generation_config.json``, else greedy."""
    parameters = [("num_ctx", str(choose_context(facts, source.max_length)))]
    generation = model_folder.read_json(source.model / "generation_config.json") or {}
    if generation.get("do_sample"):
        for name in _SAMPLING:
            if isinstance(value := generation.get(name), int | float):
                parameters.append((_OLLAMA_NAMES.get(name, name), f"{value:g}"))
    else:
        parameters.append(("temperature", "0"))
    for token in source.end_ids:
        text = tokenizer.decode([token])
        if text.strip() and '"' not in text and "\n" not in text:
            parameters.append(("stop", f'"{text}"'))
    return parameters


def make_commands(name: str, folder: Path) -> dict[str, str]:
    """Return the commands that make the model known to Ollama and start it."""
    model = "".join(c if c.isalnum() or c in "._-" else "-" for c in name.lower())
    file = str(folder / FILE)
    return {
        "create": shlex.join(["ollama", "create", model, "-f", file]),
        "run": shlex.join(["ollama", "run", model]),
    }
