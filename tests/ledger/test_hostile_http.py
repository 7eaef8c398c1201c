"""What the chart's proxy and api-rest do together with the cases of api-rest's hostile.py."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import pytest

from delivery.project.files import ROOT
from tests.ledger.proxied import Proxied, proxied

pytestmark = pytest.mark.engine

HAPROXY = os.environ.get("HAPROXY_IMAGE", "haproxy:3.0.11")
TEXT = (ROOT / "api-rest" / "docs" / "hostile-http.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (.+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def _load() -> ModuleType:
    path = ROOT / "api-rest" / "tests" / "hostile.py"
    spec = importlib.util.spec_from_file_location("hostile", path)
    assert spec is not None
    assert spec.loader is not None
    # dataclasses look a class's module up.
    module = sys.modules["hostile"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hostile: Any = _load()
Seen = tuple[tuple[int, ...], list[str]]


def exchange(pair: Proxied, case: Any) -> Seen:
    """Return the statuses, and the requests that reached the app."""
    if 100 in case.statuses:
        received = pair.send(case.sent, b"hello" + hostile.AFTER)
    else:
        after = b"" if case.ends else hostile.AFTER
        received = pair.send(case.sent + after, ends=case.ends)
    return tuple(map(int, hostile.STATUS.findall(received))), pair.recorded()


@pytest.fixture(scope="module")
def pair(images: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("proxied")
    with proxied(folder, haproxy=HAPROXY, api_rest=images["api-rest"]) as pair:
        yield pair


@pytest.fixture(scope="module")
def seen(pair: Proxied) -> dict[str, Seen]:
    """What became of each case, by its name."""
    return {case.name: exchange(pair, case) for case in hostile.CASES}


def in_words(statuses: tuple[int, ...], paths: list[str]) -> str:
    if [path for path in paths if path != "/after"]:
        return "served"
    return " ".join(map(str, statuses[:1])) or "closes, no answer"


def test_no_request_reaches_the_app_that_the_proxy_did_not_read(seen: dict[str, Seen]) -> None:
    smuggled = {
        name: (statuses, paths)
        for name, (statuses, paths) in seen.items()
        if len(paths) > statuses.count(200)
    }
    assert smuggled == {}


def test_the_document_says_what_becomes_of_each_case_through_the_proxy(
    seen: dict[str, Seen],
) -> None:
    rows = {name: words for name, _, _, words in ROW.findall(TEXT) if name in seen}
    assert len(rows) > 90
    assert rows == {name: in_words(*seen[name]) for name in rows}


def test_good_requests_are_served_through_the_proxy(seen: dict[str, Seen]) -> None:
    good = [case for case in hostile.CASES if not case.refused]
    # It needs the headers of a handshake that the case has not.
    refused = {"Upgrade: websocket is ignored"}
    lost = {case.name for case in good if seen[case.name][1][-1:] != ["/after"]}
    assert lost == refused


def test_the_app_knows_the_client_and_the_address_that_it_called(pair: Proxied) -> None:
    address, url = pair.client("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: evil.example")
    assert url == "https://ledger.example/client"
    assert address not in {"127.0.0.1", "192.0.2.1"}
