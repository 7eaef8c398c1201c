"""The SBOM of an image: the packages in it by its own records, as a CycloneDX document.

The format: https://cyclonedx.org/docs/1.6/json/
The names in it: https://github.com/package-url/purl-spec
"""

from __future__ import annotations

import io
import json
import re
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from email.message import Message
from email.parser import HeaderParser
from typing import Any

from delivery.errors import DeliveryError
from delivery.words import first_three

__all__ = [
    "MEDIA_TYPE",
    "Image",
    "Package",
    "is_record",
    "load_library",
    "packages_of_image",
    "parse",
    "render",
    "table_rows",
]

MEDIA_TYPE = "application/vnd.cyclonedx+json"

# The namespace of the serial numbers: any constant.
_NAMESPACE = uuid.UUID("6a3f0f9a-6a43-5b55-8d9c-0f3b1f7f5c11")
_WITHIN = "delivery-platform:within"
_MAX_LICENCE_NAME = 100  # anything longer is the text of a licence

_RECORDS = re.compile(
    r"(?P<debian>var/lib/dpkg/status|var/lib/dpkg/status\.d/(?!.*\.(md5sums|list)$)[^/]+)"
    r"|(?P<copyright>usr/share/doc/[^/]+/copyright)"
    r"|(?P<system>usr/lib/os-release)"
    r"|(?P<python>(.*/)?([^/]+\.dist-info/METADATA|[^/]+\.egg-info(/PKG-INFO)?))"
    r"|(?P<vendored>(.*/)?[^/]+\.dist-info/sboms/[^/]+\.json)"
    r"|(?P<alpine>lib/apk/db/installed)"
    r"|(?P<java>(.*/)?[^/]+\.jar)"
)


@dataclass(frozen=True, order=True)
class Package:
    """A package of an image."""

    kind: str
    """The type of its purl, such as "deb" or "pypi"."""
    name: str
    version: str
    purl: str
    licences: tuple[str, ...] = ()
    within: str = ""
    """The wheel that carries it, if the SBOM of that wheel names it."""


@dataclass(frozen=True)
class Image:
    """The image that an SBOM describes."""

    name: str
    version: str
    repository: str
    digest: str


def is_record(path: str) -> bool:
    """Whether the file of a path in an image (without the first slash) is read for its SBOM."""
    return _RECORDS.fullmatch(path) is not None


def packages_of_image(files: Mapping[str, bytes]) -> list[Package]:
    """The packages that the files of an image record, sorted.

    An unreadable record raises DeliveryError: an incomplete SBOM is worse than none.
    """
    packages = set[Package]()
    system = _system(files.get("usr/lib/os-release", b""))
    for path, content in files.items():
        match = _RECORDS.fullmatch(path)
        try:
            if match is None:
                continue
            if match["debian"]:
                packages.update(_debian(content, system, files))
            elif match["python"]:
                packages.add(_distribution(content))
            elif match["vendored"]:
                packages.update(_vendored(content, path))
            elif match["alpine"]:
                packages.update(_alpine(content, system))
            elif match["java"]:
                packages.update(_java(content, path))
        except (KeyError, ValueError, AttributeError, TypeError, zipfile.BadZipFile) as error:
            raise DeliveryError(
                f"cannot read the packages of the image: /{path} is not a record as Debian, "
                f"Alpine, Python, Maven or CycloneDX write it: {error!r}",
                hint="correct the program that writes this file into the image",
            ) from error
    return _unique(packages)


def load_library() -> None:
    """Import what `render` needs, which takes a quarter of a second."""
    import cyclonedx.model.bom
    import cyclonedx.output
    import cyclonedx.spdx  # noqa: F401  imported to be there


