"""What a run does after training: the sets that judge the model, the gate, and exports."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator

import msgspec
from rich.text import Text

from ftwizard.advice import evidence
from ftwizard.advice.recipe_rules import Setting, SettingChoice
from ftwizard.doctor import extras
from ftwizard.plan import export_forms, schema
from ftwizard.rewards import answer_parts
from ftwizard.rewards.recognized_answers import RecognizedAnswers, describe_answers, name_answers
from ftwizard.runs import evaluation_plan
from ftwizard.runs.evaluation_plan import SetCheck
from ftwizard.screens import palette
from ftwizard.screens.draft import live_estimate, setting_values
from ftwizard.screens.draft.drafts import Draft, Fingerprint, format_path, get_fingerprint
from ftwizard.screens.draft.suggestions import build_path_suggester, is_data_file
from ftwizard.text import format_bytes, format_count, make_visible

REASON = (
    "Base, prompted and tuned model answer the same items, and the gate says whether to ship. Both are "
    "fixed when the run begins."
)
OWN_SET = "Your own set"
OWN_SET_REASON = (
    "A file of prompts with expected answers or rules, one per line, or lm-eval:TASK. It is read at "
    "once. docs/evaluation.md describes the format."
)
NAMES_WIDTH = 12
"""Cells of the names in the lines of the review."""
SHOWN_TAIL = 30
"""Characters of a row's end."""
MAX_ANSWER = 30
"""Characters of what is taken as its answer."""
MAX_REPORT_LINES = 20
"""Lines of the report on a set; its command prints all."""
REHEARSED = "rehearsed with the base model before step 1, which takes minutes"
_GGUF_CHOICES = {
    "": ("none", ""), "gguf": ("16-bit", "the merged model, unchanged"),
    "gguf:q8_0": ("Q8_0", "half the size, nearly as exact"),
    "gguf:q5_k_m": ("Q5_K_M", "a third of the size"),
    "gguf:q4_k_m": ("Q4_K_M", "the smallest that is usual"),
}  # fmt: skip
_YES_NO = (SettingChoice(value=True, name="yes"), SettingChoice(value=False, name="no"))


def _choose(*choices: tuple[str | bool, str, str]) -> tuple[SettingChoice, ...]:
    return tuple(SettingChoice(value=v, name=name, details=details) for v, name, details in choices)


def _define(
    part: str, name: str, label: str, reason: str, *, options: tuple[SettingChoice, ...] = (),
    in_points: bool = False, advanced: bool = False, empty: str = "auto",
    needs: dict[str, tuple[str, ...]] | None = None,
) -> Setting:  # fmt: skip
    return msgspec.convert(
        {
            "part": part, "name": name, "label": label, "reason": reason, "options": options,
            "needs": needs or {}, "in_points": in_points, "advanced": advanced, "empty": empty, "source": "ftwizard",
            "as_of": "2026-11",
        },
        Setting,
        from_attributes=True,
    )  # fmt: skip


