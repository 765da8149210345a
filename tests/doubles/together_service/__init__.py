"""Double of Together's service on loopback, under the official SDK."""

from tests.doubles.together_service.scenario import KEY, LLAMA, QWEN, Fault, Model, Scenario
from tests.doubles.together_service.server import serve_together
from tests.doubles.together_service.service import TogetherService

__all__ = [
    "KEY", "LLAMA", "QWEN", "Fault", "Model", "Scenario", "TogetherService", "serve_together",
]  # fmt: skip