def render(image: Image, packages: Iterable[Package]) -> str:
    """The SBOM as CycloneDX 1.6 JSON: the same image and packages give the same bytes."""
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
        # An expression is valid only as the single licence.
        if alone and is_expression(name):
            return LicenseExpression(name)
        return DisjunctiveLicense(name=name)

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

    subject = Component(
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
    components = [component(package) for package in _unique(packages)]
    bom = Bom(serial_number=uuid.uuid5(_NAMESPACE, image.digest), components=components)
    bom.metadata.component = subject
    bom.metadata.timestamp = None  # type: ignore[assignment]  # a time would change the bytes
    bom.register_dependency(subject, components)
    outputter = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6)
    return outputter.output_as_string(indent=2) + "\n"


def parse(text: str) -> list[Package]:
    """The packages that a CycloneDX document names, sorted; DeliveryError if it is invalid.

    What `render` wrote is read back unchanged; of other documents, the components with a purl.
    """
    try:
        document = json.loads(text)
        return sorted(_components({"CycloneDX": document}[document["bomFormat"]]))
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise DeliveryError(
            f"cannot read an SBOM: it is not CycloneDX JSON: {error!r}",
            hint="see what is attached by `./run inv images.sbom`",
        ) from error


def table_rows(packages: Iterable[Package]) -> list[tuple[str, str, str, str]]:
    """The rows of a table of packages: kind, name, version, licences."""
    rows = []
    for package in packages:
        name = f"{package.name} (in {package.within})" if package.within else package.name
        rows.append((package.kind, name, package.version, first_three(package.licences)))
    return rows


def _purl(
    kind: str, namespace: str, name: str, version: str, qualifiers: Mapping[str, str] | None = None
) -> str:
    from packageurl import PackageURL

    return PackageURL(kind, namespace or None, name, version, dict(qualifiers or {})).to_string()


def _fields(content: str) -> Message:
    return HeaderParser().parsestr(content)


def _system(content: bytes) -> tuple[str, str]:
    """The system of an image and its release, as in ("debian", "debian-13")."""
    values = dict(line.split("=", 1) for line in content.decode().splitlines() if "=" in line)
    name = values.get("ID", "debian").strip("\"'")
    number = values.get("VERSION_ID", "").strip("\"'")
    return name, f"{name}-{number}" if number else ""


def _debian(
    content: bytes, system: tuple[str, str], files: Mapping[str, bytes]
) -> Iterator[Package]:
    """The packages of a file in dpkg's format."""
    for paragraph in re.split(r"\n\s*\n", content.decode().strip()):
        fields = _fields(paragraph)
        # dpkg's own file also lists removed packages.
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
            licences=_debian_licences(files.get(f"usr/share/doc/{name}/copyright", b"")),
        )


def _alpine(content: bytes, system: tuple[str, str]) -> Iterator[Package]:
    """The packages of apk's list: https://wiki.alpinelinux.org/wiki/Apk_spec."""
    for paragraph in content.decode().strip().split("\n\n"):
        fields = dict(line.split(":", 1) for line in paragraph.splitlines())
        name, version, origin = fields["P"], fields["V"], fields.get("o", "")
        qualifiers = {"arch": fields["A"], "distro": system[1], "upstream": origin}
        purl = _purl("apk", system[0], name, version, qualifiers)
        yield Package("apk", name, version, purl, licences=tuple(filter(None, [fields.get("L")])))


def _java(content: bytes, path: str) -> list[Package]:
    """The artifacts that Maven has put into a jar; for any other jar its file name."""
    packages = []
    with zipfile.ZipFile(io.BytesIO(content)) as jar:
        for name in jar.namelist():
            maven = re.fullmatch(r"META-INF/maven/([^/]+)/([^/]+)/pom\.properties", name)
            lines = jar.read(name).decode() if maven else ""
            if maven and (found := re.search(r"^version=(\S+)", lines, re.MULTILINE)):
                purl = _purl("maven", maven[1], maven[2], found[1])
                packages.append(Package("maven", maven[2], found[1], purl))
    name, _, version = path.rpartition("/")[2].removesuffix(".jar").partition("-")
    return packages or [Package("generic", name, version, _purl("generic", "", name, version))]


