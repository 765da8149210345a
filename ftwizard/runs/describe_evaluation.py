"""Descriptions of an evaluation in words: the verdict, its reasons, scores, failures and actions."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from rich.cells import cell_len

from ftwizard.plan.schema import Gate
from ftwizard.runs import paired_tests, verdict
from ftwizard.runs.evaluation import (
    SWEEP,
    Action,
    ArmScore,
    Evaluation,
    Failure,
    HandComparison,
    LengthShortcut,
    PairedDifference,
    Rival,
    SetResult,
    VerdictReason,
)
from ftwizard.runs.failure_text import FAILURE_TITLES, describe_failure
from ftwizard.runs.ship_verdict import (
    FIRST_GAIN,
    MIN_ROWS,
    Headroom,
    get_tolerance,
    judge_set,
    measure_gain,
)
from ftwizard.runs.verdict import ShipVerdict
from ftwizard.text import format_count, make_visible

MARKS: dict[ShipVerdict, str] = {"ship": "✓", "do_not_ship": "✗", "cannot_tell": "?"}
VERDICTS: dict[ShipVerdict, str] = {
    "ship": "Ship", "do_not_ship": "Do not ship", "cannot_tell": "Cannot tell",
}  # fmt: skip
MAX_REASONS = 3
MAX_SENTENCES = 2
"""Sentences of a failure's evidence in a reason."""
MAX_SHOWN_LINES = 5
"""Line numbers of rows to drop."""
MAX_NAME_WIDTH = 30
"""Cells of a set's or an arm's name, which can be a file."""
TABLE_NAME_WIDTH = 15
"""The same in a table, so that one of three models fits 80 columns."""
PLACEHOLDERS = {"scorer": "PATTERN", "judge": "URL"}
"""What a person fills in, in the command of an action."""
TABLE_WIDTH = 80
"""Cells of a table in lines of text."""
_OVER: dict[Rival, str] = {
    "base": "", "prompted": " over a prompt", "parent": " over its parent",
}  # fmt: skip
_RIVALS: dict[Rival, str] = {
    "base": verdict.BASE, "prompted": "the base model and your prompt", "parent": "its parent",
}  # fmt: skip
_METRICS = {
    "accuracy": "right answers", "mean_score": "mean score", "chrf": "chrF", "rouge": "ROUGE-L",
    "judge": "judge's score", "preferred": "pairs whose chosen answer is the more probable one",
    "ranked": "how often a wanted answer gained more than an unwanted one",
}  # fmt: skip


def describe_rate(per_minute: float) -> str:
    """Describe how many requests a platform lets a model answer."""
    if per_minute < 1.5:
        return "about one request a minute"
    return f"about {per_minute:.0f} requests a minute"


def describe_verdict(evaluation: Evaluation) -> str:
    """Describe the verdict in a few words, with its mark: ``✗ Do not ship: memorization``."""
    words = f"{MARKS[evaluation.verdict]} {VERDICTS[evaluation.verdict]}"
    unjudged = _join(FAILURE_TITLES[name].lower() for name in evaluation.unjudged)
    more = f" (not judged: {unjudged})" if unjudged else ""
    first = evaluation.reasons[0] if evaluation.reasons else None
    if evaluation.verdict == "ship" or first is None:
        return f"{words}{more}"
    return f"{words}: {_name_reason(first)}{more}"


def _name_reason(reason: VerdictReason) -> str:
    if reason.failure:
        title = FAILURE_TITLES[reason.failure].lower()
        return title if reason.name == "failure" else f"too few items to judge {title}"
    names = _join(map(name_set, reason.sets))
    return {
        "loss": f"{names} got worse",
        "loss_unproven": f"{names} may have got worse",
        "prompt_suffices": "a prompt does as well",
        "small_gain": f"the gain{_OVER[reason.rival]} is too small",
        "small_gain_unproven": f"the gain{_OVER[reason.rival]} may be too small",
        "gain_unproven": f"no gain{_OVER[reason.rival]} is shown",
        "few_items": f"too few items ({names})",
        "few_rows": "too few test rows",
        "identical": "its answers are those of the base model",
        "style_only": "whether its answers are right was not measured",
        "by_hand": "you prefer the base model’s answers",
        "unscored": f"too many {names} answers could not be scored",
        "not_compared": "nothing to compare with",
        "contaminated": "test items are in the training set",
        "over_parent": "it is worse than its parent",
        "by_length": "it may only have learned the length of answers",
        "not_measured": f"not measured: {names}",
    }.get(reason.name, "it did not help")


