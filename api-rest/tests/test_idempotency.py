import pytest
from api_rest.errors import Problem
from api_rest.idempotency import KEY_LIMIT, fingerprint, key_hash, parse_key


def test_no_header_is_no_key() -> None:
    assert parse_key(None) is None


@pytest.mark.parametrize(
    "key", ["a", "8e03978e-40d5-43dd-bc93-6894a57f9324", '"quoted"', "with space", "~" * KEY_LIMIT]
)
def test_a_key_is_taken_as_it_is(key: str) -> None:
    assert parse_key(key) == key


@pytest.mark.parametrize(
    "key", ["", " ", " a", "a ", "~" * (KEY_LIMIT + 1), "\x00", "a\tb", "é", "a\x7f"]
)
def test_an_invalid_key_is_400(key: str) -> None:
    with pytest.raises(Problem, match="printable ASCII") as caught:
        parse_key(key)
    assert (caught.value.status, caught.value.code) == (400, "invalid-idempotency-key")


def test_a_key_is_stored_as_the_hash_of_client_and_key() -> None:
    # sha256("ci\nabc"), as the table's contract says.
    assert (
        key_hash("ci", "abc") == "d6fcdca63d53d67fbd4a05dc41f6532c777c953ba3fa7fa7f9e5d1b2ea1208e8"
    )


def test_clients_do_not_share_keys() -> None:
    assert len({key_hash("a", "b"), key_hash("", "b"), key_hash("b", "b"), key_hash("a", "B")}) == 4


def test_the_order_of_names_does_not_change_the_fingerprint() -> None:
    assert fingerprint({"a": 1, "b": {"c": "é", "d": 2}}) == fingerprint(
        {"b": {"d": 2, "c": "é"}, "a": 1}
    )


@pytest.mark.parametrize("other", [{"a": 2}, {"a": "1"}, {"a": 1, "b": None}, {"a": True}, {}])
def test_another_body_has_another_fingerprint(other: dict[str, object]) -> None:
    assert fingerprint(other) != fingerprint({"a": 1})
