"""Which files go where, and what a README says is to be done with them."""

import pytest

from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration
from delivery.split.repositories import (
    argument,
    broken_links,
    build_commands,
    chosen,
    commands_to_test,
    history_refs,
    moved,
    renames,
)

README = """\
# api

```sh
docker build --tag api \\
    --build-arg X=1 api  # from the root
echo "docker build --tag no"
curl --json '{"a":
    1}' http://localhost
```

```sh
docker build --secret id=ca,src=/ca -t api api
docker build -t worker worker
```

## Test

Text.

```console
$ not this
```

```sh
pytest
ruff check
```

```sh
pytest -m engine
```

## Release

```sh
git tag
```
"""


def test_one_folder_becomes_the_root_and_has_the_licence(declaration: Declaration) -> None:
    renamed = renames(declaration, "base-image")
    assert renamed == {
        ".editorconfig": ".editorconfig",
        ".gitignore": ".gitignore",
        "LICENSE": "LICENSE",
        "base-image/": "",
    }


def test_several_folders_stay_beside_each_other_with_a_root_of_their_own(declaration: Declaration) -> None:
    apps = declaration.subprojects["apps"].model_copy(update={"folders": ("api-rest", "async-worker")})
    several = declaration.model_copy(update={"subprojects": {**declaration.subprojects, "apps": apps}})
    renamed = renames(several, "apps")
    assert renamed["api-rest/"] == "api-rest/"
    assert renamed["repos/apps/"] == ""
    assert "docker-compose.yaml" in renamed


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("base-image/rootfs/etc", "rootfs/etc"),
        ("LICENSE", "LICENSE"),
        ("base-image-2/x", None),
        ("api-rest/LICENSE", None),
    ],
)
def test_a_path_is_where_its_folder_goes(declaration: Declaration, path: str, there: str | None) -> None:
    assert moved(renames(declaration, "base-image"), path) == there


def test_all_subprojects_are_split_off_or_the_one_that_is_named(declaration: Declaration) -> None:
    assert chosen(declaration, "") == ["base-image", "apps", "platform-chart"]
    assert chosen(declaration, "apps") == ["apps"]
    with pytest.raises(DeclarationError, match="--only chart is no subproject"):
        chosen(declaration, "chart")


BRANCHES = {name: f"refs/heads/{name}" for name in ("main", "develop", "feature/x")}


@pytest.mark.parametrize(
    ("current", "branches", "wanted"),
    [
        ("main", BRANCHES, ("main", {"main": "HEAD", "develop": "refs/heads/develop"})),
        ("develop", BRANCHES, ("develop", {"main": "refs/heads/main", "develop": "HEAD"})),
        ("", {"master": "refs/remotes/origin/master"}, ("master", {"master": "HEAD"})),
        ("", {}, ("main", {"main": "HEAD"})),
        ("feature/x", {"feature/x": "refs/heads/feature/x"}, ("feature/x", {"feature/x": "HEAD"})),
    ],
)
def test_the_lines_go_along_with_what_is_checked_out(
    declaration: Declaration, current: str, branches: dict[str, str], wanted: tuple[str, dict[str, str]]
) -> None:
    assert history_refs(declaration, current, branches) == wanted


def test_the_test_commands_are_the_first_block_of_their_section() -> None:
    assert commands_to_test(README) == "pytest\nruff check\n"
    assert commands_to_test("# api\n\n## Test\n\nSee there.\n\n## Other\n\n```sh\npytest\n```\n") == ""
    assert commands_to_test("# api\n") == ""


def test_images_are_built_as_the_readme_says_under_names_of_their_own() -> None:
    found = build_commands(
        README, tags={"api": "check/api"}, arguments={"BASE_IMAGE": "base"}, extra=["--secret=id=ca"]
    )
    given = ["--build-arg", "BASE_IMAGE=base", "--secret=id=ca"]
    assert found == {
        "api": ["docker", "build", "--tag", "check/api", *given, "--build-arg", "X=1", "api"],
        "worker": ["docker", "build", "-t", "worker", *given, "worker"],
    }


def test_a_dockerfiles_argument_is_named_as_the_image() -> None:
    assert (argument("base-image"), argument("debian")) == ("BASE_IMAGE", "DEBIAN_IMAGE")


@pytest.mark.parametrize(
    ("link", "broken"),
    [
        ("other.md", False),
        ("../README.md", False),
        ("../docs", False),
        ("../docs/", False),
        ("..", False),
        ("./other.md#part", False),
        ("#part", False),
        ("https://example.com/x", False),
        ("missing.md", True),
        ("../../above/README.md", True),
        ("../../README.md", True),
    ],
)
def test_a_link_leads_to_a_file_or_folder_of_the_repository(link: str, *, broken: bool) -> None:
    found = broken_links({"docs/page.md": f"See [it]({link})."}, ["README.md", "docs/page.md", "docs/other.md"])
    assert found == ([f"docs/page.md: {link}"] if broken else [])


def test_what_an_example_shows_is_no_link() -> None:
    assert broken_links({"a.md": "```\n[x](missing)\n```\n"}, ["a.md"]) == []
