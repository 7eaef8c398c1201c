"""One graph for what is missing; a base is never a stale one."""

from pathlib import Path

from delivery.core.declaration import Declaration
from delivery.core.plan import make_plan
from delivery.steps.build import targets

KEYS = {"base-image": "k1", "api-rest": "k2"}
HELD = "sha256:" + "a" * 64


def test_an_app_stands_on_the_base_that_is_built_with_it(declaration: Declaration, house: Path) -> None:
    base, app = targets(declaration, make_plan(declaration, KEYS, {}), house)
    assert base.contexts == {}
    assert app.contexts == {"base-image": "target:base-image"}
    assert app.tag == "localhost:5001/api-rest:k2"
    assert app.layout == house / ".delivery" / "layouts" / "api-rest"


def test_an_app_alone_stands_on_the_base_that_the_registry_holds(declaration: Declaration, house: Path) -> None:
    (app,) = targets(declaration, make_plan(declaration, KEYS, {"base-image": HELD}), house)
    assert app.contexts == {"base-image": f"docker-image://localhost:5001/base-image@{HELD}"}


def test_the_build_gets_the_declared_arguments_and_the_version(declaration: Declaration, house: Path) -> None:
    (app,) = targets(declaration, make_plan(declaration, KEYS, {"base-image": HELD}), house)
    assert app.arguments == {
        "SOURCE_DATE_EPOCH": "1767225600",
        "DEBIAN_IMAGE": "debian:trixie-slim",
        "VERSION": "0.1.0",
    }
