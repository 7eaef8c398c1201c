from ledger.tracing import OtlpTracing, Tracing, start
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
CARRIER = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


def tracing(exporter: InMemorySpanExporter) -> OtlpTracing:
    return OtlpTracing(exporter, service="s", environment="e", version="1")


def test_nothing_is_traced_without_an_endpoint() -> None:
    none = start("", service="s", environment="e", version="1")
    assert type(none) is Tracing
    with none.span("a", "server") as span:
        span.set({"x": 1})
        span.fail("bad")
    none.record("b", "consumer", start_ns=0, carrier=CARRIER, attributes={})
    assert (none.carrier(), none.trace_id(), none.enabled) == ({}, None, False)
    none.close()


def test_an_endpoint_starts_the_sdk() -> None:
    found = start("http://127.0.0.1:1/", service="s", environment="e", version="1")
    assert type(found) is OtlpTracing
    found.close()


def test_a_span_continues_the_carriers_trace_and_hands_it_on() -> None:
    exporter = InMemorySpanExporter()
    traced = tracing(exporter)
    with traced.span("POST", "server", carrier=CARRIER, attributes={"a": 1}) as outer:
        outer.set({"b": 2})
        assert traced.trace_id() == TRACE
        with traced.span("send", "producer") as inner:
            inner.fail("no broker")
            handed_on = traced.carrier()["traceparent"]
    traced.close()
    send, post = exporter.get_finished_spans()
    assert post.parent is not None
    assert send.parent is not None
    assert send.context is not None
    assert post.context is not None
    assert format(post.parent.span_id, "016x") == PARENT
    assert send.parent.span_id == post.context.span_id
    assert handed_on == f"00-{TRACE}-{send.context.span_id:016x}-01"
    assert (post.kind, send.kind) == (SpanKind.SERVER, SpanKind.PRODUCER)
    assert dict(post.attributes or {}) == {"a": 1, "b": 2}
    assert (send.status.status_code, send.status.description) == (StatusCode.ERROR, "no broker")
    assert post.resource.attributes["service.name"] == "s"
    assert traced.trace_id() is None


def test_work_that_is_done_is_recorded_below_its_carrier() -> None:
    exporter = InMemorySpanExporter()
    traced = tracing(exporter)
    traced.record("process", "consumer", start_ns=5, carrier=CARRIER, attributes={"offset": 7})
    traced.record(
        "process", "consumer", start_ns=5, carrier={"traceparent": "nonsense"}, attributes={}
    )
    traced.close()
    child, root = exporter.get_finished_spans()
    assert child.context is not None
    assert format(child.context.trace_id, "032x") == TRACE
    assert (child.start_time, child.attributes) == (5, {"offset": 7})
    assert root.parent is None
