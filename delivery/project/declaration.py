"""The declaration: delivery.toml, checked as a whole."""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, pairwise
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from delivery.errors import DeclarationError
from delivery.project import windows

__all__ = [
    "LOCAL",
    "LOCAL_HOSTS",
    "Build",
    "Chart",
    "Cluster",
    "Declaration",
    "Environment",
    "Gitflow",
    "Ignored",
    "Image",
    "Prune",
    "Records",
    "Registry",
    "Signing",
    "Subproject",
    "Upstream",
    "Vulnerabilities",
    "Windows",
    "image_variable",
    "is_local",
    "model_of",
    "parse",
]

LOCAL_HOSTS = frozenset(("localhost", "127.0.0.1", "[::1]"))
LOCAL = "local"  # the environment on this machine

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
_Reference = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._/-]*:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")
]
_Url = Annotated[
    str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$")
]
_Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?$")]

_KEPT = "how many releases to keep, a whole number from 1"
# The rule in words, by key or by table and key: pydantic's own messages show only the pattern.
_ALLOWED = {
    "name": "lower-case letters, digits and single hyphens",
    "image": "a name with a pinned tag, as in debian:trixie-slim",
    "address": "a host with an optional port and path, as in localhost:5001 or docker.io/acme",
    "contexts": 'a list of kube contexts, as in ["kind-delivery-platform"]',
    "soak": "a duration, as in 90s, 10m or 1h",
    "prometheus": "an address without a login, as in http://prometheus.example.com:9090",
    "namespace": "lower-case letters, digits and hyphens, at most 63",
    "gitflow.develop": 'a list of branches, as in ["develop"]',
    "gitflow.candidate": 'a list of branches or patterns, as in ["release/*"]',
    "gitflow.preview": 'a list of branches or patterns, as in ["feature/*"]',
    "days": "a whole number",
    "gitflow.release": 'a list of branches, as in ["main", "master"]',
    "prune.develop": _KEPT,
    "prune.candidate": _KEPT,
    "folders": "a list of folders inside the project",
    "after": "a list of subprojects",
    "public_key": "a file inside the project",
    "laptop_public_key": "a file inside the project",
    "ledger": "an address without a login,"
    " as in http://localhost:8000 or https://ledger.example.com/api",
    "platforms": 'a list of platforms, as in ["linux/amd64", "linux/arm64"]',
    "epoch": "whole seconds since 1970 that fit an image's date, as in 1767225600",
}


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        msg = "must be a path inside the project"
        raise ValueError(msg)
    return path


_Path = Annotated[str, StringConstraints(min_length=1), AfterValidator(_inside)]
# Each node of the cluster gets a /24 of the subnet.
_WIDEST, _NARROWEST = 12, 20


def _subnet(text: str) -> str:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        msg = f"{text!r} is not an IPv4 subnet ({error})"
        raise ValueError(msg) from error
    if not _WIDEST <= network.prefixlen <= _NARROWEST:
        msg = f"{text!r} has the wrong size (allowed: /{_WIDEST} to /{_NARROWEST})"
        raise ValueError(msg)
    return text


