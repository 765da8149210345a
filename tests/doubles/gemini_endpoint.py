"""Google's generateContent on loopback, with the token service of a service account."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.doubles.http_server import SilentHandler, serve

TOKEN = "ya29.test-token-of-nobody"


class GeminiReply:
    """An answer of a model, or an error."""

    def __init__(
        self,
        *texts: str,
        finish: str | None = "STOP",
        thoughts: int = 0,
        status: int = 200,
        body: Any = None,
        headers: dict[str, str] | None = None,
        delay_s: float = 0.0,
    ) -> None:
        """``texts``: parts, of which a stream has one each."""
        self.texts, self.finish, self.thoughts = texts, finish, thoughts
        self.status, self.body, self.headers = status, body, headers or {}
        self.delay_s = delay_s

    def list_documents(self) -> Iterator[dict[str, Any]]:
        """Yield the replies of a stream."""
        if self.body is not None:
            yield self.body
            return
        for text in self.texts:
            yield {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]}
        yield {"candidates": [{"finishReason": self.finish}], "usageMetadata": self.usage}

    @property
    def document(self) -> dict[str, Any]:
        """Return the reply without streaming."""
        if self.body is not None:
            return dict(self.body)
        content = {"role": "model", "parts": [{"text": text} for text in self.texts]}
        return {
            "candidates": [{"content": content, "finishReason": self.finish}],
            "usageMetadata": self.usage,
        }

    @property
    def usage(self) -> dict[str, int]:
        """Return the counts, of which those that are 0 are absent."""
        counts = {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12}
        return counts | ({"thoughtsTokenCount": self.thoughts} if self.thoughts else {})


def refuse_gemini(
    status: int, code: str, message: str, *details: dict[str, Any], **headers: str
) -> GeminiReply:
    """Return an error as Google words it."""
    error = {"code": status, "message": message, "status": code, "details": list(details)}
    return GeminiReply(status=status, body={"error": error}, headers=headers)


class GeminiEndpoint:
    """What the server was asked."""

    def __init__(self, reply: Callable[[dict[str, Any]], GeminiReply]) -> None:
        self.reply = reply
        self.requests: list[dict[str, Any]] = []
        """Bodies, each with its ``path``."""
        self.is_revoked = False
        """Whether the credentials are refused."""
        self.address = ""


@contextmanager
def serve_gemini(reply: Callable[[dict[str, Any]], GeminiReply]) -> Iterator[GeminiEndpoint]:
    """Serve until the block ends."""
    endpoint = GeminiEndpoint(reply)

    class Handler(SilentHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/token":
                return self._send_token()
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self._send(refuse_gemini(401, "UNAUTHENTICATED", "No credentials."))
            body = json.loads(data)
            body["path"] = self.path
            endpoint.requests.append(body)
            answer = endpoint.reply(body)
            time.sleep(answer.delay_s)
            return self._send(answer)

        def _send_token(self) -> None:
            document: dict[str, Any] = {
                "access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer",
            }  # fmt: skip
            if endpoint.is_revoked:
                text = "Token has been expired or revoked."
                document = {"error": "invalid_grant", "error_description": text}
            status = 400 if endpoint.is_revoked else 200
            headers = {"Content-Type": "application/json"}
            self.send(status, json.dumps(document).encode(), headers)

        def _send(self, answer: GeminiReply) -> None:
            kind, data = "application/json", json.dumps(answer.document).encode()
            if "alt=sse" in self.path and answer.status == 200:
                kind = "text/event-stream"
                lines = [f"data: {json.dumps(each)}\r\n\r\n" for each in answer.list_documents()]
                data = "".join(lines).encode()
            with suppress(BrokenPipeError, ConnectionResetError):  # it did not wait
                self.send(answer.status, data, {"Content-Type": kind, **answer.headers})

    with serve(Handler) as port:
        endpoint.address = f"http://127.0.0.1:{port}"
        yield endpoint


def write_service_account(path: Path, address: str) -> None:
    """Write the key file of a service account whose tokens come from ``address``."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    document = {
        "type": "service_account", "project_id": "demo-project", "private_key_id": "abc",
        "private_key": pem, "client_email": "ft@demo-project.iam.gserviceaccount.com",
        "client_id": "1", "token_uri": f"{address}/token",
    }  # fmt: skip
    path.write_text(json.dumps(document))
