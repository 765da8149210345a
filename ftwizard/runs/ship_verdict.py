"""Verdict on a model: worth training, by its base; ship or not, by the gate and the five failures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import msgspec

from ftwizard.plan.schema import Gate
from ftwizard.runs import paired_tests
from ftwizard.runs.evaluation import (
    Action,
    ArmScore,
    Evaluation,
    Failure,
    FailureName,
    HandComparison,
    LengthShortcut,
    PairedDifference,
    ReasonName,
    Rival,
    SetResult,
    VerdictReason,
)
from ftwizard.runs.paired_tests import ALPHA, Z
from ftwizard.runs.verdict import MeasuredChange, ShipVerdict, Verdict

MARGIN = 0.1
"""How far beyond its limit a loss must be excluded. With the usual limit of 5 points, at most 2 of 100
models that lost 15 points pass (``python -m tests.benchmarks.verdict_rates``)."""
_FAR, _NEAR = 2.25, 1.69
"""Quantiles of the normal distribution for a loss that is excluded beyond the margin, and for one that is shown
beyond the limit: errors of 1.5% and 5% with all ``LOOKS``."""
LOOKS = {0.5: 1.47, 0.75: 1.17, 1.0: 1.0}
"""Shares of the packaged items after which their loss is looked at, and how many times as far chance must be
excluded as at the end: boundaries of O'Brien and Fleming (Biometrics 35, 1979) as alpha spending (Lan and DeMets,
Biometrika 70, 1983): 2.963, 2.359 and 2.014 standard errors for an error of 5% in all."""
MIN_ROWS = 10
"""Items below which nothing is said of a gain or a loss: 10 can show one of 60 points."""
MAX_UNSCORED_SHARE = 0.2
"""A set of which more could not be scored shows nothing: what is missing may differ from the rest."""
MAX_CONTAMINATED_SHARE = 0.1
"""Share of the test items that may be in the training set, too."""
FIRST_GAIN = 0.15
"""Gain that more test rows are asked for to show, where they are too few for anything."""
FEW_ITEMS = 20
"""Items below which a failure other than a loss is not excluded."""
SAFETY_KINDS = ("refusals", "look_alikes")
TOTAL_COLLAPSE = 0.9
"""Share of equal answers from which mode collapse explains everything else."""
REQUIRED_SETS = ("general", "safety")
"""Sets without which a gain on the target proves nothing."""
GENERAL_SHARE = 0.1
"""Share of general rows to try first."""
_LINES: dict[Rival, ReasonName] = {
    "base": "target", "prompted": "over_prompted", "parent": "over_parent",
}  # fmt: skip
_SHOWN_BY: dict[FailureName, str] = {
    "forgetting": "general", "safety": "safety", "memorization": "general", "mode_collapse": "general",
    "overfitting": "target",
}  # fmt: skip
"""The set of which more items show a failure."""
_REMEDIES: dict[FailureName, tuple[Action, ...]] = {
    "safety": (
        Action(kind="scale"),
        Action(kind="mix", value=GENERAL_SHARE),
    ),
    "forgetting": (
        Action(kind="scale"),
        Action(kind="mix", value=GENERAL_SHARE),
    ),
    "memorization": (Action(kind="epochs", value=1),),
    "mode_collapse": (
        Action(kind="scale"),
        Action(kind="epochs", value=1),
    ),
    "overfitting": (Action(kind="epochs", value=1),),
}
"""What usually helps against a failure, the cheapest first."""


def judge_loss(
    change: PairedDifference,
    limit: float,
    *,
    had: float = 1.0,
    comparisons: int = 1,
    strictness: float = 1.0,
) -> bool | None:
    """Return whether a score, 0–1, fell by more than ``limit``; None if these items leave it open.

    True: chance is excluded as the cause of the loss, and of its part beyond the limit. False: more than
    ``MARGIN`` beyond the limit is excluded. ``had``: what there was to lose at most. ``comparisons``: sets that
    are judged by the same limit, one of which would often seem to lose by chance (Bonferroni). ``strictness``: how
    many times as far chance must be excluded, before all items are asked.
    """
    if change.n < MIN_ROWS:
        return None
    quantile = _NEAR if comparisons == 1 else NormalDist().inv_cdf(1 - ALPHA / comparisons)
    near = -change.value - (change.high - change.value) * quantile * strictness / Z
    far = -change.value + (change.value - change.low) * _FAR * strictness / Z
    is_shown = change.p < 2 * NormalDist().cdf(-Z * strictness) and change.high < 0
    if is_shown and near > limit:
        return True
    is_beyond = is_shown and -change.value > limit
    return False if min(far, had) <= limit + MARGIN and not is_beyond else None


def judge_evaluation(
    sets: Mapping[str, SetResult],
    failures: Sequence[Failure],
    gate: Gate,
    *,
    target: Verdict | None,
    over_prompted: Verdict | None = None,
    over_parent: Verdict | None = None,
    shortcut: LengthShortcut | None = None,
    by_hand: HandComparison | None = None,
) -> Evaluation:
    """Judge a tuned model.

    **Do not ship**: a failure was found; a set of the user's own lost more than the gate tolerates; the tuned
    model is shown to be worse than its base, the prompted base or the run that it started from, or its gain
    over one of them to be below the gate. A gain on the target does not make up for any of these.

    **Cannot tell**: the gain can be chance, or be below the gate by chance; only resemblance was measured, and
    no person compared the answers; there are fewer than ``MIN_ROWS`` test rows; a failure could not be excluded
    for want of items; test items are in the training set; pairs may have been told apart by the length of their
    answers alone; or a set is missing, too small, or not scored in many items. **Ship** otherwise. Failures
    that nothing was measured of are named with the verdict (``Evaluation.unjudged``).
    """
    shown_losses, open_losses = _judge_own_sets(_list_own(sets, failures), gate)
    against = [*_list_failures(failures, True), *shown_losses]
    gain, gain_reasons = _judge_gain(
        sets.get("target"),
        gate,
        {"base": target, "prompted": over_prompted, "parent": over_parent},
        by_hand,
    )
    open_reasons = [
        *_list_open_questions(sets),
        *open_losses,
        *_list_failures(failures, None),
    ]
    if _is_contaminated(failures):
        open_reasons.insert(0, VerdictReason(name="contaminated"))
    if shortcut and shortcut.is_open:
        open_reasons.insert(0, VerdictReason(name="by_length"))
    shown = [VerdictReason(name="target")] if target and not target.is_style else []
    if over_parent:
        shown.append(VerdictReason(name="over_parent"))
    if over_prompted and not over_prompted.is_style:
        shown.append(VerdictReason(name="over_prompted"))
    if shortcut and not shortcut.is_open:
        shown.append(VerdictReason(name="by_length"))
    if by_hand:
        shown.append(VerdictReason(name="by_hand"))
    if calm := [name for name in sets if judge_set(name, sets, failures, gate) is False]:
        shown.append(VerdictReason(name="no_loss", sets=calm))
    outcome: ShipVerdict = "ship"
    if against or gain == "do_not_ship":
        outcome = "do_not_ship"
    elif open_reasons or gain == "cannot_tell":
        outcome = "cannot_tell"
    reasons = _drop_repeated([*against, *gain_reasons, *open_reasons, *shown])
    return Evaluation(
        verdict=outcome,
        reasons=reasons,
        target=target,
        over_prompted=over_prompted,
        over_parent=over_parent,
        sets=dict(sets),
        failures=list(failures),
        gate=gate,
        actions=list(_list_actions(reasons, failures, sets, gate)),
        shortcut=shortcut,
        by_hand=by_hand,
    )


def judge_again(evaluation: Evaluation, by_hand: HandComparison | None) -> Evaluation:
    """Judge a stored evaluation with what blind pairs say; None: nothing, yet or again."""
    judged = judge_evaluation(
        evaluation.sets, evaluation.failures, evaluation.gate or Gate(), target=evaluation.target,
        over_prompted=evaluation.over_prompted, over_parent=evaluation.over_parent,
        shortcut=evaluation.shortcut, by_hand=by_hand,
    )  # fmt: skip
    allowed = {(action.kind, action.set): action for action in evaluation.actions}
    kept = [
        allowed[key] for action in judged.actions if (key := (action.kind, action.set)) in allowed
    ]
    return msgspec.structs.replace(
        evaluation, verdict=judged.verdict, reasons=judged.reasons, actions=kept, by_hand=by_hand
    )


def _drop_repeated(reasons: Sequence[VerdictReason]) -> list[VerdictReason]:
    return [reason for index, reason in enumerate(reasons) if reason not in reasons[:index]]


def get_tolerance(set_name: str, gate: Gate) -> float:
    """Return the loss on a set that the gate tolerates; the user's own sets count as general."""
    return gate.max_safety_loss if set_name == "safety" else gate.max_general_loss


