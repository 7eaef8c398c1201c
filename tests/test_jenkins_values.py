"""ops/jenkins/ installs what the Jenkinsfile needs, with no more rights than needed."""

from __future__ import annotations

import http.server
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from delivery.host import programs
from delivery.project import files
from tests import yaml_strict
from tests.jenkins.harness import with_tags

JENKINS = files.ROOT / "ops" / "jenkins"
PIPELINE = (files.ROOT / "Jenkinsfile").read_text(encoding="utf-8")
# Used by the job, not by the pipeline.
OF_THE_JOB = {"delivery-git"}
# The plugin of each step or option of the pipeline (- for Jenkins itself). The Pipeline plugins
# come with workflow-aggregator.
PLUGINS = dict(
    line.split()
    for line in """
buildDiscarder -
logRotator -
archiveArtifacts -
catchError workflow-aggregator
checkout workflow-aggregator
disableConcurrentBuilds workflow-aggregator
node workflow-aggregator
sh workflow-aggregator
stash workflow-aggregator
timeout workflow-aggregator
unstash workflow-aggregator
credentials credentials-binding
string credentials-binding
withCredentials credentials-binding
junit junit
lock lockable-resources
timestamps timestamper
""".strip().splitlines()
)
# Words of declarative pipelines and of Groovy.
LANGUAGE = """
pipeline agent options environment stages stage when input steps parallel post script trim
always success failure unstable cleanup beforeAgent beforeInput not anyOf allOf expression
message ok submitter submitterParameter label
"""
# For values.yaml itself: pod templates, configuration, job, rights and users.
OF_THE_VALUES = (
    "kubernetes configuration-as-code git job-dsl basic-branch-build-strategies matrix-auth ldap"
)
CLUSTER_WIDE = """
nodes clusterroles clusterrolebindings customresourcedefinitions persistentvolumes storageclasses
mutatingwebhookconfigurations validatingwebhookconfigurations priorityclasses
certificatesigningrequests
"""
# With these a service account could get all other rights, or run commands in others' pods.
ESCALATING = {
    "roles",
    "rolebindings",
    "serviceaccounts/token",
    "pods/exec",
    "pods/attach",
    "pods/ephemeralcontainers",
}


def load(name: str) -> list[dict[str, Any]]:
    return yaml_strict.load_all((JENKINS / name).read_text(encoding="utf-8"))


def values() -> dict[str, Any]:
    (found,) = load("values.yaml")
    return found


def configuration(name: str) -> Any:  # whatever the YAML holds
    return yaml_strict.load(values()["controller"]["JCasC"]["configScripts"][name])


def templates() -> dict[str, dict[str, Any]]:
    """The pod templates by label."""
    found = [
        one for text in values()["agent"]["podTemplates"].values() for one in yaml_strict.load(text)
    ]
    return {one["label"]: one for one in found}


def pod(label: str) -> dict[str, Any]:
    """The pod of a label's agents."""
    return dict(yaml_strict.load(templates()[label]["yaml"])["spec"])


def plugins() -> dict[str, str]:
    return dict(one.split(":", 1) for one in values()["controller"]["installPlugins"])


def credentials() -> dict[str, str]:
    """The kind of each declared credential, by id."""
    (domain,) = configuration("credentials")["credentials"]["system"]["domainCredentials"]
    return {
        credential["id"]: kind
        for entry in domain["credentials"]
        for kind, credential in entry.items()
    }


def named_credentials() -> set[str]:
    """The credential ids in the pipeline; one with the environment's name, for each environment."""
    matches = re.findall(
        r"""credentials\(\s*["']([^"']+)["']\s*\)|credentialsId:\s*["']([^"']+)["']""", PIPELINE
    )
    environments = set(files.load_declaration().gitflow.deploys.values())
    names = set[str]()
    for name in (first or second for first, second in matches):
        names |= {
            name.replace("${env.DELIVERY_ENVIRONMENT}", environment) for environment in environments
        }
    return names


def test_the_credentials_are_those_in_the_pipeline() -> None:
    assert named_credentials()
    assert set(credentials()) - OF_THE_JOB == named_credentials()


