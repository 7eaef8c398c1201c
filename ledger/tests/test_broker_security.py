import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from ledger.broker_security import BrokerSettings, client_options
from ledger.config import SettingsError

LOGIN = {"BROKER_USERNAME": "ledger", "BROKER_PASSWORD": "hunter2"}


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return str(file)


def test_the_default_has_no_encryption_and_no_login(
    make_settings: Callable[..., BrokerSettings],
) -> None:
    assert client_options(make_settings()) == {"security_protocol": "PLAINTEXT"}


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_tls_trusts_the_ca_file(
    make_settings: Callable[..., BrokerSettings], ca_file: str, protocol: str
) -> None:
    login = LOGIN if protocol == "SASL_SSL" else {}
    options = client_options(
        make_settings(BROKER_SECURITY_PROTOCOL=protocol, BROKER_CA_FILE=ca_file, **login)
    )
    context = options["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert options["security_protocol"] == protocol
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_the_login_is_passed_on(
    make_settings: Callable[..., BrokerSettings], protocol: str
) -> None:
    options = client_options(make_settings(BROKER_SECURITY_PROTOCOL=protocol, **LOGIN))
    assert ("ssl_context" in options) == (protocol == "SASL_SSL")
    assert {name: value for name, value in options.items() if name.startswith("sasl")} == {
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "ledger",
        "sasl_plain_password": "hunter2",
    }


@pytest.mark.parametrize(
    ("mechanism", "escaped"),
    [("SCRAM-SHA-512", "a=3Db=2Cc"), ("SCRAM-SHA-256", "a=3Db=2Cc"), ("PLAIN", "a=b,c")],
)
def test_a_name_is_escaped_for_scram(
    make_settings: Callable[..., BrokerSettings], mechanism: str, escaped: str
) -> None:
    login = {**LOGIN, "BROKER_USERNAME": "a=b,c", "BROKER_SASL_MECHANISM": mechanism}
    options = client_options(make_settings(BROKER_SECURITY_PROTOCOL="SASL_PLAINTEXT", **login))
    assert (options["sasl_mechanism"], options["sasl_plain_username"]) == (mechanism, escaped)


def test_the_password_may_come_from_a_file_and_is_not_printed(
    make_settings: Callable[..., BrokerSettings], tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\n", encoding="utf-8")
    login = {"BROKER_USERNAME": "ledger", "BROKER_PASSWORD_FILE": str(file)}
    settings = make_settings(BROKER_SECURITY_PROTOCOL="SASL_PLAINTEXT", **login)
    assert settings.broker_password == "hunter2"
    assert "hunter2" not in repr(settings)


def problems(make_settings: Callable[..., BrokerSettings], **changes: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        make_settings(**changes)
    assert "hunter2" not in str(caught.value)
    return caught.value.problems


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_a_login_needs_name_and_password(
    make_settings: Callable[..., BrokerSettings], protocol: str
) -> None:
    assert problems(make_settings, BROKER_SECURITY_PROTOCOL=protocol) == [
        f"BROKER_USERNAME: BROKER_SECURITY_PROTOCOL={protocol} needs it",
        f"BROKER_PASSWORD: BROKER_SECURITY_PROTOCOL={protocol} needs it",
    ]


@pytest.mark.parametrize(
    ("protocol", "other"), [("PLAINTEXT", "SASL_SSL or SASL_PLAINTEXT"), ("SSL", "SASL_SSL")]
)
def test_an_unused_login_is_a_problem(
    make_settings: Callable[..., BrokerSettings], protocol: str, other: str
) -> None:
    assert problems(make_settings, BROKER_SECURITY_PROTOCOL=protocol, **LOGIN) == [
        f"{name}: BROKER_SECURITY_PROTOCOL={protocol} logs nobody in; unset it, or set {other}"
        for name in LOGIN
    ]


@pytest.mark.parametrize(
    ("protocol", "login", "other"),
    [("PLAINTEXT", {}, "SSL or SASL_SSL"), ("SASL_PLAINTEXT", LOGIN, "SASL_SSL")],
)
def test_an_unused_ca_is_a_problem(
    make_settings: Callable[..., BrokerSettings],
    ca_file: str,
    protocol: str,
    login: dict[str, str],
    other: str,
) -> None:
    prefix = f"BROKER_SECURITY_PROTOCOL={protocol}"
    assert problems(
        make_settings, BROKER_SECURITY_PROTOCOL=protocol, BROKER_CA_FILE=ca_file, **login
    ) == [f"BROKER_CA_FILE: {prefix} does not encrypt; unset it, or set {other}"]


def test_conflicts_are_reported_with_all_other_problems(
    make_settings: Callable[..., BrokerSettings],
) -> None:
    wrong = problems(make_settings, BROKER_SECURITY_PROTOCOL="sasl_ssl", BROKER_URL="http://x")
    assert [line.partition(":")[0] for line in wrong] == [
        "BROKER_URL",
        "BROKER_USERNAME",
        "BROKER_PASSWORD",
    ]


def test_a_wrong_protocol_is_one_problem(
    make_settings: Callable[..., BrokerSettings],
) -> None:
    wrong = problems(make_settings, BROKER_SECURITY_PROTOCOL="TLS", **LOGIN)
    assert [line.partition(":")[0] for line in wrong] == ["BROKER_SECURITY_PROTOCOL"]
