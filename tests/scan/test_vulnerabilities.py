"""What is asked of osv-scanner, what its report means, and what blocks.

REPORT is what osv-scanner 2.5.1 printed about PACKAGES with the databases of `tests.scan.osv`.
"""

import json
from datetime import date
from pathlib import Path

import pytest

from delivery.errors import UnscannedError
from delivery.project.declaration import Ignored
from delivery.release.sbom import Image, Package
from delivery.scan.vulnerabilities import (
    Component,
    Finding,
    components_of,
    count,
    judge,
    parse_report,
    render_request,
    render_sarif,
    render_vex,
    table_row,
)
from tests.scan.osv import OPENSSL, PACKAGES, URLLIB3

REPORT = (Path(__file__).parent / "osv-report.json").read_text(encoding="utf-8")
TODAY = date(2026, 1, 10)
KNOWN, UNKNOWN = components_of(PACKAGES)
IMAGE = Image("app", "1.0.0", "localhost:5001/app", f"sha256:{'a' * 64}")


def findings() -> list[Finding]:
    return parse_report(REPORT, {"app": KNOWN})


def finding(severity: str = "high", fixed: str = "2", name: str = "CVE-1") -> Finding:
    return Finding("app", "x", "1", (name,), severity, (fixed,) if fixed else (), ("pkg:x/x@1",))


@pytest.mark.parametrize(
    ("purl", "ecosystem", "name", "version"),
    [
        (OPENSSL, "Debian", "openssl", "3.5.1-1"),
        ("pkg:deb/debian/a@1%2Bb1?distro=debian-13&upstream=b%401%3A1", "Debian", "b", "1:1"),
        ("pkg:deb/ubuntu/a@1?distro=ubuntu-24.04", "Ubuntu", "a", "1"),
        ("pkg:apk/alpine/a@1-r0?distro=alpine-3.22.1&upstream=b", "Alpine", "b", "1-r0"),
        ("pkg:pypi/foo-bar@1", "PyPI", "foo-bar", "1"),
        ("pkg:maven/io.netty/netty-common@4.1", "Maven", "io.netty:netty-common", "4.1"),
        ("pkg:golang/github.com/a/b@v1", "Go", "github.com/a/b", "v1"),
        ("pkg:cargo/ring@0.17", "crates.io", "ring", "0.17"),
    ],
)  # fmt: skip
def test_packages_are_asked_about_by_the_names_of_records(
    purl: str, ecosystem: str, name: str, version: str
) -> None:
    (component,), unknown = components_of([Package("any", "any", "any", purl)])
    assert (component.ecosystem, component.name, component.version) == (ecosystem, name, version)
    assert unknown == []
    asked = json.loads(render_request([component]))["components"]
    assert asked == [{"type": "library", "name": name, "version": version, "purl": component.purl}]
    # The distribution chooses the records, and other qualifiers mean nothing to the scanner.
    assert ("distro=" in component.purl, "upstream" in component.purl) == ("distro=" in purl, False)


def test_what_no_database_knows_is_listed() -> None:
    assert UNKNOWN == ["pkg:generic/openssl@3.0"]


def test_packages_of_one_source_are_one_question() -> None:
    twin = OPENSSL.replace("libssl3t64", "openssl")
    known, _ = components_of([*PACKAGES, Package("deb", "openssl", "3.5.1-1", twin)])
    assert len(known) == len(KNOWN)
    assert [purls for item, purls in known.items() if item.name == "openssl"] == [[OPENSSL, twin]]


def test_a_report_has_ids_severity_and_fix() -> None:
    shown = [(item.ids, item.severity, item.fixed, item.purls) for item in findings()]
    assert sorted(shown) == [
        (("DEBIAN-CVE-2025-9230", "CVE-2025-9230"), "high", ("3.5.1-1+deb13u1",), (OPENSSL,)),
        (("GHSA-mh33-7rrq-662w", "CVE-2019-11324"), "high", ("1.24.2",), (URLLIB3,)),
    ]


def test_a_package_that_was_not_looked_up_is_an_error() -> None:
    more = {**KNOWN, Component("PyPI", "requests", "2.0", "pkg:pypi/requests@2.0"): []}
    with pytest.raises(UnscannedError, match="not looked at 1 of 5 packages: requests"):
        parse_report(REPORT, {"app": more})
    # Under another ecosystem, other records were searched.
    text = REPORT.replace('"ecosystem": "Debian:13"', '"ecosystem": ""')
    with pytest.raises(UnscannedError, match="not looked at 2 of 4 packages: openssl, zlib"):
        parse_report(text, {"app": KNOWN})
    with pytest.raises(UnscannedError, match="not looked at 4 of 4"):
        parse_report('{"results": []}', {"app": KNOWN})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": [{}]}'])
def test_a_report_of_another_form_is_an_error(text: str) -> None:
    with pytest.raises(UnscannedError, match="cannot read the report of osv-scanner"):
        parse_report(text, {"app": KNOWN})


UNIMPORTANT = {"experimental_analysis": {"A": {"unimportant": True}}}


@pytest.mark.parametrize(
    ("group", "records", "severity"),
    [
        ({"max_severity": "9.0"}, {}, "critical"),
        ({"max_severity": "6.9"}, {}, "medium"),
        ({"max_severity": "0.0"}, {}, "low"),
        ({"max_severity": ""}, {"database_specific": {"severity": "MODERATE"}}, "medium"),
        ({}, {}, "unknown"),
        ({"max_severity": "9.9", **UNIMPORTANT}, {}, "low"),
        # The program says nothing about what is important.
        ({"ids": ["A", "B"], "max_severity": "9.9", **UNIMPORTANT}, {}, "critical"),
    ],
)
def test_the_severity_is_that_of_the_score_or_of_the_database(
    group: dict[str, object], records: dict[str, object], severity: str
) -> None:
    package = {"name": "x", "version": "1", "ecosystem": "PyPI"}
    entry = {
        "package": package,
        "vulnerabilities": [{"id": "A", **records}, {"id": "B"}],
        "groups": [{"ids": ["A"], **group}],
    }
    report = {"results": [{"source": {"path": "/t/app.cdx.json"}, "packages": [entry]}]}
    asked = {"app": {Component("PyPI", "x", "1", ""): ["pkg:pypi/x@1"]}}
    assert [item.severity for item in parse_report(json.dumps(report), asked)] == [severity]


