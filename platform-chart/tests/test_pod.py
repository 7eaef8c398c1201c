"""templates/_pod.tpl: the pods of a component."""

from __future__ import annotations

from typing import Any

from support import alone, by_name, container, pod, render, variables


def web(**values: object) -> dict[str, Any]:
    return container(render(alone(**values)), "platform-web")


def web_pod(**values: object) -> dict[str, Any]:
    return pod(render(alone(**values)), "platform-web")


def web_variables(**values: object) -> dict[str, Any]:
    return variables(render(alone(**values)), "platform-web")


def test_command_arguments_and_folder_replace_the_images() -> None:
    assert (
        not {"command", "args", "workingDir", "env", "envFrom", "ports", "lifecycle"} & web().keys()
    )
    own = web(command=["a"], args=["--b", "c d"], workingDir="/w")
    assert (own["command"], own["args"], own["workingDir"]) == (["a"], ["--b", "c d"], "/w")


def test_ports_have_names_and_protocols() -> None:
    assert web(ports={"http": 80, "dns": {"port": 53, "protocol": "UDP"}})["ports"] == [
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        {"name": "http", "containerPort": 80, "protocol": "TCP"},
    ]


def test_literal_variables_are_text() -> None:
    env = {"A": "1000000", "B": "yes", "C": "x: {y}", "D": "1.20", "E": ""}
    assert web_variables(env=env) == env


def test_null_removes_a_variable() -> None:
    assert web_variables(env={"A": None, "B": "b"}) == {"B": "b"}


def test_variables_in_kubernetes_syntax_are_last() -> None:
    extra = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    assert web(env={"Z": "z"}, extraEnv=[extra])["env"] == [{"name": "Z", "value": "z"}, extra]


def test_variables_from_secrets_are_before_literal_ones() -> None:
    secrets = {
        "PASSWORD": {"secret": "login"},
        "USER_NAME": {"secret": "login", "key": "user", "optional": True},
    }
    assert web(secrets=secrets, env={"A_URL": "x://$(USER_NAME)"})["env"] == [
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "PASSWORD"}}},
        {
            "name": "USER_NAME",
            "valueFrom": {"secretKeyRef": {"name": "login", "key": "user", "optional": True}},
        },
        {"name": "A_URL", "value": "x://$(USER_NAME)"},
    ]


def test_a_secret_by_value_is_in_a_secret_of_the_chart() -> None:
    reference = {"name": "platform-web", "key": "TOKEN"}
    assert web_variables(secrets={"TOKEN": {"value": "t"}}) == {"TOKEN": reference}


def test_a_secret_may_come_from_another_component() -> None:
    values = alone(secrets={"PASSWORD": {"value": "p"}})
    values["components"]["store"] = {
        "image": {"repository": "store", "tag": "1"},
        "secrets": {
            "STORE_PASSWORD": {"from": "web", "key": "PASSWORD"},
            "PASSWORD": {"from": "web"},
        },
    }
    reference = {"secretKeyRef": {"name": "platform-web", "key": "PASSWORD"}}
    env = container(render(values), "platform-store")["env"]
    assert env == [
        {"name": "PASSWORD", "valueFrom": reference},
        {"name": "STORE_PASSWORD", "valueFrom": reference},
    ]


def test_the_components_own_config_overrides_whole_config_maps_and_secrets() -> None:
    assert web(configFrom=["a"], secretsFrom=["b"], config={"C": "1"})["envFrom"] == [
        {"configMapRef": {"name": "a"}},
        {"secretRef": {"name": "b"}},
        {"configMapRef": {"name": "platform-web"}},
    ]


def test_the_users_variables_replace_those_of_backends() -> None:
    documents = render({"components": {"api-rest": {"env": {"DB_HOST": "elsewhere"}}}})
    names = [each["name"] for each in container(documents, "platform-api-rest")["env"]]
    assert len(names) == len(set(names))
    assert {"BROKER_URL", "DB_PORT", "DB_DATABASE", "DB_USERNAME", "DB_PASSWORD"} <= set(names)
    assert variables(documents, "platform-api-rest")["DB_HOST"] == "elsewhere"


def test_the_variable_of_the_environment_has_a_name_of_choice() -> None:
    values = {**alone(variables={"environment": "STAGE"}), "environment": "staging"}
    assert variables(render(values), "platform-web") == {"STAGE": "staging"}


def test_the_probes_of_both_apps_check_different_paths() -> None:
    probe = {"tcpSocket": {"port": "http"}, "periodSeconds": 3}
    own = web(ports={"http": 80}, probes={"liveness": probe})
    assert own["livenessProbe"] == probe
    assert not {"readinessProbe", "startupProbe"} & own.keys()
    for name in ("api-rest", "async-worker"):
        app = container(render(), f"platform-{name}", name)
        asked = {
            kind: app[f"{kind}Probe"]["httpGet"]["path"]
            for kind in ("startup", "liveness", "readiness")
        }
        assert asked == {"startup": "/health", "liveness": "/health", "readiness": "/ready"}


def test_a_probe_may_be_replaced_by_another_kind() -> None:
    probes = {"readiness": {"httpGet": None, "tcpSocket": {"port": "http"}}}
    app = container(
        render({"components": {"api-rest": {"probes": probes}}}), "platform-api-rest", "api-rest"
    )
    assert app["readinessProbe"]["tcpSocket"] == {"port": "http"}
    assert "httpGet" not in app["readinessProbe"]


