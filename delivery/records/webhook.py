"""A webhook as Slack has it: a message by POST. Its address is a secret, which nothing here prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import requests

__all__ = ["send"]

_ATTEMPTS = 3
_SECONDS = 5.0
_LONGEST_PAUSE = 5.0
_SHOWN = 200
_SERVER = 500  # HTTP's first status that may pass


def send(url: str, message: Mapping[str, Any], *, pause: Callable[[float], None] = time.sleep) -> str:
    """Post a message; "" once it is taken, else what went wrong. What may pass is tried again, briefly."""
    wrong = ""
    for attempt in range(1, _ATTEMPTS + 1):
        wrong, again, after = _try(url, message)
        if not again:
            break
        if attempt < _ATTEMPTS:
            pause(min(max(after, 0.5 * attempt), _LONGEST_PAUSE))
    # Some servers answer with the address that was asked for.
    return wrong.replace(url, "…")


def _try(url: str, message: Mapping[str, Any]) -> tuple[str, bool, float]:
    """What went wrong, whether to try again, and the seconds that the server wants to be left alone."""
    try:
        answer = requests.post(url, json=message, timeout=(2.0, _SECONDS), allow_redirects=False)
    except requests.Timeout:
        return "it does not answer in time", True, 0.0
    except requests.ConnectionError:  # its text has the address
        return "nobody answers there", True, 0.0
    except (requests.RequestException, ValueError) as error:
        return f"it cannot be asked ({type(error).__name__})", False, 0.0
    if requests.codes.ok <= answer.status_code < requests.codes.multiple_choices:
        return "", False, 0.0
    said = " ".join(answer.text.split())[:_SHOWN]
    again = answer.status_code == requests.codes.too_many_requests or answer.status_code >= _SERVER
    told = answer.headers.get("Retry-After", "")
    after = float(told) if told.isascii() and told.isdigit() else 0.0
    return f"it answered {answer.status_code}{f': {said}' if said else ''}", again, after
