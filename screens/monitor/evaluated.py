"""Parts of the results page of an evaluated run: verdict, scores, failures, changed answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ftwizard.jobs.ending import GOOD_END_REASONS
from ftwizard.jobs.folder import JobFolder, read_json
from ftwizard.jobs.status import observe
from ftwizard.rewards.recognized_answers import describe_answers
from ftwizard.runs import (
    custody,
    describe,
    exports,
    hosted,
    merge_proof,
    next_steps,
    step_problems,
)
from ftwizard.runs import describe_evaluation as words
from ftwizard.runs.evaluation import Evaluation, Failure, Flip, NearRow
from ftwizard.runs.evaluation_files import list_judgments
from ftwizard.runs.failure_text import FAILURE_TITLES, describe_failure
from ftwizard.runs.next_steps import SuggestedStep
from ftwizard.runs.result import MergedModel
from ftwizard.screens import layout, palette
from ftwizard.text import format_bytes, make_visible

CHANGE_KEYS = "123456789"
KEY = f"bold {palette.ACCENT}"
MAX_JUDGMENTS = 2
"""Other evaluations of a run that are shown."""
MAX_NEAR_ROWS = 2
"""Training rows shown with a changed answer, so that it fits on one screen."""
_STYLES = {
    "ship": palette.GOOD, "do_not_ship": palette.BAD, "cannot_tell": palette.WARNING,
    "✓": palette.GOOD, "✗": palette.BAD, "?": palette.WARNING,
    "■": palette.WARNING, "·": "dim",
}  # fmt: skip
_KINDS = {
    "broken": ("✗ broken", "right before, wrong now"),
    "fixed": ("✓ fixed", "wrong before, right now"),
    "sample": ("· test row", ""),
}
Truncate = Callable[[str], str]


class ShownAnswer(NamedTuple):
    """An item that one of base and tuned model has right, or a test row, and the set that it is from."""

    set: str
    kind: Literal["broken", "fixed", "sample"]
    flip: Flip


def list_answers(evaluation: Evaluation) -> list[ShownAnswer]:
    """List the answers that changed: first all that broke, then those that were fixed. Where none to
    the test rows did, some of these follow."""
    sets = evaluation.sets.items()
    changed = [
        *(ShownAnswer(name, "broken", flip) for name, part in sets for flip in part.broken),
        *(ShownAnswer(name, "fixed", flip) for name, part in sets for flip in part.fixed),
    ]
    if any(answer.set == "target" for answer in changed):
        return changed
    return changed + [ShownAnswer("target", "sample", flip) for flip in evaluation.samples]


def list_texts(answer: ShownAnswer) -> Sequence[str]:
    flip = answer.flip
    return flip.prompt, flip.expected, flip.rejected, flip.base, flip.tuned


def build_verdict(evaluation: Evaluation) -> Group:
    """Return the verdict, and why; whether training helped on the target set is always said."""
    style = _STYLES[evaluation.verdict]
    reasons = evaluation.reasons[: words.MAX_REASONS]
    reasons += [r for r in evaluation.reasons if r.name == "target" and r not in reasons]
    lines = [words.describe_reason(reason, evaluation) for reason in reasons]
    title = Text(words.describe_verdict(evaluation), f"bold {style}")
    why = layout.build_list(lines) if len(lines) > 1 else Text("\n".join(lines))
    rows: list[tuple[str, RenderableType]] = [("why", why)]
    if evaluation.answers:
        changed = evaluation.scorer_changed
        rows.append(("answers", describe_answers(evaluation.answers, is_changed=changed)))
    return Group(title, layout.build_table(rows))


def format_scores(evaluation: Evaluation, width: int, *, with_loss: bool) -> Text:
    """Return scores of sets × models with their intervals, and a mark for what the gate says.

    Where ``width`` cells do not hold them, only the changes have their intervals.
    """
    marks = {name: words.mark_set(evaluation, name) for name in evaluation.sets}
    table = words.fit_scores(evaluation.sets, width - len("  ✓"), with_loss=with_loss)
    heading, *lines = table.align()
    text = Text(heading, "dim", no_wrap=True)
    for name, line in zip(table.sets, lines, strict=True):
        mark = marks.get(name, "")
        text.append(f"\n{line}  ", "not dim").append(mark, f"not dim {_STYLES.get(mark, '')}")
    return text


def build_failures(evaluation: Evaluation, *, in_full: bool) -> Table:
    """Return a line for each failure that was found, with its evidence, and one for the others.

    ``in_full``: whether failures that were not found have their evidence, too.
    """
    shown = {reason.failure for reason in evaluation.reasons[: words.MAX_REASONS]}
    lines = []
    for failure in (f for f in evaluation.failures if f.found):
        # The reasons above have the first sentences already.
        skipped = words.MAX_SENTENCES if failure.name in shown else 0
        lines.append(_describe_failure("✗", failure, skipped))
    for mark, state, title in ((None, "?", "Cannot tell"), (False, "✓", "None found")):
        others = [failure for failure in evaluation.failures if failure.found is mark]
        if in_full:
            lines += [_describe_failure(state, failure) for failure in others]
        elif others:
            names = ", ".join(FAILURE_TITLES[failure.name].lower() for failure in others)
            lines.append(Text.assemble((state, _STYLES[state]), f" {title}: {names}."))
    return layout.build_table(_name_first("failures", lines))


def _describe_failure(mark: str, failure: Failure, skipped: int = 0) -> Text:
    opening, *evidence = describe_failure(failure)
    title = f" {FAILURE_TITLES[failure.name]}: {opening[:1].lower()}{opening[1:]}"
    return Text.assemble((mark, _STYLES[mark]), " ".join([title, *evidence[skipped:]]))


def build_changes(evaluation: Evaluation, run_id: str, next_command: str) -> Table | None:
    """Return what else to change, with its key where a command does it; None if there is nothing.

    ``next_command``: what Enter runs.
    """
    lines: list[Text | str] = []
    keys = iter(CHANGE_KEYS)
    for action in evaluation.actions:
        text, command = words.describe_action(action), words.find_command(action, run_id)
        key = next(keys, "") if command else ""
        if command and command == next_command:
            continue
        line = Text.assemble((key or "·", KEY if key else "dim"), f" {text}")
        lines.append(line.append(f": {command}", "dim") if command else line)
    return layout.build_table(_name_first("or", lines)) if lines else None


def build_answer(
    changed: ShownAnswer, index: int, count: int, truncate: Truncate, *, is_wide: bool
) -> Group:
    """Return an item with both models' answers and the training rows near to it.

    ``is_wide``: whether the answers stand side by side, not one below the other.
    """
    flip = changed.flip
    mark, meaning = _KINDS[changed.kind]
    if flip.rejected:
        meaning = words.describe_preferred(
            [flip.base == flip.expected, flip.tuned == flip.expected]
        )
    elif flip.rewards:
        meaning = words.describe_rewards(flip.rewards)
    elif 0 < abs(flip.change) < 1:
        meaning = f"score {flip.change:+.2f}"
    elif flip.expected and flip.tuned.strip() == flip.expected.strip():
        meaning = meaning or "as expected"
    origin = [words.name_set(changed.set), words.name_set(flip.category) if flip.category else ""]
    if flip.line is not None and changed.set not in ("general", "safety"):  # rows of no file here
        origin.append(f"row {flip.line}")
    title = Text.assemble(
        (f"answer {index + 1} of {count}", "bold"), "  ", (mark, _STYLES[mark[0]]),
        (f"{': ' if meaning else ''}{meaning}  {', '.join(filter(None, origin))}", "dim"),
    )  # fmt: skip
    asked = [("prompt", truncate(flip.prompt))]
    if flip.rejected:
        asked += [("chosen", truncate(flip.expected)), ("rejected", truncate(flip.rejected))]
    elif flip.expected or not flip.rewards:
        asked.append(("expected", truncate(flip.expected)))
    # Of a pair, the title says which of its answers each model prefers.
    answers = [] if flip.rejected else [("base", flip.base), ("tuned", flip.tuned)]
    answers = [(name, truncate(text)) for name, text in answers]
    near = _name_first("near", [_describe_row(row, truncate) for row in flip.near[:MAX_NEAR_ROWS]])
    parts: list[RenderableType] = [title]
    if is_wide and answers:
        parts += [layout.build_table(asked), _place_side_by_side(answers), layout.build_table(near)]
    else:
        parts.append(layout.build_table([*asked, *answers, *near]))
    return Group(*parts)


def _place_side_by_side(answers: Sequence[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for _ in answers:
        grid.add_column(ratio=1, overflow="fold")
    grid.add_row(*(layout.build_table([answer]) for answer in answers))
    return grid


def _describe_row(row: NearRow, truncate: Truncate) -> str:
    return f"training row {row.line}, {row.share:.0%} in common: {truncate(row.text)}"


def list_forms(folder: JobFolder) -> Iterator[tuple[str, str]]:
    """Yield what the model exists as besides its weights."""
    for path, record in exports.iterate_records(folder.exports):
        yield make_visible(record.form, 20), make_visible(str(path))
    if chain := custody.read(folder):
        yield "verify", "\n".join(custody.describe(chain))
    if pushed := read_json(folder.path / exports.PUSH_RECORD, exports.PushRecord):
        yield "pushed", make_visible(pushed.url)


def list_judged(folder: JobFolder) -> Iterator[str]:
    """Yield a line for each other weights of the run that were judged, the newest first."""
    for judgment in list_judgments(folder)[:MAX_JUDGMENTS]:
        for candidate in judgment.result.candidates:
            model = make_visible(candidate.name, 30)
            scores = ", ".join(
                f"{words.name_set(name)} {score:.0%}" for name, score in candidate.scores.items()
            )
            verdict = f"{words.MARKS[candidate.verdict]} {words.VERDICTS[candidate.verdict]}"
            yield f"{verdict}: {model}  {scores}"


def list_problem_rows(folder: JobFolder, step: SuggestedStep) -> Iterator[tuple[str, Text]]:
    """Yield how a run ended too early, what stands in the way of a step, and what to do."""
    status = observe(folder, asks_slurm=False)  # the results page must not wait for Slurm
    if status.end_reason not in GOOD_END_REASONS:
        mark = "■" if status.end_reason == "stopped" else "✗"
        first, *others = (*describe.describe_next_step(folder, status), "")
        hint = " ".join(filter(None, others))
        line = Text.assemble((f"{mark} ", _STYLES[mark]), first)
        yield "ended", line.append(f" {hint}".rstrip(), "dim")
    for problem in step_problems.list_problems(folder, step):
        line = Text.assemble((f"{problem.mark} ", _STYLES[problem.mark]), problem.message)
        yield problem.subject, line.append(f" {problem.hint}".rstrip(), "dim")


def list_closing(
    folder: JobFolder, merged: MergedModel | None, serve: str
) -> Iterator[tuple[str, Text | str]]:
    """Yield where a complete model is, what was proved of it, and how to use it."""
    size = f"  {format_bytes(merged.size_bytes)}, {merged.dtype}" if merged else ""
    yield "", Text("Everything is there: the model can be used.", f"bold {palette.GOOD}")
    if job := hosted.read_hosted(folder):
        platform = hosted.name_platform(job.provider)
        yield "model", f"{make_visible(job.tuned_model or '', 240)}, at {platform}"
        yield "card", next_steps.describe_card(folder)
        return
    yield "model", Text.assemble(make_visible(str(folder.merged)), (make_visible(size, 60), "dim"))
    if proof := merge_proof.read_proof(folder.merged):
        yield "proof", merge_proof.format_verdict(proof)
    if chain := custody.read(folder):
        yield "verify", custody.describe_outcome(chain)
    for path, record in exports.iterate_records(folder.exports):
        yield "export", f"{make_visible(record.form, 20)}: {make_visible(str(path))}"
    yield "card", next_steps.describe_card(folder)
    yield "serve", Text.assemble(("s", KEY), f" here, or: {make_visible(serve)}")


def build_model_line(folder: JobFolder) -> Text:
    """Return in one line what exists of the model, and what is missing."""
    existing, missing = next_steps.describe_model(folder)
    line = Text()
    for name in existing:
        line.append("✓ ", palette.GOOD).append(f"{name}  ")
    if missing:
        line.append(f"{'·' if existing else ''} missing: {', '.join(missing)}".lstrip(), "dim")
    return line


def _name_first(name: str, lines: Sequence[Text | str]) -> list[tuple[Text | str, Text | str]]:
    """Return rows of a table, the first with the name of all."""
    return [("" if index else name, line) for index, line in enumerate(lines)]
