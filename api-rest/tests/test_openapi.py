"""The app matches the document, for generated requests, in-process with SQLite."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from api_rest import idempotency, table
from api_rest.answers import openapi_path
from api_rest.app import (
    CSV_LIMIT_DEFAULT,
    CSV_LIMIT_MAX,
    LIMIT_DEFAULT,
    LIMIT_MAX,
    create_app,
)
from api_rest.backends import Backends, ConnectingBackend
from api_rest.badge import LABEL_LIMIT
from api_rest.drift_reports import FOUND_MAX, TEXT_MAX
from api_rest.drift_reports import parse as parse_report
from api_rest.freezes import parse
from api_rest.lag import LagMonitor
from api_rest.listing import CURSOR_PATTERN, Parameter
from api_rest.metrics import Metrics
from api_rest.openapi import document
from api_rest.readiness import State, mount
from api_rest.store import Store
from api_rest.tokens import AccessPlugin, Tokens
from bottle import Bottle
from hypothesis import HealthCheck, Phase, settings
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from ledger.event_rules import (
    ACTOR_LENGTH,
    DETAILS_BYTES,
    DETAILS_LEVELS,
    FIELDS,
    LENGTHS,
    NAME,
    OPTIONAL,
    PRINTABLE,
    REASON_LENGTH,
    STAGE,
    STAGES,
    STATUSES,
    validate,
)
from ledger.tables import deployments, freezes, idempotency_keys, metadata
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
    config: dict[str, Any] = {"generation": {"deterministic": True, "database": "none"}}
    # 413 too: what is wrong may be larger than a body may be.
    config["checks"] = {"negative_data_rejection": {"expected-statuses": ["4xx", "5xx"]}}
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
        ("post", "/drift"),
        ("post", "/freezes"),
        ("delete", "/freezes/{freeze_id}"),
        *(
            ("get", path)
            for path in (
                "/",
                "/badges/{environment}/{component}.svg",
                "/deployments",
                "/deployments.csv",
                "/deployments/{event_id}",
                "/environments",
                "/freezes",
            )
        ),
    }
    for method, path in protected:
        http.request(path, method=method.upper(), status=401)
        assert "401" in paths[path][method]["responses"]
    for path in (*(paths.keys() - {path for _, path in protected}), "/assets/page.css"):
        http.get(path, status=200)
    engine.dispose()


def described(*, protect_writes: bool = True, protect_reads: bool = True) -> dict[str, Any]:
    return document(
        version="1.2.3",
        max_body_bytes=1000,
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


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """The object that a reference means."""
    for name in node.get("$ref", "#").split("/")[1:]:
        node = (described() if name == "components" else node)[name]
    return node


def schema(name: str) -> dict[str, Any]:
    return resolved({"$ref": f"#/components/schemas/{name}"})


TEXT_RULES = {
    "Component": (LENGTHS["component"], NAME),
    "Version": (LENGTHS["version"], PRINTABLE),
    "Environment": (LENGTHS["environment"], NAME),
    "Responsible": (LENGTHS["responsible"], PRINTABLE),
    "Stage": (LENGTHS["stage"], STAGE),
    "Actor": (ACTOR_LENGTH, PRINTABLE),
}


@pytest.mark.parametrize("name", TEXT_RULES)
def test_the_limits_and_patterns_are_those_of_the_checks(name: str) -> None:
    length, (pattern, _) = TEXT_RULES[name]
    assert schema(name) == {
        "type": "string",
        "minLength": 1,
        "maxLength": length,
        "pattern": pattern,
    }


def test_the_body_has_the_fields_that_are_checked() -> None:
    body = schema("NewDeployment")
    assert list(body["properties"]) == list(FIELDS)
    assert set(body["required"]) == set(FIELDS) - OPTIONAL
    assert validate(body["examples"][0]) == {}
    assert schema("Status")["enum"] == list(STATUSES)
    details = body["properties"]["details"]
    assert f"{DETAILS_BYTES} bytes of JSON and {DETAILS_LEVELS} levels" in details["description"]
    assert ", ".join(STAGES) in body["properties"]["stage"]["description"]
    assert "1000 bytes" in described()["paths"]["/deployments"]["post"]["description"]


def test_an_event_has_what_is_stored() -> None:
    shown = set(schema("Deployment")["properties"])
    hidden = {"at", "pipeline", "step"}
    assert shown == {column.name for column in deployments.c} - hidden
    example = described()["paths"]["/deployments.csv"]["get"]["responses"]["200"]["content"]
    assert example["text/csv"]["example"] == table.head().decode("utf-8-sig")


def test_a_freeze_has_what_is_stored_and_what_is_checked() -> None:
    shown, sent = schema("Freeze")["properties"], schema("NewFreeze")
    assert set(shown) == {column.name for column in freezes.c} - {"ended_at"}
    assert set(sent["required"]) == set(sent["properties"])
    parse(sent["examples"][0], now=datetime.min)  # noqa: DTZ901
    reason = sent["properties"]["reason"]
    assert (reason["maxLength"], reason["pattern"]) == (REASON_LENGTH, PRINTABLE[0])


def test_a_report_of_drift_has_what_is_checked() -> None:
    report = schema("DriftReport")
    found, example = report["properties"]["found"], report["examples"][0]
    assert found["maxItems"] == FOUND_MAX
    assert found["items"]["properties"]["live"]["maxLength"] == TEXT_MAX
    assert len(parse_report(example, now=datetime.min).found) == 1  # noqa: DTZ901


def test_a_key_is_what_is_checked() -> None:
    (key, _) = described()["paths"]["/deployments"]["post"]["parameters"]
    assert key["name"] == idempotency.HEADER
    assert key["schema"]["maxLength"] == idempotency.KEY_LIMIT
    assert key["schema"]["pattern"] == idempotency.KEY_PATTERN
    assert idempotency.parse_key(key["example"])


def queries() -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Each route with the parameters of its query, as they are described."""
    paths = described()["paths"]
    for route in APP.routes:
        operation = paths.get(openapi_path(route.rule), {}).get(route.method.lower())
        if operation:
            entries = [resolved(entry) for entry in operation["parameters"]]
            query = [entry for entry in entries if entry["in"] == "query"]
            yield route.config.get("parameters", ()), query


