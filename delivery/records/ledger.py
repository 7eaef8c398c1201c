"""The deployment ledger: api-rest over HTTP, as api-rest/README.md describes its calls."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from delivery.errors import PlatformError
from delivery.records.events import same

__all__ = ["Ledger"]

_TIMEOUT_SECONDS = 10
_CONNECT_SECONDS = 2.0
_PAGE = 500
_SHOWN = 300  # characters of an answer that an error quotes


class Ledger:
    """The ledger at a base address such as http://localhost:8000; token is a bearer token, where it wants one."""

    def __init__(self, address: str, token: str = "") -> None:
        self.address = address.rstrip("/")
        self._token = token

    def post(self, event: dict[str, Any]) -> str:
        """Hand in a deployment event; return the id that the ledger gave it once the broker has it."""
        answer = self._ask("POST", "/deployments", "post an event to the ledger", json=event)
        if answer.status_code != requests.codes.accepted:
            raise _unexpected("post an event to the ledger", answer)
        return str(answer.json()["id"])

    def offer(self, event: Mapping[str, Any], key: str, *, seconds: float) -> tuple[int, str]:
        """Hand in an event under its Idempotency-Key: the answer's HTTP status (0: there is none), and what it says.

        Nothing is followed to another address, which would see the token.
        """
        try:
            answer = requests.post(
                f"{self.address}/deployments",
                json=event,
                headers={"Idempotency-Key": key},
                auth=self._authorize,
                timeout=(min(_CONNECT_SECONDS, seconds), seconds),
                allow_redirects=False,
            )
        except requests.Timeout:
            return 0, "it does not answer in time"
        except requests.ConnectionError:
            return 0, "nobody answers there"
        except (requests.RequestException, ValueError) as error:
            return 0, f"it cannot be asked ({type(error).__name__})"
        return answer.status_code, _said(answer)

    def answers(self) -> str:
        """How the ledger answers to who reads from it, in a line."""
        try:
            answer = self._ask(
                "GET",
                "/deployments",
                "ask",
                params={"limit": "1"},
                timeout=(_CONNECT_SECONDS, _CONNECT_SECONDS),
            )
        except PlatformError:
            return "it does not answer"
        return "it answers" if answer.status_code == requests.codes.ok else _said(answer)

    def readiness(self) -> tuple[str, tuple[str, ...]]:
        """What the ledger says of itself: ready, degraded or not ready, and why."""
        doing = "ask the ledger whether it is ready"
        answer = self._ask("GET", "/ready", doing, timeout=(_CONNECT_SECONDS, _CONNECT_SECONDS))
        try:
            told = answer.json()
            if "error" in told:  # it is shutting down
                return "not ready", (str(told["error"]["message"]),)
            return str(told["status"]), tuple(map(str, told.get("reasons", ())))
        except (ValueError, KeyError, TypeError) as error:
            raise self._no_ledger(doing) from error

    def holds(self, event: Mapping[str, Any], since: str, *, seconds: float) -> bool | None:
        """Whether the ledger has stored this event since a time; None when it does not say."""
        fields = ("component", "environment", "version", "stage", "status", "responsible")
        query = {**{name: str(event[name]) for name in fields if name in event}, "since": since}
        try:
            return any(same(event, one) for one in self._pages(query, seconds))
        except PlatformError:
            return None

    def events(self, filters: Mapping[str, str], since: str) -> list[dict[str, Any]]:
        """Every stored event since a time, the newest first."""
        return list(self._pages({**filters, "since": since}, _TIMEOUT_SECONDS))

    def running(self, environment: str) -> dict[str, str]:
        """The version of each component that runs in an environment, as the ledger knows."""
        doing = "ask the ledger what runs"
        answer = self._ask("GET", "/environments", doing)
        if answer.status_code != requests.codes.ok:
            raise _unexpected(doing, answer)
        try:
            return {
                str(one["component"]): str(one["version"])
                for found in answer.json()["environments"]
                if found["environment"] == environment
                for one in found["components"]
            }
        except (ValueError, KeyError, TypeError) as error:
            raise self._no_ledger(doing) from error

    def _no_ledger(self, doing: str) -> PlatformError:
        return PlatformError(
            f"{doing}: {self.address} answers, but is no ledger",
            hint="`records.ledger` in delivery.toml, or DELIVERY_LEDGER, is the address of an api-rest",
        )

    def _pages(self, query: Mapping[str, str], seconds: float) -> Iterator[dict[str, Any]]:
        doing = "read deployments from the ledger"
        asked: dict[str, str] = {**query, "limit": str(_PAGE)}
        while True:
            answer = self._ask(
                "GET",
                "/deployments",
                doing,
                params=asked,
                timeout=(min(_CONNECT_SECONDS, seconds), seconds),
            )
            if answer.status_code != requests.codes.ok:
                raise _unexpected(doing, answer)
            try:
                page = answer.json()
                found, cursor = list(page["deployments"]), page["next"]
            except (ValueError, KeyError, TypeError) as error:
                raise self._no_ledger(doing) from error
            yield from found
            if not cursor:
                return
            asked["cursor"] = str(cursor)

    def wait_for(self, identifier: str, *, seconds: float) -> tuple[dict[str, Any], float]:
        """Read an event back, waiting until the worker has stored it; the event, and how many seconds that took."""
        doing = f"read event {identifier} back from the ledger"
        began = time.monotonic()
        while True:
            answer = self._ask("GET", f"/deployments/{identifier}", doing)
            if answer.status_code == requests.codes.ok:
                return answer.json(), time.monotonic() - began
            if answer.status_code != requests.codes.not_found:
                raise _unexpected(doing, answer)
            if time.monotonic() - began > seconds:
                raise PlatformError(
                    f"{doing}: the worker has not stored it in {seconds:.0f} s",
                    hint="`./run inv logs --service async-worker` says what it does",
                )
            time.sleep(0.1)

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Send our token, or nothing: without an auth requests sends the login of ~/.netrc instead."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _ask(self, method: str, path: str, doing: str, **options: Any) -> requests.Response:  # noqa: ANN401  # requests' own
        told: dict[str, Any] = {
            "timeout": _TIMEOUT_SECONDS,
            "auth": self._authorize,
            "allow_redirects": False,
        }
        try:
            return requests.request(method, f"{self.address}{path}", **{**told, **options})  # noqa: S113  # told has one
        except requests.RequestException as error:
            raise PlatformError(
                f"{doing}: {self.address} does not answer: {_reason(error)}",
                hint="`./run inv status` says what runs here; DELIVERY_LEDGER, or records.ledger in delivery.toml, names another",
            ) from error