_Subnet = Annotated[str, AfterValidator(_subnet)]
_Platform = Literal["linux/amd64", "linux/arm64"]


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, sorted: their order in the file changes nothing."""
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        msg = f"{repeated[0]!r} is listed twice"
        raise ValueError(msg)
    return tuple(sorted(names))


_Reason = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
# A branch's name, or a pattern that ends with *.
_Branch = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]+\*?$")]
_Branches = Annotated[tuple[_Branch, ...], Field(min_length=1, strict=False)]
_Label = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
    ),
]


# What a preview's name and namespace end with.
_LONGEST_PREVIEW = 32
_PREVIEW = re.compile(rf"(?=.{{2,{_LONGEST_PREVIEW}}}$)(-[a-z0-9]+)+")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Registry(_Table):
    """The registry that images and charts are pushed to."""

    address: _Address = Field(
        description="the registry that images are pushed to: host, optional port and path."
        " `DELIVERY_REGISTRY` overrides it"
    )


class Build(_Table):
    """How images are built."""

    epoch: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        description="the date of images, and the latest of their files, in seconds since 1970"
    )
    platforms: Annotated[tuple[_Platform, ...], Field(strict=False), AfterValidator(_distinct)] = (
        Field(
            default=(),
            description="optional: the platforms that `inv push` builds each image for:"
            ' "linux/amd64", "linux/arm64"; by default that of the machine. `inv up` and `inv dev`'
            " always build for the machine alone",
        )
    )


class Upstream(_Table):
    """An upstream image."""

    image: _Reference = Field(description="its published name, with a pinned tag")
    recipe: _Path = Field(
        description="the folder of the recipe that builds it where no registry answers"
    )
    optional: bool = Field(
        default=False,
        description="optional: fetched only when a flag asks for it, as `inv up --monitoring` does",
    )


class Image(_Table):
    """An image of this project.

    The Dockerfile gets an upstream image as the build argument NAME_IMAGE, and an image of this
    project by its name.
    """

    context: _Path = Field(description="its build context: a folder with a Dockerfile")
    base: _Name = Field(
        description="the base of its final stage: another image of this project, or an upstream"
        " image"
    )
    builder: _Name | None = Field(
        default=None, description="optional: the upstream image that its build stages use"
    )
    contexts: dict[_Name, _Path] = Field(
        default={}, description="optional: more folders that its Dockerfile copies from, by name"
    )
    dated: bool = Field(
        default=False,
        description="optional: whether its Dockerfile gives every file one time, a constant;"
        " else its layers are written a second time to have one",
    )

    @property
    def folders(self) -> tuple[str, ...]:
        """Every folder that its build reads."""
        return (self.context, *self.contexts.values())


class Cluster(_Table):
    """The local cluster, which has the project's name.

    The names of workers are for readers of delivery.toml: Kubernetes names its nodes after the
    cluster.
    """

    node: _Name = Field(description="the upstream image of the nodes")
    pods: _Subnet = Field(
        description="the subnet of the pods; its packets do not leave the engine's host"
    )
    services: _Subnet = Field(
        description="the subnet of the Services; its packets do not leave the engine's host"
    )
    workers: dict[_Name, dict[_Label, _Label]] = Field(
        description="the workers, each with its node labels"
    )


class Chart(_Table):
    """The Helm chart that runs the images of this project."""

    folder: _Path = Field(
        description="the folder of the Helm chart; the chart is published under the folder's name"
    )


class Subproject(_Table):
    """A part of this repository with a version, a changelog and Git tags NAME-vX.Y.Z of its own."""

    folders: Annotated[tuple[_Path, ...], Field(min_length=1, strict=False)] = Field(
        description="its folders; the chart's folder and each image's belong to a single subproject"
    )
    changelog: _Path = Field(description="its changelog")
    after: Annotated[tuple[_Name, ...], Field(strict=False)] = Field(
        default=(),
        description="optional: the subprojects that it is built on; a new version of any of them"
        " gives it a new patch version",
    )


class Gitflow(_Table):
    """The branches of each line, and the environment that each line is deployed to."""

    develop: _Branches = Field(description="the branches of the develop line")
    candidate: _Branches = Field(
        description="the branches of the candidate line: names, or patterns such as `release/*`"
    )
    release: _Branches = Field(
        description="the branches of the release line; any other branch is a feature"
    )
    preview: Annotated[tuple[_Branch, ...], Field(strict=False)] = Field(
        default=(),
        description="optional: the branches of the preview line, such as `feature/*`: each is"
        " deployed to a namespace of its own",
    )
    deploys: dict[Literal["develop", "candidate", "release", "preview"], _Name] = Field(
        default_factory=dict,
        description="optional: the environment that each line is deployed to, by line; for"
        " `preview` one whose name and namespace each branch's preview begins with",
    )


class Signing(_Table):
    """How releases are signed."""

    public_key: _Path = Field(
        description="optional: the PEM file of the public key that signatures are checked with;"
        " only the CI server has its private half"
    )
    laptop_public_key: _Path | None = Field(
        default=None,
        description="optional: the PEM file of the public key of laptops. What its private half"
        " signed is deployed anywhere but to the environment of the release line",
    )


class Records(_Table):
    """Where deployments are recorded."""

    ledger: _Url = Field(
        description="optional: the address of the ledger that records stages and deploys."
        " `DELIVERY_LEDGER` overrides it"
    )


class Prune(_Table):
    """The settings of `inv registry.prune`."""

    develop: Annotated[int, Field(ge=1)] = Field(
        default=20,
        description="how many releases of the develop line `inv registry.prune` keeps, the newest"
        " first",
    )
    candidate: Annotated[int, Field(ge=1)] = Field(
        default=20,
        description="how many releases of the candidate line it keeps; it keeps all of the release"
        " line",
    )
    days: Annotated[int, Field(ge=0)] = Field(
        default=7, description="how many days it keeps what no release names"
    )


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"{name!r} is not a time zone such as America/Sao_Paulo") from None
    return name


def _windows(rules: dict[str, str]) -> dict[str, str]:
    for rule, duration in rules.items():
        windows.check_rule(rule)
        windows.parse_duration(duration)
    return rules


class Windows(_Table):
    """The times at which an environment may be deployed to."""

    zone: Annotated[str, AfterValidator(_zone)]
    rules: Annotated[dict[str, str], Field(min_length=1), AfterValidator(_windows)]

    def next_opening(self, now: datetime) -> datetime | None:
        """When a window opens next; `now` if one is open; None if none opens again."""
        return windows.next_opening(self.rules, self.zone, now)


class Vulnerabilities(_Table):
    """What `inv push` does about vulnerabilities on the candidate and release lines."""

    block: Literal["low", "medium", "high", "critical"] = Field(
        default="high",
        description="from which severity on a vulnerability that has a fix blocks a push: low,"
        " medium, high or critical",
    )
    days: Annotated[int, Field(ge=1)] = Field(
        default=7, description="how many days old the newest record of a database may be"
    )
    unscanned: _Reason | None = Field(
        default=None,
        description="optional: why nothing is scanned until the date in `until`; pushes go on, and"
        " the ledger is told the reason",
    )
    until: date | None = Field(
        default=None, description="optional: the last day on which `unscanned` counts"
    )


class Ignored(_Table):
    """A vulnerability that does not block, by its id or an alias, such as CVE-2018-20060."""

    reason: _Reason = Field(description="why it does not block; published as OpenVEX")
    until: date = Field(description="the last day on which it is ignored, as in 2027-01-31")
    status: Literal["affected", "not_affected"] = Field(
        default="affected",
        description="optional: `affected`, which is accepted for now, or `not_affected`",
    )


class Environment(_Table):
    """An environment: a namespace of a cluster, with its values."""

    contexts: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] = Field(
        description="the kube contexts of its cluster; a deploy with any other is refused. The"
        " local cluster's own context, kind-NAME of the project, always belongs to `local`"
    )
    namespace: Annotated[
        str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    ] = Field(
        description="its namespace; if it is missing, a deploy creates it with Pod Security"
        " `restricted`"
    )
    values: _Path = Field(description="the file of the chart's values for it")
    secrets: _Path | None = Field(
        default=None,
        description="optional: a file of more values, encrypted by sops. A deploy decrypts it in"
        " memory; it overrides `values`",
    )
    confirm: bool = Field(
        default=False,
        description="optional: a deploy asks the user to type the environment's name, or to pass"
        ' --yes; the pipeline has a gate, "approval"',
    )
    test: bool = Field(
        default=False, description="optional: the chart's tests run after each deploy"
    )
    soak: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*[smh]$")] | None = Field(
        default=None,
        description="optional: how long a deploy tests and then watches a new version before it"
        " counts, such as `10m`; trouble that was not there before takes it back",
    )
    prometheus: _Url | None = Field(
        default=None,
        description="optional: the address of the Prometheus whose alerts a deploy watches",
    )
    days: Annotated[int, Field(ge=1)] = Field(
        default=7,
        description="how many days after its last deploy `inv preview.reap` removes a preview",
    )
    role: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.:-]*[a-z0-9])?$")] | None = (
        Field(
            default=None,
            description="optional, for previews: a ClusterRole, which a deploy binds to the service"
            " accounts of this namespace in the namespace of each preview",
        )
    )
    signed: bool = Field(
        default=False,
        description="optional: a deploy takes only releases with a signature that"
        " `signing.public_key` confirms",
    )
    windows: Windows | None = Field(
        default=None,
        description="optional: when a deploy is allowed: `zone`, a time zone, and `rules`, each a"
        " rule of RFC 5545 that says when a window opens, with its duration:"
        ' `{ "FREQ=WEEKLY;BYDAY=MO,TU;BYHOUR=9" = "8h" }`. INTERVAL counts from Monday 2000-01-03',
    )
    on_unknown: Literal["deploy", "refuse"] = Field(
        default="deploy",
        description="optional: what a deploy does when the ledger does not say whether the"
        ' environment is frozen: "deploy" (the default) or "refuse"',
    )


class Declaration(_Table):
    """The whole of delivery.toml."""

    name: Annotated[_Name, StringConstraints(max_length=50)] = Field(
        description="the name of everything on this machine: the compose project with its network"
        " and volumes, the local registry, the local cluster. `COMPOSE_PROJECT_NAME` overrides it"
        " for the compose project and the local registry"
    )
    registry: Registry
    build: Build
    upstream: dict[_Name, Upstream]
    images: dict[_Name, Image]
    chart: Chart
    subprojects: dict[_Name, Subproject]
    gitflow: Gitflow
    cluster: Cluster
    environments: dict[_Name, Environment] = Field(default_factory=dict)
    prune: Prune = Prune()
    signing: Signing | None = None
    records: Records | None = None
    vulnerabilities: Vulnerabilities | None = None
    ignored: dict[str, Ignored] = Field(default_factory=dict)

    def bases(self) -> dict[str, tuple[str, ...]]:
        """The base of each image."""
        return {name: (image.base,) for name, image in self.images.items()}

    def dependencies(self) -> dict[str, tuple[str, ...]]:
        """The subprojects that each subproject is built on."""
        return {name: subproject.after for name, subproject in self.subprojects.items()}

    def images_in_order(self) -> list[str]:
        """The names of the images, each after its base."""
        return _in_order(self.bases())

    def subprojects_in_order(self) -> list[str]:
        """The names of the subprojects, each after those that it is built on."""
        return _in_order(self.dependencies())

    def components(self) -> list[str]:
        """The images that run: those that are the base of no other."""
        bases = {image.base for image in self.images.values()}
        return [name for name in self.images if name not in bases]

    def subproject_of(self, folder: str) -> str:
        """The subproject that a folder belongs to."""
        return next(
            name for name, subproject in self.subprojects.items() if folder in subproject.folders
        )

    @property
    def preview(self) -> str:
        """The environment that previews are made of, "" without any."""
        return self.gitflow.deploys.get("preview", "")

    def is_preview(self, environment: str) -> bool:
        """Whether this is the environment of a branch."""
        return environment not in self.environments and self.environment(environment) is not None

    def declared_name(self, environment: str) -> str:
        """The name under which an environment is declared: for a preview that of all previews."""
        return self.preview if self.is_preview(environment) else environment

    def environment(self, name: str) -> Environment | None:
        """The environment of this name; a preview's name and namespace have the same end."""
        if self.preview and _PREVIEW.fullmatch(end := name.removeprefix(self.preview)):
            declared = self.environments[self.preview]
            return self.environments.get(
                name, declared.model_copy(update={"namespace": f"{declared.namespace}{end}"})
            )
        return self.environments.get(name)

    def contexts(self, environment: str) -> tuple[str, ...]:
        """The kube contexts of an environment; `local` also has the local cluster's own."""
        found = self.environment(environment)
        declared = found.contexts if found else ()
        return (f"kind-{self.name}", *declared) if environment == LOCAL else declared

    def with_registry(self, address: str) -> Declaration:
        """A copy with another registry; raises ValueError for an address that is not valid."""
        return self.model_copy(update={"registry": Registry(address=address)})

    def is_dated(self, name: str) -> bool:
        """Whether Dockerfiles date every file of an image: its own, and those of its bases here.

        The layers of a base that is built beside it come from the builder's cache.
        """
        image = self.images.get(name)
        return image is None or (image.dated and self.is_dated(image.base))

    def build_arguments(self, name: str) -> dict[str, str]:
        """The build arguments of an image that come from the declaration."""
        image = self.images[name]
        references = {
            image_variable(upstream): self.upstream[upstream].image
            for upstream in (image.base, image.builder)
            if upstream in self.upstream
        }
        return {"SOURCE_DATE_EPOCH": str(self.build.epoch), **references}


