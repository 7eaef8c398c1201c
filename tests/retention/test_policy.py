"""What a kept release needs is never removed; what nothing needs is, after some days."""

import json
from collections.abc import Mapping, Sequence
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.errors import RegistryError
from delivery.project.declaration import Prune
from delivery.release.released import Release, ReleasedPart
from delivery.retention.policy import (
    STATE,
    PrunePlan,
    RegistryContents,
    StoredManifest,
    Use,
    dump_state,
    make_plan,
    parse_state,
    subject_of,
)

TODAY = date(2026, 11, 21)
REPOSITORIES = ("r/release", "r/chart", "r/app", "r/base")
KEEP_TWO = Prune(develop=2, candidate=1, days=7)


def digest(name: str) -> str:
    return f"sha256:{name.encode().hex():0>64}"


def attached(name: str, end: str = "") -> str:
    return digest(name).replace(":", "-") + end


def manifest(
    repository: str,
    name: str,
    *tags: str,
    of: Sequence[str] = (),
    members: Sequence[str] = (),
    blobs: Mapping[str, int] | None = None,
) -> StoredManifest:
    return StoredManifest(
        f"r/{repository}",
        digest(name),
        tags,
        frozenset(digest(whole) for whole in of),
        blobs or {digest(name): 100},
        frozenset(digest(member) for member in members),
    )


def release(version: str, app: str, chart: str = "chart", base: str = "base") -> Release:
    images = {
        "app": ReleasedPart("r/app", "k", digest(app)),
        "base": ReleasedPart("r/base", "k", digest(base)),
    }
    return Release(images, version, ReleasedPart("r/chart", "k", digest(chart), version))


def plan(
    releases: Sequence[Release],
    manifests: Sequence[StoredManifest],
    uses: Sequence[Use] = (),
    policy: Prune = KEEP_TWO,
    first_seen: Mapping[str, date] | None = None,
) -> PrunePlan:
    """The plan for a registry with these releases and further manifests."""
    versions = {release.version: release for release in releases}
    artifacts = [manifest("release", f"release {version}", version) for version in versions]
    contents = RegistryContents(REPOSITORIES, (*artifacts, *manifests), versions, first_seen or {})
    return make_plan(contents, uses, policy, TODAY)


def removed(plan: PrunePlan) -> list[str]:
    """The names of the removed manifests, in their order."""
    return [bytes.fromhex(each.digest[7:].lstrip("0")).decode() for each in plan.removed]


def reason(plan: PrunePlan, name: str) -> str:
    (verdict,) = [each for each in plan.verdicts if each.manifest.digest == digest(name)]
    return verdict.reason


def devs(*numbers: int) -> list[Release]:
    return [release(f"1.0.0-dev.{number}", f"app {number}") for number in numbers]


def test_the_newest_of_a_line_are_kept_by_version_not_by_spelling() -> None:
    numbers = (2, 9, 10)
    manifests = [manifest("app", f"app {number}", f"k{number}") for number in numbers]
    pruned = plan(devs(*numbers), manifests)
    assert removed(pruned) == ["release 1.0.0-dev.2", "app 2"]
    assert reason(pruned, "release 1.0.0-dev.9") == "one of the newest 2 of develop"
    assert reason(pruned, "release 1.0.0-dev.2") == "older than the newest 2 of develop"
    assert reason(pruned, "app 2") == "named only by 1.0.0-dev.2, removed too"
    assert reason(pruned, "app 9") == "named by 1.0.0-dev.9"


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (("1.0.0-dev.99", "1.1.0-dev.1", "1.1.0-dev.2"), "1.0.0-dev.99"),
        (("1.0.0-dev.1", "1.0.0-dev.2", "1.0.0-rc.1", "1.0.0-rc.2"), "1.0.0-rc.1"),
    ],
)
def test_each_line_keeps_its_newest_by_precedence(versions: tuple[str, ...], expected: str) -> None:
    releases = [release(version, version) for version in versions]
    assert removed(plan(releases, [])) == [f"release {expected}"]


@pytest.mark.parametrize(
    "version", ["1.0.0", "0.0.1", "1.0.0-beta.1", "1.0.0-dev", "1.0.0-dev.1.x", "1.0.0-devil.1"]
)
def test_releases_and_versions_of_no_line_are_kept(version: str) -> None:
    newer = [f"{number}.0.0-{line}.1" for number in (2, 3, 4) for line in ("dev", "rc")]
    releases = [release(number, "x") for number in newer]
    pruned = plan([release(version, "app"), *releases], [manifest("app", "app", "k")])
    assert f"release {version}" not in removed(pruned)
    assert "app" not in removed(pruned)


