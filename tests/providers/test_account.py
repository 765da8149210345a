"""What an account may train, looked up live by ``doctor --provider``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ftwizard import kept_keys
from ftwizard.catalog import hosted_models
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.providers import account
from tests.doubles import http_server
from tests.doubles.openai_service import serve
from tests.e2e.cli import run
from tests.helpers.hosted_doubles import serve_double

KEY = "sk-account-0123456789abcdef"
MINI = "gpt-4.1-mini-2025-04-14"


@contextmanager
def serve_models(*models: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Serve an account with these models and no jobs; yield the environment that reaches it."""

    class Account(http_server.SilentHandler):
        def answer(self) -> None:
            status = 200
            document: dict[str, Any] = {"object": "list", "data": [], "has_more": False}
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                status = 401
                message = f"Incorrect API key provided: {self.headers.get('Authorization')}"
                document = {"error": {"message": message, "code": "invalid_api_key"}}
            elif self.path.startswith("/v1/models/"):
                named = [each for each in models if each["id"] == self.path.split("/")[-1]]
                status = 200 if named else 404
                missing = {"error": {"message": "no such model", "code": "model_not_found"}}
                document = named[0] if named else missing
            elif self.path.startswith("/v1/models"):
                document["data"] = list(models)
            data = json.dumps(document).encode()
            self.send(status, data, {"Content-Type": "application/json"})

    with http_server.serve(Account) as port:
        yield {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}


def model(id: str, shutdown: str | None = None) -> dict[str, Any]:
    return {"id": id, "object": "model", "created": 1, "owned_by": "x", "shutdown_date": shutdown}


def test_live_models_are_joined_with_the_catalog() -> None:
    models = (model("gpt-6-luna"), model("gpt-4.1-mini"), model(MINI, "2099-01-14"))
    with serve_models(*models, model("ft:gpt-4.1-mini-2025-04-14:me::1")) as environment:
        report = account.inspect_account("openai", environment=environment)
    assert report.error is None and report.ready, report
    by_id = {each.id: each for each in report.models}
    assert {"gpt-6-luna", "gpt-4.1-mini", "ft:gpt-4.1-mini-2025-04-14:me::1"}.isdisjoint(by_id)
    assert report.models[0].id == MINI
    assert by_id[MINI].recommended and by_id[MINI].shutdown == "2099-01-14"
    assert by_id[MINI].methods == ("supervised", "preference")
    assert not by_id["gpt-4.1-2025-04-14"].tunable
    assert "does not list" in by_id["gpt-4.1-2025-04-14"].note
    assert report.key is not None and report.key.where == "variable"


def test_a_model_that_was_shut_down_is_explained_with_alternatives() -> None:
    with serve_models(model(MINI), model("o4-mini-2025-04-16", "2020-01-01")) as environment:
        report = account.inspect_account("openai", "o4-mini", environment)
    assert not report.ready and report.cause == "missing"
    assert report.error is not None and "o4-mini" in report.error
    assert MINI in report.hint
    assert [each.provider for each in report.alternatives] == ["foundry", "together", "local"]


def test_the_command_prints_the_same_without_any_key() -> None:
    with serve_models(model(MINI)) as environment:
        good = run("doctor", "--provider", "openai", "--json", environment=environment)
        text = run("doctor", "--provider", "openai", environment=environment)
        wrong = environment | {"OPENAI_API_KEY": "sk-wrong-0123456789"}
        bad = run("doctor", "--provider", "openai", "--json", environment=wrong)
    assert (good.returncode, text.returncode, bad.returncode) == (0, 0, 1), bad.stderr
    assert json.loads(good.stdout)["models"][0]["id"] == MINI
    assert "OPENAI_API_KEY in the environment" in text.stdout
    document = json.loads(bad.stdout)
    assert (document["ready"], document["cause"]) == (False, "key")
    for done in (good, text, bad):
        assert KEY not in done.stdout + done.stderr
        assert "sk-wrong-0123456789" not in done.stdout + done.stderr


def test_a_kept_key_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    kept_keys.keep_key("openai", {"OPENAI_API_KEY": KEY}, where="file")
    with serve_models(model(MINI)) as environment:
        del environment["OPENAI_API_KEY"]
        report = account.inspect_account("openai", environment=environment)
    assert report.ready, report
    assert report.key is not None and report.key.where == "file"


def test_a_missing_key_is_one_error() -> None:
    names = [name for each in PLATFORMS.values() for name in each.variables]
    environment = {name: "" for name in names if name in os.environ}
    done = run("doctor", "--provider", "foundry", "--json", environment=environment)
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert (document["key"], document["cause"], document["code"]) == (None, "key", "no_key")
    assert "AZURE_OPENAI_API_KEY and AZURE_OPENAI_ENDPOINT" in document["error"]
    assert run("doctor", "--model", "gpt-4.1").returncode == 2


def test_dated_models_of_foundry_are_those_of_the_catalog() -> None:
    with serve(foundry=True) as service:
        report = account.inspect_account("foundry", environment=service.environment)
        checked = account.inspect_account("foundry", "o4-mini", service.environment)
    assert report.ready and checked.ready, (report, checked)
    by_id = {each.id: each for each in report.models}
    assert report.models[0].id == MINI and by_id[MINI].recommended
    assert by_id[MINI].methods == ("supervised", "preference")
    assert by_id["o4-mini-2025-04-16"].methods == ("reinforcement",)
    assert by_id["gpt-4o-mini-2024-07-18"].methods == ("supervised",)


def test_a_model_tuned_at_foundry_is_not_its_base() -> None:
    assert hosted_models.find_listed("gpt-4.1-mini-2025-04-14.ft-1-x", "foundry") is None


@pytest.mark.parametrize("provider", PLATFORMS)
def test_an_account_is_checked_without_changing_anything(
    provider: HostedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_double(provider) as double:
        for (
            name,
            value,
        ) in double.environment.items():  # Google's libraries read that of the process
            monkeypatch.setenv(name, value)
        report = account.inspect_account(provider)
        assert double.list_jobs() == double.list_files() == []
    assert report.ready and report.error is None, report
    assert any(model.tunable for model in report.models)
    assert (report.login is None) == bool(PLATFORMS[provider].variables)
    assert report.endpoint and double.key not in repr(report)


def test_a_region_that_does_not_train_the_model_is_a_caution() -> None:
    with serve_double("bedrock") as double:
        environment = {**double.environment, "AWS_DEFAULT_REGION": "eu-west-1"}
        report = account.inspect_account("bedrock", environment=environment)
        lost = account.inspect_account(
            "bedrock", environment={**environment, "AWS_SECRET_ACCESS_KEY": "x"}
        )
    assert report.ready and report.error is None, report
    assert report.key is None and report.login is not None
    assert (report.login.region, report.login.account) == ("eu-west-1", "123456789012")
    cautions = " ".join(report.cautions)
    assert "is trained in us-east-1, and your region is eu-west-1" in cautions
    assert "Set bedrock.region in the plan" in cautions and "bedrock.bucket" in cautions
    llama = next(model for model in report.models if "llama3-3" in model.id)
    assert llama.tunable and llama.regions == ("us-west-2",)
    assert (lost.cause, lost.login) == ("key", None) and double.key not in repr((report, lost))
