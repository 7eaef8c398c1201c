"""delivery.toml is checked as a whole, and every mistake is reported at once."""

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
base = "base"
builder = "debian"

[images.base]
context = "base"
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

[subprojects.base]
folders = ["base"]
changelog = "base/CHANGELOG.md"

[subprojects.app]
folders = ["app"]
changelog = "app/CHANGELOG.md"
after = ["base"]

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
FOLDERS = {"app", "base", "chart", "upstream/debian"}
FILES = {"chart/values.yaml"}


def read(text: str) -> Declaration:
    return parse(
        text,
        is_folder=lambda path: path in FOLDERS,
        is_file=lambda path: path in FILES,
    )


def mistakes(text: str) -> list[str]:
    with pytest.raises(DeclarationError) as caught:
        read(text)
    return caught.value.details.splitlines()


def test_images_come_after_their_base() -> None:
    assert read(GOOD).images_in_order() == ["base", "app"]


def test_subprojects_come_after_those_that_they_are_built_on() -> None:
    renamed = GOOD.replace("[subprojects.base]", "[subprojects.z]").replace(
        '["base"]\n\n', '["z"]\n\n'
    )
    assert read(renamed).subprojects_in_order() == ["z", "app", "chart"]
    turned = GOOD.replace('after = ["base"]', 'after = ["chart"]').replace('after = ["app"]', "")
    assert read(turned).subprojects_in_order() == ["base", "chart", "app"]


def test_components_are_the_images_that_are_no_base() -> None:
    assert read(GOOD).components() == ["app"]


def test_an_image_belongs_to_the_subproject_of_its_folder() -> None:
    folders = ["base", "app", "chart"]
    assert [read(GOOD).subproject_of(folder) for folder in folders] == folders


def test_builds_get_their_upstream_images_as_arguments() -> None:
    expected = {"SOURCE_DATE_EPOCH": "1767225600", "DEBIAN_IMAGE": "debian:trixie-slim"}
    assert read(GOOD).build_arguments("base") == expected
    assert read(GOOD).build_arguments("app") == expected


def test_every_mistake_is_reported_with_its_line_and_what_is_allowed() -> None:
    text = (
        GOOD.replace('context = "app"', 'contxt = "app"')
        .replace("epoch = 1767225600", 'epoch = "today"')
        .replace('image = "debian:trixie-slim"', 'image = "debian"')
    )
    rules = "allowed: whole seconds since 1970 that fit an image's date, as in 1767225600"
    pinned = "allowed: a name with a pinned tag, as in debian:trixie-slim"
    known = (
        'unknown key; did you mean "context"? (allowed: base, builder, context, contexts, dated)'
    )
    assert mistakes(text) == [
        f"delivery.toml:7: build.epoch: 'today' is not allowed ({rules})",
        f"delivery.toml:10: upstream.debian.image: 'debian' is not allowed ({pinned})",
        "delivery.toml:13: images.app.context: is missing",
        f"delivery.toml:14: images.app.contxt: {known}",
    ]


