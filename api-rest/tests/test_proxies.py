from collections.abc import Callable
from typing import Any

import pytest
from api_rest.proxies import NETWORKS, ProxyHeaders, is_trusted
from api_rest.settings import Settings
from bottle import BaseRequest
from ledger.config import SettingsError

FORWARDED = {
    "HTTP_FORWARDED": "for=1.2.3.4",
    "HTTP_X_FORWARDED_FOR": "1.2.3.4",
    "HTTP_X_FORWARDED_HOST": "ledger.example",
    "HTTP_X_FORWARDED_PROTO": "https",
}


def seen(networks: str, peer: str, **headers: str) -> dict[str, Any]:
    """Return the environ that the app gets."""
    environs: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], _: object) -> list[bytes]:
        environs.append(environ)
        return []

    own = {"REMOTE_ADDR": peer, "HTTP_HOST": "inside:8000", "wsgi.url_scheme": "http"}
    ProxyHeaders(app, NETWORKS.parse(networks))({**own, **headers}, print)
    return environs[0]


@pytest.mark.parametrize(
    ("networks", "peer"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("192.0.2.1, 10.0.0.0/8", "10.1.2.3"),
        ("10.0.0.0/8", "::ffff:10.1.2.3"),
        ("fd00::/8", "fd00::1"),
        ("*", "192.0.2.7"),
        ("*", "2001:db8::7"),
    ],
)
def test_a_trusted_proxy_says_who_the_client_is_and_what_it_called(
    networks: str, peer: str
) -> None:
    environ = seen(networks, peer, **FORWARDED)
    assert is_trusted(environ)
    assert environ["REMOTE_ADDR"] == "1.2.3.4"
    assert BaseRequest(environ).url == "https://ledger.example/"


@pytest.mark.parametrize(
    ("networks", "peer"), [("", "127.0.0.1"), ("10.0.0.0/8", "11.0.0.1"), ("fd00::/8", "::1")]
)
def test_nobody_else_does(networks: str, peer: str) -> None:
    environ = seen(networks, peer, **FORWARDED)
    assert not is_trusted(environ)
    assert environ["REMOTE_ADDR"] == peer
    assert BaseRequest(environ).url == "http://inside:8000/"
    assert not FORWARDED.keys() & environ.keys()


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        ("1.2.3.4, 192.0.2.9", "192.0.2.9"),  # the client itself said 1.2.3.4
        ("192.0.2.9, 10.0.0.2, 10.0.0.3", "192.0.2.9"),
        ("10.0.0.2", "10.0.0.2"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("", "10.0.0.1"),
        ("unknown", "10.0.0.1"),
        ("1.2.3.4, unknown, 10.0.0.2", "10.0.0.2"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxys(hops: str, client: str) -> None:
    assert seen("10.0.0.0/8", "10.0.0.1", HTTP_X_FORWARDED_FOR=hops)["REMOTE_ADDR"] == client


def test_by_default_nobody_is_trusted(make_settings: Callable[..., Settings]) -> None:
    assert make_settings().trusted_proxies == ()


@pytest.mark.parametrize("networks", ["10.0.0.1/8", "proxy", "10.0.0.0/8;fd00::/8", "*, 10.0.0.1"])
def test_what_is_no_network_is_a_wrong_setting(
    make_settings: Callable[..., Settings], networks: str
) -> None:
    with pytest.raises(SettingsError, match="TRUSTED_PROXIES: "):
        make_settings(TRUSTED_PROXIES=networks)
