from collections.abc import Callable
from pathlib import Path

from api_rest.settings import Settings
from ledger.config import reference

README = Path(__file__).parents[1] / "README.md"


def test_the_readme_lists_every_setting() -> None:
    assert reference(Settings) in README.read_text(encoding="utf-8")


def test_the_defaults_are_valid(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    assert (settings.broker_url, settings.db_port, settings.http_port) == (
        ("kafka.invalid:9092",),
        3306,
        8000,
    )


def test_the_largest_body_fits_into_one_kafka_message(
    make_settings: Callable[..., Settings],
) -> None:
    assert make_settings(MAX_BODY_BYTES="900000").max_body_bytes < 1_000_000
