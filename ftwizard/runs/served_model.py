"""The served model of a run: the document of ``serve --json``, and of a server's ``ready`` event."""

from __future__ import annotations

from typing import Literal

import msgspec

Engine = Literal["llama.cpp", "transformers"]


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """An OpenAI-compatible endpoint on this machine, which answers until the command ends."""

    run: str
    model: str
    """Name to send as ``model``: the run's id."""
    url: str
    """Base URL for clients, with ``/v1``; on loopback only."""
    engine: Engine
    weights: str
    """Folder of the merged model, or GGUF file."""
    device: str
    key_file: str | None = None
    """Private file (0600) with the key that requests need; None if they need none."""
