"""What a release that stays needs is never removed; what nothing needs goes, when it is time."""

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
    Held,
    Outcome,
    Registered,
    Use,
    decide,
    read_state,
    state,
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
    blobs: Mapping[str, int] | None = None,
) -> Held:
    return Held(
        f"r/{repository}",
        digest(name),
        tags,
        frozenset(digest(one) for one in of),
        blobs or {digest(name): 100},
    )


def release(version: str, app: str, chart: str = "chart", base: str = "base") -> Release:
    images = {
        "app": ReleasedPart("r/app", "k", digest(app)),
        "base": ReleasedPart("r/base", "k", digest(base)),
    }
    return Release(images, version, ReleasedPart("r/chart", "k", digest(chart), version))


def run(  # the facts of a clean-up
    releases: Sequence[Release],
    held: Sequence[Held],
    uses: Sequence[Use] = (),
    policy: Prune = KEEP_TWO,
    seen: Mapping[str, date] | None = None,
) -> Outcome:
    artefacts = [manifest("release", f"release {one.version}", one.version) for one in releases]
    there = Registered(
        REPOSITORIES, (*artefacts, *held), {one.version: one for one in releases}, seen or {}
    )
    return decide(there, uses, policy, TODAY)


def going(outcome: Outcome) -> list[str]:
    return [bytes.fromhex(held.digest[7:].lstrip("0")).decode() for held in outcome.going]


def why(outcome: Outcome, name: str) -> str:
    return next(
        verdict.because for verdict in outcome.verdicts if verdict.held.digest == digest(name)
    )


def devs(*numbers: int) -> list[Release]:
    return [release(f"1.0.0-dev.{number}", f"app {number}") for number in numbers]


def test_the_newest_of_a_line_stay_by_their_versions_and_not_by_their_spelling() -> None:
    outcome = run(
        devs(2, 9, 10), [manifest("app", f"app {number}", f"k{number}") for number in (2, 9, 10)]
    )
    assert going(outcome) == ["release 1.0.0-dev.2", "app 2"]
    assert why(outcome, "release 1.0.0-dev.9") == "one of the newest 2 of develop"
    assert why(outcome, "release 1.0.0-dev.2") == "older than the newest 2 of develop"
    assert why(outcome, "app 2") == "named by nothing but 1.0.0-dev.2, which goes too"
    assert why(outcome, "app 9") == "named by 1.0.0-dev.9"


@pytest.mark.parametrize(
    ("versions", "goes"),
    [
        (("1.0.0-dev.99", "1.1.0-dev.1", "1.1.0-dev.2"), "1.0.0-dev.99"),
        (("1.0.0-dev.1", "1.0.0-dev.2", "1.0.0-rc.1", "1.0.0-rc.2"), "1.0.0-rc.1"),
    ],
)
def test_the_newest_are_so_by_precedence_in_each_line_by_itself(
    versions: tuple[str, ...], goes: str
) -> None:
    assert going(run([release(version, version) for version in versions], [])) == [
        f"release {goes}"
    ]


@pytest.mark.parametrize(
    "version", ["1.0.0", "0.0.1", "1.0.0-beta.1", "1.0.0-dev", "1.0.0-dev.1.x", "1.0.0-devil.1"]
)
def test_releases_stay_for_ever_and_so_does_what_is_of_no_line(version: str) -> None:
    releases = [
        release(f"{number}.0.0-{line}.1", "x") for number in (2, 3, 4) for line in ("dev", "rc")
    ]
    outcome = run([release(version, "app"), *releases], [manifest("app", "app", "k")])
    assert f"release {version}" not in going(outcome)
    assert "app" not in going(outcome)


def test_what_a_staying_release_names_stays_when_one_that_goes_names_it_too() -> None:
    outcome = run([*devs(1, 2, 3), release("1.0.0", "app 1")], [manifest("app", "app 1", "k1")])
    assert going(outcome) == ["release 1.0.0-dev.1"]


def test_chart_and_base_image_stay_as_images_do() -> None:
    held = [manifest("chart", "chart", "k"), manifest("base", "base", "k")]
    outcome = run(devs(1, 2, 3), held)
    assert going(outcome) == ["release 1.0.0-dev.1"]
    assert why(outcome, "base") == "named by 1.0.0-dev.3, 1.0.0-dev.2"


def test_many_releases_that_name_it_are_not_all_listed() -> None:
    outcome = run(devs(1, 2, 3, 4, 5), [manifest("base", "base")], policy=Prune(develop=5))
    assert why(outcome, "base") == "named by 1.0.0-dev.5, 1.0.0-dev.4, 1.0.0-dev.3 and 2 more"


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("list", attached("app 1")),
        ("signature", attached("app 1", ".sig")),
        ("attestation", attached("app 1", ".att")),
        ("bill", attached("app 1", ".sbom")),
    ],
)
def test_what_is_attached_stays_and_goes_with_what_it_is_attached_to(name: str, tag: str) -> None:
    held = [manifest("app", "app 1", "k1"), manifest("app", name, tag, of=["app 1"])]
    assert subject_of(tag) == digest("app 1")
    assert going(run(devs(1), held)) == []
    assert going(run(devs(1, 2, 3), held)) == ["release 1.0.0-dev.1", name, "app 1"]


