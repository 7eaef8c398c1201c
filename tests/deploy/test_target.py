"""A target is an environment in a cluster that is allowed, and answers."""

import pytest

from delivery.deploy import helm, kubectl
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.target import (
    Options,
    connect,
    connect_beside,
    find_environment,
    parse_options,
    reachable,
)
from delivery.errors import DeclarationError
from delivery.host import programs
from delivery.project.declaration import Declaration, Environment


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kubeconfig's contexts; the first is the current context."""
    known: list[str] = []
    monkeypatch.setattr(programs, "ensure", lambda name: name)
    monkeypatch.setattr(helm, "probe", lambda _program: (4, 0))
    monkeypatch.setattr(kubectl, "contexts", lambda _program: (known, next(iter(known), "")))
    monkeypatch.setattr(Kubernetes, "reach", lambda _self: '{"gitVersion": "v1.34.4"}')
    return known


@pytest.fixture
def declared(declaration: Declaration) -> Declaration:
    local = Environment(contexts=("minikube",), namespace="platform", values="v")
    return declaration.model_copy(
        update={"environments": {"local": local, **declaration.environments}}
    )


def test_an_existing_context_of_the_environment_is_used(
    declared: Declaration, contexts: list[str]
) -> None:
    contexts += ["minikube", "work"]
    assert str(connect(declared, "local")) == "local (minikube, namespace platform)"
    assert str(connect(declared, "local", "minikube")) == "local (minikube, namespace platform)"


@pytest.mark.parametrize(
    ("secret", "token"), [({"data": {"token": "c2VjcmV0"}}, "secret"), (None, "")]
)
def test_the_ledgers_token_is_in_the_release(
    declared: Declaration,
    contexts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    secret: dict[str, dict[str, str]] | None,
    token: str,
) -> None:
    contexts += ["minikube"]
    existing = {("secret", "platform-token"): secret}
    monkeypatch.setattr(Kubernetes, "find", lambda _self, kind, name: existing[kind, name])
    target = connect(declared, "local")
    assert target.ledger_token() == token
    if token:  # else the deploy may bring it
        existing.clear()
    assert target.ledger_token() == token


@pytest.mark.parametrize(
    ("context", "existing", "message", "hint"),
    [
        ("", [], "no context given", "add one of kind-sample, minikube to the kubeconfig"),
        ("work", ["work", "minikube"], r"context work is not one of .*minikube", "minikube"),
        ("", ["work"], "the context work is not one of", "./run inv cluster.up"),
        ("kind-sample", ["work"], "the kubeconfig has no context kind-sample", "cluster.up"),
    ],
)
def test_another_context_is_refused(
    declared: Declaration,
    contexts: list[str],
    context: str,
    existing: list[str],
    message: str,
    hint: str,
) -> None:
    contexts += existing
    with pytest.raises(DeclarationError, match=message) as caught:
        connect(declared, "local", context)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("existing", "context", "hint"),
    [
        ([], "", "add the context staging to the kubeconfig and pass --context staging, or add"),
        (["work", "staging"], "", "pass --context staging"),
        (["work"], "staging", "add the context staging to the kubeconfig and pass --context"),
    ],
)
def test_only_the_hint_for_local_names_the_local_cluster(
    declared: Declaration,
    monkeypatch: pytest.MonkeyPatch,
    contexts: list[str],
    existing: list[str],
    context: str,
    hint: str,
) -> None:
    contexts += existing
    monkeypatch.setattr(kubectl, "contexts", lambda _program: (contexts, ""))
    with pytest.raises(DeclarationError) as caught:
        connect(declared, "staging", context)
    assert caught.value.hint.startswith(hint)
    assert "cluster.up" not in caught.value.hint


@pytest.mark.usefixtures("contexts")
def test_the_hint_for_a_preview_names_what_is_declared(with_previews: Declaration) -> None:
    with pytest.raises(DeclarationError) as caught:
        connect(with_previews, "preview-feature-x-1a2b3c")
    assert caught.value.hint.endswith(
        "your context to environments.preview.contexts in delivery.toml"
    )


def test_an_environment_that_is_not_declared_is_an_error(declared: Declaration) -> None:
    with pytest.raises(DeclarationError, match="the environment nowhere") as caught:
        find_environment(declared, "nowhere")
    assert "local, develop, staging, production" in caught.value.hint


def test_a_second_environment_is_in_the_same_context_if_it_may_be(
    declared: Declaration, contexts: list[str]
) -> None:
    contexts += ["minikube", "staging", "other"]
    both = Environment(contexts=("other", "minikube"), namespace="preview", values="v")
    declared = declared.model_copy(update={"environments": {**declared.environments, "both": both}})
    local = connect(declared, "local")
    assert str(connect_beside(declared, "both", local)) == "both (minikube, namespace preview)"
    assert (
        str(connect_beside(declared, "staging", local)) == "staging (staging, namespace platform)"
    )
    with pytest.raises(DeclarationError, match="the kubeconfig has no context develop"):
        connect_beside(declared, "develop", local)
    with pytest.raises(DeclarationError, match="cannot find the environment nowhere") as error:
        connect_beside(declared, "nowhere", local)
    assert "--to takes one of" in error.value.hint


def test_each_context_of_the_kubeconfig_is_a_target(
    declared: Declaration, contexts: list[str]
) -> None:
    contexts += ["minikube", "staging"]
    by_name = reachable(declared, ["local", "develop"], "helm", "kubectl")
    assert {name: [str(each) for each in targets] for name, targets in by_name.items()} == {
        "local": ["local (minikube, namespace platform)"],
        "develop": [],
    }


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h", 3600)])
def test_reads_durations(text: str, seconds: int) -> None:
    assert parse_options(text, "30m", rollback=False) == Options(seconds, 1800, rollback=False)


@pytest.mark.parametrize(("text", "seconds"), [("", None), ("0", 0), ("2m", 120)])
def test_a_soak_may_be_left_out_or_forbidden(text: str, seconds: int | None) -> None:
    assert parse_options("10m", "30m", soak=text).soak == seconds


@pytest.mark.parametrize("text", ["soon", "", "-5", "0", "1.5m", "10 m"])
def test_other_text_is_not_a_duration(text: str) -> None:
    with pytest.raises(DeclarationError, match=r"cannot read --timeout: .* is not a duration"):
        parse_options(text, "30m")
    with pytest.raises(DeclarationError, match=r"cannot read --lock-timeout: .* is not a duration"):
        parse_options("10m", text)
