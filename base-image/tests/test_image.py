"""The image as built and run by a Docker engine."""

import json
import os
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path

import oci
import pytest
import trustme
from engine import Engine, docker
from support import DESCRIPTION, SUBPROJECT, authority, measured_sizes

pytestmark = pytest.mark.engine

MEGABYTE = 1_000_000
LIMIT_ON_DISK = 36 * MEGABYTE
LIMIT_PUSHED = 13 * MEGABYTE

LIBRARY = "usr/lib/python3.13/"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
UNCHECKED_HASH = 0b01

README = (SUBPROJECT / "README.md").read_text(encoding="utf-8")

# Modules of other systems, which sys.stdlib_module_names contains too.
OTHER_SYSTEMS = {"msvcrt", "nt", "winreg", "winsound"}


@pytest.fixture
def python(container: str) -> Callable[[str], str]:
    """Runs a Python program in the image."""
    return lambda program: docker("exec", container, "python3", "-c", program).stdout.rstrip("\n")


def test_runs_as_an_unprivileged_numeric_user(
    python: Callable[[str], str], exported: oci.Image
) -> None:
    assert exported.config["config"]["User"] == "65532:65532"
    assert (
        python("import os; print(os.getuid(), os.getgid(), os.path.expanduser('~'))")
        == "65532 65532 /home/nonroot"
    )


def test_the_user_may_write_only_to_its_home_and_temporary_folders(
    python: Callable[[str], str],
) -> None:
    program = """
import os
for folder, _, names in os.walk("/"):
    if not folder.startswith(("/proc", "/dev", "/sys")):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            if os.access(path, os.W_OK) and not os.path.islink(path):
                print(path)
"""
    writable = {"/home/nonroot", "/tmp", "/var/tmp"}  # noqa: S108 -- of the image
    assert set(python(program).splitlines()) == writable


def test_there_is_no_shell(image: str) -> None:
    done = docker("run", "--rm", "--entrypoint", "/bin/sh", image, "-c", "true", check=False)
    assert done.returncode == 127
    assert "no such file or directory" in done.stderr


def test_python_is_the_only_program(exported: oci.Image) -> None:
    programs = {
        name
        for name, file in exported.files.items()
        if file.isreg() and file.mode & 0o111 and not re.search(r"\.so(\.|$)", name)
    }
    assert programs == {"usr/bin/python3.13"}


def test_no_file_is_setuid_or_setgid(exported: oci.Image) -> None:
    assert not [
        name for name, file in exported.files.items() if file.isreg() and file.mode & 0o6000
    ]


def test_text_is_utf8(engine: Engine, image: str) -> None:
    program = """
import locale, os, sys
locale.setlocale(locale.LC_ALL, "")
print(sys.stdout.encoding, sys.getfilesystemencoding(), locale.getencoding())
print(os.fsdecode(b"\\xc3\\xa9"), sys.argv[1])
"""
    assert engine.run(image, "-c", program, "olá").split() == [
        "utf-8",
        "utf-8",
        "UTF-8",
        "é",
        "olá",
    ]


def test_python_knows_time_zones(python: Callable[[str], str]) -> None:
    program = """
from datetime import datetime
from zoneinfo import ZoneInfo
print(datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Lisbon")).utcoffset())
"""
    assert python(program) == "1:00:00"


def test_python_finds_the_packages_of_apps(engine: Engine, image: str) -> None:
    assert "'/usr/local/lib/python3.13/dist-packages'" in engine.run(image, "-m", "site")


def test_every_module_can_be_imported_except_those_in_the_readme(
    python: Callable[[str], str],
) -> None:
    # Submodules too: often only a submodule imports a removed module.
    program = f"""
import importlib, json, pkgutil, sys
names = set(sys.stdlib_module_names)
modules = pkgutil.walk_packages(["/{LIBRARY}"], onerror=lambda name: None)
names |= {{module.name for module in modules}}
missing = []
for name in sorted(names):
    if name.endswith("__main__"):
        continue
    try:
        importlib.import_module(name)
    except ImportError:
        missing.append(name)
print(json.dumps(missing))
"""
    missing = {
        name
        for name in json.loads(python(program).splitlines()[-1])
        if not any(part.startswith("_") for part in name.split("."))
    }
    paragraph = re.search(r"cannot be\s+imported: (.*?)\n\n", README, re.DOTALL)
    assert paragraph is not None
    assert missing - OTHER_SYSTEMS == set(re.findall(r"`([^`]+)`", paragraph.group(1)))


