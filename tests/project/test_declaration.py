"""delivery.toml is read whole, and every mistake in it is named at once."""

import pytest

from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration, image_variable, parse

GOOD = """\
name = "sample"

[registry]
address = "localhost:5001"

[build]
epoch = 1767225600

[upstream.debian]
image = "debian:trixie-slim"
recipe = "upstream/debian"

[images.app]
context = "app"
base = "ground"
builder = "debian"

[images.ground]
context = "ground"
base = "debian"

[cluster]
node = "debian"
pods = "198.18.0.0/17"
services = "198.18.128.0/17"

[cluster.workers]
spot = { "example.com/capacity-type" = "spot" }
plain = {}

[chart]
folder = "chart"

[subprojects.ground]
folders = ["ground"]
changelog = "ground/CHANGELOG.md"

[subprojects.app]
folders = ["app"]
changelog = "app/CHANGELOG.md"
after = ["ground"]

[subprojects.chart]
folders = ["chart"]
changelog = "chart/CHANGELOG.md"
after = ["app"]

[gitflow]
develop = ["develop"]
candidate = ["release/*"]
release = ["main"]

[gitflow.deploys]
release = "production"

[environments.production]
contexts = ["production"]
namespace = "platform"
values = "chart/values.yaml"
"""
FOLDERS = {"app", "ground", "chart", "upstream/debian"}


def read(text: str) -> Declaration:
    return parse(text, is_folder=lambda path: path in FOLDERS)


def mistakes(text: str) -> list[str]:
    with pytest.raises(DeclarationError) as caught:
        read(text)
    return caught.value.details.splitlines()


def test_reads_what_is_declared() -> None:
    declaration = read(GOOD)
    assert declaration.registry.address == "localhost:5001"
    assert declaration.images["app"].base == "ground"


def test_orders_images_after_what_they_stand_on() -> None:
    assert read(GOOD).images_in_order() == ["ground", "app"]


def test_orders_subprojects_after_what_they_are_made_from() -> None:
    text = GOOD.replace("[subprojects.ground]", "[subprojects.a-last]").replace(
        'after = ["ground"]', 'after = ["a-last"]'
    )
    assert read(text).subprojects_in_order() == ["a-last", "app", "chart"]
    assert read(
        GOOD.replace('after = ["ground"]', 'after = ["chart"]').replace('after = ["app"]', "")
    ).subprojects_in_order() == [
        "ground",
        "chart",
        "app",
    ]


def test_components_are_the_images_that_no_other_stands_on() -> None:
    assert read(GOOD).components() == ["app"]


def test_an_image_belongs_to_the_subproject_of_its_folder() -> None:
    assert [read(GOOD).subproject_of(folder) for folder in ("ground", "app", "chart")] == [
        "ground",
        "app",
        "chart",
    ]


def test_hands_upstream_images_to_the_build_as_arguments() -> None:
    expected = {"SOURCE_DATE_EPOCH": "1767225600", "DEBIAN_IMAGE": "debian:trixie-slim"}
    assert read(GOOD).build_arguments("ground") == expected
    assert read(GOOD).build_arguments("app") == expected


