from ledger.tracing import Tracing, export_to, start
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
CARRIER = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


def tracing(exporter: InMemorySpanExporter) -> Tracing:
    return export_to(exporter, service="s", environment="e", version="1")


def test_without_an_endpoint_no_span_is_recorded() -> None:
    tracing = start("", service="s", environment="e", version="1")
    with tracing.span("a", SpanKind.SERVER) as span:
        assert not span.is_recording()
        assert (tracing.carrier(), tracing.trace_id()) == ({}, None)
    tracing.record("b", SpanKind.CONSUMER, start_ns=0, carrier={}, attributes={})
    assert not tracing.enabled
    tracing.close()


def test_without_an_endpoint_the_trace_of_a_request_is_passed_on() -> None:
    tracing = Tracing()
    with tracing.span("a", SpanKind.SERVER, carrier=CARRIER):
        assert (tracing.carrier(), tracing.trace_id()) == (CARRIER, TRACE)


def test_an_endpoint_starts_the_sdk() -> None:
    tracing = start("http://127.0.0.1:1/", service="s", environment="e", version="1")
    assert tracing.enabled
    tracing.close()


def test_a_span_continues_the_carriers_trace_and_hands_it_on() -> None:
    exporter = InMemorySpanExporter()
    traced = tracing(exporter)
    with traced.span("POST", SpanKind.SERVER, carrier=CARRIER, attributes={"a": 1}) as outer:
        outer.set_attribute("b", 2)
        assert traced.trace_id() == TRACE
        with traced.span("send", SpanKind.PRODUCER) as inner:
            inner.set_status(StatusCode.ERROR, "no broker")
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
    assert post.instrumentation_scope is not None
    assert post.instrumentation_scope.name == "s"
    assert traced.trace_id() is None


def test_finished_work_is_recorded_below_its_carrier() -> None:
    exporter = InMemorySpanExporter()
    traced = tracing(exporter)
    traced.record(
        "process", SpanKind.CONSUMER, start_ns=5, carrier=CARRIER, attributes={"offset": 7}
    )
    traced.record(
        "process", SpanKind.CONSUMER, start_ns=5, carrier={"traceparent": "nonsense"}, attributes={}
    )
    traced.close()
    child, root = exporter.get_finished_spans()
    assert child.context is not None
    assert format(child.context.trace_id, "032x") == TRACE
    assert (child.start_time, child.attributes) == (5, {"offset": 7})
    assert root.parent is None