def test_a_manifest_of_a_kept_and_a_removed_release_is_kept() -> None:
    pruned = plan([*devs(1, 2, 3), release("1.0.0", "app 1")], [manifest("app", "app 1", "k1")])
    assert removed(pruned) == ["release 1.0.0-dev.1"]


def test_chart_and_base_image_are_kept_like_images() -> None:
    manifests = [manifest("chart", "chart", "k"), manifest("base", "base", "k")]
    pruned = plan(devs(1, 2, 3), manifests)
    assert removed(pruned) == ["release 1.0.0-dev.1"]
    assert reason(pruned, "base") == "named by 1.0.0-dev.3, 1.0.0-dev.2"


def test_a_reason_lists_three_releases_at_most() -> None:
    pruned = plan(devs(1, 2, 3, 4, 5), [manifest("base", "base")], policy=Prune(develop=5))
    assert reason(pruned, "base") == "named by 1.0.0-dev.5, 1.0.0-dev.4, 1.0.0-dev.3 and 2 more"


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("list", attached("app 1")),
        ("signature", attached("app 1", ".sig")),
        ("attestation", attached("app 1", ".att")),
        ("SBOM", attached("app 1", ".sbom")),
    ],
)
def test_an_attachment_is_kept_and_removed_with_its_subject(name: str, tag: str) -> None:
    manifests = [manifest("app", "app 1", "k1"), manifest("app", name, tag, of=["app 1"])]
    assert subject_of(tag) == digest("app 1")
    assert removed(plan(devs(1), manifests)) == []
    assert removed(plan(devs(1, 2, 3), manifests)) == ["release 1.0.0-dev.1", name, "app 1"]


def test_an_attachment_of_an_attachment_is_removed_first() -> None:
    manifests = [
        manifest("app", "app 1", "k1"),
        manifest("app", "a list", attached("app 1"), of=["app 1"]),
        manifest("app", "the SBOM", of=["app 1"]),
        manifest("app", "a signature", attached("the SBOM", ".sig"), of=["the SBOM"]),
    ]
    assert removed(plan(devs(1, 2, 3), manifests)) == [
        "release 1.0.0-dev.1",
        "a signature",
        "the SBOM",
        "a list",
        "app 1",
    ]


def test_an_index_is_removed_before_its_members_so_that_it_never_lacks_one() -> None:
    manifests = [
        manifest("app", "member", "m", of=["app 1", "old index"]),
        manifest("app", "its SBOM", of=["member"]),
        manifest("app", "old index", of=["app 1"], members=["member"]),
        manifest("app", "app 1", "k1", members=["member", "old index"]),
        manifest("app", "a signature", of=["app 1"]),
    ]
    assert removed(plan(devs(1, 2, 3), manifests)) == [
        "release 1.0.0-dev.1",
        "a signature",
        "app 1",
        "old index",
        "its SBOM",
        "member",
    ]


def test_a_part_of_two_wholes_is_kept_while_one_of_them_is() -> None:
    manifests = [
        manifest("app", "app 1", "k1"),
        manifest("app", "app 3", "k3"),
        manifest("app", "part", of=["app 1", "app 3"]),
    ]
    pruned = plan(devs(1, 2, 3), manifests)
    assert removed(pruned) == ["release 1.0.0-dev.1", "app 1"]
    assert reason(pruned, "part") == "belongs to k3, which is kept"


def test_the_signature_of_a_release_is_removed_with_it() -> None:
    subjects = {number: f"release 1.0.0-dev.{number}" for number in (1, 2)}
    manifests = [
        manifest("release", f"signature {number}", attached(subject, ".sig"), of=[subject])
        for number, subject in subjects.items()
    ]
    assert removed(plan(devs(1, 2, 3), manifests)) == ["signature 1", "release 1.0.0-dev.1"]


def test_releases_are_removed_before_charts_and_charts_before_images() -> None:
    first = release("1.0.0-dev.1", "app 1", "chart 1", "base 1")
    manifests = [manifest("base", "base 1"), manifest("app", "app 1"), manifest("chart", "chart 1")]
    pruned = plan([first, *devs(2, 3)], manifests)
    assert removed(pruned) == ["release 1.0.0-dev.1", "chart 1", "app 1", "base 1"]


