"""The declaration: what delivery.toml says this project owns and where it goes, checked as a whole."""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from delivery.errors import DeclarationError

__all__ = [
    "LOCAL",
    "LOCAL_HOSTS",
    "Build",
    "Chart",
    "Cluster",
    "Declaration",
    "Environment",
    "Gitflow",
    "Image",
    "Prune",
    "Records",
    "Registry",
    "Signing",
    "Subproject",
    "Upstream",
    "image_variable",
    "is_local",
    "model_of",
    "parse",
]

LOCAL_HOSTS = frozenset(("localhost", "127.0.0.1", "[::1]"))
LOCAL = "local"  # the environment that is this machine

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
_Reference = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._/-]*:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")
]
_Url = Annotated[
    str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$")
]
_Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?$")]

# What pydantic's pattern messages cannot say: the rule in words, by field.
_ALLOWED = {
    "name": "lower-case letters, digits and single hyphens",
    "image": "a name with a pinned tag, as in debian:trixie-slim",
    "address": "a host with an optional port and path, as in localhost:5001 or docker.io/acme",
    "contexts": 'a list of kube contexts, as in ["kind-delivery-platform"]',
    "namespace": "lower-case letters, digits and hyphens, at most 63",
    "develop": "a list of branches, or a whole number of releases to keep",
    "candidate": "a list of branches or patterns, as in release/*, or a whole number of releases to keep",
    "release": 'a list of branches, as in ["main", "master"]',
    "folders": "a list of folders inside the project",
    "after": "a list of subprojects",
    "public_key": "a file inside the project",
    "ledger": "an address as in http://localhost:8000 or https://ledger.example.com/api, without a login",
    "epoch": "whole seconds since 1970 that fit an image's date, as in 1767225600",
}


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        msg = "must be a path inside the project"
        raise ValueError(msg)
    return path


_Path = Annotated[str, StringConstraints(min_length=1), AfterValidator(_inside)]


def _subnet(text: str) -> str:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        msg = f"{text!r} is not an IPv4 subnet ({error})"
        raise ValueError(msg) from error
    if not _WIDEST <= network.prefixlen <= _NARROWEST:
        msg = f"{text!r} is not fit: from /{_WIDEST} to /{_NARROWEST} is allowed, so that each node has a /24 of it"
        raise ValueError(msg)
    return text


_WIDEST, _NARROWEST = 12, 20
_Subnet = Annotated[str, AfterValidator(_subnet)]
# A pattern is a branch's name with at most one *, at its end.
_Branch = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]+\*?$")]
_Label = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
    ),
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Registry(_Part):
    """Where images are pushed: host[:port][/path]."""

    address: _Address = Field(
        description="where images are pushed: host, optional port and path. `DELIVERY_REGISTRY` overrides it"
    )


class Build(_Part):
    """How images are built. epoch dates every file in them, in seconds since 1970."""

    epoch: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        description="seconds since 1970 that every file in an image is dated with"
    )


class Upstream(_Part):
    """An image that others publish, and the folder of its recipe. optional: it is had only where it is asked for by name."""

    image: _Reference = Field(
        description="the published name and pinned tag of an image that others publish"
    )
    recipe: _Path = Field(description="the folder of its recipe")
    optional: bool = Field(
        default=False,
        description="optional: had only where it is asked for by name, as by `inv up --monitoring`",
    )


class Image(_Part):
    """An image of ours: its build context (a folder), the image that its final stage stands on, and its build stages' one.

    An upstream image is handed to the Dockerfile as the build argument <NAME>_IMAGE; one of ours takes the place of its name.
    """

    context: _Path = Field(description="the folder of an image of ours, its build context")
    base: _Name = Field(
        description="the image that its final stage stands on: one of ours, or an upstream image"
    )
    builder: _Name | None = Field(
        default=None, description="optional: the upstream image that its build stages stand on"
    )


class Cluster(_Part):
    """The local Kubernetes cluster: the upstream image of its nodes, its subnets, its workers' labels.

    It has the project's name. A worker's own name is for people: Kubernetes calls the nodes by the
    cluster's.
    """

    node: _Name = Field(description="the upstream image of its nodes")
    pods: _Subnet = Field(
        description="the subnet of its pods; with the next one it is kept from leaving the engine's host"
    )
    services: _Subnet = Field(description="the subnet of its Services")
    workers: dict[_Name, dict[_Label, _Label]] = Field(
        description="its workers, each with its node labels"
    )


