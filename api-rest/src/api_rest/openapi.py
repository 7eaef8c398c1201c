"""The API as OpenAPI 3.1, from the declarations that requests are checked against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .badge import PARAMETERS
from .event import ACTOR, FIELDS, STATUSES
from .idempotency import HEADER, KEY_LIMIT, KEY_PATTERN
from .listing import CURSOR_PATTERN
from .table import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .listing import Parameter

__all__ = ["document"]

Json = dict[str, Any]

EXAMPLE_ID = "0b1e1a5c-6f0d-4f6e-9f57-3f6d1f2f7a11"
EXAMPLE_TIME = "2026-01-31T12:00:00.000000Z"
EXAMPLE_EVENT: Json = {
    "id": EXAMPLE_ID,
    **{field.name: field.example for field in (*FIELDS, ACTOR)},
    "received_at": EXAMPLE_TIME,
}
# What uuid.UUID() reads, without braces and urn:uuid:.
UUID_PATTERN = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
# A name in one segment of a path.
SEGMENT_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
DESCRIPTION = """Which versions were deployed where, when and by whom, with each stage's outcome.

An event is accepted once Kafka has it. It can be read once async-worker has stored it, usually
within a second.
Every error has the same shape, also 404 and 405 for unknown addresses and methods.
422 names every wrong field or parameter. An unknown or repeated one is wrong too.
503 means: try again after Retry-After seconds."""

# The descriptions of the errors, whose bodies all have the same shape.
REFUSALS = {
    "400": "The request is malformed, its body is not JSON, or the Idempotency-Key is invalid",
    "401": "The token is missing or unknown",
    "403": "The token may only read, or not write about this component in this environment",
    "404": "There is no such deployment, it is not stored yet, or the name is invalid",
    "413": "The body is too large, for the server or for Kafka",
    "415": "The headers do not declare uncompressed JSON in UTF-8",
    "422": "Fields or parameters are wrong, or the Idempotency-Key was used with another body",
    "500": "A bug; the log has the details",
    "503": "Kafka or the database is away, Kafka does not take this event (`refused-by-kafka`), "
    "there was no time for this request (`busy`, `took-too-long`), the server is overloaded, or it "
    "shuts down",
}


def document(  # noqa: PLR0913  one argument for each part of the document
    *,
    version: str,
    max_body_bytes: int,
    listed: Iterable[Parameter],
    exported: Iterable[Parameter],
    protect_writes: bool,
    protect_reads: bool,
) -> Json:
    """Return the OpenAPI document of a server with these limits."""
    record = _record(max_body_bytes)
    reads: dict[str, Json] = {
        "/deployments": _recent(listed),
        "/deployments.csv": _export(exported),
        "/deployments/{event_id}": _one(),
        "/environments": _environments(),
        "/": _page(),
        "/badges/{environment}/{component}.svg": _badge(),
    }
    if protect_writes:
        _protect(record, "401", "403")
    if protect_reads:
        for operation in reads.values():
            _protect(operation, "401")
    paths: dict[str, Json] = {
        path: {"get": operation} for path, operation in {**reads, **_probes()}.items()
    }
    paths["/deployments"]["post"] = record
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Deployment ledger",
            "version": version,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "headers": _headers(),
            "responses": {
                f"Error{status}": _refusal(status, meaning) for status, meaning in REFUSALS.items()
            },
            "parameters": {"RequestId": _request_id()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the server's TOKENS_FILE",
                }
            },
        },
    }


def _protect(operation: Json, *refusals: str) -> None:
    operation["security"] = [{"token": []}]
    operation["responses"].update(_errors(*refusals))


def _record(max_body_bytes: int) -> Json:
    links = {
        "stored": {
            "operationId": "getDeployment",
            "parameters": {"event_id": "$response.body#/id"},
            "description": "The deployment, once it is stored",
        }
    }
    return _operation(
        "recordDeployment",
        "Record a deployment event",
        f"The body may have at most {max_body_bytes} bytes. A retry with the same {HEADER} and "
        "the same body gets the same answer and has no further effect. Without the header, a "
        "retry after a 503 may record the event twice. Keys are kept for a week.",
        {
            "202": {
                "description": "Every in-sync replica of Kafka has the event",
                "headers": {
                    **_common_headers(),
                    "Location": {"$ref": "#/components/headers/Location"},
                },
                "content": _json("#/components/schemas/Accepted"),
                "links": links,
            },
            **_errors("413", "415", "500", "503"),
        },
        parameters=[
            {
                "name": HEADER,
                "in": "header",
                "description": "What the client calls this event, to send it again safely",
                "schema": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": KEY_LIMIT,
                    "pattern": KEY_PATTERN,
                },
                "example": "deploy-4711",
            }
        ],
        requestBody={"required": True, "content": _json("#/components/schemas/NewDeployment")},
    )


def _recent(parameters: Iterable[Parameter]) -> Json:
    return _operation(
        "listDeployments",
        "List deployments, the newest first",
        "A page holds at most `limit` events, and fewer where they are large: it ends at about "
        "1 MB. Only the last page's `next` is null; any other leads to the following page and "
        "stays right while new events arrive.",
        {
            "200": {
                "description": "One page",
                "headers": {**_common_headers(), "Link": {"$ref": "#/components/headers/Link"}},
                "content": _json("#/components/schemas/Page"),
                "links": {
                    "next": {
                        "operationId": "listDeployments",
                        "parameters": {"cursor": "$response.body#/next"},
                    },
                    "first": {
                        "operationId": "getDeployment",
                        "parameters": {"event_id": "$response.body#/deployments/0/id"},
                    },
                },
            },
            **_errors("500", "503"),
        },
        parameters=[_query(parameter) for parameter in parameters],
    )


def _export(parameters: Iterable[Parameter]) -> Json:
    return _operation(
        "exportDeployments",
        "List deployments as CSV",
        "UTF-8 with a byte order mark, CRLF, RFC 4180, one header row; `details` is one column "
        "of JSON. A cell that a spreadsheet would take for a formula begins with an "
        "apostrophe. The Link header leads to the events after the first `limit`. Events that "
        "are stored while the table is sent may be added. A reset connection means that the "
        "table is incomplete.",
        {
            "200": {
                "description": "The table",
                "headers": {
                    **_common_headers(),
                    "Link": {"$ref": "#/components/headers/Link"},
                    "Content-Disposition": {"$ref": "#/components/headers/ContentDisposition"},
                },
                "content": {
                    "text/csv": {
                        "schema": {"type": "string"},
                        "example": ",".join(COLUMNS) + "\r\n",
                    }
                },
            },
            **_errors("500", "503"),
        },
        parameters=[_query(parameter) for parameter in parameters],
    )


def _one() -> Json:
    return _operation(
        "getDeployment",
        "Show one deployment",
        "An event can be read once it is stored.",
        {
            "200": _answer("The deployment", "#/components/schemas/Deployment"),
            **_errors("404", "500", "503"),
        },
        parameters=[
            {
                "name": "event_id",
                "in": "path",
                "required": True,
                "description": "The id that POST answered with",
                "schema": {"type": "string", "format": "uuid", "pattern": UUID_PATTERN},
                "example": EXAMPLE_ID,
            }
        ],
    )


def _environments() -> Json:
    return _operation(
        "listEnvironments",
        "List what runs where",
        "The newest `deploy succeeded` of each component in each environment whose own run was "
        "not rolled back, with the stages of the run; none if the component was removed later. "
        "All times are the `at` of the events' details, or the server's time if it is missing, "
        "later than the server's, or more than a week older. The answer may be 2 s old.",
        {
            "200": _answer(
                "Every environment with a running component", "#/components/schemas/Environments"
            ),
            **_errors("500", "503"),
        },
    )


def _page() -> Json:
    html = {"text/html": {"schema": {"type": "string"}}}
    return _operation(
        "showPage",
        "Show the same as a page for people",
        "It refreshes itself, and works without JavaScript. What it shows may be 2 s old.",
        {
            "200": {"description": "The page", "headers": _common_headers(), "content": html},
            "304": {
                "description": "Nothing has changed since the ETag of If-None-Match",
                "headers": _common_headers(),
            },
            "503": {
                "description": "The database is away or busy; the page says so",
                "headers": {
                    **_common_headers(),
                    "Retry-After": {"$ref": "#/components/headers/RetryAfter"},
                },
                "content": html,
            },
            **_errors("500"),
        },
    )


def _badge() -> Json:
    svg = {"image/svg+xml": {"schema": {"type": "string"}}}
    fields = {field.name: field for field in FIELDS}
    environment, component = fields["environment"], fields["component"]
    kept = {
        "ETag": {"$ref": "#/components/headers/ETag"},
        "Cache-Control": {"$ref": "#/components/headers/CacheControl"},
    }
    return _operation(
        "showBadge",
        "Show the version of a component in an environment as a badge",
        "For a README. Green with the running version; amber while a newer run is under way; "
        "red after it failed or was rolled back; grey if nothing is deployed, or a run was "
        "aborted. The words say the same. An environment with a slash in its name has no "
        "badge. A valid address always gets a picture, and only a wrong one a JSON error.",
        {
            "200": {
                "description": "The badge",
                "headers": {**_common_headers(), **kept},
                "content": svg,
            },
            "304": {
                "description": "Nothing has changed since the ETag of If-None-Match",
                "headers": {**_common_headers(), **kept},
            },
            "503": {
                "description": "The database is away or busy: a badge that says `unknown`; or the "
                "server is overloaded or shuts down",
                "headers": {
                    **_common_headers(),
                    "Retry-After": {"$ref": "#/components/headers/RetryAfter"},
                },
                "content": {**svg, **_json("#/components/schemas/Error")},
            },
            **_errors("404", "500"),
        },
        parameters=[
            {
                "name": "environment",
                "in": "path",
                "required": True,
                "description": "where",
                "schema": {**environment.schema, "pattern": SEGMENT_PATTERN},
                "example": environment.example,
            },
            {
                "name": "component",
                "in": "path",
                "required": True,
                "description": "what",
                "schema": dict(component.schema),
                "example": component.example,
            },
            *(_query(parameter) for parameter in PARAMETERS),
        ],
    )


def _probes() -> dict[str, Json]:
    not_ready = _refusal("503", "Not ready; the reasons are told")
    not_ready["content"]["application/json"]["schema"] = {
        "anyOf": [{"$ref": "#/components/schemas/NotReady"}, {"$ref": "#/components/schemas/Error"}]
    }
    del not_ready["headers"]["Retry-After"]
    text = {"schema": {"type": "string"}}
    return {
        "/health": _operation(
            "getHealth",
            "Tell that the process is alive",
            "Depends on nothing.",
            {"200": _answer("Alive", "#/components/schemas/Health"), **_errors("500")},
        ),
        "/ready": _operation(
            "getReadiness",
            "Tell whether this instance takes requests",
            "503 until Kafka and the database have answered once, and while the server shuts down. "
            "Otherwise 200, with the problems of now: all instances have the same, and still serve "
            "the requests that do not need the missing service.",
            {
                "200": _answer("Ready", "#/components/schemas/Ready"),
                "503": not_ready,
                **_errors("500"),
            },
        ),
        "/metrics": _operation(
            "getMetrics",
            "Show measurements for Prometheus",
            "In the newest format of those that the Accept header names.",
            {
                "200": {
                    "description": "The measurements",
                    "headers": _common_headers(),
                    "content": {"text/plain": text, "application/openmetrics-text": text},
                },
                **_errors("500"),
            },
        ),
        "/openapi.json": _operation(
            "getContract",
            "Show this document",
            "",
            {
                "200": _answer(
                    "This document", {"type": "object", "required": ["openapi", "paths"]}
                ),
                **_errors("500"),
            },
        ),
    }


def _operation(
    identity: str, summary: str, description: str, responses: Json, **more: object
) -> Json:
    # The server refuses malformed requests, and every route refuses unknown parameters.
    answers = {**responses, **_errors("400", "422")}
    operation: Json = {"operationId": identity, "summary": summary, "responses": answers, **more}
    if description:
        operation["description"] = description
    operation["parameters"] = [
        *operation.get("parameters", ()),
        {"$ref": "#/components/parameters/RequestId"},
    ]
    return operation


def _query(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.help,
        "schema": dict(parameter.schema),
        "example": parameter.example,
    }


def _answer(description: str, schema: str | Json) -> Json:
    return {"description": description, "headers": _common_headers(), "content": _json(schema)}


def _json(schema: str | Json) -> Json:
    return {"application/json": {"schema": {"$ref": schema} if isinstance(schema, str) else schema}}


def _errors(*statuses: str) -> Json:
    return {status: {"$ref": f"#/components/responses/Error{status}"} for status in statuses}


def _refusal(status: str, meaning: str) -> Json:
    headers = _common_headers()
    if status in {"401", "403"}:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/WWWAuthenticate"}
    if status == "503":
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return {
        "description": meaning,
        "headers": headers,
        "content": _json("#/components/schemas/Error"),
    }


def _common_headers() -> Json:
    return {"X-Request-ID": {"$ref": "#/components/headers/XRequestID"}}


def _request_id() -> Json:
    return {
        "name": "X-Request-ID",
        "in": "header",
        "description": "The id of the request in logs and traces; replaced if it is not 1 to 64 "
        "letters, digits and ._-",
        "schema": {"type": "string"},
        "example": "build-4711",
    }


def _headers() -> Json:
    return {
        "XRequestID": {
            "description": "What the request is called in the log",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        },
        "Location": {
            "description": "Where the deployment can be read once it is stored",
            "schema": {"type": "string"},
        },
        "Link": {
            "description": 'The next page, rel="next"; absent on the last one',
            "schema": {"type": "string"},
        },
        "ContentDisposition": {"description": "The file's name", "schema": {"type": "string"}},
        "ETag": {"description": "The name of just this answer", "schema": {"type": "string"}},
        "CacheControl": {"description": "How long it may be kept", "schema": {"type": "string"}},
        "RetryAfter": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}},
        "WWWAuthenticate": {
            "description": "Bearer, and what was wrong",
            "schema": {"type": "string"},
        },
    }


def _schemas() -> Json:
    fields = {field.name: {**field.schema, "description": field.help} for field in FIELDS}
    required = [field.name for field in FIELDS if field.required]
    instant = {"type": "string", "format": "date-time"}
    maybe_instant = {"type": ["string", "null"], "format": "date-time"}
    set_by_server: Json = {
        "id": {"type": "string", "format": "uuid", "description": "set by the server"},
        "received_at": {**instant, "description": "UTC, set by the server"},
    }
    # Another producer of the topic may check less, so stored events have only their types.
    stored = {
        name: {"type": schema["type"], "description": schema["description"]}
        for name, schema in fields.items()
    }
    stored["actor"] = {"type": ["string", "null"], "description": ACTOR.help}
    stage = _object(
        {
            "stage": stored["stage"],
            "status": {"type": "string", "enum": list(STATUSES)},
            "started_at": maybe_instant,
            "ended_at": maybe_instant,
            "seconds": {"type": ["number", "null"]},
        }
    )
    running = _object(
        {
            "component": stored["component"],
            "version": stored["version"],
            "since": instant,
            "responsible": stored["responsible"],
            "actor": stored["actor"],
            "stages": {"type": "array", "items": stage},
        }
    )
    reasons: Json = {"type": "array", "items": {"type": "string"}}
    environment = _object(
        {"environment": stored["environment"], "components": {"type": "array", "items": running}}
    )
    deployment = _object(
        {**set_by_server, **stored}, required=["id", *required, "actor", "received_at"]
    )
    example = {name: value for name, value in EXAMPLE_EVENT.items() if name in fields}
    return {
        "NewDeployment": {**_object(fields, required=required), "examples": [example]},
        "Accepted": {
            **_object(set_by_server),
            "examples": [{"id": EXAMPLE_ID, "received_at": EXAMPLE_TIME}],
        },
        "Deployment": {**deployment, "examples": [EXAMPLE_EVENT]},
        "Page": _object(
            {
                "deployments": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/Deployment"},
                },
                "next": {
                    "type": ["string", "null"],
                    "pattern": CURSOR_PATTERN,
                    "description": "the cursor of the next page; null on the last one",
                },
            }
        ),
        "Environments": _object({"environments": {"type": "array", "items": environment}}),
        "Health": _object({"status": {"const": "alive"}}),
        "Ready": {
            "oneOf": [
                _object({"status": {"const": "ready"}}),
                _object({"status": {"const": "degraded"}, "reasons": reasons}),
            ]
        },
        "NotReady": _object({"status": {"const": "not ready"}, "reasons": reasons}),
        "Error": {
            **_object(
                {
                    "error": _object(
                        {
                            "code": {"type": "string", "description": "for programs"},
                            "message": {"type": "string", "description": "for people"},
                            "fields": {
                                "type": "object",
                                "additionalProperties": {"type": "string"},
                                "description": "what is wrong with each field or parameter",
                            },
                        },
                        required=["code", "message"],
                    )
                }
            ),
            "examples": [
                {
                    "error": {
                        "code": "invalid-fields",
                        "message": "some fields are wrong",
                        "fields": {"status": f"must be one of {', '.join(STATUSES)}"},
                    }
                }
            ],
        },
    }


def _object(properties: Json, *, required: list[str] | None = None) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }
