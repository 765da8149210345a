"""Provider advice: a provider, reasons and flips for every machine and combination of answers."""

from __future__ import annotations

import datetime
import itertools
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.advice import provider_advice, questions
from ftwizard.advice.questions import FIT, FIT_ADVICE, QUESTIONS, Question
from ftwizard.catalog.providers import ProviderId, catalog
from ftwizard.credentials import Credential, Service
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.text import make_visible
from tests.helpers.machines import make_machine

TODAY = datetime.date(2026, 11, 25)
EDITION = datetime.date(2026, 4, 15)
CLOSED = datetime.date(2027, 1, 6)


def machine(
    *gigabytes: float, credentials: tuple[Service, ...] = (), extras: tuple[str, ...] = ("local",)
) -> MachineInfo:
    """Return a machine with GPUs of these memory sizes (GB)."""
    return make_machine(
        *(Gpu(name="Double", memory=int(gigabyte * 1e9)) for gigabyte in gigabytes),
        no_gpu=None if gigabytes else "NVML: no device",
        memory=32 * 10**9,
        cores=4,
        credentials=tuple(Credential(service=credential, where="X") for credential in credentials),
        extras=extras,
    )


_machines = st.builds(
    MachineInfo,
    gpus=st.lists(
        st.builds(
            Gpu,
            name=st.none() | st.text(max_size=80),
            memory=st.none() | st.integers(1, 2 * 10**11),
        ),
        max_size=3,
    ).map(tuple),
    no_gpu=st.none() | st.text(max_size=100),
    memory=st.integers(10**9, 10**12),
    cores=st.integers(1, 256),
    bfloat16_cpu=st.booleans(),
    disk_free=st.integers(0, 10**13),
    credentials=st.lists(
        st.builds(Credential, service=st.sampled_from(get_args(Service)), where=st.just("X")),
        max_size=4,
    ).map(tuple),
    extras=st.sampled_from([(), ("local",), ("local", "demo")]),
)
_answers = st.fixed_dictionaries(
    {},
    optional={item.id: st.sampled_from([o.id for o in item.options]) for item in (FIT, *QUESTIONS)},
)
_days = st.dates(datetime.date(2026, 1, 1), datetime.date(2028, 1, 1))


def texts(recommendation: provider_advice.Recommendation) -> list[str]:
    return [
        *recommendation.reasons,
        *recommendation.ruled_out,
        *recommendation.cautions,
        *recommendation.flips,
        *recommendation.assumed,
        recommendation.fit or "-",
    ]


@given(_machines, _answers, _days)
def test_recommendation_always_has_a_provider_and_reasons(
    facts: MachineInfo, answers: dict[str, str], today: datetime.date
) -> None:
    result = provider_advice.recommend(facts, answers, today)
    assert result.reasons
    assert set(result.costs_of) == set(get_args(ProviderId)) - {result.first.provider}
    assert all(result.costs_of.values())
    for words in (*texts(result), *result.costs_of.values()):
        assert make_visible(words) == words and 0 < len(words) <= 480
        assert "$0 " not in words
    assert (result.platform is None) or result.provider == "cloud"
    for words in questions.describe_machine(facts).values():
        assert words and make_visible(words) == words


@given(_machines, _answers, _days)
def test_ruled_out_providers_are_never_recommended(
    facts: MachineInfo, answers: dict[str, str], today: datetime.date
) -> None:
    result = provider_advice.recommend(facts, answers, today)
    if answers.get("data") == "stay":
        assert result.provider == "local"
        assert len(result.ruled_out) == 2
    if answers.get("data") == "own-cloud":
        assert result.provider != "openai" and result.platform != "together"
    if answers.get("weights") == "yes":
        assert result.provider != "openai" and result.platform not in ("bedrock", "foundry")
    if today >= CLOSED:
        assert result.provider != "openai"


@given(_machines, _answers)
def test_flips_match_the_changed_recommendation(
    facts: MachineInfo, answers: dict[str, str]
) -> None:
    result = provider_advice.recommend(facts, answers, TODAY)
    for question, option in _single_changes(questions.complete_answers(facts, answers)):
        changed = provider_advice.recommend(facts, {**answers, question.id: option}, TODAY)
        text = [flip for flip in result.flips if f"If {question.option(option).when}:" in flip]
        if question.assumed == option and question.id not in answers:
            continue
        assert bool(text) == (changed.provider != result.provider)
        assert all(catalog().provider(changed.provider).name in item for item in text)


def _single_changes(arguments: dict[str, str]) -> list[tuple[Question, str]]:
    return [
        (question, option.id)
        for question in QUESTIONS
        for option in question.options
        if arguments.get(question.id) != option.id
    ]