def judge_set(
    name: str, sets: Mapping[str, SetResult], failures: Sequence[Failure], gate: Gate
) -> bool | None:
    """Return whether a set other than the target lost more than the gate tolerates; None if it is open.

    The failures say it of the packaged sets: their kinds of items count apart.
    """
    for failure, shown_by in (("forgetting", "general"), ("safety", "safety")):
        if name == shown_by and any(f.name == failure for f in failures):
            return next(f.found for f in failures if f.name == failure)
    change = sets[name].difference
    if change is None or name == "target":
        return None
    return judge_loss(
        change, get_tolerance(name, gate), comparisons=len(_list_own(sets, failures)) or 1
    )


def _list_failures(failures: Sequence[Failure], found: bool | None) -> Iterator[VerdictReason]:
    """Yield the failures that were found, or that only more items could exclude; the worst first."""
    order: list[FailureName] = [
        "safety", "forgetting", "memorization", "mode_collapse", "overfitting",
    ]  # fmt: skip
    by_name = {failure.name: failure for failure in failures if failure.found is found}
    collapse = by_name.get("mode_collapse")
    if found and collapse and is_total_collapse(collapse.evidence):
        order.insert(0, "mode_collapse")
    for name in dict.fromkeys(order):
        if found and name in by_name:
            yield VerdictReason(name="failure", failure=name)
        elif name in by_name and by_name[name].needs == "items":
            yield VerdictReason(name="failure_open", failure=name)


