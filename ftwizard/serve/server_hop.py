"""The hop to a server that answers: what it is asked, and what its answers say about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from ftwizard.runs.custody import Hop
from ftwizard.serve import comparison, measures
from ftwizard.serve.comparison import Reference
from ftwizard.serve.local_forms import MAX_ANSWER_TOKENS, SCORED_TOKENS, Scores
from ftwizard.serve.probes import Probe
from ftwizard.serve.server_client import Client, Refusal, ServedAnswer
from ftwizard.train.encoder import Encoder, EncodingError

MAX_SERVED_STRENGTH_ERROR = 0.4
"""Distance of a server's strength from 1, measured on single tokens: less certain than on logits."""
MIN_LINE = 1e-2
"""Mean squared difference of base and tuned log-probabilities that shows a strength."""
MAX_SUSPECT_ERROR = 0.25
"""Error at another scale, as a share of that at the trained one, that gives away a server whose
answers differ and whose single tokens are within the band. Rounding is not explained by a scale."""
SAMPLED = 2
"""Prompts that are asked twice, with different seeds."""
STOP_LIMIT = 320
"""Tokens for an answer that is asked for only to see it end."""


class Questions(NamedTuple):
    """What a server is asked."""

    probes: Sequence[Probe]
    long: Probe
    """As long as the longest examples of the training."""
    long_tokens: int
    stops: Sequence[int]
    """Prompts whose answers end in the model as it was trained."""


def compare(
    hop: Hop,
    client: Client,
    questions: Questions,
    reference: Reference,
    before: Scores,
    encoder: Encoder,
    report: Callable[[int], None],
    rescale: Callable[[float], Scores] | None,
) -> Hop:
    """Return ``hop``, judged; ``report`` gets the number of prompts answered.

    ``rescale``: see ``comparison.name_scale``.
    """
    names, wanted = client.list_models(), client.server.model
    if names is not None and not {wanted, f"{wanted}:latest"} & names.keys():
        detail = f"it serves {', '.join([*names][:3]) or 'no model'}, not {wanted}"
        return comparison.fail(hop, "wrong_model", detail=detail)
    answers: list[ServedAnswer | None] = []
    refusal = ""
    for number, probe in enumerate(questions.probes):
        report(number)
        try:
            answers.append(client.ask(probe.messages, probe.tools, MAX_ANSWER_TOKENS))
        except Refusal as error:
            answers.append(None)
            refusal = str(error)
    hop = _compare_context(hop, client, questions, reference, answers)
    hop = _compare_tokens(hop, client, questions, reference, answers, encoder)
    if all(answer is None for answer in answers):
        return comparison.fail(hop, "refused", detail=refusal)
    hop = _compare_answers(hop, client, questions, reference, answers)
    hop = _compare_logprobs(hop, reference, before, answers, encoder)
    hop = _compare_stops(hop, client, questions, reference, answers)
    kept, canaries = hop.canaries_kept or 0, hop.canaries or 0
    if kept < comparison.MIN_CANARIES_KEPT * canaries:
        if kept and hop.strength and abs(hop.strength - 1) > comparison.MAX_STRENGTH_ERROR:
            return comparison.fail(hop, "lora_scale", strength=round(hop.strength, 2))
        detail = f"{kept} of {canaries} canary prompts get the tuned model's answer"
        hop = comparison.fail(hop, "weights_differ" if kept else "wrong_model", detail=detail)
    rows, actual = _match_tokens(reference, answers, encoder)

    def measure_error(scores: Scores) -> float:
        expected = measures.log_probabilities(scores.logits)[tuple(np.array(rows).T)]
        return float(np.abs(actual - expected).mean())

    if not rows:
        return hop
    if hop.ok is False or hop.agreement == 1:
        return comparison.name_scale(hop, reference, measure_error, rescale)
    # Other answers may come from rounding. Where the first tokens are nearly sure of themselves,
    # a scale of twice the trained one changes little more in them.
    suspect = comparison.fail(hop, "weights_differ", detail="")
    named = comparison.name_scale(suspect, reference, measure_error, rescale, MAX_SUSPECT_ERROR)
    return named if named.cause == "lora_scale" else hop


