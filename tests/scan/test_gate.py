"""A scan reports every image, blocks a push, and says when it did not look."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, cast

import pytest

from delivery.build.plan import Plan
from delivery.errors import ScanError, UnscannedError
from delivery.project.declaration import Declaration, Ignored, Vulnerabilities
from delivery.project.gitflow import Line
from delivery.records import recorder, source
from delivery.records.events import Origin
from delivery.registry.client import Artifact, Registry
from delivery.release import attached_sboms, sbom
from delivery.release.released import Release, ReleasedPart
from delivery.release.sbom import Image
from delivery.scan import gate, osv_scanner
from tests.build.examples import plan_of
from tests.project.examples import checkout, decision, versions
from tests.scan.osv import PACKAGES, write_databases

REPORT = (Path(__file__).parent / "osv-report.json").read_text(encoding="utf-8")
APP = Image("app", "1.0.0", "localhost:5001/app", f"sha256:{'a' * 64}")
KAFKA = Image("kafka", "4", "apache/kafka", f"sha256:{'b' * 64}")
TODAY = date(2026, 1, 10)
RELEASE = Release(images={"app": ReleasedPart(APP.repository, "k1", APP.digest, "1.0.0")})


@pytest.fixture
def settings() -> Vulnerabilities | None:
    return Vulnerabilities()


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is recorded of a scan."""
    noted: dict[str, Any] = {}
    monkeypatch.setattr(recorder, "note", noted.update)
    return noted


@pytest.fixture
def project(
    declaration: Declaration,
    settings: Vulnerabilities | None,
    monkeypatch: pytest.MonkeyPatch,
    sample: Path,
) -> Declaration:
    """A project of one image with PACKAGES, whose upstream image has the first of them."""
    monkeypatch.setattr(gate, "_today", lambda: TODAY)
    monkeypatch.setattr(
        attached_sboms, "make", lambda _registry, image, _layout: sbom.render(image, PACKAGES)
    )
    upstream = {"kafka": sbom.render(KAFKA, PACKAGES[:1])}
    monkeypatch.setattr(gate, "_upstream_bills", lambda _declaration: upstream)
    monkeypatch.setattr(osv_scanner, "check_databases", lambda *_: "databases of today")
    monkeypatch.setattr(osv_scanner, "lookup", looked_up)
    del sample
    return declaration.model_copy(update={"vulnerabilities": settings})


def looked_up(requests: Mapping[str, str]) -> str:
    """The recorded report, for each image as far as it was asked about."""
    (recorded,) = json.loads(REPORT)["results"]
    results = []
    for name, text in requests.items():
        asked = {item["name"] for item in json.loads(text)["components"]}
        packages = [item for item in recorded["packages"] if item["package"]["name"] in asked]
        results.append({"source": {"path": f"/scratch/{name}.cdx.json"}, "packages": packages})
    return json.dumps({"results": results})


def scan(project: Declaration, root: Path, line: Line = Line.CANDIDATE) -> gate.Scan:
    registry = cast("Registry", None)
    return gate.scan(project, registry, {APP: None}, line, root)


def written(root: Path, name: str) -> Any:
    return json.loads((root / ".delivery" / "scan" / name).read_text())


def test_every_image_is_reported(project: Declaration, tmp_path: Path) -> None:
    result = scan(project, tmp_path)
    found = [(item.image, item.package) for item in result.findings]
    assert found == [("app", "openssl"), ("app", "urllib3"), ("kafka", "openssl")]
    report = written(tmp_path, "vulnerabilities.json")
    assert report["databases"] == "databases of today"
    assert report["images"] == {
        "app": {"packages": 4, "unknown": ["pkg:generic/openssl@3.0"]},
        "kafka": {"packages": 1, "unknown": []},
    }
    assert [item["blocks"] for item in report["findings"]] == [True] * 3
    assert len(written(tmp_path, "vulnerabilities.sarif")["runs"][0]["results"]) == 3
    assert written(tmp_path, "kafka.cdx.json")["bomFormat"] == "CycloneDX"
    assert gate.report(tmp_path) == json.dumps(report, indent=2) + "\n"


@pytest.mark.parametrize("line", Line)
def test_only_the_lines_of_releases_are_blocked(
    project: Declaration, tmp_path: Path, line: Line
) -> None:
    result = scan(project, tmp_path, line)
    if line not in {Line.CANDIDATE, Line.RELEASE}:
        result.check("pass")
        return
    with pytest.raises(ScanError, match="cannot pass: 3 findings") as caught:
        result.check("pass")
    assert caught.value.exit_code == 13
    assert "urllib3 1.24.1 has GHSA-mh33-7rrq-662w (high), fixed in 1.24.2" in caught.value.details


