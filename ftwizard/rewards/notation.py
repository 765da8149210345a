"""Reward functions as a person types them: ``numeric_answer, 0.2*length_limit={max: 50}``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from ftwizard import user_paths
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.rewards.packaged import PACKAGED, check_options
from ftwizard.rewards.reward import MAX_REWARDS, Reward
from ftwizard.strict_yaml import load_value
from ftwizard.text import make_visible

_WEIGHT = re.compile(
    r"\s*(?P<weight>[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*[*×]\s*", re.IGNORECASE
)
_PLAIN = re.compile(r"(?!\d)[\w/][\w./%-]*")
"""Texts that YAML needs no quotes for, unless they read as another type."""
_OPENING, _CLOSING = "{[(", "}])"


def parse_rewards(text: str) -> tuple[Reward, ...]:
    """Return the rewards in a text, separated by commas; raise FtwizardError for what is wrong.

    The functions of other files are not looked for. Their files get absolute names.
    """
    rewards = tuple(parse_reward(part) for part in _split(text) if part.strip())
    if len(rewards) > MAX_REWARDS:
        raise FtwizardError(
            f"{len(rewards)} rewards are too many.", f"Name up to {MAX_REWARDS}.", USAGE
        )
    for reward in rewards:
        if reward.file is None:
            check_options(reward.name, reward.options)
    return rewards


def parse_reward(text: str) -> Reward:
    """Return one reward: ``numeric_answer``, ``0.2*length_limit={max: 50}``, ``rewards.py:mine``.

    The option that a function cannot do without needs no name: ``length_limit=50``. Raises FtwizardError for options that are no mapping, not for an unknown function.
    """
    match = _WEIGHT.match(text)
    weight, rest = (float(match["weight"]), text[match.end() :]) if match else (1.0, text)
    name, sign, value = rest.partition("=")
    options = load_value(value, f"Options of {make_visible(name, 60)}") if sign else {}
    main = _get_main_option(name.strip())
    if main and options is not None and not isinstance(options, dict):
        options = {main: options}  # length_limit=50
    if not isinstance(options, dict):
        raise FtwizardError(
            f"The options of {make_visible(name, 60)} are not a mapping.",
            "Write them as YAML: 'length_limit={max: 50}'.",
            USAGE,
        )
    options = {str(key): option for key, option in options.items()}
    reward = Reward(function=name.strip(), weight=weight, options=options)
    if reward.file is None:
        return reward
    path = user_paths.make_absolute(str(reward.file))
    return msgspec.structs.replace(reward, function=f"{path}:{reward.name}")


def format_rewards(
    rewards: Sequence[Reward], format_path: Callable[[str], str] = lambda path: path
) -> str:
    """Return the text that ``parse_rewards`` reads back; ``format_path`` shortens names of files."""
    return ", ".join(_format(reward, format_path) for reward in rewards)


def keep_limits(rewards: Sequence[Reward], before: Sequence[Reward]) -> tuple[Reward, ...]:
    """Return the rewards with the limits of time and memory that the same functions had before."""
    limits = {reward.function: (reward.time_limit_s, reward.memory_gb) for reward in before}
    default = Reward(function="")
    return tuple(
        msgspec.structs.replace(reward, time_limit_s=time_limit_s, memory_gb=memory_gb)
        for reward in rewards
        for time_limit_s, memory_gb in [
            limits.get(reward.function, (default.time_limit_s, default.memory_gb))
        ]
    )


def _format(reward: Reward, format_path: Callable[[str], str]) -> str:
    name = f"{format_path(str(reward.file))}:{reward.name}" if reward.file else reward.function
    weight = "" if reward.weight == 1 else f"{_format_number(reward.weight)}*"
    main = _get_main_option(reward.name)
    value = reward.options.get(main) if list(reward.options) == [main] else None
    options = reward.options if value is None or isinstance(value, dict) else value
    return f"{weight}{name}={_format_value(options)}" if options else f"{weight}{name}"


def _get_main_option(name: str) -> str:
    """Return the option that a packaged function cannot do without; empty if it can do without."""
    return next(iter(PACKAGED[name].required), "") if name in PACKAGED else ""


def _format_number(value: float) -> str:
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _format_value(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, dict):
        return (
            f"{{{', '.join(f'{_format_value(k)}: {_format_value(v)}' for k, v in value.items())}}}"
        )
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_format_value, value))}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and load_value(value, "") == value:
        return value
    return "".join(map(_escape, json.dumps(value, ensure_ascii=False)))


def _escape(char: str) -> str:
    """Return a character as a YAML text has it, which must be printable."""
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def _split(text: str) -> Iterator[str]:
    """Yield the parts between commas that are in no bracket and in no quotes."""
    depth, quote, start = 0, "", 0
    for index, char in enumerate(text):
        if quote:
            is_end = char == quote and not (quote == '"' and text[index - 1] == "\\")
            quote = "" if is_end else quote
        elif char in "\"'" and (depth or text[:index].rstrip().endswith("=")):
            quote = char
        elif char in _OPENING:
            depth += 1
        elif char in _CLOSING:
            depth -= 1
        elif char == "," and depth <= 0:
            yield text[start:index]
            start = index + 1
    yield text[start:]
