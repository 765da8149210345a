"""The GGUF file of a model: converted, read back, loaded by llama.cpp, and then quantized."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.export import chat_shape, converter, gguf_file, quantizer, tools
from ftwizard.export.source import ExportSource
from ftwizard.hardware import machine
from ftwizard.plan.export_forms import QUANTIZATIONS, ExportForm
from ftwizard.runs.exports import ExportTool, GgufFacts
from ftwizard.text import format_bytes, format_count, make_visible
from ftwizard.train import inputs, model_loading

Say = Callable[..., None]
"""Progress: ``say(phase, what=…, done=…, total=…, unit=…)``."""
PROMPT = "What is 2 + 3?"
ANSWER_TOKENS = 8
TOKENIZER_BYTES = 50_000_000
"""Space for the vocabulary and the metadata, generously."""
DEFAULT_CONTEXT = 8192
"""Tokens of a server's context: more than most chats need, in little memory."""
FALLBACK_BITS = 2.0
"""Bits per weight that K-quants of a model with other widths take more (SmolLM2-135M: 6.2, not 4.9)."""
_END_TOKEN = re.compile(r"EOG token\s+= (\d+) ")
"""llama.cpp's log at loading."""


class GgufResult(NamedTuple):
    """One GGUF file, in the folder that it was written to."""

    file: str
    facts: GgufFacts
    tool: ExportTool
    answer: str | None
    findings: list[str]


def convert(source: ExportSource, folder: Path, say: Say) -> GgufResult:
    """Write a model's GGUF file to ``folder`` in the type of the model, and check it.

    Raises FtwizardError before the conversion if the converter does not know the model, or if the
    disk is too small, and after it if llama.cpp cannot load the file.
    """
    wheel = converter.find(say)
    tokenizer = model_loading.load_tokenizer(source.model)
    converter.require_support(source.model, wheel, tokenizer)
    config = model_loading.read_config(source.model)
    dtype = config.get("dtype", config.get("torch_dtype"))
    file_type = {"float16": "f16", "float32": "f32"}.get(str(dtype), "bf16")
    weights = inputs.count_parameters(source.model) * (4 if file_type == "f32" else 2)
    require_space(folder, weights + TOKENIZER_BYTES, "the unquantized GGUF file")
    out = folder / f"{source.name}-{file_type.upper()}.gguf"
    tool = converter.convert(
        source.model, out, file_type, wheel, _report_size(say, "converting", out, weights)
    )
    findings = match_eos(out, source, tokenizer)
    return _check(source, out, tool, None, findings, say)


def quantize(
    source: ExportSource, half: Path, form: ExportForm, folder: Path, say: Say
) -> GgufResult:
    """Write the unquantized GGUF file ``half`` quantized to ``folder`` and check it.

    Raises FtwizardError as ``convert`` does.
    """
    quantization = str(form.quantization)
    chosen = quantizer.find()
    bits = min(16.0, QUANTIZATIONS[quantization][1] + FALLBACK_BITS)
    weights = round(inputs.count_parameters(source.model) * bits / 8)
    require_space(folder, weights + TOKENIZER_BYTES, f"the {quantization} file")
    out = folder / f"{source.name}-{quantization.upper()}.gguf"
    report = _report_size(say, "quantizing", out, weights)
    tool = quantizer.quantize(half, out, quantization, chosen, report)
    return _check(source, out, tool, quantization, [], say)


def make_server_line(path: Path, facts: GgufFacts, max_length: int | None) -> str:
    """Return the line for llama.cpp's server."""
    context = str(choose_context(facts, max_length))
    return shlex.join(["llama-server", "--model", str(path), "--ctx-size", context, "--jinja"])


def choose_context(facts: GgufFacts, max_length: int | None) -> int:
    """Return a server's context in tokens: at least that of the training, within the model's."""
    context = max(max_length or 0, DEFAULT_CONTEXT)
    return min(context, facts.context) if facts.context else context