def test_modules_with_their_own_libraries_work(python: Callable[[str], str]) -> None:
    program = """
import bz2, ctypes, decimal, hashlib, lzma, ssl, uuid, zlib
import xml.etree.ElementTree as tree
for module in (bz2, lzma, zlib):
    assert module.decompress(module.compress(b"text")) == b"text"
assert ctypes.CDLL("libc.so.6").abs(-1) == 1
assert decimal.Decimal("0.1") * 3 == decimal.Decimal("0.3")
assert hashlib.sha3_256(b"").name == "sha3_256"
assert tree.fromstring("<a>b</a>").text == "b"
assert "日本".encode("shift_jis").decode("shift_jis") == "日本"
assert "mañana.example".encode("idna") == b"xn--maana-pta.example"
assert uuid.uuid1().version == 1
print(len(ssl.create_default_context().get_ca_certs()) > 100)
"""
    assert python(program) == "True"


def test_processes_and_threads_work_without_a_shell(python: Callable[[str], str]) -> None:
    program = """
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
print(*(list(pool(2).map(abs, [-1, -2])) for pool in (ProcessPoolExecutor, ThreadPoolExecutor)))
"""
    assert python(program) == "[1, 2] [1, 2]"


def test_the_library_is_bytecode_that_needs_no_source(exported: oci.Image) -> None:
    names = [name for name in exported.files if name.startswith(LIBRARY)]
    assert not [name for name in names if name.endswith(".py")]
    compiled = [
        exported.contents[name]
        for name in names
        if name.endswith(".pyc") and name in exported.contents
    ]
    assert compiled
    assert {int.from_bytes(code[4:8], "little") for code in compiled} == {UNCHECKED_HASH}


def test_bytecode_has_no_column_positions(python: Callable[[str], str]) -> None:
    assert (
        python("import json; print({each[2:] for each in json.dumps.__code__.co_positions()})")
        == "{(None, None)}"
    )


def test_python_writes_no_bytecode(exported: oci.Image) -> None:
    assert "PYTHONDONTWRITEBYTECODE=1" in exported.config["config"]["Env"]


def test_every_package_has_a_record_for_scanners(exported: oci.Image) -> None:
    lines = (SUBPROJECT / "rootfs/packages.txt").read_text(encoding="utf-8").splitlines()
    packages = {line for line in lines if line and not line.startswith("#")}
    records = {
        name: content for name, content in exported.contents.items() if "dpkg/status.d/" in name
    }
    assert {Path(name).name for name in records} == packages
    assert all(b"\nVersion: " in content for content in records.values())


def test_every_package_has_its_licence(exported: oci.Image) -> None:
    packages = {Path(name).name for name in exported.files if "dpkg/status.d/" in name}
    present = {
        name.split("/")[3]
        for name in exported.files
        if name.startswith("usr/share/doc/") and name.count("/") > 2
    }
    present |= {
        Path(name).name
        for name in exported.files
        if name.startswith("usr/share/doc/")
        and exported.files[name].issym()
        and exported.files[name].linkname in present
    }
    assert packages <= present


def test_every_licence_that_a_copyright_file_names_is_in_the_image(exported: oci.Image) -> None:
    texts = b"".join(
        content for name, content in exported.contents.items() if name.endswith("/copyright")
    )
    named = {
        name.rstrip(".")
        for name in re.findall(r"/usr/share/common-licenses/([\w.+-]+)", texts.decode())
    }
    assert named
    assert {f"usr/share/common-licenses/{name}" for name in named} <= exported.files.keys()


def test_the_sizes_are_within_the_limits(
    exported: oci.Image, request: pytest.FixtureRequest
) -> None:
    request.config.stash[measured_sizes] = (
        f"base-image: {exported.bytes_on_disk / MEGABYTE:.1f} MB on disk "
        f"({exported.bytes_in_blocks / MEGABYTE:.1f} MB in blocks of {oci.BLOCK}), "
        f"{exported.bytes_pushed / MEGABYTE:.1f} MB gzip"
    )
    assert exported.bytes_in_blocks <= LIMIT_ON_DISK
    assert exported.bytes_pushed <= LIMIT_PUSHED


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_variables_name_the_bundle(exported: oci.Image, name: str) -> None:
    assert f"{name}=/{BUNDLE}" in exported.config["config"]["Env"]


def test_the_bundle_has_each_certificate_once(exported: oci.Image) -> None:
    bundle = pem_bodies(exported.contents[BUNDLE])
    assert len(bundle) == len(set(bundle))
    for path in (SUBPROJECT / "ca-certificates").glob("*.crt"):
        assert pem_bodies(path.read_bytes())[0] in bundle


@pytest.fixture
def private_authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting_image(engine: Engine, context: Path, private_authority: trustme.CA) -> str:
    """The image with a private authority."""
    private_authority.cert_pem.write_to_path(context / "ca-certificates/private.crt")
    return engine.load("private", context)


@pytest.fixture
def clients(tmp_path: Path, private_authority: trustme.CA) -> Path:
    """An app of TLS clients, and of a server with a certificate of the private authority."""
    folder = tmp_path / "clients"
    for name in ("requests", "urllib3", "certifi", "charset-normalizer", "idna", "kafka-python"):
        copy_distribution(name, folder / "packages")
    shutil.copy2(SUBPROJECT / "tests/tls_clients.py", folder)
    private_authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
        folder / "server.pem"
    )
    (folder / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE}\n"
        "COPY packages /usr/local/lib/python3.13/dist-packages\n"
        "COPY --chown=65532:65532 tls_clients.py server.pem /\n",
        encoding="utf-8",
    )
    return folder


