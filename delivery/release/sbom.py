"""The bill of materials of an image: what is in it by its own records, as a CycloneDX document and back.

The format: https://cyclonedx.org/docs/1.6/json/, the names in it: https://github.com/package-url/purl-spec
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from email.message import Message
from email.parser import HeaderParser
from typing import Any

from delivery.errors import DeliveryError

__all__ = [
    "MEDIA_TYPE",
    "Image",
    "Package",
    "is_record",
    "packages_of_image",
    "parse",
    "render",
    "table_rows",
]

MEDIA_TYPE = "application/vnd.cyclonedx+json"

_NAMESPACE = uuid.UUID(
    "6a3f0f9a-6a43-5b55-8d9c-0f3b1f7f5c11"
)  # of our serial numbers; any that stays the same
_WITHIN = "delivery-platform:within"
_SHOWN_LICENCES = 3
_LONGEST_LICENCE = 100  # longer is the text of one, not its name

_RECORDS = re.compile(
    r"(?P<debian>var/lib/dpkg/status|var/lib/dpkg/status\.d/(?!.*\.(md5sums|list)$)[^/]+)"
    r"|(?P<copyright>usr/share/doc/[^/]+/copyright)"
    r"|(?P<system>usr/lib/os-release)"
    r"|(?P<python>(.*/)?([^/]+\.dist-info/METADATA|[^/]+\.egg-info(/PKG-INFO)?))"
    r"|(?P<vendored>(.*/)?[^/]+\.dist-info/sboms/[^/]+\.json)"
)


@dataclass(frozen=True, order=True)
class Package:
    """One package: its kind ("deb", "pypi", or what a wheel's own bill says), name, version, and the purl that says it all.

    architecture is Debian's. within names the wheel that carries it, by that wheel's own bill.
    """

    kind: str
    name: str
    version: str
    purl: str
    architecture: str = ""
    licences: tuple[str, ...] = ()
    within: str = ""


@dataclass(frozen=True)
class Image:
    """What a bill is of: an image's name and version, the repository it is in, and the digest of its manifest."""

    name: str
    version: str
    repository: str
    digest: str


def is_record(path: str) -> bool:
    """Whether a path inside an image (without the first slash) is read for its bill of materials."""
    return _RECORDS.fullmatch(path) is not None


def packages_of_image(files: Mapping[str, bytes]) -> list[Package]:
    """The packages that an image's files record, sorted: Debian's, Python's, and those that a wheel says it carries.

    A record that cannot be read raises DeliveryError: a bill that lacks something is worse than none.
    """
    found = set[Package]()
    system = _system(files.get("usr/lib/os-release", b""))
    for path, content in files.items():
        match = _RECORDS.fullmatch(path)
        try:
            if match is None:
                continue
            if match["debian"]:
                found.update(_debian(content, system, files))
            elif match["python"]:
                found.add(_distribution(content))
            elif match["vendored"]:
                found.update(_vendored(content, path))
        except (KeyError, ValueError, AttributeError, TypeError) as error:
            raise DeliveryError(
                f"read what is in the image: /{path} is not a record as Debian, Python or CycloneDX write it: {error!r}",
                hint="mend what writes that file into the image",
            ) from error
    return _once_each(found)


def render(image: Image, found: Iterable[Package]) -> str:
    """The bill of an image as CycloneDX 1.6 JSON: the same image and packages give the same bytes."""
    # The library takes a quarter of a second to load: only who writes a bill waits for it.
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import DisjunctiveLicense, License, LicenseExpression
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from cyclonedx.spdx import is_expression, is_supported_id
    from packageurl import PackageURL

    def licence(name: str, *, alone: bool) -> License:
        if is_supported_id(name):
            return DisjunctiveLicense(id=name)
        # An expression may not stand beside others.
        return (
            LicenseExpression(name)
            if alone and is_expression(name)
            else DisjunctiveLicense(name=name)
        )

    def component(package: Package) -> Component:
        return Component(
            type=ComponentType.LIBRARY,
            name=package.name,
            version=package.version,
            bom_ref=f"{package.within}/{package.purl}" if package.within else package.purl,
            purl=PackageURL.from_string(package.purl),
            licenses=[licence(name, alone=len(package.licences) == 1) for name in package.licences],
            properties=[Property(name=_WITHIN, value=package.within)] if package.within else [],
        )

    itself = Component(
        type=ComponentType.CONTAINER,
        name=image.name,
        version=image.version or image.digest,
        bom_ref=image.digest,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=image.digest.partition(":")[2])],
        purl=PackageURL(
            "oci",
            name=image.name,
            version=image.digest,
            qualifiers={"repository_url": image.repository},
        ),
    )
    components = [component(package) for package in _once_each(found)]
    bom = Bom(serial_number=uuid.uuid5(_NAMESPACE, image.digest), components=components)
    bom.metadata.component = itself
    bom.metadata.timestamp = None  # type: ignore[assignment]  # when it was written is no part of what is in it
    bom.register_dependency(itself, components)
    return (
        make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2) + "\n"
    )


