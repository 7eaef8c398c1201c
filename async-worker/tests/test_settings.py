from collections.abc import Callable
from pathlib import Path

from async_worker.settings import Settings
from ledger.config import reference

README = Path(__file__).parents[1] / "README.md"


def test_the_readme_lists_every_setting() -> None:
    assert reference(Settings) in README.read_text(encoding="utf-8")


def test_the_defaults_are_valid(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    assert (settings.broker_url, settings.heartbeat_interval, settings.management_port) == (
        ("kafka.invalid:9092",),
        10,
        8001,
    )