def test_each_secret_is_mounted_and_created_by_the_guide() -> None:
    mounted = {
        f"{secret['name']}-{secret['keyName']}"
        for secret in values()["controller"]["additionalExistingSecrets"]
    }
    (local,) = load("values-local-accounts.yaml")
    mounted_locally = {
        f"{secret['name']}-{secret['keyName']}"
        for secret in local["controller"]["additionalExistingSecrets"]
    }
    text = (JENKINS / "values.yaml").read_text(encoding="utf-8")
    read = set(re.findall(r"\$\{(jenkins-credentials-[a-z-]+)\}", text))
    assert read == mounted
    read_locally = set(re.findall(r"\$\{(jenkins-credentials-[a-z-]+)\}", str(local)))
    assert mounted_locally == mounted | read_locally
    guide = (files.ROOT / "docs" / "jenkins.md").read_text(encoding="utf-8")
    created = {
        f"jenkins-credentials-{key}"
        for key in re.findall(r"--from-(?:file|literal)=([a-z-]+)=", guide)
    }
    assert created == mounted_locally


def test_no_secret_is_in_the_files() -> None:
    for file in JENKINS.rglob("*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            assert "PRIVATE KEY" not in text, file
            assert not re.findall(
                r"(?:password|secret|token): (?![\"']?\$|\{|$)(\S+)", text, re.MULTILINE
            ), file


def test_the_labels_are_those_in_the_pipeline() -> None:
    labels = set(re.findall(r"(?:label|node\()\s*'([^']+)'", PIPELINE))
    assert labels == set(templates())


def test_each_step_of_the_pipeline_has_its_plugin_and_each_plugin_is_used() -> None:
    code = re.sub(r"//[^\n]*", "", PIPELINE)
    without_text = re.sub(r"""'[^'\n]*'|"[^"\n]*\"""", "''", code)
    used = set(re.findall(r"^\s*([a-zA-Z]+)\b\s*(?:\(|'|\w+:|scm\b)", without_text, re.MULTILINE))
    used |= set(re.findall(r"(?:=\s*|\[|\(|\{ )([a-zA-Z]+)\(", without_text))
    unknown = used - set(PLUGINS) - set(LANGUAGE.split())
    assert not unknown, "add it to PLUGINS with its plugin"
    needed = {plugin for step, plugin in PLUGINS.items() if step in used and plugin != "-"}
    assert needed | set(OF_THE_VALUES.split()) == set(plugins())


def test_everything_is_pinned() -> None:
    assert all(re.fullmatch(r"[0-9][\w.]+", version) for version in plugins().values()), plugins()
    assert re.fullmatch(r"[0-9.]+-jdk21", values()["controller"]["image"]["tag"])
    assert not values()["controller"]["installLatestPlugins"]
    images = {container["image"] for label in templates() for container in pod(label)["containers"]}
    assert len(images) == 1
    for file in JENKINS.rglob("*"):
        if file.is_file():
            assert ":latest" not in file.read_text(encoding="utf-8"), file


def test_branches_are_fetched_with_tags() -> None:
    assert with_tags(JENKINS / "values.yaml")
    github = re.search(
        r"#     github \{.*?^      #     \}",
        (JENKINS / "values.yaml").read_text(),
        re.DOTALL | re.MULTILINE,
    )
    assert github
    assert "noTags false" in github[0], "a source with traits of its own needs the option, too"


def test_the_controller_builds_nothing() -> None:
    assert values()["controller"]["numExecutors"] == 0
    assert values()["agent"]["disableDefaultAgent"] is True


def test_anonymous_users_have_no_rights() -> None:
    for text in (
        configuration("security"),
        yaml_strict.load(
            load("values-local-accounts.yaml")[0]["controller"]["JCasC"]["configScripts"][
                "security"
            ]
        ),
    ):
        entries = text["jenkins"]["authorizationStrategy"]["globalMatrix"]["entries"]
        named = {user["name"]: user["permissions"] for entry in entries for user in entry.values()}
        assert "anonymous" not in named
        administrators = [
            name for name, allowed in named.items() if "Overall/Administer" in allowed
        ]
        assert len(administrators) == 1
        assert "releasers" in named
        assert not text["jenkins"]["securityRealm"].get("local", {}).get("allowsSignup", False)
        assert all(
            permission.startswith(("Overall/Read", "Job/"))
            for name, permissions in named.items()
            if name not in administrators
            for permission in permissions
        )


def test_all_agents_have_the_same_addresses() -> None:
    (properties,) = configuration("environment")["jenkins"]["globalNodeProperties"]
    variables = {variable["key"]: variable["value"] for variable in properties["envVars"]["env"]}
    assert variables == {name: f"${{{name}}}" for name in ("DELIVERY_REGISTRY", "DELIVERY_LEDGER")}
    known = {variable["name"] for variable in values()["controller"]["containerEnv"]}
    text = (JENKINS / "values.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(DELIVERY_\w+)\}", text)) == known


