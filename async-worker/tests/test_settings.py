from collections.abc import Callable
from pathlib import Path

from async_worker.config import table
from async_worker.settings import Settings

README = Path(__file__).parents[1] / "README.md"


def test_the_readme_holds_the_table_of_what_is_declared() -> None:
    assert table(Settings) in README.read_text(encoding="utf-8")


def test_the_defaults_are_good_values(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    assert (settings.broker_url, settings.heartbeat_interval, settings.health_port) == (
        ("kafka.invalid:9092",),
        10,
        8001,
    )
