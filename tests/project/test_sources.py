"""The versions and published paths of subprojects, on real repositories."""

import pytest

from delivery.errors import DeclarationError
from delivery.project import gather
from delivery.project.declaration import Declaration
from delivery.project.facts import Facts
from tests.conftest import DECLARATION
from tests.project.examples import NAMES, PROJECT
from tests.project.test_gather import repository
from tests.repositories import Repository

__all__ = ["repository"]

PATCHES = tuple(f"{name}-v1.0.1" for name in NAMES)


def look(repository: Repository, declaration: Declaration = PROJECT) -> Facts:
    return gather.load_checkout(declaration, repository.root, "feature/x").facts


def wider(folder: str) -> Declaration:
    """A declaration in which the apps have another folder."""
    apps = PROJECT.subprojects["apps"].model_copy(update={"folders": ("api-rest", folder)})
    return PROJECT.model_copy(update={"subprojects": {**PROJECT.subprojects, "apps": apps}})


def test_published_paths_are_those_in_images_and_the_chart(repository: Repository) -> None:
    paths = {
        "base-image": ["base-image/rootfs/etc/x", "base-image/.dockerignore"],
        "apps": ["api-rest/src/deep/a.py", "api-rest/pyproject.toml", "api-rest/Dockerfile"],
        "platform-chart": [
            "platform-chart/Chart.yaml",
            "platform-chart/templates/a",
            "platform-chart/.helmignore",
        ],
    }
    more = [
        "README.md",
        "base-image/VERSION",
        "base-image/README.md",
        "api-rest/VERSION",
        "api-rest/tests/x",
        "platform-chart/tests/x",
        "api-rest-2/src/x",
    ]
    repository.write("api-rest/VERSION", "1.0.0\n")
    for path in [*(path for listed in paths.values() for path in listed), *more]:
        file = repository.root / path
        repository.write(path, f"{file.read_text() if file.exists() else ''}\n")
    repository.commit("chore: everything")
    expected = {name: frozenset(listed) for name, listed in paths.items()}
    assert look(repository).published_paths == expected


def test_a_removed_file_counts(repository: Repository) -> None:
    repository.commit("feat: x", "api-rest/src/a")
    repository.git("rm", "--quiet", "api-rest/src/a")
    repository.commit("fix: no x")
    assert look(repository).published_paths["apps"] == {"api-rest/src/a"}


def test_a_folder_without_an_image_counts_whole(repository: Repository) -> None:
    repository.write("notes/VERSION", "1.0.0\n")
    repository.commit("docs: x", "notes/a")
    assert look(repository, wider("notes")).published_paths["apps"] == {"notes/a", "notes/VERSION"}


def test_a_further_build_context_counts_as_its_dockerignore_says(repository: Repository) -> None:
    image = PROJECT.images["api-rest"].model_copy(update={"contexts": {"library": "library"}})
    images = {**PROJECT.images, "api-rest": image}
    declaration = wider("library").model_copy(update={"images": images})
    repository.write("library/VERSION", "1.0.0\n")
    repository.write("library/.dockerignore", "*\n!src\n")
    repository.commit("feat: x", "library/src/a", "library/tests/a")
    published = look(repository, declaration).published_paths["apps"]
    assert published == {"library/src/a", "library/.dockerignore"}


def test_versions_and_changelogs_are_read_from_the_files(repository: Repository) -> None:
    repository.write("base-image/VERSION", "1.1.0\n")
    repository.write("api-rest/pyproject.toml", '[project]\nversion = "1.2.0"\n')
    repository.write("platform-chart/Chart.yaml", 'version: "1.3.0" # new\n')
    repository.write("api-rest/CHANGELOG.md", "# It\n")
    given = look(repository)
    assert tuple(given.file_versions[name] for name in NAMES) == ("1.1.0", "1.2.0", "1.3.0")
    assert given.changelogs == {"base-image": "", "apps": "# It\n", "platform-chart": ""}


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        ("base-image/VERSION", "next\n", "'next' is no version"),
        ("api-rest/pyproject.toml", '[project]\nversion = "1.2.0.dev1"\n', "dev1' is no version"),
        ("platform-chart/Chart.yaml", "name: x\n", "Chart.yaml has none"),
        ("platform-chart/Chart.yaml", "- : [", "Chart.yaml has none"),
        ("platform-chart/Chart.yaml", "version: 1.2\n", "'1.2' is no version"),
        ("worker/VERSION", "1.1.0\n", r"api-rest has 1\.0\.0, worker has 1\.1\.0"),
    ],
)
def test_a_missing_invalid_or_different_version_is_an_error(
    repository: Repository, path: str, text: str, problem: str
) -> None:
    repository.write(path, text)
    declaration = wider("worker") if path.startswith("worker") else PROJECT
    with pytest.raises(DeclarationError, match=problem):
        look(repository, declaration)


CHANGED = "delivery.toml has changed the build arguments of base-image"
UNSAID = "delivery.toml of apps-v1.0.1 does not say how the images were built"
API_REST = '[images.api-rest]\ncontext = "api-rest"\nbase = "base-image"\nbuilder = "debian"\n'


@pytest.mark.parametrize(
    ("then", "anew", "because"),
    [
        (DECLARATION, (), ""),
        (DECLARATION.replace("spot = {", "other = {"), (), ""),
        (DECLARATION.replace("registry:2.8.3", "registry:2"), (), ""),
        (DECLARATION.replace('recipe = "upstream/debian"', 'recipe = "x"\nolder = "key"'), (), ""),
        (DECLARATION.replace("[cluster]", "[unknown]"), (), ""),
        (DECLARATION.replace("epoch = 1767225600", "epoch = 1"), NAMES, f"{CHANGED}, api-rest"),
        (DECLARATION.replace("trixie-slim", "old"), NAMES, f"{CHANGED}, api-rest"),
        (
            DECLARATION.replace('builder = "debian"', ""),
            NAMES[1:],
            "delivery.toml has changed the build arguments of api-rest",
        ),
        (
            DECLARATION.replace(API_REST, ""),
            NAMES[1:],
            "api-rest is new in delivery.toml since apps-v1.0.1",
        ),
        ("not TOML", NAMES, UNSAID),
        ("[build]\nepoch = 1767225600\n", NAMES, UNSAID),
        ("build = 1\nupstream = 2\nimages = 3\n", NAMES, UNSAID),
        ("[build]\n[upstream]\n[images.base-image]\n[images.api-rest]\n", NAMES, UNSAID),
        ("", NAMES, "delivery.toml did not exist at apps-v1.0.1"),
    ],
)
def test_other_build_arguments_than_at_the_last_tag_are_a_change(
    repository: Repository, then: str, anew: tuple[str, ...], because: str
) -> None:
    if then:
        repository.write("delivery.toml", then)
    else:
        repository.git("rm", "--quiet", "delivery.toml")
    repository.commit("chore: as it was")
    repository.tag(*PATCHES)
    repository.commit("chore: as it is", **{"delivery.toml": DECLARATION})
    given = look(repository).build_changes
    assert tuple(given) == anew
    assert given.get("apps", "") == because
