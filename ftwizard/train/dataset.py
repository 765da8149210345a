"""Reading, splitting and encoding of a plan's rows, with reports on what is left out."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.advice.evidence import recognize_as_planned
from ftwizard.data import bundled_samples, platforms, reader, split
from ftwizard.data.checks import row_checker
from ftwizard.data.conversation import Conversation, to_compared, without_reasoning
from ftwizard.data.example import Example
from ftwizard.data.format_names import FormatChoice
from ftwizard.data.io.read_options import AS_IS, ReadOptions
from ftwizard.data.mapping import transcripts
from ftwizard.diagnosis.pair_lengths import judge_lengths
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.jobs.worker import Worker
from ftwizard.models import support
from ftwizard.objectives import ObjectiveName
from ftwizard.plan.schema import OBJECTIVES, Evaluate, Files, Mix, Plan, Recipe
from ftwizard.rewards import answer_kinds
from ftwizard.rewards import rows as reward_rows
from ftwizard.rewards.answer_kinds import AnsweredRow
from ftwizard.rewards.recognized_answers import RecognizedAnswers
from ftwizard.text import format_count, make_visible
from ftwizard.train import model_loading, prompt_rows, template_losses
from ftwizard.train.encoder import EncodedRow, Encoder, EncodingError, EncodingReport, encode_rows

PROGRESS_INTERVAL_S = 1.0
SHOWN_LINES = 1000
SHOWN_TAIL = 60
"""Characters of a row's end in an error."""
TRAINED_SAMPLE = 24
"""Training rows that base and tuned model answer."""
_SYSTEM_ROLES = ("system", "developer")
_ROWS_OF: dict[ObjectiveName, str] = {
    "sft": "conversations, text or tokens",
    "dpo": "pairs of a chosen and a rejected answer",
    "kto": "answers labeled true or false",
    "grpo": "prompts",
}
Rows = dict[str, list[reader.ParsedRow]]
"""``train``, ``validation``, ``test`` → rows; where the plan has a ``data.mix`` also ``mix``,
general rows that are trained on beside those of ``train``."""


def load_rows(
    plan: Plan,
    hashes: Mapping[str, str],
    say: Callable[[str, reader.DataTable], None] = lambda part, table: None,
    *,
    sampled: dict[str, int] | None = None,
) -> Rows:
    """Read and split the rows, and draw ``data.max_rows``; ``say`` is called with each part's table.

    ``hashes`` are those that the run started with: of each part's file, and of the split. ``sampled``
    receives the number of rows before the draw, for each part that it makes smaller. Raises
    FtwizardError if a file or the split has changed, for bad rows (unless the plan allows them),
    and for too few rows.
    """
    read = _make_reader(plan)

    def usable(
        part: str, path: Path, format: FormatChoice, options: ReadOptions = AS_IS
    ) -> list[reader.ParsedRow]:
        table = read(path, format, options)
        if table.sha256 != hashes.get(part, table.sha256):
            raise FtwizardError(
                f"{make_visible(table.path)} has changed since the run was started.",
                "Restore the old file and resume, or start a new run.",
            )
        if not plan.is_hosted and plan.recipe.objective != "grpo":
            _require_kind(table, plan)
        rows = reader.get_usable_rows(table, skip_bad="skip-bad-rows" in plan.allow)
        say(part, table)
        return rows

    files = plan.data.files
    separate = {
        part: usable(part, Path(name), plan.data.format, plan.data.read_options)
        for part in ("train", "validation", "test")
        if (name := getattr(files, part))
    }
    parts = split.split(
        separate.pop("train"),
        validation=plan.validation_share,
        test=plan.test_share,
        seed=plan.data.split.seed,
        group_by=plan.data.split.group_by,
    )
    rows = {"train": parts.train, "validation": parts.validation, "test": parts.test} | separate
    if not plan.is_hosted and plan.recipe.objective == "kto":
        _require_both_labels(rows["train"])
    _sample(rows, plan, {} if sampled is None else sampled)
    if plan.data.mix.share:
        from ftwizard.data import mix

        general = usable("mix", bundled_samples.resolve_rows(plan.data.mix.rows), "auto")
        excluded = [*rows["validation"], *rows["test"]]
        rows["mix"] = mix.draw_rows(
            general, plan.data.mix.share, rows["train"], excluded, plan.data.split.seed
        )
    _require_split(rows, hashes)
    if plan.evaluate.scorer != "auto" or plan.evaluate.answer_pattern:
        require_answers(list_answered(rows["test"]), find_kind(rows, plan.evaluate))
    return rows