def _compare_context(
    hop: Hop, client: Client, questions: Questions, reference: Reference,
    answers: Sequence[ServedAnswer | None],
) -> Hop:  # fmt: skip
    """Fail if prompts were refused or cut, and only those that are longer than all others."""
    lengths = [len(prompt) for prompt in reference.prompts] + [questions.long_tokens]
    try:
        long = client.ask(questions.long.messages, None, 1)
    except Refusal:
        long = None
    counts = [None if answer is None else answer.prompt_tokens for answer in [*answers, long]]
    refused = [
        length for length, answer in zip(lengths, [*answers, long], strict=True) if answer is None
    ]
    cut = [
        (length, count)
        for length, count in zip(lengths, counts, strict=True)
        if count is not None and count < length
    ]
    whole = [
        length
        for length, count in zip(lengths, counts, strict=True)
        if count is not None and count >= length
    ]
    if refused and whole and min(refused) > max(whole):
        return comparison.fail(hop, "truncated_context", expected=min(refused), actual="refused")
    if cut and whole and min(length for length, _ in cut) > max(whole):
        length, count = min(cut)
        return comparison.fail(hop, "truncated_context", expected=length, actual=f"{count} tokens")
    return hop


def _compare_tokens(
    hop: Hop, client: Client, questions: Questions, reference: Reference,
    answers: Sequence[ServedAnswer | None], encoder: Encoder,
) -> Hop:  # fmt: skip
    rendered = []
    for probe in questions.probes:
        tokens = None if probe.tools else client.tokenize(probe)
        if tokens is None:
            break
        rendered.append(tokens)
    if len(rendered) == len(questions.probes):
        counts: list[int | None] = [len(tokens) for tokens in rendered]
        difference = comparison.find_token_difference(
            reference.prompts, rendered, encoder.tokenizer.decode
        )
        hop = msgspec.structs.replace(hop, token_ids_equal=difference is None, token_check="ids")
    else:
        counts = [answer.prompt_tokens if answer else None for answer in answers]
        pairs = [
            (number, len(prompt), count)
            for number, (prompt, count) in enumerate(zip(reference.prompts, counts, strict=True), 1)
            if count is not None
        ]
        if not pairs:
            return hop
        wrong = [pair for pair in pairs if pair[1] != pair[2]]
        hop = msgspec.structs.replace(hop, token_ids_equal=not wrong, token_check="count")
        difference = None
        if wrong:
            number, expected, actual = wrong[0]
            difference = {"prompt": number, "position": min(expected, actual),
                          "expected": f"{expected} tokens", "actual": f"{actual} tokens"}  # fmt: skip
    if difference is None:
        return hop
    if added := _find_added_system(questions.probes, reference, counts, encoder):
        return comparison.fail(hop, "system_prompt_added", tokens=added)
    return comparison.fail(hop, "template", **difference)


def _find_added_system(
    probes: Sequence[Probe], reference: Reference, counts: Sequence[int | None], encoder: Encoder
) -> int | None:
    """Return by how many tokens prompts grew, if that is one more message at their beginning.

    Such a message adds as many tokens to a prompt of one turn as to one of several, and takes none
    from prompts that have their own.
    """
    with_system: list[int] = []
    added: list[int] = []
    for probe, prompt, count in zip(probes, reference.prompts, counts, strict=True):
        if count is None:
            continue
        if probe.has_system:
            with_system.append(count - len(prompt))
            continue
        try:
            messages = [{"role": "system", "content": "x"}, *probe.messages]
            added.append(count - len(encoder.prompt_ids(messages, probe.tools)))
        except EncodingError:
            return None
    is_constant = len(added) > 1 and max(added) - min(added) <= 1  # tokens may join at its end
    if is_constant and min(added) >= -1 and all(extra >= 0 for extra in with_system):
        return max(1, min(added) + 1)
    return None


