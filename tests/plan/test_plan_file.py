"""Plan files: round trips, errors with line numbers, and refused values."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.plan import plan_file, schema
from ftwizard.plan.schema import Plan
from ftwizard.strict_yaml import SettingsError

MINIMAL = """\
data:
  files:
    train: rows.jsonl
model:
  name: owner/model
"""

_name = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
_plans = st.builds(
    Plan,
    data=st.builds(
        schema.Data,
        files=st.builds(schema.Files, train=_name, validation=st.none() | _name),
        split=st.builds(schema.Split, validation=st.none() | st.floats(0, 0.5), seed=st.integers()),
    ),
    model=st.builds(schema.Model, name=_name, revision=st.none() | _name),
    provider_reason=_name,
    recipe=st.builds(
        schema.Recipe,
        rank=st.integers(1, 512),
        learning_rate=st.none() | st.floats(1e-9, 1, allow_subnormal=False),
        method=st.sampled_from(["lora", "qlora", "full"]),
        precision=st.sampled_from(["auto", "bf16", "fp16", "fp32"]),
        gradient_checkpointing=st.none() | st.booleans(),
        target_modules=st.none() | st.lists(_name, min_size=1).map(tuple),
    ),
    samples=st.builds(
        schema.Samples,
        count=st.integers(0, 20),
        prompts=st.none() | _name | st.lists(_name, min_size=1).map(tuple),
    ),
    allow=st.lists(st.sampled_from(["no-validation", "many-epochs"])).map(tuple),
)


@given(_plans)
def test_any_plan_survives_dump_and_parse(saved: Plan) -> None:
    assert plan_file.parse(plan_file.dump(saved)) == saved


@pytest.mark.parametrize(
    ("more", "line", "says", "hint"),
    [
        ("recipe:\n  epocs: 3\n", 7, "recipe.epocs is not a setting", "recipe.epochs"),
        ("recipes: 1\n", 6, "recipes is not a setting", "recipe"),
        ("recipe:\n  epochs: three\n", 7, "expected a number, got “three”", ""),
        ("recipe:\n  rank: 1.5\n", 7, "expected a whole number, got 1.5", ""),
        ("recipe:\n  packing: no\n", 7, "expected true or false, got “no”", ""),
        (
            "recipe:\n  method: lorra\n",
            7,
            "recipe.method",
            "Did you mean lora? One of: lora, qlora, full.",
        ),
        ("recipe:\n  method: LoRA\n", 7, "recipe.method", "Did you mean lora?"),
        ("samples:\n  tokens: 3\n", 7, "samples.tokens is not a setting", "max_tokens"),
        ("samples:\n  prompts: 3\n", 7, "samples.prompts", ""),
        ("report_to: no\n", 6, "expected a list, got “no”", "tensorboard"),
        ("where:\n  gpu: yes\n", 7, "expected a whole number, got “yes”", ""),
        ("allow: [everything]\n", 6, "allow", "no-validation"),
        ("recipe:\n  rank: 1\n  rank: 2\n", 8, "duplicate key", ""),
        ("recipe: [\n", 7, "expected", ""),
        ("recipe: 3\n", 6, "expected a group of settings", ""),
    ],
)
def test_invalid_setting_error_names_its_line(more: str, line: int, says: str, hint: str) -> None:
    with pytest.raises(SettingsError) as error:
        plan_file.parse(MINIMAL + more)
    assert f"line {line}" in error.value.message
    assert says in error.value.message
    assert hint in error.value.hint
    assert error.value.exit_code == 1


def test_yaml_reads_exponents_as_numbers_and_no_as_text() -> None:
    item = plan_file.parse(MINIMAL + "recipe:\n  learning_rate: 1e-4\nprovider_reason: no\n")
    assert item.recipe.learning_rate == 1e-4
    assert item.provider_reason == "no"


@pytest.mark.parametrize("text", ["", "3", "[1]", "a: !!python/object/apply:os.system [id]\n"])
def test_parser_rejects_text_that_is_not_a_plan(text: str) -> None:
    with pytest.raises(FtwizardError):
        plan_file.parse(text)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("recipe: {epochs: 0}", "recipe.epochs is 0"),
        ("recipe: {epochs: -1}", "recipe.epochs is -1"),
        ("recipe: {learning_rate: .nan}", "recipe.learning_rate is nan"),
        ("recipe: {learning_rate: 2}", "recipe.learning_rate is 2"),
        ("recipe: {dropout: 1}", "recipe.dropout is 1"),
        ("recipe: {rank: 0}", "recipe.rank is 0"),
        ("recipe: {target_modules: [q_proj, lm_head]}", "lm_head"),
        ("recipe: {target_modules: []}", "empty"),
        ("recipe: {method: full, target_modules: [q_proj]}", "trains all weights"),
        ("budget: {hours: 0}", "budget.hours"),
        ("budget: {minutes: 0}", "budget.minutes is 0"),
        ("budget: {minutes: -3}", "budget.minutes is -3"),
        ("budget: {minutes: .inf}", "budget.minutes is inf"),
        ("budget: {minutes: 10, hours: 1}", "Both budget.minutes and budget.hours"),
        ("recipe: {max_steps: 0}", "recipe.max_steps is 0"),
        ("recipe: {max_steps: -1}", "recipe.max_steps is -1"),
        ("samples: {count: -1}", "samples.count is -1"),
        ("samples: {count: 21}", "samples.count is 21"),
        ("samples: {max_tokens: 0}", "samples.max_tokens is 0"),
        ("samples: {prompts: []}", "samples.prompts is empty"),
        ("samples: {prompts: ' '}", "samples.prompts names no file"),
        ("samples: {prompts: [a, ' ']}", "samples.prompts has an empty prompt"),
        (f"samples: {{prompts: [{', '.join('a' * 21)}]}}", "samples.prompts has 21"),
        ("gate: {gain: 5}", "gate.gain is 5"),
        ("evaluate: {answer_pattern: '('}", "evaluate.answer_pattern cannot be used"),
        ("evaluate: {scorer: extracted}", "evaluate.scorer extracted needs a pattern"),
        ("evaluate: {scorer: judge}", "evaluate.scorer judge needs a judge"),
        ("evaluate: {scorer: numbers}", "evaluate.scorer 'numbers' is not a scorer"),
        ("evaluate: {scorer: rewards}", "evaluate.scorer 'rewards' is not a scorer"),
        ("evaluate: {scorer: a.py:f, answer_pattern: a}", "a.py:f takes no answer_pattern"),
        ("evaluate: {scorer: chrf, answer_pattern: a}", "chrf takes no answer_pattern"),
        ("evaluate: {scorer: numeric}\nrecipe: {objective: dpo}", "is for SFT"),
        ("gate: {max_safety_loss: -0.1}", "gate.max_safety_loss is -0.1"),
        ("evaluate: {max_items: 0}", "evaluate.max_items is 0"),
        ("evaluate: {shots: -1}", "evaluate.shots is -1"),
        ("evaluate: {judge: {url: localhost, model: m}}", "evaluate.judge.url is not an address"),
        ("evaluate: {judge: {url: 'http://localhost'}}", "evaluate.judge has no model"),
        ("evaluate: {judge: {model: m}}", "evaluate.judge has no url"),
        (
            "evaluate: {judge: {url: 'http://a', model: m, key_variable: sk-1}}",
            "evaluate.judge.key_variable is not the name",
        ),
    ],
)
def test_invalid_values_are_refused(tmp_path: Path, more: str, says: str) -> None:
    with pytest.raises(SettingsError, match=r"recipe|budget|samples|gate|evaluate") as error:
        plan_file.load(_file(tmp_path, MINIMAL + more + "\n"))
    assert says in error.value.message


def test_value_out_of_range_names_file_and_line(tmp_path: Path) -> None:
    path = _file(tmp_path, MINIMAL + "recipe:\n  rank: 8\n  epochs: -1\n")
    with pytest.raises(SettingsError) as error:
        plan_file.load(path)
    assert error.value.message == f"{path}, line 8: recipe.epochs is -1."
    assert error.value.hint == "It must be above 0 and at most 100."


def test_prompts_file_name_may_contain_spaces(tmp_path: Path) -> None:
    chosen = plan_file.load(_file(tmp_path, MINIMAL + "samples: {prompts: my prompts.txt}\n"))
    assert chosen.samples.prompts == str(tmp_path / "my prompts.txt")


@pytest.mark.parametrize(
    ("recipe", "rate"),
    [
        ("", 2e-4),
        ("recipe: {method: qlora}", 2e-4),
        ("recipe: {method: full}", 2e-5),
        ("recipe: {method: full, learning_rate: 1e-6}", 1e-6),
    ],
)
def test_load_fills_in_the_default_learning_rate(tmp_path: Path, recipe: str, rate: float) -> None:
    item = plan_file.load(_file(tmp_path, f"{MINIMAL}{recipe}\n"))
    assert item.recipe.learning_rate == rate
    assert plan_file.parse(plan_file.dump(item)) == item


def test_validation_file_with_validation_split_is_refused(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        "train: rows.jsonl",
        "train: rows.jsonl\n    validation: more.jsonl\n  split: {validation: 0.2}",
    )
    with pytest.raises(
        SettingsError, match=r"Both data.files.validation and data.split.validation"
    ):
        plan_file.load(_file(tmp_path, text))


def test_plan_without_validation_must_be_allowed(tmp_path: Path) -> None:
    path = _file(tmp_path, MINIMAL.replace("model:", "  split: {validation: 0}\nmodel:"))
    with pytest.raises(FtwizardError) as error:
        plan_file.load(path)
    assert error.value.exit_code == DECLINED
    assert "--allow no-validation" in error.value.hint
    assert plan_file.load(path, allow=["no-validation"]).allow == ("no-validation",)


def test_many_epochs_must_be_allowed(tmp_path: Path) -> None:
    path = _file(tmp_path, MINIMAL + "recipe: {epochs: 4}\n")
    with pytest.raises(FtwizardError) as error:
        plan_file.load(path)
    assert error.value.exit_code == DECLINED
    assert plan_file.load(path, allow=["many-epochs"]).recipe.epochs == 4
    assert plan_file.load(path, deferred=("many-epochs",)).allow == ()
    assert plan_file.load(path, begun=True).recipe.epochs == 4, (
        "it was allowed before the run began"
    )
    with pytest.raises(FtwizardError) as unknown:
        plan_file.load(path, allow=["many-epoch"])
    assert unknown.value.exit_code == USAGE


def test_file_names_are_relative_to_the_plan(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    text = MINIMAL.replace("owner/model", "base")
    item = plan_file.load(_file(tmp_path, text))
    assert item.data.files.train == str(tmp_path / "rows.jsonl")
    assert item.model.name == str(tmp_path / "base")
    assert plan_file.load(_file(tmp_path, MINIMAL)).model.name == "owner/model"
    asked = plan_file.load(_file(tmp_path, MINIMAL + "samples: {prompts: ask.txt}\n")).samples
    assert asked.prompts == str(tmp_path / "ask.txt")
    own = plan_file.load(_file(tmp_path, MINIMAL + "samples: {prompts: [ask.txt]}\n")).samples
    assert own.prompts == ("ask.txt",)
    sets = plan_file.load(_file(tmp_path, MINIMAL + "evaluate: {sets: [mine.jsonl]}\n")).evaluate
    assert sets.sets == (str(tmp_path / "mine.jsonl"),)


@pytest.mark.parametrize("data", [None, b"\xff\xfe", b"a: \xe9"])
def test_missing_or_undecodable_plan_is_refused(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "plan.yaml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SettingsError, match=r"does not exist|UTF-8"):
        plan_file.load(path)
    with pytest.raises(SettingsError):
        plan_file.load(tmp_path)


def test_every_setting_is_documented() -> None:
    """A docstring follows each setting in the source."""
    source = Path(schema.__file__).read_text()
    for part in (
        schema.Recipe,
        schema.Files,
        schema.Split,
        schema.Finish,
        schema.Budget,
        schema.Samples,
        schema.Gate,
    ):
        body = source.split(f"class {part.__name__}(")[1].split("\nclass ")[0]
        assert body.count('"""') >= len(msgspec.structs.fields(part)), part