def require_answers(rows: Sequence[AnsweredRow], kind: RecognizedAnswers) -> None:
    """Raise FtwizardError if a scorer or pattern of the user finds no answer in the test rows."""
    if not rows or any(answer_kinds.has_answer(kind, row) for row in rows):
        return
    named = "answer_pattern matches" if kind.pattern else f"scorer: {kind.scorer} finds"
    shown = make_visible(rows[0].answer.strip()[-SHOWN_TAIL:])
    raise FtwizardError(
        f"evaluate.{named} no answer in the test rows. The first row ends: “{shown}”.",
        "Correct it, or remove it: the kind of answers is then recognized from the rows.",
    )


def _require_split(rows: Rows, hashes: Mapping[str, str]) -> None:
    """Raise FtwizardError if the split is not the one that the run started with."""
    hash = hash_split(rows)
    if hash != hashes.get("split", hash):
        raise FtwizardError(
            "The data split differs from the one at the start of the run, because a library version "
            "has changed.",
            "Resume in the original environment, or start a new run.",
        )


def _make_reader(plan: Plan) -> Callable[..., reader.DataTable]:
    """Return the reader of the plan's files: for a hosted platform, all rows that it accepts."""
    if plan.recipe.objective == "grpo" and not plan.is_hosted:
        to_prompted = functools.partial(
            reward_rows.to_prompted, column=plan.recipe.grpo.reference_column
        )
        return functools.partial(reader.read_table, convert=to_prompted)
    if not plan.is_hosted:
        to_trained = functools.partial(row_checker.to_trained, target=plan.target)
        return functools.partial(reader.read_table, convert=to_trained)
    from ftwizard.data.export import convert

    target = platforms.get_target(plan.target)

    def to_conversation(example: Example) -> Conversation:
        convert.convert_row(example, target)  # raises RowProblem
        return to_compared(example)

    return functools.partial(reader.read_table, preferred=target.formats, convert=to_conversation)


def _require_both_labels(rows: Sequence[reader.ParsedRow]) -> None:
    """Raise FtwizardError if all rows to train on have the same label."""
    labels = {row.example.label for row in rows}
    if len(labels) == 1:
        label, missing = ("true", "false") if True in labels else ("false", "true")
        raise FtwizardError(
            f"Every row to train on is labeled {label}; KTO learns from both kinds.",
            f"Add answers labeled {missing}. "
            + (
                "Or train on the answers as they are: recipe.objective sft."
                if label == "true"
                else "Unwanted answers alone show no model what to say instead."
            ),
        )


def _require_kind(table: reader.DataTable, plan: Plan) -> None:
    """Raise FtwizardError for a file whose rows are all for another training objective."""
    if table.rows or any(problem.code != "wrong_kind" for problem in table.problems):
        return
    objective = OBJECTIVES.get(table.format, "sft")
    if objective == plan.recipe.objective or table.format == "prompt":
        return
    needed = _ROWS_OF[plan.recipe.objective]
    raise FtwizardError(
        f"{make_visible(table.path)} has {_ROWS_OF[objective]}; recipe.objective "
        f"{plan.recipe.objective} trains on {needed}.",
        f"Set recipe.objective to {objective}, or name a file of {needed}.",
    )


def _sample(rows: Rows, plan: Plan, sampled: dict[str, int]) -> None:
    """Reduce training and validation rows to ``data.max_rows``, after the split: no row changes part.

    The test set stays whole, so that runs with and without the limit are compared on the same rows.
    """
    limits = {"train": plan.data.max_rows, "validation": plan.data.max_validation_rows}
    for part, limit in limits.items():
        if limit is not None and len(rows[part]) > limit:
            sampled[part] = len(rows[part])
            from ftwizard.data import sample  # loads numpy

            rows[part] = sample.draw_rows(rows[part], limit, plan.data.split.seed)