@pytest.mark.parametrize(("known", "query"), list(queries()))
def test_a_query_has_the_parameters_that_are_checked(
    known: tuple[Parameter, ...], query: list[dict[str, Any]]
) -> None:
    assert {entry["name"] for entry in query} == {parameter.name for parameter in known}
    examples = {entry["name"]: str(entry["example"]) for entry in query}
    for parameter in known:
        parameter.parse(examples[parameter.name])


@pytest.mark.parametrize(
    ("path", "default", "most"),
    [
        ("/deployments", LIMIT_DEFAULT, LIMIT_MAX),
        ("/deployments.csv", CSV_LIMIT_DEFAULT, CSV_LIMIT_MAX),
    ],
)
def test_a_limit_is_what_is_checked(path: str, default: int, most: int) -> None:
    entries = map(resolved, described()["paths"][path]["get"]["parameters"])
    (limit,) = [entry["schema"] for entry in entries if entry["name"] == "limit"]
    assert limit == {"type": "integer", "minimum": 1, "maximum": most, "default": default}


def test_a_cursor_is_what_is_checked() -> None:
    cursor = resolved({"$ref": "#/components/parameters/Cursor"})
    assert cursor["schema"]["pattern"] == CURSOR_PATTERN
    assert schema("Page")["properties"]["next"]["pattern"] == CURSOR_PATTERN


def test_a_badge_is_of_names_that_are_checked() -> None:
    entries = described()["paths"]["/badges/{environment}/{component}.svg"]["get"]["parameters"]
    environment, component, label = (entry["schema"] for entry in entries[:3])
    assert component == schema("Component")
    # One segment of the path.
    assert environment == {**schema("Environment"), "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"}
    assert label == {**schema("Version"), "maxLength": LABEL_LIMIT}


def test_every_route_is_described() -> None:
    served = {(openapi_path(route.rule), route.method.lower()) for route in APP.routes}
    documented = {
        (path, method) for path, operations in described()["paths"].items() for method in operations
    }
    assert served - documented == {("/assets/{name}", "get")}
    assert documented - served == set()
