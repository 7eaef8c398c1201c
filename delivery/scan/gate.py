"""Scan every image of a release for vulnerabilities: ours, and the upstream images of the chart.

A scan that could not look is an UnscannedError. Only what is declared in delivery.toml, and said,
lets a push go on without.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from delivery import console
from delivery.build import building, planning
from delivery.build.plan import Plan
from delivery.errors import DeclarationError, ScanError, UnscannedError
from delivery.host import engines, upstreams
from delivery.project import files
from delivery.project.declaration import Declaration, Vulnerabilities
from delivery.project.files import ROOT
from delivery.project.gitflow import Line
from delivery.records import recorder, source
from delivery.registry import layers, local_registry, mirroring, oci_layout
from delivery.registry.client import Registry
from delivery.release import attached_sboms, catalog, sbom
from delivery.release.publishing import Check
from delivery.release.released import Release
from delivery.release.sbom import Image
from delivery.scan import osv_scanner
from delivery.scan.vulnerabilities import (
    Asked,
    Finding,
    components_of,
    count,
    judge,
    parse_report,
    render_request,
    render_sarif,
    render_vex,
)
from delivery.words import plural

__all__ = ["Scan", "before_release", "report", "scan", "scan_clone", "scan_release"]

_REPORT, _SARIF = "vulnerabilities.json", "vulnerabilities.sarif"
_VEX = "application/vnd.openvex+json"
_BLOCKED = (Line.CANDIDATE, Line.RELEASE)  # the lines on which vulnerabilities block


@dataclass(frozen=True)
class Scan:
    """What was found in which images; nothing was looked for if there is a reason."""

    line: str
    findings: Sequence[Finding] = ()
    unscanned: str = ""
    """The declared reason why nothing was scanned."""

    def check(self, doing: str) -> None:
        """Raise ScanError if a finding blocks on this line."""
        blocking = [finding for finding in self.findings if finding.blocks]
        if blocking and self.line in _BLOCKED:
            lines = [
                f"{found.image}: {found.package} {found.version} has {found.ids[0]} "
                f"({found.severity}), fixed in {', '.join(found.fixed)}"
                for found in blocking
            ]
            raise ScanError(
                f"cannot {doing}: {plural(len(blocking), 'finding')} of vulnerabilities with a fix",
                details="\n".join(lines),
                hint="update these packages; or put [ignored.ID] with a reason and a date into "
                "delivery.toml (docs/supply-chain.md)",
            )


def before_release(declaration: Declaration, registry: Registry, root: Path = ROOT) -> Check:
    """What `inv push` runs before it puts version tags: scans on lines that it blocks on."""

    def check(plan: Plan, release: Release, layouts: Mapping[str, Path]) -> dict[str, str]:
        if plan.decision.line not in _BLOCKED:
            return {}
        images = {image: layouts.get(image.name) for image in attached_sboms.images_of(release)}
        result = scan(declaration, registry, images, plan.decision.line, root)
        result.check(f"publish {plan.version}")
        return _attach(declaration, registry, list(images), result, root)

    return check


def scan_release(version: str) -> Scan:
    """Scan a release in the registry."""
    declaration = files.load_declaration()
    registry = Registry(declaration.registry.address)
    release = catalog.find(registry, version)
    if release is None:
        raise DeclarationError(
            f"cannot scan {version}: {registry.address} has no such release",
            hint=catalog.choices(registry),
        )
    images = attached_sboms.images_of(release)
    return scan(declaration, registry, dict.fromkeys(images), release.line)


def scan_clone() -> Scan:
    """Scan the images of this clone, of which those that the registry lacks must be built."""
    declaration = files.load_declaration()
    registry = local_registry.connect(declaration)
    plan = planning.plan_checkout(declaration, registry)
    images = {} if _unscanned(declaration) else _images_of_plan(plan)
    return scan(declaration, registry, images, plan.decision.line)


def report(root: Path = ROOT) -> str:
    """The text of the last report."""
    return files.output("scan", _REPORT, root=root).read_text(encoding="utf-8")


def scan(
    declaration: Declaration,
    registry: Registry,
    images: Mapping[Image, Path | None],
    line: str,
    root: Path = ROOT,
) -> Scan:
    """Look up every package of our images and of the chart's upstream images; write the reports.

    images: with their layouts, if they have any here.
    """
    file = files.output("scan", _REPORT, root=root)
    for old in (_REPORT, _SARIF, "*.cdx.json"):  # no earlier report is taken for this one
        for written in file.parent.glob(old):
            written.unlink()
    if reason := _unscanned(declaration):
        console.say(f"not scanned for vulnerabilities: {reason}")
        recorder.note(unscanned=reason)
        _write(file, {"unscanned": reason})
        return Scan(line, unscanned=reason)
    bills = {
        image.name: attached_sboms.make(registry, image, _existing(layout))
        for image, layout in images.items()
    }
    upstream = _upstream_bills(declaration)
    findings = _look_up(declaration, {**bills, **upstream}, file)
    by_image = {name: [item for item in findings if item.image == name] for name in bills}
    of_chart = [item for item in findings if item.image in upstream]
    counted = {**by_image, declaration.chart.folder: of_chart}
    recorder.note(vulnerabilities={name: count(items) for name, items in counted.items()})
    return Scan(line, findings)


def _images_of_plan(plan: Plan) -> dict[Image, Path | None]:
    """The images of a plan, those that the registry lacks with their layout."""
    images: dict[Image, Path | None] = {}
    for image in plan.images.all:
        layout = building.layout_folder(image) if image.missing else None
        if layout and not layout.is_dir():
            raise DeclarationError(
                f"cannot scan {image.name} for vulnerabilities: neither the registry nor {layout} "
                "has it",
                hint="run `./run inv build` first, or name a release by --version",
            )
        digest = oci_layout.digest(layout) if layout else image.digest
        images[Image(image.name, image.version, image.repository, digest)] = layout
    return images


def _existing(layout: Path | None) -> Path | None:
    """The layout, unless the engine has the image itself."""
    return layout if layout and layout.is_dir() else None


def _unscanned(declaration: Declaration) -> str:
    settings = declaration.vulnerabilities
    if settings is None:
        return "delivery.toml has no table [vulnerabilities]"
    if settings.unscanned and settings.until and _today() <= settings.until:
        return f"{settings.unscanned} (until {settings.until})"
    return ""


def _look_up(declaration: Declaration, bills: Mapping[str, str], file: Path) -> list[Finding]:
    """The findings in these SBOMs; writes the SBOMs and the reports."""
    settings = declaration.vulnerabilities or Vulnerabilities()
    asked, images = dict[str, Asked](), dict[str, object]()
    for name, text in bills.items():
        bill = file.with_name(f"{name}.cdx.json")
        bill.write_text(text, encoding="utf-8")
        asked[name], unknown = components_of(sbom.parse(text))
        images[name] = {"packages": len(asked[name]), "unknown": unknown}
        if not asked[name]:
            raise UnscannedError(
                f"cannot scan {name} for vulnerabilities: its SBOM lists no package that OSV knows",
                hint=f"see {bill}",
            )
    with console.step("vulnerabilities") as step:
        ecosystems = {item.ecosystem for components in asked.values() for item in components}
        databases = osv_scanner.check_databases(ecosystems, settings.days)
        requests = {name: render_request(components) for name, components in asked.items()}
        text = osv_scanner.lookup(requests)
        found = parse_report(text, asked)
        osv_scanner.check_releases(text)
        findings = judge(found, declaration.ignored, settings.block, _today())
        packages = f"{sum(map(len, asked.values()))} packages of {', '.join(bills)}"
        step.done(f"{len(findings) or 'none'} in {packages}, by {databases}")
    listed = [asdict(finding) for finding in findings]
    _write(file, {"databases": databases, "images": images, "findings": listed})
    file.with_name(_SARIF).write_text(render_sarif(findings), encoding="utf-8")
    return findings


def _write(file: Path, document: object) -> None:
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _upstream_bills(declaration: Declaration) -> dict[str, str]:
    """The SBOMs of the upstream images that the chart runs, as the engine has them."""
    names = [name for name in mirroring.IMAGES.values() if name in declaration.upstream]
    if not names:
        return {}
    engine = engines.ensure()
    upstreams.ensure(engine, declaration, names)
    bills = {}
    for name in names:
        reference = declaration.upstream[name].image
        repository, _, tag = reference.rpartition(":")
        with tempfile.TemporaryDirectory(prefix="delivery-") as scratch:
            archive = Path(scratch) / "image.tar"
            engine.save(reference, archive)
            packages = sbom.packages_of_image(layers.read_archive(archive, sbom.is_record))
        image = Image(name, tag, repository, engine.image_digest(reference))
        bills[name] = sbom.render(image, packages)
    return bills


def _attach(
    declaration: Declaration, registry: Registry, images: Sequence[Image], result: Scan, root: Path
) -> dict[str, str]:
    """Attach what is ignored as OpenVEX beside the SBOM; the digest of the image by reference."""
    issued = source.origin_of(None, root).committed_at
    attached = {}
    for image in images:
        if text := render_vex(image, result.findings, declaration.name, issued):
            artifact = attached_sboms.document(image, _VEX, f"{image.name}.vex.json", text)
            digest = registry.push_artifact(image.repository, artifact)
            attached[f"{image.repository}@{digest}"] = image.digest
    return attached


def _today() -> date:
    return datetime.now(UTC).date()
