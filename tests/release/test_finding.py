"""Whatever would be refused is found before anything is done, and looking changes nothing."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from delivery.build.plan import Plan
from delivery.errors import Problem, SignatureError
from delivery.host import debian, programs
from delivery.project.declaration import Declaration, Signing
from delivery.registry.client import Registry
from delivery.release import catalog, cosign, finding, signing
from delivery.release.cosign import Cosign
from delivery.release.released import make_release
from tests.conftest import DECLARATION
from tests.registries import Answer, Fault, FullRegistry, failing, serving, sha256

LINE = 'image: {repository: localhost:5001/api-rest, tag: 0.1.0, digest: ""}\n'
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REFUSED: Answer = (401, {"WWW-Authenticate": 'Basic realm="here"'}, b"")
PUBLIC = "-----BEGIN PUBLIC KEY-----\nours\n-----END PUBLIC KEY-----\n"


@dataclass
class Place:
    """A clone on develop, and a registry."""

    declaration: Declaration
    root: Path
    held: FullRegistry = field(default_factory=FullRegistry)
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
        return finding.look(self.declaration.at(address), Registry(address), branch, self.root)

    def forge(self, repository: str, tag: str) -> str:
        """Put other content under a tag; its digest."""
        content = b'{"layers": [], "other": true}'
        self.held.manifests[repository, sha256(content)] = (MANIFEST, content)
        self.held.tags[repository, tag] = sha256(content)
        return sha256(content)


@pytest.fixture
def place(declaration: Declaration, house: Path) -> Place:
    chart = house / "platform-chart"
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: platform\nversion: 0.1.0\n")
    (chart / "values.yaml").write_text(LINE)
    (house / "delivery.toml").write_text(DECLARATION)
    made = Place(declaration, house)
    made.git("init", "--quiet", "--initial-branch=develop")
    made.git("add", ".")
    made.git("commit", "--quiet", "--message=feat: all")
    return made


def messages(plan: Plan) -> list[str]:
    return [problem.message for problem in plan.problems]


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


@pytest.mark.parametrize(("values", "times"), [("", 0), (LINE + LINE, 2)])
def test_a_chart_that_cannot_name_an_image_is_a_problem_with_the_line_that_it_needs(
    place: Place, values: str, times: int
) -> None:
    (place.root / "platform-chart" / "values.yaml").write_text(values)
    place.git("commit", "--quiet", "--all", "--message=fix: values")
    (problem,) = place.look().problems
    assert problem.message == f"cannot write the image api-rest into the chart's values.yaml: it is there {times} times"
    assert "`image: {repository: localhost:" in problem.hint


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [("values.yaml", None, "package the chart: cannot read values.yaml"), ("Chart.yaml", "version: 0.1.0\n", "'name'")],
)
def test_a_chart_that_cannot_be_packaged_is_a_problem(place: Place, file: str, text: str | None, message: str) -> None:
    path = place.root / "platform-chart" / file
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    place.git("commit", "--quiet", "--all", "--message=fix: chart")
    (problem,) = place.look().problems
    assert message in problem.message


def test_all_problems_are_told_at_once(place: Place) -> None:
    (place.root / "platform-chart" / "values.yaml").write_text("")
    place.forge("base-image", "0.1.0")
    found = messages(place.look("main"))
    assert [message.partition(" ")[0] for message in found] == ["1", "the", "the", "the", "cannot", "the"]
    assert "has no section [0.1.0]" in found[1]
    assert found[-1].startswith("the registry holds other content")


def test_a_feature_has_no_problem_of_publishing(place: Place) -> None:
    (place.root / "platform-chart" / "values.yaml").write_text("")
    plan = place.look("feature/x")
    assert (plan.problems, plan.unchecked) == ((), ())
    assert {line.split()[0] for line in place.seen} == {"HEAD"}


# --- taken versions --------------------------------------------------------------------------------


@pytest.mark.parametrize("repository", ["base-image", "api-rest", "platform-chart"])
def test_a_version_that_other_content_has_is_a_problem_before_anything_is_built(place: Place, repository: str) -> None:
    digest = place.forge(repository, "0.1.0-dev.1")
    (problem,) = place.look().problems
    assert (problem.reference, "a version is never overwritten" in problem.message) == ("registry", True)
    assert f"/{repository}:0.1.0-dev.1 is {digest}, not made from " in problem.details
    assert "`./run inv release.prepare --subproject base-image=0.1.1" in problem.hint


def test_a_release_of_other_sources_is_one_problem_with_its_tags(place: Place) -> None:
    with serving(place.held) as (address, _):
        plan = place.look_at(address)
        pushed = {name: place.forge(name, "0.1.0-dev.1") for name in ("base-image", "api-rest")}
        chart = place.forge("platform-chart", "0.1.0-dev.1")
        catalog.put(Registry(address), make_release(plan, pushed, chart, "me"))
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
    monkeypatch.setattr(signing, "active", lambda: signs)
    with serving(place.held) as (address, _):
        plan = place.look_at(address)
        pushed = {name: place.forge(name, "0.1.0-dev.1") for name in ("base-image", "api-rest")}
        chart = place.forge("platform-chart", "0.1.0-dev.1")
        catalog.put(Registry(address), make_release(plan, pushed, chart, "me"))
        content = b'{"layers": [], "forged": true}'
        place.held.manifests["api-rest", sha256(content)] = (MANIFEST, content)
        place.held.tags["api-rest", plan.images.all[1].key] = sha256(content)
        assert bool(place.look_at(address).problems) is not signs


def test_what_has_not_changed_and_is_not_there_is_not_checked(place: Place) -> None:
    """Whether the same sources make the same bytes is seen once they are built."""
    place.release()
    place.forge("base-image", "0.1.0")
    plan = place.look("main")
    assert plan.problems == ()
    (said,) = plan.unchecked
    assert said.startswith("whether localhost:")
    assert said.endswith("/base-image:0.1.0 is what these sources make: it has to be built first")


def test_a_release_that_only_another_line_publishes_is_a_problem(place: Place) -> None:
    place.release()
    (problem,) = place.look().problems
    assert problem.message.startswith("nothing has changed since 0.1.0, but localhost:")
    assert "TAG_NAME=platform-chart-v0.1.0 ./run inv push`" in problem.hint


def test_a_release_that_is_none_of_ours_is_a_problem(place: Place) -> None:
    place.forge("release", "0.1.0-dev.1")
    (problem,) = place.look().problems
    assert "it is none of ours" in problem.message


# --- a registry that does not answer, or not us ----------------------------------------------------


def test_without_a_registry_it_is_said_what_was_not_checked(place: Place) -> None:
    plan = finding.look(place.declaration.at("localhost:1"), None, "develop", place.root)
    assert plan.problems == ()
    assert plan.unchecked == (
        "taken versions: the registry localhost:1 does not answer",
        "the login to push with: the registry localhost:1 does not answer",
    )


@pytest.mark.parametrize("branch", ["develop", "feature/x"])
def test_a_silent_registry_that_cannot_be_started_here_is_a_problem(place: Place, branch: str) -> None:
    plan = finding.look(place.declaration.at("registry.invalid/acme"), None, branch, place.root)
    (problem,) = plan.problems
    assert (problem.message, problem.reference) == (
        "reach the registry registry.invalid/acme: it does not answer",
        "registry",
    )


def test_a_registry_that_lets_nobody_read_is_a_problem_beside_the_others(place: Place) -> None:
    (place.root / "platform-chart" / "values.yaml").write_text("")
    plan = place.look(fault=failing(9, "HEAD", "/manifests/", REFUSED))
    assert "the registry answered 401" in plan.problems[0].message
    assert "`docker login localhost:" in plan.problems[0].hint
    assert len(plan.problems) == 3
    assert [one.partition(":")[0] for one in plan.unchecked] == ["taken versions", "the login to push with"]
    assert plan.notes[-1].endswith("refuses to answer: what it holds is not known")


def test_a_login_that_a_push_needs_is_a_problem(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(_method: str, path: str) -> Answer | None:
        return REFUSED if path == "/v2/" else None  # who reads needs none

    (problem,) = place.look(fault=fault).problems
    assert "asks for a login, and there is none" in problem.message
    assert "`docker login localhost:" in problem.hint
    assert place.look("feature/x", fault).problems == ()
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    assert place.look(fault=fault).problems == ()


# --- the key ---------------------------------------------------------------------------------------


@pytest.fixture
def signed(place: Place, monkeypatch: pytest.MonkeyPatch) -> Declaration:
    """A declaration whose environment develop takes only what is signed, with a cosign whose key is ours."""
    (place.root / "cosign.pub").write_text(PUBLIC)
    environments = dict(place.declaration.environments)
    environments["develop"] = environments["develop"].model_copy(update={"signed": True})
    update = {"signing": Signing(public_key="cosign.pub"), "environments": environments}
    monkeypatch.setattr(programs, "find", lambda _name: "cosign")
    monkeypatch.setattr(Cosign, "public_half", lambda _self, _key: PUBLIC)
    for name in ("BUILD_URL", "CI_JOB_URL", "CI_PIPELINE_URL"):
        monkeypatch.delenv(name, raising=False)
    return place.declaration.model_copy(update=update)


def hold_a_key(monkeypatch: pytest.MonkeyPatch, text: str = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----") -> None:
    monkeypatch.setenv(cosign.KEY, text)


def test_a_key_that_fits_is_no_problem(place: Place, signed: Declaration, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_a_key(monkeypatch)
    assert signing.key_problem(signed, "develop", place.root) == (None, "")
    signing.check_key(signed, "develop", place.root)


def test_a_line_that_signs_needs_a_key(place: Place, signed: Declaration) -> None:
    problem, _ = signing.key_problem(signed, "develop", place.root)
    assert problem == Problem(
        "develop takes only what is signed, and DELIVERY_SIGNING_KEY is not set",
        "`DELIVERY_SIGNING_KEY=FILE ./run inv push`; `./run inv signing.keys --to DIR` makes a pair",
        reference="signature",
    )
    with pytest.raises(SignatureError, match="DELIVERY_SIGNING_KEY is not set"):
        signing.check_key(signed, "develop", place.root)
    for environment in ("staging", ""):
        assert signing.key_problem(signed, environment, place.root) == (None, "")
        signing.check_key(signed, environment, place.root)


def test_a_pipeline_has_its_key_at_push_alone(
    place: Place, signed: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_URL", "https://ci/1")
    problem, unchecked = signing.key_problem(signed, "develop", place.root)
    assert (problem, unchecked) == (None, "the signing key: a pipeline gives DELIVERY_SIGNING_KEY to `push` alone")
    with pytest.raises(SignatureError, match="DELIVERY_SIGNING_KEY is not set"):
        signing.check_key(signed, "develop", place.root)


def test_what_is_wrong_with_a_key_is_a_problem(
    place: Place, signed: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def message() -> str:
        problem, _ = signing.key_problem(signed, "develop", place.root)
        assert problem
        return problem.message

    hold_a_key(monkeypatch, "neither")
    assert "neither a private key in PEM nor a file" in message()
    hold_a_key(monkeypatch)
    monkeypatch.setattr(Cosign, "public_half", lambda _self, _key: "another")
    assert "is not the private half of cosign.pub" in message()
    (place.root / "cosign.pub").unlink()
    assert "there is no file" in message()


@pytest.mark.parametrize("installs", [True, False])
def test_cosign_is_not_installed_by_looking(
    place: Place, signed: Declaration, monkeypatch: pytest.MonkeyPatch, *, installs: bool
) -> None:
    hold_a_key(monkeypatch)
    monkeypatch.setattr(programs, "find", lambda _name: None)
    monkeypatch.setattr(debian, "can_install", lambda: installs)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("COSIGN", raising=False)
    problem, unchecked = signing.key_problem(signed, "develop", place.root)
    assert bool(problem) is not installs
    assert unchecked == ("the signing key: cosign, which opens it, is not installed yet" if installs else "")


def test_the_key_is_looked_at_for_the_lines_environment(place: Place, signed: Declaration) -> None:
    place.declaration = signed
    assert any("DELIVERY_SIGNING_KEY is not set" in message for message in messages(place.look()))
    assert not any("DELIVERY_SIGNING_KEY" in message for message in messages(place.look("release/1")))