def _file(folder: Path, text: str) -> Path:
    path = folder / "plan.yaml"
    path.write_text(text)
    return path


BOMBS = {
    "list": "samples: {prompts: [&a0 [x,x,x,x,x,x,x,x,x,x]"
    + "".join(f", &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 20))
    + "]}\n",
    "map": "samples: {prompts: [&a0 {a: x, b: x}"
    + "".join(f", &a{i} {{a: *a{i - 1}, b: *a{i - 1}}}" for i in range(1, 60))
    + "]}\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_aliases_that_stand_for_billions_of_values_are_refused(bomb: str) -> None:
    with pytest.raises(SettingsError, match=r"aliases .* repeat too much"):
        plan_file.parse(MINIMAL + BOMBS[bomb])


def test_aliases_may_be_used() -> None:
    text = MINIMAL + "recipe: {rank: &n 8, alpha: *n}\nsamples: {prompts: [&a hello, *a]}\n"
    plan = plan_file.parse(text)
    assert plan.recipe.alpha == 8 and plan.samples.prompts == ("hello", "hello")


@pytest.mark.parametrize("text", ["data: " + "[" * 100_000, "data: " + "{a: " * 100_000])
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="line 1: nested over 32 levels"):
        plan_file.parse(text)


def test_a_recipe_of_a_platform_may_have_its_own_settings() -> None:
    text = "provider: openai\ndata: {files: {train: a.jsonl}}\nmodel: {name: gpt-4.1-mini}\n"
    plan = plan_file.parse(text + "recipe: {n_epochs: auto, learning_rate_multiplier: 0.5}\n")
    assert (plan.openai.n_epochs, plan.openai.learning_rate_multiplier) == ("auto", 0.5)
    assert plan.recipe == schema.Recipe()
    assert plan_file.parse(plan_file.dump(plan)) == plan
    both = text + "recipe: {batch_size: 4}\nopenai: {batch_size: 8}\n"
    assert plan_file.parse(both).openai.batch_size == 8
