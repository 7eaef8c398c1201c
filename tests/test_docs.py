"""The documentation says what is there."""

import re
from collections import Counter
from pathlib import Path

import pytest
from invoke.collection import Collection

import tasks
from delivery.project.files import ROOT

PAGES = [
    ROOT / name
    for name in ("README.md", "docs/CONTRIBUTING.md", "CHANGELOG.md", "ops/bench/README.md")
]
PAGES += sorted((ROOT / "docs").glob("*.md")) + sorted(ROOT.glob("*/docs/*.md"))
PAGES += [
    ROOT / name / "README.md"
    for name in ("base-image", "api-rest", "async-worker", "platform-chart", "ops/upstream")
]


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)[^)]*\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_task_that_is_named_is_on_the_menu(page: Path) -> None:
    assert isinstance(tasks.namespace, Collection)
    named = set(re.findall(r"\./run inv ([a-z][a-z.]*[a-z])", page.read_text()))
    known = {
        name for task, others in tasks.namespace.task_names.items() for name in (task, *others)
    }
    assert named - known == set()


def test_a_plan_to_keep_to_comes_from_one_place() -> None:
    """`--plan` reads what `inv plan --file FILE` wrote: no help and no page says anything else."""
    # By their source: Invoke takes the helps out of a task once it has made arguments of them.
    source = "".join(
        file.read_text() for file in sorted((ROOT / "delivery" / "tasks").glob("*.py"))
    )
    helps = re.findall(r'(?:"plan": |_KEEP = )"(.*)"', source)
    assert len(helps) == 3
    assert [told for told in helps if "`inv plan --file FILE` wrote" not in told] == []
    assert [page for page in PAGES if "inv plan --json" in page.read_text()] == []


def test_the_charts_alerts_are_tested_against_the_metrics_that_there_are() -> None:
    told: set[str] = set()
    for app in ("api-rest", "async-worker"):
        text = (ROOT / app / "README.md").read_text()
        for name, kind in re.findall(
            r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|", text, re.MULTILINE
        ):
            told |= (
                {f"{name}_{part}" for part in ("bucket", "count", "sum")}
                if kind == "histogram"
                else {name}
            )
    assert sorted(told) == (ROOT / "platform-chart" / "tests" / "metrics.txt").read_text().split()


CHANGELOGS = [ROOT / "CHANGELOG.md", *sorted(ROOT.glob("*/CHANGELOG.md"))]


@pytest.mark.parametrize("page", CHANGELOGS, ids=ids)
def test_a_changelog_says_each_thing_once(page: Path) -> None:
    for version in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        headings = re.findall(r"^### .*", version, re.MULTILINE)
        begun = re.findall(r"^- .{25}", version, re.MULTILINE)
        assert [one for one, count in Counter([*headings, *begun]).items() if count > 1] == []