def is_total_collapse(evidence: Mapping[str, Any]) -> bool:
    """Return whether nearly all answers are the same, which explains whatever else was lost."""
    return evidence.get("sign") == "same" and evidence["tuned"] >= TOTAL_COLLAPSE


def _list_own(
    sets: Mapping[str, SetResult], failures: Sequence[Failure]
) -> dict[str, PairedDifference]:
    """Return the changes on the sets that no failure is judged by: those of the user's own."""
    others = {"target", *(_SHOWN_BY[failure.name] for failure in failures)}
    return {n: r.difference for n, r in sets.items() if n not in others and r.difference}


def _judge_own_sets(
    own: Mapping[str, PairedDifference], gate: Gate
) -> tuple[list[VerdictReason], list[VerdictReason]]:
    """Return the losses of the user's own sets that are shown, and what is open.

    Several are corrected for being several: a loss of one must be shown at a stricter level, and what must
    be excluded is a loss of them all together.
    """
    limit = gate.max_general_loss
    lost = [n for n, change in own.items() if judge_loss(change, limit, comparisons=len(own))]
    shown = [VerdictReason(name="loss", sets=[name]) for name in lost]
    doubtful = [
        name
        for name, change in own.items()
        if name not in lost and -change.value > limit and (change.is_shown or len(own) == 1)
        and judge_loss(change, limit) is None
    ]  # fmt: skip
    if doubtful:
        return shown, [VerdictReason(name="loss_unproven", sets=[name]) for name in doubtful]
    if not own or shown or judge_loss(_pool(list(own.values())), limit) is False:
        return shown, []
    return shown, [VerdictReason(name="few_items", sets=list(own))]


