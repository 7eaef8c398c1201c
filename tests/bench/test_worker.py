"""The rows of async-worker's table."""

from ops.bench.worker import Turn, _limits, _rows


def turn(storing: float, total: float = 3.0, cpu: float = 0.5) -> Turn:
    return Turn(storing, total, cpu, {"consumer": cpu / total, "Kafka": 0.125})


def test_rows_are_medians_beside_faust() -> None:
    turns = {
        "async-worker": [turn(1.0), turn(2.0, 4.0, 0.6), turn(10.0, 12.0, 9.0)],
        "faust-streaming": [turn(4.0, 5.0, 2.0)] * 3,
    }
    assert list(_rows(1000, turns)) == [
        ["async-worker", "500", "2.0", "4.0", "600", "2.00"],
        ["faust-streaming", "250", "4.0", "5.0", "2000", "1.00"],
    ]


def test_what_each_part_used_is_told() -> None:
    assert list(_limits({"aiokafka": [turn(1.0), turn(1.0, 1.0), turn(1.0, 2.0)]})) == [
        "- aiokafka: consumer 0.25, Kafka 0.12"
    ]