def list_split_lines(plan: Plan) -> dict[str, set[int]]:
    """Return the lines of the training file in each part of its split that has any."""
    data = msgspec.structs.replace(
        plan.data, files=Files(train=plan.data.files.train), max_rows=None, mix=Mix(),
        split=msgspec.structs.replace(
            plan.data.split, validation=plan.validation_share, test=plan.test_share
        ),
    )  # fmt: skip
    rows = load_rows(msgspec.structs.replace(plan, data=data), {})
    return {part: {row.line for row in rows[part]} for part in rows if rows[part]}


def hash_prompt(row: reader.ParsedRow) -> bytes:
    """Return a hash of a row's prompt."""
    return hashlib.sha256(msgspec.json.encode(row.conversation.prompt)).digest()


def hash_split(rows: Rows) -> str:
    """Return a hash of the lines in each part."""
    lines = {part: [row.line for row in rows[part]] for part in sorted(rows)}
    return hashlib.sha256(msgspec.json.encode(lines)).hexdigest()


class SavedTestSet(msgspec.Struct, frozen=True, kw_only=True):
    """``eval/test.json``: the run's copy of its test set, for the comparison after training.

    The user's files may change or disappear while a run trains for hours.
    """

    rows: list[reader.ParsedRow]
    """Rows with an answer to compare with, unlike plain text."""
    system: str | None = None
    """The system prompt of most rows trained on; None if they have none, or several."""
    shots: list[list[dict[str, Any]]] = []
    """Examples of the training rows, without system prompts, for the prompted base model."""
    trained: list[reader.ParsedRow] = []
    """A sample of the training rows: what was learned, next to what carries over."""
    unwanted: list[reader.ParsedRow] = []
    """Test rows labeled as unwanted."""
    kind: RecognizedAnswers | None = None
    """How the answers of all rows are compared; None: as these rows show."""


def find_kind(parts: Rows, settings: Evaluate) -> RecognizedAnswers:
    """Return how the answers of all rows are compared, as the plan says or as they show."""
    own = [row for name in parts if name != "mix" for row in parts[name] if is_good_answer(row)]
    return recognize_as_planned(list_answered(own), settings)


def save_test_set(
    folder: JobFolder, parts: Rows, settings: Evaluate | None = None, seed: int = 0
) -> None:
    """Save what the comparison needs, with examples of the training rows."""
    settings = settings or Evaluate(shots=0)
    folder.evaluations.mkdir(mode=0o700, exist_ok=True)
    rows = [row for row in parts["test"] if is_good_answer(row) and list_answered([row])]
    saved = SavedTestSet(
        rows=rows,
        system=find_system_prompt(parts["train"]),
        shots=choose_shots(parts["train"], settings.shots, seed),
        trained=_draw_answered(parts["train"], TRAINED_SAMPLE, seed),
        unwanted=[row for row in parts["test"] if row.example.label is False],
        kind=find_kind(parts, settings),
    )
    write_json(folder.evaluations / "test.json", saved)


def list_answered(rows: Sequence[reader.ParsedRow]) -> list[AnsweredRow]:
    """Return the expected answers of rows; rows without one are left out."""
    answered = (answer_kinds.to_answered(row.line, row.conversation) for row in rows)
    return [row for row in answered if row]


def is_good_answer(row: reader.ParsedRow) -> bool:
    """Return whether a row's answer is one to compare with, and not labeled as unwanted."""
    return row.example.label is not False


def _draw_answered(
    rows: Sequence[reader.ParsedRow], count: int, seed: int
) -> list[reader.ParsedRow]:
    answered = [row for row in rows if is_good_answer(row) and list_answered([row])]
    return random.Random(seed).sample(answered, min(count, len(answered)))


