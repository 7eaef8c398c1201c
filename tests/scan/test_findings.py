"""What a scan found is told so far as it is needed, and no more."""

import itertools
import json
import shutil
import subprocess

import pytest

from delivery.errors import DeliveryError
from delivery.release.bom import Package
from delivery.scan import findings
from delivery.scan.findings import CURRENT, OLD, UNSEEN, Checked, Finding, Index, Offer

REPORTED = {
    "RuleID": "private-key",
    "Commit": "c" * 40,
    "File": "a/b",
    "StartLine": 3,
    "Secret": "hush",
    "Match": "key = hush",
    "Message": "hush",
}
TRIXIE = Index("deb", "trixie", "amd64")
PYPI = Index("pypi", "3.13", "amd64")


def deb(
    name: str, version: str = "1", *, architecture: str = "amd64", release: str = "debian-13"
) -> Package:
    return Package(
        "deb", name, version, f"pkg:deb/debian/{name}@{version}?distro={release}", architecture
    )


def pypi(name: str, version: str = "1", within: str = "") -> Package:
    return Package("pypi", name, version, f"pkg:pypi/{name}@{version}", within=within)


PYTHON = deb("libpython3.13-minimal")


def check(package: Package, offer: Offer, index: Index = TRIXIE) -> Checked:
    """What comes of one package, when its index offers this."""
    (one,) = [
        one
        for one in findings.check({"app": [PYTHON, package]}, (), {TRIXIE: Offer(), index: offer})
        if one.name == package.name
    ]
    return one


def test_a_finding_is_where_it_is_and_nothing_of_what_it_is() -> None:
    found = findings.findings(json.dumps([REPORTED, REPORTED, {**REPORTED, "Commit": ""}]))
    assert found == [
        Finding("", "a/b", 3, "private-key"),
        Finding("c" * 40, "a/b", 3, "private-key"),
    ]
    assert findings.finding_rows(found) == [
        ("working tree", "a/b", "3", "private-key"),
        ("c" * 12, "a/b", "3", "private-key"),
    ]


@pytest.mark.parametrize("report", ["", "{}}", "[{}]", "[1]", "3"])
def test_a_report_that_is_none_is_an_error(report: str) -> None:
    with pytest.raises(DeliveryError, match="read what gitleaks found"):
        findings.findings(report)


def test_each_index_is_asked_once_and_for_ours_none() -> None:
    images = {
        "base-image": [deb("netbase", architecture="all"), PYTHON],
        "app": [
            PYTHON,
            deb("libc6"),
            pypi("My_App"),
            pypi("Typing_Extensions"),
            pypi("inner", within="x 1"),
        ],
        "older": [deb("libc6", release="debian-12", architecture="arm64")],
        "elsewhere": [deb("apk", release="alpine-3")],
    }
    assert findings.indexes(images, ["my.app", ""]) == {
        Index("deb", "bookworm", "arm64"): ["libc6"],
        TRIXIE: ["libc6", "libpython3.13-minimal", "netbase"],
        PYPI: ["typing-extensions"],
    }


@pytest.mark.parametrize(
    ("has", "versions", "security", "expected"),
    [
        ("1.0-1", ["1.0-1"], (), (CURRENT, "1.0-1", False)),
        ("1.0-2", ["1.0-1"], (), (CURRENT, "1.0-1", False)),
        ("1.0-1", ["1.0-2", "1.0-1"], (), (OLD, "1.0-2", False)),
        ("1.0-1", ["1.0-3", "1.0-2", "1.0-1"], ["1.0-2"], (OLD, "1.0-3", True)),
        ("1.0-1", ["1.0-2", "1.0-1"], ["1.0-1"], (OLD, "1.0-2", False)),
        ("1.0~rc1-1", ["1.0-1"], (), (OLD, "1.0-1", False)),
    ],
)
def test_a_debian_package_is_old_when_its_suite_has_a_newer_one(
    has: str, versions: list[str], security: list[str], expected: tuple[str, str, bool]
) -> None:
    one = check(deb("libc6", has), Offer({"libc6": versions}, {"libc6": security}))
    assert (one.state, one.newest, one.security) == expected


