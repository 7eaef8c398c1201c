"""Content of the registry without our signature is built here again, with a message."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from delivery.build import building, planning
from delivery.build.plan import Images, Plan, make_images
from delivery.errors import (
    DeclarationError,
    DeliveryError,
    EngineError,
    RegistryError,
    SignatureError,
)
from delivery.host import engines, upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.project.gitflow import Line
from delivery.registry import local_registry
from delivery.registry.client import Registry
from delivery.release import publishing, releasing, signing
from delivery.release.publishing import Built
from tests.build.examples import KEYS, plan_of
from tests.project.examples import checkout, decision, versions

PLATFORMS = ("linux/amd64", "linux/arm64")
DIGESTS = {name: f"sha256:{key * 32}" for name, key in KEYS.items()}
ENGINE, CLASSIC = (
    cast("Engine", SimpleNamespace(oci_layouts=layouts)) for layouts in (True, False)
)


@pytest.fixture(autouse=True)
def _no_engine_yet() -> None:
    releasing._engine.cache_clear()


@dataclass
class Pusher:
    """Publish content of the registry, some of it untrusted; notes what was built and published."""

    declaration: Declaration
    patch: pytest.MonkeyPatch
    built: list[str] = field(default_factory=list)
    published: list[tuple[object, list[str]]] = field(default_factory=list)
    without_key: str = ""
    """The environment for which the key is missing."""

    def push(self, untrusted: Sequence[str], engine: Engine | EngineError) -> None:
        """Publish on develop, with an engine or the error of a missing one."""
        self.patch.setattr(publishing, "untrusted", lambda *_: untrusted)
        self.patch.setattr(signing, "check_key", self._check_key)
        self.patch.setattr(engines, "ensure", lambda: self._ensure(engine))
        self.patch.setattr(building, "build", self._build)
        self.patch.setattr(publishing, "publish", self._publish)
        develop = decision(Line.DEVELOP, "develop", "develop")
        plan = plan_of(checkout(self.declaration, develop, versions()), DIGESTS)
        releasing.publish(self.declaration, cast("Registry", None), plan, Built().check)

    def _check_key(self, _declaration: object, environment: str) -> None:
        if environment == self.without_key:
            raise SignatureError("there is no key")

    def _build(self, _engine: object, _declaration: object, images: Images) -> dict[str, Path]:
        self.built += [image.name for image in images.missing]
        return {image.name: Path(image.name) for image in images.missing}

    def _publish(self, _registry: object, _declaration: object, plan: Plan, built: Built) -> None:
        assert plan.images.missing == (), "what is built again is not pushed"
        self.published.append((built.engine, list(built.layouts)))

    @staticmethod
    def _ensure(engine: Engine | EngineError) -> Engine:
        if isinstance(engine, EngineError):
            raise engine
        return engine


@pytest.fixture
def pusher(declaration: Declaration, monkeypatch: pytest.MonkeyPatch) -> Pusher:
    return Pusher(declaration, monkeypatch)


def test_signed_content_needs_no_engine(pusher: Pusher) -> None:
    pusher.push([], EngineError("none"))
    assert (pusher.built, pusher.published) == ([], [(None, [])])


def test_a_missing_key_is_an_error_before_a_build(pusher: Pusher) -> None:
    pusher.without_key = "develop"
    with pytest.raises(SignatureError, match="there is no key"):
        pusher.push(["api-rest"], ENGINE)
    assert (pusher.built, pusher.published) == ([], [])


def test_untrusted_content_is_built_again_with_a_message(
    pusher: Pusher, capsys: pytest.CaptureFixture[str]
) -> None:
    pusher.push(["api-rest"], ENGINE)
    assert (pusher.built, pusher.published) == (["api-rest"], [(ENGINE, ["api-rest"])])
    (line,) = capsys.readouterr().out.splitlines()
    reason = "in the registry, no signature of our key names these sources"
    assert line.startswith(f"build again api-rest: {reason}")


NO_ENGINE = EngineError("cannot use a Docker engine: none answers", hint="start it")
UNREPEATABLE = "with the classic image store, are not reproducible"


@pytest.mark.parametrize(
    ("engine", "reason", "hint"),
    [
        (NO_ENGINE, ", and no engine can do that: none answers", "start it"),
        (CLASSIC, f": builds of this engine, {UNREPEATABLE}", "containerd-snapshotter"),
    ],
)
def test_without_an_engine_with_reproducible_builds_the_error_has_the_reason(
    pusher: Pusher, engine: Engine | EngineError, reason: str, hint: str
) -> None:
    with pytest.raises(EngineError) as caught:
        pusher.push(["base-image", "api-rest"], engine)
    assert caught.value.message.startswith(
        "cannot sign base-image, api-rest: they have to be built again, since anyone may have "
        f"pushed them{reason}"
    )
    assert hint in caught.value.hint
    assert (pusher.built, pusher.published) == ([], [])


def test_each_upstream_image_is_ensured_once(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    images = make_images(declaration, KEYS, {})

    def ensure(_engine: object, _declaration: object, wanted: list[str]) -> dict[str, str]:
        names.extend(wanted)
        return dict.fromkeys(wanted, "pulled")

    def build(_engine: object, _declaration: object, _images: object, **options: object) -> None:
        assert options == {"ensured": dict.fromkeys(names, "pulled")}

    monkeypatch.setattr(planning, "content_keys", lambda _declaration: {})
    monkeypatch.setattr(planning, "plan_images", lambda _declaration, _registry: images)
    monkeypatch.setattr(local_registry, "refusal", lambda _declaration: None)
    monkeypatch.setattr(local_registry, "ensure", lambda _engine, _declaration: None)
    monkeypatch.setattr(upstreams, "ensure", ensure)
    monkeypatch.setattr(building, "build", build)
    monkeypatch.setattr(publishing, "push_images", lambda *_arguments: DIGESTS)
    monkeypatch.setattr(publishing, "write", lambda release: release)
    releasing.ensure_images(CLASSIC, declaration)
    assert names == ["debian", "registry"]


@pytest.mark.parametrize(("digests", "built"), [(DIGESTS, 0), ({}, 1)])
def test_images_are_pushed_by_key_and_need_an_engine_only_to_be_built(
    declaration: Declaration,
    monkeypatch: pytest.MonkeyPatch,
    digests: dict[str, str],
    built: int,
) -> None:
    engines_used: list[object] = []
    images = make_images(declaration, KEYS, digests)

    def push(_registry: object, _images: object, made: Built) -> dict[str, str]:
        engines_used.extend(filter(None, [made.engine]))
        return DIGESTS

    asked: list[object] = []

    def plan_images(_declaration: object, _registry: object, *, platforms: object) -> Images:
        asked.append(platforms)
        return images

    monkeypatch.setattr(planning, "plan_images", plan_images)
    monkeypatch.setattr(local_registry, "refusal", lambda _declaration: None)
    monkeypatch.setattr(engines, "ensure", lambda: CLASSIC)
    monkeypatch.setattr(building, "build", lambda *_: {})
    monkeypatch.setattr(publishing, "push_images", push)
    monkeypatch.setattr(publishing, "write", lambda release: release)
    release = releasing.push_images(declaration, cast("Registry", None), PLATFORMS)
    assert asked == [PLATFORMS]
    assert len(engines_used) == built
    assert {name: part.digest for name, part in release.images.items()} == DIGESTS
    assert (release.version, release.chart) == ("", None)


def test_images_that_cannot_be_pushed_are_not_built(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make_images(declaration, KEYS, {})
    monkeypatch.setattr(planning, "plan_images", lambda *_, **__: images)
    monkeypatch.setattr(local_registry, "refusal", lambda _declaration: RegistryError("no login"))
    monkeypatch.setattr(engines, "ensure", lambda: pytest.fail("no engine is needed"))
    with pytest.raises(RegistryError, match="no login"):
        releasing.push_images(declaration, cast("Registry", None))


@pytest.mark.parametrize("error", [DeclarationError, RegistryError])
def test_what_cannot_be_built_is_an_error_before_the_long_steps(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch, error: type[DeliveryError]
) -> None:
    def long(*_arguments: object) -> None:
        raise AssertionError("no upstream image is pulled or built")

    def content_keys(_declaration: object) -> None:
        if error is DeclarationError:
            raise DeclarationError("a file cannot be read")

    monkeypatch.setattr(upstreams, "ensure", long)
    monkeypatch.setattr(planning, "content_keys", content_keys)
    with pytest.raises(error):
        releasing.ensure_images(cast("Engine", None), declaration.with_registry("registry.invalid"))
