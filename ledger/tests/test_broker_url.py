import pytest
from ledger.broker_url import parse_broker_url


@pytest.mark.parametrize(
    ("text", "brokers"),
    [
        ("kafka://kafka", ("kafka:9092",)),
        ("kafka://kafka:19092", ("kafka:19092",)),
        ("KAFKA://kafka/", ("kafka:9092",)),
        ("kafka:19092", ("kafka:19092",)),
        ("kafka", ("kafka:9092",)),
        ("10.0.0.1:1", ("10.0.0.1:1",)),
        ("[::1]:19092", ("[::1]:19092",)),
        ("kafka://[fe80::1]", ("[fe80::1]:9092",)),
        ("kafka://a:1,kafka://b, c:3", ("a:1", "b:9092", "c:3")),
    ],
)
def test_every_format_is_parsed(text: str, brokers: tuple[str, ...]) -> None:
    assert parse_broker_url(text) == brokers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,,b",
        "http://kafka",
        "kafka://",
        "kafka://:9092",
        "kafka:port",
        "kafka:0",
        "kafka:65536",
        "user@kafka",
        "kafka/topic",
        "kafka?x=1",
        "ka fka",
        "[::1",
    ],
)
def test_anything_else_is_an_error_with_the_formats(text: str) -> None:
    with pytest.raises(ValueError, match="write kafka://host"):
        parse_broker_url(text)
