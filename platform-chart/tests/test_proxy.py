"""templates/proxy: the values in haproxy.cfg. test_proxy_running.py tests a running HAProxy."""

from __future__ import annotations

import re

import pytest
from support import CHART, SECURED, alone, container, find, names, render


def configuration(**proxy: object) -> str:
    text: str = find(render({"proxy": proxy}), "ConfigMap", "platform-proxy")["data"]["haproxy.cfg"]
    return text


def settings(text: str, keyword: str) -> list[str]:
    """Return what follows a keyword, for each line that begins with it."""
    return re.findall(rf"^ *{re.escape(keyword)} (.+)$", text, re.MULTILINE)


def test_timeouts_come_from_the_values() -> None:
    seconds = {"connect": 1, "request": 2, "response": 3, "idle": 4, "queue": 5}
    text = configuration(timeouts=seconds)
    timeouts = dict(line.split() for line in settings(text, "timeout"))
    assert timeouts == {
        "connect": "1s",
        "http-request": "2s",
        "client": "2s",
        "queue": "5s",
        "server": "3s",
        "http-keep-alive": "4s",
        "tunnel": "1h",
    }
    assert settings(text, "hard-stop-after") == ["3s"]


def test_the_proxys_timeout_is_longer_than_the_apps() -> None:
    # api-rest: a request has 30 s to arrive, DELIVERY_TIMEOUT is 60 at most.
    (server,) = [
        line for line in settings(configuration(), "timeout") if line.startswith("server ")
    ]
    assert int(server.split()[1].removesuffix("s")) > 60


def test_connections_and_threads_are_limited() -> None:
    text = configuration(maxConnections=123, threads=3)
    assert settings(text, "maxconn") == ["123"]
    assert settings(text, "nbthread") == ["3"]


def test_requests_that_read_and_others_are_limited_apart() -> None:
    text = configuration(maxRequests=7)
    assert settings(text, "backend") == ["reads", "writes", "clients"]
    servers = [line for line in settings(text, "server") if line.startswith("app ")]
    assert [re.findall(r" maxconn (\d+) ", line) for line in servers] == [["7"], ["7"]]


def test_limits_of_an_address() -> None:
    text = configuration(limits={"connections": 7, "requestsPerSecond": 20})
    assert "reject if { sc0_conn_cur gt 7 }" in text
    assert "deny_status 429 if { sc0_http_req_rate gt 200 }" in text  # in 10 seconds


def test_without_limits_no_address_is_counted() -> None:
    text = configuration(limits={"connections": 0, "requestsPerSecond": 0})
    assert "sc0" not in text
    assert "stick-table" not in text


def test_headers_about_the_client_are_removed() -> None:
    assert settings(configuration(), "http-request del-header") == [
        "forwarded",
        "x-real-ip",
        "x-forwarded- -m beg",
        "x-auth-request- -m beg",
        "x-remote- -m beg",
        "remote- -m beg",
        "proxy",
    ]


def test_headers_of_a_trusted_proxy_are_kept() -> None:
    text = configuration(trustedProxies=["10.0.0.0/8", "fd00::/8"])
    assert settings(text, "acl trusted") == ["src 10.0.0.0/8 fd00::/8"]
    removed = settings(text, "http-request del-header")
    assert [line for line in removed if not line.endswith(" unless trusted")] == ["proxy"]
    assert settings(text, "tcp-request connection track-sc0") == [
        "src table clients unless trusted"
    ]


@pytest.mark.parametrize(
    ("metrics", "path"),
    [
        ({}, "none"),
        ({"port": "https"}, "none"),
        ({"port": "http", "path": "/prometheus"}, "/prometheus"),
    ],
)
def test_the_path_of_metrics_is_hidden_unless_they_are_read_by_the_proxy(
    metrics: dict[str, str], path: str
) -> None:
    documents = render(alone(**SECURED, metrics=metrics))
    env = container(documents, "platform-web", "proxy")["env"]
    assert {"name": "PRIVATE_PATH", "value": path} in env


@pytest.mark.parametrize("status", [400, 404, 408, 429, 502, 503, 504])
def test_its_errors_have_the_form_of_api_rests(status: int) -> None:
    (line,) = settings(configuration(), f"http-error status {status}")
    assert re.search(r"""string '\{"error":\{"code":"[a-z-]+","message":"[^"']+"\}\}'""", line)
    assert ("hdr Retry-After 1" in line) == (status in {429, 503})


def test_it_loads_the_script_for_renewed_certificates() -> None:
    data = find(render(), "ConfigMap", "platform-proxy")["data"]
    script = (CHART / "files/proxy/certificate.lua").read_text()
    assert data["certificate.lua"].strip() == script.strip()
    (arguments,) = settings(data["haproxy.cfg"], "lua-load")
    assert arguments.split() == [
        "/usr/local/etc/haproxy/certificate.lua",
        "/certificate/certificate.pem",
        "/certificate/./certificate.pem",
    ]


def test_there_is_none_without_tls() -> None:
    assert "platform-proxy" not in names(
        render({"components": {"api-rest": {"tls": {"enabled": False}}}}), "ConfigMap"
    )
