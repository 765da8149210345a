"""Findings of preference tuning and reinforcement as text, and the actions to take."""

from __future__ import annotations

from ftwizard.diagnosis.curve import Pattern
from ftwizard.diagnosis.meaning import (
    Evidence,
    Meaning,
    format_change,
    format_level,
    format_loss,
    format_percent,
)

SOLVED, FAILED = 0.6, 0.4
"""Position of the mean reward between the lowest and the highest step of the run, from which its
groups without signal all succeed, and up to which they all fail."""


def describe_figures(evidence: Evidence) -> str:
    """Describe how the figures of an objective changed; empty in SFT, or with too few of them."""
    names = {"accuracy": "accuracy", "margin": "margins", "reward": "reward"}
    parts = [
        f"{name} {format_change(evidence, key)}"
        for key, name in names.items()
        if f"{key}_start" in evidence
    ]
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def describe_no_learning(evidence: Evidence) -> str:
    """Describe pairs or rewards that are not learned from; empty in SFT."""
    if "reward_start" in evidence:
        return (
            f"The reward barely moves ({format_change(evidence, 'reward')}), while it differs by "
            f"{format_loss(evidence['reward_std'])} between completions."
        )
    margin = evidence.get("margin")
    margins = f", margins {margin:.2g}" if isinstance(margin, float) else ""
    if "accuracy" in evidence:
        accuracy = format_percent(evidence["accuracy"], 0)
        return f"Pairs are told apart no better than by chance (accuracy {accuracy}{margins})."
    if margins:
        return f"Chosen and rejected answers do not move apart (margin {margin:.2g})."
    return ""


def advise_no_learning(evidence: Evidence) -> str:
    """Advise on pairs or rewards that are not learned from; empty in SFT."""
    if "reward_start" in evidence:
        return (
            "Raise the learning rate 2 to 5 times, or use more completions per prompt. Check that "
            "the reward tells good completions from bad ones."
        )
    if "accuracy" in evidence or "margin" in evidence:
        return (
            "Read ten pairs: is the chosen answer better? If it is, raise the learning rate 5 "
            "times (with LoRA, DPO and KTO need more than the 1e-6 of full training)."
        )
    return ""


def describe_overfit(evidence: Evidence, best: str) -> str:
    """Describe validation pairs or prompts that get worse; empty where the loss shows it."""
    if "best_accuracy" in evidence:
        accuracies = " → ".join(
            format_percent(evidence[name], 0) for name in ("best_accuracy", "accuracy")
        )
        return f"Validation accuracy has fallen ({accuracies}), while training margins grow. {best}"
    if "train_accuracy" in evidence:
        return (
            f"Training pairs are told apart ({format_percent(evidence['train_accuracy'], 0)}), "
            f"validation pairs are not ({format_percent(evidence['accuracy'], 0)}). {best}"
        )
    if "best_reward" in evidence:
        rewards = f"{format_loss(evidence['best_reward'])} → {format_loss(evidence['now_reward'])}"
        return f"The reward on validation prompts has fallen ({rewards}). {best}"
    return ""


def _describe_displacement(evidence: Evidence, best: str) -> str:
    unit, name = "reward", ""
    if "logps_chosen_now" in evidence:
        unit, name = "log-probability", "logps_"
    chosen, rejected = (format_change(evidence, f"{name}{kind}") for kind in ("chosen", "rejected"))
    return (
        f"Chosen answers become less likely ({unit} {chosen}), though accuracy is "
        f"{format_percent(evidence['accuracy'], 0)}: rejected ones only fall further ({rejected}). "
        f"{best}"
    )


def _describe_margins(evidence: Evidence, best: str) -> str:
    margin = evidence["margin"]
    assert isinstance(margin, float)
    return (
        f"Margins have grown to {margin:.3g}: the pairs are learned, and every further step only "
        f"moves the model away from its reference. {best}"
    )


def _describe_kl(evidence: Evidence, best: str) -> str:
    return (
        f"KL to the reference model has grown ({format_change(evidence, 'kl')} nats per "
        f"{evidence['unit']}): the model has left what it was. {best}"
    )


def _describe_no_signal(evidence: Evidence, _: str) -> str:
    share = format_percent(evidence["share"], 0)
    reward = evidence.get("reward")
    level = f" The mean reward is {reward:.3g}." if isinstance(reward, float) else ""
    return f"All rewards are equal in {share} of groups: nothing is learned from them.{level}"


def _advise_no_signal(evidence: Evidence) -> str:
    position = evidence.get("reward_position")
    if isinstance(position, float) and position >= SOLVED:
        return "These prompts are solved: stop, or use harder ones."
    easier = (
        "Use easier prompts, more completions per prompt, a higher temperature, or a reward with "
        "partial credit."
    )
    if evidence.get("reward") == 0 or (isinstance(position, float) and position <= FAILED):
        return easier
    return f"Look at the completions. If all fail: {easier[:1].lower()}{easier[1:]}"


