"""ops/jenkins/ provides what the Jenkinsfile needs, and no more rights than it needs."""

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
from tests.jenkins.harness import OF_PREVIEWS, with_tags

JENKINS = files.ROOT / "ops" / "jenkins"
PIPELINE = (files.ROOT / "Jenkinsfile").read_text(encoding="utf-8")
REAPING = (JENKINS / "previews.Jenkinsfile").read_text(encoding="utf-8")
# The credential of the job, which clones the repository.
OF_THE_JOB = {"delivery-git"}
# The plugin of each step and option of the pipeline (- for Jenkins itself). workflow-aggregator
# installs the Pipeline plugins.
PLUGINS = dict(
    line.split()
    for line in """
buildDiscarder -
logRotator -
archiveArtifacts -
catchError workflow-aggregator
checkout workflow-aggregator
disableConcurrentBuilds workflow-aggregator
error workflow-aggregator
disableRestartFromStage workflow-aggregator
node workflow-aggregator
sh workflow-aggregator
stash workflow-aggregator
timeout workflow-aggregator
unstash workflow-aggregator
credentials credentials-binding
string credentials-binding
usernamePassword credentials-binding
withCredentials credentials-binding
gitUsernamePassword git
junit junit
recordCoverage coverage
recordIssues warnings-ng
sarif warnings-ng
myPy warnings-ng
lock lockable-resources
timestamps timestamper
""".strip().splitlines()
)
# The structure of a declarative pipeline, and Groovy: no further plugin.
LANGUAGE = """
pipeline agent options environment stages stage when input steps parallel post script trim
always beforeInput beforeOptions not if
message ok submitter submitterParameter label
"""
# The plugins of values.yaml itself: pod templates, configuration, job, rights, users and metrics.
OF_THE_VALUES = (
    "kubernetes configuration-as-code git job-dsl basic-branch-build-strategies matrix-auth ldap"
    " prometheus"
)
CLUSTER_WIDE = """
nodes clusterroles clusterrolebindings customresourcedefinitions persistentvolumes storageclasses
mutatingwebhookconfigurations validatingwebhookconfigurations priorityclasses
certificatesigningrequests
"""
# With one of these a service account could run commands in other pods, or be another account. Roles
# and bindings are not among them: Kubernetes lets nobody give rights that he lacks.
ESCALATING = {
    "serviceaccounts/token",
    "pods/exec",
    "pods/attach",
    "pods/ephemeralcontainers",
}


def load(name: str, mark: str = "") -> list[dict[str, Any]]:
    """The documents of a file, with its lines that begin with a mark."""
    text = (JENKINS / name).read_text(encoding="utf-8")
    without = re.sub(rf"^ *{OF_PREVIEWS}.*\n", "", text, flags=re.MULTILINE)
    return yaml_strict.load_all(text.replace(mark, "") if mark else without)


def values(mark: str = "") -> dict[str, Any]:
    (values,) = load("values.yaml", mark)
    return values


def configuration(name: str, mark: str = "") -> Any:
    return yaml_strict.load(values(mark)["controller"]["JCasC"]["configScripts"][name])


def templates() -> dict[str, dict[str, Any]]:
    """The pod templates by label."""
    texts = values()["agent"]["podTemplates"].values()
    return {template["label"]: template for text in texts for template in yaml_strict.load(text)}


def pod(label: str) -> dict[str, Any]:
    """The pod of a label's agents."""
    return dict(yaml_strict.load(templates()[label]["yaml"])["spec"])


def pod_security() -> dict[str, str]:
    """The level that each namespace enforces."""
    return {
        namespace["metadata"]["name"]: namespace["metadata"]["labels"][
            "pod-security.kubernetes.io/enforce"
        ]
        for namespace in load("namespaces.yaml")
    }