def describe_reasons(evaluation: Evaluation, limit: int = MAX_REASONS) -> list[str]:
    """Describe why, a sentence for each reason, the most important first."""
    return [describe_reason(reason, evaluation) for reason in evaluation.reasons[:limit]]


def describe_reason(reason: VerdictReason, evaluation: Evaluation) -> str:
    if reason.failure:
        failure = next(f for f in evaluation.failures if f.name == reason.failure)
        _, *evidence = describe_failure(failure)
        doubt = "" if failure.found else " cannot be judged with so few items"
        return " ".join([f"{FAILURE_TITLES[failure.name]}{doubt}.", *evidence[:MAX_SENTENCES]])
    results = {name: evaluation.sets[name] for name in reason.sets if name in evaluation.sets}
    gate = evaluation.gate or Gate()
    match reason.name:
        case "target" | "style_only":
            in_doubt = evaluation.verdict == "cannot_tell"
            return verdict.describe(evaluation.target, after_doubt=in_doubt)
        case "few_rows" | "identical":
            return _describe_target(reason, evaluation.sets["target"])
        case "by_hand":
            return _describe_by_hand(evaluation.by_hand)
        case "small_gain" | "small_gain_unproven":
            return _describe_small_gain(reason, evaluation, gate)
        case "over_prompted" | "prompt_suffices":
            return _describe_over_prompted(reason, evaluation)
        case "over_parent":
            return _describe_over_parent(evaluation)
        case "by_length":
            return _describe_shortcut(evaluation.shortcut)
        case "no_loss":
            return f"No loss beyond the gate: {_count_items(results)}."
        case "contaminated":
            failure = next(f for f in evaluation.failures if f.name == "memorization")
            shared, total = (failure.evidence[key] for key in ("contaminated", "contaminated_of"))
            return f"{shared} of {total} test items are also in the training set: their scores are void."
        case "few_items":
            return f"Too few items to judge a loss: {_count_items(results)}."
        case "not_compared":
            return "There are no answers of a base model to compare with."
        case "not_measured":
            return f"Not measured: {_join(map(name_set, reason.sets))}."
    return " ".join(_describe_set_reason(reason, *pair, gate) for pair in results.items())


def _describe_target(reason: VerdictReason, result: SetResult) -> str:
    """Describe test rows that are too few, or answers that did not change."""
    n = result.difference.n if result.difference else result.n
    if reason.name == "identical":
        return (
            f"All {format_count(n, 'answer')} are the same as the base model’s: on these rows, training "
            "changed nothing."
        )
    return f"Too few test rows to tell: {n:,}; {_describe_needed(FIRST_GAIN)}."


def _describe_needed(change: float) -> str:
    rows = paired_tests.count_needed_rows(change)
    return f"about {rows:,} are needed to see {format_points(change)}"


def _describe_by_hand(by_hand: HandComparison | None) -> str:
    if by_hand is None:
        return "Nobody compared the answers."
    total = format_count(by_hand.better + by_hand.worse, "pair")
    match by_hand.outcome:
        case "better":
            return f"You preferred its answers in {by_hand.better:,} of {total}, without knowing whose they were."
        case "worse":
            return f"You preferred the base model’s answers in {by_hand.worse:,} of {total}."
    return f"You preferred its answers in {by_hand.better:,} of {total}: too few to tell yet."


