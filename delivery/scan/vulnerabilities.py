"""Vulnerabilities of images: what is asked, what osv-scanner has found, and what blocks a push.

The records: https://ossf.github.io/osv-schema/
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from packageurl import PackageURL

from delivery.errors import UnscannedError
from delivery.project.declaration import Ignored
from delivery.release.sbom import Image, Package
from delivery.words import plural, shorten

__all__ = [
    "SEVERITIES",
    "Asked",
    "Component",
    "Finding",
    "components_of",
    "count",
    "judge",
    "parse_report",
    "render_request",
    "render_sarif",
    "render_vex",
    "table_row",
]

SEVERITIES = ("critical", "high", "medium", "low", "unknown")
_SCORES = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))
_WORDS = {"moderate": "medium"}  # GitHub's
# OSV's databases by the type of a purl, for Debian's packages with its namespace.
_ECOSYSTEMS = {
    "apk": "Alpine",
    "cargo": "crates.io",
    "deb/debian": "Debian",
    "deb/ubuntu": "Ubuntu",
    "golang": "Go",
    "maven": "Maven",
    "npm": "npm",
    "pypi": "PyPI",
}
_NAMESPACE = uuid.UUID("5f0d8d0c-93a5-5d1f-a6a2-2f9ad8c6d6b4")  # of documents; any constant

Asked = Mapping["Component", Sequence[str]]
"""What is asked about an image: each component, with the purls of its packages."""


@dataclass(frozen=True, order=True)
class Component:
    """A package as OSV's records name it: for Debian and Alpine the source package."""

    ecosystem: str
    """The name of its database: without the release, as in "Debian"."""
    name: str
    version: str
    purl: str


@dataclass(frozen=True)
class Finding:
    """A vulnerability of a component of an image."""

    image: str
    package: str
    version: str
    ids: tuple[str, ...]
    """Its id and its aliases."""
    severity: str
    fixed: tuple[str, ...]
    """The versions that fix it."""
    purls: tuple[str, ...]
    summary: str = ""
    ignored: str = ""
    """The reason, if it is ignored."""
    status: str = ""
    """OpenVEX's, if it is ignored."""
    blocks: bool = False


def components_of(packages: Iterable[Package]) -> tuple[dict[Component, list[str]], list[str]]:
    """The components to ask about, each with the purls in the SBOM; the purls nobody knows."""
    known, unknown = defaultdict[Component, list[str]](list), list[str]()
    for package in packages:
        component = _component(package.purl)
        if component:
            known[component].append(package.purl)
        else:
            unknown.append(package.purl)
    return dict(sorted(known.items())), unknown


def render_request(components: Iterable[Component]) -> str:
    """A CycloneDX document that osv-scanner looks up by the names of OSV's records."""
    listed = [
        {"type": "library", "name": item.name, "version": item.version, "purl": item.purl}
        for item in components
    ]
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": listed}
    return json.dumps(document)


def parse_report(text: str, asked: Mapping[str, Asked]) -> list[Finding]:
    """The findings in osv-scanner's report, which also lists every package that it looked up.

    asked: by image. UnscannedError if it has not looked at everything.
    """
    findings, seen = list[Finding](), defaultdict[str, set[tuple[str, ...]]](set)
    try:
        for source in json.loads(text)["results"]:
            image = source["source"]["path"].rpartition("/")[2].removesuffix(".cdx.json")
            purls = {_key(item): names for item, names in asked[image].items()}
            for entry in source["packages"]:
                package = entry["package"]
                ecosystem = package["ecosystem"].partition(":")[0]
                key = (ecosystem, package["name"], package["version"])
                seen[image].add(key)
                findings += _findings(image, entry, tuple(purls.get(key, ())))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnscannedError(
            f"cannot read the report of osv-scanner: {error!r}",
            hint="set OSV_SCANNER to an osv-scanner of the version in docs/supply-chain.md",
        ) from error
    for image, components in asked.items():
        missing = [item.name for item in components if _key(item) not in seen[image]]
        if missing:
            raise UnscannedError(
                f"cannot scan {image} for vulnerabilities: osv-scanner has not looked at "
                f"{len(missing)} of {plural(len(components), 'package')}: {shorten(missing)}",
                hint="set OSV_SCANNER to an osv-scanner of the version in docs/supply-chain.md",
            )
    return findings


def judge(
    findings: Iterable[Finding], ignored: Mapping[str, Ignored], block: str, today: date
) -> list[Finding]:
    """The findings with what is ignored and what blocks, the worst first.

    What has no severity counts as high: nobody has said that it is less.
    """
    current = {name: item for name, item in ignored.items() if today <= item.until}
    judged = []
    for finding in findings:
        reason = next((current[name] for name in finding.ids if name in current), None)
        severity = "high" if finding.severity == "unknown" else finding.severity
        is_severe = SEVERITIES.index(severity) <= SEVERITIES.index(block)
        if reason:
            judged.append(replace(finding, ignored=reason.reason, status=reason.status))
        else:
            judged.append(replace(finding, blocks=bool(finding.fixed) and is_severe))
    return sorted(judged, key=_order)