@pytest.mark.parametrize(
    ("has", "newest", "state"),
    [
        ("2.9", "2.10", OLD),
        ("2.10", "2.10.0", CURRENT),
        ("2.11", "2.10", CURRENT),
        ("dev", "2.10", OLD),
    ],
)
def test_a_python_package_is_compared_as_python_does(has: str, newest: str, state: str) -> None:
    one = check(pypi("Zope.Thing", has), Offer({"zope-thing": [newest]}), PYPI)
    assert (one.name, one.state, one.newest) == ("Zope.Thing", state, newest)


@pytest.mark.parametrize(
    ("package", "index", "offer", "why"),
    [
        (deb("libc6"), TRIXIE, Offer(why="no network"), "no network"),
        (deb("libc6"), TRIXIE, Offer({"other": ["1"]}), "trixie has it no more"),
        (pypi("bottle"), PYPI, Offer({}), "the index has no such package"),
        (
            deb("apk", release="alpine-3"),
            PYPI,
            Offer(),
            "alpine-3 is no release of Debian that is known here",
        ),
        (
            Package("npm", "left-pad", "1", "pkg:npm/left-pad@1"),
            PYPI,
            Offer(),
            "no index of the kind npm is known",
        ),
    ],
)
def test_what_nobody_looked_at_is_not_called_current(
    package: Package, index: Index, offer: Offer, why: str
) -> None:
    one = check(package, offer, index)
    assert (one.state, one.newest) == (UNSEEN, "")
    assert one.why.startswith(why)


def test_ours_and_what_a_wheel_carries_are_left_out() -> None:
    packages = [PYTHON, pypi("my-app"), pypi("inner", within="x 1")]
    assert [
        one.name for one in findings.check({"app": packages}, ["My_App"], {TRIXIE: Offer()})
    ] == [PYTHON.name]


def test_the_table_has_each_package_once_and_none_that_is_current() -> None:
    checked = [
        Checked("app", "deb", "libssl", "1", OLD, "2", security=True),
        Checked("base-image", "deb", "libssl", "1", OLD, "2", security=True),
        Checked("app", "deb", "libc6", "1", CURRENT, "1"),
        Checked("app", "pypi", "gone", "1", UNSEEN, why="no network"),
    ]
    assert findings.package_rows(checked) == [
        ("deb", "libssl", "1", "2", "app, base-image", "security update"),
        ("pypi", "gone", "1", "?", "app", "not looked at: no network"),
    ]
    assert findings.counts(checked) == {CURRENT: 1, OLD: 1, UNSEEN: 1}
    assert findings.counts(checked[:2]) == {OLD: 1}


# In Debian's order: https://www.debian.org/doc/debian-policy/ch-controlfields.html#version
ORDERED = [
    "0~~",
    "0~~a",
    "0~",
    "0",
    "0.9-1",
    "1.0~rc1-1",
    "1.0-0+deb13u1",
    "1.0-1~deb13u1",
    "1.0-1",
    "1.0-1+b2",
    "1.0-1+b10",
    "1.0-1.1",
    "1.0-2",
    "1.0a-1",
    "1.0+dfsg-1",
    "1.0-1-1",
    "1.0.1",
    "1.2",
    "1.10",
    "2026f-0+deb13u1",
    "1:0.1",
    "1:1.3.dfsg+really1.3.1-1+deb13u1",
    "1:1.3.dfsg+really1.3.1-1+deb13u2",
    "2:0",
]


def test_versions_are_in_debians_order() -> None:
    for one, other in itertools.combinations(ORDERED, 2):
        assert findings.debian_newer(other, one), (one, other)
        assert not findings.debian_newer(one, other), (one, other)


@pytest.mark.parametrize("same", ["0:1.0", "1.0-0", "1.0-", "01.00"])
def test_versions_may_be_the_same_and_written_otherwise(same: str) -> None:
    assert not findings.debian_newer(same, "1.0")
    assert not findings.debian_newer("1.0", same)


@pytest.mark.skipif(not shutil.which("dpkg"), reason="dpkg says what Debian's order is")
def test_dpkg_has_the_same_order() -> None:
    for one, other in itertools.pairwise(ORDERED):
        assert (
            subprocess.run(["dpkg", "--compare-versions", one, "lt", other], check=False).returncode
            == 0
        ), (
            one,
            other,
        )
