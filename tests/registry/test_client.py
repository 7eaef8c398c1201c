"""Pushes are read back, and what a registry serves is checked against its digest."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.errors import RegistryError
from delivery.registry import oci_layout
from delivery.registry.client import Artifact, Blob, Registry
from tests.registries import (
    MANIFEST,
    Answer,
    Break,
    FakeRegistry,
    Fault,
    failing,
    no_line,
    no_pause,
    serving,
    sha256,
    write_index,
    write_layout,
)

TAG = "0123abcd"
DENIED = b'{"errors": [{"code": "DENIED", "message": "not you"}]}'
SBOM = "application/spdx+json"
EMPTY = "application/vnd.oci.empty.v1+json"


def push(
    tmp_path: Path, fault: Fault | None = None, registry: FakeRegistry | None = None
) -> tuple[str, str, list[str]]:
    """Push a small image; the digest of its layout, the digest of the push, and the requests."""
    built = write_layout(tmp_path / "layout")
    with serving(registry or FakeRegistry(), fault) as (address, seen):
        client = Registry(address, pause=no_pause)
        return built, client.push_layout(tmp_path / "layout", f"{address}/app", TAG, no_line), seen


def test_a_push_returns_the_digest_of_the_layout_and_reads_the_tag_back(tmp_path: Path) -> None:
    built, pushed, seen = push(tmp_path)
    assert pushed == built
    methods = [line.split()[0] for line in seen]
    assert methods == ["HEAD", "POST", "PUT", "HEAD", "POST", "PUT", "PUT", "GET"]
    assert seen[-2:] == [f"PUT /v2/app/manifests/{TAG}", f"GET /v2/app/manifests/{TAG}"]


def test_an_existing_blob_is_not_sent_again(tmp_path: Path) -> None:
    registry = FakeRegistry()
    registry.blobs["app", sha256(b"a layer")] = b"a layer"
    _, _, seen = push(tmp_path, registry=registry)
    assert len([line for line in seen if line.startswith("POST")]) == 1  # the config's


@pytest.mark.parametrize(
    ("method", "part", "failure"),
    [
        ("HEAD", "/blobs/", (503, {}, b"")),
        ("POST", "/uploads/", (503, {}, b"")),
        ("PUT", "/uploads/", Break("request")),
        ("PUT", "/uploads/", Break("answer")),
        ("PUT", "/manifests/", (503, {}, b"")),
        ("GET", "/manifests/", Break("answer")),
    ],
)
def test_a_temporary_failure_is_retried(
    tmp_path: Path, method: str, part: str, failure: Answer | Break
) -> None:
    built, pushed, seen = push(tmp_path, failing(2, method, part, failure))
    assert pushed == built
    assert len([line for line in seen if line.startswith(method) and part in line]) >= 3


@pytest.mark.parametrize(("times", "attempts"), [(2, 3), (9, 5)])
def test_a_stalled_registry_is_retried_and_then_an_error(times: int, attempts: int) -> None:
    registry = FakeRegistry()
    digest = registry.add("app", TAG)
    fault = failing(times, "HEAD", "/manifests/", Break("stall", 0.3))
    with serving(registry, fault) as (address, seen):
        client = Registry(address, pause=no_pause, timeout=(5, 0.1))
        if times < attempts:
            assert client.digest(f"{address}/app", TAG) == digest
        else:
            message = rf"cannot look for \S+:{TAG}: the registry has stalled"
            with pytest.raises(RegistryError, match=message):
                client.digest(f"{address}/app", TAG)
    assert len(seen) == attempts


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        (
            failing(99, "PUT", "/manifests/", (500, {}, b"oh no")),
            r"cannot push \S+/app:0123abcd: the registry answered 500 \(oh no\)",
            "",
        ),
        *(
            (
                failing(1, "POST", "/uploads/", (status, {}, DENIED)),
                rf"answered {status} \(DENIED: not you\)",
                hint,
            )
            for status, hint in (
                (401, "docker login"),
                (403, "right to push"),
                (404, "create the repository"),
                (413, "proxy"),
            )
        ),
        (failing(9, "PUT", "/manifests/", (429, {}, b"")), "answered 429", "for a higher limit"),
        (
            failing(1, "GET", "/manifests/", (200, {}, b"other")),
            rf"the registry holds {sha256(b'other')}, sha256:\w+ was sent",
            "push again once nothing else writes",
        ),
        (
            failing(1, "GET", "/manifests/", (404, {}, b"")),
            "cannot read back .*: the registry holds nothing",
            "",
        ),
    ],
    ids=["500", "401", "403", "404", "413", "429", "other manifest", "no manifest"],
)
def test_a_lasting_failure_is_an_error_with_a_hint(
    tmp_path: Path, fault: Fault, message: str, hint: str
) -> None:
    with pytest.raises(RegistryError, match=message) as caught:
        push(tmp_path, fault)
    assert hint in caught.value.hint


def test_a_damaged_layout_is_not_pushed(tmp_path: Path) -> None:
    digest = write_layout(tmp_path)
    (tmp_path / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(b"{}")
    with pytest.raises(RegistryError, match="is damaged"):
        Registry("localhost:1").push_layout(tmp_path, "localhost:1/app", TAG, no_line)


def test_without_the_digest_header_the_manifest_is_read() -> None:
    with serving(FakeRegistry(), lambda *_: (200, {}, b"{}")) as (address, _):
        assert Registry(address).digest(f"{address}/app", TAG) == sha256(b"{}")


def test_tags_come_in_pages() -> None:
    def answer(_method: str, path: str, _headers: dict[str, str], _body: bytes) -> Answer:
        if path == "/v2/app/tags/list":
            link = {"Link": '</v2/app/tags/list?last=b&n=2>; rel="next"'}
            return 200, link, b'{"tags": ["a", "b"]}'
        if path == "/v2/app/tags/list?last=b&n=2":
            return 200, {}, b'{"tags": ["c"]}'
        return (200, {}, b'{"tags": null}') if "empty" in path else (404, {}, b"")

    with serving(answer) as (address, _):
        registry = Registry(address)
        assert registry.tags(f"{address}/app") == ["a", "b", "c"]
        assert registry.tags(f"{address}/empty") == registry.tags(f"{address}/unknown") == []


class Remote:
    """A registry, a client of it, and the requests that it gets."""

    def __init__(self, registry: FakeRegistry, address: str, seen: list[str]) -> None:
        self.registry = registry
        self.client = Registry(address, pause=no_pause)
        self.app = f"{address}/app"
        self.seen = seen

    def requests(self) -> list[str]:
        """The requests since the last call, without their queries."""
        requests = [line.partition("?")[0] for line in self.seen]
        self.seen.clear()
        return requests

    def attach(self, subject: str, content: bytes = b"sbom", tag: str = "") -> str:
        layers = [Blob(SBOM, content)]
        return self.client.push_artifact(self.app, Artifact(SBOM, layers, subject=subject), tag=tag)

    def attached(self, subject: str) -> list[str]:
        return self.client.referrers(self.app, subject)


@pytest.fixture
def remote(request: pytest.FixtureRequest) -> Iterator[Remote]:
    """A registry; without the API for referrers, unless a test asks for both kinds."""
    registry = FakeRegistry(referrers=getattr(request, "param", False))
    with serving(registry) as (address, seen):
        yield Remote(registry, address, seen)


of_both_kinds = pytest.mark.parametrize(
    "remote", [False, True], ids=["without-referrers-api", "with-referrers-api"], indirect=True
)


@pytest.fixture
def image(remote: Remote, tmp_path: Path) -> str:
    write_layout(tmp_path / "image")
    digest = remote.client.push_layout(tmp_path / "image", remote.app, TAG, no_line)
    remote.requests()
    return digest


def test_an_index_is_pushed_after_the_image_of_each_platform(
    remote: Remote, tmp_path: Path
) -> None:
    index = write_index(tmp_path, {"linux/amd64": b"1", "linux/arm64": b"2"})
    assert remote.client.push_layout(tmp_path, remote.app, TAG, no_line) == index
    parts = oci_layout.read(tmp_path).platforms.values()
    sent = [line for line in remote.requests() if line.startswith("PUT /v2/app/manifests")]
    assert sent == [f"PUT /v2/app/manifests/{name}" for name in (*parts, TAG)]
    stored = remote.client.fetch(remote.app, TAG)
    assert stored
    assert list(stored.platforms.values()) == list(parts)
    # Two layers, and the config that both have.
    assert len(remote.registry.blobs) == 3


def test_a_tag_is_put_without_moving_a_blob_and_only_once(remote: Remote, image: str) -> None:
    remote.client.put_tag(remote.app, "1.0.0", image)
    assert remote.registry.tags["app", "1.0.0"] == remote.registry.tags["app", TAG] == image
    assert remote.requests() == [
        "HEAD /v2/app/manifests/1.0.0",
        f"GET /v2/app/manifests/{image}",
        "PUT /v2/app/manifests/1.0.0",
        "GET /v2/app/manifests/1.0.0",
    ]
    remote.client.put_tag(remote.app, TAG, image)
    assert remote.requests() == [f"HEAD /v2/app/manifests/{TAG}"]


def test_a_tag_keeps_the_media_type(remote: Remote) -> None:
    content, index = b'{"manifests":[]}', "application/vnd.oci.image.index.v1+json"
    digest = remote.registry.add("app", "k1", content, index)
    remote.client.put_tag(remote.app, "1.0.0", digest)
    assert remote.registry.manifests["app", digest] == (index, content)


def test_a_tag_is_never_moved(remote: Remote, image: str) -> None:
    other = remote.registry.add("app", "k2", b'{"other": true}')
    remote.client.put_tag(remote.app, "1.0.0", image)
    remote.requests()
    message = rf"app:1\.0\.0: it is {image} already, and would be {other}"
    with pytest.raises(RegistryError, match=message) as caught:
        remote.client.put_tag(remote.app, "1.0.0", other)
    assert "never overwritten" in caught.value.hint
    assert not caught.value.retriable
    assert not [line for line in remote.requests() if line.startswith("PUT")]


def test_a_missing_manifest_cannot_be_tagged(remote: Remote) -> None:
    with pytest.raises(RegistryError, match=rf"the registry does not hold {sha256(b'gone')}"):
        remote.client.put_tag(remote.app, "1.0.0", sha256(b"gone"))


@pytest.mark.parametrize(
    ("status", "same"), [(400, True), (403, True), (409, True), (412, True), (400, False)]
)
def test_a_refused_tag_that_exists_by_now_is_accepted_for_the_same_content_alone(
    tmp_path: Path, status: int, *, same: bool
) -> None:
    registry = FakeRegistry()
    image = write_layout(tmp_path)

    def fault(method: str, path: str) -> Answer | None:
        if method == "PUT" and path.endswith("/1.0.0"):
            other = registry.manifests["app", image][1] if same else b"{}"
            registry.add("app", "1.0.0", other)  # another push was faster
            return status, {}, b""
        return None

    with serving(registry, fault) as (address, _):
        client = Registry(address)
        client.push_layout(tmp_path, f"{address}/app", TAG, no_line)
        if same:
            client.put_tag(f"{address}/app", "1.0.0", image)
        else:
            message = rf"it is {sha256(b'{}')} already, and would be {image}"
            with pytest.raises(RegistryError, match=message):
                client.put_tag(f"{address}/app", "1.0.0", image)


def test_a_refused_tag_that_does_not_exist_is_an_error(remote: Remote, image: str) -> None:
    fault = failing(1, "PUT", "/1.0.0", (403, {}, b'{"errors": [{"code": "DENIED"}]}'))
    with (
        serving(remote.registry, fault) as (address, _),
        pytest.raises(RegistryError, match=r"answered 403 \(DENIED: \)"),
    ):
        Registry(address).put_tag(f"{address}/app", "1.0.0", image)


def test_the_same_artifact_has_the_same_bytes(remote: Remote) -> None:
    def push(tag: str, annotations: dict[str, str]) -> str:
        layer = Blob("text/plain", b"hello", {"org.opencontainers.image.title": "hello.txt"})
        artifact = Artifact("text/greeting", [layer], annotations=annotations)
        return remote.client.push_artifact(remote.app, artifact, tag=tag)

    digest = push("first", {"a": "1", "b": "2"})
    assert push("second", {"b": "2", "a": "1"}) == digest
    manifest = remote.client.fetch(remote.app, "first")
    assert manifest
    assert (manifest.digest, manifest.media_type) == (digest, MANIFEST)
    title = {"org.opencontainers.image.title": "hello.txt"}
    empty = {"mediaType": EMPTY, "digest": sha256(b"{}"), "size": 2}
    layer = {"mediaType": "text/plain", "digest": sha256(b"hello"), "size": 5, "annotations": title}
    # In this order: another would be another digest.
    assert list(manifest.manifest.items()) == [
        ("schemaVersion", 2),
        ("mediaType", MANIFEST),
        ("artifactType", "text/greeting"),
        ("config", empty),
        ("layers", [layer]),
        ("annotations", {"a": "1", "b": "2"}),
    ]
    assert remote.client.blob(remote.app, sha256(b"hello")) == b"hello"


def test_an_artifact_has_the_type_of_its_config_and_without_layers_the_empty_one(
    remote: Remote,
) -> None:
    config = Blob("application/vnd.cncf.helm.config.v1+json", b'{"name":"platform"}')
    artifact = Artifact(config.media_type, [], config=config)
    remote.client.push_artifact(remote.app, artifact, tag="1")
    manifest = remote.client.fetch(remote.app, "1")
    assert manifest
    assert manifest.manifest["config"] == config.descriptor
    assert "artifactType" not in manifest.manifest
    assert [layer["digest"] for layer in manifest.manifest["layers"]] == [sha256(b"{}")]


def test_an_artifacts_tag_is_checked_by_one_request_and_moved_only_by_overwrite(
    remote: Remote,
) -> None:
    def push(content: bytes, *, overwrite: bool = False) -> str:
        artifact = Artifact("x/y", [Blob("x/y", content)])
        return remote.client.push_artifact(remote.app, artifact, tag="1", overwrite=overwrite)

    first = push(b"first")
    remote.requests()
    assert push(b"first") == first
    assert remote.requests() == ["HEAD /v2/app/manifests/1"]
    with pytest.raises(RegistryError, match=f"it is {first} already"):
        push(b"second")
    assert remote.registry.tags["app", "1"] == first
    assert push(b"second", overwrite=True) == remote.registry.tags["app", "1"] != first


@of_both_kinds
def test_attached_artifacts_are_listed_and_attached_once(remote: Remote, image: str) -> None:
    assert remote.attached(image) == []
    first, second = remote.attach(image), remote.attach(image, b"signature")
    remote.requests()
    assert remote.attach(image) == first
    assert not [line for line in remote.requests() if not line.startswith(("GET", "HEAD"))]
    assert remote.attached(image) == [first, second]
    content = remote.registry.manifests["app", first][1]
    assert remote.client.referrers(remote.app, image, SBOM) == [first, second]
    assert remote.client.referrers(remote.app, image, "other") == []
    size = len(remote.registry.manifests["app", image][1])
    subject = {"mediaType": MANIFEST, "digest": image, "size": size}
    assert json.loads(content)["subject"] == subject
    has_fallback = ("app", image.replace(":", "-")) in remote.registry.tags
    assert has_fallback is not remote.registry.referrers


@of_both_kinds
def test_a_registry_without_referrers_api_is_asked_for_them_once(
    remote: Remote, image: str
) -> None:
    remote.attached(image)
    remote.requests()
    remote.attached(image)
    kind = "referrers" if remote.registry.referrers else "manifests"
    assert [line.split("/")[3] for line in remote.requests()] == [kind]


@of_both_kinds
def test_an_interrupted_attachment_is_finished_by_the_next_push(remote: Remote, image: str) -> None:
    digest = remote.attach(image, tag="sbom")
    remote.registry.tags.pop(("app", image.replace(":", "-")), None)
    assert remote.attach(image, tag="sbom") == digest
    assert remote.attached(image) == [digest]


def test_an_attachment_that_another_push_overwrites_is_added_again(tmp_path: Path) -> None:
    registry, overwrites = FakeRegistry(), [True]
    image = write_layout(tmp_path)
    fallback = ("app", image.replace(":", "-"))
    other = b'{"schemaVersion":2,"manifests":[{"digest":"sha256:other"}]}'

    def fault(method: str, path: str) -> None:
        is_index = path.endswith(fallback[1]) and fallback in registry.tags
        if method == "GET" and is_index and overwrites[0]:
            overwrites[0] = False
            registry.add(*fallback, other, "application/vnd.oci.image.index.v1+json")

    with serving(registry, fault) as (address, seen):
        remote = Remote(registry, address, seen)
        remote.client.push_layout(tmp_path, remote.app, TAG, no_line)
        digest = remote.attach(image)
        assert remote.attached(image) == ["sha256:other", digest]
    assert not overwrites[0]


def test_nothing_is_attached_to_a_missing_manifest(remote: Remote) -> None:
    with pytest.raises(RegistryError, match=r"cannot attach to .*: the registry does not hold it"):
        remote.attach(sha256(b"gone"))


def test_referrers_come_in_pages() -> None:
    def answer(_method: str, path: str, _headers: dict[str, str], _body: bytes) -> Answer:
        number = int(path.partition("page=")[2] or 0)
        entry = {"digest": f"sha256:{number}", "artifactType": SBOM}
        following = f'<{path.partition("?")[0]}?page={number + 1}>; rel="next"'
        link = {"Link": following} if number < 2 else {}
        return 200, link, json.dumps({"manifests": [entry]}).encode()

    with serving(answer) as (address, _):
        referrers = Registry(address).referrers(f"{address}/app", sha256(b"x"))
    assert referrers == ["sha256:0", "sha256:1", "sha256:2"]


OTHER = {"Docker-Content-Digest": sha256(b"x")}


@pytest.mark.parametrize(
    ("reference", "answer", "message"),
    [
        ("digest", (200, {}, b"{}"), "names {image} and serves"),
        (TAG, (200, OTHER, b"{}"), f"names {sha256(b'x')} and serves {sha256(b'{}')}"),
        (TAG, (200, {}, b"<html>"), "the answer is not a manifest"),
        (TAG, (200, {}, b"[]"), "the answer is not a manifest"),
    ],
)
def test_a_manifest_is_checked_against_its_digest_and_its_header(
    remote: Remote, image: str, reference: str, answer: Answer, message: str
) -> None:
    asked = image if reference == "digest" else reference
    with (
        serving(remote.registry, failing(1, "GET", "/manifests/", answer)) as (address, _),
        pytest.raises(RegistryError, match=message.replace("{image}", image)),
    ):
        Registry(address).fetch(f"{address}/app", asked)


@pytest.mark.usefixtures("image")
def test_a_blob_is_checked_against_its_digest(remote: Remote) -> None:
    fault = failing(1, "GET", "/blobs/", (200, {}, b"other"))
    with (
        serving(remote.registry, fault) as (address, _),
        pytest.raises(RegistryError, match=r"cannot read .*: the registry names sha256"),
    ):
        Registry(address).blob(f"{address}/app", sha256(b"a layer"))


def test_deleting_a_manifest_deletes_its_tags(remote: Remote, image: str) -> None:
    remote.client.put_tag(remote.app, "1.0.0", image)
    remote.client.delete(remote.app, image)
    assert remote.client.tags(remote.app) == []
    assert remote.client.fetch(remote.app, image) is None
    assert remote.client.digest(remote.app, TAG) == ""
    remote.client.delete(remote.app, image)


def test_a_registry_that_deletes_nothing_is_an_error_with_a_hint(
    remote: Remote, image: str
) -> None:
    remote.registry.deletes = False
    with pytest.raises(RegistryError, match=r"delete .* answered 405 \(UNSUPPORTED") as caught:
        remote.client.delete(remote.app, image)
    assert "REGISTRY_STORAGE_DELETE_ENABLED" in caught.value.hint


def test_blobs_of_a_sibling_are_mounted_without_an_upload(
    remote: Remote, image: str, tmp_path: Path
) -> None:
    other = f"{remote.client.address}/other"
    siblings = [f"{remote.client.address}/unknown", remote.app]
    push = remote.client.push_layout
    assert push(tmp_path / "image", other, TAG, no_line, mount_from=siblings) == image
    assert remote.registry.blobs["other", sha256(b"a layer")] == b"a layer"
    puts = [line for line in remote.requests() if line.startswith("PUT")]
    assert puts == [f"PUT /v2/other/manifests/{TAG}"]


@pytest.mark.parametrize("status", [202, 401, 405])
def test_blobs_that_cannot_be_mounted_are_uploaded(
    remote: Remote, image: str, tmp_path: Path, status: int
) -> None:
    fault = failing(9, "POST", "?mount=", (status, {"Location": "/elsewhere"}, b""))
    with serving(remote.registry, fault) as (address, _):
        client, siblings = Registry(address), [f"{address}/app"]
        folder, other = tmp_path / "image", f"{address}/other"
        assert client.push_layout(folder, other, TAG, no_line, mount_from=siblings) == image
    assert remote.registry.blobs["other", sha256(b"a layer")] == b"a layer"


def test_a_layout_whose_immutable_tag_exists_by_now_is_pushed(tmp_path: Path) -> None:
    built = write_layout(tmp_path)
    with serving(FakeRegistry(immutable=True)) as (address, _):
        for _ in range(2):
            assert Registry(address).push_layout(tmp_path, f"{address}/app", TAG, no_line) == built


def test_other_content_under_an_immutable_tag_is_the_registrys_refusal(tmp_path: Path) -> None:
    registry = FakeRegistry(immutable=True)
    registry.add("app", TAG)
    write_layout(tmp_path)
    with (
        serving(registry) as (address, _),
        pytest.raises(RegistryError, match=r"answered 400 \(TAG_INVALID: the tag is immutable\)"),
    ):
        Registry(address).push_layout(tmp_path, f"{address}/app", TAG, no_line)


def test_digests_are_asked_together_and_come_in_order() -> None:
    registry = FakeRegistry()
    digests = [registry.add("app", f"key{number}", b"%d" % number) for number in range(3)]
    together = threading.Barrier(4)  # each request waits for all others

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        together.wait(10)
        return registry(method, path, headers, body)

    with serving(answer) as (address, _):
        client = Registry(address)
        pairs = [(f"{address}/app", f"key{number}") for number in (0, 1, 2, 3)]
        assert client.digests(pairs) == [*digests, ""]
    assert Registry("localhost:1").digests([]) == []
