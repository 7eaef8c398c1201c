"""The app matches the document, for generated requests, in-process with SQLite."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from api_rest.answers import openapi_path
from api_rest.app import EXPORT_PARAMETERS, LIST_PARAMETERS, create_app
from api_rest.backends import Backends, ConnectingBackend
from api_rest.event import FIELDS
from api_rest.lag import LagMonitor
from api_rest.metrics import Metrics
from api_rest.openapi import document
from api_rest.readiness import State, mount
from api_rest.store import Store
from api_rest.tokens import AccessPlugin, Tokens
from bottle import Bottle
from hypothesis import HealthCheck, Phase, settings
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from ledger.tables import deployments, idempotency_keys, metadata
from ledger.tracing import Tracing
from schemathesis.config import SchemathesisConfig
from schemathesis.generation.stateful import run_state_machine_as_test
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from sqlalchemy import Engine, create_engine, delete, insert
from sqlalchemy.pool import StaticPool
from webtest import TestApp

EXAMPLES = 50
PHASES = (Phase.explicit, Phase.generate)
TOKEN = "write-0123456789abcdef"


class Kafka:
    """Stores what is published, as async-worker would."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def publish(self, *, key: str, value: bytes, headers: dict[str, str]) -> None:
        del key, headers
        event = {"details": None, **json.loads(value)}
        event["received_at"] = datetime.fromisoformat(event["received_at"]).replace(tzinfo=None)
        event["at"] = event["received_at"]
        with self._engine.begin() as connection:
            connection.execute(delete(deployments).where(deployments.c.id == event["id"]))
            connection.execute(insert(deployments), event)

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


def application(tokens: Tokens | None = None) -> tuple[Bottle, Engine]:
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )
    metadata.create_all(engine)
    broker: ConnectingBackend[Any] = ConnectingBackend("Kafka", lambda: Kafka(engine))
    store: ConnectingBackend[Any] = ConnectingBackend("the database", lambda: Store(engine))
    for connecting in (broker, store):
        connecting.start()
        connecting._thread.join()
    app = create_app(
        Backends(broker, store, LagMonitor()),
        max_body_bytes=65536,
        metrics=Metrics("1"),
        tracing=Tracing(),
        access=AccessPlugin(tokens, protect_reads=True) if tokens else None,
    )
    mount(app, lambda _: State(ready=True))
    return app, engine


def contract(app: Bottle) -> schemathesis.BaseSchema:
    config = {"generation": {"deterministic": True, "database": "none"}}
    return schemathesis.openapi.from_wsgi(
        "/openapi.json", app, config=SchemathesisConfig.from_dict(config)
    )


APP, ENGINE = application()
SCHEMA = contract(APP)


@pytest.fixture(autouse=True, scope="module")
def _database() -> Iterator[None]:
    yield
    ENGINE.dispose()


def forget_keys() -> None:
    """Give each case keys of its own: a used key with another body is refused."""
    with ENGINE.begin() as connection:
        connection.execute(delete(idempotency_keys))


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck)
)
def test_answers_match_the_document(case: schemathesis.Case[Any]) -> None:
    forget_keys()
    case.call_and_validate()


def test_links_match_the_document() -> None:
    class Chains(SCHEMA.as_state_machine()):  # type: ignore[misc]  # made at run time
        def before_call(self, case: schemathesis.Case[Any]) -> None:
            del case
            forget_keys()

    chains = settings(
        max_examples=10,
        stateful_step_count=4,
        deadline=None,
        derandomize=True,
        database=None,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Chains, settings=chains)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    file = tmp_path / "tokens"
    file.write_text(f"ci write {TOKEN}", encoding="utf-8")
    return Tokens(str(file))


def test_refused_calls_match_the_document(tokens: Tokens) -> None:
    app, engine = application(tokens)
    http = TestApp(app)
    paths = http.get("/openapi.json").json["paths"]
    protected = {
        (method, path)
        for path, operations in paths.items()
        for method, it in operations.items()
        if "security" in it
    }
    assert protected == {
        ("post", "/deployments"),
        *(
            ("get", path)
            for path in (
                "/",
                "/badges/{environment}/{component}.svg",
                "/deployments",
                "/deployments.csv",
                "/deployments/{event_id}",
                "/environments",
            )
        ),
    }
    for method, path in protected:
        http.request(path, method=method.upper(), status=401)
        assert "401" in paths[path][method]["responses"]
    engine.dispose()


def described(*, protect_writes: bool = True, protect_reads: bool = True) -> dict[str, Any]:
    return document(
        version="1.2.3",
        max_body_bytes=1000,
        listed=LIST_PARAMETERS,
        exported=EXPORT_PARAMETERS,
        protect_writes=protect_writes,
        protect_reads=protect_reads,
    )


@pytest.mark.parametrize("protect", [False, True])
def test_it_is_openapi_3_1(*, protect: bool) -> None:
    OPENAPI_31_VALIDATOR.validate(described(protect_writes=protect, protect_reads=protect))


def objects(node: object) -> Iterator[dict[str, Any]]:
    """Every object of the document."""
    if isinstance(node, dict):
        yield node
    for child in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from objects(child)


def test_every_reference_exists_and_every_component_is_used() -> None:
    whole = described()
    used = {node["$ref"] for node in objects(whole) if "$ref" in node}
    there = {
        f"#/components/{kind}/{name}"
        for kind, entries in whole["components"].items()
        for name in entries
    }
    assert used <= there
    # The scheme is used by its name.
    assert there - used == {"#/components/securitySchemes/token"}


def test_every_schema_is_valid_and_accepts_its_examples() -> None:
    schemas = described()["components"]["schemas"]
    for schema in schemas.values():
        validator = Draft202012Validator({**schema, "components": {"schemas": schemas}})
        validator.check_schema(schema)
        for example in schema.get("examples", ()):
            validator.validate(example)


def test_the_schema_accepts_what_the_checks_accept() -> None:
    whole = described()
    body = whole["components"]["schemas"]["NewDeployment"]
    assert set(body["properties"]) == {field.name for field in FIELDS}
    assert set(body["required"]) == {field.name for field in FIELDS if field.required}
    for route in APP.routes:
        operation = whole["paths"].get(openapi_path(route.rule), {}).get(route.method.lower())
        if operation is None:
            continue
        entries = [entry for entry in operation["parameters"] if entry.get("in") == "query"]
        queries = {entry["name"]: entry["schema"] for entry in entries}
        known = route.config.get("parameters", ())
        assert queries == {parameter.name: parameter.schema for parameter in known}
        assert "422" in operation["responses"]
    assert "1000 bytes" in whole["paths"]["/deployments"]["post"]["description"]


def test_every_route_is_described() -> None:
    served = {(openapi_path(route.rule), route.method.lower()) for route in APP.routes}
    documented = {
        (path, method) for path, operations in described()["paths"].items() for method in operations
    }
    assert served - documented == {("/assets/{name}", "get")}
    assert documented - served == set()
