"""The HTTP client of the ledger, that is of api-rest; api-rest/README.md describes the API."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import requests

from delivery.errors import DeclarationError, PlatformError
from delivery.project import saved_settings
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.records.events import SendResult, send_result
from delivery.records.freeze import Freeze, read_freeze

__all__ = ["ADDRESS", "TOKEN", "Ledger", "connect", "find_address"]

ADDRESS = "DELIVERY_LEDGER"
TOKEN = "DELIVERY_LEDGER_TOKEN"  # noqa: S105  # a variable's name
_TIMEOUT_SECONDS = 10.0
_CONNECT_SECONDS = 2.0
_SHORT_SECONDS = 5.0  # for an answer that a deploy waits for
_POLL_SECONDS = 0.1
_PAGE = 500
_QUOTED = 300  # characters of an answer that an error quotes
_READING = "read deployments from the ledger"
_PATH = "/deployments"


def find_address(declaration: Declaration) -> str:
    """The ledger's address: DELIVERY_LEDGER, else as declared, else ""."""
    address = os.environ.get(ADDRESS, "").strip()
    if address and not address.startswith(("http://", "https://")):
        raise DeclarationError(
            f"cannot read {ADDRESS}: {address!r} is not a URL",
            hint="use a URL such as http://localhost:8000 or https://ledger.example.com",
        )
    declared = declaration.records.ledger if declaration.records else ""
    return (address or _with_port(declared)).rstrip("/")


def _with_port(declared: str) -> str:
    """The declared address; on this machine with the port that the platform publishes."""
    parts = urlsplit(declared)
    port = saved_settings.load(ROOT, os.environ).get(saved_settings.PORTS["api-rest"])
    if port is None or parts.hostname not in {"localhost", "127.0.0.1"}:
        return declared
    return parts._replace(netloc=f"{parts.hostname}:{port}").geturl()


def connect(declaration: Declaration) -> Ledger:
    """The ledger to read from; raise DeclarationError when it has no address."""
    if address := find_address(declaration):
        return Ledger(address, os.environ.get(TOKEN, ""))
    raise DeclarationError(
        "cannot read the ledger: its address is not set",
        hint=f"set `records.ledger` in delivery.toml, or {ADDRESS}",
    )


