"""General text that becomes less likely while a run gains what it is trained for."""

from __future__ import annotations

from ftwizard.diagnosis.curve import Curve, Sign
from ftwizard.diagnosis.statistics import Shift, find_fall

SCORE = "eval_general_logp"
MIN_FALL = 0.3
"""Nats per token by which general text is less likely in a model that forgets: a perplexity of 1.35
times.

PEFT's benchmark on 100 wiki texts measured 0.03 (full), 0.05 (LoRA r32) and 0.11 (rsLoRA r64)
for models that are not failures (MetaMathQA, base 1.586).
"""
MIN_GAIN_Z = 3.0
"""Standard errors by which a reward or margin has risen."""


def find_general_cost(curve: Curve, gain: str, shift: Shift | None, z: float) -> Sign | None:
    """Find general text that became less likely while ``gain``, a reward or a margin, rose.

    ``shift``: of the gain, ``z``: its rise in standard errors. Five evaluations are needed.
    """
    if shift is None or z < MIN_GAIN_Z or shift.rise <= 0:
        return None
    fall = find_fall(curve.get_metric(SCORE), MIN_FALL)
    if fall is None:
        return None
    return Sign(
        "reward_hacking", int(fall.since), 0.85,
        {f"{gain}_start": shift.start, f"{gain}_now": shift.now,
         "text_start": fall.best, "text_now": fall.now},
    )  # fmt: skip