def image_variable(name: str) -> str:
    """The variable by which Dockerfiles and compose files get the reference of an image."""
    return f"{name.upper().replace('-', '_')}_IMAGE"


def is_local(address: str) -> bool:
    """Whether a registry is on this machine; Docker uses plain HTTP for such a registry."""
    host = address.partition("/")[0]
    return host in LOCAL_HOSTS or host.rpartition(":")[0] in LOCAL_HOSTS


# The path of a wrong key, and the problem.
_Mistake = tuple[tuple[str, ...], str]


def parse(
    text: str,
    *,
    file: str = "delivery.toml",
    is_folder: Callable[[str], bool],
    is_file: Callable[[str], bool],
) -> Declaration:
    """Read a declaration, or raise a DeclarationError that lists every mistake as file:line.

    is_folder and is_file say what a path inside the project is.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        number = line[1] if line else len(text.splitlines())
        raise _mistakes_error(file, [f"{file}:{number}: not TOML: {error}"]) from error
    try:
        declaration = Declaration.model_validate(data)
    except ValidationError as error:
        mistakes = [(_path(item["loc"]), _sentence(dict(item))) for item in error.errors()]
    else:
        mistakes = [*_cross_checks(declaration, is_folder), *_missing_values(declaration, is_file)]
        if not mistakes:
            return declaration
    lines = _lines(text)
    numbered = sorted(
        (_line_of(path, lines), f"{'.'.join(path) or 'the file'}: {problem}")
        for path, problem in mistakes
    )
    raise _mistakes_error(file, [f"{file}:{number}: {problem}" for number, problem in numbered])


def _mistakes_error(file: str, mistakes: list[str]) -> DeclarationError:
    is_single = len(mistakes) == 1
    return DeclarationError(
        f"cannot read {file}: {'1 mistake' if is_single else f'{len(mistakes)} mistakes'}",
        details="\n".join(mistakes),
        hint=f"correct {'it' if is_single else 'them'} in {file};"
        " docs/delivery-toml.md describes every key",
    )


def _path(loc: Iterable[int | str]) -> tuple[str, ...]:
    return tuple(str(part) for part in loc if part != "[key]")


def _sentence(error: dict[str, Any]) -> str:
    """The problem, from an error of pydantic."""
    path = _path(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            allowed = _fields_at(path[:-1])
            close = difflib.get_close_matches(path[-1], allowed, n=1)
            suggestion = f'; did you mean "{close[0]}"?' if close else ""
            return f"unknown key{suggestion} (allowed: {', '.join(allowed)})"
        case "missing" | "dict_type" as kind:
            return "is missing" if kind == "missing" else "must be a table"
        case "value_error":
            return str(error["ctx"]["error"])
        case "literal_error" if error["loc"][-1] == "[key]":
            return f"unknown key (allowed: {error['ctx']['expected']})"
        case _ if error["loc"][-1] == "[key]":
            return f"not a name (allowed: {_ALLOWED['name']})"
        case _:
            rule = _ALLOWED.get(".".join(path[-2:])) or _ALLOWED.get(path[-1])
            reason = f"allowed: {rule}" if rule else error["msg"]
            return f"{error['input']!r} is not allowed ({reason})"


def model_of(annotation: object) -> type[BaseModel] | None:
    """The model of the tables that a field holds, or None for a field without tables."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(model_of, get_args(annotation))), None)


