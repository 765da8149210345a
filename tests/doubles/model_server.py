"""An OpenAI-compatible server of a real model folder in the test process, with defects on request."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.doubles.http_server import SilentHandler, serve


class ServedModel:
    """Greedy answers of a model folder."""

    def __init__(
        self,
        folder: Path,
        *,
        adapter: Path | None = None,
        system: str | None = None,
        stops: bool = True,
        context: int | None = None,
        samples: bool = False,
        logprobs: bool = True,
        tokenizer: Path | None = None,
    ) -> None:
        """Load it. Defects: a ``system`` prompt that is added, answers that never stop, prompts cut to
        ``context`` tokens, and answers that change although the temperature is 0."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer or adapter or folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
        if adapter:
            from peft import PeftModel

            self.model = PeftModel.from_pretrained(self.model, adapter)
        self.model.eval()
        self._system, self._stops, self._context = system, stops, context
        self._samples, self._logprobs, self._count = samples, logprobs, itertools.count()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to a chat completion."""
        import torch

        messages = body["messages"]
        if self._system:
            messages = [{"role": "system", "content": self._system}, *messages]
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if self._context:
            ids = ids[-self._context :]
        stops = self.model.generation_config.eos_token_id if self._stops else None
        with torch.no_grad():
            output = self.model.generate(
                torch.tensor([ids]), max_new_tokens=body["max_tokens"], do_sample=False,
                eos_token_id=stops if stops is not None else -1, pad_token_id=0,
                output_scores=True, return_dict_in_generate=True,
            )  # fmt: skip
        new = output.sequences[0, len(ids) :].tolist()
        ends = stops if isinstance(stops, list) else [stops]
        ended = new[-1] in ends
        content = str(self.tokenizer.decode(new[:-1] if ended else new, skip_special_tokens=True))
        if self._samples:
            content += f" {next(self._count)}"
        steps = [
            {"token": self.tokenizer.decode([token]), "bytes": None, "top_logprobs": [],
             "logprob": float(score[0].log_softmax(-1)[token])}
            for token, score in zip(new, output.scores, strict=True)
        ]  # fmt: skip
        choice: dict[str, Any] = {
            "index": 0, "finish_reason": "stop" if ended else "length",
            "message": {"role": "assistant", "content": content},
        }  # fmt: skip
        if self._logprobs and body.get("logprobs"):
            choice["logprobs"] = {"content": steps}
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(new),
                 "total_tokens": len(ids) + len(new)}  # fmt: skip
        return {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
                "choices": [choice], "usage": usage}  # fmt: skip


@contextmanager
def serve_model(model: ServedModel, name: str) -> Iterator[str]:
    """Serve until the block ends; yield the base URL."""

    class Handler(SilentHandler):
        def answer(self) -> None:
            body = {"object": "list", "data": [
                {"id": name, "object": "model", "created": 0, "owned_by": "test"}
            ]}  # fmt: skip
            self.reply(200, body) if self.path == "/v1/models" else self.reply(404, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/chat/completions":
                self.reply(404, {})
            else:
                self.reply(200, model.answer(body))

        def reply(self, status: int, body: dict[str, Any]) -> None:
            self.send(status, json.dumps(body).encode(), {"Content-Type": "application/json"})

    with serve(Handler) as port:
        yield f"http://127.0.0.1:{port}/v1"
