import json
import re
import uuid
from typing import Any

import pytest
from ledger.event_rules import (
    DETAILS_BYTES,
    DETAILS_LEVELS,
    FIELDS,
    LENGTHS,
    NAME,
    OPTIONAL,
    STAGES,
    check_details,
    check_storable,
    check_storable_text,
    check_text,
    details_json,
    json_reader,
    stage_order,
    validate,
)

read = json_reader()


def test_known_stages_come_in_their_order_then_others_by_name() -> None:
    stages = ["smoke-test", *reversed(STAGES), "approve"]
    assert sorted(stages, key=stage_order) == [*STAGES, "approve", "smoke-test"]


def nested(levels: int, *brackets: str) -> dict[str, Any]:
    """Return details of so many levels, with alternating brackets."""
    pairs = [brackets[number % len(brackets)].split("|") for number in range(levels - 1)]
    text = "".join(left for left, _ in pairs) + "1" + "".join(right for _, right in reversed(pairs))
    return dict(json.loads(f'{{"a":{text}}}'))


SHAPES = (("[|]",), ('{"a":|}',), ("[|]", '{"a":|}'), ('[0,|,"[{"]',), ('{"[":1,"b":|,"c":"{"}',))


@pytest.mark.parametrize("brackets", SHAPES, ids=" ".join)
def test_the_levels_of_details_are_limited(brackets: tuple[str, ...]) -> None:
    assert check_details(nested(DETAILS_LEVELS, *brackets)) is None
    assert check_details(nested(DETAILS_LEVELS + 1, *brackets)) == (
        f"must be at most {DETAILS_LEVELS} levels deep, itself the first"
    )


def test_many_brackets_are_not_many_levels() -> None:
    wide = {"a": [[] for _ in range(1000)], "text": "[{" * 1000}
    assert json.loads(details_json(wide)) == wide


def test_an_empty_container_is_a_level() -> None:
    deepest = nested(DETAILS_LEVELS, "[|]")
    assert check_details(json.loads(json.dumps(deepest).replace("1", "[]")))


@pytest.mark.parametrize("levels", [1_000, 100_000])
def test_details_of_any_depth_do_not_crash_the_check(levels: int) -> None:
    deep: dict[str, Any] = {}
    for _ in range(levels):
        deep = {"a": deep}
    assert "levels" in str(check_details(deep))


@pytest.mark.parametrize(
    "number",
    ["0", "-0", "-0.0", "1e-400", "9" * 308, "-" + "9" * 308, "1" + "0" * 308, "-1" + "0" * 308],
)
def test_numbers_that_a_double_can_hold_are_kept(number: str) -> None:
    details = read(f'{{"a":{number}}}')
    assert check_details(details) is None
    assert json.loads(details_json(details)) == details


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 309, "-" + "9" * 309, "1" * 5000])
def test_a_number_beyond_a_double_is_a_problem(number: str) -> None:
    assert check_details(read(f'{{"a":[{number}]}}')) == "must be without a number beyond a double"


def test_a_long_integer_keeps_all_digits() -> None:
    assert read("1" + "0" * 307 + "1") == 10**308 + 1


@pytest.mark.parametrize("details", [{"a": "\ud800"}, {"\udfff": 1}, {"a": ["é\ud83d"]}])
def test_half_of_a_surrogate_pair_is_a_problem(details: dict[str, Any]) -> None:
    assert check_details(details) == "must be without half of a surrogate pair"


@pytest.mark.parametrize("text", ["\x00", "\x7f", "\ufffe", "\uffff", "🚀", "\U0010ffff", ""])
def test_every_other_character_is_valid(text: str) -> None:
    details = {text: text}
    assert check_details(details) is None
    assert json.loads(details_json(details)) == details


@pytest.mark.parametrize("letter", ["x", "é", "🚀", "\\"])
def test_details_are_measured_in_bytes_of_json(letter: str) -> None:
    size = len(json.dumps(letter, ensure_ascii=False).encode()) - 2
    available = DETAILS_BYTES - len('{"a":""}')
    whole, rest = divmod(available, size)
    assert check_details({"a": letter * whole + "x" * rest}) is None
    reason = check_details({"a": letter * whole + "x" * (rest + 1)})
    assert reason == f"must be at most {DETAILS_BYTES} bytes of JSON"


@pytest.mark.parametrize("details", [None, [], "text", 1])
def test_details_are_an_object(details: object) -> None:
    assert check_details(details) == "must be an object"


