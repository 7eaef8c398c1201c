"""The real osv-scanner finds what is known, and nothing it did not look up counts as clean."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from delivery.errors import UnscannedError
from delivery.host import programs
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.registry.client import Registry
from delivery.release.sbom import Package
from delivery.scan import osv_scanner
from delivery.scan.vulnerabilities import Finding, components_of, parse_report, render_request
from tests.integration.conftest import running_registry
from tests.integration.small import Small, make
from tests.scan.osv import PACKAGES, RECORDS, record, write_databases

# With the tests on a cluster, though it needs none: ./run nox must not compile for minutes.
pytestmark = [pytest.mark.engine, pytest.mark.cluster, pytest.mark.compiled]
NONE = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"
OTHERS = {
    "Ubuntu": [record("U-1", "CVE-3", "", NONE, ("Ubuntu:24.04:LTS", "zlib", "0", "1.4"))],
    "Alpine": [record("A-1", "CVE-4", "", NONE, ("Alpine:v3.22", "busybox", "0", "1.38-r0"))],
    "Maven": [record("M-1", "CVE-5", "", NONE, ("Maven", "io.netty:netty-common", "0", "4.2"))],
}
OF_OTHERS = [
    Package(purl.split(":")[1], "any", "any", purl)
    for purl in (
        "pkg:deb/ubuntu/zlib1g@1.3?arch=amd64&distro=ubuntu-24.04&upstream=zlib",
        "pkg:apk/alpine/ssl_client@1.37-r0?distro=alpine-3.22.1&upstream=busybox",
        "pkg:maven/io.netty/netty-common@4.1",
    )
]


@pytest.fixture(autouse=True, scope="module")
def _scanner() -> None:
    if not programs.find("osv-scanner") and not programs.can_install("osv-scanner"):
        pytest.skip("neither osv-scanner nor Go, which compiles it, is here")
    programs.ensure("osv-scanner")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DELIVERY_OSV", str(tmp_path))
    return write_databases(tmp_path, datetime.now(UTC).isoformat(), {**RECORDS, **OTHERS})


def look_up(packages: Sequence[Package]) -> list[Finding]:
    known, _ = components_of(packages)
    osv_scanner.check_databases({item.ecosystem for item in known}, 7)
    report = osv_scanner.lookup({"app": render_request(known)})
    found = parse_report(report, {"app": known})
    osv_scanner.check_releases(report)
    return found


def test_known_vulnerabilities_are_found(folder: Path) -> None:
    assert folder.is_dir()
    found = [(item.package, item.ids[1], item.severity, item.fixed) for item in look_up(PACKAGES)]
    assert sorted(found) == [
        ("openssl", "CVE-2025-9230", "high", ("3.5.1-1+deb13u1",)),
        ("urllib3", "CVE-2019-11324", "high", ("1.24.2",)),
    ]


def test_other_distributions_and_jars_are_asked_about_by_their_names(folder: Path) -> None:
    assert folder.is_dir()
    found = sorted((item.ids[0], item.fixed) for item in look_up(OF_OTHERS))
    assert found == [("A-1", ("1.38-r0",)), ("M-1", ("4.2",)), ("U-1", ("1.4",))]


def test_fixed_versions_are_clean(folder: Path) -> None:
    assert folder.is_dir()
    fixed = [
        Package("pypi", "urllib3", "1.24.2", "pkg:pypi/urllib3@1.24.2"),
        Package("deb", "a", "1", "pkg:deb/debian/a@1?distro=debian-13&upstream=openssl%403.5.4-1"),
    ]
    assert look_up(fixed) == []


@pytest.mark.parametrize("ecosystem", RECORDS)
def test_without_a_database_of_one_ecosystem_nothing_counts(folder: Path, ecosystem: str) -> None:
    (folder / "osv-scalibr" / ecosystem / "all.zip").unlink()
    known, _ = components_of(PACKAGES)
    with pytest.raises(UnscannedError, match="exited with") as caught:  # the scanner's own refusal
        osv_scanner.lookup({"app": render_request(known)})
    assert "no offline version of the OSV database" in caught.value.details


def test_without_a_network_nothing_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DELIVERY_OSV", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(UnscannedError) as caught:
        look_up(PACKAGES)
    assert "api.osv.dev" in caught.value.details


@pytest.fixture
def clone(tmp_path: Path, engine: Engine, project: Declaration) -> Iterator[Small]:
    """The small project on a release branch, with urllib3 1.24.1 in its base image."""
    with running_registry(engine, project) as address:
        made = make(tmp_path / "small", address)
        site = "usr/lib/python3/dist-packages/urllib3-1.24.1.dist-info/METADATA"
        dockerfile = f"FROM scratch\nCOPY file /base-image\nCOPY file /{site}\n"
        metadata = "Metadata-Version: 2.1\nName: urllib3\nVersion: 1.24.1\n"
        declared = (made.folder / "delivery.toml").read_text() + "[vulnerabilities]\n"
        made.git("switch", "--quiet", "--create", "release/0.1")
        changes = {"base-image/Dockerfile": dockerfile, "base-image/file": metadata}
        made.commit("fix: scanned", {**changes, "delivery.toml": declared})
        yield made


def test_a_vulnerability_blocks_a_push_until_it_is_ignored(clone: Small, folder: Path) -> None:
    without = {"DELIVERY_OSV": str(folder / "nowhere")}
    code, printed = clone.inv("push", environment=without)
    assert (code, "no database in" in printed) == (12, True), printed
    code, printed = clone.inv("push", environment={"DELIVERY_OSV": str(folder)})
    assert code == 13, printed
    assert "base-image: urllib3 1.24.1 has GHSA-mh33-7rrq-662w (high), fixed in 1.24.2" in printed
    registry = Registry(clone.registry)
    assert registry.tags(f"{clone.registry}/release") == []
    declared = (clone.folder / "delivery.toml").read_text()
    declared += f'[ignored.CVE-2019-11324]\nreason = "no TLS"\nuntil = {date.max}\n'
    clone.commit("fix: accepted", {"delivery.toml": declared})
    clone.succeed("push", environment={"DELIVERY_OSV": str(folder)})
    for image in clone.released()["images"].values():
        openvex = "application/vnd.openvex+json"
        (vex,) = registry.referrers(image["repository"], image["digest"], openvex)
        manifest = registry.fetch(image["repository"], vex)
        assert manifest
        text = registry.blob(image["repository"], manifest.manifest["layers"][0]["digest"])
        (statement,) = json.loads(text)["statements"]
        assert statement["products"][0]["subcomponents"] == [{"@id": "pkg:pypi/urllib3@1.24.1"}]
        assert statement["action_statement"] == "no TLS"
