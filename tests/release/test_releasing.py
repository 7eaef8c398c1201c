"""Content of the registry without our signature is built here again, with a message."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from delivery.build import building, planning
from delivery.build.plan import Images, Plan, make_images
from delivery.errors import DeclarationError, EngineError, RegistryError, SignatureError
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

DIGESTS = {name: f"sha256:{key * 32}" for name, key in KEYS.items()}
ENGINE, CLASSIC = (
    cast("Engine", SimpleNamespace(oci_layouts=layouts)) for layouts in (True, False)
)


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
        releasing.publish(self.declaration, cast("Registry", None), plan)

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
    assert line.startswith(
        "build again api-rest: in the registry, no signature of our key names these sources"
    )


@pytest.mark.parametrize(
    ("engine", "reason", "hint"),
    [
        (
            EngineError("cannot use a Docker engine: none answers", hint="start it"),
            ", and no engine can do that: none answers",
            "start it",
        ),
        (
            CLASSIC,
            ": builds of this engine, with the classic image store, are not reproducible",
            "containerd-snapshotter",
        ),
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

    def build(_engine: object, _declaration: object, _images: object, **options: object) -> None:
        assert options == {"ensured": names}

    monkeypatch.setattr(planning, "content_keys", lambda _declaration: {})
    monkeypatch.setattr(planning, "plan_images", lambda _declaration, _registry: images)
    monkeypatch.setattr(local_registry, "check", lambda _declaration: None)
    monkeypatch.setattr(local_registry, "ensure", lambda _engine, _declaration: None)
    monkeypatch.setattr(upstreams, "ensure", lambda _engine, _declaration, name: names.append(name))
    monkeypatch.setattr(building, "build", build)
    monkeypatch.setattr(publishing, "push_images", lambda *_arguments: DIGESTS)
    monkeypatch.setattr(publishing, "write", lambda release: release)
    releasing.ensure_images(CLASSIC, declaration)
    assert names == ["debian", "registry"]


@pytest.mark.parametrize("failing", ["keys", "registry"])
def test_what_cannot_be_built_is_an_error_before_the_long_steps(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def long(*_arguments: object) -> None:
        raise AssertionError("no upstream image is pulled or built")

    def unreadable(_declaration: object) -> None:
        raise DeclarationError("a file cannot be read")

    monkeypatch.setattr(upstreams, "ensure_all", long)
    monkeypatch.setattr(
        planning, "content_keys", unreadable if failing == "keys" else lambda _declaration: {}
    )
    with pytest.raises(DeclarationError if failing == "keys" else RegistryError):
        releasing.ensure_images(cast("Engine", None), declaration.with_registry("registry.invalid"))