def test_every_client_trusts_a_private_authority_in_the_folder(
    engine: Engine, image: str, trusting_image: str, clients: Path
) -> None:
    def outcomes(base: str) -> dict[str, str]:
        derived = engine.load("clients", clients, f"--build-arg=BASE={base}")
        seen: dict[str, str] = json.loads(engine.run(derived, "/tls_clients.py", "/server.pem"))
        return seen

    without = outcomes(image)
    assert outcomes(trusting_image) == dict.fromkeys(
        ("requests", "kafka-python", "ssl", "ssl without SSL_CERT_FILE"), "trusted"
    )
    assert all("UNKNOWN_CA" in outcome for outcome in without.values()), without


def test_the_build_fails_and_names_each_invalid_certificate(engine: Engine, context: Path) -> None:
    folder = context / "ca-certificates"
    (folder / "expired.crt").write_bytes(
        authority(begins=datetime(2019, 1, 1, tzinfo=UTC), ends=datetime(2020, 1, 1, tzinfo=UTC))
    )
    (folder / "garbage.crt").write_text("not a certificate\n", encoding="utf-8")
    shutil.copy2(folder / "digicert-global-root-g2.crt", folder / "twice.crt")
    done = engine.build(context, check=False)
    assert done.returncode != 0
    assert "ca-certificates/expired.crt: expired on 2020-01-01" in done.stderr
    assert "ca-certificates/garbage.crt: is not PEM" in done.stderr
    assert "ca-certificates/twice.crt: is the same certificate as" in done.stderr


def test_a_build_with_extra_packages_keeps_nothing_of_its_secret(
    engine: Engine, export: Callable[[str], oci.Image], tmp_path: Path
) -> None:
    secret = trustme.CA().cert_pem.bytes()
    file = tmp_path / "build-ca.pem"
    # With the machine's own authorities, since this build downloads packages.
    machine = Path(os.environ["BUILD_CA"]).read_bytes() if "BUILD_CA" in os.environ else b""
    file.write_bytes(machine + b"\n" + secret)
    packages = "--build-arg=EXTRA_PACKAGES=libsqlite3-0 libstdc++6"
    extra = engine.load("extra", SUBPROJECT, packages, f"--secret=id=build-ca,src={file}")
    program = (
        "import ctypes, sqlite3; ctypes.CDLL('libstdc++.so.6');"
        "print(*sqlite3.connect('').execute('select 1'))"
    )
    assert engine.run(extra, "-c", program) == "(1,)"
    assert not files_with(export(extra), secret)


def test_a_repeated_build_has_the_same_digest_and_nothing_of_its_secret(
    engine: Engine, context: Path, described: oci.Image, tmp_path: Path
) -> None:
    secret = tmp_path / "build-ca.pem"
    trustme.CA().cert_pem.write_to_path(secret)
    other = tmp_path / "other place"
    shutil.copytree(context, other)
    for file in other.rglob("*"):  # an old checkout with a strict umask
        os.utime(file, (981158400, 981158400))
        # Another packages.txt would download the packages again, perhaps newer ones.
        if file.is_file() and file.name != "packages.txt":
            file.chmod(file.stat().st_mode & 0o700)
    archive = tmp_path / "again.tar"
    engine.build(
        other,
        *DESCRIPTION,
        "--no-cache-filter=certificates,rootfs,image",
        f"--secret=id=build-ca,src={secret}",
        f"--output=type=oci,dest={archive}",
    )
    again = oci.read(archive)
    assert not [
        name for name, content in described.contents.items() if again.contents.get(name) != content
    ]
    assert described.digest == again.digest
    assert not files_with(again, secret.read_bytes())


def test_labels_have_the_values_of_the_build_arguments(described: oci.Image) -> None:
    labels = described.config["config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert labels["org.opencontainers.image.revision"] == "abc"
    assert labels["org.opencontainers.image.source"] == "https://example.org/base"


def files_with(image: oci.Image, certificate: bytes) -> list[str]:
    """Return the files of an image that contain a certificate."""
    (body,) = pem_bodies(certificate)
    return [name for name, content in image.contents.items() if body in b"".join(content.split())]


def pem_bodies(content: bytes) -> list[bytes]:
    blocks = re.findall(
        rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", content, re.DOTALL
    )
    return [b"".join(block.split()) for block in blocks]


def copy_distribution(name: str, target: Path) -> None:
    """Copy an installed package without its compiled modules, which are optional."""
    for file in distribution(name).files or ():
        if ".." not in file.parts and file.suffix not in {".so", ".pyc"}:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(file.locate()), target / file)