def test_what_is_attached_to_something_attached_goes_first() -> None:
    held = [
        manifest("app", "app 1", "k1"),
        manifest("app", "a list", attached("app 1"), of=["app 1"]),
        manifest("app", "the bill", of=["app 1"]),
        manifest("app", "a signature", attached("the bill", ".sig"), of=["the bill"]),
    ]
    assert going(run(devs(1, 2, 3), held)) == [
        "release 1.0.0-dev.1",
        "a signature",
        "the bill",
        "a list",
        "app 1",
    ]


def test_a_part_of_two_wholes_stays_while_one_of_them_does() -> None:
    held = [
        manifest("app", "app 1", "k1"),
        manifest("app", "app 3", "k3"),
        manifest("app", "part", of=["app 1", "app 3"]),
    ]
    outcome = run(devs(1, 2, 3), held)
    assert going(outcome) == ["release 1.0.0-dev.1", "app 1"]
    assert why(outcome, "part") == "belongs to k3, which stays"


def test_the_signature_of_a_release_stays_and_goes_with_it() -> None:
    held = [
        manifest(
            "release",
            f"signature {number}",
            attached(f"release 1.0.0-dev.{number}", ".sig"),
            of=[one],
        )
        for number, one in ((1, "release 1.0.0-dev.1"), (2, "release 1.0.0-dev.2"))
    ]
    assert going(run(devs(1, 2, 3), held)) == ["signature 1", "release 1.0.0-dev.1"]


def test_releases_go_before_charts_and_charts_before_images() -> None:
    first = release("1.0.0-dev.1", "app 1", "chart 1", "base 1")
    held = [manifest("base", "base 1"), manifest("app", "app 1"), manifest("chart", "chart 1")]
    outcome = run([first, *devs(2, 3)], held)
    assert going(outcome) == ["release 1.0.0-dev.1", "chart 1", "app 1", "base 1"]


def test_what_is_in_use_stays_with_the_whole_of_its_release() -> None:
    held = [manifest("app", "app 1", "k1"), manifest("base", "base 1")]
    use = Use(
        "staging (staging), revision 3", frozenset({digest("app 1"), digest("somebody else's")})
    )
    outcome = run([release("1.0.0-dev.1", "app 1", base="base 1"), *devs(2, 3, 4)], held, [use])
    assert going(outcome) == ["release 1.0.0-dev.2"]
    assert why(outcome, "app 1") == "in use: staging (staging), revision 3"
    assert why(outcome, "base 1") == "named by 1.0.0-dev.1"
    assert why(outcome, "release 1.0.0-dev.1") == "in use: staging (staging), revision 3"


def test_a_version_that_is_in_use_tells_which_of_the_releases_with_its_images_is_meant() -> None:
    releases = [release(f"1.0.0-dev.{number}", "app", f"chart {number}") for number in (1, 2, 3, 4)]
    held = [manifest("app", "app")]
    told = Use("staging", frozenset({digest("app")}), "1.0.0-dev.1")
    untold = Use("staging", frozenset({digest("app")}), "9.9.9")
    assert going(run(releases, held, [told])) == ["release 1.0.0-dev.2"]
    assert going(run(releases, held, [untold])) == []


def test_a_version_in_use_whose_images_are_others_does_not_count() -> None:
    held = [manifest("app", "app 1"), manifest("app", "built by hand")]
    use = Use("local", frozenset({digest("built by hand")}), "1.0.0-dev.1")
    outcome = run(devs(1, 2, 3), held, [use])
    assert going(outcome) == ["release 1.0.0-dev.1", "app 1"]
    assert why(outcome, "built by hand") == "in use: local"


def test_a_use_of_nothing_that_is_ours_keeps_no_release_but_that_of_its_version() -> None:
    releases = devs(1, 2, 3, 4)
    assert going(run(releases, [], [Use("x", frozenset({digest("y")}))])) == [
        "release 1.0.0-dev.1",
        "release 1.0.0-dev.2",
    ]
    assert going(run(releases, [], [Use("x", frozenset(), "1.0.0-dev.1")])) == [
        "release 1.0.0-dev.2"
    ]


def test_what_no_release_names_is_waited_for() -> None:
    pushed = manifest("app", "pushed", "k9")
    fresh = run([], [pushed])
    assert going(fresh) == []
    assert fresh.seen == {pushed.pinned: TODAY}
    assert why(fresh, "pushed") == "no release names it, seen since 2026-11-21: less than 7 days"


@pytest.mark.parametrize(
    ("first", "goes"), [(date(2026, 11, 15), False), (date(2026, 11, 14), True)]
)
def test_it_goes_some_days_after_it_was_first_seen(first: date, *, goes: bool) -> None:
    held = [manifest("app", "pushed", "k9"), manifest("app", "bill", of=["pushed"])]
    outcome = run([], held, seen={held[0].pinned: first})
    assert going(outcome) == (["bill", "pushed"] if goes else [])
    assert outcome.seen[held[0].pinned] == first  # also when it goes: a clean-up may be cut off