def parse(text: str) -> list[Package]:
    """The packages that a CycloneDX document names, sorted; DeliveryError where it is none.

    What `document` wrote comes back as it was; another tool's bill is read so far as its components have a purl.
    """
    try:
        bill = json.loads(text)
        return sorted(_components({"CycloneDX": bill}[bill["bomFormat"]]))
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise DeliveryError(
            f"read a bill of materials: it is not CycloneDX JSON: {error!r}",
            hint="`./run inv images.sbom` shows what is attached",
        ) from error


def table_rows(found: Iterable[Package]) -> list[tuple[str, str, str, str]]:
    """What a table shows of packages: kind, name, version, licences."""
    table = []
    for package in found:
        name = f"{package.name} (in {package.within})" if package.within else package.name
        more = len(package.licences) - _SHOWN_LICENCES
        licences = ", ".join(package.licences[:_SHOWN_LICENCES]) + (
            f" and {more} more" if more > 0 else ""
        )
        table.append((package.kind, name, package.version, licences))
    return table


def _purl(
    kind: str, namespace: str, name: str, version: str, qualifiers: Mapping[str, str] | None = None
) -> str:
    from packageurl import PackageURL

    return PackageURL(kind, namespace or None, name, version, dict(qualifiers or {})).to_string()


def _fields(content: str) -> Message:
    return HeaderParser().parsestr(content)


def _system(content: bytes) -> tuple[str, str]:
    """What an image calls its system, as in ("debian", "debian-13")."""
    values = dict(line.split("=", 1) for line in content.decode().splitlines() if "=" in line)
    name = values.get("ID", "debian").strip("\"'")
    number = values.get("VERSION_ID", "").strip("\"'")
    return name, f"{name}-{number}" if number else ""


def _debian(
    content: bytes, system: tuple[str, str], files: Mapping[str, bytes]
) -> Iterator[Package]:
    """The packages of a file in dpkg's own format, one or many."""
    for paragraph in re.split(r"\n\s*\n", content.decode().strip()):
        fields = _fields(paragraph)
        # Where dpkg itself kept the book, it also lists what was removed again.
        if fields.get("Status", "install ok installed").split()[-1] != "installed":
            continue
        name, version, architecture = (
            fields.get(field, "") for field in ("Package", "Version", "Architecture")
        )
        if not (name and version and architecture):
            raise ValueError("Package, Version or Architecture is missing")
        qualifiers = {"arch": architecture, "distro": system[1], "upstream": _source(fields, name)}
        yield Package(
            kind="deb",
            name=name,
            version=version,
            purl=_purl("deb", system[0], name, version, qualifiers),
            architecture=architecture,
            licences=_debian_licences(files.get(f"usr/share/doc/{name}/copyright", b"")),
        )


def _source(fields: Message, name: str) -> str:
    """The source package, which Debian's security notices speak of, where it is called otherwise: NAME or NAME@VERSION."""
    source, _, version = fields.get("Source", "").partition(" ")
    if not source or (source == name and not version):
        return ""
    return f"{source}@{version.strip('()')}" if version else source


