"""The chain of custody of a run's model, from adapter to server: its document, and that in words.

``export/verify.json`` is written by ``ftwizard verify``. A hop goes from one form of the model to
the next; it holds if the same prompts get the same tokens and, within the band of the form, the
same probabilities.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, Literal

import msgspec

from ftwizard.jobs.folder import JobFolder, read_json
from ftwizard.text import format_bytes, format_count, make_visible

FILE = "export/verify.json"
Cause = Literal[
    "",
    "base_served",
    "lora_scale",
    "transposed",
    "modules_missing",
    "modules_to_save_missing",
    "last_place",
    "weights_differ",
    "files_changed",
    "unreadable",
    "quantization",
    "template",
    "tokenizer",
    "stop_token",
    "extra_stop_token",
    "generation_settings",
    "modelfile",
    "wrong_model",
    "truncated_context",
    "system_prompt_added",
    "sampling",
    "refused",
    "no_canary",
    "no_memory",
    "not_measured",
]
"""The likely reason why a hop broke, or why it cannot be judged; empty where it holds."""


class Hop(msgspec.Struct, frozen=True, kw_only=True, rename={"source": "from", "target": "to"}):
    """One step of the chain: all measures compare ``to`` with ``from`` on the same prompts."""

    source: str
    target: str
    ok: bool | None
    """None: it cannot be judged; ``cause`` says why."""
    token_ids_equal: bool | None
    """Whether all prompts are rendered to the same tokens; with ``token_check`` ``count``, whether
    there are as many, which is weaker. None: the form does not say."""
    max_logprob_difference: float | None
    """Of the answers' tokens, in nats; None where the form gives no probabilities."""
    cause: Cause = ""
    evidence: dict[str, Any] = {}
    """What was measured for ``cause``, by name."""
    token_check: Literal["ids", "count"] | None = None
    nmse: float | None = None
    """Mean squared error of the logits, normalized by their mean square; 16-bit forms."""
    kl: float | None = None
    """Mean Kullback–Leibler divergence per token, in nats; quantized forms."""
    strength: float | None = None
    """Where the form lies between base (0) and tuned (1): the LoRA scale that it acts as."""
    agreement: float | None = None
    """Share of the answers that are equal, 0–1."""
    canaries: int | None = None
    """Prompts that base and tuned model answer differently."""
    canaries_kept: int | None = None
    """Those of them that this form answers as the tuned model does."""
    tensors_proved: int | None = None
    """Tensors of a merged model that are bit for bit what base and adapter give, if all are."""
    stops: bool | None = None
    """Whether answers end where they ended in training; None: not measured."""


class Custody(msgspec.Struct, frozen=True, kw_only=True):
    """``export/verify.json``."""

    hops: list[Hop]
    prompts: int = 0
    notes: list[str] = []
    """Forms that do not exist, so that nothing was compared."""

    @property
    def outcome(self) -> bool | None:
        """Return True if all hops hold, False if one broke, None if that cannot be told."""
        if any(hop.ok is False for hop in self.hops):
            return False
        return True if self.hops and all(hop.ok for hop in self.hops) else None

    @property
    def broken(self) -> Hop | None:
        """Return the first hop that broke."""
        return next((hop for hop in self.hops if hop.ok is False), None)


def read(folder: JobFolder) -> Custody | None:
    """Read the newest result of a run; None without one."""
    return read_json(folder.path / FILE, Custody)


def describe(custody: Custody) -> list[str]:
    """Describe the chain: a line for each hop, with its cause on the next."""
    lines = []
    for hop in custody.hops:
        mark = {True: "✓", False: "✗", None: "?"}[hop.ok]
        lines.append(f"{mark} {hop.source} → {hop.target}: {describe_measures(hop)}")
        if hop.cause:
            lines.append(f"    {describe_cause(hop)}")
    return [*lines, *(f"· {make_visible(note, 200)}" for note in custody.notes)]


def describe_outcome(custody: Custody) -> str:
    """Describe the chain in one line: which forms it compared, and whether they agree."""
    if broken := custody.broken:
        return f"✗ {broken.source} → {broken.target}: {describe_cause(broken)}"
    forms = " → ".join(
        dict.fromkeys(form for hop in custody.hops for form in (hop.source, hop.target))
    )
    mark, outcome = ("✓", "same answers") if custody.outcome else ("?", "cannot tell")
    prompts = f" on {format_count(custody.prompts, 'prompt')}" if custody.prompts else ""
    return make_visible(f"{mark} {forms}: {outcome}{prompts}", 300)