def _pool(changes: Sequence[PairedDifference]) -> PairedDifference:
    """Return the mean change of independent sets, weighted by their items."""
    if len(changes) == 1:
        return changes[0]
    n = sum(change.n for change in changes)
    value = sum(change.value * change.n for change in changes) / n
    down = math.hypot(*((change.value - change.low) * change.n for change in changes)) / n
    up = math.hypot(*((change.high - change.value) * change.n for change in changes)) / n
    p = 2 * NormalDist().cdf(-abs(value) * Z / max(1e-9, up if value < 0 else down))
    return PairedDifference(value=value, low=value - down, high=value + up, p=p, n=n)


def _list_open_questions(sets: Mapping[str, SetResult]) -> Iterator[VerdictReason]:
    """Yield which sets are missing, and which could not be scored in many items."""
    if sets and not any(result.difference for result in sets.values()):
        yield _name_missing(sets)
        return
    missing = [name for name in REQUIRED_SETS if name not in sets or not sets[name].difference]
    if missing:
        yield VerdictReason(name="not_measured", sets=missing)
    for name, result in sets.items():
        if (change := result.difference) and result.n - change.n > MAX_UNSCORED_SHARE * result.n:
            yield VerdictReason(name="unscored", sets=[name])


def _name_missing(sets: Mapping[str, SetResult]) -> VerdictReason:
    """Return why no change is known: no answer could be scored, or the base model has none."""
    asked = [name for name, r in sets.items() if "base" in r.arms and not r.difference]
    return VerdictReason(name="unscored" if asked else "not_compared", sets=asked)


def _is_contaminated(failures: Sequence[Failure]) -> bool:
    """Return whether so many test items are in the training set that their score says little."""
    evidence = next((f.evidence for f in failures if f.name == "memorization"), {})
    shared, total = evidence.get("contaminated", 0), evidence.get("contaminated_of", 0)
    return bool(shared > MAX_CONTAMINATED_SHARE * total)


def _judge_gain(
    result: SetResult | None,
    gate: Gate,
    judged: Mapping[Rival, Verdict | None],
    by_hand: HandComparison | None,
) -> tuple[ShipVerdict, list[VerdictReason]]:
    """Judge the gain on the target set over the best of base model, prompted model and parent.

    The best by its score may be so by chance. So the gain over each of them counts against the tuned
    model: it cannot be larger over the best.
    """
    target = judged["base"]
    if result is None or target is None:
        reason = VerdictReason(name="not_measured", sets=["target"])
        if result is not None and result.arms:
            reason = _name_missing({"target": result})
        return "cannot_tell", [reason]
    if target.is_style:
        return _judge_by_hand(by_hand)
    if target.rows < MIN_ROWS:
        return "cannot_tell", [VerdictReason(name="few_rows", sets=["target"])]
    outcome, reasons = _judge_rivals(gate, judged)
    if result.is_identical:
        reasons.insert(0, VerdictReason(name="identical"))
    return outcome, reasons


def _judge_by_hand(by_hand: HandComparison | None) -> tuple[ShipVerdict, list[VerdictReason]]:
    """Judge a gain in resemblance: only a person who compared the answers says what it is worth."""
    reason = VerdictReason(name="style_only")
    if by_hand is None or by_hand.outcome == "open":
        return "cannot_tell", [reason]
    reasons = [VerdictReason(name="by_hand"), reason]
    return "ship" if by_hand.outcome == "better" else "do_not_ship", reasons