def test_a_manifest_in_use_is_kept_with_its_whole_release() -> None:
    manifests = [manifest("app", "app 1", "k1"), manifest("base", "base 1")]
    user, digests = "staging (staging), revision 3", {digest("app 1"), digest("of another project")}
    releases = [release("1.0.0-dev.1", "app 1", base="base 1"), *devs(2, 3, 4)]
    pruned = plan(releases, manifests, [Use(user, frozenset(digests))])
    assert removed(pruned) == ["release 1.0.0-dev.2"]
    assert reason(pruned, "app 1") == f"in use: {user}"
    assert reason(pruned, "base 1") == "named by 1.0.0-dev.1"
    assert reason(pruned, "release 1.0.0-dev.1") == f"in use: {user}"


def test_the_version_of_a_use_selects_among_releases_of_the_same_images() -> None:
    releases = [release(f"1.0.0-dev.{number}", "app", f"chart {number}") for number in (1, 2, 3, 4)]
    manifests = [manifest("app", "app")]
    known = Use("staging", frozenset({digest("app")}), "1.0.0-dev.1")
    unknown = Use("staging", frozenset({digest("app")}), "9.9.9")
    assert removed(plan(releases, manifests, [known])) == ["release 1.0.0-dev.2"]
    assert removed(plan(releases, manifests, [unknown])) == []


def test_the_version_of_a_use_of_other_images_is_ignored() -> None:
    manifests = [manifest("app", "app 1"), manifest("app", "built locally")]
    use = Use("local", frozenset({digest("built locally")}), "1.0.0-dev.1")
    pruned = plan(devs(1, 2, 3), manifests, [use])
    assert removed(pruned) == ["release 1.0.0-dev.1", "app 1"]
    assert reason(pruned, "built locally") == "in use: local"


def test_a_use_of_foreign_images_keeps_only_the_release_of_its_version() -> None:
    releases, foreign = devs(1, 2, 3, 4), frozenset({digest("y")})
    older = ["release 1.0.0-dev.1", "release 1.0.0-dev.2"]
    assert removed(plan(releases, [], [Use("x", foreign)])) == older
    assert removed(plan(releases, [], [Use("x", frozenset(), "1.0.0-dev.1")])) == older[1:]


def test_a_manifest_that_no_release_names_is_kept_for_some_days() -> None:
    pushed = manifest("app", "pushed", "k9")
    fresh = plan([], [pushed])
    assert removed(fresh) == []
    assert fresh.first_seen == {pushed.pinned: TODAY}
    expected = "no release names it, first seen on 2026-11-21: less than 7 days"
    assert reason(fresh, "pushed") == expected


@pytest.mark.parametrize(
    ("first", "is_removed"), [(date(2026, 11, 15), False), (date(2026, 11, 14), True)]
)
def test_it_is_removed_some_days_after_it_was_first_seen(first: date, *, is_removed: bool) -> None:
    manifests = [manifest("app", "pushed", "k9"), manifest("app", "SBOM", of=["pushed"])]
    pruned = plan([], manifests, first_seen={manifests[0].pinned: first})
    assert removed(pruned) == (["SBOM", "pushed"] if is_removed else [])
    # It is remembered until it is removed: a run may be interrupted.
    assert pruned.first_seen[manifests[0].pinned] == first


def test_without_days_it_is_removed_at_once_but_the_state_is_kept() -> None:
    manifests = [manifest("app", "pushed"), manifest("release", "state", STATE)]
    assert removed(plan([], manifests, policy=Prune(days=0))) == ["pushed"]


def test_the_state_forgets_manifests_that_are_released_or_removed() -> None:
    released = manifest("app", "app 1")
    pruned = plan(devs(1), [released], first_seen={released.pinned: TODAY, "r/app@gone": TODAY})
    assert pruned.first_seen == {}


def test_an_attachment_without_its_subject_is_kept_for_some_days() -> None:
    lone = manifest("app", "signature", attached("gone", ".sig"), of=["gone"])
    assert removed(plan([], [lone])) == []
    assert removed(plan([], [lone], first_seen={lone.pinned: date(2026, 1, 1)})) == ["signature"]