class Chart(_Part):
    """The Helm chart that runs our images: its folder. It is published beside them, under the folder's name."""

    folder: _Path = Field(
        description="the Helm chart that runs them, published beside them under the folder's name"
    )


class Subproject(_Part):
    """What is versioned, tagged and split off by itself: its folders, its CHANGELOG, and the subprojects that it is made from.

    Its git tags are NAME-vX.Y.Z. A new version of what it is made from gives it a patch of its own.
    """

    folders: Annotated[tuple[_Path, ...], Field(min_length=1, strict=False)] = Field(
        description="what is versioned, tagged and split off by itself; every image's folder and "
        "the chart's belong to one"
    )
    changelog: _Path = Field(description="its CHANGELOG")
    after: Annotated[tuple[_Name, ...], Field(strict=False)] = Field(
        default=(),
        description="optional: the subprojects that it is made from; a new version of one gives it a patch",
    )


class Gitflow(_Part):
    """Which branches are of which line, by name or by pattern (release/*), and which environment each line is deployed to."""

    develop: Annotated[tuple[_Branch, ...], Field(min_length=1, strict=False)] = Field(
        description="the branches of the develop line"
    )
    candidate: Annotated[tuple[_Branch, ...], Field(min_length=1, strict=False)] = Field(
        description="those of the candidate line, names or patterns (`release/*`)"
    )
    release: Annotated[tuple[_Branch, ...], Field(min_length=1, strict=False)] = Field(
        description="those of the release line; any other branch is a feature"
    )
    deploys: dict[Literal["develop", "candidate", "release"], _Name] = Field(
        default_factory=dict,
        description="optional, by line: the environment that it is deployed to",
    )


class Signing(_Part):
    """The public key (a file in PEM) that published images, charts and releases are signed for."""

    public_key: _Path = Field(
        description="optional: the PEM file of the key that releases are signed for"
    )


class Records(_Part):
    """The deployment ledger that stages and deploys are told to: its address."""

    ledger: _Url = Field(
        description="optional: the address of the deployment ledger that stages and deploys are "
        "told to. `DELIVERY_LEDGER` overrides it"
    )


class Prune(_Part):
    """How much of each line the registry keeps, newest first, and the days before what no release names is removed."""

    develop: Annotated[int, Field(ge=1)] = Field(
        default=20, description="how many releases of the develop line `inv registry.prune` keeps"
    )
    candidate: Annotated[int, Field(ge=1)] = Field(
        default=20,
        description="how many of the candidate line; those of the release line stay for ever",
    )
    days: Annotated[int, Field(ge=0)] = Field(
        default=7, description="how long what no release names is kept"
    )


class Environment(_Part):
    """Where a release is deployed to: which kube contexts lead there, the namespace, the chart's values for it (a file).

    confirm: who deploys there says so once more. test: the chart's tests are run after a deploy. signed: only what is signed for
    signing.public_key is deployed there.
    """

    contexts: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] = Field(
        description="the kube contexts that lead there; any other is refused. The local cluster's, "
        "kind-NAME of the project, always leads to `local`"
    )
    namespace: Annotated[
        str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    ] = Field(description="the namespace, made with Pod Security `restricted` where there is none")
    values: _Path = Field(description="the chart's values for it")
    confirm: bool = Field(
        default=False,
        description='optional: who deploys there types its name, or says --yes; in the pipeline a gate, "approval"',
    )
    test: bool = Field(
        default=False, description="optional: the chart's tests run after each deploy"
    )
    signed: bool = Field(
        default=False,
        description="optional: only what is signed for `signing.public_key` is deployed there",
    )