def _debian_licences(content: bytes) -> tuple[str, ...]:
    """The licences that a copyright file names for any file of the source, by its own short names; none if it only tells.

    The format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
    """
    text = content.decode("utf-8", "replace")
    if not text.startswith("Format:"):
        return ()
    paragraphs = [_fields(paragraph) for paragraph in re.split(r"\n[ \t]*\n", text)]
    names = {
        part.get("License", "").split("\n")[0].strip() for part in paragraphs if "Files" in part
    }
    return tuple(sorted(names - {""}))


def _distribution(content: bytes) -> Package:
    """A Python distribution, from its core metadata: https://packaging.python.org/specifications/core-metadata/."""
    fields = _fields(content.decode("utf-8", "replace"))
    name, version = fields.get("Name", ""), fields.get("Version", "")
    if not (name and version):
        raise ValueError("Name or Version is missing")
    return Package(
        kind="pypi",
        name=name,
        version=version,
        purl=_purl("pypi", "", name, version),
        licences=_licence(fields),
    )


def _licence(fields: Message) -> tuple[str, ...]:
    licence = str(fields.get("License-Expression") or fields.get("License") or "").strip()
    if (
        licence
        and licence != "UNKNOWN"
        and "\n" not in licence
        and len(licence) <= _LONGEST_LICENCE
    ):
        return (licence,)
    classified = (str(line).rpartition(" :: ") for line in fields.get_all("Classifier", []))
    return tuple(sorted({name for above, _, name in classified if above.startswith("License")}))


def _vendored(content: bytes, path: str) -> list[Package]:
    """What a wheel says it carries, in the bills that it brings along: https://peps.python.org/pep-0770/."""
    from packageurl import PackageURL

    bill = json.loads(content)
    wheel = path.split("/")[-3].removesuffix(".dist-info").replace("-", " ")
    if bill.get("bomFormat") == "CycloneDX":
        found = _components(bill, within=wheel)
    elif "spdxVersion" in bill:
        found = _spdx(bill, wheel)
    else:
        raise ValueError("neither CycloneDX nor SPDX")
    return [
        replace(package, purl=PackageURL.from_string(package.purl).to_string()) for package in found
    ]


def _once_each(found: Iterable[Package]) -> list[Package]:
    """Each purl once, with the licences that any of its records names: in a document it is what a package is called."""
    merged: dict[tuple[str, str], Package] = {}
    for package in sorted(found):
        known = merged.setdefault((package.purl, package.within), package)
        both = tuple(sorted({*known.licences, *package.licences}))
        merged[package.purl, package.within] = replace(known, licences=both)
    return sorted(merged.values())


def _components(bill: Mapping[str, Any], within: str = "") -> Iterator[Package]:
    """The components of a CycloneDX document that have a purl, those inside of others too."""
    waiting = list(bill.get("components", []))
    while waiting:
        component = waiting.pop()
        waiting += component.get("components", [])
        if "purl" not in component or component.get("scope") == "excluded":
            continue
        properties = {item["name"]: item["value"] for item in component.get("properties", [])}
        architecture = re.search(r"^pkg:deb/.*[?&]arch=([^&#]+)", component["purl"])
        yield Package(
            kind=_kind(component["purl"]),
            name=str(component["name"]),
            version=str(component.get("version", "")),
            purl=component["purl"],
            architecture=architecture[1] if architecture else "",
            licences=tuple(sorted(_named(item) for item in component.get("licenses", []))),
            within=within or properties.get(_WITHIN, ""),
        )


def _named(licence: Mapping[str, Any]) -> str:
    if "expression" in licence:
        return str(licence["expression"])
    return str(licence["license"].get("id") or licence["license"]["name"])


def _spdx(bill: Mapping[str, Any], wheel: str) -> Iterator[Package]:
    for package in bill.get("packages", []):
        for reference in package.get("externalRefs", []):
            if reference["referenceType"] == "purl":
                purl, version = reference["referenceLocator"], str(package.get("versionInfo", ""))
                yield Package(_kind(purl), package["name"], version, purl, within=wheel)


def _kind(purl: str) -> str:
    return purl.removeprefix("pkg:").partition("/")[0]
