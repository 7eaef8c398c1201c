"""What a scan found: secrets in files and commits, and packages that are out of date."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion
from packaging.version import Version as PythonVersion

from delivery.errors import DeliveryError
from delivery.release.bom import Package

__all__ = [
    "CURRENT",
    "OLD",
    "UNSEEN",
    "Checked",
    "Finding",
    "Index",
    "Offer",
    "check",
    "counts",
    "debian_newer",
    "finding_rows",
    "findings",
    "indexes",
    "package_rows",
]

CURRENT, OLD, UNSEEN = "current", "old", "not looked at"

# An image records the number of its release.
_SUITES = {"debian-12": "bookworm", "debian-13": "trixie", "debian-14": "forky"}
_PYTHON = re.compile(r"libpython(3\.\d+)-minimal")
_SHORT = 12
_NOTHING = ((0,), 0)  # what follows the last run of a version


@dataclass(frozen=True, order=True)
class Finding:
    """Where something looks like a secret, and by which rule; never what it is."""

    commit: str  # "" for the files as they are now
    file: str
    line: int
    rule: str


@dataclass(frozen=True, order=True)
class Index:
    """Who says what the newest version of a package is."""

    kind: str  # deb or pypi
    release: str  # Debian's suite, or the version of Python
    architecture: str


@dataclass(frozen=True)
class Offer:
    """What an index answered."""

    versions: Mapping[str, Sequence[str]] = field(default_factory=dict)  # newest first, by package
    security: Mapping[str, Collection[str]] = field(
        default_factory=dict
    )  # the security updates among them
    why: str = ""  # the reason that it could not be asked


@dataclass(frozen=True, order=True)
class Checked:
    """A package of an image beside the newest that can be had: CURRENT, OLD, or UNSEEN and why."""

    image: str
    kind: str
    name: str
    has: str
    state: str
    newest: str = ""
    security: bool = False
    why: str = ""


def findings(report: str) -> list[Finding]:
    """The findings in gitleaks' JSON report, each once, sorted; the secrets themselves are left out."""
    try:
        return sorted(
            {
                Finding(one["Commit"], one["File"], one["StartLine"], one["RuleID"])
                for one in json.loads(report)
            }
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DeliveryError(
            f"read what gitleaks found: its report is not as gitleaks 8 writes it: {error!r}",
            hint="GITLEAKS names another gitleaks",
        ) from error


def finding_rows(found: Iterable[Finding]) -> list[tuple[str, str, str, str]]:
    """What a table shows of findings: where, file, line, rule."""
    return [
        (one.commit[:_SHORT] or "working tree", one.file, str(one.line), one.rule) for one in found
    ]


def indexes(
    images: Mapping[str, Sequence[Package]], ours: Collection[str]
) -> dict[Index, list[str]]:
    """The packages of these images to ask each index for; not ours, which would be somebody else's there."""
    found: dict[Index, set[str]] = {}
    for packages in images.values():
        for package, index in _looked_at(packages, ours):
            if isinstance(index, Index):
                found.setdefault(index, set()).add(_asked(package))
    return {index: sorted(names) for index, names in sorted(found.items())}


def check(
    images: Mapping[str, Sequence[Package]], ours: Collection[str], offers: Mapping[Index, Offer]
) -> list[Checked]:
    """Each package of each image beside the newest that its index offers.

    Left out are ours, and what a wheel carries within: that comes with the wheel, which is looked at.
    """
    return sorted(
        _checked(image, package, index, offers)
        for image, packages in images.items()
        for package, index in _looked_at(packages, ours)
    )


def counts(checked: Iterable[Checked]) -> dict[str, int]:
    """How many packages are in each state that occurs; one that several images have counts once."""
    states = [state for state, *_ in {(one.state, one.kind, one.name, one.has) for one in checked}]
    return {state: states.count(state) for state in (CURRENT, OLD, UNSEEN) if state in states}


def package_rows(checked: Iterable[Checked]) -> list[tuple[str, str, str, str, str, str]]:
    """A row for each package that is not current: kind, package, has, newest, its images, a note."""
    together: dict[tuple[str, str, str, str, str], list[str]] = {}
    for one in checked:
        if one.state != CURRENT:
            note = (
                f"not looked at: {one.why}"
                if one.state == UNSEEN
                else "security update"
                if one.security
                else ""
            )
            together.setdefault((one.kind, one.name, one.has, one.newest or "?", note), []).append(
                one.image
            )
    return [
        (kind, name, has, newest, ", ".join(images), note)
        for (kind, name, has, newest, note), images in sorted(together.items())
    ]


def debian_newer(version: str, than: str) -> bool:
    """Whether a Debian version is newer: https://www.debian.org/doc/debian-policy/ch-controlfields.html#version."""
    for one, other in zip(_debian_parts(version), _debian_parts(than), strict=True):
        for left, right in itertools.zip_longest(_runs(one), _runs(other), fillvalue=_NOTHING):
            if left != right:
                return left > right
    return False


def _debian_parts(version: str) -> tuple[str, str, str]:
    """Epoch, upstream version and revision."""
    epoch, _, rest = version.partition(":") if ":" in version else ("0", "", version)
    upstream, dash, revision = rest.rpartition("-")
    return epoch, upstream if dash else rest, revision if dash else ""


def _runs(text: str) -> list[tuple[tuple[int, ...], int]]:
    """Other characters and a number by turns. Letters sort before other characters, a tilde even before the end."""
    return [
        (
            (
                *(
                    -1 if one == "~" else ord(one) if one.isalpha() else ord(one) + 256
                    for one in other
                ),
                0,
            ),
            int(number or 0),
        )
        for other, number in re.findall(r"(\D*)(\d*)", text)
    ]


def _looked_at(
    packages: Sequence[Package], ours: Collection[str]
) -> Iterator[tuple[Package, Index | str]]:
    """The packages that are looked at, each with who is to be asked, or why nobody can be."""
    python = next(
        (match[1] for one in packages for match in [_PYTHON.fullmatch(one.name)] if match), ""
    )
    architecture = next(
        (one.architecture for one in packages if one.architecture not in {"", "all"}), ""
    )
    mine = {canonicalize_name(name) for name in ours}
    for package in packages:
        if package.within or (package.kind == "pypi" and canonicalize_name(package.name) in mine):
            continue
        yield package, _index(package, python, architecture)


def _index(package: Package, python: str, architecture: str) -> Index | str:
    if package.kind == "pypi":
        return Index("pypi", python, architecture)
    if package.kind != "deb":
        return f"no index of the kind {package.kind} is known here"
    match = re.search(r"[?&]distro=([^&#]+)", package.purl)
    release = match[1] if match else "it"
    if release not in _SUITES:
        return f"{release} is no release of Debian that is known here"
    return Index("deb", _SUITES[release], architecture)


def _asked(package: Package) -> str:
    return canonicalize_name(package.name) if package.kind == "pypi" else package.name


def _checked(
    image: str, package: Package, index: Index | str, offers: Mapping[Index, Offer]
) -> Checked:
    unseen = Checked(image, package.kind, package.name, package.version, UNSEEN)
    if isinstance(index, str):
        return replace(unseen, why=index)
    offer, name = offers[index], _asked(package)
    versions = offer.versions.get(name, ())
    if offer.why or not versions:
        missing = (
            f"{index.release} has it no more"
            if index.kind == "deb"
            else "the index has no such package"
        )
        return replace(unseen, why=offer.why or missing)
    newer = [version for version in versions if _newer(index.kind, version, package.version)]
    if not newer:
        return replace(unseen, state=CURRENT, newest=versions[0])
    security = any(version in offer.security.get(name, ()) for version in newer)
    return replace(unseen, state=OLD, newest=newer[0], security=security)


def _newer(kind: str, version: str, than: str) -> bool:
    if kind == "deb":
        return debian_newer(version, than)
    try:
        return PythonVersion(version) > PythonVersion(than)
    except InvalidVersion:  # of before there were rules
        return version != than
