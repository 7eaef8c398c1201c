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


def test_platforms_are_sorted_and_none_are_declared_by_default() -> None:
    assert read(GOOD).build.platforms == ()
    assert read(with_platforms('["linux/arm64", "linux/amd64"]')).build.platforms == (
        "linux/amd64",
        "linux/arm64",
    )


def with_platforms(value: str) -> str:
    return GOOD.replace("epoch = 1767225600", f"epoch = 1767225600\nplatforms = {value}")


@pytest.mark.parametrize(
    ("value", "mistake"),
    [
        ('["linux/riscv64"]', "'linux/riscv64' is not allowed (Input should be 'linux/amd64' or"),
        ('"linux/arm64"', "'linux/arm64' is not allowed (allowed: a list of platforms, as in ["),
        ('["linux/arm64", "linux/arm64"]', "'linux/arm64' is listed twice"),
    ],
)
def test_a_wrong_platform_is_a_mistake(value: str, mistake: str) -> None:
    (found,) = mistakes(with_platforms(value))
    assert found.startswith("delivery.toml:8: build.platforms")
    assert mistake in found


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
    ('"release/*"', '"release/*/x"', "50: gitflow.candidate.0: 'release/*/x' is not allowed"),
    (
        'release = "production"',
        'release = "prod"',
        '54: gitflow.deploys.release: "prod" is no environment (known: production)',
    ),
    (
        'release = "production"',
        'releases = "production"',
        "54: gitflow.deploys.releases: unknown key (allowed: 'develop', 'candidate', 'release' or",
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
        'values = "chart/values.yaml"',
        'values = "v"\nrole = "deployer"',
        "60: environments.production.role: only the environment of previews has one",
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
        'candidate = ["release/*"]',
        'candidate = ["release/*"]\npreview = ["feature/*"]',
        "51: gitflow.preview: gitflow.deploys.preview is missing",
    ),
    (
        'release = "production"',
        'release = "production"\npreview = "production"',
        '55: gitflow.deploys.preview: "production" is not an environment of previews alone',
    ),
    (
        'values = "chart/values.yaml"',
        'values = "chart/values.yaml"\nsoak = "soon"',
        "60: environments.production.soak: 'soon' is not allowed (allowed: a duration, as in",
    ),
    (
        "[cluster]",
        "[prune]\ndevelop = -3\n[cluster]",
        f"23: prune.develop: -3 is not allowed ({KEPT_RULE})",
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), MISTAKES)
def test_a_mistake_is_reported(old: str, new: str, expected: str) -> None:
    lines = mistakes(GOOD.replace(old, new))
    assert any(line.startswith(f"delivery.toml:{expected}") for line in lines), lines


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("zone = 'UTC'\nrules = {'FREQ=DAILY' = '8'}", "62: {}.rules: '8' is not a duration"),
        ("zone = 'UTC'\nrules = {'at 9' = '8h'}", "62: {}.rules: 'at 9' is not a rule"),
        ("zone = 'UTC'\nrules = {}", "62: {}.rules: {{}} is not allowed"),
        ("zone = 'Mars'", "61: {}.zone: 'Mars' is not a time zone such as"),
        ("zon = 'UTC'", '61: {}.zon: unknown key; did you mean "zone"? (allowed: rules, zone)'),
    ],
)
def test_a_mistake_in_windows_is_reported(keys: str, expected: str) -> None:
    name = "environments.production.windows"
    lines = mistakes(f"{GOOD}[{name}]\n{keys}\n")
    start = f"delivery.toml:{expected.format(name)}"
    assert any(line.startswith(start) for line in lines), lines


def test_windows_are_optional() -> None:
    windows = "[environments.production.windows]\nzone = 'UTC'\nrules = {'FREQ=DAILY' = '8h'}\n"
    declared = read(GOOD + windows).environments["production"].windows
    assert declared is not None
    assert declared.rules == {"FREQ=DAILY": "8h"}
    assert read(GOOD).environments["production"].windows is None


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


@pytest.mark.parametrize("dated", [{"base-image"}, {"api-rest"}, {"base-image", "api-rest"}])
def test_an_image_is_dated_with_its_bases(declaration: Declaration, dated: set[str]) -> None:
    images = {
        name: image.model_copy(update={"dated": name in dated})
        for name, image in declaration.images.items()
    }
    declared = declaration.model_copy(update={"images": images})
    assert declared.is_dated("base-image") is ("base-image" in dated)
    assert declared.is_dated("api-rest") is (len(dated) == 2)


def test_a_scan_is_off_only_with_a_reason_and_a_last_day() -> None:
    table = "\n[vulnerabilities]\n"
    off = read(f'{GOOD}{table}unscanned = "no mirror yet"\nuntil = 2027-01-31\n').vulnerabilities
    assert off
    assert (off.unscanned, str(off.until)) == ("no mirror yet", "2027-01-31")
    for half in ('unscanned = "no mirror yet"', "until = 2027-01-31"):
        (mistake,) = mistakes(f"{GOOD}{table}{half}\n")
        assert mistake.endswith("vulnerabilities: unscanned and until belong together")
    (mistake,) = mistakes(f'{GOOD}{table}unscanned = " "\nuntil = 2027-01-31\n')
    assert "vulnerabilities.unscanned" in mistake


def test_what_is_ignored_has_a_reason_and_a_last_day() -> None:
    table = "\n[ignored.CVE-2019-11324]\n"
    text = f'{GOOD}{table}reason = "r"\nuntil = 2027-01-31\n'
    ((name, ignored),) = read(text).ignored.items()
    assert (name, ignored.status) == ("CVE-2019-11324", "affected")
    assert len(mistakes(GOOD + table)) == 2
    assert "until" in mistakes(text.replace("2027-01-31", '"soon"'))[0]