def _describe_small_gain(reason: VerdictReason, evaluation: Evaluation, gate: Gate) -> str:
    """Describe a gain below the gate, or one that may be."""
    judged, wanted = _get_judged(evaluation, reason.rival), format_points(gate.gain)
    if judged is None or not judged.evidence:
        return f"The gain is below the {wanted} that the gate asks for."
    decisive = judged.evidence[0]
    if reason.name == "small_gain":
        facts = verdict.describe_change(decisive, _RIVALS[reason.rival])
        return (
            f"The gain{_OVER[reason.rival]} is below the {wanted} that the gate asks for: {facts}."
        )
    value = format_points(measure_gain(decisive).value)
    return (
        f"The gain{_OVER[reason.rival]} is {value}; the gate asks for {wanted}. With "
        f"{format_count(decisive.rows, 'test row')}, that is too close to tell."
    )


def _get_judged(evaluation: Evaluation, rival: Rival) -> verdict.Verdict | None:
    judged: dict[Rival, verdict.Verdict | None] = {
        "base": evaluation.target, "prompted": evaluation.over_prompted, "parent": evaluation.over_parent,
    }  # fmt: skip
    return judged[rival]


def _describe_over_parent(evaluation: Evaluation) -> str:
    judged, parent = evaluation.over_parent, _name_parent(evaluation)
    if judged is None or not judged.evidence:
        return f"Not compared with {parent}."
    first = judged.evidence[0]
    openings = {"helped": "It is better than", "worse": "It is worse than"}
    opening = openings.get(judged.outcome, "Not shown to be better than")
    facts = verdict.describe_change(first, parent)
    return f"{opening} {parent}: {facts}."


def _name_parent(evaluation: Evaluation) -> str:
    return f"its parent {make_visible(evaluation.parent, MAX_NAME_WIDTH)}".rstrip()


def _describe_shortcut(shortcut: LengthShortcut | None) -> str:
    """Describe what the length of answers explains, and what the tuned model does with the other pairs."""
    if shortcut is None:
        return "The length of answers alone may tell the pairs apart."
    facts = (
        f"The {shortcut.winner} answer is the chosen one in {shortcut.accuracy:.0%} "
        f"({shortcut.low * 100:.0f}–{shortcut.high * 100:.0f}%) of {shortcut.pairs:,} {shortcut.part} pairs"
    )
    if not shortcut.exceptions:
        return f"{facts}, and no test pair is an exception: length alone explains the preference."
    right = f"{shortcut.right:,} of {format_count(shortcut.exceptions, 'exception')}"
    meaning = "length alone may explain the preference" if shortcut.is_open else "it learned more"
    return f"{facts}; of the others, it prefers {right} rightly: {meaning}."


def _describe_over_prompted(reason: VerdictReason, evaluation: Evaluation) -> str:
    judged = evaluation.over_prompted
    if judged is None or not judged.evidence:
        return "Not compared with a prompt."
    decisive = judged.evidence[0]
    facts = verdict.describe_change(decisive, "the base model and your prompt")
    if judged.outcome == "worse":
        return f"A prompt does better: {facts}."
    if reason.name == "prompt_suffices":
        return f"A prompt does as well: {facts}."
    if judged.outcome == "helped":
        return f"It is better than a prompt: {facts}."
    return f"Not shown to be better than a prompt: {facts}."


def _count_items(results: Mapping[str, SetResult]) -> str:
    return _join(
        f"{name_set(name)} ({format_count(result.difference.n if result.difference else 0, 'item')})"
        for name, result in results.items()
    )


