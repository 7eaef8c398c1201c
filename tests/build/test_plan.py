"""The plan names what has to be built and tagged, and is compared with a later one."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from delivery.build.plan import (
    Images,
    Plan,
    PlannedImage,
    differences,
    make_images,
    read_plan,
)
from delivery.errors import DeclarationError, Problem
from delivery.project.declaration import Declaration
from delivery.project.facts import Ref
from delivery.project.gitflow import Line
from delivery.project.versions import Version
from delivery.release.released import Release, ReleasedPart, make_release
from tests.build.examples import KEYS, plan_of
from tests.project.examples import checkout, decision, version

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


LINES = {
    "feature": decision(Line.FEATURE, "feature/x"),
    "develop": decision(Line.DEVELOP, "develop", "develop"),
    "release": decision(Line.RELEASE, "main", "production", "approval"),
}


def changed_version(name: str, last: str, following: str, published: str, bump: str) -> Version:
    commits = ("feat: a", "fix: b")
    more = {"next": following, "published": published, "bump": bump, "because": "because"}
    return version(name, last, commits=commits, **more)


# A feature of the apps: the base keeps its version, the chart gets a patch of its own.
VERSIONS = {
    "base-image": changed_version("base-image", "1.0.0", "1.0.0", "1.0.0", ""),
    "apps": changed_version("apps", "2.0.0", "2.1.0", "2.1.0-dev.3", "minor"),
    "platform-chart": changed_version("platform-chart", "0.4.0", "0.4.1", "0.4.1-dev.3", "patch"),
}


def plan(
    declaration: Declaration, line: str = "develop", digests: dict[str, str] | None = None
) -> Plan:
    planned = plan_of(checkout(declaration, LINES[line], VERSIONS, "c0ffee"), digests)
    problems = (Problem("a problem", "a hint"),)
    return dataclasses.replace(planned, problems=problems, notes=("a note",))


def test_images_without_a_digest_are_missing_and_need_a_base_in_the_registry(
    declaration: Declaration,
) -> None:
    images = make_images(declaration, KEYS, {"base-image": DIGEST, "api-rest": ""})
    assert [image.tagged for image in images.missing] == ["localhost:5001/api-rest:k2"]
    assert {(image.version, image.tag) for image in images.all} == {("", "")}, "current images"
    assert [base.pinned for base in images.bases] == [f"localhost:5001/base-image@{DIGEST}"]
    assert make_images(declaration, KEYS, {}).bases == (), "a missing base is not pulled"


@pytest.mark.parametrize(
    ("line", "tags"),
    [
        ("feature", ["", "", ""]),
        ("develop", ["", "2.1.0-dev.3", "0.4.1-dev.3"]),
        # A registry may be new: the release line puts unchanged versions too.
        ("release", ["1.0.0", "2.1.0-dev.3", "0.4.1-dev.3"]),
    ],
)
def test_only_changed_versions_get_a_tag_but_on_the_release_line(
    declaration: Declaration, line: str, tags: list[str]
) -> None:
    planned = plan(declaration, line)
    assert [part.tag for part in planned.parts] == tags
    assert [part.version for part in planned.parts] == ["1.0.0", "2.1.0-dev.3", "0.4.1-dev.3"]
    assert planned.version == "0.4.1-dev.3"


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("base-image", ["1.0.0", "", ""]),
        ("apps", ["1.0.0", "2.1.0", ""]),
        ("platform-chart", ["1.0.0", "2.1.0", "0.4.1"]),
    ],
)
def test_a_git_tag_publishes_its_subproject_and_those_that_it_is_built_on(
    declaration: Declaration, name: str, tags: list[str]
) -> None:
    tagged = dataclasses.replace(LINES["release"], ref=Ref("tag", f"{name}-v1.0.0"), environment="")
    versions = {
        name: dataclasses.replace(version, published=version.next)
        for name, version in VERSIONS.items()
    }
    planned = plan_of(checkout(declaration, tagged, versions))
    assert [part.tag for part in planned.parts] == tags


@pytest.mark.parametrize(("written", "packaged"), [("0.4.0", "0.4.1-dev.3"), ("0.4.1", "0.4.1")])
def test_a_prepared_chart_has_the_version_of_its_files(
    declaration: Declaration, written: str, packaged: str
) -> None:
    chart = dataclasses.replace(VERSIONS["platform-chart"], written=written)
    versions = {**VERSIONS, "platform-chart": chart}
    planned = plan_of(checkout(declaration, LINES["develop"], versions))
    assert planned.chart.packaged == packaged


def test_tables_and_sentences_for_people(declaration: Declaration) -> None:
    planned = plan(declaration, digests={"base-image": DIGEST})
    (_, columns, versions), (_, _, parts) = planned.tables()
    assert columns[2] == "new"
    assert versions[1] == ("apps", "2.0.0", "2.1.0-dev.3", "because")
    assert parts == [
        ("base-image", "k1", "in the registry", "none"),
        ("api-rest", "k2", "build and push", "2.1.0-dev.3"),
        ("platform-chart", "k3", "package and push", "0.4.1-dev.3"),
    ]
    assert planned.sentences() == [
        "develop line: develop is",
        "published as 0.4.1-dev.3, deployed to develop; gates: checks",
    ]


def test_a_feature_is_built_not_published_and_shows_the_next_versions(
    declaration: Declaration,
) -> None:
    planned = plan(declaration, "feature")
    (_, columns, versions), (_, _, parts) = planned.tables()
    assert columns[2] == "would be next"
    assert [row[2] for row in versions] == ["1.0.0", "2.1.0", "0.4.1"]
    assert [row[2] for row in parts] == ["build", "build", "nothing"]
    assert planned.sentences()[1] == "not published, not deployed; gates: checks"


def test_a_plan_is_the_same_after_writing_and_reading(declaration: Declaration) -> None:
    for line in LINES:
        planned = plan(declaration, line, {"base-image": DIGEST})
        assert read_plan(planned.to_json(), file="plan.json") == planned


def test_the_format_of_a_plan_stays(declaration: Declaration) -> None:
    text = Path(__file__).with_name("plan.json").read_text()
    planned = plan(declaration, digests={"base-image": DIGEST})
    planned = dataclasses.replace(planned, unchecked=("x",))
    assert planned.to_json() == text
    assert read_plan(text, file="plan.json") == planned


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"commit": 1}', '{"images": {"all": []}}'])
def test_an_invalid_plan_is_an_error(text: str) -> None:
    with pytest.raises(DeclarationError, match=r"cannot read the plan plan\.json: it is invalid"):
        read_plan(text, file="plan.json")


def test_all_mistakes_of_a_plan_are_reported_together(declaration: Declaration) -> None:
    document = json.loads(plan(declaration).to_json())
    document["decision"] |= {"line": "sideways", "pushes": "yes", "surprise": 1}
    document["images"][1]["surprise"] = document["surprise"] = 1
    document["chart"]["key"] = 3
    with pytest.raises(DeclarationError) as caught:
        read_plan(json.dumps(document), file="plan.json")
    of_decision = ("decision.line", "decision.pushes", "decision.surprise")
    for field in (*of_decision, "images.1.surprise", "chart.key", "surprise"):
        assert re.search(rf"[ (]{field}: ", caught.value.message), field


def test_new_content_of_the_registry_is_no_difference(declaration: Declaration) -> None:
    earlier = plan(declaration)
    current = plan(declaration, digests={"base-image": DIGEST, "api-rest": OTHER})
    assert differences(earlier, current) == []
    assert differences(current, earlier) == []


def test_other_content_under_the_same_key_is_a_difference(declaration: Declaration) -> None:
    earlier, current = (
        plan(declaration, digests={"api-rest": digest}) for digest in (DIGEST, OTHER)
    )
    (line,) = differences(earlier, current)
    assert line == f"localhost:5001/api-rest: the registry held {DIGEST}, and holds {OTHER} now"


def test_all_differences_are_listed(declaration: Declaration) -> None:
    earlier = plan(declaration, "release")
    image = PlannedImage(
        "api-rest", "localhost:5001/api-rest", "k9", "base-image", "", "2.2.0", "2.2.0"
    )
    new = PlannedImage("new", "localhost:5001/new", "k9", "base-image", "")
    current = dataclasses.replace(
        plan(declaration, "develop"),
        commit="decaf",
        images=Images((image, new)),
        chart=dataclasses.replace(earlier.chart, version="0.5.0"),
    )
    assert differences(earlier, current) == [
        "commit planned as c0ffee, now decaf",
        "line planned as release, now develop",
        "environment planned as production, now develop",
        "gates planned as checks, approval, now checks",
        "release planned as 0.4.1-dev.3, now 0.5.0",
        "localhost:5001/base-image: was planned, is not any more",
        "localhost:5001/api-rest: content key planned as k2, now k9",
        "localhost:5001/api-rest: version planned as 2.1.0-dev.3, now 2.2.0",
        "localhost:5001/api-rest: tag planned as 2.1.0-dev.3, now 2.2.0",
        "localhost:5001/platform-chart: version planned as 0.4.1-dev.3, now 0.5.0",
        "localhost:5001/new: is planned now, was not",
    ]


def test_its_release_names_what_was_pushed_and_its_origin(declaration: Declaration) -> None:
    base = ReleasedPart("localhost:5001/base-image", "k1", DIGEST, "1.0.0")
    app = ReleasedPart("localhost:5001/api-rest", "k2", OTHER, "2.1.0-dev.3")
    chart = ReleasedPart("localhost:5001/platform-chart", "k3", OTHER, "0.4.1-dev.3")
    images = {"base-image": base, "api-rest": app}
    planned = plan(declaration, digests={"base-image": DIGEST})
    release = make_release(planned, {"api-rest": OTHER}, OTHER, "me@here")
    origin = ("develop", "develop", "c0ffee", "me@here")
    assert release == Release(images, "0.4.1-dev.3", chart, *origin)


def test_a_plan_for_declared_platforms_names_them(declaration: Declaration) -> None:
    single = plan(declaration)
    assert not [line for line in single.sentences() if line.startswith("images for")]
    keys = {name: {"linux/amd64": "a", "linux/arm64": "b"} for name in KEYS}
    images = make_images(declaration, KEYS, {}, platforms=keys)
    both = dataclasses.replace(single, images=images)
    assert both.sentences()[-1] == "images for linux/amd64, linux/arm64"
    assert read_plan(both.to_json(), file="plan.json") == both
