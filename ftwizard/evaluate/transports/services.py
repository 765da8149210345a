"""Lookup of the service behind an address of an SDK."""

from __future__ import annotations

from urllib.parse import urlsplit

from ftwizard.errors import MissingExtra
from ftwizard.evaluate.transports.transport import ChatService


def connect(address: str, timeout_s: float) -> ChatService:
    """Return the service at an address of an SDK: ``bedrock://REGION``, ``vertex://PROJECT/LOCATION``.

    ``timeout_s``: for one answer. Nothing is sent. Raises MissingExtra without the SDK, FtwizardError
    where it finds no credentials or cannot use the region.
    """
    parts = urlsplit(address)
    if parts.scheme == "bedrock":
        try:
            from ftwizard.evaluate.transports.converse import ConverseService
        except ModuleNotFoundError as error:
            raise _explain_import(error, "bedrock", "boto3") from None
        return ConverseService(parts.netloc, timeout_s)
    try:
        from ftwizard.evaluate.transports.gemini import GeminiService
    except ModuleNotFoundError as error:
        raise _explain_import(error, "vertex", "google-genai") from None
    return GeminiService(parts.netloc, parts.path.strip("/"), timeout_s)


def _explain_import(error: ModuleNotFoundError, extra: str, package: str) -> Exception:
    missing = (error.name or "").partition(".")[0]
    return MissingExtra(extra, package) if missing in ("boto3", "botocore", "google") else error