def test_every_combination_of_answers_leaves_a_provider() -> None:
    """Check all combinations of answers on three machines."""
    ids = [[None, *(option.id for option in question.options)] for question in QUESTIONS]
    for facts in (machine(), machine(16), machine(80, credentials=("aws", "openai"))):
        for chosen in itertools.product(*ids):
            answers: dict[str, str] = {
                item.id: option for item, option in zip(QUESTIONS, chosen, strict=True) if option
            }
            ranked = provider_advice.rank_providers(facts, answers, TODAY)
            assert len(ranked) == 3
            assert not ranked[0].why_not
            assert all(
                item.why_not
                or item.pros
                or item.cons
                or item is ranked[0]
                or item.provider == "cloud"
                for item in ranked
            )


def test_large_enough_gpu_recommends_local_training() -> None:
    result = provider_advice.recommend(machine(24), {"priority": "control"}, TODAY)
    assert result.provider == "local"
    assert any("Double has 24.0 GB" in reason for reason in result.reasons)
    assert "gpu_elsewhere" not in [
        question.id for question in questions.open_questions(machine(24), {})
    ]


def test_large_model_without_gpu_gets_a_cloud_with_cautions() -> None:
    result = provider_advice.recommend(
        machine(), {"size": "large", "cloud": "aws", "data": "leave"}, TODAY
    )
    assert (result.provider, result.platform) == ("cloud", "bedrock")
    assert result.start_problems["cloud"] == (
        "No login for AWS Bedrock was found. Log in: aws login"
    )
    assert any("AWS keeps the model" in caution for caution in result.cautions)
    assert set(result.costs_of) == {"cloud", "openai"}, "a smaller model starts here first"


def test_local_data_on_a_small_gpu_suggests_a_smaller_model() -> None:
    result = provider_advice.recommend(machine(8), {"data": "stay", "size": "medium"}, TODAY)
    assert result.provider == "local"
    assert any("around 3B would fit" in caution for caution in result.cautions)
    assert all(words.startswith("Not possible") for words in result.costs_of.values())


def test_unreported_gpu_memory_is_unknown_not_absent() -> None:
    facts = machine()
    facts = make_machine(
        Gpu(name=None, memory=None), memory=facts.memory, cores=4, bfloat16_cpu=False, disk_free=0
    )
    assert questions.describe_machine(facts)["GPU"] == "a GPU, memory unknown"
    result = provider_advice.recommend(facts, {"data": "stay"}, TODAY)
    assert any("does not report" in caution for caution in result.cautions)


def test_openai_advice_follows_its_closing_dates() -> None:
    hurried = {"priority": "speed", "data": "leave", "weights": "no"}
    assert provider_advice.recommend(machine(), hurried, EDITION).provider == "openai"
    assert any(
        flip.startswith("From 2026-05-07:")
        for flip in provider_advice.recommend(machine(), hurried, EDITION).flips
    )
    now = provider_advice.recommend(machine(), hurried, TODAY)
    assert now.provider == "cloud"
    assert "2027-01-06" in now.costs_of["openai"] and "in 50 days" in now.costs_of["openai"]
    closed = provider_advice.recommend(machine(), hurried, CLOSED)
    assert "Microsoft Foundry" in closed.costs_of["openai"]
    assert closed.costs_of["openai"].startswith("Not possible")


def test_near_tie_names_the_other_provider() -> None:
    result = provider_advice.recommend(machine(), {"size": "tiny", "priority": "speed"}, TODAY)
    assert {result.provider, result.close_to} == {"local", "cloud"}


def test_single_cloud_credential_answers_the_cloud_question() -> None:
    facts = machine(credentials=("gcp", "openai"))
    assert questions.complete_answers(facts, {}) == {"cloud": "gcp"}
    assert "cloud" not in [question.id for question in questions.open_questions(facts, {})]
    assert provider_advice.recommend(facts, {}, TODAY).platform == "vertex"
    two = machine(credentials=("gcp", "aws"))
    assert "cloud" in [question.id for question in questions.open_questions(two, {})]
    assert questions.complete_answers(facts, {"cloud": "aws"}) == {"cloud": "aws"}


def test_fit_answer_selects_the_fit_advice() -> None:
    for option in FIT.options:
        result = provider_advice.recommend(machine(), {"fit": option.id}, TODAY)
        assert result.fit == FIT_ADVICE[option.id]
        assert result.wrong_tool == (option.id == "facts")
    assert provider_advice.recommend(machine(), {}, TODAY).fit is None
    for option_id in ("facts", "unsure"):
        assert "RAG" in FIT_ADVICE[option_id] and "tools" in FIT_ADVICE[option_id]


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"dta": "stay"}, "Did you mean data?"),
        ({"data": "sty"}, "Did you mean stay?"),
        ({"": ""}, "Questions: fit"),
    ],
)
def test_unknown_answer_is_a_usage_error(answers: dict[str, str], says: str) -> None:
    with pytest.raises(FtwizardError) as error:
        provider_advice.recommend(machine(), answers, TODAY)
    assert error.value.exit_code == USAGE and says in error.value.hint


def test_question_texts_fit_a_terminal() -> None:
    for question in (FIT, *QUESTIONS):
        assert len(question.text) <= 50 and len(question.why) <= 80
        assert question.assumed is None or question.option(question.assumed)
        for option in question.options:
            assert len(option.label) <= 46 and len(option.when) <= 46
            assert (option.label + option.when).isprintable()


