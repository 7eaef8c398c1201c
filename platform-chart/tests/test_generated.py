"""templates/_generated.tpl: what the chart generates once, and how to forbid it."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from live import upgraded
from support import (
    CHART,
    Document,
    fails,
    find,
    helm,
    helms,
    load,
    of_kind,
    render,
    secret,
    values_option,
)

# What production generates: the values that replace it.
NEEDED = (
    "tls.selfSigned",
    "kafka.auth.existingSecret",
    "kafka.tls.existingSecret",
    "token.existingSecret",
    "database.existingSecret",
    "database.tls.existingSecret",
    "database.accounts.reader.existingSecret",
)
SECURE = """
kafka: {auth: {enabled: true}, tls: {enabled: true}}
database: {tls: {enabled: true}}
"""
GIVEN = """
generateSecrets: false
tls: {existingSecret: a, selfSigned: {enabled: false}}
kafka: {auth: {existingSecret: b}, tls: {existingSecret: c}}
token: {existingSecret: g}
database: {existingSecret: d, tls: {existingSecret: f}, accounts: {reader: {existingSecret: e}}}
"""


@pytest.mark.parametrize("program", helms())
def test_an_upgrade_keeps_what_was_generated(program: str) -> None:
    live = render(SECURE)
    after = upgraded(live, SECURE, program)
    before = {each["metadata"]["name"]: each["data"] for each in of_kind(live, "Secret")}
    assert len(before) >= 11
    assert {each["metadata"]["name"]: each["data"] for each in of_kind(after, "Secret")} == before


def test_without_the_objects_it_is_generated_again() -> None:
    name = "platform-database"
    assert secret(upgraded([]), name) != secret(render(), name)


def test_a_refusal_to_generate_names_each_value_to_give_instead() -> None:
    error = fails(f"generateSecrets: false\n{SECURE}")
    for path in NEEDED:
        assert f"- {path}: generateSecrets is false; " in error
    assert f"{len(NEEDED)} mistakes" in error


def test_what_is_not_generated_is_not_needed() -> None:
    error = fails("generateSecrets: false")
    assert "kafka" not in error
    assert "one mistake" in fails(
        "generateSecrets: false\n"
        "tls: {selfSigned: {enabled: false}, existingSecret: a}\n"
        "token: {existingSecret: g}\n"
        "database: {existingSecret: d}"
    )
    given = load(GIVEN)
    given["database"]["accounts"]["reader"] = {"password": "given"}
    reader = secret(render(given, "values-production.yaml"), "platform-database-reader")
    assert reader["password"] == "given"


@pytest.mark.parametrize("program", helms())
@pytest.mark.parametrize("file", ["values-local.yaml", "values-production.yaml"])
def test_two_runs_without_a_cluster_then_render_the_same(file: str, program: str) -> None:
    arguments = ["template", "platform", str(CHART), "--skip-tests"]
    arguments += [values_option(each) for each in (file, "values-gitops.yaml")]
    first, second = (helm(*arguments, program=program) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert "kind: Secret\n" not in first.stdout
    # As plain objects they would run, or never.
    assert "helm.sh/hook" not in first.stdout


def test_every_given_secret_is_used() -> None:
    documents = render(GIVEN, "values-production.yaml")
    objects = str([each for each in documents if each["kind"] != "Secret"])
    assert all(f"'{name}'" in objects for name in "abcdefg")
    assert find(documents, "StatefulSet", "platform-kafka")


# Renewal of the self-signed certificate.

EXPIRES = "shipay.com.br/certificate-expires"
CA, CERTIFICATE = "platform-ca-key", "platform-tls"


def expiring(name: str, program: str = "") -> list[Document]:
    """Return a release in which the certificate of a Secret expires tomorrow."""
    live = upgraded([], program=program)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    find(live, "Secret", name)["metadata"]["annotations"][EXPIRES] = f"{tomorrow:%Y-%m-%d}"
    return live


def verified(authority: str, certificate: str, folder: Path) -> bool:
    """Return whether a client with this CA accepts the certificate."""
    (folder / "ca.crt").write_text(authority)
    (folder / "tls.crt").write_text(certificate)
    argv = ["openssl", "verify", "-x509_strict", "-CAfile", str(folder / "ca.crt")]
    done = subprocess.run([*argv, str(folder / "tls.crt")], check=False, capture_output=True)
    return done.returncode == 0


def test_a_certificate_is_renewed_for_other_names_and_before_it_expires(tmp_path: Path) -> None:
    more_names = upgraded(live := render(), "tls: {extraNames: [ledger.example]}")
    for before, after in ((live, more_names), (live := expiring(CERTIFICATE), upgraded(live))):
        assert secret(after, CA) == secret(before, CA)
        old, new = (secret(each, CERTIFICATE) for each in (before, after))
        assert new["tls.crt"] != old["tls.crt"]
        assert verified(old["ca.crt"], new["tls.crt"], tmp_path)


@pytest.mark.parametrize("program", helms())
def test_clients_of_a_renewed_ca_accept_new_certificates(program: str, tmp_path: Path) -> None:
    live = expiring(CA, program)
    after = upgraded(live, "tls: {extraNames: [ledger.example]}", program)
    old, new = (secret(each, CA) for each in (live, after))
    assert new["tls.key"] == old["tls.key"]
    assert new["tls.crt"] != old["tls.crt"]
    # A client has the old CA until it reads the Secret again.
    certificate = secret(after, CERTIFICATE)["tls.crt"]
    assert verified(old["tls.crt"], certificate, tmp_path)
    assert verified(new["tls.crt"], certificate, tmp_path)
    assert verified(new["tls.crt"], secret(live, CERTIFICATE)["tls.crt"], tmp_path)