def describe_measures(hop: Hop) -> str:
    """Describe what was measured on a hop."""
    parts = []
    if hop.token_ids_equal is not None:
        name = "token counts" if hop.token_check == "count" else "tokens"
        parts.append(f"{name} {'equal' if hop.token_ids_equal else 'differ'}")
    if hop.tensors_proved:
        parts.append(f"all {format_count(hop.tensors_proved, 'tensor')} as base and adapter give")
    if hop.max_logprob_difference is not None:
        parts.append(f"log-probabilities within {hop.max_logprob_difference:.2g}")
    if hop.nmse is not None:
        parts.append(f"NMSE {hop.nmse:.1e}")
    if hop.kl is not None:
        parts.append(f"KL {hop.kl:.2g}")
    if hop.agreement is not None:
        parts.append(f"{hop.agreement:.0%} of answers equal")
    if hop.canaries:
        parts.append(f"{hop.canaries_kept} of {format_count(hop.canaries, 'canary', 'canaries')}")
    if hop.stops is not None:
        parts.append("stops as trained" if hop.stops else "does not stop as trained")
    return ", ".join(parts) or "not measured"


def describe_cause(hop: Hop) -> str:
    """Describe the likely cause, with what to do where that is clear."""
    sentences = _CAUSES.get(hop.cause, hop.cause).split("\n")
    values = {name: _format(name, value) for name, value in hop.evidence.items()}
    shown = []
    for sentence in sentences:
        with contextlib.suppress(KeyError, IndexError):  # not measured, or not by that version
            shown.append(sentence.format(**values))
    return " ".join(shown) or sentences[0].split("{")[0].strip()


def _format(name: str, value: Any) -> str:
    if name.endswith("_bytes") and isinstance(value, int):
        return format_bytes(value)
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        old, new = (
            "unset" if value.get(key) is None else json.dumps(value[key], ensure_ascii=False)
            for key in ("expected", "actual")
        )
        return make_visible(f"{value.get('name')} {old} became {new}", 200)
    if isinstance(value, list):
        shown = ", ".join(make_visible(_format("", item), 200) for item in value[:3])
        return shown + (f" and {len(value) - 3} more" if len(value) > 3 else "")
    return make_visible(str(value), 200)


_CAUSES: dict[str, str] = {
    "base_served": "It answers as the base model: the adapter is not in it.",
    "lora_scale": "The LoRA scale is wrong: the update acts {strength} times as strong as trained.",
    "transposed": "The update was added transposed, in {modules}.",
    "modules_missing": "The update is missing in {modules}.",
    "modules_to_save_missing": "Modules that were trained whole are those of the base: {modules}.",
    "last_place": "{changed} of {total} values differ in the last place, by up to {largest}, in "
    "{modules}.\nSo little changes no answer, but the file is not the one that was merged. Copy it "
    "again, or merge again with --replace.",
    "weights_differ": "The weights differ by more than rounding: {detail}.",
    "files_changed": "{files} changed since the merge. Weights, prompts, stop tokens and generation "
    "settings did not.",
    "unreadable": "{file} cannot be loaded: {detail}. Merge, export or copy it again.",
    "quantization": "Quantization damaged it: KL {kl} nats per token, at most {limit}. Use a larger "
    "type, such as q8_0.",
    "template": "The chat template differs.\nIts {text_before} became {text_after}.\n"
    "All {unchanged} prompts are rendered the same.\n"
    "Prompts are rendered the same, with {added} added at the end.\n"
    "Prompt {prompt}, token {position}: {expected} became {actual}.",
    "tokenizer": "The tokenizer differs.\n"
    "Words have other token ids: {words}. The model reads and writes one for the other.\n"
    "Its settings: {settings}.\nPrompt {prompt}, token {position}: {expected} became {actual}.\n"
    "The tokens of all {unchanged} prompts are the same.",
    "stop_token": "Answers do not stop: {tokens} is missing from the tokens that end generation.",
    "extra_stop_token": "Answers can end too early: generation also ends at {tokens}, not only at "
    "{expected}.",
    "generation_settings": "The generation settings differ: {settings}.\nServers that take their "
    "defaults from them answer differently.",
    "modelfile": "The Modelfile is not as training was: {detail}. Export it again.",
    "wrong_model": "Another model answers: {detail}.",
    "truncated_context": "The context is too short: a prompt of {expected} tokens was cut or refused "
    "({actual}). Set num_ctx, or --max-model-len.",
    "system_prompt_added": "The server adds a system prompt: about {tokens} more tokens per prompt.",
    "sampling": "The server samples although the temperature is 0: the same prompt got two answers.",
    "refused": "The server refused the prompts: {detail}.",
    "no_canary": "Cannot tell: base and tuned model answer all prompts alike, so that nothing shows "
    "which of them this is.",
    "no_memory": "Cannot tell: answers need about {needed_bytes} of memory, and {free_bytes} are free. "
    "Close other programs, or verify on a machine with more memory.",
    "not_measured": "Cannot tell: {detail}.",
}
