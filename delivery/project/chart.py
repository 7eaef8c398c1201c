"""The chart's version, and the images in its default values."""

from __future__ import annotations

import re
from collections.abc import Mapping

from delivery.errors import Problem

__all__ = ["image_tag", "problems", "with_images", "with_tags", "with_versions"]

# A component's image is a line of values.yaml.
_IMAGE = (
    r"image: \{{repository: (?P<repository>\S+/)?{name}, tag: (?P<tag>[^,}}]+),"
    r" digest: (?P<digest>[^,}}]*)\}}"
)
_FIELD = r"^{field}: .*$"


def problems(chart: str, values: str, images: Mapping[str, str]) -> list[Problem]:
    """The problems of writing a version and these images (name → repository) into a chart.

    chart and values are the texts of Chart.yaml and values.yaml.
    """
    checks = [_field_problem(chart, "version")]
    checks += [_image_problem(values, name, repository) for name, repository in images.items()]
    return [problem for problem in checks if problem]


def with_versions(chart: str, version: str, application: str = "") -> str:
    """Chart.yaml's text with this version and, if given, this appVersion."""
    for field, value in {"version": version, "appVersion": application}.items():
        if not value:
            continue
        if problem := _field_problem(chart, field):
            raise problem.error()
        chart = re.sub(_FIELD.format(field=field), f"{field}: {value}", chart, flags=re.MULTILINE)
    return chart


def with_images(values: str, images: Mapping[str, tuple[str, str, str]]) -> str:
    """values.yaml's text with each component's image as (repository, tag, digest)."""
    for name, (repository, tag, digest) in images.items():
        line = f'image: {{repository: {repository}, tag: "{tag}", digest: "{digest}"}}'
        values = _with_image(values, name, repository, line)
    return values


def with_tags(values: str, tags: Mapping[str, str]) -> str:
    """values.yaml's text with each component's image under this tag, in the same repository."""
    for name, tag in tags.items():
        match = _image(values, name)
        repository = f"{(match and match['repository']) or ''}{name}"
        line = f'image: {{repository: {repository}, tag: {tag}, digest: ""}}'
        values = _with_image(values, name, repository, line)
    return values


def image_tag(values: str, name: str) -> str:
    """The tag of a component's image in values.yaml's text, or ""."""
    match = _image(values, name)
    return match["tag"].strip('"') if match else ""


def _image(values: str, name: str) -> re.Match[str] | None:
    return re.search(_IMAGE.format(name=re.escape(name)), values)


def _with_image(values: str, name: str, repository: str, line: str) -> str:
    if problem := _image_problem(values, name, repository):
        raise problem.error()
    return re.sub(_IMAGE.format(name=re.escape(name)), lambda _: line, values)


def _field_problem(chart: str, field: str) -> Problem | None:
    count = len(re.findall(_FIELD.format(field=field), chart, flags=re.MULTILINE))
    if count == 1:
        return None
    return Problem(
        f"cannot write {field} into Chart.yaml: it has {count} lines `{field}: …`",
        "keep a single such line, without spaces before it",
    )


def _image_problem(values: str, name: str, repository: str) -> Problem | None:
    count = len(re.findall(_IMAGE.format(name=re.escape(name)), values))
    if count == 1:
        return None
    return Problem(
        f"cannot write the image {name} into the chart's values.yaml: it has {count} such images",
        f'write a single line `image: {{repository: {repository}, tag: 0.1.0, digest: ""}}`',
    )
