"""Whatever would be refused is found before anything is done, and looking changes nothing."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from delivery.build.plan import Plan
from delivery.project.declaration import Declaration
from delivery.registry.client import Registry
from delivery.release import catalog, preflight, signing
from delivery.release.released import make_release
from tests.registries import Answer, FakeRegistry, Fault, failing, serving

LINE = 'image: {repository: localhost:5001/api-rest, tag: 0.1.0, digest: ""}\n'
OTHER = b'{"layers": [], "other": true}'
REFUSED: Answer = (401, {"WWW-Authenticate": 'Basic realm="here"'}, b"")


@dataclass
class Place:
    """A clone on develop, and a registry."""

    declaration: Declaration
    root: Path
    held: FakeRegistry = field(default_factory=FakeRegistry)
    seen: list[str] = field(default_factory=list)

    def git(self, *arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(self.root), *who, *arguments], check=True)

    def release(self) -> None:
        """Tag everything as 0.1.0."""
        for name in self.declaration.subprojects:
            self.git("tag", f"{name}-v0.1.0")

    def look(self, branch: str = "", fault: Fault | None = None) -> Plan:
        """The plan, given what the registry holds and does."""
        with serving(self.held, fault) as (address, self.seen):
            return self.look_at(address, branch)

    def look_at(self, address: str, branch: str = "") -> Plan:
        return preflight.checked_plan(
            self.declaration.with_registry(address), Registry(address), branch, self.root
        )

    def publish(self, address: str) -> Plan:
        """Have the release that is planned, all of it other content of the same keys."""
        plan = self.look_at(address)
        names = ("base-image", "api-rest", "platform-chart")
        *images, chart = (self.held.add(name, plan.version, OTHER) for name in names)
        pushed = dict(zip(names, images, strict=False))
        catalog.push(Registry(address), make_release(plan, pushed, chart, "me"))
        return plan


@pytest.fixture
def place(declaration: Declaration, clone: Path) -> Place:
    (clone / "platform-chart" / "values.yaml").write_text(LINE)
    made = Place(declaration, clone)
    made.git("add", ".")
    made.git("commit", "--quiet", "--amend", "--no-edit")
    return made


def snapshot(root: Path) -> dict[str, float]:
    """Every file of a folder, with its time."""
    found = [Path(folder, name) for folder, _, names in os.walk(root) for name in names]
    # git renews what its index knows of files when it is asked.
    return {str(file): file.stat().st_mtime_ns for file in found if file.name != "index"}


def test_a_plan_that_may_be_carried_out_has_no_problems_and_changes_nothing(place: Place) -> None:
    before = snapshot(place.root)
    plan = place.look()
    assert (plan.problems, plan.unchecked) == ((), ())
    assert snapshot(place.root) == before
    assert {line.split()[0] for line in place.seen} == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("file", "text", "message", "hint"),
    [
        (
            "values.yaml",
            "",
            "into the chart's values.yaml: it has 0 such images",
            "`image: {repository: localhost:",
        ),
        (
            "values.yaml",
            LINE + LINE,
            "cannot write the image api-rest into the chart's values.yaml: it has 2 such images",
            "",
        ),
        ("values.yaml", None, "package the chart: cannot read values.yaml", ""),
        ("Chart.yaml", "version: 0.1.0\n", "'name'", ""),
    ],
)
def test_a_chart_that_names_no_image_or_cannot_be_packaged_is_a_problem(
    place: Place, file: str, text: str | None, message: str, hint: str
) -> None:
    path = place.root / "platform-chart" / file
    path.unlink() if text is None else path.write_text(text)
    place.git("commit", "--quiet", "--all", "--message=fix: chart")
    (problem,) = place.look().problems
    assert message in problem.message
    assert hint in problem.hint


def test_all_problems_are_told_at_once(place: Place) -> None:
    (place.root / "platform-chart" / "values.yaml").write_text("")
    place.held.add("base-image", "0.1.0", OTHER)
    found = [problem.message for problem in place.look("main").problems]
    assert [message.partition(" ")[0] for message in found] == [
        "1",
        "the",
        "the",
        "the",
        "cannot",
        "the",
    ]
    assert "has no section [0.1.0]" in found[1]
    assert found[-1].startswith("the registry holds other content")


def test_a_feature_has_no_problem_of_publishing(place: Place) -> None:
    (place.root / "platform-chart" / "values.yaml").write_text("")
    plan = place.look("feature/x")
    assert (plan.problems, plan.unchecked) == ((), ())
    assert {line.split()[0] for line in place.seen} == {"HEAD"}


@pytest.mark.parametrize("repository", ["base-image", "api-rest", "platform-chart"])
def test_a_version_that_other_content_has_is_a_problem_before_anything_is_built(
    place: Place, repository: str
) -> None:
    digest = place.held.add(repository, "0.1.0-dev.1", OTHER)
    (problem,) = place.look().problems
    assert (problem.reference, "a version is never overwritten" in problem.message) == (
        "registry",
        True,
    )
    assert f"/{repository}:0.1.0-dev.1 is {digest}, not made from " in problem.details
    assert (
        "`./run inv release.prepare --subproject base-image=0.1.1 --subproject apps=0.1.1"
        in problem.hint
    )


def test_a_release_of_other_sources_is_one_problem_with_its_tags(place: Place) -> None:
    with serving(place.held) as (address, _):
        place.publish(address)
        assert place.look_at(address).problems == ()  # of the same keys: what is built will show
        (place.root / "api-rest" / "new").write_text("x")
        place.git("add", ".")
        place.git("commit", "--quiet", "--amend", "--no-edit")
        (problem,) = place.look_at(address).problems
    assert "is published with other content (api-rest, chart), from commit " in problem.message
    assert problem.reference == "bad-declaration"


@pytest.mark.parametrize("signs", [True, False])
def test_other_bytes_under_a_key_are_left_to_who_signs_and_makes_them_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, *, signs: bool
) -> None:
    monkeypatch.setattr(signing, "has_key", lambda: signs)
    with serving(place.held) as (address, _):
        plan = place.publish(address)
        place.held.add("api-rest", plan.images.all[1].key, b'{"layers": [], "forged": true}')
        assert bool(place.look_at(address).problems) is not signs


def test_what_has_not_changed_and_is_not_there_is_not_checked(place: Place) -> None:
    """Whether the same sources make the same bytes is seen once they are built."""
    place.release()
    place.held.add("base-image", "0.1.0", OTHER)
    plan = place.look("main")
    assert plan.problems == ()
    (said,) = plan.unchecked
    assert said.startswith("whether localhost:")
    assert said.endswith("/base-image:0.1.0 is what these sources make: it has to be built first")


def test_a_release_that_only_another_line_publishes_is_a_problem(place: Place) -> None:
    place.release()
    (problem,) = place.look().problems
    assert problem.message.startswith("nothing has changed since 0.1.0, but localhost:")
    command = "`git switch --detach platform-chart-v0.1.0 && TAG_NAME=platform-chart-v0.1.0 ./run inv push`"
    assert problem.hint == f"its own line publishes it: {command}"


def test_a_release_that_is_none_of_ours_is_a_problem(place: Place) -> None:
    place.held.add("release", "0.1.0-dev.1", OTHER)
    (problem,) = place.look().problems
    assert "it is not a release" in problem.message


def test_without_a_registry_it_is_said_what_was_not_checked(place: Place) -> None:
    plan = preflight.checked_plan(
        place.declaration.with_registry("localhost:1"), None, "develop", place.root
    )
    assert plan.problems == ()
    assert plan.unchecked == (
        "taken versions: the registry localhost:1 does not answer",
        "the login to push with: the registry localhost:1 does not answer",
    )


@pytest.mark.parametrize("branch", ["develop", "feature/x"])
def test_a_silent_registry_that_cannot_be_started_here_is_a_problem(
    place: Place, branch: str
) -> None:
    plan = preflight.checked_plan(
        place.declaration.with_registry("registry.invalid/acme"), None, branch, place.root
    )
    (problem,) = plan.problems
    assert (problem.message, problem.reference) == (
        "cannot reach the registry registry.invalid/acme: it does not answer",
        "registry",
    )


def test_a_registry_that_lets_nobody_read_is_a_problem_beside_the_others(place: Place) -> None:
    (place.root / "platform-chart" / "values.yaml").write_text("")
    plan = place.look(fault=failing(9, "HEAD", "/manifests/", REFUSED))
    assert "the registry answered 401" in plan.problems[0].message
    assert "`docker login localhost:" in plan.problems[0].hint
    assert len(plan.problems) == 3
    assert [one.partition(":")[0] for one in plan.unchecked] == [
        "taken versions",
        "the login to push with",
    ]
    assert plan.notes[-1].endswith("refuses to answer: its content is unknown")


def test_a_login_that_a_push_needs_is_a_problem(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_method: str, path: str) -> Answer | None:
        return REFUSED if path == "/v2/" else None  # who reads needs none

    (problem,) = place.look(fault=fault).problems
    assert "asks for a login, and none is known" in problem.message
    assert "`docker login localhost:" in problem.hint
    assert place.look("feature/x", fault).problems == ()
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    assert place.look(fault=fault).problems == ()


def test_the_key_is_looked_at_for_the_lines_environment(place: Place) -> None:
    environments = dict(place.declaration.environments)
    environments["develop"] = environments["develop"].model_copy(update={"signed": True})
    place.declaration = place.declaration.model_copy(update={"environments": environments})
    (problem,) = place.look().problems
    assert "DELIVERY_SIGNING_KEY is not set" in problem.message
    assert not any(
        "DELIVERY_SIGNING_KEY" in problem.message for problem in place.look("release/1").problems
    )