def test_names_every_mistake_with_its_line_and_what_is_allowed() -> None:
    text = (
        GOOD.replace('context = "app"', 'contxt = "app"')
        .replace("epoch = 1767225600", 'epoch = "today"')
        .replace('image = "debian:trixie-slim"', 'image = "debian"')
    )
    rules = "allowed: whole seconds since 1970 that fit an image's date, as in 1767225600"
    pinned = "allowed: a name with a pinned tag, as in debian:trixie-slim"
    known = (
        'not a key that is known here; did you mean "context"? (allowed: base, builder, context)'
    )
    assert mistakes(text) == [
        f"delivery.toml:7: build.epoch: 'today' is not allowed ({rules})",
        f"delivery.toml:10: upstream.debian.image: 'debian' is not allowed ({pinned})",
        "delivery.toml:13: images.app.context: is missing",
        f"delivery.toml:14: images.app.contxt: {known}",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            'base = "ground"',
            'base = "grnd"',
            '15: images.app.base: "grnd" is no image (known: app, debian, ground)',
        ),
        (
            'builder = "debian"',
            'builder = "ground"',
            '16: images.app.builder: "ground" is no upstream image (known: debian)',
        ),
        ('base = "debian"', 'base = "app"', '15: images.app.base: "ground" stands on app itself'),
        (
            'context = "ground"',
            'context = "cellar"',
            '19: images.ground.context: there is no folder "cellar"',
        ),
        (
            'context = "ground"',
            'context = "../ground"',
            "19: images.ground.context: must be a path inside the project",
        ),
        (
            "[images.ground]",
            "[images.Ground]",
            "18: images.Ground: not a name (allowed: lower-case letters",
        ),
        (
            'name = "sample"',
            "name = 7",
            "1: name: 7 is not allowed (allowed: lower-case letters, digits and single hyphens)",
        ),
        (
            'node = "debian"',
            'node = "ground"',
            '23: cluster.node: "ground" is no upstream image (known: debian)',
        ),
        (
            'pods = "198.18.0.0/17"',
            'pods = "198.18.1.0/17"',
            "24: cluster.pods: '198.18.1.0/17' is not an IPv4 subnet",
        ),
        (
            'pods = "198.18.0.0/17"',
            'pods = "198.18.0.0/24"',
            "24: cluster.pods: '198.18.0.0/24' is not fit: from /12",
        ),
        (
            '"198.18.128.0/17"',
            '"198.18.0.0/18"',
            "25: cluster.services: 198.18.0.0/18 overlaps with pods, 198.18.0.0/17",
        ),
        (
            '= "spot"',
            '= "a b"',
            "28: cluster.workers.spot.example.com/capacity-type: 'a b' is not allowed",
        ),
        ("[cluster]", "[clusters]", "22: clusters: not a key that is known here"),
        (
            "[registry]",
            "[registri]",
            '3: registri: not a key that is known here; did you mean "registry"?',
        ),
        ("epoch = 1767225600", "epoch = ", "7: not TOML: Invalid value"),
        ('folder = "chart"', 'folder = "charts"', '32: chart.folder: there is no folder "charts"'),
        (
            'folders = ["chart"]',
            'folders = ["app"]',
            '39: subprojects.app.folders: "app" belongs to another subproject too',
        ),
        (
            'folders = ["chart"]',
            'folders = ["attic"]',
            '44: subprojects.chart.folders: there is no folder "attic"',
        ),
        (
            'folders = ["app"]',
            'folders = "app"',
            "39: subprojects.app.folders: 'app' is not allowed (allowed: a list",
        ),
        (
            'after = ["ground"]',
            'after = ["cellar"]',
            '41: subprojects.app.after: "cellar" is no subproject (known: app, chart',
        ),
        (
            'after = ["ground"]',
            'after = ["chart"]',
            '41: subprojects.app.after: "chart" is made from app itself',
        ),
        (
            'after = ["ground"]',
            'after = ["app"]',
            '41: subprojects.app.after: "app" is made from app itself',
        ),
        ('"release/*"', '"release/*/x"', "50: gitflow.candidate.0: 'release/*/x' is not allowed"),
        (
            'release = "production"',
            'release = "prod"',
            '54: gitflow.deploys.release: "prod" is no environment (known: production)',
        ),
        (
            'release = "production"',
            'releases = "production"',
            "54: gitflow.deploys.releases: not a key that is known here (allowed: 'develop', 'candidate' or",
        ),
        (
            'values = "chart/values.yaml"',
            'values = "v"\nsigned = true',
            "60: environments.production.signed: there is no",
        ),
        (
            "[cluster]",
            '[records]\nledger = "ledger:8000"\n[cluster]',
            "23: records.ledger: 'ledger:8000' is not allowed (allowed: an address as in http://localhost:8000",
        ),
        (
            "[cluster]",
            '[records]\nledger = "https://me:secret@x"\n[cluster]',
            "23: records.ledger: 'https://me:",
        ),
        ("[cluster]", "[records]\n[cluster]", "22: records.ledger: is missing"),
    ],
)
def test_says_what_is_wrong(old: str, new: str, expected: str) -> None:
    assert any(
        line.startswith(f"delivery.toml:{expected}") for line in mistakes(GOOD.replace(old, new))
    ), mistakes(GOOD.replace(old, new))


def test_the_ledger_is_declared_or_not() -> None:
    assert read(GOOD).records is None
    told = read(GOOD + '[records]\nledger = "https://ledger.example.com:8443/api"\n').records
    assert told is not None
    assert told.ledger == "https://ledger.example.com:8443/api"


def test_every_folder_of_ours_belongs_to_a_subproject() -> None:
    assert mistakes(GOOD.replace('folders = ["app"]', 'folders = ["upstream/debian"]')) == [
        'delivery.toml:14: images.app.context: the folder "app" belongs to no subproject'
    ]


def test_an_upstream_image_and_ours_do_not_share_a_name() -> None:
    assert mistakes(
        GOOD.replace("[upstream.debian]", "[upstream.ground]").replace('builder = "debian"\n', "")
    )[0] == (
        "delivery.toml:17: images.ground: is the name of an upstream image too; a name stands for one image"
    )


def test_a_name_with_a_hyphen_still_makes_a_variable() -> None:
    assert image_variable("async-worker") == "ASYNC_WORKER_IMAGE"


def test_the_local_clusters_own_context_leads_to_local_and_nowhere_else() -> None:
    def environment(name: str) -> str:
        return f'\n[environments.{name}]\ncontexts = ["work"]\nnamespace = "n"\nvalues = "chart/v.yaml"\n'

    made = read(GOOD + environment("local") + environment("develop"))
    assert made.contexts("local") == ("kind-sample", "work")
    assert made.contexts("develop") == ("work",)
