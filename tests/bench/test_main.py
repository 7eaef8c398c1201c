"""Every section of `python -m ops.bench` has a title and a measurement."""

from ops.bench.__main__ import SECTIONS, TITLES, _measures, _parser
from ops.bench.stack import Images, Stack


def test_every_section_has_a_title_and_a_measurement() -> None:
    options = _parser().parse_args([])
    measures = _measures(Stack(Images.of({}), kafka_port=1, database_port=2), options)
    assert tuple(TITLES) == tuple(measures) == SECTIONS
