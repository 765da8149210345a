"""Target rules: complete, consistent, and limited to known codes and formats."""

from __future__ import annotations

import pickle
from typing import get_args

import msgspec
import pytest

from ftwizard.data.example import ROLES
from ftwizard.data.format_names import TargetName
from ftwizard.data.platforms import all_targets, get_target, severities
from ftwizard.plan import schema


def test_every_target_name_has_rules() -> None:
    assert set(all_targets()) == set(get_args(TargetName))
    with pytest.raises(KeyError):
        get_target("nowhere")


@pytest.mark.parametrize("name", sorted(all_targets()))
def test_rules_of_each_target_are_consistent(name: str) -> None:
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


def test_targets_of_this_machine_are_those_that_ftwizard_trains() -> None:
    local = {target.name for target in all_targets().values() if not target.hosted}
    assert local == set(schema.LOCAL_TARGETS.values())
    for target in all_targets().values():
        assert target.words.startswith("local training") is not target.hosted


def test_severity_of_a_code_depends_on_the_target() -> None:
    assert get_target("bedrock-nova").severity("bom") == "warning"
    assert get_target("openai-sft").severity("bom") == "error"
    assert get_target("together-sft").severity("bom") == "error"
    assert get_target("trl-sft").severity("bom") is None
    assert get_target("trl-sft").severity("no_assistant") == "error"
    assert not (set(severities()) & {"off"})


def test_pickled_target_is_the_same_object_unless_it_was_changed() -> None:
    target = get_target("openai-sft")
    assert pickle.loads(pickle.dumps(target)) is target
    changed = msgspec.structs.replace(target, max_tokens=123)
    copy = pickle.loads(pickle.dumps(changed))
    assert (copy.name, copy.max_tokens, copy.images) == ("openai-sft", 123, target.images)