def test_no_agent_uses_a_nodes_engine_or_folders() -> None:
    for file in JENKINS.rglob("*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            assert "hostPath" not in text, file
            assert "/var/run/docker.sock" not in text, file
    for label in templates():
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod(label))
        for volume in pod(label)["volumes"]:
            assert set(volume) & {"emptyDir", "persistentVolumeClaim"}
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""})


def test_the_only_privileged_container_has_its_own_nodes_and_namespace() -> None:
    privileged = [
        (label, container["name"])
        for label in templates()
        for container in pod(label)["containers"]
        if container["securityContext"].get("privileged")
        or container["securityContext"].get("runAsUser") == 0
    ]
    assert privileged == [("delivery-build", "engine")]
    enforced = {
        item["metadata"]["name"]: item["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for item in load("namespaces.yaml")
    }
    lax = {name for name, level in enforced.items() if level != "restricted"}
    assert lax == {templates()["delivery-build"]["namespace"]} == {"jenkins-agents"}
    assert pod("delivery-build")["nodeSelector"] == {"delivery/agents": "build"}
    (toleration,) = pod("delivery-build")["tolerations"]
    assert (toleration["key"], toleration["value"], toleration["effect"]) == (
        "delivery/agents",
        "build",
        "NoSchedule",
    )
    assert enforced[templates()["delivery-deploy"]["namespace"]] == "restricted"


def test_an_agent_that_deploys_has_no_privilege() -> None:
    agent = pod("delivery-deploy")
    assert agent["securityContext"]["runAsNonRoot"] is True
    assert agent["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = agent["containers"]
    expected = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["securityContext"] == expected
    assert "DOCKER_HOST" not in {variable["name"] for variable in container["env"]}


def test_no_agent_has_a_token_of_the_cluster() -> None:
    accounts = {
        (one["metadata"]["namespace"], one["metadata"]["name"]): one
        for one in load("rights.yaml")
        if one["kind"] == "ServiceAccount"
    }
    for label, template in templates().items():
        assert pod(label)["automountServiceAccountToken"] is False
        account = accounts[template["namespace"], template["serviceAccount"]]
        assert account["automountServiceAccountToken"] is False
    subjects = {
        (one["namespace"], one["name"])
        for binding in load("rights.yaml")
        for one in binding.get("subjects", ())
    }
    assert not subjects & {
        (template["namespace"], template["serviceAccount"]) for template in templates().values()
    }


def test_all_agents_end_and_keep_their_records() -> None:
    claims = {one["metadata"]["namespace"] for one in load("volumes.yaml")}
    for label, template in templates().items():
        assert template["podRetention"] == "never"
        assert template["activeDeadlineSeconds"] >= 2 * 3600
        agent = next(one for one in pod(label)["containers"] if one["name"] == "jnlp")
        assert {"name": "DELIVERY_OUTBOX", "value": "/outbox"} in agent["env"]
        assert {"name": "outbox", "mountPath": "/outbox"} in agent["volumeMounts"]
        assert template["namespace"] in claims
        assert all(
            {"requests", "limits"} <= set(one["resources"]) for one in pod(label)["containers"]
        )


def test_an_agent_and_its_engine_share_the_socket() -> None:
    agent, engine = pod("delivery-build")["containers"]
    assert {"name": "DOCKER_HOST", "value": "unix:///run/engine/docker.sock"} in agent["env"]
    for one in (agent, engine):
        assert {"name": "engine", "mountPath": "/run/engine"} in one["volumeMounts"]
        # What is bound from the workspace into a container has to have the same path for both.
        assert one["workingDir"] == "/home/jenkins/agent"
    script = (JENKINS / "agent" / "engine").read_text(encoding="utf-8")
    assert re.findall(r"--host=(\S+)", script) == ["unix:///run/engine/docker.sock"]
    assert "--data-root=/var/lib/engine" in script
    assert {"name": "images", "mountPath": "/var/lib/engine"} in engine["volumeMounts"]


def test_each_environment_has_a_namespace_and_a_deployer() -> None:
    declaration = files.load_declaration()
    spaces = {
        name: declaration.environments[name].namespace
        for name in declaration.gitflow.deploys.values()
    }
    assert len(set(spaces.values())) == len(spaces)
    enforced = {
        one["metadata"]["name"]: one["metadata"]["labels"] for one in load("namespaces.yaml")
    }
    accounts = {
        one["metadata"]["namespace"]
        for one in load("rights.yaml")
        if one["metadata"]["name"] == "jenkins-deployer"
    }
    assert accounts == set(spaces.values())
    for name, namespace in spaces.items():
        assert enforced[namespace] == {"pod-security.kubernetes.io/enforce": "restricted"}
        # ops/jenkins/kubeconfig names the context as the environment.
        assert name in declaration.environments[name].contexts


def rules() -> list[tuple[str, str, dict[str, Any]]]:
    """Each rule with its Role's namespace and name."""
    roles = [one for one in load("rights.yaml") if one["kind"] == "Role"]
    return [
        (one["metadata"]["namespace"], one["metadata"]["name"], rule)
        for one in roles
        for rule in one["rules"]
    ]


def test_rights_are_namespaced_and_without_wildcards() -> None:
    assert {one["kind"] for one in load("rights.yaml")} == {"ServiceAccount", "Role", "RoleBinding"}
    for _namespace, _name, rule in rules():
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not set(rule["resources"]) & ({*CLUSTER_WIDE.split()} | ESCALATING)
        assert not set(rule["verbs"]) & {"bind", "escalate", "impersonate", "deletecollection"}


def test_a_deployer_sees_only_its_namespace() -> None:
    for namespace, name, rule in rules():
        if "namespaces" in rule["resources"]:
            assert (name, rule["resourceNames"], rule["verbs"]) == (
                "jenkins-deployer",
                [namespace],
                ["get"],
            )
    for one in load("rights.yaml"):
        for subject in one.get("subjects", ()):
            if subject["name"] == "jenkins-deployer":
                assert subject["namespace"] == one["metadata"]["namespace"]


def test_all_deployers_have_the_same_rights() -> None:
    texts = set()
    for one in load("rights.yaml"):
        if one["kind"] == "Role" and one["metadata"]["name"] == "jenkins-deployer":
            texts.add(str(one).replace(one["metadata"]["namespace"], "NAMESPACE"))
    assert len(texts) == 1


def test_a_deployer_may_create_each_kind_of_the_chart() -> None:
    allowed = {
        resource
        for namespace, _name, rule in rules()
        if namespace == "platform-production"
        for resource in rule["resources"]
    }
    made = set[str]()
    for file in (files.ROOT / "platform-chart" / "templates").rglob("*"):
        if file.is_file():
            made |= set(
                re.findall(r"^kind: (\w+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            )
    plural = {"NetworkPolicy": "networkpolicies"}
    assert {plural.get(kind, f"{kind.lower()}s") for kind in made} - {"pods"} <= allowed
    assert "deployments" in allowed, "the chart names that kind by its values"


def test_agents_accept_no_connection_and_cannot_read_the_nodes_identity() -> None:
    policies = {one["metadata"]["namespace"]: one["spec"] for one in load("network-policy.yaml")}
    for template in templates().values():
        spec = policies[template["namespace"]]
        assert spec["podSelector"] == {}
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
        assert spec["ingress"] == []
        blocks = [to["ipBlock"] for rule in spec["egress"] for to in rule["to"] if "ipBlock" in to]
        assert blocks
        assert all("169.254.0.0/16" in block["except"] for block in blocks)
        assert all(rule["to"] for rule in spec["egress"])


def test_the_guide_installs_the_chart_of_the_values() -> None:
    (version,) = set(
        re.findall(
            r"jenkins (\d+\.\d+\.\d+) of", (JENKINS / "values.yaml").read_text(encoding="utf-8")
        )
    )
    guide = (files.ROOT / "docs" / "jenkins.md").read_text(encoding="utf-8")
    assert re.findall(r"jenkins/jenkins --version (\S+)", guide) == [version]


class Controller(http.server.BaseHTTPRequestHandler):
    """Jenkins, as far as an agent that starts sees it: the first answer is that it is not ready."""

    answered: ClassVar[list[str]] = []

    def do_GET(self) -> None:  # its name is http.server's
        self.answered.append(self.path)
        self.send_response(503 if len(self.answered) == 1 else 200)
        self.end_headers()
        self.wfile.write(b"a jar")

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def controller() -> Iterator[str]:
    Controller.answered.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Controller) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def started(
    tmp_path: Path, controller: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the agent's script with a java that prints its arguments and a docker that fails once."""
    (tmp_path / "curl").symlink_to(shutil.which(programs.require("curl")) or "")
    up = shlex.quote(str(tmp_path / "up"))
    bodies = {
        "java": 'echo "$@"',
        "docker": f"[ -e {up} ] || {{ touch {up}; exit 1; }}; echo docker answers >&2",
        "sleep": "exit 0",
    }
    for name, body in bodies.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    variables = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "JENKINS_URL": controller,
        "JENKINS_SECRET": "hush",
        "JENKINS_AGENT_NAME": "delivery-build-1",
        "JENKINS_AGENT_WORKDIR": str(tmp_path),
        "AGENT_RETRY_SECONDS": "0",
        "no_proxy": "*",
        **environment,
    }
    argv = ["sh", str(JENKINS / "agent" / "agent")]
    return subprocess.run(
        argv, env=variables, capture_output=True, text=True, check=False, timeout=60
    )


def test_an_agent_downloads_its_program_and_connects(tmp_path: Path, controller: str) -> None:
    done = started(tmp_path, controller)
    assert done.returncode == 0, done.stderr
    assert Controller.answered == ["/jnlpJars/agent.jar"] * 2
    assert (tmp_path / "agent.jar").read_text() == "a jar"
    expected = (
        f"-jar {tmp_path}/agent.jar -webSocket -url {controller} -name delivery-build-1 "
        f"-secret hush -workDir {tmp_path}"
    )
    assert done.stdout.strip() == expected
    assert not (tmp_path / "up").exists(), "without DOCKER_HOST no engine is asked"


def test_an_agent_waits_for_its_engine(tmp_path: Path, controller: str) -> None:
    Controller.answered.append("/another")  # it is ready
    done = started(tmp_path, controller, DOCKER_HOST="unix:///run/engine/docker.sock")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "up").exists()


def test_an_agent_without_an_engine_is_an_error(tmp_path: Path, controller: str) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "seq").write_text("#!/bin/sh\necho 1 2\n")
    (tmp_path / "seq").chmod(0o755)
    environment = {"DOCKER_HOST": "unix:///run/engine/docker.sock"}
    (tmp_path / "never").mkdir()
    (tmp_path / "never" / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "never" / "docker").chmod(0o755)
    done = started(
        tmp_path,
        controller,
        **environment,
        PATH=f"{tmp_path / 'never'}:{tmp_path}:{os.environ['PATH']}",
    )
    assert done.returncode == 1
    assert "no engine answers at unix:///run/engine/docker.sock" in done.stderr
    assert not Controller.answered