def _fields_at(path: tuple[str, ...]) -> list[str]:
    """The keys that the table at this path may have."""
    model: type[BaseModel] = Declaration
    for part in path:  # a part that is no key is the NAME of a table
        if part in model.model_fields:
            model = model_of(model.model_fields[part].annotation) or model
    return sorted(model.model_fields)


def _cross_checks(declaration: Declaration, is_folder: Callable[[str], bool]) -> list[_Mistake]:
    """The mistakes that show only when keys are compared with each other and with the folders."""
    mistakes = [
        *_unknown_names(declaration),
        *_cycles(declaration.bases(), ("images", "base")),
        *_cycles(declaration.dependencies(), ("subprojects", "after")),
        *_wrong_folders(declaration, is_folder),
        *_repeated_branches(declaration.gitflow),
        *_wrong_previews(declaration),
    ]
    mistakes += [
        (("images", name), "an upstream image has the same name")
        for name in declaration.images
        if name in declaration.upstream
    ]
    mistakes += [
        (("environments", name, "signed"), "signing.public_key is missing")
        for name, environment in declaration.environments.items()
        if environment.signed and declaration.signing is None
    ]
    mistakes += [
        (("environments", name, "role"), "only the environment of previews has one")
        for name, environment in declaration.environments.items()
        if environment.role and name != declaration.preview
    ]
    scans = declaration.vulnerabilities
    if scans and (scans.unscanned is None) != (scans.until is None):
        mistakes.append((("vulnerabilities",), "unscanned and until belong together"))
    pods, services = declaration.cluster.pods, declaration.cluster.services
    if ipaddress.IPv4Network(pods).overlaps(ipaddress.IPv4Network(services)):
        mistakes.append((("cluster", "services"), f"{services} overlaps with pods, {pods}"))
    return mistakes