def _describe_clipped(evidence: Evidence, _: str) -> str:
    length = evidence.get("length")
    mean = f", at a mean length of {length:,.0f} tokens" if isinstance(length, float) else ""
    return f"{format_percent(evidence['share'], 0)} of completions are cut off at the limit{mean}."


def _describe_length(evidence: Evidence, _: str) -> str:
    lengths, rewards = (format_change(evidence, name) for name in ("length", "reward"))
    stalled = "no longer rises" if evidence["is_stalled"] else "rises with it"
    return f"Completions keep growing ({lengths} tokens); the reward {stalled} ({rewards})."


def _describe_hacking(evidence: Evidence, best: str) -> str:
    if "text_now" in evidence:
        gain = "margin" if "margin_now" in evidence else "reward"
        return (
            f"The {gain} rises ({format_change(evidence, gain)}), while general text becomes less "
            f"likely (log-probability {format_change(evidence, 'text')} per token): the model may "
            f"lose what it could do before. {best}"
        )
    score, name = format_change(evidence, "score"), str(evidence["score"]).replace("_", " ")
    return (
        f"The reward rises ({format_change(evidence, 'reward')}), while {name} falls ({score}). "
        f"{best}"
    )


def _advise_hacking(evidence: Evidence) -> str:
    if "text_now" in evidence:
        return (
            "Read the sample answers. Stop and keep an earlier checkpoint. Next time, use half the "
            "learning rate or a higher beta, which holds the model near its reference."
        )
    return (
        "Read the sample answers. Stop and keep an earlier checkpoint, and give the falling score "
        "more weight in the reward."
    )


def _describe_collapse(evidence: Evidence, best: str) -> str:
    change = format_change(evidence, "reward")
    if evidence["reward_best"] == evidence["reward_start"]:
        return f"The reward has fallen ({change}). {best}"
    names = ("reward_start", "reward_best", "reward_now")
    rewards = " → ".join(format_level(evidence[name]) for name in names)
    return f"The reward rose and fell again ({rewards}). {best}"


def _describe_entropy(evidence: Evidence, _: str) -> str:
    return (
        f"Entropy has collapsed ({format_change(evidence, 'entropy')} nats per token): completions "
        "are nearly all the same."
    )


OBJECTIVE_MEANINGS: dict[Pattern, Meaning] = {
    "likelihood_displacement": Meaning(
        "chosen answers less likely", "warning", _describe_displacement,
        "Read the sample answers. Use an earlier checkpoint, or start again with half the learning "
        "rate, a higher beta, or the sft loss next to the preference loss.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "margin_explosion": Meaning(
        "margins too large", "warning", _describe_margins,
        "Stop and keep the best. Next time, train fewer steps, with half the learning rate or a "
        "higher beta.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "kl_zero": Meaning(
        "KL estimate is 0", "info",
        "The KL estimate has been exactly 0 in every step, although the model has moved.",
        "Use larger batches: the estimate comes from the other rows of a batch.",
        ("go_on",),
    ),
    "kl_explosion": Meaning(
        "KL too large", "warning", _describe_kl,
        "Start again from an earlier checkpoint with half the learning rate or a higher beta.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "no_reward_signal": Meaning(
        "no signal in rewards", "warning", _describe_no_signal, _advise_no_signal,
        ("stop_keep_best", "check_data"),
    ),
    "completions_clipped": Meaning(
        "completions cut off", "warning", _describe_clipped,
        "Raise the limit on the completion's length, or ask for shorter answers in the prompts.",
        ("check_data",),
    ),
    "length_hacking": Meaning(
        "completions run away",
        lambda evidence: "warning" if evidence["is_stalled"] else "info", _describe_length,
        "Read the sample answers: is the added text useful? If not, penalize length in the reward.",
        lambda evidence: ("stop_keep_best",) if evidence["is_stalled"] else ("go_on",),
    ),
    "reward_hacking": Meaning(
        "reward hacking", "warning", _describe_hacking, _advise_hacking,
        lambda evidence: ("stop_keep_best", *(("again_half_rate",) if "text_now" in evidence else ())),
    ),
    "reward_collapse": Meaning(
        "reward fell", "error", _describe_collapse,
        "Stop, and start again from the best checkpoint with half the learning rate.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "entropy_collapse": Meaning(
        "entropy collapsed", "warning", _describe_entropy,
        "Stop unless the reward is high enough. Next time, use a higher temperature, a beta above "
        "0 or half the learning rate.",
        ("stop_keep_best", "again_half_rate"),
    ),
}  # fmt: skip
"""Patterns of preference tuning and reinforcement."""
