"""The list of models: what fits, what is refused, what is recommended, order and search."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ftwizard.advice import model_choice_text
from ftwizard.advice.model_choice import ChoiceBasis, ModelOption, list_options
from ftwizard.advice.model_search import search_options
from ftwizard.data.documents import DataReport
from ftwizard.hardware.machine import Gpu
from ftwizard.models.model_facts import ModelFacts, list_catalog
from ftwizard.plan import schema
from tests.helpers.machines import make_machine

PLAN = schema.Plan(data=schema.Data(files=schema.Files(train="")), model=schema.Model(name=""))
GB = 10**9
CATALOG = list_catalog()
LAPTOP = make_machine(memory=24 * GB, cores=2)


def basis(*gpu_gb: int, **changed: Any) -> ChoiceBasis:
    gpus = [Gpu(name="NVIDIA GeForce RTX 4090", memory=gb * GB) for gb in gpu_gb]
    machine = make_machine(*gpus) if gpus else LAPTOP
    return ChoiceBasis(**{"machine": machine, "plan": PLAN, **changed})


def report(format: str) -> DataReport:
    return DataReport(
        verdict="ok", target="trl-sft", format=format, rows=100, usable=100, unit="line",
        findings=[], tokens=None, trained_tokens=None, path="x.jsonl", source=None, preview=[],
    )  # fmt: skip


def get(options: tuple[ModelOption, ...], name: str) -> ModelOption:
    return next(option for option in options if option.name == name)


def recommended(options: tuple[ModelOption, ...]) -> str | None:
    names = [option.name for option in options if option.recommended]
    assert len(names) <= 1
    return names[0] if names else None


@pytest.mark.parametrize("gb", [8, 12, 24, 48, 80])
def test_fits_only_if_the_upper_end_does(gb: int) -> None:
    for option in list_options(CATALOG, basis(gb)):
        if option.suitability == "refused":
            continue
        memory, available = option.memory, option.available
        assert memory is not None and available == gb * GB
        assert (option.suitability == "fits") == (memory.highest <= available)
        assert (option.suitability == "too large") == (memory.value > available)


def test_models_that_do_not_fit_stay_in_the_list_with_by_how_much() -> None:
    options = list_options(CATALOG, basis(8))
    assert len(options) == len(CATALOG)
    large = get(options, "meta-llama/Llama-3.1-70B-Instruct")
    assert large.suitability == "too large" and large.excess and large.excess > 25 * GB
    assert model_choice_text.format_fit(large).text.endswith("GB too large")


def test_memory_in_use_by_others_counts() -> None:
    busy = make_machine(Gpu(name="NVIDIA GeForce RTX 4090", memory=24 * GB, used=20 * GB))
    name = "Qwen/Qwen3-8B"
    assert get(list_options(CATALOG, basis(24)), name).suitability == "fits"
    assert get(list_options(CATALOG, basis(machine=busy)), name).suitability == "too large"


def test_chosen_method_decides_the_memory() -> None:
    name = "Qwen/Qwen3-14B"
    free = get(list_options(CATALOG, basis(24)), name)
    lora = get(list_options(CATALOG, basis(24, chosen=frozenset({"method"}))), name)
    assert (free.method, free.suitability) == ("qlora", "fits")
    assert (lora.method, lora.suitability) == ("lora", "too large")


@pytest.mark.parametrize(
    ("gb", "rows", "name"),
    [
        (24, 100, "Qwen/Qwen3-1.7B"),
        (24, 1_200, "Qwen/Qwen3-4B-Instruct-2507"),
        (24, None, "Qwen/Qwen3-4B-Instruct-2507"),
        (24, 20_000, "Qwen/Qwen3-8B"),
        (8, 20_000, "Qwen/Qwen3-4B-Instruct-2507"),
    ],
)
def test_recommended_size_follows_the_rows_and_the_memory(
    gb: int, rows: int | None, name: str
) -> None:
    options = list_options(CATALOG, basis(gb, rows=rows))
    assert recommended(options) == options[0].name == name
    assert options[0].suitability == "fits" and options[0].is_open


def test_answer_about_size_counts_before_the_rows() -> None:
    assert (
        recommended(list_options(CATALOG, basis(24, rows=20_000, size="tiny"))) == "Qwen/Qwen3-0.6B"
    )
    assert recommended(list_options(CATALOG, basis(80, rows=10, size="medium"))) == "Qwen/Qwen3-8B"


def test_without_downloads_only_what_is_here_is_recommended() -> None:
    packaged = ModelFacts(
        name="a/Small-Chat", origin="package", parameters=10**8, license="mit", gated=False,
        chat_template=True, config=CATALOG[0].config,
    )  # fmt: skip
    options = list_options((*CATALOG, packaged), basis(24, can_download=False))
    assert recommended(options) == "a/Small-Chat"
    assert recommended(list_options(CATALOG, basis(24, can_download=False))) is None


def test_cpu_recommends_a_quick_model_and_marks_slow_ones() -> None:
    options = list_options(CATALOG, basis())
    best, slow = options[0], get(options, "Qwen/Qwen3-0.6B")
    assert best.recommended and not best.slow and best.step is not None
    assert slow.slow and slow.step is not None and slow.step.value > best.step.value
    assert "slow" in model_choice_text.describe_fit(slow)


def test_gated_restricted_and_base_models_are_never_recommended() -> None:
    kept = [m for m in CATALOG if m.gated is not False or m.training == "base"]
    assert recommended(list_options(kept, basis(24))) is None


def test_gated_model_that_is_here_already_is_judged_by_its_license_alone() -> None:
    here = ModelFacts(
        name="a/Chat", origin="cache", downloaded=True, parameters=10**9, license="mit", gated=True,
        chat_template=True, config=CATALOG[0].config,
    )  # fmt: skip
    assert recommended(list_options([here], basis(24))) == "a/Chat"
    restricted = msgspec.structs.replace(here, license="llama3.2")
    assert recommended(list_options([restricted], basis(24))) is None


def test_plain_text_needs_no_chat_template() -> None:
    model = ModelFacts(
        name="a/Plain", origin="cache", downloaded=True, parameters=10**9, license="mit",
        chat_template=False, config=CATALOG[0].config,
    )  # fmt: skip
    assert recommended(list_options([model], basis(24, report=report("openai-chat")))) is None
    assert recommended(list_options([model], basis(24, report=report("text")))) == "a/Plain"


@pytest.mark.parametrize(
    ("config", "refusal"),
    [
        ({"model_type": "bert"}, "encoder"),
        ({"model_type": "roberta", "is_decoder": True}, None),
        ({"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}, "quantized"),
        ({"model_type": "llama"}, None),
        ({"model_type": ["bert"], "hidden_size": {}, "text_config": 7}, None),
    ],
)
def test_encoders_and_quantized_models_are_refused_with_the_reason(
    config: dict[str, Any], refusal: str | None
) -> None:
    model = ModelFacts(name="a/B", origin="hub", parameters=10**8, config=config)
    (option,) = list_options([model], basis(24))
    assert option.refusal == refusal
    assert (option.suitability == "refused") == bool(option.refusal_text) == bool(refusal)
    if refusal:
        assert "a/B is" in model_choice_text.describe_fit(option)


def test_size_alone_can_rule_a_model_out_but_never_in() -> None:
    facts = [
        ModelFacts(name=f"a/{count}", origin="hub", parameters=count) for count in (10**9, 10**12)
    ]
    small, large = list_options(facts, basis(24))
    assert (small.suitability, large.suitability) == ("unknown", "too large")
    assert model_choice_text.format_fit(large).text == "✗ ≥726 GB too large"


def test_unknown_gpu_memory_leaves_the_fit_unknown() -> None:
    machine = make_machine(Gpu(name=None, memory=None))
    assert {o.suitability for o in list_options(CATALOG, basis(machine=machine))} <= {
        "unknown", "refused",
    }  # fmt: skip


def test_what_fits_comes_first_then_what_may_then_the_rest_by_size() -> None:
    options = list_options(CATALOG, basis(12))
    order = ["fits", "tight", "unknown", "too large", "refused"]
    ranks = [order.index(option.suitability) for option in options]
    assert ranks == sorted(ranks) and set(ranks) == {0, 1, 3, 4}
    too_large = [o for o in options if o.suitability == "too large" and o.copy_of is None]
    own = [o.parameters or 0 for o in too_large if not o.name.startswith("unsloth/")]
    assert own == sorted(own)


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("llama 8b", "meta-llama/Llama-3.1-8B-Instruct"),
        ("qwen3 4", "Qwen/Qwen3-4B-Instruct-2507"),
        ("QWEN 3 4b", "Qwen/Qwen3-4B-Instruct-2507"),
        ("smolm2", "HuggingFaceTB/SmolLM2-1.7B-Instruct"),
        ("gema 1b", "google/gemma-3-1b-it"),
        ("mistrl", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("meta-llama/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-1B-Instruct"),
        ("apache 14b", "Qwen/Qwen3-14B"),
        ("llama3.1 8b base", None),
    ],
)
def test_search_forgives(words: str, first: str | None) -> None:
    options = list_options(CATALOG, basis(24, rows=1_200))
    matches = search_options(options, words)
    assert (matches[0].name if matches else None) == first


def test_search_keeps_the_order_and_finds_nothing_for_nonsense() -> None:
    options = list_options(CATALOG, basis(24))
    assert search_options(options, "  ") == options
    assert search_options(options, "zzzzqq") == ()
    names = [option.name for option in search_options(options, "instruct")]
    kept = [option.name for option in options if "instruct" in option.name.lower()]
    assert names == kept


@pytest.mark.parametrize("width", [40, 55, 64, 75, 92, 130])
def test_lines_keep_their_width_and_columns(width: int) -> None:
    options = list_options(CATALOG, basis(12))
    header = model_choice_text.format_header(width)
    column = header.index("memory")
    for option in options:
        line = "".join(span.text for span in model_choice_text.format_line(option, width))
        assert len(line) <= width
        assert line[column] in "✓!✗?", line
    assert ("license" in header) == (width >= 64)


def test_hostile_name_is_visible_and_cut() -> None:
    model = ModelFacts(name="/tmp/\x1b[31m" + "é" * 300, origin="folder", license=None)
    (option,) = list_options([model], basis(24))
    line = "".join(span.text for span in model_choice_text.format_line(option, 75))
    assert "\x1b" not in line and len(line) <= 75
    assert "\x1b" not in model_choice_text.describe_access(option)


@pytest.mark.parametrize(
    ("name", "width", "shown"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 25, "me…/Llama-3.1-8B-Instruct"),
        ("Qwen/Qwen3-4B", 25, "Qwen/Qwen3-4B"),
    ],
)  # fmt: skip
def test_owner_is_cut_before_the_name(name: str, width: int, shown: str) -> None:
    assert model_choice_text.shorten_name(name, width) == shown


def test_recommendation_says_why() -> None:
    case = basis(24, rows=1_200)
    best = list_options(CATALOG, case)[0]
    text = model_choice_text.describe_recommendation(best, case)
    for part in ("upper end", "apache-2.0", "chat template", "1,200 training rows"):
        assert part in text
    assert model_choice_text.describe_recommendation(list_options(CATALOG, case)[1], case) == ""