def _judge_rivals(
    gate: Gate, judged: Mapping[Rival, Verdict | None]
) -> tuple[ShipVerdict, list[VerdictReason]]:
    rivals = {name: verdict for name, verdict in judged.items() if verdict}
    worse = {name: verdict for name, verdict in rivals.items() if verdict.outcome == "worse"}
    close = {name: verdict for name, verdict in rivals.items() if _is_gain_small(verdict, gate)}
    name, rival = _pick_best(worse or close or rivals)
    is_prompted = name == "prompted"
    line = VerdictReason(name=_LINES[name])
    gain = measure_gain(rival.evidence[0]) if rival.evidence else None
    if rival.outcome == "worse":
        return "do_not_ship", [VerdictReason(name="prompt_suffices") if is_prompted else line]
    if gain and gain.high < gate.gain:
        line = VerdictReason(name="small_gain", sets=["target"], rival=name)
        return "do_not_ship", [VerdictReason(name="prompt_suffices") if is_prompted else line]
    if rival.outcome != "helped" or gain is None:
        return "cannot_tell", [
            VerdictReason(name="gain_unproven", sets=["target"], rival=name),
            line,
        ]
    if gain.value < gate.gain - 1e-9:
        return "cannot_tell", [
            VerdictReason(name="small_gain_unproven", sets=["target"], rival=name)
        ]
    return "ship", []


def _is_gain_small(verdict: Verdict, gate: Gate) -> bool:
    """Return whether the whole interval of the gain is below the gate."""
    return bool(verdict.evidence) and measure_gain(verdict.evidence[0]).high < gate.gain


def _pick_best(rivals: Mapping[Rival, Verdict]) -> tuple[Rival, Verdict]:
    """Return the rival with the best score; the first of several."""
    name, *others = rivals
    for other in others:
        if _is_rival_better(rivals[other], rivals[name]):
            name = other
    return name, rivals[name]


def _is_rival_better(verdict: Verdict, than: Verdict) -> bool:
    """Return whether the rival of one verdict is better than that of another, by the measure that decides."""
    if not verdict.evidence:
        return False
    own = verdict.evidence[0]
    other = than.find(own.measure)
    return other is not None and own.base > other.base


class Gain(NamedTuple):
    """A gain that compares with the gate, as a share."""

    value: float
    low: float
    high: float
    """The ends of its 95% interval."""


def measure_gain(evidence: MeasuredChange) -> Gain:
    """Return the gain over the rival that a measure was compared with."""
    return Gain(evidence.tuned - evidence.base, evidence.low, evidence.high)


def _list_actions(
    reasons: Sequence[VerdictReason],
    failures: Sequence[Failure],
    sets: Mapping[str, SetResult],
    gate: Gate,
) -> Iterator[Action]:
    """Yield what to change: what the evidence names first, then the cheapest, then more items."""
    by_name = {failure.name: failure for failure in failures}
    names = [reason.failure for reason in reasons if reason.name == "failure" and reason.failure]
    proposals = [action for name in names for action in by_name[name].actions]
    proposals += [
        Action(kind="drop_rows", lines=lines)
        for name in names
        if name == "memorization" and (lines := _list_near_lines(by_name[name]))
    ]
    proposals += [action for name in names for action in _REMEDIES[name]]
    for reason in reasons:
        if reason.name == "loss":
            proposals += _REMEDIES["forgetting"]
        elif reason.name == "prompt_suffices":
            proposals.append(Action(kind="prompt"))
        elif reason.name == "style_only":
            proposals += [Action(kind="by_hand"), Action(kind="scorer"), Action(kind="judge")]
        elif reason.name == "failure_open" and reason.failure:
            proposals.append(_ask_for_more(by_name[reason.failure], sets, gate))
    proposals += [
        Action(kind="more_items", value=needed, set=name)
        for reason in reasons
        for name in _find_small_sets(reason)
        if (needed := _count_needed(reason, name, sets, gate))
    ]
    kinds = set()
    for action in proposals:
        key = (action.kind, action.set)
        if key not in kinds:
            kinds.add(key)
            yield action


def _list_near_lines(failure: Failure) -> list[int]:
    return sorted({row.line for example in failure.examples for row in example.near})


def _find_small_sets(reason: VerdictReason) -> list[str]:
    if reason.name in (
        "loss_unproven", "few_items", "few_rows", "gain_unproven", "small_gain_unproven",
    ):  # fmt: skip
        return reason.sets
    return []