def _compare_answers(
    hop: Hop, client: Client, questions: Questions, reference: Reference,
    answers: Sequence[ServedAnswer | None],
) -> Hop:  # fmt: skip
    texts = [answer.text if answer else "" for answer in answers]
    tuned = [answer.text for answer in reference.answers]
    base = [answer.text for answer in reference.base_answers]
    canaries = [index for index in reference.canaries if answers[index] is not None]
    kept = [
        index for index in canaries
        if _share(texts[index], tuned[index]) > _share(texts[index], base[index])
        or texts[index].strip() == tuned[index].strip()
    ]  # fmt: skip
    of_base = [index for index in canaries if texts[index].strip() == base[index].strip()]
    equal = sum(a.strip() == b.strip() for a, b in zip(texts, tuned, strict=True))
    hop = msgspec.structs.replace(
        hop, agreement=equal / len(texts), canaries=len(canaries), canaries_kept=len(kept)
    )
    for index in (canaries or range(len(texts)))[:SAMPLED]:
        probe = questions.probes[index]
        try:
            again = client.ask(probe.messages, probe.tools, MAX_ANSWER_TOKENS, seed=1)
        except Refusal:
            continue
        if again.text != texts[index]:
            return comparison.fail(hop, "sampling")
    if canaries and len(of_base) >= comparison.MIN_CANARIES_KEPT * len(canaries):
        return comparison.fail(hop, "base_served")
    return hop


def _share(text: str, other: str) -> float:
    """Return the length of the common beginning of two texts, as a share of the longer one."""
    a, b = text.strip(), other.strip()
    limit = min(len(a), len(b))
    common = next((index for index in range(limit) if a[index] != b[index]), limit)
    return common / max(len(a), len(b)) if a or b else 1.0


def _compare_stops(
    hop: Hop, client: Client, questions: Questions, reference: Reference,
    answers: Sequence[ServedAnswer | None],
) -> Hop:  # fmt: skip
    """Fail if answers run on where they ended in the model as it was trained."""
    ended = []
    for index in questions.stops:
        served, answer = answers[index], reference.answers[index]
        if answer.ended and served and served.text.strip().startswith(answer.text.strip()):
            ended.append(served.ended)
        elif not answer.ended:
            probe = questions.probes[index]
            try:
                ended.append(client.ask(probe.messages, probe.tools, STOP_LIMIT).ended)
            except Refusal:
                continue
    if not ended:
        return hop
    hop = msgspec.structs.replace(hop, stops=2 * sum(ended) > len(ended))
    if not hop.stops:
        return comparison.fail(hop, "stop_token", tokens=["the token that ends an answer"])
    return hop


def _compare_logprobs(
    hop: Hop, reference: Reference, before: Scores, answers: Sequence[ServedAnswer | None],
    encoder: Encoder,
) -> Hop:  # fmt: skip
    """Compare the log-probabilities of the tokens in which served and trained answer agree."""
    rows, actual = _match_tokens(reference, answers, encoder)
    if not rows:
        return hop
    index = tuple(np.array(rows).T)
    expected, base = (
        measures.log_probabilities(scores.logits)[index] for scores in (before, reference.base)
    )
    error = np.abs(actual - expected)
    hop = msgspec.structs.replace(hop, max_logprob_difference=float(error.max()))
    line = expected - base
    strength = float((line * (actual - base)).sum() / max(1e-9, (line**2).sum()))
    if hop.canaries_kept and (line**2).mean() > MIN_LINE:
        hop = msgspec.structs.replace(hop, strength=strength)
        if abs(strength - 1) > MAX_SERVED_STRENGTH_ERROR:
            return comparison.fail(hop, "lora_scale", strength=round(strength, 2))
    if error.mean() > comparison.MAX_SERVED_DIFFERENCE:
        detail = f"log-probabilities differ by {error.mean():.2g} nats on average"
        return comparison.fail(hop, "weights_differ", detail=detail)
    return hop


def _match_tokens(
    reference: Reference, answers: Sequence[ServedAnswer | None], encoder: Encoder
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Return the scored rows and tokens in which served and trained answer agree, with the first
    other token of each answer; and their served log-probabilities.
    """
    rows, served, start = [], [], 0
    for answer, reply in zip(reference.answers, answers, strict=True):
        tokens = answer.tokens[:SCORED_TOKENS]
        steps = reply.logprobs if reply else []
        for offset, (token, (text, value)) in enumerate(zip(tokens, steps, strict=False)):
            is_equal = encoder.tokenizer.decode([token]) == text
            ids = (
                [token] if is_equal else encoder.tokenizer(text, add_special_tokens=False).input_ids
            )
            if len(ids) == 1:  # also the first other one: up to there, the context is the same
                rows.append((start + offset, ids[0]))
                served.append(value)
            if not is_equal:
                break
        start += len(tokens)
    return rows, np.array(served)
