"""Hops judged from measures: which band holds for a form, and the likely cause where it does not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from ftwizard.runs.custody import Cause, Hop
from ftwizard.serve import measures
from ftwizard.serve.local_forms import SCORED_TOKENS, GreedyAnswer, Scores

MAX_NMSE = 1e-2
"""Of a 16-bit form: llama.cpp's own limit for a conversion (examples/model-conversion,
``compare-logits``); a good one is near 1e-4."""
MAX_KL = 0.3
"""Of a quantized form, in nats per token. Measured on SmolLM2-135M, whose small matrices suffer
most: q8_0 0.004, q4_k_m 0.07."""
MAX_STRENGTH_ERROR = 0.15
MAX_QUANTIZED_STRENGTH_ERROR = 0.3
"""Distance of a form's strength from 1. Rounding and quantization have hardly a direction: healthy
forms of two adapters on SmolLM2-135M were within 0.01 in 16 bit, 0.02 in q8_0 and 0.09 in q4_k_m."""
MAX_SERVED_DIFFERENCE = 1.0
"""Of the log-probability of a token that a server gives, in nats, on average over its tokens."""
MIN_CANARY_STRENGTH = 0.5
MIN_CANARIES_KEPT = 0.8
MAX_BASE_STRENGTH = 0.2
MIN_BASE_STRENGTH = -0.2
"""Strengths of a form that is the base model."""
SHOWN_TOKENS = 6
SHOWN_CHARACTERS = 40
"""Of a prompt and of a template, from where they differ."""
SCALE_SUSPECTS = ("weights_differ", "quantization", "wrong_model", "stop_token")
"""Causes that a wrong scale may be behind: where logits are not linear in it."""
MIN_SCALED_ERROR = 0.01
"""Error below which a form is the adapter as it was trained."""
MAX_SCALE = 8.0
MAX_SCALED_ERROR = 0.5
"""Error at the scale that explains a form, as a share of that of base and tuned model."""
MAX_OFF_LINE = 0.6
"""Share of the distance from base to tuned that another scale may leave unexplained."""


class Reference(NamedTuple):
    """What each form is compared with: prompts, and the answers of the model as it was trained."""

    prompts: list[list[int]]
    """Tokens."""
    answers: list[GreedyAnswer]
    base_answers: list[GreedyAnswer]
    base: Scores
    tuned: Scores

    @property
    def canaries(self) -> list[int]:
        """Return the prompts that base and tuned model answer differently."""
        pairs = zip(self.answers, self.base_answers, strict=True)
        return [i for i, (tuned, base) in enumerate(pairs) if tuned.tokens != base.tokens]

    @property
    def scored(self) -> list[int]:
        """Return the tokens of the answers whose logits are kept."""
        return [token for answer in self.answers for token in answer.tokens[:SCORED_TOKENS]]


def find_token_difference(
    expected: Sequence[Sequence[int]], actual: Sequence[Sequence[int]], decode: Any
) -> dict[str, Any] | None:
    """Return the first prompt (from 1), token position and the texts there; None if all are equal."""
    for number, pair in enumerate(zip(expected, actual, strict=True), 1):
        if (position := _find_place(*pair)) is None:
            continue
        near = [list(part[position : position + SHOWN_TOKENS]) for part in pair]
        shown = [repr(decode(tokens)) if tokens else "the end" for tokens in near]
        return {"prompt": number, "position": position, "expected": shown[0], "actual": shown[1]}
    return None


def _find_place(expected: Sequence[Any], actual: Sequence[Any]) -> int | None:
    """Return where two sequences begin to differ; None if they are equal."""
    pairs = enumerate(itertools.zip_longest(expected, actual))
    return next((index for index, (a, b) in pairs if a != b), None)


def compare_prompts(
    hop: Hop,
    prompts: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]],
    texts: Sequence[Sequence[str]],
    decode: Any,
    templates: Sequence[str | None] = (None, None),
    tokenizer_changes: dict[str, Any] | None = None,
) -> Hop:
    """Return ``hop``, broken if prompts are rendered to other tokens, or templates or tokenizers differ.

    Each pair has what is expected first: tokens of the prompts, their texts, and the templates.
    """
    difference = find_token_difference(*prompts, decode)
    hop = msgspec.structs.replace(hop, token_ids_equal=not difference, token_check="ids")
    evidence = difference or {"unchanged": len(prompts[0])}
    if templates[0] != templates[1] or (difference and texts[0] != texts[1]):
        added = {new.removeprefix(old) for old, new in zip(*texts, strict=True)}
        if len(added) == 1 and all(map(str.startswith, texts[1], texts[0])) and added != {""}:
            evidence = {"added": repr(added.pop())}
        if (place := _find_place(*(template or "" for template in templates))) is not None:
            shown = [(template or "")[place:][:SHOWN_CHARACTERS] for template in templates]
            before, after = (repr(text) if text else "end" for text in shown)
            evidence |= {"text_before": before, "text_after": after}
        return fail(hop, "template", **evidence)
    if difference or tokenizer_changes:
        return fail(hop, "tokenizer", **(tokenizer_changes or {}), **evidence)
    return hop


def compare_scores(
    hop: Hop,
    reference: Reference,
    before: Scores,
    after: Scores,
    *,
    quantized: bool,
    is_proved: bool = False,
) -> Hop:
    """Return ``hop`` with what the logits of ``after`` say, compared with those of ``before``.

    ``is_proved``: its weights are known to be right, so that rounding alone may weaken them.
    """
    strength, off = measures.strength(reference.base.logits, before.logits, after.logits)
    divergence = measures.divergence(before.logits, after.logits)
    equal = [
        best == answer.tokens for best, answer in zip(after.best, reference.answers, strict=True)
    ]
    canaries = reference.canaries
    kept = _count_kept(reference, before, after)
    hop = msgspec.structs.replace(
        hop,
        max_logprob_difference=measures.difference(before.logits, after.logits, reference.scored),
        nmse=None if quantized else measures.nmse(before.logits, after.logits),
        kl=divergence if quantized else None,
        strength=None if math.isnan(strength) else strength,
        agreement=sum(equal) / len(equal),
        canaries=len(canaries),
        canaries_kept=kept,
    )
    cause, evidence = _find_cause(hop, off, divergence, quantized=quantized, is_proved=is_proved)
    return fail(hop, cause, **evidence) if cause else hop


def name_scale(
    hop: Hop,
    reference: Reference,
    measure_error: Callable[[Scores], float],
    rescale: Callable[[float], Scores] | None,
    max_error: float = MAX_SCALED_ERROR,
) -> Hop:
    """Return ``hop`` with a wrong scale as its cause, if its weights differ and a scale explains that.

    ``rescale`` returns what the adapter predicts at another strength, None without an adapter;
    ``measure_error`` how far that is from the form. ``max_error``: see ``MAX_SCALED_ERROR``.
    """
    if rescale is None or hop.ok is not False or hop.cause not in SCALE_SUSPECTS:
        return hop
    errors = {0.0: measure_error(reference.base), 1.0: measure_error(reference.tuned)}
    wanted = max_error * min(errors.values())
    if errors[1.0] < MIN_SCALED_ERROR:
        return hop
    errors |= {scale: measure_error(rescale(scale)) for scale in (0.5, 2.0)}
    step = min((0.5, 2.0), key=lambda scale: errors[scale])
    scale = step
    while min(errors, key=lambda tried: errors[tried]) == scale and 0.1 < scale < MAX_SCALE:
        scale *= step
        errors[scale] = measure_error(rescale(scale))
    best = min(errors, key=lambda tried: errors[tried])
    for scale in (best * 0.75, best * 1.5) if best else ():
        errors[scale] = measure_error(rescale(scale))
    best = min(errors, key=lambda tried: errors[tried])
    if best in (0.0, 1.0) or errors[best] > wanted:
        return hop
    return msgspec.structs.replace(hop, cause="lora_scale", evidence={"strength": round(best, 2)})


def _count_kept(reference: Reference, before: Scores, after: Scores) -> int:
    """Return the canary prompts for which ``after`` is nearer to ``before`` than to the base.

    Probabilities are compared, not answers: quantization may change a word of an answer, and yet
    keep what was trained.
    """
    kept, start = 0, 0
    canaries = set(reference.canaries)
    for index, answer in enumerate(reference.answers):
        rows = slice(start, start + len(answer.tokens[:SCORED_TOKENS]))
        start = rows.stop
        if index in canaries:
            strength, _ = measures.strength(
                reference.base.logits[rows], before.logits[rows], after.logits[rows]
            )
            kept += strength > MIN_CANARY_STRENGTH
    return kept


def _find_cause(
    hop: Hop, off: float, divergence: float, *, quantized: bool, is_proved: bool
) -> tuple[Cause, dict[str, Any]]:
    """Return the likely cause of a hop that broke; empty if it is within its band."""
    strength = hop.strength
    if strength is not None and hop.canaries and not is_proved:
        if MIN_BASE_STRENGTH < strength < MAX_BASE_STRENGTH and off < MAX_OFF_LINE:
            return "base_served", {}
        limit = MAX_QUANTIZED_STRENGTH_ERROR if quantized else MAX_STRENGTH_ERROR
        if abs(strength - 1) > limit and off < MAX_OFF_LINE:
            return "lora_scale", {"strength": round(strength, 2)}
    if quantized and divergence > MAX_KL:
        return "quantization", {"kl": divergence, "limit": MAX_KL}
    if hop.nmse is not None and hop.nmse > MAX_NMSE:
        detail = f"the normalized error of the logits is {hop.nmse:.2g}, at most {MAX_NMSE:g}"
        return "weights_differ", {"detail": detail}
    if (
        hop.canaries
        and not is_proved
        and (hop.canaries_kept or 0) < MIN_CANARIES_KEPT * hop.canaries
    ):
        kept = f"{hop.canaries_kept} of {hop.canaries} canary prompts keep the tuned answer"
        return "weights_differ", {"detail": kept}
    return "", {}


def fail(hop: Hop, cause: Cause, **evidence: Any) -> Hop:
    """Return ``hop`` as broken; an earlier cause stays, because it may explain this one."""
    if hop.ok is False:
        return hop
    return msgspec.structs.replace(hop, ok=False, cause=cause, evidence=evidence)


def doubt(hop: Hop, cause: Cause, **evidence: Any) -> Hop:
    """Return ``hop`` as one that cannot be judged, unless it is broken, or doubted for another cause."""
    if not hop.ok:
        return hop
    return msgspec.structs.replace(hop, ok=None, cause=cause, evidence=evidence)
