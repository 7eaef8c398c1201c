"""A push is believed only when the registry gives the same bytes back."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.errors import RegistryError
from delivery.registry.client import Artifact, Blob, Layer, Referrer, Registry
from tests.registries import (
    MANIFEST,
    Answer,
    Break,
    Fault,
    FullRegistry,
    failing,
    no_line,
    no_pause,
    serving,
    sha256,
    write_layout,
)

TAG = "0123abcd"
DENIED = b'{"errors": [{"code": "DENIED", "message": "not you"}]}'


def push(
    tmp_path: Path, fault: Fault | None = None, registry: FullRegistry | None = None
) -> tuple[str, str, list[str]]:
    """Push a small image; the digest built, the digest the push returned, and the requests it took."""
    built = write_layout(tmp_path / "layout")
    with serving(registry or FullRegistry(), fault) as (address, seen):
        client = Registry(address, pause=no_pause)
        return built, client.push_layout(tmp_path / "layout", f"{address}/app", TAG, no_line), seen


def test_a_push_gives_the_digest_that_was_built_its_tag_last_and_read_back(tmp_path: Path) -> None:
    built, pushed, seen = push(tmp_path)
    assert pushed == built
    kinds = [line.split()[0] for line in seen]
    assert kinds == ["HEAD", "POST", "PUT", "HEAD", "POST", "PUT", "PUT", "GET"]
    assert seen[-2:] == [f"PUT /v2/app/manifests/{TAG}", f"GET /v2/app/manifests/{TAG}"]


def test_a_blob_that_is_there_is_not_sent_again(tmp_path: Path) -> None:
    registry = FullRegistry()
    registry.blobs["app", sha256(b"a layer")] = b"a layer"
    _, _, seen = push(tmp_path, registry=registry)
    assert len([line for line in seen if line.startswith("POST")]) == 1  # the config's


@pytest.mark.parametrize(
    ("method", "part"),
    [("HEAD", "/blobs/"), ("POST", "/uploads/"), ("PUT", "/uploads/"), ("PUT", "/manifests/")],
)
def test_a_fault_that_passes_is_waited_out(tmp_path: Path, method: str, part: str) -> None:
    built, pushed, _ = push(tmp_path, failing(2, method, part, (503, {}, b"")))
    assert pushed == built


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        (
            failing(99, "PUT", "/manifests/", (500, {}, b"oh no")),
            r"push \S+/app:0123abcd: the registry answered 500 \(oh no\)",
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
                (403, "push rights"),
                (404, "made first"),
                (413, "proxy"),
            )
        ),
        (
            failing(9, "PUT", "/manifests/", (429, {}, b"")),
            "answered 429",
            "log in for a higher limit",
        ),
        (
            failing(1, "GET", "/manifests/", (200, {}, b"other")),
            rf"the registry holds {sha256(b'other')}, sha256:\w+ was sent",
            "",
        ),
        (failing(1, "GET", "/manifests/", (404, {}, b"")), "read back .* answered 404", ""),
    ],
    ids=[
        "500 stays",
        "401",
        "403",
        "404",
        "413",
        "429",
        "holds something else",
        "forgot the manifest",
    ],
)
def test_what_does_not_pass_is_an_error_that_says_what_to_do(
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


def test_layers_are_measured_packed_and_unpacked(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, size in (("a", 5_000), ("b", 700)):
            entry = tarfile.TarInfo(name)
            entry.size = size
            tar.addfile(entry, io.BytesIO(b"x" * size))
    write_layout(tmp_path, packed.getvalue())
    with serving(FullRegistry()) as (address, _):
        client = Registry(address)
        digest = client.push_layout(tmp_path, f"{address}/app", TAG, no_line)
        assert client.layers(f"{address}/app", digest) == [
            Layer(sha256(packed.getvalue()), packed=len(packed.getvalue()), unpacked=5_700)
        ]


def test_a_registry_without_the_digest_header_is_asked_for_the_manifest() -> None:
    with serving(FullRegistry(), lambda *_: (200, {}, b"manifest")) as (address, _):
        assert Registry(address).digest(f"{address}/app", TAG) == sha256(b"manifest")


def test_tags_come_in_pages() -> None:
    def answer(_method: str, path: str, _headers: dict[str, str], _body: bytes) -> Answer:
        if path == "/v2/app/tags/list":
            return (
                200,
                {"Link": '</v2/app/tags/list?last=b&n=2>; rel="next"'},
                b'{"tags": ["a", "b"]}',
            )
        if path == "/v2/app/tags/list?last=b&n=2":
            return 200, {}, b'{"tags": ["c"]}'
        return (200, {}, b'{"tags": null}') if "empty" in path else (404, {}, b"")

    with serving(answer) as (address, _):
        registry = Registry(address)
        assert registry.tags(f"{address}/app") == ["a", "b", "c"]
        assert registry.tags(f"{address}/empty") == registry.tags(f"{address}/unknown") == []


SBOM = "application/spdx+json"


class House:
    """A registry, a client of it, an image in it, and what was asked."""

    def __init__(self, registry: FullRegistry, address: str, seen: list[str]) -> None:
        self.registry = registry
        self.client = Registry(address, pause=no_pause)
        self.app = f"{address}/app"
        self.seen = seen

    def asked(self) -> list[str]:
        """What was asked since this was last asked."""
        found = [line.partition("?")[0] for line in self.seen]
        self.seen.clear()
        return found

    def attach(self, subject: str, content: bytes = b"sbom", tag: str = "") -> str:
        layers = [Blob(SBOM, content)]
        return self.client.push_artifact(self.app, Artifact(SBOM, layers, subject=subject), tag=tag)


@pytest.fixture(params=[False, True], ids=["without-referrers-api", "with-referrers-api"])
def sample(request: pytest.FixtureRequest) -> Iterator[House]:
    registry = FullRegistry(referrers=request.param)
    with serving(registry) as (address, seen):
        yield House(registry, address, seen)


@pytest.fixture
def image(sample: House, tmp_path: Path) -> str:
    write_layout(tmp_path / "image")
    digest = sample.client.push_layout(tmp_path / "image", sample.app, TAG, no_line)
    sample.asked()
    return digest


def test_a_tag_is_put_without_moving_a_blob_and_again_for_one_request(
    sample: House, image: str
) -> None:
    assert sample.client.put_tag(sample.app, "1.0.0", image)
    assert sample.registry.tags["app", "1.0.0"] == sample.registry.tags["app", TAG] == image
    assert sample.asked() == [
        "HEAD /v2/app/manifests/1.0.0",
        f"GET /v2/app/manifests/{image}",
        "PUT /v2/app/manifests/1.0.0",
        "GET /v2/app/manifests/1.0.0",
    ]
    assert not sample.client.put_tag(sample.app, TAG, image)
    assert sample.asked() == [f"HEAD /v2/app/manifests/{TAG}"]


def test_a_tag_keeps_the_media_type(sample: House) -> None:
    content, index = b'{"manifests":[]}', "application/vnd.oci.image.index.v1+json"
    digest = sample.registry.hold("app", "k1", content, index)
    sample.client.put_tag(sample.app, "1.0.0", digest)
    assert sample.registry.manifests["app", digest] == (index, content)


def test_a_tag_is_never_moved(sample: House, image: str, tmp_path: Path) -> None:
    write_layout(tmp_path / "other", b"another layer")
    other = sample.client.push_layout(tmp_path / "other", sample.app, "k2", no_line)
    sample.client.put_tag(sample.app, "1.0.0", image)
    sample.asked()
    with pytest.raises(
        RegistryError, match=rf"app:1\.0\.0: it is {image} already, and would be {other}"
    ) as caught:
        sample.client.put_tag(sample.app, "1.0.0", other)
    assert "never overwritten" in caught.value.hint
    assert not caught.value.retriable
    assert not [line for line in sample.asked() if line.startswith("PUT")]


def test_what_is_not_there_cannot_be_tagged(sample: House) -> None:
    with pytest.raises(RegistryError, match=rf"the registry holds no {sha256(b'gone')}"):
        sample.client.put_tag(sample.app, "1.0.0", sha256(b"gone"))


@pytest.mark.parametrize("status", [400, 403, 409, 412])
@pytest.mark.parametrize("same", [True, False])
def test_a_refused_tag_that_somebody_else_has_just_put_is_well_with_the_same_content_alone(
    tmp_path: Path, status: int, *, same: bool
) -> None:
    registry = FullRegistry()
    image = write_layout(tmp_path)

    def fault(method: str, path: str) -> Answer | None:
        if method == "PUT" and path.endswith("/1.0.0"):
            theirs = registry.manifests["app", image][1] if same else b"{}"
            registry.hold("app", "1.0.0", theirs)  # they were faster
            return status, {}, b""
        return None

    with serving(registry, fault) as (address, _):
        client = Registry(address)
        client.push_layout(tmp_path, f"{address}/app", TAG, no_line)
        if same:
            assert client.put_tag(f"{address}/app", "1.0.0", image)
        else:
            named = rf"it is {sha256(b'{}')} already, and would be {image}"
            with pytest.raises(RegistryError, match=named):
                client.put_tag(f"{address}/app", "1.0.0", image)


def test_a_refused_tag_that_is_not_there_is_a_refusal(sample: House, image: str) -> None:
    fault = failing(1, "PUT", "/1.0.0", (403, {}, b'{"errors": [{"code": "DENIED"}]}'))
    with (
        serving(sample.registry, fault) as (address, _),
        pytest.raises(RegistryError, match=r"answered 403 \(DENIED: \)"),
    ):
        Registry(address).put_tag(f"{address}/app", "1.0.0", image)


def test_an_artefact_is_the_same_bytes_each_time(sample: House) -> None:
    def push(name: str, annotations: dict[str, str]) -> str:
        layer = Blob("text/plain", b"hello", {"org.opencontainers.image.title": "hello.txt"})
        return sample.client.push_artifact(
            sample.app, Artifact("text/greeting", [layer], annotations=annotations), tag=name
        )

    digest = push("one", {"a": "1", "b": "2"})
    assert push("two", {"b": "2", "a": "1"}) == digest
    held = sample.client.fetch(sample.app, "one")
    assert held
    assert (held.digest, held.media_type) == (digest, MANIFEST)
    assert held.manifest == {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "text/greeting",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": sha256(b"{}"),
            "size": 2,
        },
        "layers": [
            {
                "mediaType": "text/plain",
                "digest": sha256(b"hello"),
                "size": 5,
                "annotations": {"org.opencontainers.image.title": "hello.txt"},
            }
        ],
        "annotations": {"a": "1", "b": "2"},
    }
    assert sample.client.blob(sample.app, sha256(b"hello")) == b"hello"


def test_an_artefact_is_what_its_config_says_and_without_layers_has_the_empty_one(
    sample: House,
) -> None:
    config = Blob("application/vnd.cncf.helm.config.v1+json", b'{"name":"platform"}')
    sample.client.push_artifact(sample.app, Artifact(config.media_type, [], config=config), tag="1")
    held = sample.client.fetch(sample.app, "1")
    assert held
    assert held.manifest["config"] == config.descriptor
    assert "artifactType" not in held.manifest
    assert [layer["digest"] for layer in held.manifest["layers"]] == [sha256(b"{}")]


def test_an_artefact_that_is_there_costs_one_request(sample: House) -> None:
    def push() -> None:
        sample.client.push_artifact(sample.app, Artifact("x/y", [Blob("x/y", b"z")]), tag="1")

    push()
    sample.asked()
    push()
    assert sample.asked() == ["HEAD /v2/app/manifests/1"]


def test_an_artefacts_tag_is_moved_only_when_told_to(sample: House) -> None:
    def push(content: bytes, *, overwrite: bool = False) -> str:
        layers = [Blob("x/y", content)]
        return sample.client.push_artifact(
            sample.app, Artifact("x/y", layers), tag="1", overwrite=overwrite
        )

    first = push(b"one")
    with pytest.raises(RegistryError, match=f"it is {first} already"):
        push(b"two")
    assert sample.registry.tags["app", "1"] == first
    assert push(b"two", overwrite=True) == sample.registry.tags["app", "1"] != first


def test_what_is_attached_is_found(sample: House, image: str) -> None:
    assert sample.client.referrers(sample.app, image) == []
    first, second = sample.attach(image), sample.attach(image, b"signature")
    found = sample.client.referrers(sample.app, image)
    assert [one.digest for one in found] == [first, second]
    size = len(sample.registry.manifests["app", first][1])
    assert found[0] == Referrer(first, SBOM, size, {})
    subject = json.loads(sample.registry.manifests["app", first][1])["subject"]
    assert subject == {
        "mediaType": MANIFEST,
        "digest": image,
        "size": len(sample.registry.manifests["app", image][1]),
    }
    standing_in = ("app", image.replace(":", "-")) in sample.registry.tags
    assert standing_in is not sample.registry.referrers


def test_a_registry_that_does_not_list_attachments_is_asked_to_once(
    sample: House, image: str
) -> None:
    sample.client.referrers(sample.app, image)
    sample.asked()
    sample.client.referrers(sample.app, image)
    asked = "referrers" if sample.registry.referrers else "manifests"
    assert [line.split("/")[3] for line in sample.asked()] == [asked]


def test_what_is_attached_already_is_left(sample: House, image: str) -> None:
    sample.attach(image)
    sample.asked()
    sample.attach(image)
    assert not [line for line in sample.asked() if not line.startswith(("GET", "HEAD"))]


def test_an_attachment_that_was_cut_off_before_it_was_listed_is_listed_by_the_next_push(
    sample: House, image: str
) -> None:
    digest = sample.attach(image, tag="sbom")
    sample.registry.tags.pop(("app", image.replace(":", "-")), None)
    assert sample.attach(image, tag="sbom") == digest
    assert [one.digest for one in sample.client.referrers(sample.app, image)] == [digest]


def test_who_is_lost_from_the_list_of_attachments_adds_itself_again(tmp_path: Path) -> None:
    registry, lost = FullRegistry(), [True]
    image = write_layout(tmp_path)
    fallback = ("app", image.replace(":", "-"))
    other = b'{"schemaVersion":2,"manifests":[{"digest":"sha256:other"}]}'

    def fault(method: str, path: str) -> None:
        # Somebody else's list comes between our writing and our reading.
        if method == "GET" and path.endswith(fallback[1]) and fallback in registry.tags and lost[0]:
            lost[0] = False
            registry.hold(*fallback, other, "application/vnd.oci.image.index.v1+json")

    with serving(registry, fault) as (address, seen):
        sample = House(registry, address, seen)
        sample.client.push_layout(tmp_path, sample.app, TAG, no_line)
        digest = sample.attach(image)
        assert [one.digest for one in sample.client.referrers(sample.app, image)] == [
            "sha256:other",
            digest,
        ]
    assert not lost[0]


def test_nothing_can_be_attached_to_what_is_not_there(sample: House) -> None:
    with pytest.raises(RegistryError, match="the registry does not hold it"):
        sample.attach(sha256(b"gone"))


def test_long_lists_of_attachments_come_in_pages() -> None:
    def answer(_method: str, path: str, _headers: dict[str, str], _body: bytes) -> Answer:
        number = int(path.partition("page=")[2] or 0)
        entry = {
            "digest": f"sha256:{number}",
            "size": 1,
            "artifactType": SBOM,
            "annotations": {"a": "b"},
        }
        link = (
            {"Link": f'<{path.partition("?")[0]}?page={number + 1}>; rel="next"'}
            if number < 2
            else {}
        )
        return 200, link, json.dumps({"manifests": [entry]}).encode()

    with serving(answer) as (address, _):
        found = Registry(address).referrers(f"{address}/app", sha256(b"x"))
    assert [one.digest for one in found] == ["sha256:0", "sha256:1", "sha256:2"]
    assert found[0].annotations == {"a": "b"}


WRONG = {"Docker-Content-Digest": sha256(b"x")}


@pytest.mark.parametrize(
    ("reference", "answer", "message"),
    [
        ("digest", (200, {}, b"{}"), "says {image} and gives"),
        (TAG, (200, WRONG, b"{}"), f"says {sha256(b'x')} and gives {sha256(b'{}')}"),
        (TAG, (200, {}, b"<html>"), "that is no manifest"),
        (TAG, (200, {}, b"[]"), "that is no manifest"),
    ],
)
def test_a_manifest_is_what_its_digest_and_its_header_say(
    sample: House, image: str, reference: str, answer: Answer, message: str
) -> None:
    asked = image if reference == "digest" else reference
    with (
        serving(sample.registry, failing(1, "GET", "/manifests/", answer)) as (address, _),
        pytest.raises(RegistryError, match=message.replace("{image}", image)),
    ):
        Registry(address).fetch(f"{address}/app", asked)


@pytest.mark.usefixtures("image")
def test_a_blob_is_what_its_digest_says(sample: House) -> None:
    with (
        serving(sample.registry, failing(1, "GET", "/blobs/", (200, {}, b"other"))) as (address, _),
        pytest.raises(RegistryError, match="says sha256"),
    ):
        Registry(address).blob(f"{address}/app", sha256(b"a layer"))


def test_what_is_deleted_is_gone_and_its_tags_with_it(sample: House, image: str) -> None:
    sample.client.put_tag(sample.app, "1.0.0", image)
    sample.client.delete(sample.app, image)
    assert sample.client.tags(sample.app) == []
    assert sample.client.fetch(sample.app, image) is None
    assert sample.client.digest(sample.app, TAG) == ""
    sample.client.delete(sample.app, image)


def test_a_registry_that_deletes_nothing_is_an_error_that_says_how_it_would(
    sample: House, image: str
) -> None:
    sample.registry.deletes = False
    with pytest.raises(RegistryError, match=r"delete .* answered 405 \(UNSUPPORTED") as caught:
        sample.client.delete(sample.app, image)
    assert "REGISTRY_STORAGE_DELETE_ENABLED" in caught.value.hint


def test_blobs_of_a_sibling_are_taken_over_unsent(
    sample: House, image: str, tmp_path: Path
) -> None:
    other = f"{sample.client.address}/other"
    sent = sample.client.sent
    siblings = [f"{sample.client.address}/unknown", sample.app]
    assert (
        sample.client.push_layout(tmp_path / "image", other, TAG, no_line, mount_from=siblings)
        == image
    )
    assert sample.registry.blobs["other", sha256(b"a layer")] == b"a layer"
    assert sample.client.sent - sent == len(sample.registry.manifests["other", image][1])


@pytest.mark.parametrize("status", [202, 401, 403, 405])
def test_blobs_that_cannot_be_taken_over_are_sent(
    sample: House, image: str, tmp_path: Path, status: int
) -> None:
    fault = failing(9, "POST", "?mount=", (status, {"Location": "/elsewhere"}, b""))
    with serving(sample.registry, fault) as (address, _):
        client = Registry(address)
        pushed = client.push_layout(
            tmp_path / "image", f"{address}/other", TAG, no_line, mount_from=[f"{address}/app"]
        )
    assert pushed == image
    assert sample.registry.blobs["other", sha256(b"a layer")] == b"a layer"


def test_a_layout_whose_tag_somebody_else_has_just_put_is_well(tmp_path: Path) -> None:
    built = write_layout(tmp_path)
    with serving(FullRegistry(immutable=True)) as (address, _):
        for _ in range(2):
            assert Registry(address).push_layout(tmp_path, f"{address}/app", TAG, no_line) == built


@pytest.mark.parametrize("where", ["request", "answer"])
@pytest.mark.parametrize(
    ("method", "part"), [("PUT", "/uploads/"), ("PUT", "/manifests/"), ("GET", "/manifests/")]
)
def test_a_connection_that_breaks_is_made_again(
    tmp_path: Path, where: str, method: str, part: str
) -> None:
    built, pushed, seen = push(tmp_path, failing(2, method, part, Break(where)))
    assert pushed == built
    assert len([line for line in seen if line.startswith(method) and part in line]) >= 3


@pytest.mark.parametrize(("times", "asked"), [(2, 3), (9, 5)])
def test_one_that_stalls_is_asked_again_and_then_said_to_have_stalled(
    times: int, asked: int
) -> None:
    registry = FullRegistry()
    held = registry.hold("app", TAG)
    with serving(registry, failing(times, "HEAD", "/manifests/", Break("stall", 0.3))) as (
        address,
        seen,
    ):
        client = Registry(address, pause=no_pause, timeout=(5, 0.1))
        if times < asked:
            assert client.digest(f"{address}/app", TAG) == held
        else:
            with pytest.raises(
                RegistryError, match=rf"look for \S+:{TAG}: the registry has stalled"
            ):
                client.digest(f"{address}/app", TAG)
    assert len(seen) == asked
