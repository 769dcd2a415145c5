"""Where a key may be sent, and the way there."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

from nanobatch.errors import ConfigError

__all__ = ["checked", "host_of", "is_same_origin", "origin", "proxy_for"]

_PORTS = {"http": 80, "https": 443}


def checked(base_url: str | None) -> str | None:
    """Return an address as it is; `None` if there is none.

    Raises:
        ConfigError: It is no address, or the key would travel in the clear.
    """
    if not base_url:
        return None
    shown = origin(base_url)
    if shown.startswith("https://"):
        return base_url
    if shown.startswith("http://") and _is_loopback(urlsplit(base_url).hostname):
        return base_url
    raise ConfigError(
        f"base_url {shown!r} would send the API key in the clear: use https, "
        "or http on loopback (127.0.0.1, localhost, [::1])."
    )


def origin(url: str) -> str:
    """Return scheme, host and port: neither credentials nor anything else that may be secret.

    Raises:
        ConfigError: It has no host, or a port that is none.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host:
        raise ConfigError("base_url must be a whole address, such as https://example.org.")
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")


def is_same_origin(url: str, other: str) -> bool:
    """Return whether two addresses name the same server: scheme, host and port."""
    try:
        one, two = urlsplit(url), urlsplit(other)
        return _server(one) == _server(two) and one.username is None
    except ValueError:
        return False


def host_of(url: str) -> str:
    """Return the host of an address that somebody else wrote, for a message."""
    try:
        return urlsplit(url).hostname or "the same host"
    except ValueError:
        return "an invalid address"


def proxy_for(base_url: str) -> str | None:
    """Return the proxy of the environment; `None` for loopback and where none is wanted.

    httpx2 reads the environment only when it makes the transport itself.
    """
    import urllib.request  # noqa: PLC0415 - brings http and email along: imported when used

    host = urlsplit(base_url).hostname or ""
    if _is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _server(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
