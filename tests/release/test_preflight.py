"""The checks before a build or a push find all problems, and change nothing."""

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
class Project:
    """A clone on develop, and a registry."""

    declaration: Declaration
    root: Path
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    seen: list[str] = field(default_factory=list)

    def git(self, *arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(self.root), *who, *arguments], check=True)

    def commit(self, file: str, text: str) -> None:
        """Commit another text of a file of the chart."""
        (self.root / "platform-chart" / file).write_text(text)
        self.git("commit", "--quiet", "--all", "--message=fix: chart")

    def release(self) -> None:
        """Tag everything as 0.1.0."""
        for name in self.declaration.subprojects:
            self.git("tag", f"{name}-v0.1.0")

    def change(self) -> None:
        """Change the sources of api-rest."""
        (self.root / "api-rest" / "new").write_text("x")
        self.git("add", ".")
        self.git("commit", "--quiet", "--amend", "--no-edit")

    def check(self, branch: str = "", fault: Fault | None = None) -> Plan:
        """The checked plan, with a fault of the registry."""
        with serving(self.registry, fault) as (address, self.seen):
            return self.check_at(address, branch)

    def check_at(self, address: str, branch: str = "", *, answers: bool = True) -> Plan:
        declaration, registry = self.declaration.with_registry(address), Registry(address)
        return preflight.checked_plan(declaration, registry if answers else None, branch, self.root)

    def publish(self, address: str) -> Plan:
        """Publish the planned release with other content under the same keys."""
        plan = self.check_at(address)
        names = ("base-image", "api-rest", "platform-chart")
        *images, chart = (self.registry.add(name, plan.version, OTHER) for name in names)
        pushed = dict(zip(names, images, strict=False))
        catalog.push(Registry(address), make_release(plan, pushed, chart, "me"))
        return plan


@pytest.fixture
def project(declaration: Declaration, clone: Path) -> Project:
    (clone / "platform-chart" / "values.yaml").write_text(LINE)
    made = Project(declaration, clone)
    made.git("add", ".")
    made.git("commit", "--quiet", "--amend", "--no-edit")
    return made


def snapshot(root: Path) -> dict[str, float]:
    """Every file of a folder, with its time."""
    paths = [Path(folder, name) for folder, _, names in os.walk(root) for name in names]
    # Git updates its index when it is read.
    return {str(path): path.stat().st_mtime_ns for path in paths if path.name != "index"}


def test_a_valid_plan_has_no_problems_and_changes_nothing(project: Project) -> None:
    before = snapshot(project.root)
    plan = project.check()
    assert (plan.problems, plan.unchecked) == ((), ())
    assert snapshot(project.root) == before
    assert {line.split()[0] for line in project.seen} == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("values.yaml", "", "into the chart's values.yaml: it has 0 such images"),
        ("values.yaml", None, "cannot read the chart's values.yaml"),
        ("Chart.yaml", "version: 0.1.0\n", "'name'"),
    ],
)
def test_a_chart_without_images_or_that_cannot_be_packaged_is_a_problem(
    project: Project, file: str, text: str | None, message: str
) -> None:
    if text is None:
        project.git("rm", "--quiet", f"platform-chart/{file}")
        project.git("commit", "--quiet", "--message=fix: chart")
    else:
        project.commit(file, text)
    (problem,) = project.check().problems
    assert message in problem.message


def test_all_problems_are_reported_together(project: Project) -> None:
    project.commit("values.yaml", "")
    project.registry.add("base-image", "0.1.0", OTHER)
    messages = [problem.message for problem in project.check("main").problems]
    assert [message.partition(" ")[0] for message in messages] == ["nothing", "cannot", "version"]
    assert messages[-1].startswith("version tags in the registry have other content")


def test_uncommitted_files_are_the_only_problem(project: Project) -> None:
    (project.root / "platform-chart" / "values.yaml").write_text("")
    project.registry.add("base-image", "0.1.0", OTHER)
    plan = project.check("main")
    (problem,) = plan.problems
    assert problem.message == "1 file not committed (platform-chart/values.yaml)"
    assert plan.unchecked == ("everything else: files are not committed",)


def test_a_feature_has_no_problems_of_publishing(project: Project) -> None:
    (project.root / "platform-chart" / "values.yaml").write_text("")
    plan = project.check("feature/x")
    assert (plan.problems, plan.unchecked) == ((), ())
    assert {line.split()[0] for line in project.seen} == {"HEAD"}


@pytest.mark.parametrize("repository", ["base-image", "api-rest", "platform-chart"])
def test_a_version_tag_of_other_content_is_a_problem(project: Project, repository: str) -> None:
    digest = project.registry.add(repository, "0.1.0-dev.1", OTHER)
    (problem,) = project.check().problems
    assert problem.reference == "registry"
    assert "a version is never overwritten" in problem.message
    assert f"/{repository}:0.1.0-dev.1 is {digest}, not made from " in problem.details
    prepare = "`./run inv release.prepare --subproject base-image=0.1.1 --subproject apps=0.1.1"
    assert prepare in problem.hint


