"""The deployment ledger: api-rest over HTTP, as docs/ARCHITECTURE.md describes its calls."""

from __future__ import annotations

import time
from typing import Any

import requests

from delivery.core.errors import PlatformError

__all__ = ["Ledger"]

_TIMEOUT_SECONDS = 10


class Ledger:
    """The ledger at a base address such as http://localhost:8000."""

    def __init__(self, address: str) -> None:
        self.address = address

    def post(self, event: dict[str, Any]) -> str:
        """Hand in a deployment event; return the id that the ledger gave it once the broker has it."""
        answer = self._ask("POST", "/deployments", "post an event to the ledger", json=event)
        if answer.status_code != requests.codes.accepted:
            raise _unexpected("post an event to the ledger", answer)
        return str(answer.json()["id"])

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

    def _ask(self, method: str, path: str, doing: str, **options: Any) -> requests.Response:  # noqa: ANN401  # requests' own
        try:
            return requests.request(method, f"{self.address}{path}", timeout=_TIMEOUT_SECONDS, **options)
        except requests.RequestException as error:
            raise PlatformError(
                f"{doing}: {self.address} does not answer: {error}", hint="`./run inv status` says what runs"
            ) from error


def _unexpected(doing: str, answer: requests.Response) -> PlatformError:
    return PlatformError(
        f"{doing}: it answered {answer.status_code}: {answer.text[:300]}",
        hint="`./run inv logs --service api-rest` says more",
    )