def test_kubernetes_sleeps_for_an_app_that_cannot_linger() -> None:
    assert web(shutdown={"linger": 5})["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert "lifecycle" not in web(shutdown={"linger": 5}, variables={"linger": "DELAY"})
    hook = {"preStop": {"exec": {"command": ["true"]}}}
    assert web(shutdown={"linger": 5}, lifecycle=hook)["lifecycle"] == hook


def test_the_security_context_of_a_restricted_namespace() -> None:
    spec = web_pod(user=1234)
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1234,
        "runAsGroup": 1234,
        "fsGroup": 1234,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert spec["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_security_contexts_of_the_component_are_merged() -> None:
    spec = web_pod(
        securityContext={"readOnlyRootFilesystem": False},
        podSecurityContext={"supplementalGroups": [5]},
    )
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is False
    assert spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False
    assert spec["securityContext"]["supplementalGroups"] == [5]
    assert spec["securityContext"]["runAsNonRoot"] is True


def test_tmp_is_writable_by_default() -> None:
    assert web()["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    assert web_pod()["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}]
    without = web_pod(volumes={"tmp": None})
    assert "volumes" not in without
    assert "volumeMounts" not in without["containers"][0]


def test_volumes_of_every_kind() -> None:
    spec = web_pod(
        volumes={
            "tmp": None,
            "a": {"mountPath": "/a", "files": {"f.ini": "x"}, "subPath": "f.ini"},
            "b": {"mountPath": "/b", "secretFiles": {"token": "t"}, "defaultMode": 288},
            "c": {
                "mountPath": "/c",
                "configMap": "settings",
                "items": {"k": "p"},
                "optional": True,
            },
            "d": {"mountPath": "/d", "secret": "login"},
            "e": {"mountPath": "/e", "claim": "shared", "readOnly": True},
            "f": {"mountPath": "/f", "source": {"nfs": {"server": "s", "path": "/"}}},
            "g": {"mountPath": "/g", "emptyDir": {"medium": "Memory"}},
        }
    )
    assert spec["volumes"] == [
        {"name": "a", "configMap": {"name": "platform-web-a"}},
        {"name": "b", "secret": {"secretName": "platform-web-b", "defaultMode": 288}},
        {
            "name": "c",
            "configMap": {
                "name": "settings",
                "items": [{"key": "k", "path": "p"}],
                "optional": True,
            },
        },
        {"name": "d", "secret": {"secretName": "login"}},
        {"name": "e", "persistentVolumeClaim": {"claimName": "shared"}},
        {"name": "f", "nfs": {"server": "s", "path": "/"}},
        {"name": "g", "emptyDir": {"medium": "Memory"}},
    ]
    mounts = by_name(spec["containers"][0]["volumeMounts"])
    assert mounts["a"] == {"name": "a", "mountPath": "/a", "subPath": "f.ini", "readOnly": True}
    assert mounts["e"] == {"name": "e", "mountPath": "/e", "readOnly": True}
    assert mounts["g"] == {"name": "g", "mountPath": "/g"}


def test_the_users_containers_get_the_required_security_context() -> None:
    own = {"name": "own", "image": "own:1", "securityContext": {"runAsUser": 7}}
    spec = web_pod(initContainers=[own], extraContainers=[{**own, "name": "beside"}])
    hardened = {
        "runAsUser": 7,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["initContainers"] == [
        {"name": "own", "image": "own:1", "securityContext": hardened}
    ]
    assert [each["name"] for each in spec["containers"]] == ["web", "beside"]
    assert spec["containers"][1]["securityContext"] == hardened


def test_the_proxy_starts_after_the_users_init_containers() -> None:
    own = {"name": "own", "image": "own:1"}
    spec = pod(render({"components": {"api-rest": {"initContainers": [own]}}}), "platform-api-rest")
    assert [each["name"] for each in spec["initContainers"]] == ["own", "proxy"]


def test_settings_of_kubernetes_are_copied() -> None:
    toleration = {"key": "k", "operator": "Exists", "effect": "NoSchedule"}
    alias = {"ip": "10.0.0.1", "hostnames": ["h"]}
    spec = web_pod(
        nodeSelector={"disk": "ssd", "gen": "2"},
        tolerations=[toleration],
        hostAliases=[alias],
        priorityClassName="p",
    )
    assert spec["nodeSelector"] == {"disk": "ssd", "gen": "2"}
    assert (spec["tolerations"], spec["hostAliases"], spec["priorityClassName"]) == (
        [toleration],
        [alias],
        "p",
    )


def test_all_images_have_one_pull_policy_and_pull_secrets() -> None:
    spec = pod(
        render({**alone(), "image": {"pullPolicy": "Always", "pullSecrets": ["login"]}}),
        "platform-web",
    )
    assert spec["imagePullSecrets"] == [{"name": "login"}]
    assert spec["containers"][0]["imagePullPolicy"] == "Always"


def test_resources_are_merged_over_the_defaults() -> None:
    own = web(resources={"limits": {"cpu": 2, "ephemeral-storage": "1Gi"}})["resources"]
    assert own["limits"] == {"cpu": 2, "memory": "256Mi", "ephemeral-storage": "1Gi"}
    assert own["requests"] == {"cpu": "100m", "memory": "96Mi"}
