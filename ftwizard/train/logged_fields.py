"""Fields of ``log`` and ``eval`` events that only some training objectives have.

They are named as TRL logs them (``general_logp``: see ``general_score``), with ``_`` for ``/``: ``rewards/chosen`` is ``rewards_chosen``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_GROUPS = ("rewards/", "logps/", "completions/", "clip_ratio/")
_NAMES = frozenset({"kl", "reward", "reward_std", "frac_reward_zero_std", "general_logp"})


def pick(logs: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the fields in a trainer's logs; ``prefix`` is that of an evaluation: ``eval_``."""
    return {
        name.replace("/", "_"): float(value)
        for name, value in logs.items()
        if value is not None and name.startswith(prefix) and _is_field(name.removeprefix(prefix))
    }


def _is_field(name: str) -> bool:
    return name in _NAMES or name.startswith(_GROUPS)
