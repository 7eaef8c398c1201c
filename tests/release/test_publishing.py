"""A release is published completely or not at all, and no version changes."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from delivery.build.plan import Images, Plan, make_images
from delivery.errors import DeclarationError, Problem, RegistryError, ScanError, SignatureError
from delivery.host.docker_api import Engine
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.project.facts import Ref
from delivery.project.gitflow import Line
from delivery.registry import oci_layout
from delivery.registry.client import Registry
from delivery.release import attached_sboms, attesting, chart_package, publishing, signing
from delivery.release.provenance import Builder
from delivery.release.publishing import Built, Check
from delivery.release.released import Release, read_release
from delivery.release.sbom import Image
from tests.build.examples import CHART_KEY, KEYS, plan_of
from tests.project.examples import checkout, decision, version
from tests.registries import (
    FakeRegistry,
    Fault,
    failing,
    serving,
    sha256,
    write_index,
    write_layout,
)

ATTACH = attached_sboms.attach
SIGN = signing.sign
NUMBERS = {"base-image": "1.0.0-dev.2", "apps": "2.0.0-dev.2", "platform-chart": "0.4.0-dev.2"}


@dataclass
class Project:
    """A registry, a clone with a chart, two built images, and what was signed."""

    declaration: Declaration
    root: Path
    fake: FakeRegistry = field(default_factory=FakeRegistry)
    attached: list[str] = field(default_factory=list)
    signed_by_us: set[str] = field(default_factory=set)
    """The names of references whose signature names their source."""
    signed_sources: dict[str, str] = field(default_factory=dict)
    """The source that each signed reference names."""
    existing: list[str] = field(default_factory=list)
    attested_by_us: set[str] = field(default_factory=set)
    """The names of images with provenance of our key."""
    provenance: dict[str, str] = field(default_factory=dict)
    """What was attached to each image, by name."""
    signed: list[list[str]] = field(default_factory=list)
    tags_when_signed: list[list[str]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    check: Check = lambda _plan, _release, _layouts: {}
    served: tuple[str, list[str]] | None = None
    """Where the registry serves during a whole test: a chart names the addresses of its images."""

    def plan(self, address: str, line: Line = Line.DEVELOP) -> Plan:
        """A plan with the current content of the registry, in which everything has changed."""
        declaration = self.declaration.with_registry(address)
        decided = decision(line, "develop", "develop")
        versions = {
            name: version(
                name, "0.1.0", next=number.partition("-")[0], published=number, bump="minor"
            )
            for name, number in NUMBERS.items()
        }
        registry, keys = Registry(address), {**KEYS, "platform-chart": CHART_KEY}
        digests = {name: registry.digest(f"{address}/{name}", key) for name, key in keys.items()}
        return plan_of(checkout(declaration, decided, versions, "c0ffee"), digests)

    def publish(
        self,
        fault: Fault | None = None,
        layouts: Collection[str] = tuple(KEYS),
        change: Callable[[Plan], Plan] = lambda plan: plan,
    ) -> Release:
        """Publish a changed plan, with the layouts of some images."""
        served = nullcontext(self.served) if self.served else serving(self.fake, fault)
        with served as (address, seen):
            plan = change(self.plan(address))
            registry = Registry(address, pause=lambda _seconds: None, timeout=(1, 0.3))
            seen.clear()
            self.seen = seen
            built = Built(
                cast("Engine", SimpleNamespace(oci_layouts=True)),
                {name: self.root / "layouts" / name for name in layouts},
                self.check,
            )
            return publishing.publish(
                registry, self.declaration.with_registry(address), plan, built, self.root
            )

    def untrusted(self, change: Callable[[Plan], Plan] = lambda plan: plan) -> list[str]:
        """The images that have to be built again before they are signed."""
        assert self.served
        address = self.served[0]
        plan = change(self.plan(address))
        return publishing.untrusted(
            self.declaration.with_registry(address), Registry(address), plan, self.root
        )

    def forge(self, name: str, tag: str) -> str:
        """Put other content under a tag; its digest."""
        return self.fake.add(name, tag, b'{"layers": [], "forged": true}')

    @property
    def sources(self) -> dict[str, str]:
        """The source that each signed reference names, by the name of the reference."""
        return {named(reference): source for reference, source in self.signed_sources.items()}

    def version_tags(self) -> list[str]:
        """The version tags in the registry."""
        return sorted(f"{repository}:{tag}" for repository, tag in self.fake.tags if "." in tag)

    def written(self) -> Release:
        """The release of release.json."""
        file = self.root / ".delivery" / "release.json"
        return read_release(file.read_text(), file="release.json")


@pytest.fixture
def project(declaration: Declaration, sample: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    chart = sample / "platform-chart"
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: platform\nversion: 0.1.0\n")
    (chart / "values.yaml").write_text(
        'image: {repository: localhost:5001/api-rest, tag: 0.1.0, digest: ""}\n'
    )
    for name in KEYS:
        write_layout(sample / "layouts" / name, name.encode())
        materials = files.output("materials", f"{name}@{KEYS[name]}", root=sample)
        materials.write_text('{"debian:trixie-slim": "sha256:debian"}')
    made = Project(declaration, sample)

    def attach(_registry: object, image: Image, _layout: object) -> str:
        made.attached.append(f"{image.name} {image.version}")
        return "sha256:sbom"

    monkeypatch.setattr(attached_sboms, "attach", attach)

    def note(
        _declaration: object,
        pinned: list[str],
        *,
        sources: Mapping[str, str] = {},
        existing: Collection[str] = (),
    ) -> None:
        made.signed.append(pinned)
        made.tags_when_signed.append(made.version_tags())
        made.signed_sources |= sources
        made.existing += map(named, existing)

    def attest(
        _declaration: object,
        images: Mapping[str, str],
        predicate: Callable[[str, Builder], str],
        _root: object,
    ) -> None:
        texts = {named(reference): predicate(reference, Builder.CI) for reference in images}
        made.provenance |= texts

    monkeypatch.setattr(signing, "sign", note)
    monkeypatch.setattr(attesting, "attest", attest)
    return made


def named(reference: str) -> str:
    """The name in a reference, without the registry's port, which changes."""
    repository, _, digest = reference.partition("@")
    document = {"sha256:sbom": " SBOM", "sha256:vex": " VEX"}.get(digest, "")
    return f"{repository.rpartition('/')[2]}{document}"


