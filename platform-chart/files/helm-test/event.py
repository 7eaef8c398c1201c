"""A helm test: an event posted to the API gets through Kafka and the worker into the table, once, also when it is posted twice.

Run as `python3 event.py HOST COMPONENT VERSION ENVIRONMENT`; CA_FILE names the CA's certificate, TOKEN is a bearer
token, TIMEOUT how many seconds the event may take.
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
CLIENT_ERROR = 4


def main(host: str, component: str, version: str, environment: str) -> int:
    """Post an event, post it again, read it back; print each step."""
    deadline = time.monotonic() + float(os.environ.get("TIMEOUT", "90"))
    event = {
        "component": component,
        "version": version,
        "environment": environment,
        "responsible": "helm test",
        "stage": "verify",
        "status": "succeeded",
    }
    key = str(uuid.uuid4())
    first = ask(deadline, host, "/deployments", 202, event, key)
    print(f"passed  POST /deployments: 202, id {first['id']}, Idempotency-Key {key}")
    again = ask(deadline, host, "/deployments", 202, event, key)
    if again != first:
        print(f"FAILED  the same POST again: another answer, {again}")
        return 1
    print("passed  the same POST again: the same answer")
    began = time.monotonic()
    stored = ask(deadline, host, f"/deployments/{first['id']}", 200)
    differing = {name: stored.get(name) for name in event if stored.get(name) != event[name]}
    if differing:
        print(f"FAILED  GET /deployments/{first['id']}: other fields than were posted: {differing}")
        return 1
    print(
        f"passed  GET /deployments/{first['id']}: stored {time.monotonic() - began:.1f} s later, as it was posted"
    )
    return 0


def ask(
    deadline: float,
    host: str,
    path: str,
    wanted: int,
    event: dict[str, str] | None = None,
    key: str = "",
) -> dict[str, object]:
    """Ask until the answer is the one that is wanted; a platform that has just started may need a moment."""
    headers = {"Accept": "application/json"}
    if token := os.environ.get("TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    if event is not None:
        headers |= {"Content-Type": "application/json", "Idempotency-Key": key}
    body = None if event is None else json.dumps(event).encode()
    context = ssl.create_default_context(cafile=os.environ.get("CA_FILE"))
    while True:
        request = urllib.request.Request(f"https://{host}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=15, context=context) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode(errors="replace")
        except OSError as error:
            status, text = 0, str(error)
        if status == wanted:
            answered: dict[str, object] = json.loads(text)
            return answered
        # 4xx but for 404 and 429: asking again changes nothing.
        hopeless = status // 100 == CLIENT_ERROR and status not in (404, 429)
        if hopeless or time.monotonic() > deadline:
            print(
                f"FAILED  {request.get_method()} {path}: wanted {wanted}, got {status or 'no answer'}: {text[:500]}"
            )
            sys.exit(1)
        time.sleep(PAUSE)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
