"""What was seen, in words: each sign's numbers in a sentence or two."""

from __future__ import annotations

from ftwizard.diagnosis.sign import Value
from ftwizard.diagnosis.verdict import Verdict


def best_in_words(verdict: Verdict) -> str:
    """Return where the best weights are: measured, and on disk; empty without an evaluation."""
    if verdict.best_step is None:
        return ""
    said = f"Best: {loss(verdict.best_loss)} at step {verdict.best_step:,}"
    if verdict.best_on_disk == verdict.best_step:
        return f"{said}, on disk."
    if verdict.best_on_disk is not None:
        return f"{said}; on disk: step {verdict.best_on_disk:,}."
    return f"{said}."


def loss(value: Value) -> str:
    """Return a loss to four digits."""
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _percent(value: Value, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %" if isinstance(value, int | float) else "?"


def plural(count: Value, one: str) -> str:
    """Return a count and what is counted."""
    return f"{count} {one}{'' if count == 1 else 's'}"


_MEANWHILE: dict[Value, str] = {
    "falls": ", while the training loss goes on to fall",
    "is flat": ", while the training loss is flat",
    "rises": ", and the training loss with it a little: the rate may be too high",
    None: "",
}


def scaled(seen: dict[str, Value]) -> str:
    """Return that the training loss is no mean, and how it was read; empty where it is one."""
    if "logged_times" not in seen:
        return ""
    return f" The training loss is logged {seen['logged_times']} × its mean (accumulation)."


def overfit(seen: dict[str, Value], verdict: Verdict) -> str:
    above = "" if seen["severity_share"] is None else f"{_percent(seen['severity_share'])} "
    words = (
        f"The validation loss rises: {loss(seen['now'])}, {above}above "
        f"its best {plural(seen['evaluations_since'], 'evaluation')} ago"
        f"{_MEANWHILE[seen.get('training')]}. {best_in_words(verdict)}"
    )
    name = seen.get("score")
    if not name:
        return words
    score = "token accuracy" if "token_accuracy" in str(name) else f"{name}"
    return f"{words} Its {score} still improves: judge by that."


def nan(seen: dict[str, Value], verdict: Verdict) -> str:
    if "eval_loss" in seen:
        said = (
            f"The training loss is exactly 0, and the validation loss no number any more "
            f"({seen['eval_loss']}): most likely it overflowed, and is logged as 0"
        )
    else:
        what = "gradient norm" if "grad_norm" in seen else "training loss"
        said = f"The {what} is no number any more ({seen.get('grad_norm', seen.get('loss'))})"
    return f"{said}. {best_in_words(verdict)}".rstrip()


def insufficient(seen: dict[str, Value], verdict: Verdict) -> str:
    said = f"{plural(seen['evaluations'], 'evaluation')} so far: too few to tell"
    if not rises(seen):
        return f"{said}."
    above = (
        "" if seen["severity_share"] is None else f" ({_percent(seen['severity_share'])} higher)"
    )
    return (
        f"{said}, but the validation loss rises from the first on: from {loss(seen['first'])} to "
        f"{loss(seen['now'])}{above}{_MEANWHILE[seen['training']]}. {best_in_words(verdict)}"
    )


def rises(seen: dict[str, Value]) -> bool:
    """Say whether each of the few evaluations is above the first."""
    return "first" in seen


def memorising(seen: dict[str, Value], verdict: Verdict) -> str:
    said = (
        f"The training loss falls in steps ({plural(seen['steps_down'], 'step')}, each by about "
        f"{_percent(seen['drop_share'], 0)}), "
        f"{'where' if seen['epochs_known'] else 'evenly spaced, as where'} rows are seen again"
    )
    if verdict.best_step is None:
        return (
            f"{said}, and no validation loss says whether it learns more than these rows by heart."
        )
    return f"{said}; the validation loss does not follow. {best_in_words(verdict)}"


def no_learning(seen: dict[str, Value], _: Verdict) -> str:
    if seen.get("learning_rate") == 0:
        return "The learning rate is 0: nothing can be learned."
    said = f"The training loss hardly moves: {loss(seen['start'])}, now {loss(seen['now'])}"
    return f"{said}{_guesses(seen)}."


def _guesses(seen: dict[str, Value]) -> str:
    if "ln_vocabulary" not in seen:
        return ""
    return f"; ln of the vocabulary is {loss(seen['ln_vocabulary'])}, so it only guesses"


def spiky(seen: dict[str, Value], _: Verdict) -> str:
    said = f"The training loss jumps by {_percent(seen['noise_share'], 0)} of itself throughout"
    norm = seen.get("grad_norm")
    if isinstance(norm, float) and norm > 2:
        return f"{said}, with a gradient norm of {norm:.3g}."
    return f"{said}."


def diverged(seen: dict[str, Value], verdict: Verdict) -> str:
    return (
        f"The training loss ran away: from {loss(seen['before'])} to {loss(seen['now'])}"
        f"{_guesses(seen)}. {best_in_words(verdict)}"
    ).rstrip()


def healthy(seen: dict[str, Value], verdict: Verdict) -> str:
    falls = "Both losses fall" if seen["both_fall"] else "Nothing wrong shows"
    train = "" if seen["train_now"] is None else f", training now {loss(seen['train_now'])}"
    return (
        f"{falls}: validation from {loss(seen['start'])} to {loss(seen['now'])}{train}. "
        f"{best_in_words(verdict)}"
    )


DECAYED = 0.25
"""A share of its height at which the learning rate itself may be why nothing moves."""


def has_decayed(seen: dict[str, Value]) -> bool:
    """Say whether the learning rate is low enough to be why nothing moves."""
    share = seen["rate_share"]
    return isinstance(share, float) and share < DECAYED


def plateau(seen: dict[str, Value], verdict: Verdict) -> str:
    rate = f", at {_percent(seen['rate_share'], 0)} of the learning rate's height"
    when = rate if has_decayed(seen) else ""
    if verdict.best_step is None:
        return f"The training loss is flat since step {seen['since']:,}{when}."
    return (
        f"The validation loss is flat for {plural(seen['evaluations'], 'evaluation')}{when}. "
        f"{best_in_words(verdict)}"
    )


def spike(seen: dict[str, Value], _: Verdict) -> str:
    times = "once" if seen["spikes"] == 1 else f"{seen['spikes']} times, this the highest,"
    return (
        f"The training loss jumped by {loss(seen['height'])} {times} and came back by step "
        f"{seen['back_at_step']:,}."
    )


def eval_nan(seen: dict[str, Value], _: Verdict) -> str:
    also = ", though the training's is one" if seen["training_is_one"] else ""
    return (
        f"The validation loss is no number ({seen['eval_loss']}) at {seen['bad']} of "
        f"{plural(seen['evaluations'], 'evaluation')}{also}."
    )
