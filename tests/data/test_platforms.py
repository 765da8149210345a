"""The rules of each place are whole, and speak of codes and formats that exist."""

from __future__ import annotations

import pickle
from typing import get_args

import pytest

from ftwizard.data.example import ROLES
from ftwizard.data.format_names import TargetName
from ftwizard.data.platforms import all_targets, get_target, severities


def test_every_name_has_its_rules() -> None:
    assert set(all_targets()) == set(get_args(TargetName))
    with pytest.raises(KeyError):
        get_target("nowhere")


@pytest.mark.parametrize("name", sorted(all_targets()))
def test_rules_agree_with_themselves(name: str) -> None:
    target = get_target(name)
    assert set(target.severities) <= set(severities())
    assert set(target.roles) <= set(ROLES)
    assert set(target.first) <= set(target.roles) and set(target.last) <= set(target.roles)
    assert target.sources and target.as_of
    assert target.min_rows <= (target.max_rows or target.min_rows)
    if target.images is not None:
        assert target.images.schemes and set(target.images.roles) <= set(target.roles)
    by_method = {"sft": "chat", "dpo": "preference", "kto": "labelled", "rft": "prompt"}
    assert by_method[target.method] in target.kinds


def test_a_method_that_ftwizard_does_not_train_is_named_as_such() -> None:
    for target in all_targets().values():
        says_so = any("ftwizard cannot train" in note for note in target.notes)
        assert says_so is (not target.hosted and target.method != "sft")
        assert ("local training" in target.words) is (target.name == "trl-sft")


def test_how_grave_a_finding_is() -> None:
    assert get_target("openai-sft").severity("bom") == "warning"
    assert get_target("trl-sft").severity("bom") is None
    assert get_target("trl-sft").severity("no_assistant") == "error"
    assert not (set(severities()) & {"off"})


def test_a_place_survives_the_way_to_another_process() -> None:
    there = pickle.loads(pickle.dumps(get_target("openai-sft")))
    assert there.name == "openai-sft" and there.images == get_target("openai-sft").images