def require_space(folder: Path, needed: int, content: str) -> None:
    """Raise FtwizardError if the disk of ``folder`` has less than ``needed`` bytes free."""
    free = machine.get_free_bytes(folder)
    if free < needed:
        raise FtwizardError(
            f"{content[0].upper()}{content[1:]} needs about {format_bytes(needed)}; "
            f"{make_visible(str(machine.get_existing_parent(folder)))} has {format_bytes(free)} free.",
            "Free some space; nothing was written.",
        )


def _report_size(say: Say, phase: str, out: Path, total: int) -> Callable[[], None]:
    def report() -> None:
        done = out.stat().st_size if out.exists() else 0
        say(phase, what=out.name, done=min(done, total), total=total, unit="bytes")

    return report


def match_eos(out: Path, source: ExportSource, tokenizer: Any) -> list[str]:
    """Let the file's EOS token be one that ended answers in training; return what was changed."""
    eos = tokenizer.eos_token_id
    if not source.end_ids or eos in source.end_ids:
        return []
    end = source.end_ids[0]
    before = gguf_file.set_eos(out, end)
    if before is None or before == end:
        return []
    old, new = (make_visible(str(tokenizer.decode([i])), 40) for i in (before, end))
    return [f"The EOS token of the file is {new}, which ended answers in training, not {old}."]


def _check(
    source: ExportSource,
    out: Path,
    tool: ExportTool,
    quantization: str | None,
    findings: list[str],
    say: Say,
) -> GgufResult:
    """Read a file back, load it, take one answer; raise FtwizardError if it does not load."""
    say("checking", what=out.name)
    facts = gguf_file.read_facts(out, source.template, quantization)
    answer = None
    if machine.is_installed("xllamacpp"):
        # Half of the cores: llama.cpp's threads spin, and are slow where others run.
        threads = max(1, len(os.sched_getaffinity(0)) // 2)
        try:
            outcome = tools.run(
                "llama.cpp", "answer", out, PROMPT, str(ANSWER_TOKENS), str(threads),
                report=lambda: say("checking", what="one answer of the file"),
            )  # fmt: skip
        except tools.ToolError as error:
            raise FtwizardError(
                f"llama.cpp could not load and answer with {out.name}: "
                f"{make_visible(error.cause, 300)}",
                "The file was deleted. The merged model works with vLLM and transformers.",
            ) from error
        answer = str(outcome.result)
        ends = {int(token) for token in _END_TOKEN.findall(outcome.log)}
        facts = msgspec.structs.replace(facts, end_ids=sorted({*facts.end_ids, *ends}))
    else:
        findings.append(
            "The file was not loaded, because xllamacpp is not installed: pip install xllamacpp"
        )
    return GgufResult(out.name, facts, tool, answer, [*findings, *_find_problems(source, facts)])


def _find_problems(source: ExportSource, facts: GgufFacts) -> list[str]:
    findings = find_template_problems(source)
    if facts.template_equal is False:
        findings.append(
            "The chat template in the file is not the one of the training: prompts would differ."
        )
    if missing := sorted(set(source.end_ids) - set(facts.end_ids)):
        ids = ", ".join(map(str, missing))
        findings.append(
            f"Training ended answers with token {ids}, at which the file does not stop."
        )
    if facts.fallbacks:
        count = sum(facts.fallbacks.values())
        types = ", ".join(f"{number} {name}" for name, number in sorted(facts.fallbacks.items()))
        findings.append(
            f"{count} of {format_count(facts.tensors, 'tensor')} fell back to other types ({types}): "
            f"their rows are not divisible by {gguf_file.K_QUANT_BLOCK}."
        )
    return findings


def find_template_problems(source: ExportSource) -> list[str]:
    """Return what is wrong with the chat template of the training itself, a sentence each."""
    if source.template is None:
        return ["The model has no chat template: llama.cpp would use ChatML."]
    tokenizer = model_loading.load_tokenizer(source.model)
    renderers = [chat_shape.make_renderer(tokenizer, prompt=prompt) for prompt in (True, False)]
    if not chat_shape.lacks_generation_prompt(*renderers):
        return []
    problem = "The chat template has no generation prompt: the model may continue the question"
    return [f"{problem} instead of answering it."]
