"""Run helm, and find objects in what it renders.

`HELM` names the helm programs, separated as in PATH. The default is the helm on PATH.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import pickle
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = [
    "CHART",
    "EXAMPLES",
    "MIRROR",
    "SECURED",
    "VALUES_FILES",
    "Document",
    "Values",
    "alone",
    "by_name",
    "container",
    "fails",
    "find",
    "helm",
    "helms",
    "load",
    "load_all",
    "names",
    "numbered",
    "of_kind",
    "pod",
    "pod_annotations",
    "pods",
    "render",
    "render_text",
    "rendered_by",
    "secret",
    "values_option",
    "variables",
]

Document = dict[str, Any]
Values = Mapping[str, Any] | str
"""Values of the chart; a string is YAML."""

CHART = Path(__file__).parents[1]
VALUES_FILES = [
    f"values-{environment}.yaml"
    for environment in ("local", "develop", "staging", "production", "preview")
]
# Merged over another file; alone it is valid too.
MIRROR = "values-mirror.yaml"
EXAMPLES = sorted(f"examples/{file.name}" for file in (CHART / "examples").glob("*.yaml"))
# Without a cluster each Helm assumes another version of Kubernetes.
DEFAULT_OPTIONS = {"namespace": "test", "kube_version": "1.34.0"}
WORKLOADS = ("StatefulSet", "Deployment", "DaemonSet", "Job", "CronJob")
# A component with TLS.
SECURED: dict[str, Any] = {
    "ports": {"http": 5000},
    "service": {"enabled": True},
    "tls": {"enabled": True, "backendPort": "http"},
}


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML may lack C


class _Strict(_Loader):  # type: ignore[misc]  # a class of any type
    """Refuses a key that a mapping has twice; YAML would use only the last one.

    tests/yaml_strict.py of the platform does the same, but the chart's own repository lacks it.
    """

    def construct_mapping(self, node: yaml.MappingNode, *args: bool) -> dict[Any, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        duplicates = sorted({key[1] for key in keys if keys.count(key) > 1})
        if duplicates:
            message = f"found {', '.join(duplicates)} more than once"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, *args)
        return mapping


def load(text: str) -> Any:  # YAML may contain anything
    """Return the content of a YAML text; a duplicate key is an error."""
    return yaml.load(text, Loader=_Strict)  # noqa: S506  # a SafeLoader


def load_all(text: str) -> list[Document]:
    """Return the non-empty documents of a YAML text; a duplicate key is an error."""
    return [document for document in yaml.load_all(text, Loader=_Strict) if document]


def helms() -> list[str]:
    """Return every helm program to test with."""
    programs = [program for program in os.environ.get("HELM", "").split(os.pathsep) if program]
    programs = programs or [program for program in [shutil.which("helm")] if program]
    if not programs:
        raise FileNotFoundError("no helm: put one on PATH, or name it in HELM")
    return programs


def helm(
    *arguments: str,
    program: str | None = None,
    stdin: str | None = None,
    kubeconfig: str = os.devnull,
) -> subprocess.CompletedProcess[str]:
    """Run helm, without the user's repositories, plugins and cluster."""
    with tempfile.TemporaryDirectory(prefix="chart-tests-") as home:
        environment = {
            **os.environ,
            "HELM_CACHE_HOME": home,
            "HELM_CONFIG_HOME": home,
            "HELM_DATA_HOME": home,
            "KUBECONFIG": kubeconfig,
            "GOGC": "off",  # a short run needs no garbage collection
        }
        argv = [program or helms()[0], *arguments]
        return subprocess.run(
            argv, capture_output=True, text=True, check=False, input=stdin, env=environment
        )


def render(
    values: Values = "", values_file: str = "", release: str = "platform", **options: str | None
) -> list[Document]:
    """Return the objects that the chart renders.

    Options are those of `helm template`, such as kube_version="1.29.0"; None is a flag.
    """
    text = render_text(values, values_file, release, **options)
    documents: list[Document] = pickle.loads(_parsed(text))  # noqa: S301  from this process
    return documents


def render_text(
    values: Values = "", values_file: str = "", release: str = "platform", **options: str | None
) -> str:
    """Return what `helm template` prints."""
    result = _template(_json(values), values_file, release, tuple(options.items()))
    assert result.returncode == 0, result.stderr
    return result.stdout


def rendered_by(program: str, values: Values = "", values_file: str = "") -> list[Document]:
    """Return the objects that this helm program renders."""
    other = [] if program == helms()[0] else [program]  # `render` uses the first
    result = _template(_json(values), values_file, "platform", (), *other)
    assert result.returncode == 0, result.stderr
    return load_all(result.stdout)


def fails(values: Values) -> str:
    """Return the error of helm for values that it must not render."""
    result = _template(_json(values), "", "platform", ())
    assert result.returncode != 0, f"helm renders this: {values}"
    return result.stderr