def test_manifests_that_belong_to_each_other_end_the_search() -> None:
    itself = manifest("app", "a", of=["a"])
    circle = [manifest("app", "b", of=["c"]), manifest("app", "c", of=["b"])]
    assert sorted(removed(plan([], [itself, *circle], policy=Prune(days=0)))) == ["a", "b", "c"]


def test_shared_bytes_are_not_freed() -> None:
    shared, own = {digest("layer"): 1000}, {digest("app 1"): 7, digest("own layer"): 30}
    manifests = [
        manifest("app", "app 1", blobs={**shared, **own}),
        manifest("app", "app 2", blobs={**shared, digest("app 2"): 7}),
    ]
    pruned = plan(devs(1, 2, 3), manifests)
    assert pruned.freed_bytes == 37 + 100  # the release's own


def test_the_table_has_removed_manifests_first_and_short_tags() -> None:
    manifests = [
        manifest("app", "app 1", "k1", "1.0.0-dev.1"),
        manifest("app", "s", attached("app 1", ".sig"), of=["app 1"]),
    ]
    rows = plan(devs(1, 2, 3), manifests).rows()
    assert [row[2] for row in rows] == ["remove", "remove", "remove", "keep", "keep"]
    assert rows[1][1] == f"{attached('app 1')[:19]}….sig"
    assert rows[2][1] == "k1, 1.0.0-dev.1"
    assert rows[2][0] == "r/app"


def test_the_state_is_read_as_it_was_written() -> None:
    seen = {"r/app@sha256:b": date(2026, 1, 2), "r/app@sha256:a": date(2025, 12, 31)}
    assert parse_state(dump_state(seen), file="x") == seen
    written = '{"seen": {"r/app@sha256:a": "2025-12-31", "r/app@sha256:b": "2026-01-02"}}'
    assert json.loads(dump_state(seen)) == json.loads(written)  # registries have such states


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"seen": []}', '{"seen": {"a": "yesterday"}}', '{"seen": {"a": 1}}']
)
def test_an_invalid_state_is_an_error(text: str) -> None:
    message = "cannot read r/release:prune-state: it is not the state of an earlier run"
    with pytest.raises(RegistryError, match=message):
        parse_state(text, file="r/release:prune-state")


@pytest.mark.parametrize(
    "tag", ["1.0.0", "sha256-abc", "sha256-" + "a" * 64 + ".zip", "sha256-" + "A" * 64]
)
def test_other_tags_have_no_subject(tag: str) -> None:
    assert subject_of(tag) == ""


_VERSIONS = st.builds(
    "{}.0.0{}".format,
    st.integers(0, 2),
    st.sampled_from(["", "-dev.1", "-dev.2", "-dev.10", "-rc.1", "-rc.2", "-x.1"]),
)
_NAMES = st.sampled_from(["a", "b", "c", "d"])


@given(
    published=st.dictionaries(_VERSIONS, st.tuples(_NAMES, _NAMES)),
    used=st.lists(st.frozensets(_NAMES, min_size=1), max_size=2),
    belonging=st.dictionaries(
        _NAMES.map(lambda name: f"{name} attached"), st.frozensets(_NAMES, min_size=1)
    ),
    days=st.integers(0, 2),
)
def test_no_part_of_a_kept_release_is_removed(
    published: dict[str, tuple[str, str]],
    used: list[frozenset[str]],
    belonging: dict[str, frozenset[str]],
    days: int,
) -> None:
    releases = [release(version, *parts) for version, parts in published.items()]
    manifests = [manifest("app", name) for name in "abcd"] + [
        manifest("chart", name) for name in "abcd"
    ]
    manifests += [manifest("app", name, of=sorted(of)) for name, of in belonging.items()]
    uses = [Use("x", frozenset(digest(name) for name in names)) for names in used]
    pruned = plan(releases, manifests, uses, Prune(develop=1, candidate=1, days=days))
    gone = {(each.repository, each.digest) for each in pruned.removed}
    for kept in releases:
        if ("r/release", digest(f"release {kept.version}")) not in gone:
            assert kept.chart
            parts = [*kept.images.values(), kept.chart]
            assert not gone & {(part.repository, part.digest) for part in parts}
    assert not gone & {("r/app", digest(name)) for names in used for name in names}
    for part in manifests:
        if part.belongs_to and (part.repository, part.digest) in gone:
            assert all((part.repository, whole) in gone for whole in part.belongs_to)
