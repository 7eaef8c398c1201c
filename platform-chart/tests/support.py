"""What the chart's tests share: helm by subprocess, and looking things up in what it rendered.

`HELM` names the helm to use, or several, separated as PATH is; without it the one on PATH is used.
"""

from __future__ import annotations

import functools
import json
import os
import pickle
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

__all__ = [
    "CHART",
    "EXAMPLES",
    "VALUES_FILES",
    "alone",
    "beside",
    "container",
    "fails",
    "find",
    "helm",
    "helms",
    "load",
    "load_all",
    "names",
    "of_kind",
    "pod",
    "pod_annotations",
    "pods",
    "render",
    "render_text",
]

Document = dict[str, Any]

CHART = Path(__file__).parents[1]
VALUES_FILES = [
    f"values-{environment}.yaml" for environment in ("local", "develop", "staging", "production")
]
EXAMPLES = sorted(f"examples/{file.name}" for file in (CHART / "examples").glob("*.yaml"))
HELD = ("StatefulSet", "Deployment", "DaemonSet", "Job")


class _Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # PyYAML may lack C
    """Refuses a key that a mapping has twice, of which YAML keeps only the last.

    As tests/yaml_strict.py of the whole project does, which is not there once the chart is split off.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted({key[1] for key in keys if keys.count(key) > 1})
        if twice:
            message = f"found {', '.join(twice)} more than once"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def load(text: str) -> Any:  # whatever the YAML holds
    """Return what a YAML text holds; a key given twice is an error."""
    return yaml.load(text, Loader=_Strict)  # noqa: S506  # a SafeLoader


def load_all(text: str) -> list[Document]:
    """Return the documents of a YAML text that are not empty; a key given twice is an error."""
    return [document for document in yaml.load_all(text, Loader=_Strict) if document]


def helms() -> list[str]:
    """Every helm that the tests are to use."""
    told = [program for program in os.environ.get("HELM", "").split(os.pathsep) if program]
    found = told or [program for program in [shutil.which("helm")] if program]
    if not found:
        raise FileNotFoundError("no helm: put one on PATH, or name it in HELM")
    return found


def helm(
    *arguments: str,
    program: str | None = None,
    stdin: str | None = None,
    kubeconfig: str = os.devnull,
) -> subprocess.CompletedProcess[str]:
    """Run helm; what it says is in the result, also when it fails."""
    with tempfile.TemporaryDirectory(prefix="chart-tests-") as home:
        # Neither a user's repositories and plugins nor a cluster's context reach a test that does not ask for them.
        places = {
            "HELM_CACHE_HOME": home,
            "HELM_CONFIG_HOME": home,
            "HELM_DATA_HOME": home,
            "KUBECONFIG": kubeconfig,
        }
        argv = [program or helms()[0], *arguments]
        # It ends before collecting its garbage would pay.
        environment = {**os.environ, **places, "GOGC": "off"}
        return subprocess.run(
            argv, capture_output=True, text=True, check=False, input=stdin, env=environment
        )


def render(
    values: Mapping[str, Any] | None = None,
    values_files: Sequence[str] = (),
    release: str = "platform",
    namespace: str = "test",
    api_versions: Sequence[str] = (),
    **options: str | None,
) -> list[Document]:
    """Return the objects that the chart renders.

    Values files are named from the chart's folder. Further options are `helm template`'s own, say kube_version="1.29.0".
    """
    text = render_text(values, values_files, release, namespace, api_versions, **options)
    found: list[Document] = pickle.loads(_parsed(text))  # noqa: S301  made here
    return found


def render_text(
    values: Mapping[str, Any] | None = None,
    values_files: Sequence[str] = (),
    release: str = "platform",
    namespace: str = "test",
    api_versions: Sequence[str] = (),
    **options: str | None,
) -> str:
    """Return what `helm template` prints; asked twice for the same, helm runs once."""
    result = _template(
        json.dumps(values or {}),
        tuple(values_files),
        release,
        namespace,
        tuple(api_versions),
        tuple(options.items()),
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def fails(
    values: Mapping[str, Any] | None = None,
    values_files: Sequence[str] = (),
    api_versions: Sequence[str] = (),
) -> str:
    """Return what helm says about values that it must not render."""
    result = _template(
        json.dumps(values or {}), tuple(values_files), "platform", "test", tuple(api_versions), ()
    )
    assert result.returncode != 0, f"helm renders this: {values}"
    return result.stderr


def values_option(file: str) -> str:
    """The option that names a file of the chart's; quoted, since helm takes a comma for the end of a file's name."""
    return '--values="{}"'.format(str(CHART / file).replace('"', '""'))


@functools.cache
def _parsed(text: str) -> bytes:
    # Pickled, so that everybody gets objects of their own.
    return pickle.dumps(load_all(text))


@functools.cache
def _template(
    values: str,
    values_files: tuple[str, ...],
    release: str,
    namespace: str,
    api_versions: tuple[str, ...],
    options: tuple[tuple[str, str | None], ...],
) -> subprocess.CompletedProcess[str]:
    arguments = ["template", release, str(CHART), "--namespace", namespace, "--values", "-"]
    # The values of a test come last, so that they win over those of a file.
    files = [values_option(file) for file in values_files]
    versions = [argument for version in api_versions for argument in ("--api-versions", version)]
    more = [
        part
        for name, value in options
        for part in (f"--{name.replace('_', '-')}", value)
        if part is not None
    ]
    return helm(*arguments[:-2], *files, *arguments[-2:], *versions, *more, stdin=values)


def alone(name: str = "web", /, **values: object) -> dict[str, Any]:
    """Return values with one component, and nothing else of the platform."""
    return beside([values], [name])


def beside(components: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Return values with these components, and nothing else of the platform."""
    image = {"repository": "web", "tag": "1"}
    made = {
        name: {"image": image, **values} for name, values in zip(names, components, strict=True)
    }
    off = {"enabled": False}
    return {
        "kafka": off,
        "database": off,
        "components": {"api-rest": off, "async-worker": off, **made},
    }