def _unknown_names(declaration: Declaration) -> list[_Mistake]:
    images, upstream = declaration.images, declaration.upstream
    references: list[tuple[tuple[str, ...], str | None, Collection[str], str]] = [
        (("cluster", "node"), declaration.cluster.node, upstream, "upstream image")
    ]
    for name, image in images.items():
        references += [
            (("images", name, "base"), image.base, {*images, *upstream}, "image"),
            (("images", name, "builder"), image.builder, upstream, "upstream image"),
        ]
    references += [
        (("subprojects", name, "after"), dependency, declaration.subprojects, "subproject")
        for name, dependencies in declaration.dependencies().items()
        for dependency in dependencies
    ]
    references += [
        (("gitflow", "deploys", line), environment, declaration.environments, "environment")
        for line, environment in declaration.gitflow.deploys.items()
    ]
    return [
        (path, f'"{name}" is no {kind} (known: {", ".join(sorted(known)) or "none"})')
        for path, name, known, kind in references
        if name is not None and name not in known
    ]


def _repeated_branches(gitflow: Gitflow) -> list[_Mistake]:
    """The branches that are on several lines."""
    lines = {
        name: getattr(gitflow, name) for name in ("develop", "candidate", "release", "preview")
    }
    return [
        (("gitflow", second), f'"{branch}" is in {first} too')
        for first, second in combinations(lines, 2)
        for branch in lines[second]
        if branch in lines[first]
    ]