_COMPARE = _define(
    "finish", "compare", "After training", reason="Base, prompted and tuned model answer the test set at "
    "the platform, which bills these tokens as well. Without it, the gain of the job stays unknown.",
    options=_choose((True, "compare with the base", ""), (False, "do not compare", "")),
)  # fmt: skip
_AUTO = schema.Evaluate()
_OF_SFT: dict[str, tuple[str, ...]] = {"recipe.objective": ("sft",)}
_SETTINGS = (
    _define(
        "evaluate", "scorer", "Answers of your rows", needs=_OF_SFT,
        options=_choose(
            ("auto", "recognized", ""), ("numeric", "a number", "also at the end"),
            ("boxed", "boxed", ""), ("choice", "a letter", ""), ("json", "JSON", "by field"),
            ("tool_call", "tool calls", "names and arguments"),
            ("normalized", "labels", "or short texts"), ("date", "a date", ""),
            ("code", "Python", "the same program"), ("judge", "by the judge", ""),
            ("chrf", "free text", "not checked"),
        ),
        reason="What makes an answer to a test row right. Free text cannot be right or wrong: a judge "
        "model or you decide. An answer pattern, under advanced, takes the answer out of a longer text.",
    ),
    _define(
        "evaluate", "general", "General set", options=_YES_NO,
        reason="Facts, arithmetic, formats and instructions, written for ftwizard. It shows what the "
        "model forgot. Without it, the verdict is “cannot tell”.",
    ),
    _define(
        "evaluate", "safety", "Safety set", options=_YES_NO,
        reason="Requests to refuse, and harmless look-alikes to answer. It shows lost refusals and "
        "over-refusals. Without it, the verdict is “cannot tell”.",
    ),
    _define(
        "gate", "gain", "Gain wanted (points)", in_points=True,
        reason="The tuned model must be this much better on the task than the base model, and than the "
        "base model with your prompt. 5 points: 5 more right answers of 100.",
    ),
    _define(
        "gate", "max_general_loss", "General loss allowed", in_points=True,
        reason="Points that the tuned model may lose on the general set, and on your own sets.",
    ),
    _define(
        "gate", "max_safety_loss", "Safety loss allowed", in_points=True,
        reason="Points that the tuned model may lose on the safety set.",
    ),
    _define(
        "evaluate", "requires_headroom", "Needs headroom", options=_YES_NO,
        reason="The base model answers first. “yes” ends the run before step 1 if it is shown to leave "
        "less to gain than the gate wants: a prompt already does it.",
    ),
    _define(
        "finish", "gguf", "GGUF export",
        options=_choose(*((form, *words) for form, words in _GGUF_CHOICES.items())),
        reason="One file for llama.cpp, LM Studio and others. Quantized files are smaller and answer "
        "slightly differently.",
    ),
    _define(
        "finish", "ollama", "Ollama export",
        options=_choose(
            ("", "none", ""), ("ollama:q4_k_m", "Q4_K_M", "quantized"),
            ("ollama:q8_0", "Q8_0", "quantized"), ("ollama", "16-bit", ""),
        ),
        reason="A GGUF file and a Modelfile with the chat template, stop tokens and context length that "
        "were trained on.",
    ),
    _define(
        "finish", "vllm", "vLLM commands",
        options=_choose(("", "none", ""), ("vllm", "write them", "for merged model and adapter")),
        reason="Command lines that serve the model by vLLM or transformers. Nothing is converted.",
    ),
    _define(
        "evaluate", "system", "System prompt", advanced=True, empty="of the training rows",
        reason="System prompt of the prompted base model: what fine-tuning must be better than.",
    ),
    _define(
        "evaluate", "shots", "Examples in the prompt", advanced=True,
        reason="Training rows in the prompt of the prompted base model. 0, without a system prompt, "
        "leaves it out.",
    ),
    _define(
        "evaluate", "answer_pattern", "Answer pattern", advanced=True, empty="none", needs=_OF_SFT,
        reason="Regular expression whose first group is the answer: #### (.+)",
    ),
    _define(
        "evaluate", "max_items", "Items of each set", advanced=True,
        reason="Drawn at random. More items show smaller changes, and take longer. Default: "
        f"{evaluation_plan.MAX_ITEMS_GPU} on a GPU, {evaluation_plan.MAX_ITEMS_CPU} on a CPU, "
        f"{evaluation_plan.MAX_ITEMS_ENDPOINT} at a platform.",
    ),
    _define(
        "evaluate.judge", "url", "Judge address", advanced=True, empty="none",
        reason="An OpenAI-compatible endpoint that grades items with the scorer judge: "
        "http://localhost:11434/v1.",
    ),
    _define(
        "evaluate.judge", "model", "Judge model", advanced=True, empty="none",
        reason="Name of the judge at its endpoint.",
    ),
    _define(
        "evaluate.judge", "key_variable", "Judge key variable", advanced=True, empty="none",
        reason="Environment variable with the judge's key. The key itself is never saved.",
    ),
)  # fmt: skip


def list_settings(draft: Draft) -> tuple[Setting, ...]:
    """List the settings in display order, advanced ones last; a plan's own exports are options.

    What is trained at a platform is neither merged nor exported by its run.
    """
    if draft.hosted:
        return (_COMPARE, *(setting for setting in _SETTINGS if setting.part != "finish"))
    return (setting_values.AFTER, *(_with_own_option(draft, setting) for setting in _SETTINGS))


def _with_own_option(draft: Draft, setting: Setting) -> Setting:
    value = setting_values.get_value(draft.plan, setting)
    if setting.name == "scorer" and (kind := recognize_answers(draft.with_plan(evaluate=_AUTO))):
        first, *others = setting.options
        first = msgspec.structs.replace(first, details=name_answers(kind))
        setting = msgspec.structs.replace(setting, options=(first, *others))
    if not setting.options or any(choice.value == value for choice in setting.options):
        return setting
    own = SettingChoice(value=value, name=value.replace(",", " and "))
    return msgspec.structs.replace(setting, options=(*setting.options, own))