def _said(answer: requests.Response) -> str:
    """What an answer that is no 202 says, in a line: the ledger's own words where they can be read."""
    try:
        told = answer.json()["error"]
        fields = "; ".join(f"{name} {why}" for name, why in told.get("fields", {}).items())
        text = f"{told['message']}{f' ({fields})' if fields else ''}"
    except (ValueError, KeyError, TypeError, AttributeError):
        text = " ".join(answer.text.split())
    return f"it answered {answer.status_code}{f': {text[:_SHOWN]}' if text else ''}"


def _unexpected(doing: str, answer: requests.Response) -> PlatformError:
    hints = {
        401: "set DELIVERY_LEDGER_TOKEN to a token that the ledger knows",
        403: "DELIVERY_LEDGER_TOKEN is of no use for this: api-rest's TOKENS_FILE says what it may do",
    }
    return PlatformError(
        f"{doing}: it answered {answer.status_code}: {answer.text[:_SHOWN]}",
        hint=hints.get(answer.status_code, "`./run inv logs --service api-rest` says more"),
    )


def _reason(error: requests.RequestException) -> str:
    """Why a request got no answer, without what the library was about to do."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted"
    if isinstance(error, requests.Timeout):
        return "it took too long"
    return "nobody is there" if isinstance(error, requests.ConnectionError) else str(error)
