"""The canaries of these tests, and every form in which one might come out somewhere."""

from __future__ import annotations

import base64
import json
from html import escape
from urllib.parse import quote, quote_plus

KEY = 'canary+7f3a/9c=Q"x&y-the-key-of-these-tests'
"""A key that every escaping changes, and that no pattern of Google's recognises."""
MARK = "image-canary-41c7e2-in-the-pixels"
"""Stands in a comment inside each image."""


def forms_of(secret: str) -> dict[str, bytes]:
    """Return what to look for, by the name of the form."""
    raw = secret.encode()
    in_json = json.dumps(secret)[1:-1]
    forms = {
        "plain": raw,
        "json": in_json.encode(),
        "json twice": json.dumps(in_json)[1:-1].encode(),
        "json, slashes": in_json.replace("/", "\\/").encode(),
        "url": quote(secret, safe="").encode(),
        "path": quote(secret).encode(),
        "form": quote_plus(secret).encode(),
        "html": escape(secret).encode(),
        "hex": raw.hex().encode(),
        "lower": secret.lower().encode(),
        "reversed": raw[::-1],
        "utf-16": secret.encode("utf-16-le"),
    }
    for shift in range(3):  # a secret inside longer base64 text stands at one of three places
        text = base64.b64encode(b"\0" * shift + raw)
        whole = text[4 * (shift > 0) : 4 * ((shift + len(raw)) // 3)]
        forms[f"base64 at {shift}"] = whole
        forms[f"urlsafe base64 at {shift}"] = whole.translate(bytes.maketrans(b"+/", b"-_"))
    return forms


def found_in(haystack: bytes, secret: str) -> list[str]:
    """Return the forms in which a secret is in some bytes, with what stands around it."""
    found: list[str] = []
    for name, form in forms_of(secret).items():
        at = haystack.find(form)
        if at >= 0:
            around = haystack[max(0, at - 200) : at + len(form) + 80]
            found.append(f"{name}: {around!r}")
    return found
