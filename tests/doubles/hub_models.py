"""Fake Hugging Face Hub that lists models and serves their config.json, over HTTP on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args
from urllib.parse import parse_qs, urlsplit

from huggingface_hub.hf_api import ExpandModelProperty_T

from tests.doubles import http_server
from tests.doubles.hub import COMMIT

JSON = {"Content-Type": "application/json"}


class ModelHub:
    """The models of the server, and the searches that it received."""

    def __init__(self, models: list[dict[str, Any]]) -> None:
        self.models = models
        """As in the Hub's answers; ``config_json`` is the file, and not part of an answer."""
        self.searches: list[str] = []
        self.status = 200
        self.released = threading.Event()
        """Clear it to let every answer hang until it is set."""
        self.released.set()
        self.url = ""

    def search(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        """Answer ``/api/models`` as the Hub does: only fields that were asked for."""
        unknown = set(query.get("expand", ())) - set(get_args(ExpandModelProperty_T))
        if unknown:
            return 400, {"error": f"Invalid expand: {unknown}"}
        words = query.get("search", [""])[0].lower()
        matches = [model for model in self.models if words in str(model["id"]).lower()]
        limit = int(query.get("limit", ["1000"])[0])
        fields = {"id", *query.get("expand", ())}
        return 200, [{k: v for k, v in model.items() if k in fields} for model in matches[:limit]]


@contextmanager
def serve(*models: dict[str, Any]) -> Iterator[ModelHub]:
    """Serve these models until the block ends."""
    hub = ModelHub(list(models))

    class Handler(http_server.SilentHandler):
        def answer(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/api/models":
                query = parse_qs(url.query)
                hub.searches.append(query.get("search", [""])[0])
                hub.released.wait(60)
                status, answer = hub.search(query) if hub.status == 200 else (hub.status, {})
                self.send(status, json.dumps(answer).encode(), JSON)
                return
            for model in hub.models:
                if url.path == f"/{model['id']}/resolve/main/config.json":
                    data = json.dumps(model["config_json"]).encode()
                    headers = {"ETag": '"config"', "X-Repo-Commit": COMMIT, **JSON}
                    self.send(200, data, headers)
                    return
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound", **JSON})

    with http_server.serve(Handler) as port:
        hub.url = f"http://127.0.0.1:{port}"
        yield hub


def describe_model(name: str, **changed: Any) -> dict[str, Any]:
    """Return a model as the Hub describes it: open, with a chat template."""
    fields: dict[str, Any] = {
        "id": name, "gated": False, "tags": ["transformers", "safetensors", "license:apache-2.0"],
        "downloads": 100, "safetensors": {"parameters": {"BF16": 500_000_000}, "total": 500_000_000},
        "config": {
            "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"],
            "tokenizer_config": {"chat_template": "{{ messages }}"},
        },
        "config_json": {
            "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
            "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
            "vocab_size": 151936, "tie_word_embeddings": True,
        },
    }  # fmt: skip
    return {**fields, **changed}