def test_a_fix_in_another_release_is_no_fix() -> None:
    report = json.loads(REPORT)
    for source in report["results"]:
        for entry in source["packages"]:
            for record in entry.get("vulnerabilities", ()):
                for affected in record["affected"]:
                    name = affected["package"]["ecosystem"]
                    affected["package"]["ecosystem"] = name.replace("Debian:13", "Debian:14")
    fixed = {item.package: item.fixed for item in parse_report(json.dumps(report), {"app": KNOWN})}
    assert fixed == {"openssl": (), "urllib3": ("1.24.2",)}


@pytest.mark.parametrize(
    ("severity", "fixed", "block", "blocks"),
    [
        ("critical", "2", "high", True),
        ("high", "2", "high", True),
        ("medium", "2", "high", False),
        ("medium", "2", "medium", True),
        ("high", "", "high", False),
        ("unknown", "2", "high", True),
        ("unknown", "2", "critical", False),
    ],
)
def test_what_has_a_fix_blocks_from_a_severity_on(
    severity: str, fixed: str, block: str, *, blocks: bool
) -> None:
    (judged,) = judge([finding(severity, fixed)], {}, block, TODAY)
    assert judged.blocks is blocks


@pytest.mark.parametrize(("until", "blocks"), [(TODAY, False), (date(2026, 1, 9), True)])
def test_what_is_ignored_blocks_again_after_its_last_day(until: date, *, blocks: bool) -> None:
    ignored = {"CVE-2019-11324": Ignored(reason="no TLS here", until=until)}
    judged = judge(findings(), ignored, "high", TODAY)
    assert [item.blocks for item in judged if item.package == "urllib3"] == [blocks]
    assert [item.blocks for item in judged if item.package == "openssl"] == [True]
    assert count(judged)["ignored"] == (0 if blocks else 1)


def test_counts_name_every_severity() -> None:
    judged = judge([finding(), finding("low"), finding("unknown", "")], {}, "high", TODAY)
    severities = {"critical": 0, "high": 1, "medium": 0, "low": 1, "unknown": 1}
    assert count(judged) == {**severities, "ignored": 0, "blocking": 1}
    assert set(count([]).values()) == {0}


def test_the_worst_comes_first() -> None:
    mixed = [finding("low"), finding("critical", ""), finding("high"), finding(name="CVE-0")]
    ignored = {"CVE-0": Ignored(reason="r", until=TODAY)}
    rows = [table_row(item) for item in judge(mixed, ignored, "high", TODAY)]
    assert [(row[1], row[4], row[5]) for row in rows] == [
        ("high", "2", "blocks"),
        ("critical", "no fix", ""),
        ("low", "2", ""),
        ("high", "2", "ignored"),
    ]


def test_sarif_has_a_rule_and_a_result_for_each_finding() -> None:
    ignored = {"CVE-2025-9230": Ignored(reason="not used", until=TODAY)}
    document = json.loads(render_sarif(judge(findings(), ignored, "high", TODAY)))
    (run,) = document["runs"]
    assert document["version"] == "2.1.0"
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["GHSA-mh33-7rrq-662w", "DEBIAN-CVE-2025-9230"]
    assert [(item["level"], item["suppressions"]) for item in run["results"]] == [
        ("error", []),
        ("warning", [{"kind": "external", "justification": "not used"}]),
    ]
    location = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location == {"uri": "app"}


@pytest.mark.parametrize(
    ("status", "key"), [("affected", "action_statement"), ("not_affected", "impact_statement")]
)
def test_what_is_ignored_is_a_statement_of_openvex(status: str, key: str) -> None:
    reason = {"reason": "no TLS here", "until": TODAY, "status": status}
    ignored = {"CVE-2019-11324": Ignored.model_validate(reason)}
    judged = judge(findings(), ignored, "high", TODAY)
    text = render_vex(IMAGE, judged, "sample", "2026-01-01T00:00:00Z")
    assert text == render_vex(IMAGE, judged, "sample", "2026-01-01T00:00:00Z")
    document = json.loads(text)
    assert document["@context"] == "https://openvex.dev/ns/v0.2.0"
    assert document["@id"].startswith("urn:uuid:")
    assert (document["author"], document["timestamp"]) == ("sample", "2026-01-01T00:00:00Z")
    (statement,) = document["statements"]
    name, aliases = "GHSA-mh33-7rrq-662w", ["CVE-2019-11324"]
    assert statement["vulnerability"] == {"name": name, "aliases": aliases}
    (product,) = statement["products"]
    assert product["@id"].startswith("pkg:oci/app@sha256")
    assert product["subcomponents"] == [{"@id": URLLIB3}]
    assert (statement["status"], statement[key]) == (status, "no TLS here")


def test_nothing_ignored_is_no_openvex() -> None:
    assert render_vex(IMAGE, judge(findings(), {}, "high", TODAY), "sample", "") == ""
    other = Image("other", "", "r/other", IMAGE.digest)
    ignored = {"CVE-2019-11324": Ignored(reason="r", until=TODAY)}
    assert render_vex(other, judge(findings(), ignored, "high", TODAY), "sample", "") == ""
