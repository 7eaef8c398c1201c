"""An SBOM has every recorded package, and is read back as it was written."""

import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from random import Random

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st

from delivery.errors import DeliveryError
from delivery.project.files import ROOT
from delivery.release import sbom
from delivery.release.sbom import Image, Package

IMAGE = Image("api-rest", "1.2.0", "localhost:5001/api-rest", f"sha256:{'ab' * 32}")
ZLIB = """\
Package: zlib1g
Source: zlib
Version: 1:1.3.dfsg+really1.3.1-1+b1
Architecture: amd64
Description: compression library - runtime
 zlib is a library.
 .
 Package: not-this-one
"""
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: zlib

Files: *
Copyright: 1995 Jean-loup Gailly
License: Zlib
 This software is provided 'as-is'.
 .
 Files: no

Files: contrib/*
License: GPL-2+

License: GPL-3
 The text of one that no file is under.
"""
SYSTEM = b'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n'
STATUS_D = "var/lib/dpkg/status.d"
SITE = "usr/local/lib/python3.13/dist-packages"


CLASSIFIER = "Classifier: License :: OSI Approved"


def distribution(name: str, version: str, *more: str) -> bytes:
    return "\n".join(
        ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *more, "", "Name: body"]
    ).encode()


@pytest.mark.parametrize(
    ("copyright_file", "licences"),
    [(COPYRIGHT, ("GPL-2+", "Zlib")), ("License: of many kinds\n\nFiles: all\nLicense: MIT\n", ())],
    ids=["a list", "prose"],
)
def test_a_debian_package_is_read_from_its_record(
    copyright_file: str, licences: tuple[str, ...]
) -> None:
    files = {
        f"{STATUS_D}/zlib1g": ZLIB.encode(),
        "usr/share/doc/zlib1g/copyright": copyright_file.encode(),
        "usr/lib/os-release": SYSTEM,
    }
    (package,) = sbom.packages_of_image(files)
    assert package == Package(
        kind="deb",
        name="zlib1g",
        version="1:1.3.dfsg+really1.3.1-1+b1",
        purl="pkg:deb/debian/zlib1g@1:1.3.dfsg%2Breally1.3.1-1%2Bb1"
        "?arch=amd64&distro=debian-13&upstream=zlib",
        licences=licences,
    )


@pytest.mark.parametrize(
    ("source", "upstream"),
    [
        ("", ""),
        ("Source: libgcc-s1\n", ""),
        ("Source: gcc-14\n", "&upstream=gcc-14"),
        ("Source: gcc-defaults (1.220)\n", "&upstream=gcc-defaults%401.220"),
    ],
)
def test_a_source_package_of_another_name_is_in_the_purl(source: str, upstream: str) -> None:
    record = f"Package: libgcc-s1\n{source}Version: 14.2.0-19\nArchitecture: amd64\n"
    (package,) = sbom.packages_of_image({f"{STATUS_D}/libgcc-s1": record.encode()})
    assert package.purl == f"pkg:deb/debian/libgcc-s1@14.2.0-19?arch=amd64{upstream}"


def test_removed_packages_in_dpkgs_file_do_not_count() -> None:
    def record(name: str, status: str) -> str:
        return f"Package: {name}\nStatus: {status}\nVersion: 1\nArchitecture: all\n"

    packages = [
        ("installed", "install ok installed"),
        ("removed", "deinstall ok config-files"),
        ("purged", "purge ok not-installed"),
    ]
    files = {"var/lib/dpkg/status": "\n".join(record(*package) for package in packages).encode()}
    assert [package.name for package in sbom.packages_of_image(files)] == ["installed"]


@pytest.mark.parametrize(
    ("fields", "licences"),
    [
        (("License-Expression: MIT OR Apache-2.0", "License: not this"), ("MIT OR Apache-2.0",)),
        (("License: 3-Clause BSD License",), ("3-Clause BSD License",)),
        (("License: UNKNOWN", f"{CLASSIFIER} :: MIT License"), ("MIT License",)),
        (("License: Permission is hereby", " granted to anyone", f"{CLASSIFIER} :: X"), ("X",)),
        ((f"License: {'Permission is granted. ' * 9}", "Classifier: Topic :: Not :: One"), ()),
        ((), ()),
    ],
)
def test_a_distribution_has_the_licence_of_its_metadata(
    fields: tuple[str, ...], licences: tuple[str, ...]
) -> None:
    metadata = distribution("x", "1", *fields)
    found = sbom.packages_of_image({f"{SITE}/x-1.dist-info/METADATA": metadata})
    assert found == [Package("pypi", "x", "1", "pkg:pypi/x@1", licences=licences)]


def test_alpines_packages_name_their_origin() -> None:
    listed = "P:ssl_client\nV:1.37.0-r19\nA:x86_64\nL:GPL-2.0-only\no:busybox\nF:usr\n\n"
    listed += "P:musl\nV:1\nA:x\n"
    os_release = b"ID=alpine\nVERSION_ID=3.22.1\n"
    paths = {"lib/apk/db/installed": listed.encode(), "usr/lib/os-release": os_release}
    musl, client = sbom.packages_of_image(paths)
    assert (musl.name, musl.licences) == ("musl", ())
    assert client == Package(
        *("apk", "ssl_client", "1.37.0-r19"),
        "pkg:apk/alpine/ssl_client@1.37.0-r19?arch=x86_64&distro=alpine-3.22.1&upstream=busybox",
        licences=("GPL-2.0-only",),
    )
    assert all(map(sbom.is_record, paths))


def jar(files: dict[str, str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return made.getvalue()


def test_a_jar_lists_what_maven_has_put_into_it() -> None:
    folder = "META-INF/maven/io.netty/netty-common"
    content = jar({f"{folder}/pom.properties": "#c\nversion=4.1.9\r\n", f"{folder}/pom.xml": ""})
    path = "opt/kafka/libs/netty-4.1.9.jar"
    assert sbom.is_record(path)
    assert sbom.packages_of_image({path: content}) == [
        Package("maven", "netty-common", "4.1.9", "pkg:maven/io.netty/netty-common@4.1.9")
    ]


def test_a_jar_of_unknown_origin_is_listed_by_its_file_name() -> None:
    (package,) = sbom.packages_of_image({"libs/kafka_2.13-4.1.1.jar": jar({"a.class": ""})})
    assert package == Package("generic", "kafka_2.13", "4.1.1", "pkg:generic/kafka_2.13@4.1.1")


@pytest.mark.parametrize(
    "path",
    [
        f"{SITE}/Foo_Bar-1.dist-info/METADATA",
        f"{SITE}/setuptools/_vendor/foo_bar-1.dist-info/METADATA",
        f"{SITE}/Foo_Bar-1.egg-info/PKG-INFO",
        "usr/lib/python3/dist-packages/Foo_Bar-1.egg-info",
        "Foo_Bar-1.dist-info/METADATA",
    ],
)
def test_a_distribution_is_found_in_any_folder(path: str) -> None:
    (package,) = sbom.packages_of_image({path: distribution("Foo_Bar", "1")})
    assert (package.name, package.purl) == ("Foo_Bar", "pkg:pypi/foo-bar@1")


@pytest.mark.parametrize(
    "path",
    [
        f"{SITE}/x-1.dist-info/RECORD",
        f"{SITE}/x-1.dist-info/licenses/METADATA",
        f"{SITE}/x/METADATA",
        f"{STATUS_D}/zlib1g.md5sums",
        f"{STATUS_D}/more/zlib1g",
        "opt/var/lib/dpkg/status",
        "usr/share/doc/zlib1g/changelog",
    ],
)
def test_other_files_are_not_read(path: str) -> None:
    assert not sbom.is_record(path)
    assert sbom.packages_of_image({path: b"no record"}) == []


WITH_SBOM = f"{SITE}/crypto_graphy-50.0.2.dist-info/sboms"


def test_packages_of_the_sbom_of_a_wheel_are_included() -> None:
    base64, inner, of_the_build = (
        {"name": name, "version": version, "purl": f"pkg:cargo/{name}@{version}"}
        for name, version in (("base64", "0.22.1"), ("inner", "2"), ("of-the-build", "1"))
    )
    wheel = {"name": "crypto-graphy", "purl": "pkg:pypi/crypto-graphy@50.0.2"}
    cyclonedx = {
        "bomFormat": "CycloneDX",
        "metadata": {"component": wheel},
        "components": [
            base64 | {"licenses": [{"expression": "MIT OR Apache-2.0"}], "components": [inner]},
            {"name": "unnamed", "version": "1"},
            of_the_build | {"scope": "excluded"},
        ],
    }
    reference = {"referenceType": "purl", "referenceLocator": "pkg:generic/openssl@3.5.4"}
    references = [{"referenceType": "cpe23Type"}, reference]
    openssl = {"name": "openssl", "versionInfo": "3.5.4", "externalRefs": references}
    spdx = {"spdxVersion": "SPDX-2.3", "packages": [openssl, {"name": "no-purl"}]}
    files = {
        f"{WITH_SBOM}/rust.cyclonedx.json": json.dumps(cyclonedx).encode(),
        f"{WITH_SBOM}/openssl.spdx.json": json.dumps(spdx).encode(),
    }
    licences, within = ("MIT OR Apache-2.0",), "crypto_graphy 50.0.2"
    assert sbom.packages_of_image(files) == [
        Package("cargo", "base64", "0.22.1", "pkg:cargo/base64@0.22.1", licences, within),
        Package("cargo", "inner", "2", "pkg:cargo/inner@2", within=within),
        Package("generic", "openssl", "3.5.4", "pkg:generic/openssl@3.5.4", within=within),
    ]


CYCLONEDX = b'{"bomFormat": "CycloneDX", "components": [%s]}'


def test_two_copies_of_a_distribution_are_one_package_with_both_licences() -> None:
    files = {
        f"{SITE}/x-1.dist-info/METADATA": distribution("x", "1", "License: MIT"),
        f"{SITE}/y/_vendor/x-1.dist-info/METADATA": distribution("X", "1", "License: BSD"),
    }
    assert sbom.packages_of_image(files) == [
        Package("pypi", "X", "1", "pkg:pypi/x@1", licences=("BSD", "MIT"))
    ]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (f"{STATUS_D}/zlib1g", b"Package: zlib1g\nVersion: 1\n"),
        (f"{STATUS_D}/zlib1g", b"\xff\xfe"),
        (f"{SITE}/x-1.dist-info/METADATA", b"Name: x\n"),
        ("a.jar", b"not a jar"),
        (f"{WITH_SBOM}/rust.json", b"not JSON"),
        (f"{WITH_SBOM}/rust.json", b"{}"),
        (f"{WITH_SBOM}/rust.json", CYCLONEDX % b'{"name": "x", "purl": "no purl"}'),
        (f"{WITH_SBOM}/rust.json", CYCLONEDX % b'{"purl": "pkg:cargo/nameless@1"}'),
    ],
)
def test_an_unreadable_record_is_an_error(path: str, content: bytes) -> None:
    with pytest.raises(DeliveryError, match=f"cannot read the packages of the image: /{path}"):
        sbom.packages_of_image({path: content})


words = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=9)
licences = st.lists(
    st.sampled_from(["MIT", "mit", "GPL-2+", "MIT OR Apache-2.0", "public-domain", "The X licence"])
)


@st.composite
def some_package(draw: st.DrawFn) -> Package:
    name, version = draw(words), draw(words)
    names = tuple(sorted(set(draw(licences))))
    within = draw(st.sampled_from(["", "a-wheel 1"]))
    if draw(st.booleans()):
        purl = f"pkg:deb/debian/{name}@{version}?arch=arm64"
        return Package("deb", name, version, purl, licences=names, within=within)
    return Package("pypi", name, version, f"pkg:pypi/{name}@{version}", names, within)


VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)


@given(
    st.lists(some_package(), max_size=8, unique_by=lambda package: (package.purl, package.within)),
    st.randoms(),
)
def test_an_sbom_is_valid_read_back_and_the_same_in_any_order(
    packages: list[Package], random: Random
) -> None:
    text = sbom.render(IMAGE, packages)
    assert sbom.parse(text) == sorted(packages)
    assert VALIDATOR.validate_str(text) is None
    assert sbom.render(IMAGE, random.sample(packages, len(packages))) == text


def python(code: str, **environment: str) -> str:
    """The output of another Python process."""
    argv = [sys.executable, "-c", code]
    return subprocess.run(
        argv, env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_writes_the_same_bytes(seed: str) -> None:
    files = {
        f"{STATUS_D}/zlib1g": ZLIB.encode(),
        "usr/share/doc/zlib1g/copyright": COPYRIGHT.encode(),
    }
    code = (
        "from delivery.release.sbom import *\n"
        f"print(render({IMAGE!r}, packages_of_image({files!r})), end='')"
    )
    printed = python(code, PYTHONHASHSEED=seed, TZ="Asia/Tokyo")
    assert printed == sbom.render(IMAGE, sbom.packages_of_image(files))


def test_an_sbom_names_its_image_and_the_dependencies() -> None:
    packages = [Package("pypi", name, "1", f"pkg:pypi/{name}@1") for name in ("a", "b")]
    document = json.loads(sbom.render(IMAGE, packages))
    depends = {"ref": IMAGE.digest, "dependsOn": ["pkg:pypi/a@1", "pkg:pypi/b@1"]}
    assert depends in document["dependencies"]
    component = document["metadata"]["component"]
    assert component == {
        "type": "container",
        "name": "api-rest",
        "version": "1.2.0",
        "bom-ref": IMAGE.digest,
        "hashes": [{"alg": "SHA-256", "content": "ab" * 32}],
        "purl": f"pkg:oci/api-rest@sha256:{'ab' * 32}?repository_url=localhost:5001/api-rest",
    }
    assert "timestamp" not in document["metadata"]
    without_version = replace(IMAGE, version="", digest=f"sha256:{'cd' * 32}")
    other = json.loads(sbom.render(without_version, []))
    assert other["serialNumber"] != document["serialNumber"]
    assert other["metadata"]["component"]["version"] == f"sha256:{'cd' * 32}"


def test_a_package_and_its_copies_in_wheels_are_different_components() -> None:
    packages = [
        Package("pypi", "a", "1", "pkg:pypi/a@1", within=within)
        for within in ("", "wheel 1", "wheel 2")
    ]
    document = json.loads(sbom.render(IMAGE, packages))
    assert {component["bom-ref"] for component in document["components"]} == {
        "pkg:pypi/a@1",
        "wheel 1/pkg:pypi/a@1",
        "wheel 2/pkg:pypi/a@1",
    }
    assert sbom.parse(json.dumps(document)) == packages


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"bomFormat": "SPDX"}', '{"bomFormat": "CycloneDX", "components": 3}']
)
def test_an_invalid_document_is_an_error(text: str) -> None:
    with pytest.raises(DeliveryError, match="cannot read an SBOM: it is not CycloneDX JSON"):
        sbom.parse(text)


def test_a_table_shortens_licences_and_names_the_wheel() -> None:
    packages = [
        Package("deb", "libc6", "2.41", "pkg:deb/debian/libc6@2.41", licences=tuple("ABCDE")),
        Package("cargo", "inner", "2", "pkg:cargo/inner@2", within="wheel 1"),
    ]
    assert sbom.table_rows(packages) == [
        ("deb", "libc6", "2.41", "A, B, C and 2 more"),
        ("cargo", "inner (in wheel 1)", "2", ""),
    ]


def test_the_library_is_not_imported_with_the_module() -> None:
    code = "import sys, delivery.release.sbom; print({'cyclonedx', 'packageurl'} & {*sys.modules})"
    assert python(code) == "set()\n"