@pytest.fixture
def _with_sboms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image has an SBOM."""

    def reference(_registry: object, repository: str, _digest: str) -> str:
        return f"{repository}@sha256:sbom"

    monkeypatch.setattr(attached_sboms, "reference", reference)


@pytest.fixture
def key(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project with a signing key, after everything was published without one."""
    with serving(project.fake) as project.served:
        project.publish()
        project.signed.clear()
        monkeypatch.setattr(signing, "has_key", lambda: True)
        monkeypatch.setattr(
            signing,
            "missing_signatures",
            lambda _declaration, sources, _root: [
                item for item in sources if named(item) not in project.signed_by_us
            ],
        )
        monkeypatch.setattr(
            attesting,
            "missing",
            lambda _declaration, images, _root: [
                item for item in images if named(item) not in project.attested_by_us
            ],
        )
        yield project


def unpublish(project: Project) -> None:
    """Remove all version tags, and leave the content under its keys."""
    project.fake.tags = {
        tag: digest for tag, digest in project.fake.tags.items() if "." not in tag[1]
    }


def test_content_is_pushed_first_then_version_tags_and_the_release_last(project: Project) -> None:
    release = project.publish()
    puts = [line.rpartition("/v2/")[2] for line in project.seen if line.startswith("PUT")]
    assert [put.replace("/manifests/", ":") for put in puts if "/manifests/" in put] == [
        "base-image:k1",
        "api-rest:k2",
        "platform-chart:k3",
        "base-image:1.0.0-dev.2",
        "api-rest:2.0.0-dev.2",
        "platform-chart:0.4.0-dev.2",
        "release:0.4.0-dev.2",
    ]
    for name, image in release.images.items():
        tags = {project.fake.tags[name, tag] for tag in (image.version, image.key)}
        assert tags == {image.digest}
    assert project.written() == release


def test_the_published_chart_names_the_images_by_digest(project: Project) -> None:
    release = project.publish()
    assert release.chart
    with serving(project.fake) as (address, _):
        repository = f"{address}/platform-chart"
        packed = chart_package.fetch(Registry(address), repository, release.chart.digest)
    values = chart_package.read_file(packed, "values.yaml")
    assert values
    assert f'/api-rest, tag: "2.0.0-dev.2", digest: "{release.images["api-rest"].digest}"' in values
    assert "version: 0.4.0-dev.2\n" in (chart_package.read_file(packed, "Chart.yaml") or "")


