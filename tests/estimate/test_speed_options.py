"""Options that change the speed of training: which are tried, refused, combined and chosen."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ftwizard.estimate import speed_options
from ftwizard.estimate.speed_options import (
    LossCheck,
    OptionResult,
    SettingValue,
    SpeedFacts,
)
from ftwizard.plan.schema import Recipe
from ftwizard.quantity import Figure

NO_GPU = {
    "flash_attention_2": "no GPU",
    "kernels-community/flash-attn2": "no GPU",
    "kernels": "no GPU",
}


def make_facts(**changes: Any) -> SpeedFacts:
    facts = SpeedFacts(
        attention="sdpa", checkpointing=False, impossible=NO_GPU, check=make_check(), steps_per_epoch=40
    )  # fmt: skip
    return msgspec.structs.replace(facts, **changes)


def make_check(loss: float = 2.0, norm: float = 1.0) -> LossCheck:
    return LossCheck(loss=loss, gradient_norm=norm, tokens=100)


def make_result(
    speed: float, steps: int = 40, check: LossCheck | None = None, **settings: SettingValue
) -> OptionResult:
    """Return a measured option; the present setting has 100 tokens/s."""
    return OptionResult(
        settings=settings, state="measured", check=check or make_check(), steps_per_epoch=steps,
        tokens_per_s=Figure(value=speed, unit="tokens/s", source="x"), gain=speed / 100 - 1,
    )  # fmt: skip


def list_options(recipe: Recipe, **facts: Any) -> dict[str, str]:
    """Return the reason of each option by its settings."""
    options = speed_options.list_options(recipe, make_facts(**facts))
    return {speed_options.format_settings(option.settings): option.reason for option in options}


def test_options_without_a_gpu_are_attention_and_layouts() -> None:
    assert list_options(Recipe()) == {
        "attention: eager": "",
        "attention: flash_attention_2": "no GPU",
        "attention: kernels-community/flash-attn2": "no GPU",
        "kernels: true": "no GPU",
        "padding_free: true": "",
        "packing: true": "",
    }


@pytest.mark.parametrize(
    ("recipe", "facts", "absent"),
    [
        ({"attention": "eager"}, {"attention": "eager"}, "attention: eager"),
        ({}, {"attention": "flash_attention_2"}, "attention: flash_attention_2"),
        ({"kernels": True}, {}, "kernels: true"),
        ({"padding_free": True}, {}, "padding_free: true"),
        ({"packing": True}, {}, "packing: true"),
        ({"packing": True}, {}, "padding_free: true"),
    ],
)
def test_present_settings_are_no_options(recipe: Any, facts: Any, absent: str) -> None:
    assert absent not in list_options(Recipe(**recipe), **facts)


def test_options_follow_gpu_objective_and_batch() -> None:
    on_gpu = list_options(Recipe(), impossible={}, checkpointing=True)
    assert not any(on_gpu.values()) and "gradient_checkpointing: false" in on_gpu
    pairs = list_options(Recipe(objective="dpo"))
    assert pairs["packing: true"] == pairs["padding_free: true"] != ""
    assert "no padding" in list_options(Recipe(batch_size=1))["padding_free: true"]


@pytest.mark.parametrize(
    ("check", "precision", "reason"),
    [
        (make_check(2.0001), "fp32", ""),
        (make_check(2.02), "fp32", "the loss of the same rows is 2.02, not 2"),
        (make_check(2.02), "bf16", ""),
        (make_check(2.1), "bf16", "the loss"),
        (make_check(norm=1.02), "fp32", "the norm of the gradient of the same rows is 1.02, not 1"),
        (make_check(norm=1.02), "bf16", ""),
        (make_check(float("nan")), "bf16", "the loss of the same rows is nan"),
    ],
)
def test_faster_option_with_another_result_is_refused(
    check: LossCheck, precision: str, reason: str
) -> None:
    fast = msgspec.structs.replace(make_result(300, check=check, attention="eager"), gain=None)
    judged = speed_options.judge(fast, make_result(100), 100.0, precision)
    assert judged.state == ("other_result" if reason else "measured") and reason in judged.reason
    assert judged.gain == (None if reason else pytest.approx(2.0))
    chosen = speed_options.choose_fastest([make_result(100), judged], 0.0)
    assert chosen == (None if reason else judged)


def test_gain_must_exceed_noise_and_be_worth_it() -> None:
    present, option = make_result(100), make_result(120, padding_free=True)
    assert speed_options.choose_fastest([present, option], 0.02) == option
    assert speed_options.choose_fastest([present, option], 0.25) is None
    assert speed_options.choose_fastest([present, make_result(104, kernels=True)], 0.0) is None


def test_packing_that_leaves_few_steps_is_not_chosen() -> None:
    results = [make_result(100), make_result(110, padding_free=True)]
    results.append(make_result(300, steps=5, packing=True))
    chosen = speed_options.choose_fastest(results, 0.0)
    assert chosen and chosen.settings == {"padding_free": True}
    results[-1] = make_result(300, steps=39, packing=True)
    chosen = speed_options.choose_fastest(results, 0.0)
    assert chosen and chosen.settings == {"packing": True}


def test_gains_are_combined_one_of_each_kind() -> None:
    present = make_result(100)
    flash = make_result(130, attention="flash_attention_2")
    other = make_result(120, attention="kernels-community/flash-attn2")
    flat, slow = make_result(140, padding_free=True), make_result(90, gradient_checkpointing=False)
    combine = speed_options.combine
    assert combine([present, flash, other, flat, slow], 0.0) == {
        "attention": "flash_attention_2",
        "padding_free": True,
    }
    assert combine([present, flash, other, slow], 0.0) == {}, "one alone is measured already"
    assert combine([present, flash, flat], 0.35) == {}