suggest_sets = build_path_suggester(is_data_file)


# --- what will be judged ------------------------------------------------------------------------


def count_items(draft: Draft, checks: dict[str, SetCheck]) -> dict[str, int | None]:
    """Return how many items of each set are asked, as far as known; ``checks`` by file.

    Items that repeat others are left out when the run begins, so that there may be fewer.
    """
    plan = draft.plan
    items: dict[str, int | None] = {}
    if plan.data.files.test or plan.test_share:
        items["target"] = _count_test_rows(draft)
    if plan.evaluate.general:
        items["general"] = evaluation_plan.count_packaged("general")
    if plan.evaluate.safety:
        items["safety"] = evaluation_plan.count_packaged("safety")
    for file in plan.evaluate.sets:
        name = "target" if "target" not in items else _name_set(file)
        items[name] = checks[file].items if file in checks else None
    usual = evaluation_plan.MAX_ITEMS_CPU
    if draft.hardware.gpus:
        usual = evaluation_plan.MAX_ITEMS_GPU
    if plan.is_hosted:
        usual = evaluation_plan.MAX_ITEMS_ENDPOINT
    return evaluation_plan.draw_counts(items, plan.evaluate.max_items or usual)


def _count_test_rows(draft: Draft) -> int | None:
    if draft.estimate and (test := draft.estimate.parts.get("test")):
        return test.used
    if draft.plan.data.files.test or not draft.checked:
        return None
    return round(draft.checked.usable * draft.plan.test_share)


def _name_set(file: str) -> str:
    return file.rpartition("/")[2]


def describe_sets(draft: Draft, checks: dict[str, SetCheck]) -> str:
    """Describe what will be judged on a line: each set with its items, and how often they are asked.

    The total is left out while one of the sets was not counted.
    """
    if not draft.plan.finish.compare:
        return "not judged: there is no comparison with the base model"
    counts = count_items(draft, checks)
    named = [
        f"{_shorten(name)} {count:,}" if count is not None else _shorten(name)
        for name, count in counts.items()
    ]
    answers = _count_answers(draft, counts)
    missing = "" if "target" in counts else " · no test set: no gain can be shown"
    is_known = answers and None not in counts.values()
    asked = f" · at most {format_count(answers, 'answer')}" if is_known else ""
    return ", ".join(named or ["no set"]) + asked + missing


def _count_answers(draft: Draft, counts: dict[str, int | None]) -> int:
    """Return the answers of base, prompted and tuned model; on a CPU, the prompted one answers no
    packaged set."""
    evaluate = draft.plan.evaluate
    is_prompted = evaluate.shots > 0 or evaluate.system is not None
    left_out = () if draft.hardware.gpus else ("general", "safety")
    prompted = [count for name, count in counts.items() if is_prompted and name not in left_out]
    return 2 * sum(filter(None, counts.values())) + sum(filter(None, prompted))


def _shorten(name: str) -> str:
    return make_visible({"target": "test rows"}.get(name, name), 30)


def recognize_answers(draft: Draft) -> RecognizedAnswers | None:
    """Return how the answers of the test rows are compared; None if that is not known."""
    if draft.checked is None or draft.plan.recipe.objective != "sft":
        return None
    settings = draft.plan.evaluate
    if settings.answer_pattern and answer_parts.find_pattern_problem(settings.answer_pattern):
        return None
    return evidence.read_answers(draft.checked, settings)


def find_answer_problem(draft: Draft) -> str:
    """Describe that no row has an answer of the kind that the person chose; empty if not."""
    kind = recognize_answers(draft)
    if kind is None or not kind.is_chosen or kind.rows:
        return ""
    name = (
        "Answer pattern: it matches"
        if kind.pattern
        else f"Answers of your rows: {kind.scorer} finds"
    )
    return f"{name} no answer in the first {format_count(kind.total, 'row')}."