def _describe_set_reason(reason: VerdictReason, name: str, result: SetResult, gate: Gate) -> str:
    change, shown = result.difference, name_set(name)
    missing = result.n - (change.n if change else 0)
    unscored = f"{missing:,} of {format_count(result.n, f'{shown} item')} could not be scored."
    if change is None:
        return unscored if reason.name == "unscored" else f"Not measured: {shown}."
    tolerated = format_points(get_tolerance(name, gate))
    worse = f"{shown[:1].upper()}{shown[1:]} got worse by {format_points(-change.value)}"
    match reason.name:
        case "loss":
            return f"{worse}; {tolerated} are tolerated."
        case "loss_unproven":
            items = format_count(change.n, "item")
            return f"{worse} ({tolerated} are tolerated), which can be chance with {items}."
        case "gain_unproven":
            others = {"prompted": result.over_prompted, "parent": result.over_parent}
            over = others.get(reason.rival) or change
            rows, gain = format_count(over.n, "test row"), max(0.0, over.value)
            facts = f"{format_points(gain)} can be chance with {rows}" if gain else f"{rows}"
            return f"No gain{_OVER[reason.rival]} is shown: {facts}; {_describe_needed(gain or gate.gain)}."
    return unscored


def describe_power(
    result: SetResult, wanted: float = 0.0, change: str = "change", items: str = "item"
) -> str:
    """Describe what a set can show: ``15 test rows can show a gain of 40 points; for 10 points: about 150``.

    ``wanted``: gain or loss of the gate, 0–1.
    """
    n = result.difference.n if result.difference else result.n
    provable = result.provable or paired_tests.find_provable_change(n)
    if provable is None or n < MIN_ROWS:
        return f"too few {items}s to tell: {n:,}; {_describe_needed(max(wanted, FIRST_GAIN))}"
    line = f"{format_count(n, items)} can show a {change} of {format_points(provable, up=True)}"
    if wanted and wanted < provable:
        needed = paired_tests.count_needed_rows(wanted)
        line += f"; for {format_points(wanted)}: about {needed:,}"
    return line


def describe_set_power(name: str, result: SetResult, gate: Gate) -> str:
    """Describe what a set can show of the gain or loss that the gate names."""
    if name == "target":
        return describe_power(result, gate.gain, "gain", "test row")
    return describe_power(result, get_tolerance(name, gate), "loss")


def describe_powers(sets: Mapping[str, SetResult], gate: Gate) -> list[str]:
    """Describe for each set what it can show, compared with the gate."""
    return [
        f"{name_set(name)}: {describe_set_power(name, result, gate)}"
        for name, result in sets.items()
    ]


def describe_headroom(headroom: Headroom) -> list[str]:
    """Describe what can be gained, and whether to train: one or two sentences."""
    base, prompted = headroom.base, headroom.prompted
    facts = f"The base model: {_format_right(base)}"
    if prompted:
        facts += f", with your prompt {_format_right(prompted)}"
    lines = [f"{facts}. {format_points(headroom.room)} are left to gain."]
    is_prompted = prompted is not None and prompted.score > base.score
    match headroom.outcome:
        case "cannot_tell":
            subject = "a prompt" if is_prompted else "the base model"
            items = format_count((prompted if prompted and is_prompted else base).n, "item")
            lines.append(f"Cannot tell whether {subject} already does it: {items}.")
        case "prompt_suffices":
            lines.append("Do not fine-tune: a prompt already does it.")
        case "base_suffices":
            lines.append("Do not fine-tune: the base model already does this.")
        case "few_items":
            lines.append(
                f"These are too few items for that: {_describe_needed(max(headroom.room, 0.01))}."
            )
    return lines


def describe_rewards(rewards: Sequence[float | None]) -> str:
    """Describe the rewards of the base model's answer and the tuned one's; empty without them."""
    shown = ["none" if reward is None else f"{reward:.3g}".replace("-", "−") for reward in rewards]
    return f"reward {' → '.join(shown)}" if len(shown) == 2 else ""


def describe_preferred(prefers_chosen: Sequence[bool]) -> str:
    """Describe which answer of a pair base and tuned model prefer; empty if that is unknown."""
    if len(prefers_chosen) != 2:
        return ""
    before, after = ("chosen" if chosen else "rejected" for chosen in prefers_chosen)
    return f"both prefer the {after}" if before == after else f"prefers {before} → {after}"