@pytest.mark.parametrize("value", [None, 1, "", "xxxx", "\ud800"])
def test_requests_have_the_limits_of_the_column(value: object) -> None:
    reason = check_storable_text(value, 3)
    assert reason
    assert check_text(3, ".*", "anything")(value) == reason


@pytest.mark.parametrize("value", ["\x00", " a", "日本語", "🚀🚀🚀"])
def test_any_other_text_is_storable(value: str) -> None:
    assert check_storable_text(value, 3) is None


@pytest.mark.parametrize(
    "name", ["a", "1", "a/b", "run-1/client-1", "a/.b", "a/..b", "a/b..", "a/_/-", "a..", "a.b/c_d"]
)
def test_valid_names(name: str) -> None:
    assert check_text(LENGTHS["component"], *NAME)(name) is None


@pytest.mark.parametrize(
    "name", ["a/", "a//b", "/a", "a/.", "a/..", "a/../b", "a/./b", "a/...", "..", "a/é"]
)
def test_no_part_of_a_name_is_empty_or_has_only_dots(name: str) -> None:
    assert check_text(LENGTHS["component"], *NAME)(name)


def test_the_name_pattern_needs_no_backtracking() -> None:
    # With backtracking this would take forever.
    assert not re.fullmatch(NAME[0], "a" + "/.a" * 10_000 + "/")


@pytest.fixture
def deployment() -> dict[str, Any]:
    """A good request body."""
    return {
        "component": "api-rest",
        "version": "1.2.3",
        "environment": "staging",
        "responsible": "Zoë",
        "stage": "deploy",
        "status": "succeeded",
    }


def test_a_valid_event_has_no_wrong_field(deployment: dict[str, Any]) -> None:
    assert validate(deployment) == {}


def test_every_missing_field_is_named() -> None:
    assert list(validate({})) == [name for name in FIELDS if name not in OPTIONAL]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("component", ""),
        ("component", 1),
        ("component", None),
        ("component", "a b"),
        ("component", "a" * 129),
        ("environment", "a/"),
        ("version", "a" * 129),
        ("version", "1\n"),
        ("version", "\ud800"),
        ("environment", "a" * 65),
        ("responsible", "a" * 257),
        ("responsible", ["me"]),
        ("stage", "Deploy"),
        ("stage", "smoke test"),
        ("stage", "a" * 17),
        ("stage", []),
        ("status", "SUCCEEDED"),
        ("details", []),
        ("details", None),
        ("details", {"text": "x" * DETAILS_BYTES}),
        ("details", {"at": "yesterday"}),
        ("details", {"pipeline": 7}),
        ("id", str(uuid.uuid4())),
        ("received_at", "2026-01-01T00:00:00Z"),
        ("actor", "jenkins"),
        ("colour", "red"),
    ],
)
def test_only_the_wrong_field_is_named(
    deployment: dict[str, Any], name: str, value: object
) -> None:
    assert list(validate({**deployment, name: value})) == [name]


@pytest.mark.parametrize("payload", [[], "text", 1, None, True])
def test_a_payload_that_is_not_an_object_is_wrong(payload: object) -> None:
    assert validate(payload) == {"body": "must be a JSON object"}


def test_an_unprintable_name_is_escaped(deployment: dict[str, Any]) -> None:
    (name,) = validate({**deployment, "\ud800": 1})
    assert name.encode("utf-8") == b"'\\ud800'"


def test_what_is_valid_can_be_stored(deployment: dict[str, Any]) -> None:
    assert check_storable(deployment) is None
    assert check_storable({**deployment, "actor": "jenkins"}) is None
    assert check_storable({**deployment, "actor": None, "colour": "red"}) is None


def test_what_only_a_request_must_not_have_can_be_stored(deployment: dict[str, Any]) -> None:
    odd = {**deployment, "component": "a b", "stage": "Smoke Test", "version": "1\n"}
    assert set(validate(odd)) == {"component", "stage", "version"}
    assert check_storable(odd) is None


@pytest.mark.parametrize("name", [*LENGTHS, "status", "actor"])
@pytest.mark.parametrize("value", ["", "x" * 257, ["x"], "\ud800"])
def test_what_the_table_cannot_hold_is_named(
    deployment: dict[str, Any], name: str, value: object
) -> None:
    reason = check_storable({**deployment, name: value})
    assert reason is not None
    assert reason.startswith(f"{name} must ")


def test_a_missing_text_cannot_be_stored(deployment: dict[str, Any]) -> None:
    for name in deployment:
        rest = {key: value for key, value in deployment.items() if key != name}
        assert str(check_storable(rest)).startswith(f"{name} must ")