class Ledger:
    """A ledger by its base address; token is the bearer token that it asks for, if any."""

    def __init__(self, address: str, token: str = "") -> None:
        self.address = address.rstrip("/")
        self._token = token

    def post(self, event: dict[str, Any]) -> str:
        """Post an event; return its id once the broker has it."""
        doing = "post an event to the ledger"
        answer = self._request("POST", _PATH, doing, expect=(202,), json=event)
        with self._reading(doing):
            return str(answer.json()["id"])

    def send(self, event: Mapping[str, Any], key: str, *, seconds: float) -> tuple[SendResult, str]:
        """Send an event under its Idempotency-Key; return the result and, if any, its reason."""
        try:
            # A redirect is not followed: another address would see the token.
            answer = requests.post(
                f"{self.address}{_PATH}",
                json=event,
                headers={"Idempotency-Key": key},
                auth=self._authorize,
                timeout=(min(_CONNECT_SECONDS, seconds), seconds),
                allow_redirects=False,
            )
        except (requests.RequestException, ValueError) as error:
            return SendResult.UNAVAILABLE, _reason(error)
        return send_result(answer.status_code), _describe(answer)

    def status(self) -> str:
        """How the ledger answers a reader, for people."""
        try:
            answer = self._request(
                "GET", _PATH, _READING, expect=(), params={"limit": "1"}, timeout=_CONNECT_SECONDS
            )
        except PlatformError:
            return "it does not answer"
        return "it answers" if answer.status_code == requests.codes.ok else _describe(answer)

    def readiness(self) -> tuple[str, tuple[str, ...]]:
        """The ledger's own state, ready, degraded or not ready, with the reasons."""
        doing = "ask the ledger whether it is ready"
        answer = self._request("GET", "/ready", doing, expect=(), timeout=_CONNECT_SECONDS)
        with self._reading(doing):
            document = answer.json()
            if "error" in document:  # it is shutting down
                return "not ready", (str(document["error"]["message"]),)
            return str(document["status"]), tuple(map(str, document.get("reasons", ())))

    def has(self, event: Mapping[str, Any], since: str, *, seconds: float) -> bool | None:
        """Whether the ledger has stored this event since a time; None when it does not answer."""
        fields = ("component", "environment", "version", "stage", "status", "responsible")
        query = {**{name: str(event[name]) for name in fields if name in event}, "since": since}
        try:
            return any(
                all(stored.get(name) == value for name, value in event.items())
                for stored in self._pages(query, seconds)
            )
        except PlatformError:
            return None

    def events(self, filters: Mapping[str, str], since: str) -> list[dict[str, Any]]:
        """Every stored event since a time, the newest first."""
        return list(self._pages({**filters, "since": since}, _TIMEOUT_SECONDS))

    def running(self, environment: str) -> dict[str, str]:
        """The version of each component that the ledger says an environment runs."""
        doing = "ask the ledger what runs"
        answer = self._request("GET", "/environments", doing)
        with self._reading(doing):
            return {
                str(component["component"]): str(component["version"])
                for entry in answer.json()["environments"]
                if entry["environment"] == environment
                for component in entry["components"]
            }

    def freezes(self, read_token: Callable[[], str] = str) -> list[Freeze]:
        """The freezes in force; none of a ledger that is older than freezes.

        read_token returns a token for a ledger that asks for one where none is known.
        """
        doing, timeout = "ask the ledger for freezes", (_CONNECT_SECONDS, _SHORT_SECONDS)
        answer = self._request("GET", "/freezes", doing, expect=(), timeout=timeout)
        if answer.status_code == requests.codes.unauthorized and not self._token:
            self._token = read_token()
            answer = self._request("GET", "/freezes", doing, expect=(), timeout=timeout)
        with self._reading(doing):
            document = answer.json()
            if answer.status_code == requests.codes.not_found and "error" in document:
                return []
            if answer.status_code != requests.codes.ok:
                raise _unexpected(doing, answer)
            return [read_freeze(each) for each in document["freezes"]]

    def freeze(self, environment: str, until: datetime, reason: str, responsible: str) -> Freeze:
        """Freeze an environment; return the freeze once the ledger has stored it."""
        doing = f"freeze {environment}"
        body = {"environment": environment, "until": until.isoformat()}
        body |= {"reason": reason, "responsible": responsible}
        answer = self._request("POST", "/freezes", doing, expect=(201,), json=body)
        with self._reading(doing):
            return read_freeze(answer.json())

    def end(self, freeze: Freeze) -> None:
        """End a freeze; it may have ended already."""
        doing = f"end the freeze of {freeze.environment}"
        self._request("DELETE", f"/freezes/{freeze.identifier}", doing, expect=(200, 404))

    def wait_for(self, identifier: str, *, seconds: float) -> tuple[dict[str, Any], float]:
        """The event with this id, once the worker has stored it, and the seconds until then."""
        doing = f"read event {identifier} from the ledger"
        began = time.monotonic()
        while True:
            answer = self._request("GET", f"{_PATH}/{identifier}", doing, expect=(200, 404))
            if answer.status_code == requests.codes.ok:
                with self._reading(doing):
                    return dict(answer.json()), time.monotonic() - began
            if time.monotonic() - began > seconds:
                raise PlatformError(
                    f"cannot {doing}: the worker has not stored it within {seconds:.0f} s",
                    hint="see `./run inv logs --service async-worker`",
                )
            time.sleep(_POLL_SECONDS)

    def _pages(self, query: Mapping[str, str], seconds: float) -> Iterator[dict[str, Any]]:
        query = {**query, "limit": str(_PAGE)}
        timeout = (min(_CONNECT_SECONDS, seconds), seconds)
        while True:
            answer = self._request("GET", _PATH, _READING, params=query, timeout=timeout)
            with self._reading(_READING):
                page = answer.json()
                events, cursor = list(page["deployments"]), page["next"]
            yield from events
            if not cursor:
                return
            query["cursor"] = str(cursor)

    def _request(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        expect: Sequence[int] = (200,),
        timeout: float | tuple[float, float] = _TIMEOUT_SECONDS,
        **options: Any,  # noqa: ANN401  # requests' own
    ) -> requests.Response:
        """The answer to a request; PlatformError for a status that is not expected, if any is."""
        try:
            answer = requests.request(
                method,
                f"{self.address}{path}",
                auth=self._authorize,
                allow_redirects=False,
                timeout=timeout,
                **options,
            )
        except requests.RequestException as error:
            raise PlatformError(
                f"cannot {doing}: {self.address}: {_reason(error)}",
                hint=f"see `./run inv status`, or name another ledger by {ADDRESS} or by "
                "records.ledger in delivery.toml",
            ) from error
        if expect and answer.status_code not in expect:
            raise _unexpected(doing, answer)
        return answer

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Send the token or nothing: by default requests sends the login of ~/.netrc."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    @contextmanager
    def _reading(self, doing: str) -> Iterator[None]:
        """Raise PlatformError for an answer that cannot be read: it is not a ledger's."""
        try:
            yield
        except (ValueError, KeyError, TypeError) as error:
            raise PlatformError(
                f"cannot {doing}: {self.address} answers, but is not a ledger",
                hint=f"set `records.ledger` in delivery.toml, or {ADDRESS}, to the address of an "
                "api-rest",
            ) from error


def _describe(answer: requests.Response) -> str:
    """An answer in a line: its status, and the ledger's error message if any."""
    try:
        error = answer.json()["error"]
        fields = "; ".join(f"{name} {why}" for name, why in error.get("fields", {}).items())
        text = f"{error['message']}{f' ({fields})' if fields else ''}"
    except (ValueError, KeyError, TypeError, AttributeError):
        text = " ".join(answer.text.split())
    return f"it answered {answer.status_code}{f': {text[:_QUOTED]}' if text else ''}"


def _unexpected(doing: str, answer: requests.Response) -> PlatformError:
    hints = {
        401: f"set {TOKEN} to a token that the ledger knows",
        403: f"set {TOKEN} to a token that may do this, by api-rest's TOKENS_FILE",
        409: "see `./run inv freezes`, and end one by `./run inv unfreeze --environment NAME`",
    }
    return PlatformError(
        f"cannot {doing}: {_describe(answer)}",
        hint=hints.get(answer.status_code, "see `./run inv logs --service api-rest`"),
    )


def _reason(error: Exception) -> str:
    """Why a request got no answer."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted"
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "it does not answer"
    return f"it cannot be asked ({type(error).__name__})"
