"""Keys and addresses of platforms: checks before anything is sent, and addresses without secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.providers.base import ProviderError
from ftwizard.text import make_visible

_Client = TypeVar("_Client")


def read_key(provider: HostedProvider, environment: Mapping[str, str]) -> str:
    """Return the key; raise ProviderError if there is none, or one that cannot be sent."""
    variable, page = PLATFORMS[provider].key_variable, PLATFORMS[provider].key_page
    key = environment.get(variable, "").strip()
    if not key:
        raise ProviderError(
            "key",
            f"{variable} is not set.",
            f"Create a key at {page}, and export it.",
            code="no_key",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ProviderError(
            "key",
            f"{variable} has characters that no key has, such as spaces or line breaks.",
            f"Copy the key again from {page}.",
            code="malformed_key",
        )
    return key


def check_address(address: str, provider: HostedProvider) -> None:
    """Raise ProviderError if an address is not one of HTTP."""
    variable = PLATFORMS[provider].address_variable
    try:
        parts = urlsplit(address)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_valid = (
            is_valid
            and (parts.port is None or parts.port > 0)
            and address.isprintable()
            and " " not in address
        )
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ProviderError(
            "unreachable",
            f"{variable} is not a URL: {make_visible(hide_secrets(address), 100)}.",
            "Set it to the base URL of the API, which begins with https://.",
            code="address",
        )


def make_client(make: Callable[[], _Client]) -> _Client:
    """Return the HTTP client of an SDK; raise ProviderError where the environment keeps it from being made.

    Messages of the client are not shown: an address of a proxy may have a password in it.
    """
    try:
        return make()
    except ImportError:
        message = "A SOCKS proxy needs the package socksio, which is not installed."
        hint = "Install it next to ftwizard, or set ALL_PROXY and HTTPS_PROXY to an HTTP proxy."
    except OSError as error:
        message = f"The certificates of SSL_CERT_FILE or SSL_CERT_DIR could not be read: {error.strerror}."
        hint = "Correct these variables, or remove them: unset SSL_CERT_FILE SSL_CERT_DIR"
    except Exception as error:
        if not isinstance(error, ValueError) and type(error).__name__ != "InvalidURL":
            raise
        message = "The address of a proxy in the environment cannot be used."
        hint = "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."
    raise ProviderError("unreachable", message, hint, code="client")


def describe_clear_text(address: str) -> str:
    """Return a caution if requests to an address are not encrypted and leave this machine; else empty."""
    parts = urlsplit(address)
    if parts.scheme != "http" or is_loopback(parts.hostname or ""):
        return ""
    host = make_visible(parts.hostname or "", 100)
    return f"The address of {host} begins with http://, so the key and the rows are sent to it unencrypted."


def hide_secrets(address: str) -> str:
    """Return an address without user, password, query and fragment."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address.rpartition("@")[2]
    netloc = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=netloc, query="", fragment="").geturl().rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    return host in ("localhost", "::1") or host.startswith("127.")
