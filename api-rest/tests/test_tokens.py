import logging
import os
from pathlib import Path
from typing import Any

import pytest
from api_rest.answers import AnswerPlugin, answer
from api_rest.metrics import Metrics
from api_rest.proxies import NETWORKS, ProxyHeaders
from api_rest.tokens import AccessPlugin, Tokens, actor, parse, user
from bottle import Bottle
from ledger.config import SettingsError
from ledger.tracing import Tracing
from webtest import TestApp

READER, WRITER, NEW = "reader-0123456789", "writer-0123456789", "newer-0123456789a"
FILE = f"""
# who may do what
dashboard read {READER}

  ci  write\t{WRITER}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(FILE, encoding="utf-8")
    return file


@pytest.fixture
def tokens(file: Path) -> Tokens:
    return Tokens(str(file))


def names(tokens: Tokens, *presented: str) -> list[str | None]:
    return [found.name if (found := tokens.find(one)) else None for one in presented]


def test_lines_are_name_scope_and_token() -> None:
    assert [(token.name, token.scope) for token in parse(FILE).values()] == [
        ("dashboard", "read"),
        ("ci", "write"),
    ]


def test_a_client_may_have_two_tokens() -> None:
    assert len(parse(f"ci write {WRITER}\nci write {NEW}")) == 2


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["holds no token"]),
        ("# nothing\n", ["holds no token"]),
        ("ci write", ["line 1"]),
        (f"ci write {WRITER} more", ["line 1"]),
        (f"ci admin {WRITER}", ["scope must be read, write or"]),
        (f"ci read:*@* {WRITER}", ["scope must be read, write or"]),
        (f"ci write: {WRITER}", ["after write: must stand COMPONENT@ENVIRONMENT"]),
        (f"ci write:*@a,api-rest {WRITER}", ["after write: must stand COMPONENT@ENVIRONMENT"]),
        (f"ci write:[a]@b {WRITER}", ["after write: must stand COMPONENT@ENVIRONMENT"]),
        (f"c:i write {WRITER}", ["name must be"]),
        ("ci write 0123456789abcde", ["16 to 512"]),
        ("ci write é123456789abcdef", ["16 to 512"]),
        (f"a read {WRITER}\nb write {WRITER}", ["line 2: this token is there already"]),
        (f"a what {READER}\n\nb write short", ["line 1", "line 3"]),
    ],
)
def test_every_wrong_line_is_named_without_its_token(text: str, problems: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert len(caught.value.problems) == len(problems)
    for problem, expected in zip(caught.value.problems, problems, strict=True):
        assert problem.startswith("TOKENS_FILE: ")
        assert expected in problem
        assert WRITER not in problem
        assert "short" not in problem


def test_only_a_whole_token_is_known(tokens: Tokens) -> None:
    assert names(
        tokens, READER, WRITER, WRITER[:-1], f"{WRITER}x", WRITER.upper(), "", "\udcff"
    ) == [
        "dashboard",
        "ci",
        *[None] * 5,
    ]


def test_no_token_is_kept_as_it_is(tokens: Tokens) -> None:
    kept = repr(vars(tokens))
    assert "dashboard" in kept
    assert WRITER not in kept
    assert READER not in kept


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TOKENS_FILE: cannot read"):
        Tokens(str(tmp_path / "absent"))


def test_a_file_that_is_not_utf_8_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        Tokens(str(tmp_path / "tokens"))


def test_a_changed_file_is_read_again(tokens: Tokens, file: Path) -> None:
    file.write_text(f"new write {NEW}", encoding="utf-8")
    assert names(tokens, NEW, WRITER) == ["new", None]


def test_a_new_file_with_the_same_time_and_size_is_read(tokens: Tokens, file: Path) -> None:
    before = file.stat()
    other = file.with_name("other")
    other.write_text(FILE.replace(WRITER, NEW), encoding="utf-8")
    assert other.stat().st_size == before.st_size
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert names(tokens, NEW) == ["ci"]


def test_a_changed_link_of_a_kubernetes_secret_is_read(tmp_path: Path) -> None:
    for folder, token in (("..1", WRITER), ("..2", NEW)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tokens").write_text(f"ci write {token}", encoding="utf-8")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "tokens").symlink_to("..data/tokens")
    tokens = Tokens(str(tmp_path / "tokens"))
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert names(tokens, WRITER, NEW) == [None, "ci"]


@pytest.mark.parametrize("broken", ["ci write short", None])
def test_a_wrong_new_file_is_ignored_and_logged_once(
    tokens: Tokens, file: Path, caplog: pytest.LogCaptureFixture, broken: str | None
) -> None:
    file.unlink() if broken is None else file.write_text(broken, encoding="utf-8")
    for _ in range(3):
        assert names(tokens, WRITER, READER) == ["ci", "dashboard"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "short" not in caplog.text
    file.write_text(f"new write {NEW}", encoding="utf-8")
    assert names(tokens, NEW) == ["new"]


@pytest.mark.parametrize(
    ("scope", "place", "may"),
    [
        ("write", ("api-rest", "production"), True),
        ("read", ("api-rest", "production"), False),
        ("write:*@staging", ("team/api-rest", "staging"), True),
        ("write:*@staging", ("api-rest", "production"), False),
        ("write:*@staging,*@production", ("api-rest", "production"), True),
        ("write:api-*@prod-?", ("api-rest", "prod-1"), True),
        ("write:api-*@prod-?", ("web", "prod-1"), False),
        ("write:api-*@prod-?", ("api-rest", "prod-12"), False),
        ("write:api-rest@*", ("API-rest", "staging"), False),
    ],
)
def test_a_scope_names_components_and_environments(
    scope: str, place: tuple[str, str], *, may: bool
) -> None:
    (token,) = parse(f"ci {scope} {WRITER}").values()
    assert token.may_write(*place) is may


@pytest.fixture(params=[False, True])
def protect_reads(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def http(tokens: Tokens, *, protect_reads: bool) -> TestApp:
    app = Bottle()
    app.install(AnswerPlugin(Metrics("1"), Tracing()))
    app.install(AccessPlugin(tokens, protect_reads=protect_reads))
    for path, skip in (("/", []), ("/deployments", []), ("/metrics", ["access"])):
        app.route(path, ["GET"], lambda: answer(200, {"actor": actor()}), skip=skip)
    app.route("/deployments", ["POST"], lambda: answer(202, {"actor": actor()}))
    return TestApp(app)


def authorization(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}"}


def test_a_write_token_may_post_and_names_the_actor(http: TestApp) -> None:
    assert http.post("/deployments", headers=authorization(WRITER)).json == {"actor": "ci"}
    assert http.post("/deployments", headers=authorization(WRITER, "bEaReR")).json == {
        "actor": "ci"
    }


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({}, 'Bearer realm="ledger"'),
        (authorization(WRITER, "Basic"), 'Bearer realm="ledger"'),
        ({"Authorization": WRITER}, 'Bearer realm="ledger"'),
        (authorization("nobody-0123456789"), 'Bearer realm="ledger", error="invalid_token"'),
        (authorization("\u00d7"), 'Bearer realm="ledger", error="invalid_token"'),
        (authorization(""), 'Bearer realm="ledger", error="invalid_token"'),
    ],
)
def test_without_a_known_token_a_post_is_401(
    http: TestApp, headers: dict[str, Any], challenge: str
) -> None:
    response = http.post("/deployments", headers=headers, status=401)
    assert response.headers["WWW-Authenticate"] == challenge
    assert response.json["error"]["code"] == "unauthorized"


def test_a_read_token_may_not_post(http: TestApp) -> None:
    response = http.post("/deployments", headers=authorization(READER), status=403)
    assert 'error="insufficient_scope"' in response.headers["WWW-Authenticate"]
    assert response.json["error"]["message"] == "the token dashboard may only read"


@pytest.mark.parametrize("path", ["/", "/deployments"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reads_need_a_token_only_if_protected(
    http: TestApp, path: str, method: str, *, protect_reads: bool
) -> None:
    http.request(path, method=method, status=401 if protect_reads else 200)
    for token in (READER, WRITER):
        http.request(path, method=method, headers=authorization(token), status=200)


def test_a_route_that_skips_the_plugin_needs_no_token(http: TestApp) -> None:
    http.get("/metrics", status=200)


@pytest.mark.parametrize(
    ("header", "known"),
    [
        (f"Bearer {READER}", True),
        ("", False),
        ("Bearer nobody-0123456789", False),
    ],
)
def test_a_header_with_any_token_is_known(tokens: Tokens, header: str, *, known: bool) -> None:
    assert tokens.know(header) is known


def test_a_refused_body_is_not_read(http: TestApp) -> None:
    class Body:
        def read(self, *_: object) -> bytes:
            raise AssertionError("it was read")

    http.post("/deployments", status=401, extra_environ={"wsgi.input": Body()})


def test_the_log_has_the_actor_and_no_token(
    http: TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    bound: list[dict[str, Any]] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            import structlog  # noqa: PLC0415

            bound.append({**structlog.contextvars.get_contextvars(), "message": str(record.msg)})

    handler = Keeping()
    logging.getLogger("api_rest.answers").addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG):
            http.post("/deployments", headers=authorization(WRITER))
            http.post("/deployments", headers=authorization("nobody-0123456789"), status=401)
    finally:
        logging.getLogger("api_rest.answers").removeHandler(handler)
    assert [line.get("actor") for line in bound] == ["ci", None]
    assert WRITER not in str(bound)
    assert "nobody-0123456789" not in str(bound)


# ---- users that a proxy names

PROXY, STRANGER = "10.0.0.1", "192.0.2.1"
USER = {"X-Forwarded-User": "ana@example.com"}


def behind_proxy(tokens: Tokens | None = None, *, user_header: str = "X-Forwarded-User") -> TestApp:
    app = Bottle()
    app.install(AnswerPlugin(Metrics("1"), Tracing()))
    app.install(AccessPlugin(tokens, protect_reads=tokens is not None, user_header=user_header))
    app.route("/", ["GET", "POST"], lambda: answer(200, {"actor": actor(), "user": user()}))
    return TestApp(ProxyHeaders(app, NETWORKS.parse("10.0.0.0/8")))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_user_that_a_trusted_proxy_names_is_the_actor(method: str) -> None:
    environ = {"REMOTE_ADDR": PROXY}
    shown = behind_proxy().request("/", method=method, headers=USER, environ=environ).json
    assert shown == {"actor": "ana@example.com", "user": "ana@example.com"}


@pytest.mark.parametrize(
    ("address", "user_header"),
    [(STRANGER, "X-Forwarded-User"), (PROXY, ""), (PROXY, "X-Remote-User")],
)
def test_nobody_else_can_name_a_user(tokens: Tokens, address: str, user_header: str) -> None:
    sent: dict[str, Any] = {"headers": USER, "extra_environ": {"REMOTE_ADDR": address}}
    shown = behind_proxy(user_header=user_header).get("/", **sent).json
    assert shown == {"actor": "", "user": ""}
    behind_proxy(tokens, user_header=user_header).get("/", **sent, status=401)


def test_a_user_may_read_what_is_protected_and_writes_with_a_token_only(tokens: Tokens) -> None:
    app = behind_proxy(tokens)
    proxied = {"REMOTE_ADDR": PROXY}
    app.get("/", headers=USER, extra_environ=proxied, status=200)
    app.post("/", headers=USER, extra_environ=proxied, status=401)
    both = {**USER, **authorization(WRITER)}
    assert app.post("/", headers=both, extra_environ=proxied).json == {
        "actor": "ci",
        "user": "ana@example.com",
    }


@pytest.mark.parametrize("name", ["", "a\u00a0b", "x" * 257])
def test_what_the_ledger_cannot_show_is_no_user(name: str) -> None:
    environ = {"REMOTE_ADDR": PROXY, "HTTP_X_FORWARDED_USER": name.encode().decode("latin-1")}
    assert behind_proxy().get("/", extra_environ=environ).json["user"] == ""


def test_a_user_is_utf_8() -> None:
    environ = {"REMOTE_ADDR": PROXY, "HTTP_X_FORWARDED_USER": "Zoë".encode().decode("latin-1")}
    assert behind_proxy().get("/", extra_environ=environ).json["user"] == "Zoë"