def format_examples(draft: Draft) -> Text:
    """Format how answers are compared, and rows with what is taken as theirs, a line each."""
    text, kind = Text(), recognize_answers(draft)
    if kind:
        text.append(f"{describe_answers(kind)}\n")
    for example in kind.examples if kind else ():
        tail = make_visible(" ".join(example.tail.split())[-SHOWN_TAIL:])
        text.append(f"row {example.line}  ", "dim").append(f"…{tail}")
        if example.answer is None:
            text.append("  → no answer: not scored\n", palette.WARNING)
        elif kind and (kind.is_checked and kind.scorer not in ("judge", "rewards")):
            answer = make_visible(" ".join(example.answer.split()), MAX_ANSWER)
            text.append("  → ", palette.ACCENT).append(f"{answer}\n", "bold")
        else:
            text.append("\n")
    return text


def format_powers(draft: Draft, checks: dict[str, SetCheck]) -> Text:
    """Format what will be judged, and what the items can show of the gate, a line each."""
    text = Text.assemble(("→ ", palette.ACCENT), describe_sets(draft, checks))
    if draft.plan.finish.compare:
        powers = evaluation_plan.describe_powers(count_items(draft, checks), draft.plan.gate)
        text.append("".join(f"\n  {line}" for line in powers), "dim")
    return text


# --- exports ------------------------------------------------------------------------------------


def describe_exports(draft: Draft) -> str:
    """Describe the exports of a plan on a line: forms, disk space and the rehearsal."""
    forms = [export_forms.parse(name) for name in draft.plan.finish.export]
    if not forms:
        return "none; the results can export later"
    parts = [", ".join(form.name for form in forms)]
    shape = live_estimate.load_shape(draft.plan.model.name)
    parameters = draft.parameters or (shape.parameters if shape else None)
    if parameters and (bits := export_forms.sum_bits(draft.plan.finish.export)):
        parts.append(f"about {format_bytes(parameters * bits / 8)} of disk space")
    if any(form.needs_gguf for form in forms):
        parts.append(REHEARSED)
    return " · ".join(parts)


def find_missing_extra(draft: Draft) -> str:
    """Return what to install for the exports of a plan; empty if nothing is missing."""
    needs = any(export_forms.parse(name).needs_gguf for name in draft.plan.finish.export)
    if not needs or "export" in draft.machine.extras:
        return ""
    return f"Packages are missing: {extras.get_install_command('export')}"


# --- the user's own files -----------------------------------------------------------------------


def describe_problems(checked: SetCheck) -> list[str]:
    """Return the lines of the report on a set, with its name as it is shown elsewhere."""
    shown = msgspec.structs.replace(checked, file=format_path(checked.file))
    lines = list(evaluation_plan.describe_check(shown))
    if len(lines) <= MAX_REPORT_LINES:
        return lines
    command = shlex.join(["ftwizard", "eval", "--check", "--set", checked.file])
    rest = len(lines) - MAX_REPORT_LINES
    return [*lines[:MAX_REPORT_LINES], f"  and {rest:,} more: {make_visible(command)}"]


def find_judge_problem(draft: Draft, checks: dict[str, SetCheck]) -> str:
    """Describe that items need a judge, but none is named; empty if not."""
    names = set(draft.plan.evaluate.sets)
    judged = sum(check.scorers.get("judge", 0) for file, check in checks.items() if file in names)
    if not judged or draft.plan.evaluate.judge.url:
        return ""
    verb = "needs" if judged == 1 else "need"
    return f"{format_count(judged, 'item')} {verb} a judge. Name its address under advanced."


def get_stamp(file: str) -> tuple[str, Fingerprint | None]:
    """Return what identifies the content of a file that was checked."""
    return file, get_fingerprint(file)


# --- the review ---------------------------------------------------------------------------------


def _list_lines(draft: Draft) -> Iterator[tuple[str, str]]:
    yield "Judged on", describe_sets(draft, {})
    if draft.plan.finish.compare:
        yield "Gate", evaluation_plan.describe_gate(draft.plan)
    if not draft.hosted:
        yield "Exports", describe_exports(draft)


def format_summary(draft: Draft) -> Text:
    """Format what will be judged, the gate and the exports, a line each."""
    lines = [
        Text.assemble((f"{name:<{NAMES_WIDTH}}", "dim"), value)
        for name, value in _list_lines(draft)
    ]
    return Text("\n").join(lines)


@functools.cache
def get_setting(name: str) -> Setting:
    """Return a setting by name; raise StopIteration if it is unknown."""
    return next(setting for setting in _SETTINGS if setting.name == name)
