"""Test for `helm test`: an event is stored exactly once, also if it is posted twice.

Run as `python3 event.py HOST COMPONENT VERSION ENVIRONMENT`. CA_FILE is the path of the CA's
certificate, TOKEN a bearer token, TIMEOUT the seconds until the event must be stored.
"""
# ruff: noqa: INP001, S310, T201  a script, whose output is its report

from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
import uuid

PAUSE = 1.0


def main(host: str, component: str, version: str, environment: str) -> int:
    """Post an event twice and read it, print each step and return the exit code."""
    client = Client(host)
    event = {
        "component": component,
        "version": version,
        "environment": environment,
        "responsible": "helm test",
        "stage": "verify",
        "status": "succeeded",
    }
    first = client.request("/deployments", 202, event)
    path = f"/deployments/{first['id']}"
    print(f"passed  POST /deployments: 202, id {first['id']}, Idempotency-Key {client.key}")
    second = client.request("/deployments", 202, event)
    if second != first:
        print(f"FAILED  the same POST again: another response, {second}")
        return 1
    print("passed  the same POST again: the same response")
    start = time.monotonic()
    stored = client.request(path, 200)
    changed = {name: stored.get(name) for name in event if stored.get(name) != event[name]}
    if changed:
        print(f"FAILED  GET {path}: other fields than were posted: {changed}")
        return 1
    print(f"passed  GET {path}: stored {time.monotonic() - start:.1f} s later, as it was posted")
    return 0


class Client:
    """Sends requests until a deadline; a platform that has just started may need some time."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.key = str(uuid.uuid4())
        self.deadline = time.monotonic() + float(os.environ.get("TIMEOUT", "90"))
        self.context = ssl.create_default_context(cafile=os.environ.get("CA_FILE"))

    def request(
        self, path: str, expected: int, event: dict[str, str] | None = None
    ) -> dict[str, object]:
        """Return the body of the first response with the expected status."""
        headers = {"Accept": "application/json"}
        if token := os.environ.get("TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        body = None
        if event is not None:
            headers |= {"Content-Type": "application/json", "Idempotency-Key": self.key}
            body = json.dumps(event).encode()
        request = urllib.request.Request(f"https://{self.host}{path}", body, headers)
        while True:
            status, text = self.send(request)
            if status == expected:
                answer: dict[str, object] = json.loads(text)
                return answer
            # Other 4xx than these two do not change on a retry.
            permanent = 400 <= status < 500 and status not in (404, 429)  # noqa: PLR2004  HTTP's
            if permanent or time.monotonic() > self.deadline:
                print(
                    f"FAILED  {request.get_method()} {path}: expected {expected}, "
                    f"got {status or 'no response'}: {text[:500]}"
                )
                sys.exit(1)
            time.sleep(PAUSE)

    def send(self, request: urllib.request.Request) -> tuple[int, str]:
        """Return status and body of a response; status 0 and the error if there is none."""
        try:
            with urllib.request.urlopen(request, timeout=15, context=self.context) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except OSError as error:
            return 0, str(error)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
