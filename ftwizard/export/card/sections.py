"""The sections of a model card as lines of Markdown: the verdict first, then what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.export.card import curve, platform
from ftwizard.export.card.facts import Facts
from ftwizard.export.card.limitations import list_limitations
from ftwizard.export.card.markdown import bullets, code, escape, fold, table
from ftwizard.plan.schema import Plan, Recipe
from ftwizard.quantity import Figure
from ftwizard.runs import custody, describe, merge_proof
from ftwizard.runs import describe_evaluation as words
from ftwizard.runs.evaluation import Evaluation, SetResult
from ftwizard.runs.exports import ExportRecord
from ftwizard.runs.failure_text import FAILURE_TITLES, describe_failure
from ftwizard.text import (
    format_bytes,
    format_count,
    format_dollars,
    format_duration,
    format_epochs,
    format_learning_rate,
)

METHODS = {"lora": "LoRA", "qlora": "QLoRA", "full": "Full"}
_MAX_HASH = 16
"""Digits of a hash in a line; the table of hashes has all."""
_FOUND = {True: "✗\u00a0found", False: "✓\u00a0not\u00a0found", None: "?\u00a0cannot\u00a0tell"}


def render_body(facts: Facts) -> str:
    """Render the text of a card, without its metadata."""
    sections: list[tuple[str, list[str]]] = [
        ("", list(_introduce(facts))),
        ("Scores", list(_list_evaluation(facts.evaluation)) if facts.evaluation else []),
        ("Limitations", bullets(map(escape, list_limitations(facts)))),
        ("Training", list(_list_training(facts))),
        ("Weights and files", bullets(_list_weights(facts))),
    ]
    lines = [f"# {escape(facts.title, 100)}", ""]
    for heading, content in sections:
        if content:
            lines += [*([f"## {heading}", ""] if heading else []), *content, ""]
    return "\n".join(lines)


def _introduce(facts: Facts) -> Iterator[str]:
    if evaluation := facts.evaluation:
        yield f"**{escape(words.describe_verdict(evaluation))}**"
    else:
        yield "**? Not evaluated.**"
    yield ""
    yield f"{_describe_model(facts)}"
    if facts.evaluation and (reasons := words.describe_reasons(facts.evaluation)):
        yield ""
        yield from bullets(map(escape, reasons))


def _describe_model(facts: Facts) -> str:
    if record := facts.elsewhere:
        return platform.describe_model(facts, record)
    method = METHODS.get(facts.local.method, escape(facts.local.method))
    if facts.content == "adapter":
        kind = f"{method} adapter for"
    elif facts.local.method == "full":
        kind = "Full fine-tune of"
    else:
        kind = f"{method} fine-tune, merged, of"
    rows = facts.local.rows.get("train_used")
    trained_on = f", trained on {format_count(rows, 'example')}" if rows else ""
    license = (
        f" License of the base model: {escape(facts.license.name)}." if facts.license.name else ""
    )
    return f"{kind} {_name_base(facts)}{trained_on}.{license}"


def _name_base(facts: Facts) -> str:
    if facts.base_id:
        return f"[{code(facts.base_id)}](https://huggingface.co/{_to_address(facts.base_id)})"
    if facts.base:
        return f"a local model, {code(Path(facts.base.name).name)}"
    return "a base model that is not recorded"


def _to_address(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="/")


def _list_evaluation(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.sets:
        yield from _list_sets(evaluation)
    if gate := evaluation.gate:
        yield ""
        yield (
            "Gate, fixed before the first step: "
            f"gain on the target of {words.format_points(gate.gain)} or more; "
            f"loss of at most {words.format_points(gate.max_general_loss)} (general) and "
            f"{words.format_points(gate.max_safety_loss)} (safety)."
        )
    if evaluation.failures:
        yield ""
        rows = []
        for failure in evaluation.failures:
            _, *evidence = describe_failure(failure)
            rows.append(
                [FAILURE_TITLES[failure.name], _FOUND[failure.found], escape(" ".join(evidence))]
            )
        yield from table(["failure", "outcome", "evidence"], rows)


def _list_sets(evaluation: Evaluation) -> Iterator[str]:
    arms = list(dict.fromkeys(arm for result in evaluation.sets.values() for arm in result.arms))
    is_text = evaluation.target is not None and evaluation.target.kind == "text"
    rows = []
    for name, result in evaluation.sets.items():
        label = f"{words.mark_set(evaluation, name)} {escape(words.name_set(name))}"
        scores = [escape(words.format_arm(result.arms.get(arm))) for arm in arms]
        change = words.format_difference(result.difference)
        rows.append([label, f"{result.n:,}", *scores, change, *_count_flips(result)])
        if name == "target" and is_text and (loss := result.loss_difference):
            values = [score.loss if (score := result.arms.get(arm)) else None for arm in arms]
            losses = ["–" if value is None else f"{value:.3f}" for value in values]
            bounds = f"{loss.value:+.3f} ({loss.low:+.3f} to {loss.high:+.3f})"
            rows.append([f"{escape(words.name_set(name))}, loss", "", *losses, bounds, "", ""])
    heading = ["set", "items", *map(escape, arms), "change", "fixed", "broken"]
    yield from table(heading, rows, numbers=len(heading) - 1)
    metrics = {arm.metric: 0 for result in evaluation.sets.values() for arm in result.arms.values()}
    unit = " Losses are in nats per token." if is_text else ""
    prompted = (
        " “prompted” is the base model with a prompt and examples instead of training."
        if "prompted" in arms
        else ""
    )
    if "parent" in arms:
        run = escape(evaluation.parent or "an earlier run")
        prompted += f" “parent” is the model that this run started from: {run}."
    yield ""
    yield (
        f"Scores are {' or '.join(escape(words.name_metric(metric)) for metric in metrics)}, with 95% "
        "intervals. The change is from base to tuned model, in points; fixed and broken are answers "
        f"that became right or wrong.{unit}{prompted}"
    )


def _count_flips(result: SetResult) -> tuple[str, str]:
    if result.difference is None:
        return "–", "–"
    return f"{len(result.fixed):,}", f"{len(result.broken):,}"


def _list_training(facts: Facts) -> Iterator[str]:
    if not facts.curves.is_empty:
        yield f"![{escape(curve.describe(facts.curves))}]({curve.NAME})"
        yield ""
    rows = list(platform.list_job(facts, facts.remote)) if facts.remote else []
    if facts.trained:
        rows += [
            ("data", _describe_data(facts)),
            ("split", _describe_split(facts)),
            ("template", _describe_template(facts)),
            ("recipe", _describe_recipe(facts)),
            ("steps", _describe_steps(facts)),
            ("hardware", _describe_hardware(facts)),
        ]
    else:
        rows.append(("split", _describe_split(facts)))
    yield from table(["", ""], [[name, text] for name, text in rows if text])
    if figures := list(_list_figures(facts)):
        yield ""
        yield from table(["", "predicted", "actual"], figures, numbers=2)
    if facts.plan:
        yield ""
        settings = _list_settings(facts.plan)
        yield from fold("All settings", table(["setting", "value"], settings))
    if origins := list(_list_origins(facts)):
        yield ""
        yield from fold("Hashes and versions", table(["", ""], origins))


def _describe_data(facts: Facts) -> str:
    parts = []
    for part in ("train", "validation", "test"):
        if (used := facts.local.rows.get(f"{part}_used")) is None:
            continue
        name = "training" if part == "train" else part
        text = f"{used:,} {name}"
        parts.append(f"{text} ({origin})" if (origin := _name_file(facts, part)) else text)
    if mixed := facts.local.rows.get("mix_used"):
        parts.append(f"{mixed:,} general examples mixed in")
    counted = facts.parts.get("train")
    tokens = (
        f". {counted.trained:,} of {format_count(counted.tokens, 'training token')} count toward the "
        "loss"
        if counted and counted.tokens
        else ""
    )
    return f"{', '.join(parts)}{tokens}" if parts else ""


def _name_file(facts: Facts, part: str) -> str:
    if split := facts.hub_data.get(part):
        address = f"https://huggingface.co/datasets/{_to_address(split.repo)}"
        return f"[{code(split.repo)}]({address}), commit {code(split.commit)}"
    name = getattr(facts.plan.data.files, part, None) if facts.plan else None
    if not name:
        return ""
    digest = facts.job.hashes.get(part, "") if facts.job else ""
    shown = code(Path(name).name, 60)
    return f"{shown}, sha256 {code(digest[:_MAX_HASH])}…" if digest else shown


def _describe_split(facts: Facts) -> str:
    if facts.plan is None:
        return ""
    data, shares = facts.plan.data, []
    for part, share in (
        ("validation", facts.plan.validation_share), ("test", facts.plan.test_share),
    ):  # fmt: skip
        if share and not getattr(data.files, part):
            shares.append(f"{share:.0%} for {part}")
    if not shares:
        own = [part for part in ("validation", "test") if getattr(data.files, part)]
        return f"{' and '.join(own)} from files of their own" if own else ""
    kept = {
        "near-copies": "near-duplicates kept together",
        "prompts": "equal prompts kept together",
    }
    return (
        f"{', '.join(shares)}, split off the training file; {kept.get(data.split.group_by, '')}, seed "
        f"{data.split.seed}"
    )


def _describe_template(facts: Facts) -> str:
    digest = facts.local.hashes.get("chat_template.jinja")
    if digest:
        return f"{code('chat_template.jinja')}, XXH3-128 {code(digest[:_MAX_HASH])}…"
    digest = facts.job.hashes.get("template") if facts.job else None
    return f"of the base model, hash {code(digest[:_MAX_HASH])}…" if digest else ""


def _describe_recipe(facts: Facts) -> str:
    if facts.plan is None:
        return METHODS.get(facts.local.method, "")
    recipe = facts.plan.recipe
    parts = [METHODS[recipe.method] if recipe.method != "full" else "full fine-tune"]
    if recipe.method != "full":
        dropout = recipe.dropout if recipe.objective == "sft" else 0.0
        parts[0] += f" rank {recipe.rank}, alpha {recipe.alpha}, dropout {dropout:g}"
        names = [name.rpartition(".")[2] for name in facts.local.targets]
        parts.append(f"on {', '.join(map(code, dict.fromkeys(names)))}")
    rate = recipe.peak_learning_rate
    parts += _describe_objective(recipe)
    parts += [
        f"learning rate {format_learning_rate(rate)} ({recipe.schedule}, {recipe.warmup:.0%} warmup)",
        f"{recipe.batch_size} × {recipe.gradient_accumulation} examples per step",
        f"at most {recipe.max_length:,} tokens{', packed' if recipe.packing else ''}",
        *filter(None, [facts.precision and escape(facts.precision)]),
        f"seed {recipe.seed}",
    ]
    return ", ".join(parts)


def _describe_objective(recipe: Recipe) -> list[str]:
    """Describe how preferences or rewards were trained on; nothing for supervised training."""
    if recipe.objective == "sft":
        return []
    if recipe.objective == "grpo":
        return [_describe_rewards(recipe)]
    settings = recipe.dpo if recipe.objective == "dpo" else recipe.kto
    losses = settings.loss_type
    names = losses if isinstance(losses, str) else " + ".join(losses)
    return [f"{recipe.objective.upper()} (loss {code(names)}, beta {settings.beta:g})"]


def _describe_rewards(recipe: Recipe) -> str:
    """Describe a training with rewards: ``GRPO with the rewards numeric_answer and brief × 0.5``."""
    settings = recipe.grpo
    names = [
        code(reward.shown, 80) + (f" × {reward.weight:g}" if reward.weight != 1 else "")
        for reward in settings.rewards
    ]
    penalty = f", KL penalty {settings.beta:g}" if settings.beta else ""
    return (
        f"GRPO with the reward{'s' if len(names) > 1 else ''} {' and '.join(names)}, "
        f"{settings.num_generations} answers of at most {settings.max_completion_length:,} tokens to "
        f"each prompt{penalty}"
    )


def _describe_steps(facts: Facts) -> str:
    trained = facts.local
    epochs = f" ({format_epochs(facts.plan.recipe.epochs)} planned)" if facts.plan else ""
    text = f"{trained.last_step:,} of {trained.total_steps:,}{epochs}; weights of step {trained.step:,}"
    if trained.eval_loss is not None:
        text += f", validation loss {trained.eval_loss:.4g}"
    if trained.eval_reward is not None:
        text += f", mean reward {trained.eval_reward:.4g} on the validation prompts"
    ends = {"stopped": "stopped", "early_stopped": "ended early"}
    return f"{text}; {ends[trained.reason]}" if trained.reason in ends else text


def _describe_hardware(facts: Facts) -> str:
    machine = facts.environment
    if machine is None:
        return ""
    if machine.gpus:
        gpu = machine.gpus[0]
        memory = f", {format_bytes(gpu.memory)}" if gpu.memory else ""
        return f"{escape(gpu.name or 'NVIDIA GPU', 80)}{memory}"
    name = f" ({escape(machine.cpu, 80)})" if machine.cpu else ""
    return f"CPU{name}, {format_count(machine.cores, 'core')}, {format_bytes(machine.memory)}"


_FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("seconds", "time", format_duration),
    ("peak_memory", "memory", format_bytes),
    ("cost", "cost", format_dollars),
)


def _list_figures(facts: Facts) -> Iterator[list[str]]:
    """Yield what was predicted, for the steps that were completed, and what was measured."""
    for name, label, write in _FIGURES:
        predicted: Figure | None = getattr(facts.prediction.predicted, name)
        actual: Figure | None = getattr(facts.prediction.actual, name)
        if predicted and facts.trained and not facts.remote and name in ("seconds", "cost"):
            predicted = predicted.scaled(facts.local.completed_share, predicted.source)
        if predicted or actual:
            expected = describe.format_range(predicted, write) if predicted else "–"
            yield [
                label,
                escape(expected),
                escape(write(actual.value)) if actual else "not measured",
            ]


def _list_settings(plan: Plan) -> list[list[str]]:
    """Return the settings that shape the weights; names of files and texts of prompts are not shown."""
    parts: dict[str, Any] = {
        **({} if plan.is_hosted else {"recipe": msgspec.to_builtins(plan.recipe)}),
        "data.split": msgspec.to_builtins(plan.data.split),
        "data.mix": {"share": plan.data.mix.share},
        "data": {"format": plan.data.format, "max_rows": plan.data.max_rows},
        "gate": msgspec.to_builtins(plan.gate),
    }
    return [
        [code(f"{part}.{name}"), code(describe.format_setting(value))]
        for part, values in parts.items()
        for name, value in values.items()
        if value is not None
    ]


def _list_weights(facts: Facts) -> Iterator[str]:
    if job := facts.elsewhere:
        yield from platform.list_weights(job)
    if facts.content == "merged" and (merged := facts.merged):
        yield f"Model: {escape(merged.dtype)}, {format_bytes(merged.size_bytes)}"
    if facts.content == "merged" and (proof := facts.proof):
        yield f"Merge: {escape(_describe_proof(facts))}"
        if proof.verdict != "cannot_tell" and proof.ratio is not None:
            yield escape(merge_proof.describe_ratio(proof))
        if proof.behavior:
            yield escape(merge_proof.describe_behavior(proof.behavior))
    elif facts.content == "merged":
        yield "Merge: not proved."
    for record in facts.exports:
        yield _describe_export(record)
    for hop in facts.custody.hops if facts.custody else ():
        mark = {True: "✓", False: "✗", None: "?"}[hop.ok]
        cause = f": {hop.cause.replace('_', ' ')}" if hop.cause else ""
        ends = " → ".join(code(Path(end).name, 60) for end in (hop.source, hop.target))
        yield f"Verified {mark} {ends}{cause}, {escape(custody.describe_measures(hop))}"


def _describe_proof(facts: Facts) -> str:
    """Describe the verdict of the proof; reasons of a failed one can name folders, and are left out."""
    proof = facts.proof
    assert proof is not None
    if proof.verdict == "cannot_tell":
        return "? It cannot be proved that the merged weights are right."
    return merge_proof.format_verdict(proof)


def _describe_export(record: ExportRecord) -> str:
    size = format_bytes(sum(record.files.values()))
    tools = ", ".join(f"{tool.name} {tool.version}" for tool in record.tools)
    made = f", made with {escape(tools)}" if tools else ""
    loaded = "; it was loaded and answered" if record.answer else ""
    return f"Exported: {code(record.form)}, {size}{made}{loaded}"


def _list_origins(facts: Facts) -> Iterator[list[str]]:
    if facts.base:
        yield ["base model", _describe_base_version(facts)]
    hashes = facts.job.hashes if facts.job else {}
    for key, name in _HASHES.items():
        if hashes.get(key):
            yield [name, code(hashes[key])]
    versions = {"ftwizard": facts.job.version} if facts.job else {}
    if machine := facts.environment:
        versions = {"ftwizard": machine.ftwizard, "python": machine.python, **machine.packages}
        yield ["system", code(machine.system)]
    for name, version in versions.items():
        yield [escape(name), code(version)]


_HASHES = {
    "train": "training data, sha256", "validation": "validation data, sha256",
    "test": "test data, sha256", "split": "split, sha256", "model": "base model, fingerprint",
    "template": "chat template, fingerprint",
}  # fmt: skip


def _describe_base_version(facts: Facts) -> str:
    assert facts.base is not None
    version = f", commit {code(facts.base.commit)}" if facts.base.commit else ""
    if facts.base.revision and facts.base.revision != facts.base.commit:
        version = f", revision {code(facts.base.revision)}{version}"
    return f"{_name_base(facts)}{version}"