def count(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each severity, how many are ignored, how many block."""
    found = list(findings)
    open_ones = Counter(finding.severity for finding in found if not finding.ignored)
    return {
        **{severity: open_ones[severity] for severity in SEVERITIES},
        "ignored": sum(bool(finding.ignored) for finding in found),
        "blocking": sum(finding.blocks for finding in found),
    }


def table_row(finding: Finding) -> tuple[str, ...]:
    """A finding as a row of a table."""
    verdict = "blocks" if finding.blocks else "ignored" if finding.ignored else ""
    package = f"{finding.package} {finding.version}"
    fixed = ", ".join(finding.fixed) or "no fix"
    return finding.image, finding.severity, finding.ids[0], package, fixed, verdict


def render_sarif(findings: Iterable[Finding]) -> str:
    """The findings as SARIF 2.1.0, which CI servers and code hosts read."""
    rules: dict[str, Any] = {}
    results = []
    for finding in findings:
        name = finding.ids[0]
        text = finding.summary or f"{name} in {finding.package}"
        link = f"https://osv.dev/{name}"
        rules[name] = {"id": name, "shortDescription": {"text": text}, "helpUri": link}
        fixed = f"fixed in {', '.join(finding.fixed)}" if finding.fixed else "no fix"
        message = f"{finding.package} {finding.version}: {text} ({finding.severity}, {fixed})"
        suppression = {"kind": "external", "justification": finding.ignored}
        results.append(
            {
                "ruleId": name,
                "level": "error" if finding.blocks else "warning",
                "message": {"text": message},
                "locations": [
                    {"physicalLocation": {"artifactLocation": {"uri": finding.image}}},
                ],
                "suppressions": [suppression] if finding.ignored else [],
            }
        )
    driver = {"name": "osv-scanner", "rules": list(rules.values())}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    run = {"tool": {"driver": driver}, "results": results}
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def render_vex(image: Image, findings: Iterable[Finding], author: str, issued: str) -> str:
    """What is ignored of an image as OpenVEX; "" for nothing.

    issued: the time of the commit that ignores it, so that the same commit gives the same bytes.
    The format: https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md
    """
    product = PackageURL(
        "oci", None, image.name, image.digest, {"repository_url": image.repository}
    ).to_string()
    statements = []
    for finding in findings:
        if finding.ignored and finding.image == image.name:
            key = "action_statement" if finding.status == "affected" else "impact_statement"
            parts = [{"@id": purl} for purl in finding.purls]
            name, *aliases = finding.ids
            statements.append(
                {
                    "vulnerability": {"name": name, "aliases": aliases},
                    "products": [{"@id": product, "subcomponents": parts}],
                    "status": finding.status,
                    key: finding.ignored,
                }
            )
    if not statements:
        return ""
    identity = uuid.uuid5(_NAMESPACE, json.dumps([product, issued, statements]))
    document = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": f"urn:uuid:{identity}",
        "author": author,
        "timestamp": issued,
        "version": 1,
        "statements": statements,
    }
    return json.dumps(document, indent=2) + "\n"


def _component(text: str) -> Component | None:
    """What OSV knows a package as; None if it is of a kind that it does not know."""
    purl = PackageURL.from_string(text)
    kind = f"deb/{purl.namespace}" if purl.type == "deb" else purl.type
    if kind not in _ECOSYSTEMS or not purl.version:
        return None
    qualifiers = dict(purl.qualifiers)
    name, version, distribution = purl.name, purl.version, qualifiers.get("distro")
    if distribution:
        source, _, source_version = qualifiers.get("upstream", "").partition("@")
        name, version = source or name, source_version or version
    elif purl.type == "pypi":
        name = re.sub(r"[-_.]+", "-", name).lower()
    elif purl.namespace:
        name = f"{purl.namespace}{':' if purl.type == 'maven' else '/'}{name}"
    about = {"distro": distribution} if distribution else {}
    plain = name if distribution else purl.name
    asked = PackageURL(purl.type, purl.namespace, plain, version, about).to_string()
    return Component(_ECOSYSTEMS[kind], name, version, asked)


def _key(component: Component) -> tuple[str, ...]:
    return component.ecosystem, component.name, component.version


def _findings(image: str, entry: Mapping[str, Any], purls: tuple[str, ...]) -> list[Finding]:
    """The findings of a package in a report: one for each group of records about the same."""
    records = {record["id"]: record for record in entry.get("vulnerabilities", ())}
    findings = []
    for group in entry.get("groups", ()):
        same = [records[name] for name in group["ids"]]
        fixed = {version for record in same for version in _fixed(record, entry["package"])}
        findings.append(
            Finding(
                image,
                entry["package"]["name"],
                entry["package"]["version"],
                tuple(dict.fromkeys([*group["ids"], *group.get("aliases", ())])),
                _severity(group, same),
                tuple(sorted(fixed)),
                purls,
                next((record["summary"] for record in same if record.get("summary")), ""),
            )
        )
    return findings


def _fixed(record: Mapping[str, Any], package: Mapping[str, str]) -> list[str]:
    """The versions of a package that fix a vulnerability, in the package's own release."""
    base = package["ecosystem"].partition(":")[0]
    return [
        event["fixed"]
        for affected in record.get("affected", ())
        if affected.get("package", {}).get("name") == package["name"]
        and affected["package"]["ecosystem"] in {package["ecosystem"], base}
        for span in affected.get("ranges", ())
        if span.get("type") != "GIT"
        for event in span.get("events", ())
        if "fixed" in event
    ]


def _severity(group: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """The severity by the highest score, else as the database rates it."""
    analysis = group.get("experimental_analysis") or {}
    if all(analysis.get(name, {}).get("unimportant") for name in group["ids"]):
        return "low"  # by Debian's or Ubuntu's security team
    score = group.get("max_severity") or ""
    if score:
        return next((word for least, word in _SCORES if float(score) >= least), "low")
    for record in records:
        rating = str(record.get("database_specific", {}).get("severity", "")).lower()
        if (word := _WORDS.get(rating, rating)) in SEVERITIES:
            return word
    return "unknown"


def _order(finding: Finding) -> tuple[object, ...]:
    return (
        not finding.blocks,
        bool(finding.ignored),
        SEVERITIES.index(finding.severity),
        finding.image,
        finding.package,
        finding.ids,
    )
