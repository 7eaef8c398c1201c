"""Keys come from the files and the declaration alone."""

import shutil
from pathlib import Path

import pytest

from delivery.build import planning
from delivery.errors import DeclarationError
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.registry.client import Registry
from tests.registries import FakeRegistry, serving, sha256

_CACHES = shutil.ignore_patterns(".venv", "__pycache__", ".hypothesis", ".mypy_cache")


@pytest.mark.parametrize(
    ("file", "changed"),
    [("base-image/Dockerfile", {"base-image", "api-rest"}), ("api-rest/app.py", {"api-rest"})],
)
def test_a_change_gives_an_image_and_those_built_on_it_other_keys(
    declaration: Declaration, sample: Path, file: str, changed: set[str]
) -> None:
    previous = planning.content_keys(declaration, sample)
    (sample / file).write_text("FROM scratch\nUSER 1\n")
    keys = planning.content_keys(declaration, sample)
    assert {name for name in keys if keys[name] != previous[name]} == changed


def test_another_upstream_image_changes_the_key(declaration: Declaration, sample: Path) -> None:
    newer = declaration.upstream["debian"].model_copy(update={"image": "debian:forky-slim"})
    changed = declaration.model_copy(update={"upstream": {**declaration.upstream, "debian": newer}})
    key, other = (planning.content_keys(each, sample) for each in (declaration, changed))
    assert key["base-image"] != other["base-image"]


def with_platforms(declaration: Declaration, *platforms: str) -> Declaration:
    build = declaration.build.model_copy(update={"platforms": platforms})
    return declaration.model_copy(update={"build": build})


BOTH = ("linux/amd64", "linux/arm64")