def describe_action(action: Action) -> str:
    match action.kind:
        case "checkpoint":
            before = ": deploy it, then evaluate it" if action.needs_deployment else ""
            return f"Use checkpoint {action.step} instead{before}"
        case "scale":
            *first, last = (f"{scale:.0%}" for scale in SWEEP if scale < 1)
            return f"Weaken the adapter: judge it at {', '.join(first)} and {last} of its strength"
        case "drop_rows":
            lines = ", ".join(map(str, action.lines[:MAX_SHOWN_LINES]))
            more = ", …" if len(action.lines) > MAX_SHOWN_LINES else ""
            noun = "line" if len(action.lines) == 1 else "lines"
            rows = format_count(len(action.lines), "row")
            return f"Drop {rows} ({noun} {lines}{more}) and train again"
        case "mix":
            return f"Mix {action.value or 0:.0%} general rows into the training data"
        case "epochs":
            return f"Train for {format_count(int(action.value or 1), 'epoch')}"
        case "more_items":
            needed = f"{int(action.value or 0):,}"
            if action.set in ("general", "safety"):
                return f"Evaluate again with {needed} items of each set"
            if action.set == "target":
                return f"Test on at least {needed} rows"
            return f"Put at least {needed} items into “{name_set(action.set)}”"
        case "by_hand":
            return "Compare the answers yourself, without knowing whose they are"
        case "scorer":
            return "Say what in an answer is checked, by a regular expression"
        case "judge":
            return "Let another model judge the answers"
        case "prompt":
            return "Use the base model with your prompt, without fine-tuning"


def describe_choice(candidates: int) -> str:
    """Describe what the scores of the best of several candidates are worth; empty for one."""
    if candidates < 2:
        return ""
    return f"The best of {candidates:,} on the same items: its scores are a little too high."


class ScoreTable(NamedTuple):
    """Scores of sets × arms as text."""

    heading: list[str]
    rows: list[list[str]]
    sets: list[str]
    """The set of each row; empty for a row of losses."""

    def align(self) -> list[str]:
        """Return the lines of the table, the heading first."""
        rows = [self.heading, *self.rows]
        widths = [max(cell_len(row[column]) for row in rows) for column in range(len(self.heading))]
        lines = []
        for row in rows:
            gaps = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
            cells = [f"{gap}{cell}" for gap, cell in zip(gaps[1:], row[1:], strict=True)]
            lines.append("  ".join([row[0] + gaps[0], *cells]))
        return lines


def format_scores(
    sets: Mapping[str, SetResult], *, with_loss: bool = True, with_bounds: bool = True
) -> ScoreTable:
    """Format the scores with their intervals, and the change from base to tuned model.

    Free text has a row for its loss, in nats per token, too. ``with_bounds``: whether the scores have
    their intervals; the change always has its own.
    """
    arms = list(dict.fromkeys(arm for result in sets.values() for arm in result.arms))
    heading = ["", *(make_visible(arm, MAX_NAME_WIDTH) for arm in arms), "change"]
    rows, names = [], []
    for name, result in sets.items():
        cells = [format_arm(result.arms.get(arm), with_bounds=with_bounds) for arm in arms]
        shown = make_visible(name, TABLE_NAME_WIDTH)
        rows.append([shown, *cells, format_difference(result.difference)])
        names.append(name)
        losses = [score.loss if (score := result.arms.get(arm)) else None for arm in arms]
        if with_loss and result.loss_difference and any(loss is not None for loss in losses):
            texts = ["–" if loss is None else f"{loss:.3f}" for loss in losses]
            change = result.loss_difference
            bounds = f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
            rows.append([f"{shown}, loss", *texts, bounds.replace("-", "−")])
            names.append("")
    return ScoreTable(heading, rows, names)


def fit_scores(
    sets: Mapping[str, SetResult], width: int = TABLE_WIDTH, *, with_loss: bool = True
) -> ScoreTable:
    """Format the scores for ``width`` cells: where these do not hold them, only the changes have their intervals."""
    table = format_scores(sets, with_loss=with_loss)
    if max(map(cell_len, table.align())) <= width:
        return table
    return format_scores(sets, with_loss=with_loss, with_bounds=False)