def test_parts_are_signed_before_their_version_tags_and_the_release_too(project: Project) -> None:
    release = project.publish()
    assert release.chart
    sboms = [f"{image.repository}@sha256:sbom" for image in release.images.values()]
    assert project.signed[0] == [*(part.pinned for part in release.parts), *sboms]
    assert [named(reference) for reference in project.signed[1]] == ["release"]
    assert project.tags_when_signed == [[], project.version_tags()]
    assert project.attached == ["base-image 0.1.0", "api-rest 0.1.0"], "the versions in the images"


def test_what_a_check_attaches_is_signed_with_its_image(project: Project) -> None:
    project.check = lambda _plan, release, _layouts: {
        f"{release.images['api-rest'].repository}@sha256:vex": "sha256:image"
    }
    project.publish()
    assert project.sources["api-rest VEX"] == "sha256:image"


def test_what_does_not_pass_its_check_is_neither_signed_nor_published(project: Project) -> None:
    def refuse(*_: object) -> dict[str, str]:
        raise ScanError("cannot publish: 1 finding", hint="update it")

    project.check = refuse
    with pytest.raises(ScanError):
        project.publish()
    assert (project.signed, project.version_tags()) == ([], [])


def test_that_nothing_is_signed_is_printed_once(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signing, "sign", SIGN)
    project.publish()
    message = "sign: DELIVERY_SIGNING_KEY is not set, so nothing is signed"
    assert capsys.readouterr().out.splitlines().count(message) == 1


@pytest.mark.parametrize(
    "part",
    [
        "/base-image/manifests/k1",
        "/api-rest/manifests/k2",
        "/api-rest/blobs/uploads",
        "/platform-chart/manifests/k3",
    ],
)
def test_a_failed_push_leaves_no_new_version(project: Project, part: str) -> None:
    method = "POST" if "uploads" in part else "PUT"
    with pytest.raises(RegistryError):
        project.publish(failing(99, method, part, (403, {}, b"")))
    assert project.version_tags() == []
    assert not (project.root / ".delivery" / "release.json").exists()


def test_the_next_run_finishes_an_interrupted_one(project: Project) -> None:
    with pytest.raises(RegistryError):
        project.publish(failing(99, "PUT", "/api-rest/manifests/2.0.0", (500, {}, b"")))
    assert project.version_tags() == ["base-image:1.0.0-dev.2"]  # nothing deploys a tag alone
    project.publish()
    assert len(project.version_tags()) == 4
    assert not [line for line in project.seen if "uploads" in line and "/release/" not in line]


def test_publishing_again_changes_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = project.publish()
    before = dict(project.fake.tags)
    monkeypatch.setattr(publishing, "builder", lambda: "another@host")
    assert project.publish() == first
    assert project.fake.tags == before
    assert not [line for line in project.seen if line.split()[0] not in {"HEAD", "GET"}]


def test_a_taken_version_tag_keeps_the_others_from_being_put(project: Project) -> None:
    taken = project.forge("api-rest", "2.0.0-dev.2")
    with pytest.raises(RegistryError, match="a version is never overwritten") as caught:
        project.publish()
    assert f"/api-rest:2.0.0-dev.2 is {taken}, not sha256:" in caught.value.details
    assert project.version_tags() == ["api-rest:2.0.0-dev.2"]
    assert project.fake.tags["api-rest", "2.0.0-dev.2"] == taken


def test_a_release_of_other_content_is_never_replaced(project: Project) -> None:
    first = project.publish()
    (project.root / "layouts" / "api-rest" / "index.json").unlink()
    (project.root / "layouts" / "api-rest").rename(project.root / "layouts" / "old")
    write_layout(project.root / "layouts" / "api-rest", b"other")
    for tag in (("api-rest", "k2"), ("platform-chart", "k3")):
        del project.fake.tags[tag]
    other = r"published with other content \(api-rest, chart\), from commit c0ffee"
    with pytest.raises(DeclarationError, match=other) as caught:
        project.publish()
    line = r"api-rest: published as \S+ (sha256:\w+) from content key k2, is \S+ (?!\1)sha256:\w+ "
    assert re.search(line, caught.value.details)
    assert project.fake.tags["api-rest", "2.0.0-dev.2"] == first.images["api-rest"].digest


