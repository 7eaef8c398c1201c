"""The collector of traces, with a request that OpenTelemetry's classes wrote."""

from http.client import HTTPConnection

from tests.ledger.otlp import Span, collecting, read
from tests.ledger.stack import Address

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER = "01" * 16
# From opentelemetry-proto: two spans of a service, one of a resource without a name; with
# numbers, times and flags.
REQUEST = bytes.fromhex(
    "0ab2010a2b0a120a0b70726f636573732e706964120318ac020a150a0c736572766963652e6e616d6512050a"
    "036170691282010a030a017312570a100af7651916cd43dd8448eb211c80319c1208b7ad6b71692033312208"
    "00f067aa0ba902b72a07474554202fc3bc30023901000000000000004102000000000000004a080a016e1203"
    "18c8017a02180285010101000012220a100af7651916cd43dd8448eb211c80319c120800000000000000ff2a"
    "04726f6f740a25122312210a1001010101010101010101010101010101120802020202020202022a01783005"
)


def post(address: Address, path: str, body: bytes) -> int:
    connection = HTTPConnection(*address, timeout=10)
    try:
        connection.request("POST", path, body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_request_is_read_as_spans_with_service_and_parent() -> None:
    assert read(REQUEST) == [
        Span("api", "GET /ü", "server", TRACE, "b7ad6b7169203331", "00f067aa0ba902b7"),
        Span("api", "root", "unspecified", TRACE, "00000000000000ff", ""),
        Span("", "x", "consumer", OTHER, "02" * 8, ""),
    ]


def test_a_collector_returns_the_spans_of_one_trace() -> None:
    with collecting() as collector:
        assert post(("127.0.0.1", collector.port), "/v1/traces", REQUEST) == 200
        assert [span.name for span in collector.spans(TRACE)] == ["GET /ü", "root"]
        assert [span.name for span in collector.spans(OTHER)] == ["x"]
