from pathlib import Path

from async_worker.metrics import Metrics
from prometheus_client import REGISTRY

README = Path(__file__).parents[1] / "README.md"


def table() -> str:
    """Return the README's table of metrics."""
    rows = [("Metric", "Type", "What it is"), ("---",) * 3]
    for family in Metrics().registry.collect():
        if family.name.startswith("worker_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            rows.append((f"`{name}`", family.type, family.documentation))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def test_the_readme_lists_every_metric() -> None:
    assert table() in README.read_text(encoding="utf-8")


def test_each_outcome_exists_from_the_start() -> None:
    registry = Metrics().registry
    assert registry.get_sample_value("worker_messages_total", {"outcome": "dead_letter"}) == 0
    assert registry.get_sample_value("worker_notifications_total", {"outcome": "given_up"}) == 0


def test_the_global_registry_stays_empty() -> None:
    Metrics()
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("worker_")]