def without_chart(plan: Plan) -> Plan:
    """The plan without a version tag of the chart."""
    return dataclasses.replace(plan, chart=dataclasses.replace(plan.chart, tag=""))


def test_a_missing_unchanged_release_is_published_by_its_own_line_alone(project: Project) -> None:
    message = r"nothing has changed since 0\.4\.0-dev\.2, but .* does not hold that release"
    with pytest.raises(DeclarationError, match=message):
        project.publish(change=without_chart)


def test_a_git_tag_of_an_app_puts_its_version_tags_and_no_release(project: Project) -> None:
    def tagged(plan: Plan) -> Plan:
        decision = dataclasses.replace(plan.decision, ref=Ref("tag", "apps-v2.0.0"))
        return dataclasses.replace(without_chart(plan), decision=decision)

    project.publish(change=tagged)
    assert project.version_tags() == ["api-rest:2.0.0-dev.2", "base-image:1.0.0-dev.2"]
    assert not (project.root / ".delivery" / "release.json").exists()


def test_a_line_or_a_problem_may_forbid_to_publish(project: Project) -> None:
    with serving(project.fake) as (address, _):
        feature, plan = project.plan(address, Line.FEATURE), project.plan(address)
    with pytest.raises(DeclarationError, match="cannot publish develop: develop is"):
        publishing.check_publishable(feature)
    with pytest.raises(DeclarationError, match=r"cannot publish 0\.4\.0-dev\.2: a problem"):
        publishing.check_publishable(dataclasses.replace(plan, problems=(Problem("a problem"),)))


@pytest.mark.parametrize("correct", [True, False])
def test_a_push_by_the_engine_is_read_back(project: Project, *, correct: bool) -> None:
    (digest,) = {project.fake.add(name, key, b'{"layers": []}') for name, key in KEYS.items()}
    with serving(project.fake) as (address, _):
        images = make_images(project.declaration.with_registry(address), KEYS, {})
        pushed = digest if correct else sha256(b"another")
        engine = SimpleNamespace(oci_layouts=False, push=lambda *_, **__: pushed)
        built = Built(cast("Engine", engine), dict.fromkeys(KEYS, project.root))
        with nullcontext() if correct else pytest.raises(RegistryError, match="was sent"):
            assert publishing.push_images(Registry(address), images, built)