def values_option(file: str) -> str:
    """Return the option for a values file, quoted since helm splits it at commas."""
    return '--values="{}"'.format(str(CHART / file).replace('"', '""'))


def _json(values: Values) -> str:
    return json.dumps(load(values or "{}") if isinstance(values, str) else values)


@functools.cache
def _parsed(text: str) -> bytes:
    # Pickled, so that every test gets its own objects.
    return pickle.dumps(load_all(text))


@functools.cache
def _template(
    values: str,
    values_file: str,
    release: str,
    options: tuple[tuple[str, str | None], ...],
    program: str | None = None,
) -> subprocess.CompletedProcess[str]:
    arguments = ["template", release, str(CHART)]
    if values_file:
        arguments.append(values_option(values_file))
    for name, value in {**DEFAULT_OPTIONS, **dict(options)}.items():
        arguments += [f"--{name.replace('_', '-')}", *([] if value is None else [value])]
    # Last, so that the values of a test override those of a file.
    return helm(*arguments, "--values", "-", stdin=values, program=program)


def alone(name: str = "web", /, **values: object) -> dict[str, Any]:
    """Return values with one component and nothing else of the platform."""
    return _only({name: values})


def numbered(components: Iterable[str]) -> dict[str, Any]:
    """Return values with the components web-0, web-1, … and nothing else of the platform."""
    return _only({f"web-{number}": load(text) for number, text in enumerate(components)})


def _only(components: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    off = {"enabled": False}
    image = {"repository": "web", "tag": "1"}
    return {
        "kafka": off,
        "database": off,
        "components": {
            "api-rest": off,
            "async-worker": off,
            **{name: {"image": image, **values} for name, values in components.items()},
        },
    }


def find(documents: Iterable[Document], kind: str, name: str) -> Document:
    """Return the object of a kind and name."""
    matches = [each for each in of_kind(documents, kind) if each["metadata"]["name"] == name]
    assert len(matches) == 1, f"{len(matches)} of {kind} {name}"
    return matches[0]


def of_kind(documents: Iterable[Document], kind: str) -> list[Document]:
    """Return every object of a kind."""
    return [document for document in documents if document["kind"] == kind]


def names(documents: Iterable[Document], kind: str) -> list[str]:
    """Return the sorted names of every object of a kind."""
    return sorted(document["metadata"]["name"] for document in of_kind(documents, kind))


def by_name(entries: Iterable[Document]) -> dict[str, Document]:
    """Return entries of a list, such as volumes or ports, by their names."""
    return {entry["name"]: entry for entry in entries}


def secret(documents: Iterable[Document], name: str) -> dict[str, str]:
    """Return the decoded data of a Secret."""
    data = find(documents, "Secret", name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def pod(documents: Iterable[Document], name: str) -> Document:
    """Return the pods' spec of a workload."""
    spec: Document = _pod_template(documents, name)["spec"]
    return spec


def pod_annotations(documents: Iterable[Document], name: str) -> dict[str, str]:
    """Return the pods' annotations of a workload."""
    annotations: dict[str, str] = _pod_template(documents, name)["metadata"].get("annotations", {})
    return annotations


def pods(documents: Iterable[Document]) -> Iterator[tuple[str, Document]]:
    """Yield the name and the pods' spec of every workload, and of bare pods (helm's tests)."""
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        if document["kind"] in WORKLOADS:
            yield name, _template_of(document)["spec"]
        elif document["kind"] == "Pod":
            yield name, document["spec"]


def container(documents: Iterable[Document], name: str, part: str | None = None) -> Document:
    """Return a container of a workload: the first, or the one (init container) of a name."""
    spec = pod(documents, name)
    every: list[Document] = [*spec["containers"], *spec.get("initContainers", [])]
    matches = every[:1] if part is None else [each for each in every if each["name"] == part]
    assert len(matches) == 1, f"{len(matches)} containers {part} in {name}"
    return matches[0]


def variables(documents: Iterable[Document], name: str, prefix: str = "") -> dict[str, Any]:
    """Return the variables of a workload's first container: values, or references to Secrets."""
    return {
        each["name"]: each.get("value", each.get("valueFrom", {}).get("secretKeyRef"))
        for each in container(documents, name).get("env", [])
        if each["name"].startswith(prefix)
    }


def _pod_template(documents: Iterable[Document], name: str) -> Document:
    matches = [
        each for each in documents if each["kind"] in WORKLOADS and each["metadata"]["name"] == name
    ]
    assert len(matches) == 1, f"{len(matches)} workloads {name}"
    return _template_of(matches[0])


def _template_of(workload: Document) -> Document:
    spec = workload["spec"].get("jobTemplate", workload)["spec"]
    template: Document = spec["template"]
    return template
