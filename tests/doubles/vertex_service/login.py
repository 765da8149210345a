"""Logins: a service account with its key file, and the tokens that it gets."""

from __future__ import annotations

import functools
import json
import time
import uuid
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import exceptions, jwt

from tests.doubles.vertex_service.errors import ServiceError
from tests.doubles.vertex_service.scenario import Scenario

ACCOUNT = "ftwizard@demo-project.iam.gserviceaccount.com"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCE = "https://oauth2.googleapis.com/token"
"""That of an assertion, wherever the token endpoint is."""
SCOPES = (
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/devstorage.full_control",
    "https://www.googleapis.com/auth/devstorage.read_write",
)
_REFUSALS = {
    "revoked": "Token has been expired or revoked.",
    "no key": "Invalid JWT Signature.",
    "clock": "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
    "timeframe. Check your iat and exp values in the JWT claim.",
}


@functools.cache
def make_key() -> tuple[str, str]:
    """Return a private key in PEM and its public one; the same for all doubles of a process."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


class TokenRefused(Exception):
    """Raised where the token endpoint answers with an error of OAuth."""

    def __init__(self, status: int, error: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.document = {"error": error, "error_description": text}


class Logins:
    """The service account of a double, and the tokens that it has."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.secret = f"ya29.c.double-{uuid.uuid4().hex}"
        """Beginning of all tokens."""
        self._tokens: dict[str, float] = {}
        self.address = ""

    def write_key_file(self, folder: Path) -> Path:
        """Write the key file of the service account, as the console gives it."""
        path = folder / "service-account.json"
        record = {
            "type": "service_account",
            "project_id": self._scenario.project,
            "private_key_id": "abc0123456789",
            "private_key": make_key()[0],
            "client_email": ACCOUNT,
            "client_id": "100000000000000000001",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": f"{self.address}/token",
            "universe_domain": "googleapis.com",
        }
        path.write_text(json.dumps(record, indent=2))
        path.chmod(0o600)
        return path

    def issue(self, form: dict[str, str]) -> dict[str, Any]:
        """Return a token for a signed assertion; raise TokenRefused."""
        login = self._scenario.login
        if login == "down":
            raise TokenRefused(503, "internal_failure", "The service is unavailable.")
        if login != "works":
            raise TokenRefused(400, "invalid_grant", _REFUSALS[login])
        if form.get("grant_type") != GRANT:
            raise TokenRefused(400, "unsupported_grant_type", "Invalid grant_type")
        try:
            claims = jwt.decode(  # type: ignore[no-untyped-call]
                form.get("assertion", ""),
                certs=make_key()[1],
                audience=[AUDIENCE, f"{self.address}/token"],
            )
        except (ValueError, exceptions.GoogleAuthError):
            raise TokenRefused(400, "invalid_grant", "Invalid JWT Signature.") from None
        if claims.get("iss") != ACCOUNT:
            raise TokenRefused(400, "invalid_grant", "Invalid grant: account not found")
        if claims["exp"] - claims["iat"] > 3600:
            raise TokenRefused(400, "invalid_grant", _REFUSALS["clock"])
        if not set(str(claims.get("scope", "")).split()) & set(SCOPES):
            raise TokenRefused(400, "invalid_scope", "Empty or missing scope not allowed.")
        token = f"{self.secret}.{len(self._tokens)}"
        self._tokens[token] = time.time() + self._scenario.token_s
        return {
            "access_token": token,
            "expires_in": self._scenario.token_s,
            "token_type": "Bearer",
        }

    def check(self, authorization: str | None) -> None:
        """Raise ServiceError unless a request has a token that is valid."""
        text = (
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login "
            "cookie or other valid authentication credential. See "
            "https://developers.google.com/identity/sign-in/web/devconsole-project."
        )
        if not authorization:
            text = (
                "Request is missing required authentication credential. " + text.partition(". ")[2]
            )
            raise _refuse_token(text, "CREDENTIALS_MISSING")
        end = self._tokens.get(authorization.removeprefix("Bearer "))
        if end is None:
            raise _refuse_token(text, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        if end < time.time():
            raise _refuse_token(text, "ACCESS_TOKEN_EXPIRED")

    def expire(self) -> None:
        """Let all tokens so far be expired."""
        self._tokens = dict.fromkeys(self._tokens, 0.0)


def _refuse_token(text: str, reason: str) -> ServiceError:
    return ServiceError(401, text, reason=reason, metadata={"service": "aiplatform.googleapis.com"})