def test_a_release_of_other_sources_is_one_problem_with_its_tags(project: Project) -> None:
    with serving(project.registry) as (address, _):
        project.publish(address)
        assert project.check_at(address).problems == ()  # the same keys
        project.change()
        (problem,) = project.check_at(address).problems
    assert "is published with other content (api-rest, chart), from commit " in problem.message
    assert problem.reference == "bad-declaration"


@pytest.mark.parametrize(
    ("changed", "signs", "references"),
    [
        (False, False, []),
        (False, True, ["registry"]),
        (True, False, ["bad-declaration", "registry"]),
    ],
    ids=["the release is kept", "its parts are signed", "the release is another"],
)
def test_other_tags_than_those_of_the_release_are_checked_unless_it_is_kept(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    references: list[str],
    *,
    changed: bool,
    signs: bool,
) -> None:
    monkeypatch.setattr(signing, "has_key", lambda: signs)
    with serving(project.registry) as (address, _):
        plan = project.publish(address)
        project.registry.add("api-rest", plan.version, b'{"layers": [], "forged": true}')
        if changed:
            project.change()
        problems = project.check_at(address).problems
    assert [problem.reference for problem in problems] == references


@pytest.mark.parametrize("signs", [True, False])
def test_with_a_key_other_content_is_compared_only_after_a_build(
    project: Project, monkeypatch: pytest.MonkeyPatch, *, signs: bool
) -> None:
    monkeypatch.setattr(signing, "has_key", lambda: signs)
    with serving(project.registry) as (address, _):
        plan = project.publish(address)
        project.registry.add("api-rest", plan.images.all[1].key, b'{"layers": [], "forged": true}')
        assert bool(project.check_at(address).problems) is not signs


def test_an_unchanged_version_that_has_to_be_built_is_not_checked(project: Project) -> None:
    project.release()
    project.registry.add("base-image", "0.1.0", OTHER)
    plan = project.check("main")
    assert plan.problems == ()
    (unchecked,) = plan.unchecked
    assert unchecked.startswith("whether localhost:")
    reason = "has the content of these sources: they have to be built first"
    assert unchecked.endswith(f"/base-image:0.1.0 {reason}")


def test_a_missing_release_of_another_line_is_a_problem(project: Project) -> None:
    project.release()
    (problem,) = project.check().problems
    assert problem.message.startswith("nothing has changed since 0.1.0, but localhost:")
    tag = "platform-chart-v0.1.0"
    command = f"`git switch --detach {tag} && TAG_NAME={tag} ./run inv push`"
    assert problem.hint == f"publish it by {command}"


def test_another_artifact_in_place_of_the_release_is_a_problem(project: Project) -> None:
    project.registry.add("release", "0.1.0-dev.1", OTHER)
    (problem,) = project.check().problems
    assert "it is not a release" in problem.message


def test_without_a_registry_the_plan_says_what_was_not_checked(project: Project) -> None:
    plan = project.check_at("localhost:1", "develop", answers=False)
    assert plan.problems == ()
    assert plan.unchecked == (
        "taken versions: the registry localhost:1 does not answer",
        "the login to push with: the registry localhost:1 does not answer",
    )


@pytest.mark.parametrize("branch", ["develop", "feature/x"])
def test_an_unreachable_registry_that_cannot_be_started_here_is_a_problem(
    project: Project, branch: str
) -> None:
    (problem,) = project.check_at("registry.invalid/acme", branch, answers=False).problems
    assert problem.message == "cannot reach the registry registry.invalid/acme: it does not answer"
    assert problem.reference == "registry"


def test_a_registry_that_refuses_to_read_is_a_problem_beside_others(project: Project) -> None:
    project.commit("values.yaml", "")
    plan = project.check(fault=failing(9, "HEAD", "/manifests/", REFUSED))
    assert "the registry answered 401" in plan.problems[0].message
    assert "`docker login localhost:" in plan.problems[0].hint
    assert len(plan.problems) == 2
    unchecked = [line.partition(":")[0] for line in plan.unchecked]
    assert unchecked == ["taken versions", "the login to push with"]
    assert plan.notes[-1].endswith("refuses to answer: its content is unknown")


def test_a_missing_login_for_a_push_is_a_problem(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_method: str, path: str) -> Answer | None:
        return REFUSED if path == "/v2/" else None  # reading needs no login

    (problem,) = project.check(fault=fault).problems
    assert "asks for a login, and none is known" in problem.message
    assert "`docker login localhost:" in problem.hint
    assert project.check("feature/x", fault).problems == ()
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    assert project.check(fault=fault).problems == ()


def test_the_signing_key_is_checked_for_the_environment_of_the_line(project: Project) -> None:
    environments = dict(project.declaration.environments)
    environments["develop"] = environments["develop"].model_copy(update={"signed": True})
    project.declaration = project.declaration.model_copy(update={"environments": environments})
    (problem,) = project.check().problems
    assert "DELIVERY_SIGNING_KEY is not set" in problem.message
    others = [problem.message for problem in project.check("release/1").problems]
    assert not any("DELIVERY_SIGNING_KEY" in message for message in others)
