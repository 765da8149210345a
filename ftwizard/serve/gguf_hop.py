"""The hop to a GGUF file: its template, tokenizer, stop tokens, and what llama.cpp predicts with it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ftwizard.errors import FtwizardError
from ftwizard.export import gguf_file, tools
from ftwizard.export.gguf_scores import ScoreOutcome, ScoreTask
from ftwizard.hardware import machine
from ftwizard.jobs import ending
from ftwizard.runs.custody import Hop
from ftwizard.serve import comparison
from ftwizard.serve.comparison import Reference
from ftwizard.serve.local_forms import SCORED_TOKENS, Scores
from ftwizard.serve.probes import Probe
from ftwizard.text import make_visible

FULL_TYPES = (0, 1, 32)
"""``general.file_type`` of unquantized files: F32, F16 and BF16 (gguf's ``LlamaFileType``)."""


def compare(
    hop: Hop,
    file: Path,
    reference: Reference,
    before: Scores,
    probes: Sequence[Probe],
    tokenizer: Any,
    end_ids: Sequence[int],
    report: Callable[[], None],
) -> tuple[Hop, Scores | None]:
    """Return ``hop``, judged, and what the file predicts; None if it cannot be loaded.

    ``tokenizer``: of the model before; ``report`` is called meanwhile, and may raise. Raises
    FtwizardError if there is not enough memory.
    """
    if not machine.is_installed("cyllama"):
        hint = "cyllama is not installed: pip install 'ftwizard[export]'"
        return comparison.doubt(hop, "not_measured", detail=hint), None
    try:
        template, file_type = _read_metadata(file)
        texts = [render(tokenizer, template, probe) for probe in probes]
        outcome, scores = _measure(file, texts, reference, end_ids, report)
    except FtwizardError as error:
        if ending.find_shortage(error):
            raise
        detail = make_visible(error.message.rstrip("."), 300)
        return comparison.fail(hop, "unreadable", file=file.name, detail=detail), None
    expected = [render(tokenizer, tokenizer.chat_template, probe) for probe in probes]
    hop = comparison.compare_prompts(
        hop, (reference.prompts, outcome.tokens), (expected, texts), tokenizer.decode
    )
    hop = msgspec.structs.replace(hop, stops=not outcome.unknown_ends)
    if outcome.unknown_ends:
        tokens = tokenizer.convert_ids_to_tokens(outcome.unknown_ends)
        hop = comparison.fail(hop, "stop_token", tokens=tokens)
    is_quantized = file_type not in FULL_TYPES
    return comparison.compare_scores(hop, reference, before, scores, quantized=is_quantized), scores


def _read_metadata(file: Path) -> tuple[str | None, int]:
    """Return the chat template in a file, and its type."""
    try:
        reader = gguf_file.open_file(file)
        fields = [reader.fields.get(n) for n in ("tokenizer.chat_template", "general.file_type")]
        template, kind = (field.contents() if field else None for field in fields)
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise FtwizardError(f"{error}.") from None
    return template if isinstance(template, str) else None, int(kind or 0)


def render(tokenizer: Any, template: str | None, probe: Probe) -> str:
    """Return a prompt's text by ``template``, in transformers' sandbox; empty if it raises."""
    from jinja2.exceptions import TemplateError

    if template is None:
        return "\n".join(str(message.get("content") or "") for message in probe.messages)
    try:
        return str(
            tokenizer.apply_chat_template(
                probe.messages, tools=probe.tools, chat_template=template, tokenize=False,
                add_generation_prompt=True,
            )
        )  # fmt: skip
    except (TemplateError, TypeError, KeyError, ValueError):
        return ""


def _measure(
    file: Path,
    texts: list[str],
    reference: Reference,
    end_ids: Sequence[int],
    report: Callable[[], None],
) -> tuple[ScoreOutcome, Scores]:
    with tempfile.TemporaryDirectory(prefix="ftwizard-verify-") as name:
        folder = Path(name)
        task = ScoreTask(
            file=str(file),
            texts=texts,
            prompts=reference.prompts,
            answers=[answer.tokens for answer in reference.answers],
            scored=SCORED_TOKENS,
            end_ids=list(end_ids),
            # Half of the cores: llama.cpp's threads spin, and are slow where others run.
            threads=max(1, len(os.sched_getaffinity(0)) // 2),
        )
        (folder / "task.json").write_bytes(msgspec.json.encode(task))
        tools.run("llama.cpp", "score", folder, report=report)
        outcome = msgspec.json.decode((folder / "outcome.json").read_bytes(), type=ScoreOutcome)
        return outcome, Scores(np.load(folder / "logits.npy"), outcome.best)