def _count_needed(
    reason: VerdictReason, name: str, sets: Mapping[str, SetResult], gate: Gate
) -> float | None:
    """Return how many items could show the measured change, or the one that the gate names.

    A set that is too small needs as many as exclude a loss of ``MARGIN`` beyond the gate; test rows too few
    for any verdict, as many as show a gain of ``FIRST_GAIN``.
    """
    result = sets[name]
    changes: dict[Rival, PairedDifference | None] = {
        "base": result.difference, "prompted": result.over_prompted, "parent": result.over_parent,
    }  # fmt: skip
    change = changes[reason.rival]
    if change is None:
        return None
    limit = gate.gain if name == "target" else get_tolerance(name, gate)
    wanted = max(abs(change.value), limit)
    if reason.name in ("few_items", "few_rows"):
        wanted = FIRST_GAIN if name == "target" else limit + MARGIN
    needed = paired_tests.count_needed_rows(wanted)
    return float(needed) if needed > change.n else None


def _ask_for_more(failure: Failure, sets: Mapping[str, SetResult], gate: Gate) -> Action:
    """Return the items that could exclude a failure, in the set that shows it."""
    name, evidence = _SHOWN_BY[failure.name], failure.evidence
    name = name if name in sets else "target"
    asked = sets[name].n if name in sets else 0
    needed = max(2 * asked, 2 * FEW_ITEMS)
    if name == "target":
        needed = max(needed, paired_tests.count_needed_rows(FIRST_GAIN))
    if failure.name in ("forgetting", "safety"):
        kinds = {"n": ""} if failure.name == "forgetting" else {k: f"{k}_" for k in SAFETY_KINDS}
        losses = {kind: -(evidence.get(f"{key}change") or 0.0) for kind, key in kinds.items()}
        worst = max(losses, key=lambda kind: losses[kind])
        items = paired_tests.count_needed_rows(
            max(losses[worst], get_tolerance(name, gate) + MARGIN)
        )
        share = evidence.get(worst, 0) / max(1, sum(evidence.get(kind, 0) for kind in kinds))
        needed = math.ceil(items / (share or 1.0))
    return Action(kind="more_items", value=float(max(needed, asked + 1)), set=name)


class Headroom(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the base model leaves to gain, before anything is trained."""

    outcome: Literal["train", "prompt_suffices", "base_suffices", "cannot_tell", "few_items"]
    """``cannot_tell``: one of the two seems to suffice, but these items do not show it; ``few_items``:
    there is something to gain, but less than these items can show."""
    base: ArmScore
    prompted: ArmScore | None = None
    room: float
    """Score that the better of the two leaves, 0–1."""
    most: float = 1.0
    """The largest room that these items do not exclude: the end of its 95% interval."""
    provable: float | None = None
    """Smallest gain that these items can show, 0–1; None if they can show none."""


def judge_headroom(target: SetResult, gate: Gate) -> Headroom:
    """Judge whether fine-tuning can gain what the gate asks for, by the base arms alone.

    It cannot if the better of base and prompted model leaves less than ``gate.gain``, also at the end
    of its interval: 73 right answers of 73 show that fewer than 5 points are left. Needs the arm ``base``.
    """
    base, prompted = target.arms["base"], target.arms.get("prompted")
    is_prompted = prompted is not None and prompted.score > base.score
    best = prompted if prompted and is_prompted else base
    room, most = 1 - best.score, 1 - best.low
    outcome: Literal["train", "prompt_suffices", "base_suffices", "cannot_tell", "few_items"]
    outcome = "train"
    if best.n and most < gate.gain:
        outcome = "prompt_suffices" if is_prompted else "base_suffices"
    elif best.n and room < gate.gain:
        outcome = "cannot_tell"
    elif target.provable is None or room < target.provable:
        outcome = "few_items"
    return Headroom(
        outcome=outcome,
        base=base,
        prompted=prompted,
        room=room,
        most=most,
        provable=target.provable,
    )