def find(documents: Iterable[Document], kind: str, name: str) -> Document:
    """Return the one object of a kind and name."""
    found = [
        document for document in of_kind(documents, kind) if document["metadata"]["name"] == name
    ]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def of_kind(documents: Iterable[Document], kind: str) -> list[Document]:
    """Return every object of a kind."""
    return [document for document in documents if document["kind"] == kind]


def names(documents: Iterable[Document], kind: str) -> list[str]:
    """Return the names of every object of a kind, sorted."""
    return sorted(document["metadata"]["name"] for document in of_kind(documents, kind))


def pod(documents: Iterable[Document], name: str) -> Document:
    """Return the spec of the pods of the Deployment, StatefulSet or Job of a name."""
    spec: Document = _template_of(documents, name)["spec"]
    return spec


def pod_annotations(documents: Iterable[Document], name: str) -> dict[str, str]:
    """Return the annotations of the pods of the Deployment, StatefulSet or Job of a name."""
    found: dict[str, str] = _template_of(documents, name)["metadata"].get("annotations", {})
    return found


def pods(documents: Iterable[Document]) -> Iterator[tuple[str, Document]]:
    """Yield the name and the pods' spec of everything that runs pods, bare pods (helm's tests) too."""
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        if document["kind"] in HELD:
            yield name, document["spec"]["template"]["spec"]
        elif document["kind"] == "CronJob":
            yield name, document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        elif document["kind"] == "Pod":
            yield name, document["spec"]


def container(documents: Iterable[Document], name: str, part: str | None = None) -> Document:
    """Return a container of what is named; the first, or the one (init containers too) that `part` names."""
    spec = pod(documents, name)
    every: list[Document] = [*spec["containers"], *spec.get("initContainers", [])]
    found = every[:1] if part is None else [each for each in every if each["name"] == part]
    assert len(found) == 1, f"{len(found)} containers {part} in {name}"
    return found[0]


def _template_of(documents: Iterable[Document], name: str) -> Document:
    found = [
        each for each in documents if each["kind"] in HELD and each["metadata"]["name"] == name
    ]
    assert len(found) == 1, f"{len(found)} workloads {name}"
    template: Document = found[0]["spec"]["template"]
    return template
