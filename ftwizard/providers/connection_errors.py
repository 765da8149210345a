"""Causes of a connection that failed, which the errors of an SDK hide."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable, Iterable, Iterator

_EARLY, _EXPIRED = 9, 10
"""OpenSSL's codes for a certificate that is not valid yet, and for one that has expired."""


def iterate_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what an error was raised from, the nearest first."""
    cause = error.__cause__ or error.__context__
    for _ in range(20):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def describe_certificate(
    causes: Iterable[BaseException], host: str, redact: Callable[[str], str]
) -> tuple[str, str, str] | None:
    """Return the message, the next step and a code where a certificate is the cause; else None."""
    error = next((each for each in causes if isinstance(each, ssl.SSLCertVerificationError)), None)
    if error is None:
        return None
    if error.verify_code in (_EARLY, _EXPIRED):
        state = "is not valid yet" if error.verify_code == _EARLY else "has expired"
        now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        return (
            f"The certificate of {host} {state}, by this machine's clock ({now}).",
            "Check the date. If it is wrong, set the clock: timedatectl set-ntp true",
            "clock",
        )
    reason = redact(error.verify_message or "unknown reason")
    return (
        f"The certificate of {host} could not be verified: {reason}.",
        "Behind a proxy that inspects traffic, set SSL_CERT_FILE to its certificate.",
        "certificate",
    )