def mark_set(evaluation: Evaluation, name: str) -> str:
    """Return the mark of a set: whether the gate lets it pass; ``?`` if that cannot be told."""
    change, gate = evaluation.sets[name].difference, evaluation.gate
    open_sets = {
        set_name
        for reason in evaluation.reasons
        if reason.name
        in ("gain_unproven", "small_gain_unproven", "few_rows", "few_items", "unscored")
        for set_name in reason.sets
    }
    if change is None or gate is None or name in open_sets:
        return _MARKS[None]
    if name != "target":
        lost = judge_set(name, evaluation.sets, evaluation.failures, gate)
        return _MARKS[None if lost is None else not lost]
    if evaluation.target and evaluation.target.is_style:
        return _MARKS[None]
    reasons = {reason.name for reason in evaluation.reasons}
    if "contaminated" in reasons:
        return _MARKS[None]
    is_better = evaluation.target is not None and evaluation.target.outcome == "helped"
    is_worse = evaluation.over_parent is not None and evaluation.over_parent.outcome == "worse"
    return _MARKS[is_better and not is_worse and not reasons & {"small_gain", "prompt_suffices"}]


_MARKS = {True: "✓", False: "✗", None: "?"}


def format_arm(score: ArmScore | None, *, with_bounds: bool = True) -> str:
    """Format a score, with its interval: ``88% (76–94)``."""
    if score is None or not score.n:
        return "–"
    bounds = f" ({score.low * 100:.0f}–{score.high * 100:.0f})" if with_bounds else ""
    return f"{score.score:.0%}{bounds}"


def format_difference(change: PairedDifference | None) -> str:
    """Format a change in points with its interval: ``+64 (50 to 74)``."""
    if change is None:
        return "–"
    low, high = change.low * 100, change.high * 100
    return f"{sign_points(change.value * 100)} ({sign_points(low)} to {sign_points(high)})"


def name_set(name: str) -> str:
    return make_visible(name, MAX_NAME_WIDTH)


def name_metric(metric: str) -> str:
    return _METRICS.get(metric, make_visible(metric, MAX_NAME_WIDTH))


def format_points(change: float, *, up: bool = False) -> str:
    """Format a change of a share in points: ``5 points``. ``up``: rounded up to whole points."""
    return count_points(to_points(change, up=up))


def count_points(points: float) -> str:
    return f"{points:g} point" if points == 1 else f"{points:g} points"


def to_points(change: float, *, up: bool = False) -> float:
    """Convert a change of a share to points; below 1, to a tenth. ``up``: rounded up to whole ones."""
    points = change * 100
    if up:
        return math.ceil(points - 1e-9)
    return round(points) if abs(points) >= 1 else round(points, 1)


def sign_points(points: float) -> str:
    rounded = round(points)
    return "0" if not rounded else f"{'+' if rounded > 0 else '−'}{abs(rounded)}"


def _format_right(score: ArmScore) -> str:
    if score.metric == "preferred":
        right = round(score.score * score.n)
        return f"prefers the chosen answer in {right:,} of {format_count(score.n, 'pair')}"
    if score.metric == "accuracy":
        return f"{round(score.score * score.n):,} of {score.n:,} right"
    return f"{name_metric(score.metric)} {score.score:.0%}"