def plugins() -> dict[str, str]:
    lines = (JENKINS / "controller" / "plugins.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(":", 1) for line in lines if not line.startswith("#"))


def credentials(mark: str = "") -> dict[str, str]:
    """The kind of each declared credential, by id."""
    (domain,) = configuration("credentials", mark)["credentials"]["system"]["domainCredentials"]
    entries = domain["credentials"]
    return {content["id"]: kind for entry in entries for kind, content in entry.items()}


def test_the_credentials_are_those_of_the_pipeline() -> None:
    used = set(re.findall(r"(?:credentials\(|credentialsId: )'([^']+)'", PIPELINE))
    (kubeconfig,) = set(re.findall(r'credentials\("([^"]+)"\)', PIPELINE))
    used |= {
        kubeconfig.replace("${env.DELIVERY_ENVIRONMENT}", name)
        for name in files.load_declaration().gitflow.deploys.values()
    }
    assert set(credentials()) - OF_THE_JOB == used
    reaping = set(re.findall(r"(?:credentials\(|credentialsId: )'([^']+)'", REAPING))
    assert set(credentials(OF_PREVIEWS)) - set(credentials()) == {"delivery-kubeconfig-preview"}
    assert reaping <= set(credentials(OF_PREVIEWS))


def test_previews_are_reaped_by_a_job_where_they_are_declared() -> None:
    scripts = [job["script"] for job in configuration("job", OF_PREVIEWS)["jobs"]]
    assert len(scripts) == 2
    assert scripts[:1] == [job["script"] for job in configuration("job")["jobs"]]
    (path,) = re.findall(r"scriptPath '(\S+)'$", scripts[1], re.MULTILINE)
    assert (files.ROOT / path).read_text(encoding="utf-8") == REAPING
    assert re.findall(r"credentials '(\S+)'", scripts[1]) == [*OF_THE_JOB]
    assert re.findall(r"cron \{ spec '(.+)' \}", scripts[1]) == ["H 3 * * *"]


@pytest.mark.parametrize("mark", ["", OF_PREVIEWS])
def test_each_secret_is_mounted_and_the_guide_creates_it(mark: str) -> None:
    def mounted_by(values: dict[str, Any]) -> set[str]:
        secrets = values["controller"]["additionalExistingSecrets"]
        return {f"{secret['name']}-{secret['keyName']}" for secret in secrets}

    (local,) = load("values-local-accounts.yaml", mark)
    mounted, locally = mounted_by(values(mark)), mounted_by(local)
    read = set(re.findall(r"\$\{(jenkins-credentials-[a-z-]+)\}", str(values(mark))))
    assert read == mounted
    read_locally = set(re.findall(r"\$\{(jenkins-credentials-[a-z-]+)\}", str(local)))
    assert locally == mounted | read_locally
    guide = (files.ROOT / "docs" / "jenkins.md").read_text(encoding="utf-8")
    keys = set(re.findall(r"--from-(?:file|literal)=([a-z-]+)=", guide))
    created = keys if mark else keys - {"kubeconfig-preview"}
    assert {f"jenkins-credentials-{key}" for key in created} == locally


def test_the_guide_removes_the_marks_from_each_file_that_has_them() -> None:
    guide = (files.ROOT / "docs" / "jenkins.md").read_text(encoding="utf-8")
    (names,) = re.findall(rf"^sed -i 's/{OF_PREVIEWS}//' (\S+)", guide, re.MULTILINE)
    marked = {
        file for file in JENKINS.glob("*.yaml") if OF_PREVIEWS in file.read_text(encoding="utf-8")
    }
    assert set(files.ROOT.glob(names)) == marked


def test_the_files_have_no_secret() -> None:
    for file in JENKINS.rglob("*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            assert "PRIVATE KEY" not in text, file
            assert not re.findall(
                r"(?:password|secret|token): (?![\"']?\$|\{|$)(\S+)", text, re.MULTILINE
            ), file


def test_the_labels_are_those_of_the_pipeline() -> None:
    used = set(re.findall(r"(?:label|node\()\s*'([^']+)'", PIPELINE + REAPING))
    assert used == set(templates())


def test_each_step_has_its_plugin_and_each_plugin_is_used() -> None:
    code = re.sub(r"//[^\n]*", "", PIPELINE + REAPING)
    without_text = re.sub(r"""'[^'\n]*'|"[^"\n]*\"""", "''", code)
    used = set(re.findall(r"^\s*([a-zA-Z]+)\b\s*(?:\(|'|\w+:|scm\b)", without_text, re.MULTILINE))
    used |= set(re.findall(r"(?:=\s*|\[|\(|\{ )([a-zA-Z]+)\(", without_text))
    unknown = used - set(PLUGINS) - set(LANGUAGE.split())
    assert not unknown, "add it to PLUGINS with the plugin that brings it"
    needed = {plugin for step, plugin in PLUGINS.items() if step in used and plugin != "-"}
    assert needed | set(OF_THE_VALUES.split()) == set(plugins())


def test_everything_is_pinned() -> None:
    assert all(re.fullmatch(r"[0-9][\w.]+", version) for version in plugins().values()), plugins()
    assert values()["controller"]["installPlugins"] is False
    controller = (JENKINS / "controller" / "Dockerfile").read_text(encoding="utf-8")
    assert "--latest false" in controller
    # The bill of materials is of the line of Jenkins in the image.
    (line,) = re.findall(r"jenkins/jenkins:(\d+\.\d+)\.\d+-jdk21$", controller, re.MULTILINE)
    assert f"line {line}.x" in (JENKINS / "controller" / "plugins.txt").read_text(encoding="utf-8")
    containers = [container for label in templates() for container in pod(label)["containers"]]
    images = {container["image"] for container in containers}
    assert len(images) == 1
    for file in JENKINS.rglob("*"):
        if file.is_file():
            assert ":latest" not in file.read_text(encoding="utf-8"), file


def test_an_agent_has_every_helper_program() -> None:
    words = set((JENKINS / "agent" / "Dockerfile").read_text(encoding="utf-8").split())
    installed = {word.removesuffix(";") for word in words}
    missing = {
        name
        for name, program in programs.PROGRAMS.items()
        if not program.wheel  # those come with ./run
        if not installed >= {*program.packages, program.module} - {""}
    }
    assert missing == {"wrk"}, "benchmarks alone need it"


def test_branches_are_fetched_with_tags_for_the_versions() -> None:
    assert with_tags(JENKINS / "values.yaml")
    github = re.search(
        r"#     github \{.*?^      #     \}",
        (JENKINS / "values.yaml").read_text(),
        re.DOTALL | re.MULTILINE,
    )
    assert github
    assert "noTags false" in github[0], "a source with its own traits needs the option, too"


def test_no_build_runs_beside_the_credentials() -> None:
    assert values()["controller"]["numExecutors"] == 0
    assert values()["agent"]["disableDefaultAgent"] is True


def test_only_named_groups_and_users_have_rights() -> None:
    (local,) = load("values-local-accounts.yaml")
    scripts = local["controller"]["JCasC"]["configScripts"]
    for script in (configuration("security"), yaml_strict.load(scripts["security"])):
        entries = script["jenkins"]["authorizationStrategy"]["globalMatrix"]["entries"]
        named = {
            actor["name"]: actor["permissions"] for entry in entries for actor in entry.values()
        }
        assert "anonymous" not in named
        administrators = [
            name for name, allowed in named.items() if "Overall/Administer" in allowed
        ]
        assert len(administrators) == 1
        assert "releasers" in named
        assert not script["jenkins"]["securityRealm"].get("local", {}).get("allowsSignup", False)
        others = [name for name in named if name not in administrators]
        permissions = [permission for name in others for permission in named[name]]
        assert all(name.startswith(("Overall/Read", "Job/")) for name in permissions)


def test_agents_get_the_addresses_of_the_controller() -> None:
    (properties,) = configuration("environment")["jenkins"]["globalNodeProperties"]
    variables = {entry["key"]: entry["value"] for entry in properties["envVars"]["env"]}
    assert variables == {
        **{name: f"${{{name}}}" for name in ("DELIVERY_REGISTRY", "DELIVERY_LEDGER")},
        "SONAR_HOST_URL": "${SONAR_HOST_URL:-}",  # it may be empty
    }
    known = {entry["name"] for entry in values()["controller"]["containerEnv"]}
    text = (JENKINS / "values.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{([A-Z_]+)(?::-)?\}", text)) - {"NAME"} == known


def test_no_pod_uses_the_engine_or_folders_of_its_node() -> None:
    for file in JENKINS.rglob("*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            assert "hostPath" not in text, file
            assert "/var/run/docker.sock" not in text, file
    for label in templates():
        spec = pod(label)
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        # Nothing that other pods write: a build needs no other one.
        for volume in spec["volumes"]:
            assert "sizeLimit" in volume["emptyDir"]


def test_one_container_is_privileged_with_its_own_nodes_and_namespace() -> None:
    privileged = [
        (label, container["name"])
        for label in templates()
        for container in pod(label)["containers"]
        if (context := container["securityContext"]).get("privileged")
        or context.get("runAsUser") == 0
    ]
    assert privileged == [("delivery-build", "engine")]
    enforced = pod_security()
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
    spec = pod("delivery-deploy")
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    expected = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["securityContext"] == expected
    assert "env" not in container


def test_no_agent_has_a_token_of_the_cluster() -> None:
    accounts = {
        (manifest["metadata"]["namespace"], manifest["metadata"]["name"]): manifest
        for manifest in load("rights.yaml")
        if manifest["kind"] == "ServiceAccount"
    }
    for label, template in templates().items():
        assert pod(label)["automountServiceAccountToken"] is False
        account = accounts[template["namespace"], template["serviceAccount"]]
        assert account["automountServiceAccountToken"] is False
    subjects = {
        (subject["namespace"], subject["name"])
        for binding in load("rights.yaml")
        for subject in binding.get("subjects", ())
    }
    assert not subjects & {
        (template["namespace"], template["serviceAccount"]) for template in templates().values()
    }


def test_agents_end_and_their_containers_are_limited() -> None:
    for label, template in templates().items():
        assert template["podRetention"] == "never"
        assert template["activeDeadlineSeconds"] >= 2 * 3600
        for container in pod(label)["containers"]:
            assert {"requests", "limits"} <= set(container["resources"])


def test_an_agent_and_its_engine_share_the_socket() -> None:
    agent, engine = pod("delivery-build")["containers"]
    assert {"name": "DOCKER_HOST", "value": "unix:///run/engine/docker.sock"} in agent["env"]
    for container in (agent, engine):
        assert {"name": "engine", "mountPath": "/run/engine"} in container["volumeMounts"]
        # A bind mount of the workspace needs the same path in both.
        assert container["workingDir"] == "/home/jenkins/agent"
    script = (JENKINS / "agent" / "engine").read_text(encoding="utf-8")
    assert re.findall(r"--host=(\S+)", script) == ["unix:///run/engine/docker.sock"]
    assert "--data-root=/var/lib/engine" in script
    assert {"name": "images", "mountPath": "/var/lib/engine"} in engine["volumeMounts"]


def test_each_environment_has_its_namespace_and_its_deployer() -> None:
    declaration = files.load_declaration()
    spaces = {
        name: declaration.environments[name].namespace
        for name in declaration.gitflow.deploys.values()
    }
    assert len(set(spaces.values())) == len(spaces)
    accounts = {
        manifest["metadata"]["namespace"]
        for manifest in load("rights.yaml")
        if (manifest["kind"], manifest["metadata"]["name"])
        == ("ServiceAccount", "jenkins-deployer")
    }
    assert accounts == set(spaces.values())
    for name, namespace in spaces.items():
        assert pod_security()[namespace] == "restricted"
        # ops/jenkins/kubeconfig gives the context the name of the environment.
        assert name in declaration.environments[name].contexts


def rules() -> list[tuple[str, dict[str, Any]]]:
    """Each rule with the name of its Role or ClusterRole."""
    return [
        (role["metadata"]["name"], rule)
        for role in load("rights.yaml")
        if role["kind"] in {"Role", "ClusterRole"}
        for rule in role["rules"]
    ]


def allowed(verb: str) -> set[tuple[str, str]]:
    """The API group and resource of what a deployer may do this with in its namespace."""
    return {
        (group, resource)
        for name, rule in rules()
        if name == "jenkins-deployer" and verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_the_rights_are_explicit_and_of_namespaces() -> None:
    kinds = {manifest["kind"] for manifest in load("rights.yaml")}
    # Without a ClusterRoleBinding a ClusterRole gives rights in the namespaces of its bindings.
    assert kinds == {"ServiceAccount", "ClusterRole", "Role", "RoleBinding"}
    for _name, rule in rules():
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not set(rule["resources"]) & ({*CLUSTER_WIDE.split()} | ESCALATING)
        assert not set(rule["verbs"]) & {"bind", "escalate", "impersonate", "deletecollection"}


def test_a_deployer_has_rights_in_its_namespace_alone() -> None:
    bindings = [
        binding
        for binding in load("rights.yaml")
        for subject in binding.get("subjects", ())
        if subject["name"] == "jenkins-deployer"
    ]
    assert len(bindings) == 3
    for binding in bindings:
        (subject,) = binding["subjects"]
        assert subject["namespace"] == binding["metadata"]["namespace"]
        assert binding["roleRef"]["name"] == "jenkins-deployer"
    assert [rule["verbs"] for _name, rule in rules() if "namespaces" in rule["resources"]] == [
        ["get"]
    ]


def test_a_deployer_may_create_each_kind_of_the_chart() -> None:
    kinds = set[str]()
    for file in (files.ROOT / "platform-chart" / "templates").rglob("*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            kinds |= set(re.findall(r"^kind: (\w+)$", text, re.MULTILINE))
    plural = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"}
    creatable = {resource for _group, resource in allowed("create")}
    assert {plural.get(kind, f"{kind.lower()}s") for kind in kinds} <= creatable
    assert "deployments" in creatable, "the chart takes that kind from its values"


def test_a_deployer_may_give_drift_its_rights() -> None:
    """Kubernetes refuses a Role with more rights than the account that creates it has."""
    chart = files.ROOT / "platform-chart"
    values = yaml_strict.load((chart / "values.yaml").read_text(encoding="utf-8"))
    role = (chart / "templates" / "drift" / "cronjob.yaml").read_text(encoding="utf-8")
    verbs = set(re.findall(r"\w+", ",".join(re.findall(r"verbs: \[(.*?)\]", role))))
    drift = {(group, kind) for group, kinds in values["drift"]["kinds"].items() for kind in kinds}
    assert verbs == {"get", "list"}
    assert drift <= allowed("get")
    assert ("", "secrets") in allowed("get") & allowed("list")


def test_the_deployer_of_previews_is_limited_to_their_namespaces() -> None:
    made = {(each["kind"], each["metadata"]["name"]): each for each in load("rights-previews.yaml")}
    assert len(made) == 6
    (subject,) = made["ClusterRoleBinding", "jenkins-previews"]["subjects"]
    space, name = subject["namespace"], subject["name"]
    assert ("ServiceAccount", name) in made
    assert made["Namespace", space]["metadata"]["labels"] == {
        "pod-security.kubernetes.io/enforce": "restricted"
    }
    rules = made["ClusterRole", "jenkins-previews"]["rules"]
    assert [rule["resourceNames"] for rule in rules if "bind" in rule["verbs"]] == [[name]]
    policy = made["ValidatingAdmissionPolicy", "jenkins-previews"]["spec"]
    binding = made["ValidatingAdmissionPolicyBinding", "jenkins-previews"]["spec"]
    assert (binding["policyName"], binding["validationActions"]) == ("jenkins-previews", ["Deny"])
    (condition,) = policy["matchConditions"]
    # The account can give its rights on a preview's namespace to others, whom RBAC keeps in it: so
    # whoever changes such a namespace is seen.
    account = f"system:serviceaccount:{space}:{name}"
    assert condition["expression"].split(" || ") == [
        f"request.userInfo.username == '{account}'",
        f"(request.resource.resource == 'namespaces' && request.name.startsWith('{space}-'))",
    ]
    # Everything that it may write is seen by the policy.
    seen = {
        resource
        for rule in policy["matchConstraints"]["resourceRules"]
        for resource in rule["resources"]
    }
    written = {
        resource
        for rule in rules
        if {"create", "update", "delete"} & set(rule["verbs"])
        for resource in rule["resources"]
    }
    assert seen == written == {"namespaces", "rolebindings"}
    assert f".startsWith('{space}-')" in policy["validations"][0]["expression"]
    # An older version of `restricted` allows what the newest refuses.
    older = "!('pod-security.kubernetes.io/enforce-version' in object.metadata.labels)"
    assert older in policy["validations"][1]["expression"]
    assert "secrets" not in {resource for rule in rules for resource in rule["resources"]}


def test_nothing_reaches_an_agent_and_no_agent_reaches_the_metadata_service() -> None:
    policies = {
        policy["metadata"]["namespace"]: policy["spec"] for policy in load("network-policy.yaml")
    }
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
    texts = [(JENKINS / name).read_text() for name in ("values.yaml", "controller/plugins.txt")]
    (version,) = {
        version for text in texts for version in re.findall(r"chart,? jenkins ([0-9.]+\d)", text)
    }
    guide = (files.ROOT / "docs" / "jenkins.md").read_text(encoding="utf-8")
    assert re.findall(r"jenkins/jenkins --version (\S+)", guide) == [version]


class Controller(http.server.BaseHTTPRequestHandler):
    """A fake Jenkins for an agent that starts: its first answer is that it is not ready."""

    answered: ClassVar[list[str]] = []

    def do_GET(self) -> None:  # the name of http.server
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


def test_an_agent_fetches_its_program_and_connects(tmp_path: Path, controller: str) -> None:
    done = started(tmp_path, controller)
    assert done.returncode == 0, done.stderr
    assert Controller.answered == ["/jnlpJars/agent.jar"] * 2
    assert (tmp_path / "agent.jar").read_text() == "a jar"
    options = f"-url {controller} -name delivery-build-1 -secret hush -workDir {tmp_path}"
    assert done.stdout.strip() == f"-jar {tmp_path}/agent.jar -webSocket {options}"
    assert not (tmp_path / "up").exists(), "docker is called without an engine"


def test_an_agent_waits_for_its_engine(tmp_path: Path, controller: str) -> None:
    Controller.answered.append("/another")  # it is ready
    done = started(tmp_path, controller, DOCKER_HOST="unix:///run/engine/docker.sock")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "up").exists()


def test_an_agent_without_an_answer_of_its_engine_ends_with_an_error(
    tmp_path: Path, controller: str
) -> None:
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