def test_without_days_it_goes_at_once_and_what_the_clean_up_remembers_stays() -> None:
    held = [manifest("app", "pushed"), manifest("release", "state", STATE)]
    assert going(run([], held, policy=Prune(days=0))) == ["pushed"]


def test_what_was_seen_and_is_released_or_gone_since_is_forgotten() -> None:
    held = manifest("app", "app 1")
    outcome = run(devs(1), [held], seen={held.pinned: TODAY, "r/app@gone": TODAY})
    assert outcome.seen == {}


def test_what_is_attached_to_nothing_that_is_there_is_waited_for_too() -> None:
    lone = manifest("app", "signature", attached("gone", ".sig"), of=["gone"])
    assert going(run([], [lone])) == []
    assert going(run([], [lone], seen={lone.pinned: date(2026, 1, 1)})) == ["signature"]


def test_what_belongs_to_itself_or_in_a_circle_is_no_endless_question() -> None:
    itself = manifest("app", "a", of=["a"])
    circle = [manifest("app", "b", of=["c"]), manifest("app", "c", of=["b"])]
    assert sorted(going(run([], [itself, *circle], policy=Prune(days=0)))) == ["a", "b", "c"]


def test_bytes_that_something_else_needs_are_not_counted_as_freed() -> None:
    shared, own = {digest("layer"): 1000}, {digest("app 1"): 7, digest("own layer"): 30}
    held = [
        manifest("app", "app 1", blobs={**shared, **own}),
        manifest("app", "app 2", blobs={**shared, digest("app 2"): 7}),
    ]
    outcome = run(devs(1, 2, 3), held)
    assert outcome.freed == 37 + 100  # the release's own


def test_the_table_shows_what_goes_first_and_short_tags() -> None:
    held = [
        manifest("app", "app 1", "k1", "1.0.0-dev.1"),
        manifest("app", "s", attached("app 1", ".sig"), of=["app 1"]),
    ]
    rows = run(devs(1, 2, 3), held).rows()
    assert [row[2] for row in rows] == ["goes", "goes", "goes", "stays", "stays"]
    assert rows[1][1] == f"{attached('app 1')[:19]}….sig"
    assert rows[2][1] == "k1, 1.0.0-dev.1"
    assert rows[2][0] == "r/app"


def test_what_is_remembered_is_read_again() -> None:
    seen = {"r/app@sha256:b": date(2026, 1, 2), "r/app@sha256:a": date(2025, 12, 31)}
    assert read_state(state(seen), file="x") == seen


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"seen": []}', '{"seen": {"a": "yesterday"}}', '{"seen": {"a": 1}}']
)
def test_what_is_no_memory_of_ours_is_an_error(text: str) -> None:
    with pytest.raises(
        RegistryError, match="read r/release:prune-state: it is not what a clean-up wrote"
    ):
        read_state(text, file="r/release:prune-state")


@pytest.mark.parametrize(
    "tag", ["1.0.0", "sha256-abc", "sha256-" + "a" * 64 + ".zip", "sha256-" + "A" * 64]
)
def test_other_tags_belong_to_nothing(tag: str) -> None:
    assert subject_of(tag) == ""


_VERSIONS = st.builds(
    "{}.0.0{}".format,
    st.integers(0, 2),
    st.sampled_from(["", "-dev.1", "-dev.2", "-dev.10", "-rc.1", "-rc.2", "-x.1"]),
)
_NAMES = st.sampled_from(["a", "b", "c", "d"])


@given(
    told=st.dictionaries(_VERSIONS, st.tuples(_NAMES, _NAMES)),
    used=st.lists(st.frozensets(_NAMES, min_size=1), max_size=2),
    belonging=st.dictionaries(
        _NAMES.map(lambda name: f"{name} attached"), st.frozensets(_NAMES, min_size=1)
    ),
    days=st.integers(0, 2),
)
def test_nothing_that_stays_ever_lacks_a_part(
    told: dict[str, tuple[str, str]],
    used: list[frozenset[str]],
    belonging: dict[str, frozenset[str]],
    days: int,
) -> None:
    releases = [release(version, *parts) for version, parts in told.items()]
    held = [manifest("app", name) for name in "abcd"] + [manifest("chart", name) for name in "abcd"]
    held += [manifest("app", name, of=sorted(of)) for name, of in belonging.items()]
    uses = [Use("x", frozenset(digest(name) for name in names)) for names in used]
    outcome = run(releases, held, uses, Prune(develop=1, candidate=1, days=days))
    gone = {(one.repository, one.digest) for one in outcome.going}
    for one in releases:
        if ("r/release", digest(f"release {one.version}")) not in gone:
            parts = {(image.repository, image.digest) for image in one.images.values()}
            assert not gone & (
                parts | ({(one.chart.repository, one.chart.digest)} if one.chart else set())
            )
    assert not gone & {("r/app", digest(name)) for names in used for name in names}
    for thing in held:
        if thing.of and (thing.repository, thing.digest) in gone:
            assert all((thing.repository, whole) in gone for whole in thing.of)
