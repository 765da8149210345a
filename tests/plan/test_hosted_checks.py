"""Plans for a hosted platform: bounds, foreign settings, and what the errors name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.plan import checks, hosted_checks, plan_file, schema
from ftwizard.plan.schema import Plan
from ftwizard.strict_yaml import SettingsError

MODELS = {
    "openai": "gpt-4.1-mini",
    "foundry": "gpt-4.1-mini",
    "together": "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference",
}


def make_text(provider: str, more: str) -> str:
    return (
        f"provider: {provider}\ndata: {{files: {{train: rows.jsonl}}}}\n"
        f"model: {{name: {MODELS[provider]}}}\n{more}\n"
    )


def load(folder: Path, text: str, *allow: str) -> Plan:
    path = folder / "plan.yaml"
    path.write_text(text)
    return plan_file.load(path, allow)


@pytest.mark.parametrize("provider", MODELS)
def test_defaults_are_valid_and_recipe_stays_unset(tmp_path: Path, provider: str) -> None:
    plan = load(tmp_path, make_text(provider, ""))
    assert plan.recipe == schema.Recipe()


@pytest.mark.parametrize(
    ("provider", "more", "setting"),
    [
        ("openai", "openai: {n_epochs: 0}", "openai.n_epochs"),
        ("openai", "openai: {n_epochs: 51}", "openai.n_epochs"),
        ("openai", "openai: {batch_size: 257}", "openai.batch_size"),
        ("openai", "openai: {learning_rate_multiplier: 0}", "openai.learning_rate_multiplier"),
        ("openai", "openai: {learning_rate_multiplier: .nan}", "openai.learning_rate_multiplier"),
        ("openai", "openai: {method: dpo, beta: 2.1}", "openai.beta"),
        ("openai", "openai: {beta: 0.1}", "openai.beta"),
        ("openai", "openai: {grader: {type: string_check}}", "openai.grader"),
        ("openai", "openai: {reasoning_effort: low}", "openai.reasoning_effort"),
        ("openai", "openai: {method: reinforcement}", "openai.grader"),
        ("openai", "openai: {seed: 2147483648}", "openai.seed"),
        ("openai", f"openai: {{suffix: {'x' * 65}}}", "openai.suffix"),
        ("openai", "openai: {suffix: ''}", "openai.suffix"),
        ("openai", f"openai: {{metadata: {{{'k' * 65}: v}}}}", "openai.metadata"),
        ("openai", f"openai: {{metadata: {{k: {'v' * 513}}}}}", "openai.metadata"),
        ("openai", "openai: {metadata: {ftwizard_run: mine}}", "openai.metadata"),
        ("openai", "openai: {wandb: {entity: team}}", "openai.wandb"),
        (
            "openai",
            "openai: {method: reinforcement, compute_multiplier: 11, grader: {type: python}}",
            "openai.compute_multiplier",
        ),
        ("foundry", "foundry: {method: dpo, beta: 0}", "foundry.beta"),
        ("together", "together: {n_epochs: 0}", "together.n_epochs"),
        ("together", f"together: {{suffix: {'x' * 41}}}", "together.suffix"),
        ("together", "together: {learning_rate: 0}", "together.learning_rate"),
        ("together", "together: {warmup_ratio: 1.1}", "together.warmup_ratio"),
        ("together", "together: {lora_dropout: 1}", "together.lora_dropout"),
        ("together", "together: {dpo_beta: 0.1}", "together.dpo_beta"),
        ("together", "together: {lora: false, lora_r: 8}", "together.lora_r"),
        ("together", "together: {early_stopping_patience: 2}", "together.early_stopping_patience"),
        ("together", "together: {early_stopping_enabled: true, n_evals: 3}", "together.n_evals"),
        ("openai", "together: {n_epochs: 2}", "together"),
        ("openai", "recipe: {epochs: 2}", "recipe.epochs"),
        ("openai", "recipe: {rank: 8}", "recipe.rank"),
        ("openai", "where: {gpu: 0}", "where.gpu"),
        ("openai", "samples: {count: 0}", "samples.count"),
        ("openai", "budget: {hours: 1}", "budget.hours"),
        ("openai", "report_to: [tensorboard]", "report_to"),
        ("openai", "finish: {export: [gguf]}", "finish.export"),
        ("foundry", "finish: {export: [gguf]}", "finish.export"),
        ("together", "finish: {export: [gguf]}\nhosted: {download: false}", "finish.export"),
        ("together", "finish: {export: [gguf], merge: false}", "finish.export"),
    ],
)
def test_wrong_setting_is_named_with_its_line(
    tmp_path: Path, provider: str, more: str, setting: str
) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, make_text(provider, more))
    assert f"plan.yaml, line 4: {setting} " in error.value.message
    assert error.value.hint


@pytest.mark.parametrize(
    ("provider", "more", "hint"),
    [
        ("openai", "recipe: {epochs: 2}", "openai.n_epochs"),
        ("foundry", "recipe: {learning_rate: 1e-4}", "foundry.learning_rate_multiplier"),
        ("together", "recipe: {max_length: 512}", "together.max_seq_length"),
        ("openai", "recipe: {dropout: 0.1}", "no such setting"),
        ("openai", "budget: {minutes: 5}", "budget.usd"),
    ],
)
def test_hint_names_the_setting_of_the_platform(
    tmp_path: Path, provider: str, more: str, hint: str
) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, make_text(provider, more))
    assert hint in error.value.hint


def test_every_named_setting_of_a_platform_exists() -> None:
    for provider, platform in hosted_checks.CHECKS.items():
        names = platform.recipe_names
        assert set(names) <= set(schema.Recipe.__struct_fields__)
        fields = set(schema.HOSTED_PROVIDERS[provider].__struct_fields__)
        assert set(names.values()) <= fields


def test_settings_of_platforms_are_refused_for_this_machine(tmp_path: Path) -> None:
    text = "data: {files: {train: rows.jsonl}}\nmodel: {name: owner/model}\n"
    for more in ("openai: {n_epochs: 2}", "hosted: {download: false}"):
        with pytest.raises(SettingsError, match="provider is local"):
            load(tmp_path, text + more)


def test_model_that_no_platform_tunes_is_refused_with_an_alternative(tmp_path: Path) -> None:
    text = make_text("openai", "").replace("gpt-4.1-mini", "gpt-5.4")
    with pytest.raises(SettingsError, match=r"line 3: model\.name gpt-5\.4 cannot") as error:
        load(tmp_path, text)
    assert "gpt-4.1-mini" in error.value.hint or "GPT-4.1-mini" in error.value.hint


def test_empty_model_names_one_of_the_platform(tmp_path: Path) -> None:
    text = make_text("foundry", "").replace("gpt-4.1-mini", "' '")
    with pytest.raises(SettingsError, match=r"model\.name is empty") as error:
        load(tmp_path, text)
    assert "gpt-4.1-mini" in error.value.hint


def test_many_epochs_must_be_allowed(tmp_path: Path) -> None:
    text = make_text("openai", "openai: {n_epochs: 4}")
    with pytest.raises(FtwizardError, match="4 epochs") as error:
        load(tmp_path, text)
    assert error.value.exit_code == DECLINED
    load(tmp_path, text, "many-epochs")
    load(tmp_path, text.replace("4}", "auto}"))


def test_no_validation_must_be_allowed_but_not_for_reinforcement(tmp_path: Path) -> None:
    text = make_text("openai", "openai: {METHOD}").replace("train: rows.jsonl", "train: rows.jsonl")
    text = text.replace("}}\n", "}, split: {validation: 0}}\n", 1)
    supervised = text.replace("METHOD", "method: supervised")
    with pytest.raises(FtwizardError) as error:
        load(tmp_path, supervised)
    assert error.value.exit_code == DECLINED
    load(tmp_path, supervised, "no-validation")
    grader = "method: reinforcement, grader: {type: string_check}"
    with pytest.raises(SettingsError, match="needs validation data"):
        load(tmp_path, text.replace("METHOD", grader), "no-validation")


def test_evaluations_need_validation_data_at_together(tmp_path: Path) -> None:
    text = make_text("together", "together: {n_evals: 3}")
    text = text.replace("}}\n", "}, split: {validation: 0}}\n", 1)
    with pytest.raises(SettingsError, match="no validation data"):
        load(tmp_path, text, "no-validation")


def test_general_rows_are_only_for_supervised_tuning(tmp_path: Path) -> None:
    text = make_text("openai", "openai: {method: dpo}").replace(
        "}}\n", "}, mix: {share: 0.1}}\n", 1
    )
    with pytest.raises(SettingsError, match=r"data\.mix\.share is set"):
        load(tmp_path, text)
    load(tmp_path, text.replace("dpo", "supervised"))


def test_wandb_and_headroom_are_allowed(tmp_path: Path) -> None:
    load(tmp_path, make_text("openai", "report_to: [wandb]\nevaluate: {requires_headroom: true}"))


def test_weights_of_open_models_at_together_may_be_exported(tmp_path: Path) -> None:
    load(tmp_path, make_text("together", "finish: {export: [gguf]}"))


_numbers = st.integers(-10, 3000) | st.floats(-10, 3000) | st.just("auto")


@given(
    epochs=st.integers(-5, 60) | st.just("auto"),
    batch=st.integers(-5, 300) | st.just("auto"),
    multiplier=_numbers,
)
def test_openai_accepts_exactly_what_is_in_bounds(epochs: Any, batch: Any, multiplier: Any) -> None:
    settings = schema.OpenAI(n_epochs=epochs, batch_size=batch, learning_rate_multiplier=multiplier)
    plan = plan_file.parse(make_text("openai", ""))
    plan = msgspec.structs.replace(plan, openai=settings, allow=("many-epochs",))
    is_valid = (
        (epochs == "auto" or 1 <= epochs <= 50)
        and (batch == "auto" or 1 <= batch <= 256)
        and (multiplier == "auto" or multiplier > 0)
    )
    try:
        checks.check_plan(plan)
    except SettingsError:
        assert not is_valid
    else:
        assert is_valid
