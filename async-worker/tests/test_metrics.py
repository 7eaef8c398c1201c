from pathlib import Path

from async_worker.metrics import Metrics, table
from prometheus_client import REGISTRY

README = Path(__file__).parents[1] / "README.md"


def test_the_readme_lists_every_metric() -> None:
    assert table() in README.read_text(encoding="utf-8")


def test_the_outcomes_are_there_from_the_start() -> None:
    registry = Metrics().registry
    assert registry.get_sample_value("worker_messages_total", {"outcome": "dead_letter"}) == 0
    assert registry.get_sample_value("worker_notifications_total", {"outcome": "given_up"}) == 0


def test_nothing_gets_into_the_registry_of_the_process() -> None:
    Metrics()
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("worker_")]
