"""The rows of async-worker's table."""

from ops.bench.worker import Run, _limits, _rows


def run(storing: float, total: float = 3.0, cpu: float = 0.5) -> Run:
    return Run(storing, total, cpu, {"consumer": cpu / total, "Kafka": 0.125})


def test_rows_are_medians_beside_faust() -> None:
    runs = {
        "async-worker": [run(1.0), run(2.0, 4.0, 0.6), run(10.0, 12.0, 9.0)],
        "faust-streaming": [run(4.0, 5.0, 2.0)] * 3,
    }
    assert list(_rows(1000, runs)) == [
        ["async-worker", "500", "2.0", "4.0", "600", "2.00"],
        ["faust-streaming", "250", "4.0", "5.0", "2000", "1.00"],
    ]


def test_the_processors_of_each_part_are_listed() -> None:
    assert list(_limits({"aiokafka": [run(1.0), run(1.0, 1.0), run(1.0, 2.0)]})) == [
        "- aiokafka: consumer 0.25, Kafka 0.12"
    ]