@pytest.mark.parametrize("platform", BOTH)
def test_an_index_has_the_key_of_each_platforms_own_image(
    declaration: Declaration, sample: Path, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    images = planning.plan_images(declaration, None, sample, platforms=BOTH).all
    monkeypatch.setattr(planning, "platform", lambda: platform)
    own = planning.content_keys(declaration, sample)
    assert {image.name: image.platforms[platform] for image in images} == own
    assert not {image.key for image in images} & {*own.values()}


def test_a_plan_is_for_the_declared_platforms_and_current_images_for_this_machines(
    declaration: Declaration, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "platform", lambda: "linux/amd64")
    both = with_platforms(declaration, *BOTH)
    planned = planning.plan_checkout(both, None, root=clone).images.all
    assert [list(image.platforms) for image in planned] == [[*BOTH], [*BOTH]]
    current = planning.plan_images(both, None, clone).all
    assert [(image.platforms, image.is_index) for image in current] == [({}, False)] * 2
    assert {image.name: image.key for image in current} == planning.content_keys(both, clone)


def test_this_machines_platform_alone_changes_nothing(
    declaration: Declaration, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "platform", lambda: "linux/arm64")
    declared = planning.plan_checkout(with_platforms(declaration, "linux/arm64"), None, root=clone)
    assert declared == planning.plan_checkout(declaration, None, root=clone)


def test_an_image_for_another_platform_alone_has_that_platforms_key(
    declaration: Declaration, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "platform", lambda: "linux/arm64")
    keys = planning.content_keys(declaration, clone)
    monkeypatch.setattr(planning, "platform", lambda: "linux/amd64")
    declared = with_platforms(declaration, "linux/arm64")
    for image in planning.plan_checkout(declared, None, root=clone).images.all:
        assert (image.key, image.is_index) == (keys[image.name], False)
        assert image.platforms == {"linux/arm64": keys[image.name]}


def test_one_request_for_each_image(declaration: Declaration, sample: Path) -> None:
    registry = FakeRegistry()
    keys = planning.content_keys(declaration, sample)
    registry.add("base-image", keys["base-image"], b"manifest")
    with serving(registry) as (address, seen):
        images = planning.plan_images(declaration.with_registry(address), Registry(address), sample)
    assert [image.digest for image in images.all] == [sha256(b"manifest"), ""]
    asked = [f"HEAD /v2/{name}/manifests/{key}" for name, key in keys.items()]
    assert sorted(seen) == sorted(asked)  # together


def test_a_plan_has_versions_tags_and_digests(declaration: Declaration, clone: Path) -> None:
    with serving(FakeRegistry()) as (address, seen):
        declared = declaration.with_registry(address)
        plan = planning.plan_checkout(declared, Registry(address), root=clone)
    assert plan.decision.environment == "develop"
    parts = {(part.version, part.tag, part.digest) for part in plan.parts}
    assert parts == {("0.1.0-dev.1", "0.1.0-dev.1", "")}
    assert [line.split()[0] for line in seen] == ["HEAD", "HEAD", "HEAD"]
    assert plan.problems == ()


def test_without_a_registry_everything_is_planned_for_any_branch_with_a_note(
    declaration: Declaration, clone: Path
) -> None:
    declared = declaration.with_registry("localhost:1")
    plan = planning.plan_checkout(declared, None, "release/0.1", clone)
    assert (plan.decision.environment, plan.version) == ("staging", "0.1.0-rc.1")
    assert len(plan.images.missing) == 2
    assert plan.notes[-1] == "the registry localhost:1 does not answer: its content is unknown"


def test_the_key_of_the_chart_changes_with_its_files_and_its_images(
    declaration: Declaration, clone: Path
) -> None:
    def chart() -> str:
        return planning.plan_checkout(declaration, None, root=clone).chart.key

    keys = [chart()]
    for file in ("platform-chart/templates.yaml", "api-rest/app.py", "base-image/new"):
        (clone / file).write_text("new")
        keys.append(chart())
    (clone / "platform-chart" / ".helmignore").write_text("notes.md\n")
    keys.append(chart())
    (clone / "platform-chart" / "notes.md").write_text("ignored")
    assert len({*keys, chart()}) == 5


def test_a_plan_is_followed_until_it_is_outdated(
    declaration: Declaration, clone: Path, tmp_path: Path
) -> None:
    declared = declaration.with_registry("localhost:1")
    plan = planning.plan_checkout(declared, None, root=clone)
    file = tmp_path / "plan.json"
    file.write_text(plan.to_json())
    planning.check_unchanged(file, plan)
    (clone / "api-rest" / "app.py").write_text("pass")
    other = planning.plan_checkout(declared, None, root=clone)
    with pytest.raises(DeclarationError, match="it is outdated") as caught:
        planning.check_unchanged(file, other)
    assert "localhost:1/api-rest: content key" in caught.value.details
    hint = f"write a new plan by `./run inv plan --file {file}`"
    assert caught.value.hint == hint
    for content, reason in ((b"{", "it is invalid"), (b"\xff", "it is not text in UTF-8")):
        file.write_bytes(content)
        with pytest.raises(DeclarationError, match=f"read the plan {file}: {reason}") as caught:
            planning.check_unchanged(file, plan)
        assert caught.value.hint == hint
    file.unlink()
    with pytest.raises(DeclarationError) as caught:
        planning.check_unchanged(file, plan)
    assert caught.value.message == f"cannot read the plan {file}: No such file or directory"


def test_a_change_in_the_shared_library_gives_both_apps_new_keys_and_nothing_else(
    tmp_path: Path,
) -> None:
    declaration = files.load_declaration()
    for image in declaration.images.values():
        for folder in image.folders:
            shutil.copytree(ROOT / folder, tmp_path / folder, dirs_exist_ok=True, ignore=_CACHES)
    before = planning.content_keys(declaration, tmp_path)
    (tmp_path / "ledger" / "tests" / "test_new.py").write_text("")
    assert planning.content_keys(declaration, tmp_path) == before
    (tmp_path / "ledger" / "src" / "ledger" / "new.py").write_text("")
    after = planning.content_keys(declaration, tmp_path)
    changed = {name for name, key in after.items() if key != before[name]}
    assert changed == {"api-rest", "async-worker"}