@given(_machines, _answers, _days)
def test_first_path_always_starts_here(
    facts: MachineInfo, answers: dict[str, str], today: datetime.date
) -> None:
    result = provider_advice.recommend(facts, answers, today)
    first, sizes = result.first, [need.size for need in catalog().needs]
    assert first.reasons
    if first.provider != "local":
        assert not first.problem and facts.credentials
        assert first.provider == "cloud" or today < datetime.date(2026, 7, 2)
        assert first.platform == (None if first.provider == "openai" else result.cloud)
        return
    assert bool(first.problem) == ("local" not in facts.extras)
    assert sizes.index(first.size) <= sizes.index(questions.wanted_size(answers))
    need = catalog().need(first.size)
    assert need.processors or questions.fits_here(facts, {"size": first.size})
    assert "openai" in result.start_problems or today < datetime.date(2026, 7, 2)
    for words in (*first.reasons, *first.cautions, *result.start_problems.values()):
        assert make_visible(words) == words


@pytest.mark.parametrize(
    ("facts", "answers", "size"),
    [
        (machine(), {}, "tiny"),
        (machine(2), {}, "tiny"),
        (machine(8), {}, "small"),
        (machine(24), {}, "medium"),
        (machine(80), {}, "medium"),
        (machine(80), {"size": "large"}, "large"),
        (machine(24), {"size": "large"}, "medium"),
        (machine(24), {"size": "tiny"}, "tiny"),
        (machine(), {"gpu_elsewhere": "own"}, "tiny"),
        (machine(credentials=("azure", "openai")), {"priority": "speed", "cloud": "aws"}, "tiny"),
    ],
)
def test_first_path_names_a_model_size_that_trains_here(
    facts: MachineInfo, answers: dict[str, str], size: str
) -> None:
    first = provider_advice.recommend(facts, answers, TODAY).first
    assert (first.provider, first.size, first.problem) == ("local", size, "")


def test_missing_libraries_are_named_before_anything_else() -> None:
    result = provider_advice.recommend(machine(24, extras=()), {}, TODAY)
    assert result.first.provider == "local"
    assert "pip install 'ftwizard[local]'" in result.first.problem
    assert result.start_problems["local"] == result.first.problem


def test_hosted_provider_comes_first_only_with_its_key() -> None:
    answers = {"size": "large", "data": "leave"}
    without = provider_advice.recommend(machine(), answers, TODAY)
    assert (without.provider, without.first.provider) == ("cloud", "local")
    assert "Set TOGETHER_API_KEY" in without.start_problems["cloud"]
    keyed = provider_advice.recommend(machine(credentials=("together",)), answers, TODAY)
    assert (keyed.first.provider, keyed.first.size, keyed.first.problem) == ("cloud", "large", "")
    assert "cloud" not in keyed.start_problems and "openai" in keyed.start_problems
    other = provider_advice.recommend(machine(credentials=("openai",)), answers, TODAY)
    assert other.first.provider == "local"
    kept = provider_advice.recommend(
        machine(credentials=("together",)), {**answers, "data": "stay"}, TODAY
    )
    assert kept.first.provider == "local", "an answer that rules it out counts more than a key"


def test_unknown_cloud_cannot_start() -> None:
    facts = machine(credentials=("aws", "gcp"))
    result = provider_advice.recommend(facts, {"data": "own-cloud", "size": "large"}, TODAY)
    assert result.first.provider == "local" and "which one" in result.start_problems["cloud"]


def test_a_login_of_a_cloud_lets_its_platform_start_first() -> None:
    clouds: dict[Service, str] = {"aws": "bedrock", "gcp": "vertex"}
    for cloud, platform in clouds.items():
        facts = machine(credentials=(cloud,))
        result = provider_advice.recommend(facts, {"size": "large", "data": "own-cloud"}, TODAY)
        assert (result.first.provider, result.first.platform) == ("cloud", platform)
        assert result.first.problem == "" and result.cloud == platform


def test_a_service_without_the_tuning_of_the_rows_is_not_recommended() -> None:
    facts = machine(credentials=("gcp", "aws", "together"))
    for cloud, name in (("gcp", "Google Vertex AI"), ("aws", "AWS Bedrock")):
        answers = {"cloud": cloud, "size": "medium"}
        any_rows = provider_advice.recommend(facts, answers, TODAY)
        pairs = provider_advice.recommend(facts, answers, TODAY, "preference")
        assert any_rows.first.platform == {"gcp": "vertex", "aws": "bedrock"}[cloud]
        assert (pairs.first.platform, pairs.cloud) == ("together", "together")
        assert f"{name} does not train on preference pairs." in pairs.first.cautions
        inside = {**answers, "data": "own-cloud"}
        ruled_out = provider_advice.recommend(facts, inside, TODAY, "preference").ruled_out
        assert any("does not train on preference pairs" in reason for reason in ruled_out)
    azure = provider_advice.recommend(facts, {"cloud": "azure"}, TODAY, "preference")
    assert azure.cloud == "foundry"
