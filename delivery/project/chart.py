"""The chart as it is published: the version it says, and our images by digest as its default values."""

from __future__ import annotations

import re
from collections.abc import Mapping

from delivery.errors import Problem

__all__ = ["image_tag", "problems", "with_images", "with_tags", "with_versions"]

# As the chart's values have it: one line a component, so that it can be found and read.
_IMAGE = r"image: \{{repository: (?P<repository>\S+/)?{name}, tag: (?P<tag>[^,}}]+), digest: (?P<digest>[^,}}]*)\}}"


_FIELD = r"^{field}: .*$"
_FIELDS = ("version", "appVersion")


def problems(chart: str, values: str, images: Mapping[str, str]) -> list[Problem]:
    """What keeps a chart with this Chart.yaml and values.yaml from naming a version and these images (name → repository)."""
    version = _wrong_field(chart, _FIELDS[0])
    found = [_wrong_image(values, name, repository) for name, repository in images.items()]
    return [problem for problem in (version, *found) if problem]


def with_versions(chart: str, version: str, application: str = "") -> str:
    """Chart.yaml's text with this version, and with this appVersion when one is told."""
    for field, value in zip(_FIELDS, (version, application), strict=True):
        if not value:
            continue
        if problem := _wrong_field(chart, field):
            raise problem.error()
        chart = re.sub(_FIELD.format(field=field), f"{field}: {value}", chart, flags=re.MULTILINE)
    return chart


def with_images(values: str, images: Mapping[str, tuple[str, str, str]]) -> str:
    """values.yaml's text with each component's image as (repository, tag, digest)."""
    for name, (repository, tag, digest) in images.items():
        values = _replaced(
            values,
            name,
            repository,
            f'image: {{repository: {repository}, tag: "{tag}", digest: "{digest}"}}',
        )
    return values


def with_tags(values: str, tags: Mapping[str, str]) -> str:
    """values.yaml's text with each component's image under this tag, its repository as it was."""
    for name, tag in tags.items():
        found = re.search(_IMAGE.format(name=re.escape(name)), values)
        repository = f"{(found and found['repository']) or ''}{name}"
        values = _replaced(
            values, name, repository, f'image: {{repository: {repository}, tag: {tag}, digest: ""}}'
        )
    return values


def image_tag(values: str, name: str) -> str:
    """The tag that a component's image has in values.yaml's text; "" where that says none."""
    found = re.search(_IMAGE.format(name=re.escape(name)), values)
    return found["tag"].strip('"') if found else ""


def _replaced(values: str, name: str, repository: str, line: str) -> str:
    if problem := _wrong_image(values, name, repository):
        raise problem.error()
    return re.sub(_IMAGE.format(name=re.escape(name)), lambda _: line, values)


def _wrong_field(chart: str, field: str) -> Problem | None:
    found = len(re.findall(_FIELD.format(field=field), chart, flags=re.MULTILINE))
    if found == 1:
        return None
    return Problem(
        f"cannot write {field} into Chart.yaml: it has {found} lines `{field}: …`",
        "one such line, at the beginning of a line, is needed",
    )


def _wrong_image(values: str, name: str, repository: str) -> Problem | None:
    found = len(re.findall(_IMAGE.format(name=re.escape(name)), values))
    if found == 1:
        return None
    return Problem(
        f"cannot write the image {name} into the chart's values.yaml: it is there {found} times",
        f'one line `image: {{repository: {repository}, tag: 0.1.0, digest: ""}}` is needed there',
    )
