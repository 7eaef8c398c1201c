"""Pages name tasks, files, modules and headings that exist."""

import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from invoke.collection import Collection

import tasks
from delivery.project.files import ROOT
from tests import yaml_strict

PAGES = sorted(
    ROOT / name
    for name in subprocess.check_output(["git", "ls-files", "*.md"], cwd=ROOT, text=True).split()
)
CHANGELOGS = [page for page in PAGES if page.name == "CHANGELOG.md"]
DOCS = [page for page in PAGES if page.is_relative_to(ROOT / "docs")]
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
ALIEN = ROOT / "ops" / "repos"  # its links are those of the repository that is split off


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_each_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    if page.is_relative_to(ALIEN):
        pytest.skip("its links are checked in the split repository")
    broken = []
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{path}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_each_block_of_yaml_and_toml_is_valid(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for language, block in re.findall(r"```(yaml|toml)\n(.*?)```", text, re.DOTALL):
        if language == "toml":
            tomllib.loads(block)
        else:
            yaml_strict.load(block)


def flags_of_tasks() -> dict[str | None, set[str]]:
    assert isinstance(tasks.namespace, Collection)
    return {
        name: {"--help", *context.flags, *context.inverse_flags}
        for context in tasks.namespace.to_contexts()
        for name in (context.name, *context.aliases)
    }


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_each_task_and_flag_that_a_page_names_exists(page: Path) -> None:
    known, unknown = flags_of_tasks(), []
    text = page.read_text(encoding="utf-8")
    for task, rest in re.findall(r"\./run inv ([a-z][a-z.]*[a-z])([^`|#;&()\n]*)", text):
        flags = re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest)
        if task not in known or not known[task].issuperset(flags):
            unknown.append(f"{task}{rest}")
    assert unknown == []


@pytest.mark.parametrize("page", DOCS, ids=page_id)
def test_each_module_that_a_page_names_exists(page: Path) -> None:
    packages = "|".join(path.name for path in (ROOT / "delivery").iterdir() if path.is_dir())
    modules = re.findall(rf"`(?:delivery/)?((?:{packages})/\w+)`", page.read_text(encoding="utf-8"))
    assert [module for module in modules if not (ROOT / "delivery" / f"{module}.py").exists()] == []


def test_each_page_that_code_names_exists() -> None:
    sources = ["delivery", "ops", "*.toml", "Jenkinsfile", "noxfile.py", "tasks.py"]
    names = subprocess.check_output(
        ["git", "grep", "-hoE", r"\bdocs/[A-Za-z-]+\.(md|schema\.json)", "--", *sources],
        cwd=ROOT,
        text=True,
    )
    assert [name for name in sorted({*names.split()}) if not (ROOT / name).exists()] == []


def test_the_table_of_packages_has_all_in_import_order() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    names = [layer.removeprefix("delivery.") for layer in reversed(layers)]
    packages = [name for name in names if (ROOT / "delivery" / name).is_dir()]
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.partition("## Packages")[2].partition("\n| folder |")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\| `(\w+)` \|$", section, re.MULTILINE)
    assert [package for package, _ in rows] == packages
    files = [ROOT / "delivery" / package / f"{module}.py" for package, module in rows]
    assert [file for file in files if not file.is_file()] == []


def test_the_architecture_page_lists_each_page() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    names = {page.name for page in DOCS if page.parent == ROOT / "docs"} - {
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
    }
    assert names - {path for path, _ in LINK.findall(text)} == set()


def test_the_index_of_decisions_lists_each_with_its_title() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(
        r"^- \[\d{4}\]\((.+)\) (.+)$", (folder / "README.md").read_text("utf-8"), re.MULTILINE
    )
    titles = [
        (page.name, page.read_text("utf-8").partition("\n")[0].removeprefix("# "))
        for page in sorted(folder.glob("0*.md"))
    ]
    assert listed == titles


def test_each_page_and_help_names_one_source_of_a_plan() -> None:
    """`--plan` reads what `inv plan --file FILE` wrote."""
    # By their source: Invoke takes the helps out of a task once it has made arguments of them.
    source = "".join(
        file.read_text(encoding="utf-8")
        for file in sorted((ROOT / "delivery" / "tasks").glob("*.py"))
    )
    helps = re.findall(r'(?:"plan": |_PLAN_HELP = )"(.*)"', source)
    assert len(helps) == 3
    assert [text for text in helps if "`inv plan --file FILE`" not in text] == []
    assert [page for page in PAGES if "inv plan --json" in page.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_a_plan_is_written_where_git_ignores_it(page: Path) -> None:
    """Else it is a file that is not committed, and the plan in it is refused."""
    files = re.findall(r"(?:--plan|plan --file) ([\w./-]+)", page.read_text(encoding="utf-8"))
    assert set(files) <= {"FILE", ".delivery/plan.json"}


def test_the_charts_alerts_are_tested_with_every_metric_of_the_apps() -> None:
    metrics: set[str] = set()
    for app in ("api-rest", "async-worker"):
        text = (ROOT / app / "README.md").read_text(encoding="utf-8")
        for name, kind in re.findall(
            r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|", text, re.MULTILINE
        ):
            parts = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
            metrics |= {f"{name}{part}" for part in parts}
    listed = (ROOT / "platform-chart" / "tests" / "metrics.txt").read_text(encoding="utf-8")
    assert sorted(metrics) == listed.split()


@pytest.mark.parametrize("page", CHANGELOGS, ids=page_id)
def test_a_changelog_has_each_entry_once(page: Path) -> None:
    for version in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        headings = re.findall(r"^### .*", version, re.MULTILINE)
        beginnings = re.findall(r"^- .{25}", version, re.MULTILINE)
        counts = Counter([*headings, *beginnings])
        assert [entry for entry, count in counts.items() if count > 1] == []