def _wrong_previews(declaration: Declaration) -> list[_Mistake]:
    gitflow, name = declaration.gitflow, declaration.preview
    if gitflow.preview and not name:
        return [(("gitflow", "preview"), "gitflow.deploys.preview is missing")]
    if name not in declaration.environments:
        return []
    mistakes: list[_Mistake] = []
    if name == LOCAL or list(gitflow.deploys.values()).count(name) > 1:
        problem = f'"{name}" is not an environment of previews alone'
        mistakes.append((("gitflow", "deploys", "preview"), problem))
    longest = 63 - _LONGEST_PREVIEW
    if len(declaration.environments[name].namespace) > longest:
        problem = f"is longer than {longest} characters, and the branch's name comes after it"
        mistakes.append((("environments", name, "namespace"), problem))
    return mistakes


def _wrong_folders(declaration: Declaration, is_folder: Callable[[str], bool]) -> list[_Mistake]:
    """The folders that do not exist, or belong to no or several subprojects."""
    owned: list[_Mistake] = [
        (("subprojects", name, "folders"), folder)
        for name, subproject in declaration.subprojects.items()
        for folder in subproject.folders
    ]
    used: list[_Mistake] = [(("chart", "folder"), declaration.chart.folder)]
    for name, image in declaration.images.items():
        used.append((("images", name, "context"), image.context))
        used += [(("images", name, "contexts", key), path) for key, path in image.contexts.items()]
    recipes = [
        (("upstream", name, "recipe"), upstream.recipe)
        for name, upstream in declaration.upstream.items()
    ]
    owners = Counter(folder for _, folder in owned)
    missing = [
        (path, f'there is no folder "{folder}"')
        for path, folder in [*owned, *used, *recipes]
        if not is_folder(folder)
    ]
    shared = [
        (path, f'"{folder}" belongs to another subproject too')
        for path, folder in owned
        if owners[folder] > 1
    ]
    without_owner = [
        (path, f'the folder "{folder}" belongs to no subproject')
        for path, folder in used
        if not owners[folder]
    ]
    return [*missing, *shared, *without_owner]