def _join(parts: Iterable[str]) -> str:
    """Join parts as prose does: ``a``, ``a and b``, ``a, b and c``."""
    *first, last = [*parts] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def to_document(evaluation: Evaluation) -> dict[str, Any]:
    """Return the document of ``ftwizard eval --json``: the evaluation, with its reasons in words."""
    document: dict[str, Any] = msgspec.to_builtins(evaluation)
    document["why"] = describe_reasons(evaluation)
    for name, result in evaluation.sets.items():
        fields = document["sets"][name]
        flips: Sequence[str] = ("fixed", "broken")
        fields["flips"] = {kind: fields.pop(kind, []) for kind in flips}
        fields.setdefault("difference", msgspec.to_builtins(result.difference))
    for fields, failure in zip(document.get("failures", []), evaluation.failures, strict=True):
        fields["found"] = failure.found
        fields.setdefault("evidence", {})
    for name in ("sets", "failures", "actions", "reasons"):
        document.setdefault(name, {} if name == "sets" else [])
    document.setdefault("gate", None)
    return document


def _summarize_failure(failure: Failure) -> str:
    mark, state = {
        True: ("✗", "found"), False: ("✓", "not found"), None: ("?", "not judged"),
    }[failure.found]  # fmt: skip
    if failure.needs == "items":
        state = "too few items to tell"
    return f"{mark} {FAILURE_TITLES[failure.name]}: {state}"


def list_lines(evaluation: Evaluation, run_id: str = "", again: Sequence[str] = ()) -> list[str]:
    """Describe an evaluation as lines of text: verdict, reasons, scores, failures, what to change.

    ``run_id`` and ``again``: as for ``list_details``.
    """
    reasons = [f"  {reason}" for reason in describe_reasons(evaluation)]
    return [describe_verdict(evaluation), *reasons, *list_details(evaluation, run_id, again)]


def find_arguments(action: Action) -> tuple[str, ...]:
    """Return the command that does an action for a run, and its options; empty if none does."""
    if action.by_hand:
        return ()
    match action.kind:
        case "scale":
            return "eval", "--sweep"
        case "by_hand":
            return "eval", "--by-hand"
        case "scorer":
            return "eval", "--answer-pattern", PLACEHOLDERS["scorer"]
        case "judge":
            return "eval", "--judge", PLACEHOLDERS["judge"]
        case "checkpoint":
            command = "deploy" if action.needs_deployment else "eval"
            return command, "--checkpoint", str(action.step)
        case "drop_rows":
            return "branch", "--drop", ",".join(map(str, action.lines)), "--from", "start"
        case "mix":
            return "branch", "--set", f"data.mix.share={action.value:g}", "--from", "start"
        case "epochs":
            return "branch", "--set", f"recipe.epochs={action.value:g}", "--from", "start"
        case "more_items" if action.set in ("general", "safety"):
            return "eval", "--max-items", f"{action.value or 0:.0f}"
    return ()


def find_command(action: Action, run_id: str, again: Sequence[str] = ()) -> str:
    """Return the command that does an action as a line; empty if none does.

    ``run_id`` and ``again``: as for ``list_details``.
    """
    command, *options = find_arguments(action) or ("",)
    if command and again and action.kind == "more_items":
        return shlex.join([*again, *options])
    if not run_id:
        return ""
    return " ".join(["ftwizard", command, run_id, *options]) if command else ""


def list_details(evaluation: Evaluation, run_id: str = "", again: Sequence[str] = ()) -> list[str]:
    """Describe scores, failures and what to change as lines of text.

    ``run_id``: the run whose commands are named; empty for a model of no run. ``again``: the command
    that evaluates the same weights with the same sets, for another number of items; empty if that is
    the one of the run's result.
    """
    lines = []
    if evaluation.sets:
        table = fit_scores(evaluation.sets, with_loss=False)
        lines += ["", *(line.rstrip() for line in table.align())]
        for name, result in evaluation.sets.items():
            if unscored := max((arm.unscored for arm in result.arms.values()), default=0):
                items = format_count(result.n, "answer")
                lines.append(f"! {name_set(name)}: {unscored:,} of {items} could not be scored")
    if evaluation.failures:
        lines.append("")
        lines += [_summarize_failure(failure) for failure in evaluation.failures]
    if evaluation.actions:
        lines.append("")
        for action in evaluation.actions:
            command = find_command(action, run_id, again)
            lines.append(f"→ {describe_action(action)}{': ' if command else ''}{command}")
    return lines
