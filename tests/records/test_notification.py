"""What a webhook is told of a pipeline."""

import json
from pathlib import Path
from typing import Any

import pytest

from delivery.errors import DeclarationError
from delivery.project import gitflow
from delivery.project.declaration import Declaration
from delivery.project.facts import Ref
from delivery.records import notification, recorder
from delivery.records.events import Details, Origin, Record, StageTime
from delivery.records.notification import Notice
from delivery.records.recorder import Source
from tests.registries import Answer, serving

TOLD = Notice(
    "SUCCESS",
    "house",
    "release/1.2",
    "1.2.0-rc.3",
    "fix: <b> & more",
    "staging",
    "Zoë",
    "https://ci/job/house/7/?a=1&b=2",
    200.0,
    [StageTime("build", "succeeded", 12.34), StageTime("scan", "failed", 3.0), StageTime("push", "started", None)],
)


def test_it_says_what_where_who_how_long_and_links_to_the_build() -> None:
    told = TOLD.message()
    assert told["text"] == (
        "*✅ house, release/1.2, succeeded*\n"
        "what: 1.2.0-rc.3 “fix: &lt;b&gt; &amp; more”\n"
        "where: staging\n"
        "who: Zoë\n"
        "how long: 3 min 20 s\n"
        "stages: build 12.3 s, scan 3.0 s (failed), push did not end\n"
        "<https://ci/job/house/7/?a=1&amp;b=2|the build>"
    )
    assert told["blocks"] == [{"type": "section", "text": {"type": "mrkdwn", "text": told["text"]}}]


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
    assert Notice(result, "house", "", "", "", "", "me", "", None, ()).headline.endswith(f"house {words}")


def test_what_is_not_known_is_left_out_or_said() -> None:
    assert Notice("FAILURE", "house", "", "", "", "", "me", "javascript:x", None, ()).lines() == [
        "where: nowhere",
        "who: me",
        "how long: no data",
        "stages: no data",
    ]
    assert "<" not in Notice("FAILURE", "house", "", "", "", "", "me", "javascript:x", None, ()).message()["text"]


def test_a_message_is_not_longer_than_slack_takes_it() -> None:
    long = Notice("SUCCESS", "house", "", "1", "&" * 5000, "", "me", "https://ci/", None, ())
    text = long.message()["text"]
    assert len(text) < 3000
    assert text.endswith("…\n<https://ci/|the build>")


def source(declaration: Declaration, ref: Ref) -> Source:
    decision = gitflow.decide(ref, declaration)
    return Source(declaration, decision, {"house": "1.2.0"}, Origin("Zoë"), "fix: it")


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (Ref("branch", "develop"), "develop"),
        (Ref("pull-request", "7"), "pull request 7"),
        (Ref("tag", "apps-v1.0.0"), "tag apps-v1.0.0"),
        (Ref("", ""), ""),
    ],
)
def test_it_comes_from_git_and_the_journal(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ref: Ref, expected: str
) -> None:
    events = [
        Record(
            component="house",
            version="1",
            environment="none",
            responsible="Zoë",
            stage="build",
            status=status,
            details=Details(at=f"2026-01-01T00:00:0{second}Z", run="r"),
        )
        for status, second in (("started", 0), ("succeeded", 5))
    ]
    monkeypatch.setattr(recorder, "source", lambda _root: source(declaration, ref))
    monkeypatch.setattr(recorder, "journal", lambda _root: events)
    monkeypatch.setenv("BUILD_URL", "https://ci/7/")
    told = notification.notice("SUCCESS", tmp_path)
    assert (told.project, told.ref, told.version, told.subject) == ("house", expected, "1.2.0", "fix: it")
    assert (told.responsible, told.build, told.seconds) == ("Zoë", "https://ci/7/", 5.0)
    assert list(told.stages) == [StageTime("build", "succeeded", 5.0)]


def test_the_outcome_is_told_where_nothing_else_can_be_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_root: Path) -> Source:
        raise DeclarationError("read the clone: it is no git clone")

    monkeypatch.setattr(recorder, "source", broken)
    monkeypatch.setenv("DELIVERY_RESPONSIBLE", "me")
    told = notification.notice("FAILURE", tmp_path / "house")
    assert (told.headline, told.responsible) == ("❌ house failed", "me")


def test_the_webhook_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
        bodies.append(json.loads(body))
        return 200, {}, b"ok"

    with serving(answer) as (address, _):
        monkeypatch.setenv("DELIVERY_WEBHOOK", f"http://{address}/secret\n")
        assert notification.notify(TOLD) == ""
    assert bodies == [TOLD.message()]


def test_an_address_that_is_none_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELIVERY_WEBHOOK", "hooks/secret")
    assert notification.notify(TOLD) == "DELIVERY_WEBHOOK is no address"
