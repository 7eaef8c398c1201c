"""A notification has the outcome of a pipeline, and a failure to send it fails nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from delivery.errors import DeclarationError
from delivery.project import gitflow
from delivery.project.declaration import Declaration
from delivery.project.facts import Ref
from delivery.records import journal, notification, source
from delivery.records.events import Origin
from delivery.records.notification import Notice
from delivery.records.source import Source
from delivery.records.stage_times import StageTime
from tests.records.conftest import record
from tests.registries import Answer, serving

NOTICE = Notice(
    "SUCCESS",
    "sample",
    "release/1.2",
    "1.2.0-rc.3",
    "fix: <b> & more",
    "staging",
    "Zoë",
    "https://ci/job/sample/7/?a=1&b=2",
    200.0,
    [
        StageTime("build", "succeeded", 12.34),
        StageTime("scan", "failed", 3.0),
        StageTime("push", "started", None),
    ],
)


def test_a_notice_has_a_headline_and_facts() -> None:
    assert NOTICE.headline == "✅ sample, release/1.2, succeeded"
    assert NOTICE.lines() == [
        "version: 1.2.0-rc.3 “fix: <b> & more”",
        "environment: staging",
        "actor: Zoë",
        "duration: 3 min 20 s",
        "stages: build 12.3 s, scan 3.0 s (failed), push did not end",
        "build: https://ci/job/sample/7/?a=1&b=2",
    ]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("UNSTABLE", "succeeded, with complaints"),
        ("FAILURE", "failed"),
        ("ABORTED", "was aborted"),
        ("NOT_BUILT", "was not run"),
    ],
)
def test_every_outcome_has_words(result: str, words: str) -> None:
    assert Notice(result, "sample").headline.endswith(f"sample {words}")


def test_unknown_facts_are_left_out_or_no_data() -> None:
    assert Notice("FAILURE", "sample", actor="me", build="javascript:x").lines() == [
        "environment: none",
        "actor: me",
        "duration: no data",
        "stages: no data",
    ]


def source_of(declaration: Declaration, ref: Ref) -> Source:
    decision = gitflow.decide(ref, declaration)
    return Source(declaration, decision, {"sample": "1.2.0"}, Origin("Zoë"), "fix: it")


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (Ref("branch", "develop"), "develop"),
        (Ref("pull-request", "7"), "pull request 7"),
        (Ref("tag", "apps-v1.0.0"), "tag apps-v1.0.0"),
        (Ref("", ""), ""),
    ],
)
def test_a_notice_is_made_from_git_and_the_journal(
    declaration: Declaration,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ref: Ref,
    expected: str,
) -> None:
    events = [
        record("build", "sample", status, at=f"2026-01-01T00:00:0{second}Z", run="r")
        for status, second in (("started", 0), ("succeeded", 5))
    ]
    monkeypatch.setattr(source, "load", lambda _root: source_of(declaration, ref))
    monkeypatch.setattr(journal, "read", lambda _root: events)
    monkeypatch.setenv("BUILD_URL", "https://ci/7/")
    notice = notification.load_notice("SUCCESS", tmp_path)
    assert (notice.project, notice.ref) == ("sample", expected)
    assert (notice.version, notice.subject) == ("1.2.0", "fix: it")
    assert (notice.actor, notice.build, notice.seconds) == ("Zoë", "https://ci/7/", 5.0)
    assert list(notice.stages) == [StageTime("build", "succeeded", 5.0)]


def test_without_a_clone_a_notice_has_the_outcome(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_root: Path) -> Source:
        raise DeclarationError("read the clone: it is no git clone")

    monkeypatch.setattr(source, "load", broken)
    monkeypatch.setenv("DELIVERY_RESPONSIBLE", "me")
    notice = notification.load_notice("FAILURE", tmp_path / "sample")
    assert (notice.headline, notice.actor) == ("❌ sample failed", "me")


@pytest.mark.parametrize(
    ("path", "answers", "problem"),
    [
        ("/T0/secret?key=a%26b", [200], ""),
        ("/T0/secret", [503, 429, 200], ""),
        ("/T0/secret", [400, 400, 400], "it answered 400"),
        ("/T0/secret", [302, 302, 302], "it answered 302"),
    ],
)
def test_a_webhook_gets_a_text_as_slack_accepts_it(
    monkeypatch: pytest.MonkeyPatch, path: str, answers: list[int], problem: str
) -> None:
    bodies: list[dict[str, Any]] = []
    statuses = list(answers)

    def answer(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
        bodies.append(json.loads(body))
        return statuses.pop(0), {"Location": "/elsewhere"}, b"answer"

    monkeypatch.setattr(notification, "_WAIT_SECONDS", 0.0)
    with serving(answer) as (address, seen):
        monkeypatch.setenv("DELIVERY_WEBHOOK", f"http://{address}{path}\n")
        assert notification.notify(NOTICE) == problem
    assert seen == [f"POST {path}"] * len(answers)
    lines = [NOTICE.headline, "version: 1.2.0-rc.3 “fix: &lt;b&gt; &amp; more”"]
    assert [set(body) for body in bodies] == [{"text"}] * len(answers)
    assert bodies[-1]["text"].splitlines()[:2] == lines


def test_a_url_of_apprise_is_used_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
        bodies.append(json.loads(body))
        return 200, {}, b"ok"

    with serving(answer) as (address, _):
        monkeypatch.setenv("DELIVERY_WEBHOOK", f"json://{address}/secret")
        assert notification.notify(NOTICE) == ""
    (body,) = bodies
    assert (body["title"], body["type"]) == (NOTICE.headline, "success")
    assert body["message"].splitlines() == NOTICE.lines()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://localhost:1/secret", "it cannot be reached, or refuses the notification"),
        *(
            (url, "DELIVERY_WEBHOOK is not a URL that apprise knows")
            for url in ("hooks/secret", "http://[secret", "mailto://secret")
        ),
    ],
)
def test_a_problem_does_not_contain_the_url(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], url: str, problem: str
) -> None:
    monkeypatch.setattr(notification, "_WAIT_SECONDS", 0.0)
    monkeypatch.setenv("DELIVERY_WEBHOOK", url)
    assert notification.notify(NOTICE) == problem
    printed = capfd.readouterr()
    assert "secret" not in printed.out + printed.err


def test_slack_is_known_by_its_https_url(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []

    def request(
        _session: requests.Session, method: str, url: str, data: str, **_: object
    ) -> requests.Response:
        sent.append((f"{method.upper()} {url}", json.loads(data)))
        response = requests.Response()
        response.status_code, response._content = 200, b"ok"
        return response

    url = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/" + "x" * 24
    monkeypatch.setattr(requests.Session, "request", request)
    monkeypatch.setenv("DELIVERY_WEBHOOK", url)
    assert notification.notify(NOTICE) == ""
    ((address, message),) = sent
    (attachment,) = message["attachments"]
    assert (address, attachment["title"]) == (f"POST {url}", NOTICE.headline)
    assert "&lt;b&gt; &amp; more" in attachment["text"]
    assert "apprise" not in json.dumps(message).lower()