def test_the_counts_are_recorded_for_each_component(
    project: Declaration, tmp_path: Path, noted: dict[str, Any]
) -> None:
    scan(project, tmp_path)
    high = {name: count["high"] for name, count in noted["vulnerabilities"].items()}
    assert high == {"app": 2, project.chart.folder: 1}  # the chart runs the upstream images


def test_a_scan_that_fails_leaves_no_earlier_report(
    project: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan(project, tmp_path)

    def fail(*_: object) -> str:
        raise UnscannedError("no database", hint="get one")

    monkeypatch.setattr(osv_scanner, "check_databases", fail)
    with pytest.raises(UnscannedError):
        scan(project, tmp_path)
    assert not list((tmp_path / ".delivery" / "scan").glob("vulnerabilities.*"))


def test_an_image_without_a_known_package_is_not_clean(
    project: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_upstream_bills", lambda _: {"kafka": sbom.render(KAFKA, ())})
    with pytest.raises(UnscannedError, match=r"kafka .* lists no package that OSV knows"):
        scan(project, tmp_path)


def test_a_release_of_which_no_database_has_a_record_is_not_clean(
    project: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty: dict[str, Any] = {"Debian": [], "PyPI": []}
    monkeypatch.setenv("DELIVERY_OSV", str(write_databases(tmp_path / "osv", "", empty)))
    with pytest.raises(UnscannedError, match="no record of Debian:13"):
        scan(project, tmp_path)


UNSCANNED = Vulnerabilities(unscanned="no mirror yet", until=TODAY)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (None, "delivery.toml has no table [vulnerabilities]"),
        (UNSCANNED, "no mirror yet (until 2026-01-10)"),
    ],
)
def test_a_scan_that_is_declared_off_says_so(
    project: Declaration,
    tmp_path: Path,
    reason: str,
    noted: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = scan(project, tmp_path)
    result.check("pass")
    assert (result.unscanned, noted) == (reason, {"unscanned": reason})
    assert f"not scanned for vulnerabilities: {reason}" in " ".join(capsys.readouterr().out.split())
    assert written(tmp_path, "vulnerabilities.json") == {"unscanned": reason}


@pytest.mark.parametrize(
    "settings", [UNSCANNED.model_copy(update={"until": date(2026, 1, 9)})], ids=["yesterday"]
)
def test_a_scan_is_off_until_its_last_day(project: Declaration, tmp_path: Path) -> None:
    assert scan(project, tmp_path).findings


class Attaching:
    """A registry that keeps what is attached."""

    def __init__(self) -> None:
        self.artifacts: list[Artifact] = []

    def push_artifact(self, _repository: str, artifact: Artifact) -> str:
        self.artifacts.append(artifact)
        return "sha256:vex"


def plan(declaration: Declaration, line: Line) -> Plan:
    return plan_of(checkout(declaration, decision(line, "any"), versions()))


def check(
    project: Declaration, root: Path, line: Line = Line.RELEASE
) -> tuple[dict[str, str], list[Artifact]]:
    registry = Attaching()
    check = gate.before_release(project, cast("Registry", registry), root)
    return check(plan(project, line), RELEASE, {}), registry.artifacts


def test_a_push_to_develop_is_not_scanned(
    project: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(gate, "scan")
    assert check(project, tmp_path, Line.DEVELOP) == ({}, [])


def test_a_push_of_a_release_is_blocked(project: Declaration, tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"cannot publish 1\.0\.0: 3 findings"):
        check(project, tmp_path)


def test_what_is_ignored_is_attached_to_its_image(
    project: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = Ignored(reason="not used", until=TODAY)
    ignored = dict.fromkeys(("CVE-2019-11324", "DEBIAN-CVE-2025-9230"), reason)
    origin = Origin("ann", committed_at="2026-01-01T00:00:00Z")
    monkeypatch.setattr(source, "origin_of", lambda *_: origin)
    attached, (artifact,) = check(project.model_copy(update={"ignored": ignored}), tmp_path)
    assert attached == {f"{APP.repository}@sha256:vex": APP.digest}  # for its signature
    assert (artifact.artifact_type, artifact.subject) == (
        "application/vnd.openvex+json",
        APP.digest,
    )
    document = json.loads(artifact.layers[0].content)
    assert len(document["statements"]) == 2
    assert document["timestamp"] == "2026-01-01T00:00:00Z"
