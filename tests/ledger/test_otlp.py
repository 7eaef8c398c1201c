"""The collector of traces, against a request that OpenTelemetry's own classes wrote."""

from http.client import HTTPConnection

from tests.ledger.client import Address
from tests.ledger.otlp import Span, collecting, read

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER = "01" * 16
# opentelemetry-proto: two spans of a service, one of a resource without a name; numbers, times and flags among their fields.
REQUEST = bytes.fromhex(
    "0ab2010a2b0a120a0b70726f636573732e706964120318ac020a150a0c736572766963652e6e616d6512050a036170691282010a030a01"
    "7312570a100af7651916cd43dd8448eb211c80319c1208b7ad6b7169203331220800f067aa0ba902b72a07474554202fc3bc3002390100"
    "0000000000004102000000000000004a080a016e120318c8017a02180285010101000012220a100af7651916cd43dd8448eb211c80319c"
    "120800000000000000ff2a04726f6f740a25122312210a1001010101010101010101010101010101120802020202020202022a01783005"
)


def post(address: Address, path: str, body: bytes) -> int:
    connection = HTTPConnection(*address, timeout=10)
    try:
        connection.request("POST", path, body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_request_says_which_span_of_which_service_is_whose_child() -> None:
    assert read(REQUEST) == [
        Span("api", "GET /ü", "server", TRACE, "b7ad6b7169203331", "00f067aa0ba902b7"),
        Span("api", "root", "unspecified", TRACE, "00000000000000ff", ""),
        Span("", "x", "consumer", OTHER, "02" * 8, ""),
    ]


def test_a_collector_keeps_what_is_sent_and_tells_of_one_trace() -> None:
    with collecting() as collector:
        assert post(("127.0.0.1", collector.port), "/v1/traces", REQUEST) == 200
        assert [span.name for span in collector.spans(TRACE)] == ["GET /ü", "root"]
        assert [span.name for span in collector.spans(OTHER)] == ["x"]
