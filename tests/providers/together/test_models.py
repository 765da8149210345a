"""Models that Together fine-tunes."""

from __future__ import annotations

from tests.doubles.together_service import LLAMA, QWEN
from tests.doubles.together_service import Model as TunableModel
from tests.providers.together.world import MakeWorld, refused


def test_a_model_that_is_not_tunable_is_named_with_a_near_one(make_world: MakeWorld) -> None:
    world = make_world()
    with refused("missing", "Qwen/Qwen3-8", f"Did you mean {QWEN}"):
        world.platform.check_plan(world.make_plan("Qwen/Qwen3-8"))


def test_the_first_page_of_models_is_not_all(make_world: MakeWorld) -> None:
    world = make_world(models={f"x/m{n}": TunableModel() for n in range(7)}, page_size=3)
    assert len(world.platform.list_models()) == 7


def test_a_service_without_the_catalog_still_lists_its_models(make_world: MakeWorld) -> None:
    world = make_world(has_v2=False)
    assert [model.id for model in world.platform.list_models()] == [LLAMA, QWEN]
    assert world.platform.get_endpoint(LLAMA, world.make_plan()) is None