def _missing_values(declaration: Declaration, is_file: Callable[[str], bool]) -> list[_Mistake]:
    return [
        (("environments", name, key), f'there is no file "{file}"')
        for name, environment in declaration.environments.items()
        for key, file in (("values", environment.values), ("secrets", environment.secrets))
        if file and not is_file(file)
    ]


def _in_order(dependencies: Mapping[str, Sequence[str]]) -> list[str]:
    """The names, each after its dependencies."""
    return [name for name in TopologicalSorter(dependencies).static_order() if name in dependencies]


def _cycles(dependencies: Mapping[str, Sequence[str]], key: tuple[str, str]) -> list[_Mistake]:
    """A mistake for each name of each cycle."""
    table, field = key
    left = {name: set(names) for name, names in dependencies.items()}
    mistakes = list[_Mistake]()
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:  # it names one cycle
            for dependency, name in pairwise(error.args[1]):
                left[name].remove(dependency)
                problem = f'"{dependency}" depends on {name} itself'
                mistakes.append(((table, name, field), problem))
        else:
            return mistakes


_HEADER = re.compile(r"^\s*\[([^\[\]]+)\]")
_KEY = re.compile(r"""^\s*(["']?)([A-Za-z0-9_-]+)\1\s*=""")


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """The line on which each table and key begins; tomllib does not say it."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            for end in range(1, len(table) + 1):
                lines.setdefault(table[:end], number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, key[2]), number)
    return lines


def _line_of(path: tuple[str, ...], lines: Mapping[tuple[str, ...], int]) -> int:
    """The line of the longest part of the path that is in the file."""
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), 1)