NAME_RULE = "allowed: lower-case letters, digits and single hyphens"
KEPT_RULE = "allowed: how many releases to keep, a whole number from 1"
LEDGER_RULE = "allowed: an address without a login, as in http://localhost:8000"
# By what is replaced: what replaces it, and how the line of the mistake begins.
MISTAKES = [
    (
        'base = "base"',
        'base = "bse"',
        '15: images.app.base: "bse" is no image (known: app, base, d',
    ),
    (
        'builder = "debian"',
        'builder = "base"',
        '16: images.app.builder: "base" is no upstream image (known: debian)',
    ),
    ('base = "debian"', 'base = "app"', '15: images.app.base: "base" depends on app itself'),
    ('context = "base"', 'context = "x"', '19: images.base.context: there is no folder "x"'),
    ('context = "base"', 'context = "../x"', "19: images.base.context: must be a path inside the"),
    (
        'base = "base"',
        'base = "base"\ncontexts = { library = "x" }',
        '16: images.app.contexts.library: there is no folder "x"',
    ),
    (
        'base = "base"',
        'base = "base"\ncontexts = ["x"]',
        "16: images.app.contexts: must be a table",
    ),
    ("[images.base]", "[images.Base]", f"18: images.Base: not a name ({NAME_RULE})"),
    ('name = "sample"', "name = 7", f"1: name: 7 is not allowed ({NAME_RULE})"),
    ('node = "debian"', 'node = "base"', '23: cluster.node: "base" is no upstream image (known: d'),
    ("198.18.0.0/17", "198.18.1.0/17", "24: cluster.pods: '198.18.1.0/17' is not an IPv4 subnet"),
    ("198.18.0.0/17", "198.18.0.0/24", "24: cluster.pods: '198.18.0.0/24' has the wrong size (all"),
    (
        "198.18.128.0/17",
        "198.18.0.0/18",
        "25: cluster.services: 198.18.0.0/18 overlaps with pods, 198.18.0.0/17",
    ),
    ('= "spot"', '= "a b"', "28: cluster.workers.spot.example.com/capacity-type: 'a b' is not al"),
    ("[cluster]", "[clusters]", "22: clusters: unknown key; did you mean"),
    ("[registry]", "[registri]", '3: registri: unknown key; did you mean "registry"?'),
    ("epoch = 1767225600", "epoch = ", "7: not TOML: Invalid value"),
    ('folder = "chart"', 'folder = "x"', '32: chart.folder: there is no folder "x"'),
    (
        'folders = ["chart"]',
        'folders = ["app"]',
        '39: subprojects.app.folders: "app" belongs to another subproject too',
    ),
    (
        'folders = ["app"]',
        'folders = ["upstream/debian"]',
        '14: images.app.context: the folder "app" belongs to no subproject',
    ),
    (
        'folders = ["app"]',
        'folders = "app"',
        "39: subprojects.app.folders: 'app' is not allowed (allowed: a list",
    ),
    (
        'after = ["base"]',
        'after = ["x"]',
        '41: subprojects.app.after: "x" is no subproject (known: app, base, chart)',
    ),
    (
        'after = ["base"]',
        'after = ["chart"]',
        '41: subprojects.app.after: "chart" depends on app itself',
    ),
    (
        'after = ["base"]',
        'after = ["app"]',
        '41: subprojects.app.after: "app" depends on app itself',
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
        "54: gitflow.deploys.releases: unknown key (allowed: 'develop', 'candidate' or",
    ),
    (
        'values = "chart/values.yaml"',
        'values = "values.yaml"',
        '59: environments.production.values: there is no file "values.yaml"',
    ),
    (
        'values = "chart/values.yaml"',
        'values = "v"\nsigned = true',
        "60: environments.production.signed: signing.public_key is missing",
    ),
    (
        "[cluster]",
        '[records]\nledger = "ledger:8000"\n[cluster]',
        f"23: records.ledger: 'ledger:8000' is not allowed ({LEDGER_RULE}",
    ),
    (
        "[cluster]",
        '[records]\nledger = "https://me:secret@x"\n[cluster]',
        "23: records.ledger: 'https://me:",
    ),
    ("[cluster]", "[records]\n[cluster]", "22: records.ledger: is missing"),
    (
        'candidate = ["release/*"]',
        'candidate = ["release/*", "main"]',
        '51: gitflow.release: "main" is in candidate too',
    ),
    (
        'develop = ["develop"]',
        'develop = ["develop", "release/*"]',
        '50: gitflow.candidate: "release/*" is in develop too',
    ),
    (
        'develop = ["develop"]',
        'develop = "develop"',
        "49: gitflow.develop: 'develop' is not allowed (allowed: a list of branches, as in",
    ),
    (
        "[cluster]",
        "[prune]\ndevelop = -3\n[cluster]",
        f"23: prune.develop: -3 is not allowed ({KEPT_RULE})",
    ),
    (
        "[cluster]",
        '[prune]\ncandidate = "all"\n[cluster]',
        f"23: prune.candidate: 'all' is not allowed ({KEPT_RULE})",
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), MISTAKES)
def test_a_mistake_is_reported(old: str, new: str, expected: str) -> None:
    lines = mistakes(GOOD.replace(old, new))
    assert any(line.startswith(f"delivery.toml:{expected}") for line in lines), lines


def test_every_cycle_is_reported() -> None:
    images = "".join(
        f'[images.{name}]\ncontext = "base"\nbase = "{base}"\n'
        for name, base in (("c", "d"), ("d", "c"), ("e", "e"))
    )
    assert [line.partition(": ")[2] for line in mistakes(GOOD + images)] == [
        'images.c.base: "d" depends on c itself',
        'images.d.base: "c" depends on d itself',
        'images.e.base: "e" depends on e itself',
    ]


def test_an_upstream_image_and_ours_do_not_share_a_name() -> None:
    text = GOOD.replace("[upstream.debian]", "[upstream.base]")
    expected = "delivery.toml:17: images.base: an upstream image has the same name"
    assert mistakes(text.replace('builder = "debian"\n', ""))[0] == expected


def test_the_ledger_is_optional() -> None:
    assert read(GOOD).records is None
    records = read(GOOD + '[records]\nledger = "https://ledger.example.com:8443/api"\n').records
    assert records is not None
    assert records.ledger == "https://ledger.example.com:8443/api"


def test_a_name_with_a_hyphen_makes_a_variable() -> None:
    assert image_variable("async-worker") == "ASYNC_WORKER_IMAGE"


def test_the_local_clusters_own_context_belongs_to_local_alone() -> None:
    fields = 'contexts = ["work"]\nnamespace = "n"\nvalues = "chart/values.yaml"\n'
    declared = "".join(f"\n[environments.{name}]\n{fields}" for name in ("local", "develop"))
    declaration = read(GOOD + declared)
    assert declaration.contexts("local") == ("kind-sample", "work")
    assert declaration.contexts("develop") == ("work",)