def choose_shots(
    rows: Sequence[reader.ParsedRow], count: int, seed: int
) -> list[list[dict[str, Any]]]:
    """Draw ``count`` examples for a prompt: of the shorter half, with different answers if possible."""
    shots = [
        [
            message
            for message in without_reasoning(row.conversation.messages)
            if message["role"] not in _SYSTEM_ROLES
        ]
        for row in rows
        if row.conversation.answer.strip() and not row.conversation.tools and is_good_answer(row)
    ]
    shots = [shot for shot in shots if shot[-1]["role"] == "assistant"]
    shots.sort(key=lambda shot: sum(len(str(message["content"])) for message in shot))
    shorter = shots[: max(count, len(shots) // 2)]
    random.Random(seed).shuffle(shorter)
    distinct = {str(shot[-1]["content"]): shot for shot in reversed(shorter)}
    repeated = [shot for shot in shorter if shot not in distinct.values()]
    return [*distinct.values(), *repeated][:count]


def find_system_prompt(rows: Sequence[reader.ParsedRow]) -> str | None:
    """Return the system prompt that most conversations begin with; None if there is no such."""
    conversations = [row.conversation.messages for row in rows if row.conversation.messages]
    prompts = Counter(
        str(messages[0]["content"])
        for messages in conversations
        if messages[0]["role"] in _SYSTEM_ROLES
    )
    prompt, count = next(iter(prompts.most_common(1)), ("", 0))
    return prompt if prompt.strip() and 2 * count > len(conversations) else None


def read_test_set(folder: JobFolder) -> SavedTestSet:
    """Read what ``save_test_set`` wrote."""
    data = (folder.evaluations / "test.json").read_bytes()
    return msgspec.json.decode(data, type=SavedTestSet)


def encode(
    worker: Worker,
    encoder: Encoder,
    rows: Rows,
    recipe: Recipe,
    available: Mapping[str, int] | None = None,
) -> tuple[dict[str, list[EncodedRow]], dict[str, EncodingReport]]:
    """Encode every part as ``encode_parts`` does, and write a report on it to the events.

    ``available``: rows before ``data.max_rows``, of the parts that it makes smaller.
    """
    say = phase_reporter(worker, "tokenising")
    available, max_length = available or {}, recipe.max_length
    encoded, reports = encode_parts(
        encoder, rows, recipe,
        lambda _, done, total: say(None, done=done, total=total, unit="rows"),
    )  # fmt: skip
    for name, report in reports.items():
        fields = msgspec.to_builtins(report)
        fields["lost"] = report.lines_without_loss[:SHOWN_LINES]
        fields["equal_pairs"] = report.equal_pairs[:SHOWN_LINES]
        fields["too_long"] = report.too_long[:SHOWN_LINES]
        if name == "train":
            fields["mixed"] = reports["mix"].used if "mix" in reports else 0
        if name in available:
            fields["available"] = available[name]
        worker.events.write("data", part=name, **fields)
        if lines := report.lines_without_loss:
            worker.events.write_finding(
                "rows_without_loss",
                f"{len(lines):,} of {format_count(report.rows, 'row')} ({name}) have no "
                f"trainable tokens and are left out, the first at line {lines[0]}. They are "
                f"truncated to {max_length} tokens, or every answer has weight 0.",
                "warning",
            )
        if lines := report.too_long:
            worker.events.write_finding(
                "prompts_too_long",
                f"{len(lines):,} of {format_count(report.rows, 'prompt')} ({name}) are longer than "
                f"recipe.max_length ({max_length:,} tokens) and are left out, the first at line "
                f"{lines[0]}.",
                "warning",
            )
        if lines := report.equal_pairs:
            worker.events.write_finding(
                "equal_pairs",
                f"{len(lines):,} of {format_count(report.rows, 'pair')} ({name}) have equal answers "
                f"and are left out, the first at line {lines[0]}. They differ only after "
                f"{max_length} tokens, or not at all.",
                "warning",
            )
    _report_template(worker, encoder, rows, reports)
    _report_lengths(worker, encoded["train"])
    if "train" in available:
        _report_sampling(worker, rows, available)
    return encoded, reports


def _report_template(
    worker: Worker, encoder: Encoder, rows: Rows, reports: Mapping[str, EncodingReport]
) -> None:
    """Write findings on what the chat template leaves out, adds, or was already applied to."""
    if count := sum(
        row.example.kind == "text" and transcripts.find_style(row.example.text or "") is not None
        for row in rows["train"]
    ):
        worker.events.write_finding(
            "template_text",
            f"{format_count(count, 'row')} (train): a conversation is one text, so user turns are "
            "trained on as well. ftwizard check names the columns that read its turns.",
            "warning",
        )
    for name, report in reports.items():
        for lost, count in report.dropped.items():
            message = (
                f"The chat template leaves out the {lost} of {format_count(count, 'row')} ({name}), so "
                "the model is not trained with them."
            )
            worker.events.write_finding("template_drops", message, "warning")
    if encoder.added:
        shown = ", ".join(f"“{make_visible(text, 40)}”" for text in sorted(encoder.added))
        message = f"Besides answers and their ends, training includes template text: {shown}."
        worker.events.write_finding("template_adds_loss", message)


def _report_lengths(worker: Worker, rows: Sequence[EncodedRow]) -> None:
    """Write a finding if the length of the answers alone tells the pairs apart."""
    rule = judge_lengths(
        (lengths[0], lengths[1]) for row in rows if len(lengths := row.answer_lengths) == 2
    )
    if rule and rule.is_telling:
        evidence = dataclasses.asdict(rule)
        worker.events.write_finding(
            "pairs_by_length", rule.describe(), "warning",
            action="Add pairs whose better answer is not the "
            f"{rule.winner} one, or compare lengths of the sample answers.",
            evidence=evidence,
        )  # fmt: skip


def _report_sampling(worker: Worker, rows: Rows, available: Mapping[str, int]) -> None:
    message = (
        f"data.max_rows: {len(rows['train']):,} of "
        f"{format_count(available['train'], 'training row')} are used, drawn by kind and length."
    )
    if "validation" in available:
        message += (
            f" Evaluations use {len(rows['validation']):,} of "
            f"{format_count(available['validation'], 'validation row')}."
        )
    worker.events.write_finding("rows_sampled", message)


def encode_parts(
    encoder: Encoder, rows: Rows, recipe: Recipe, progress: Callable[[str, int, int], None]
) -> tuple[dict[str, list[EncodedRow]], dict[str, EncodingReport]]:
    """Return the encoded rows and a report for each part.

    Of reinforcement, only the prompts are encoded. Rows of ``mix`` are returned with those of
    ``train``. ``progress`` is called with the part, and
    the rows done and in total.
    """
    encoded: dict[str, list[EncodedRow]] = {}
    reports: dict[str, EncodingReport] = {}
    encode_part = prompt_rows.encode_prompts if recipe.objective == "grpo" else encode_rows
    for name, part in rows.items():
        try:
            encoded[name], reports[name] = encode_part(
                encoder, part, recipe.max_length, functools.partial(progress, name),
                needed=name in ("train", "validation"),
            )  # fmt: skip
            reports[name] = msgspec.structs.replace(
                reports[name], dropped=template_losses.count_losses(encoder, part)
            )
        except EncodingError as error:
            if name != "mix":
                raise
            raise EncodingError(f"data.mix.rows: {error.message}", error.hint) from None
    encoded["train"] += encoded.pop("mix", [])
    return encoded, reports


def check_lengths(
    base: Path, encoded: Mapping[str, list[EncodedRow]], recipe: Recipe
) -> str | None:
    """Return a warning if rows exceed the context length of the model in ``base``.

    To prompts of reinforcement, the longest answer is added. Raises FtwizardError if rows exceed a
    hard limit.
    """
    config = model_loading.load_config(base).to_dict()
    tokens = max((row.longest for part in encoded.values() for row in part), default=0)
    if recipe.objective == "grpo":
        tokens += recipe.grpo.max_completion_length
    if error := support.check_context(config, tokens, str(base)):
        raise error
    return support.warn_context(config, tokens)


def describe_shortage(plan: Plan, rows: Rows) -> str | None:
    """Return a message if there are fewer general rows than the plan asks for, else None."""
    if "mix" not in rows:
        return None
    from ftwizard.data import mix

    return mix.describe_shortage(len(rows["mix"]), len(rows["train"]), plan.data.mix.share)


def phase_reporter(worker: Worker, phase: str) -> Callable[..., None]:
    """Return a callback that writes a phase event for each new item, else once a second."""
    last: dict[str, Any] = {"at": time.monotonic(), "item": None}

    def report(item: str | None, **fields: Any) -> None:
        now = time.monotonic()
        if item == last["item"] and now - last["at"] < PROGRESS_INTERVAL_S:
            return
        last.update(at=now, item=item)
        worker.phase(phase, what=item, **fields)

    return report