def _source(fields: Message, name: str) -> str:
    """The source package, NAME or NAME@VERSION, if it differs: security notices name it."""
    source, _, version = fields.get("Source", "").partition(" ")
    if not source or (source == name and not version):
        return ""
    return f"{source}@{version.strip('()')}" if version else source


def _debian_licences(content: bytes) -> tuple[str, ...]:
    """The short names of the licences in a copyright file; none for a file in prose.

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
    """A Python distribution, from its core metadata.

    The format: https://packaging.python.org/specifications/core-metadata/
    """
    fields = _fields(content.decode("utf-8", "replace"))
    name, version = fields.get("Name", ""), fields.get("Version", "")
    if not (name and version):
        raise ValueError("Name or Version is missing")
    purl = _purl("pypi", "", name, version)
    return Package("pypi", name, version, purl, licences=_python_licences(fields))


def _python_licences(fields: Message) -> tuple[str, ...]:
    licence = str(fields.get("License-Expression") or fields.get("License") or "").strip()
    is_name = "\n" not in licence and len(licence) <= _MAX_LICENCE_NAME
    if licence not in {"", "UNKNOWN"} and is_name:
        return (licence,)
    classifiers = (str(line).rpartition(" :: ") for line in fields.get_all("Classifier", []))
    return tuple(sorted({name for above, _, name in classifiers if above.startswith("License")}))


def _vendored(content: bytes, path: str) -> list[Package]:
    """The packages of an SBOM that a wheel brings along: https://peps.python.org/pep-0770/."""
    from packageurl import PackageURL

    document = json.loads(content)
    wheel = path.split("/")[-3].removesuffix(".dist-info").replace("-", " ")
    if document.get("bomFormat") == "CycloneDX":
        packages = _components(document, within=wheel)
    elif "spdxVersion" in document:
        packages = _spdx(document, wheel)
    else:
        raise ValueError("neither CycloneDX nor SPDX")
    return [
        replace(package, purl=PackageURL.from_string(package.purl).to_string())
        for package in packages
    ]


def _unique(packages: Iterable[Package]) -> list[Package]:
    """Each purl once, with the licences of all its records: a document names packages by purl."""
    merged: dict[tuple[str, str], Package] = {}
    for package in sorted(packages):
        known = merged.setdefault((package.purl, package.within), package)
        licences = tuple(sorted({*known.licences, *package.licences}))
        merged[package.purl, package.within] = replace(known, licences=licences)
    return sorted(merged.values())


def _components(document: Mapping[str, Any], within: str = "") -> Iterator[Package]:
    """The components of a CycloneDX document that have a purl, nested ones too."""
    waiting = list(document.get("components", []))
    while waiting:
        component = waiting.pop()
        waiting += component.get("components", [])
        if "purl" not in component or component.get("scope") == "excluded":
            continue
        properties = {item["name"]: item["value"] for item in component.get("properties", [])}
        yield Package(
            kind=_kind(component["purl"]),
            name=str(component["name"]),
            version=str(component.get("version", "")),
            purl=component["purl"],
            licences=tuple(sorted(_licence(item) for item in component.get("licenses", []))),
            within=within or properties.get(_WITHIN, ""),
        )


def _licence(entry: Mapping[str, Any]) -> str:
    if "expression" in entry:
        return str(entry["expression"])
    return str(entry["license"].get("id") or entry["license"]["name"])


def _spdx(document: Mapping[str, Any], wheel: str) -> Iterator[Package]:
    for package in document.get("packages", []):
        for reference in package.get("externalRefs", []):
            if reference["referenceType"] == "purl":
                purl, version = reference["referenceLocator"], str(package.get("versionInfo", ""))
                yield Package(_kind(purl), package["name"], version, purl, within=wheel)


def _kind(purl: str) -> str:
    return purl.removeprefix("pkg:").partition("/")[0]
