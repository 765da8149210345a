"""Time of generated answers, and of the training objectives compared with each other."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.catalog.gpu_specs import find_gpu
from ftwizard.estimate import duration, generation, plan_estimate, training_machine
from ftwizard.estimate.batching import Lengths, from_counts
from ftwizard.estimate.plan_estimate import RecipeEstimate
from ftwizard.estimate.training_machine import TrainingMachine
from ftwizard.objectives import ObjectiveName
from ftwizard.plan.schema import DPO, GRPO, Data, Evaluate, Files, Model, Plan, Recipe, Samples
from tests.helpers.shapes import PUBLISHED

LLAMA = PUBLISHED["llama-3.1-8b"]
A100 = TrainingMachine(card=find_gpu("NVIDIA A100-SXM4-80GB"), gpu=True)
CPU = TrainingMachine(cores=8, bfloat16_cpu=True)
ROWS: Lengths = {"train": from_counts([300] * 400), "validation": from_counts([300] * 40)}
MACHINES = pytest.mark.parametrize("machine", [A100, CPU], ids=["gpu", "cpu"])


def estimate(
    machine: TrainingMachine, samples: Samples | None = None, **recipe: Any
) -> RecipeEstimate:
    plan = Plan(
        data=Data(files=Files(train="rows")), model=Model(name="m"), recipe=Recipe(**recipe),
        samples=samples or Samples(),
    )  # fmt: skip
    result = plan_estimate.estimate_on(machine, plan, ROWS, LLAMA)
    assert result is not None
    return result


def seconds(machine: TrainingMachine, **recipe: Any) -> float:
    time = estimate(machine, **recipe).time
    assert time is not None and time.lowest <= time.value <= time.highest
    return time.value


@MACHINES
def test_preferences_take_more_than_answers_by_their_passes(machine: TrainingMachine) -> None:
    answers = seconds(machine)
    pairs = seconds(machine, objective="dpo")
    # Two sequences, and a forward pass of the reference for each: of three or four.
    assert 2.2 * answers < pairs < 3 * answers
    asked_first = DPO(precompute_ref_log_probs=True)
    assert 2 * answers <= seconds(machine, objective="dpo", dpo=asked_first) < pairs
    labeled = seconds(machine, objective="kto")
    assert 1.5 * answers < labeled < 2.5 * answers, "three more forward passes"


@given(
    length=st.sampled_from([64, 256, 1024]),
    steps=st.integers(1, 20),
    machine=st.sampled_from([A100, CPU]),
)
def test_reinforcement_takes_longer_with_longer_answers_and_more_steps(
    length: int, steps: int, machine: TrainingMachine
) -> None:
    def time(length: int, steps: int, **grpo: Any) -> float:
        settings = GRPO(max_completion_length=length, num_generations=4, **grpo)
        return seconds(machine, objective="grpo", max_steps=steps, grpo=settings)

    assert time(length, steps) < time(2 * length, steps) < 2.5 * time(length, steps)
    assert time(length, steps + 1) > time(length, steps)
    assert time(length, steps, beta=0.1) > time(length, steps), "the reference is asked"
    assert time(length, steps, num_iterations=2) < time(length, 2 * steps)


@MACHINES
def test_reinforcement_has_a_range_that_names_the_assumed_answers(
    machine: TrainingMachine,
) -> None:
    result = estimate(machine, objective="grpo", grpo=GRPO(max_completion_length=512))
    assert result.time and result.time.highest > 4 * result.time.lowest
    assert "answers of 64 to 512 tokens, 4 answers at once" in result.time.source
    assert "rewards not included" in result.time.source
    assert result.parts["evaluations"].value > 0
    alone = plan_estimate.estimate_on(
        machine,
        Plan(
            data=Data(files=Files(train="rows")), model=Model(name="m"),
            recipe=Recipe(objective="grpo"),
        ),
        {"train": ROWS["train"]}, LLAMA,
    )  # fmt: skip
    assert alone and "evaluations" not in alone.parts


@MACHINES
@pytest.mark.parametrize("objective", ["sft", "dpo", "kto", "grpo"])
def test_general_text_takes_time_in_evaluations_of_preferences_and_rewards(
    machine: TrainingMachine, objective: ObjectiveName
) -> None:
    times = []
    for general in (True, False):
        plan = Plan(
            data=Data(files=Files(train="rows")), model=Model(name="m"),
            recipe=Recipe(objective=objective), evaluate=Evaluate(general=general),
        )  # fmt: skip
        result = plan_estimate.estimate_on(machine, plan, ROWS, LLAMA)
        assert result is not None and result.time is not None
        times.append((result.parts["evaluations"].value, result.time.value))
    (scored, training), (plain, same) = times
    assert training == same
    assert (scored > plain) == (objective != "sft")
    assert scored < plain + training / 10


def test_memory_of_reinforcement_ranges_from_short_to_the_longest_answers() -> None:
    def peak(length: int) -> Any:
        grpo = GRPO(max_completion_length=length)
        memory = estimate(A100, objective="grpo", batch_size=32, grpo=grpo).memory
        assert memory
        return memory.peak

    long, short = peak(2048), peak(256)
    assert short.low < long.low < short.value, "an eighth of 2,048 is 256"
    assert long.value > short.value and long.high > 1.5 * long.low


def test_reinforcement_on_a_gpu_of_unknown_speed_is_unknown() -> None:
    result = estimate(TrainingMachine(gpu=True), objective="grpo")
    assert result.time is None and result.whole is None and result.memory is not None


def test_a_token_takes_at_least_one_read_of_the_weights() -> None:
    setup = training_machine.resolve_setup(Recipe(), A100)
    processor = generation.Processor(A100.card, gpu=True, cores=0, bf16=False)
    token = generation.estimate_token(LLAMA, setup, processor, 1)
    assert token and A100.card and A100.card.bandwidth
    assert token.value > 2 * LLAMA.parameters / (A100.card.bandwidth * 1e9)
    assert generation.estimate_token(LLAMA, setup, processor, 64) == msgspec.structs.replace(
        token, source="one forward pass for a token in each of 64 answers"
    )


@MACHINES
def test_samples_stay_within_their_time_limits(machine: TrainingMachine) -> None:
    result = estimate(machine, Samples(count=3, max_tokens=100_000))
    each = result.parts["evaluations"].value / result.evaluations
    later = result.evaluations * max(1.0, each / 2)
    samples = result.parts["samples"]
    assert samples.value == pytest.approx(10 + later) and samples.highest <= 1.5 * (10 + later)
    few = estimate(machine, Samples(count=3, max_tokens=4)).parts["samples"]
    assert few.value < samples.value / 5
    assert "samples" not in estimate(machine, Samples(count=0)).parts


def test_many_small_steps_on_a_cpu_take_the_time_of_their_steps() -> None:
    tiny: Lengths = {"train": from_counts([4] * 1000), "validation": None}
    plan = Plan(data=Data(files=Files(train="rows")), model=Model(name="m"),
                recipe=Recipe(batch_size=1, epochs=1))  # fmt: skip
    many = msgspec.structs.replace(CPU, cores=10_000)
    result = plan_estimate.estimate_on(many, plan, tiny, LLAMA)
    assert result and result.time
    assert result.time.value > 1000 * (
        duration.CPU_STEP_S + 3 * LLAMA.layers * duration.CPU_LAYER_S
    )