class Declaration(_Part):
    """The whole of delivery.toml.

    name: what everything on this machine is called: the compose project with its network and
    volumes, the local registry, and the local cluster.
    """

    name: Annotated[_Name, StringConstraints(max_length=50)] = Field(
        description="what everything on this machine is called: the compose project with its "
        "network and volumes, the local registry, the local cluster. "
        "`COMPOSE_PROJECT_NAME` overrides the first two"
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

    def images_in_order(self) -> list[str]:
        """The names of our images, each after the image it stands on."""
        return _in_order(self.bases())

    def components(self) -> list[str]:
        """Our images that run: those that none other of ours stands on."""
        below = {image.base for image in self.images.values()}
        return [name for name in self.images if name not in below]

    def subproject_of(self, folder: str) -> str:
        """The subproject that a folder belongs to."""
        return next(name for name, one in self.subprojects.items() if folder in one.folders)

    def subprojects_in_order(self) -> list[str]:
        """The names of the subprojects, each after those that it is made from."""
        return _in_order(self.dependencies())

    def bases(self) -> dict[str, tuple[str, ...]]:
        """What each of our images stands on."""
        return {name: (image.base,) for name, image in self.images.items()}

    def dependencies(self) -> dict[str, tuple[str, ...]]:
        """What each subproject is made from."""
        return {name: one.after for name, one in self.subprojects.items()}

    def contexts(self, environment: str) -> tuple[str, ...]:
        """The kube contexts that lead to an environment; the local cluster's own leads to `local`."""
        declared = self.environments[environment].contexts
        return (f"kind-{self.name}", *declared) if environment == LOCAL else declared

    def with_registry(self, address: str) -> Declaration:
        """The same, with another registry; raise ValueError when that is no registry's address."""
        return self.model_copy(update={"registry": Registry(address=address)})

    def build_arguments(self, name: str) -> dict[str, str]:
        """The build arguments of one of our images, so far as the declaration decides them."""
        image = self.images[name]
        below = [upstream for upstream in (image.base, image.builder) if upstream in self.upstream]
        named = {image_variable(upstream): self.upstream[upstream].image for upstream in below}
        return {"SOURCE_DATE_EPOCH": str(self.build.epoch), **named}


def image_variable(name: str) -> str:
    """The variable that tells Dockerfiles and compose files which image stands for this name."""
    return f"{name.upper().replace('-', '_')}_IMAGE"


_Mistake = tuple[tuple[str, ...], str]
"""The path of what is wrong, and what is wrong with it."""


def parse(
    text: str, *, file: str = "delivery.toml", is_folder: Callable[[str], bool]
) -> Declaration:
    """Read a declaration, or raise one DeclarationError that lists every mistake as file:line.

    is_folder says whether a path inside the project is a folder.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        place = f"{file}:{line[1] if line else len(text.splitlines())}"
        raise _mistakes(file, [f"{place}: not TOML: {error}"]) from error
    try:
        declaration = Declaration.model_validate(data)
    except ValidationError as error:
        found = [(_path(item["loc"]), _sentence(dict(item))) for item in error.errors()]
    else:
        found = _cross_checks(declaration, is_folder)
        if not found:
            return declaration
    lines = _lines(text)
    numbered = sorted(
        (_line_of(path, lines), f"{'.'.join(path) or 'the file'}: {what}") for path, what in found
    )
    raise _mistakes(file, [f"{file}:{number}: {what}" for number, what in numbered])


def _mistakes(file: str, mistakes: list[str]) -> DeclarationError:
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return DeclarationError(
        f"read {file}: {count}",
        details="\n".join(mistakes),
        hint=f"mend {'it' if len(mistakes) == 1 else 'them'} in {file}; docs/delivery-toml.md describes every key",
    )


def _path(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    return tuple(str(part) for part in loc if part != "[key]")


def _sentence(error: dict[str, Any]) -> str:
    path = _path(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            allowed = _fields_at(path[:-1])
            close = difflib.get_close_matches(path[-1], allowed, n=1)
            mean = f'; did you mean "{close[0]}"?' if close else ""
            return f"not a key that is known here{mean} (allowed: {', '.join(allowed)})"
        case "missing":
            return "is missing"
        case "value_error":
            return str(error["ctx"]["error"])
        case kind:
            if error["loc"][-1] == "[key]":
                if kind == "literal_error":
                    return f"not a key that is known here (allowed: {error['ctx']['expected']})"
                return f"not a name (allowed: {_ALLOWED['name']})"
            rule = _ALLOWED.get(path[-1])
            got = f"{error['input']!r} is not allowed" if kind != "dict_type" else "must be a table"
            return f"{got} ({f'allowed: {rule}' if rule else error['msg']})"


def model_of(annotation: object) -> type[BaseModel] | None:
    """The table that a field holds, by itself, by name or where it is given; None where it holds no table."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(model_of, get_args(annotation))), None)


def _fields_at(path: tuple[str, ...]) -> list[str]:
    """The keys that the table at this path may have."""
    model = model_of(Declaration.model_fields[path[0]].annotation) if path else Declaration
    return sorted((model or Declaration).model_fields)


def _cross_checks(declaration: Declaration, is_folder: Callable[[str], bool]) -> list[_Mistake]:
    cluster = declaration.cluster
    found = [
        *_unknown_names(declaration),
        *_circles(declaration.bases(), ("images", "base"), "stands on"),
        *_circles(declaration.dependencies(), ("subprojects", "after"), "is made from"),
        *_wrong_folders(declaration, is_folder),
    ]
    found += [
        (("images", name), "is the name of an upstream image too; a name stands for one image")
        for name in declaration.images
        if name in declaration.upstream
    ]
    for name, one in declaration.environments.items():
        if one.signed and declaration.signing is None:
            what = "there is no signing.public_key to hold signatures against"
            found.append((("environments", name, "signed"), what))
    if ipaddress.IPv4Network(cluster.pods).overlaps(ipaddress.IPv4Network(cluster.services)):
        found.append(
            (("cluster", "services"), f"{cluster.services} overlaps with pods, {cluster.pods}")
        )
    return found


def _unknown_names(declaration: Declaration) -> list[_Mistake]:
    images, upstream, subprojects = (
        declaration.images,
        declaration.upstream,
        declaration.subprojects,
    )
    named: list[tuple[tuple[str, ...], str, Collection[str], str]] = [
        (("cluster", "node"), declaration.cluster.node, upstream, "upstream image")
    ]
    for name, image in images.items():
        named.append((("images", name, "base"), image.base, {*images, *upstream}, "image"))
        if image.builder is not None:
            named.append((("images", name, "builder"), image.builder, upstream, "upstream image"))
    for name, one in subprojects.items():
        named += [
            (("subprojects", name, "after"), before, subprojects, "subproject")
            for before in one.after
        ]
    for line, environment in declaration.gitflow.deploys.items():
        named.append(
            (("gitflow", "deploys", line), environment, declaration.environments, "environment")
        )
    return [
        (path, f'"{name}" is no {what} (known: {", ".join(sorted(known)) or "none"})')
        for path, name, known, what in named
        if name not in known
    ]


def _wrong_folders(declaration: Declaration, is_folder: Callable[[str], bool]) -> list[_Mistake]:
    subprojects = declaration.subprojects.items()
    owned: list[_Mistake] = [
        (("subprojects", name, "folders"), folder)
        for name, one in subprojects
        for folder in one.folders
    ]
    ours: list[_Mistake] = [
        (("images", name, "context"), image.context) for name, image in declaration.images.items()
    ]
    ours.append((("chart", "folder"), declaration.chart.folder))
    recipes = [
        (("upstream", name, "recipe"), one.recipe) for name, one in declaration.upstream.items()
    ]
    owners = Counter(folder for _, folder in owned)
    return [
        *(
            (path, f'there is no folder "{folder}"')
            for path, folder in [*owned, *ours, *recipes]
            if not is_folder(folder)
        ),
        *(
            (path, f'"{folder}" belongs to another subproject too')
            for path, folder in owned
            if owners[folder] > 1
        ),
        *(
            (path, f'the folder "{folder}" belongs to no subproject')
            for path, folder in ours
            if not owners[folder]
        ),
    ]


def _in_order(before: Mapping[str, Sequence[str]]) -> list[str]:
    """The names, each after those that come before it."""
    ordered: list[str] = []

    def place(name: str) -> None:
        if name in before and name not in ordered:
            for one in before[name]:
                place(one)
            ordered.append(name)

    for name in before:
        place(name)
    return ordered


def _circles(
    before: Mapping[str, Sequence[str]], key: tuple[str, str], comes: str
) -> list[_Mistake]:
    """Those that would have to come before themselves."""

    def reaches(start: str, goal: str) -> bool:
        seen, waiting = set[str](), [start]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += before.get(one, ())
        return goal in seen

    table, field = key
    return [
        ((table, name, field), f'"{one}" {comes} {name} itself')
        for name, ones in before.items()
        for one in ones
        if reaches(one, name)
    ]


_HEADER = re.compile(r"^\s*\[([^\[\]]+)\]")
_KEY = re.compile(r"""^\s*(["']?)([A-Za-z0-9_-]+)\1\s*=""")


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """The line on which each table and key of plain TOML begins; tomllib does not tell."""
    places: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            for end in range(1, len(table) + 1):
                places.setdefault(table[:end], number)
        elif key := _KEY.match(line):
            places.setdefault((*table, key[2]), number)
    return places


def _line_of(path: tuple[str, ...], places: dict[tuple[str, ...], int]) -> int:
    """The line of the nearest thing on the path that is in the file."""
    for end in range(len(path), 0, -1):
        if path[:end] in places:
            return places[path[:end]]
    return 1


def is_local(address: str) -> bool:
    """Whether a registry's address is this machine, which Docker speaks plain HTTP with."""
    host = address.partition("/")[0]
    return host in LOCAL_HOSTS or host.rpartition(":")[0] in LOCAL_HOSTS