def test_images_without_our_signature_are_untrusted(
    key: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert key.untrusted() == ["base-image", "api-rest"]
    key.signed_by_us = {"base-image"}
    assert key.untrusted() == ["base-image", "api-rest"], "without provenance"
    key.attested_by_us = {"base-image", "api-rest"}
    assert key.untrusted() == ["api-rest"]
    del key.fake.tags["api-rest", "k2"]  # a missing image is built anyway
    assert key.untrusted() == []
    key.signed_by_us = set()
    monkeypatch.setattr(signing, "has_key", lambda: False)
    assert key.untrusted() == []


def test_of_a_signed_release_nothing_is_untrusted(key: Project) -> None:
    key.signed_by_us = {"release"}
    assert key.untrusted() == ["base-image", "api-rest"], "without provenance"
    key.attested_by_us = {"base-image", "api-rest"}
    assert key.untrusted() == []
    key.publish(layouts=[])
    assert key.signed == []


def test_equal_content_is_signed_with_its_key(key: Project) -> None:
    unpublish(key)
    release = key.publish()
    assert release.chart
    assert key.signed[0][:3] == [part.pinned for part in release.parts]
    assert key.sources == {
        "base-image": "k1",
        "api-rest": "k2",
        "platform-chart": "k3",
        "base-image SBOM": release.images["base-image"].digest,
        "api-rest SBOM": release.images["api-rest"].digest,
    }
    assert key.existing == []
    assert [named(reference) for reference in key.signed[1]] == ["release"]


def test_what_was_built_here_gets_provenance_with_its_materials(key: Project) -> None:
    unpublish(key)
    key.provenance.clear()
    release = key.publish(layouts=["api-rest"])
    assert key.existing == ["base-image"], "signed as it is"
    (name,) = key.provenance
    predicate = json.loads(key.provenance[name])
    definition = predicate["buildDefinition"]
    assert definition["externalParameters"] == {"branch": "develop", "image": name, "key": "k2"}
    materials = {item["name"]: item["digest"] for item in definition["resolvedDependencies"]}
    assert materials["source"] == {"gitCommit": "c0ffee"}
    base = release.images["base-image"].digest.removeprefix("sha256:")
    assert materials["base-image"] == {"sha256": base}
    assert materials["debian:trixie-slim"] == {"sha256": "debian"}
    assert predicate["runDetails"]["builder"]["id"].endswith(":ci")


def test_other_content_under_a_key_is_an_error_with_both_digests(key: Project) -> None:
    unpublish(key)
    forged = key.forge("api-rest", "k2")
    expected = oci_layout.digest(key.root / "layouts" / "api-rest")
    before = dict(key.fake.tags)
    with pytest.raises(SignatureError, match="1 of 2 is not what is made here") as caught:
        key.publish()
    line = f"/api-rest:k2: the registry holds {forged}, the same sources give {expected} here"
    assert caught.value.details.endswith(line)
    assert (key.signed, key.fake.tags) == ([], before)
    assert not [line for line in key.seen if line.split()[0] not in {"HEAD", "GET"}]


@pytest.mark.parametrize("is_chart", [True, False])
def test_other_content_under_the_charts_key_is_an_error_with_both_digests(
    key: Project, *, is_chart: bool
) -> None:
    unpublish(key)
    expected = key.fake.tags["platform-chart", "k3"]
    if is_chart:
        image = "{repository: evil/api-rest, tag: 2.0.0-dev.2, digest: sha256:evil}"
        forged = forge_chart(key, f"image: {image}\n")
    else:
        forged = key.forge("platform-chart", "k3")
    with pytest.raises(SignatureError) as caught:
        key.publish()
    line = f"/platform-chart:k3: the registry holds {forged}, the same sources give {expected}"
    assert line in caught.value.details
    assert (key.signed, key.fake.tags["platform-chart", "k3"]) == ([], forged)
    key.signed_by_us = {"platform-chart"}
    key.publish()


@pytest.mark.parametrize(
    ("tag", "valid"), [("2.0.0-rc.1", True), ("2.0.0", True), ("9.9.9", False), ("2.0.0-x", False)]
)
def test_a_chart_may_have_the_tags_of_its_candidate_and_no_others(
    key: Project, tag: str, *, valid: bool
) -> None:
    unpublish(key)
    image = key.fake.tags["api-rest", "k2"]
    assert key.served
    line = f'image: {{repository: {key.served[0]}/api-rest, tag: "{tag}", digest: "{image}"}}\n'
    forge_chart(key, line)
    with nullcontext() if valid else pytest.raises(SignatureError):
        key.publish()


def forge_chart(project: Project, values: str) -> str:
    """Put a chart with other values under the chart's key; its digest."""
    assert project.served
    registry, folder = Registry(project.served[0]), project.root / "platform-chart"
    replaced = {
        "Chart.yaml": "apiVersion: v2\nname: platform\nversion: 0.4.0-dev.2\n",
        "values.yaml": values,
    }
    packed = chart_package.package(
        folder, files.chart_files(folder), replaced, epoch=project.declaration.build.epoch
    )
    return chart_package.push(registry, f"{project.served[0]}/platform-chart", "k3", packed)


@pytest.mark.usefixtures("_with_sboms")
@pytest.mark.parametrize("signed_by_us", [True, False])
def test_an_unsigned_sbom_is_compared_with_the_image(
    key: Project, monkeypatch: pytest.MonkeyPatch, *, signed_by_us: bool
) -> None:
    unpublish(key)
    key.signed_by_us = {"base-image SBOM", "api-rest SBOM"} if signed_by_us else {"base-image SBOM"}
    monkeypatch.setattr(attached_sboms, "make", lambda _registry, _image, _layout: "{}")
    if signed_by_us:
        key.publish()
        return
    with pytest.raises(SignatureError) as caught:
        key.publish()
    (line,) = caught.value.details.splitlines()
    assert "/api-rest: the registry holds sha256:sbom, the same sources give sha256:" in line
    assert key.signed == []


@pytest.mark.usefixtures("_with_sboms")
def test_an_image_gets_one_sbom(project: Project) -> None:
    project.publish()
    assert project.attached == []
    signed = [named(reference) for reference in project.signed[0]]
    assert signed[-2:] == ["base-image SBOM", "api-rest SBOM"]


def test_an_sbom_that_is_attached_during_a_run_is_not_signed(
    key: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpublish(key)
    asked: list[str] = []

    def referrers(_registry: object, repository: str, _digest: str, _type: str) -> list[str]:
        """None at the first request, then a forged SBOM."""
        asked.append(repository)
        return ["sha256:forged"] if asked.count(repository) > 1 else []

    monkeypatch.setattr(Registry, "referrers", referrers)
    monkeypatch.setattr(attached_sboms, "attach", ATTACH)
    monkeypatch.setattr(
        attached_sboms, "make", lambda _registry, image, _layout: f'{{"of": "{image.name}"}}'
    )
    key.publish()
    signed = [reference for references in key.signed for reference in references]
    assert not [reference for reference in signed if reference.endswith("sha256:forged")]
    assert len(key.signed[0]) == len(KEYS) * 2 + 1, "each image and its SBOM, and the chart"


def test_a_release_of_another_builder_is_signed(
    key: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = key.fake.tags["release", "0.4.0-dev.2"]
    monkeypatch.setattr(publishing, "builder", lambda: "another@host")
    key.publish()
    assert key.signed[-1][0].endswith(digest)


def test_another_release_is_an_error_with_both_digests(key: Project) -> None:
    with pytest.raises(SignatureError) as caught:
        key.publish(change=lambda plan: dataclasses.replace(plan, commit="other"))
    digest = key.fake.tags["release", "0.4.0-dev.2"]
    line = f"/release:0.4.0-dev.2: the registry holds {digest}, the same sources give sha256:"
    assert line in caught.value.details
    assert key.signed == []


def test_a_release_of_another_line_is_kept_and_not_signed(key: Project) -> None:
    assert key.untrusted(without_chart) == []
    key.publish(layouts=[], change=without_chart)
    assert key.signed == []


PLATFORM_KEYS = {"linux/amd64": "k2-amd64", "linux/arm64": "k2-arm64"}


def for_platforms(plan: Plan) -> Plan:
    """The same plan with an index as the last image."""
    base, app = plan.images.all
    index = dataclasses.replace(app, platforms=PLATFORM_KEYS)
    return dataclasses.replace(plan, images=Images((base, index)))


@pytest.fixture
def index(project: Project) -> Path:
    """The layout of an index as the last image."""
    layout = project.root / "layouts" / "api-rest"
    shutil.rmtree(layout)
    write_index(layout, {"linux/amd64": b"1", "linux/arm64": b"2"})
    materials = files.output("materials", "api-rest_platforms@k2", root=project.root)
    materials.write_text('{"debian:trixie-slim": "sha256:debian"}')
    return layout


def test_each_image_of_an_index_is_put_under_the_key_of_its_platform(
    project: Project, index: Path
) -> None:
    project.publish(change=for_platforms)
    platforms = oci_layout.read(index).platforms
    for platform, digest in platforms.items():
        assert project.fake.tags["api-rest", PLATFORM_KEYS[platform]] == digest
    assert project.fake.tags["api-rest", "k2"] == oci_layout.digest(index)


@pytest.mark.usefixtures("index")
def test_a_platforms_image_that_was_pushed_before_keeps_its_key(project: Project) -> None:
    before = project.forge("api-rest", "k2-arm64")
    project.publish(change=for_platforms)
    assert project.fake.tags["api-rest", "k2-arm64"] == before


def test_each_image_of_an_index_has_an_sbom_and_is_signed_with_its_own_key(
    project: Project, index: Path
) -> None:
    release = project.publish(change=for_platforms)
    assert project.attached == ["base-image 0.1.0", "api-rest 0.1.0", "api-rest 0.1.0"]
    keys = {name.partition("@")[2]: key for name, key in project.signed_sources.items()}
    for platform, digest in oci_layout.read(index).platforms.items():
        assert keys[digest] == PLATFORM_KEYS[platform]
    assert keys[release.images["api-rest"].digest] == "k2"
