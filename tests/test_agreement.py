"""Names that several files repeat are in all of them; a failure says which file lacks which."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from itertools import chain, product
from typing import Any

from delivery.host.docker_api import MANAGED
from delivery.project import saved_settings
from delivery.project.declaration import image_variable
from delivery.project.files import ROOT, load_declaration
from delivery.records.deployment import Action, Contents, Deployment, Outcome
from delivery.records.events import STAGES, Details, Origin, Record, Run, ended, started
from delivery.registry import mirroring
from tests import yaml_strict

UPSTREAM = load_declaration().upstream
RECIPES = ROOT / UPSTREAM["debian"].recipe / ".." / "README.md"
API, WORKER = "api-rest/src/api_rest", "async-worker/src/async_worker"
# Each app's copy.
RULES = "ledger/src/ledger/event_rules.py"
RUN_DETAILS = "ledger/src/ledger/run_details.py"
TABLES = "ledger/src/ledger/tables.py"


def missing(
    expected: Collection[str], sources: Mapping[str, Collection[str]]
) -> dict[str, list[str]]:
    """The expected names that a source lacks, for each source that lacks any."""
    names = {source: sorted(set(expected) - set(known)) for source, known in sources.items()}
    return {source: lacks for source, lacks in names.items() if lacks}


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def words(path: str) -> set[str]:
    return set(re.findall(r"[\w-]+", text(path)))


def paragraph(path: str, beginning: str) -> str:
    """The rest of a page's paragraph after these words."""
    match = re.search(rf"{beginning}(.*?)(\n\n|\Z)", text(path), re.DOTALL)
    assert match, f"{path} has no {beginning}"
    return match[1]


def listed(path: str, beginning: str) -> set[str]:
    """The names in the list that follows these words, in parentheses or up to a full stop."""
    names = re.match(r"\s*\(?([\w,\s-]+)", paragraph(path, beginning))
    return set(re.findall(r"[\w-]+", names[1])) if names else set()


def constant(path: str, name: str) -> Any:  # whatever the constant holds
    """A constant of an app's module, which cannot be imported here: its libraries are missing."""
    for node in ast.parse(text(path)).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)]) if target == name:
                return ast.literal_eval(node.value)
    raise AssertionError(f"{path} has no {name}")


def test_missing_names_each_source() -> None:
    assert missing(["a", "b"], {"page": {"a", "b", "c"}, "code": ["b"]}) == {"code": ["a"]}


# Upstream images


def test_every_upstream_image_has_a_recipe_that_is_described() -> None:
    page = RECIPES.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([\w-]+) \| `([^`]+)` \|", page, re.MULTILINE))
    folders = {name: ROOT / image.recipe for name, image in UPSTREAM.items()}
    sources = {
        "a recipe": [
            name
            for name, folder in folders.items()
            if any((folder / file).is_file() for file in ("Dockerfile", "build"))
        ],
        "the table of the recipes": [
            name for name, image in UPSTREAM.items() if rows.get(name) == image.image
        ],
    }
    assert missing(UPSTREAM, sources) == {}
    assert missing(rows, {"delivery.toml": UPSTREAM}) == {}


def test_the_chart_runs_the_declared_patches() -> None:
    values = yaml_strict.load(text("platform-chart/values.yaml"))
    images = {key: values[key]["image"] for key in mirroring.IMAGES}
    assert {key: f"{image['repository']}:{image['tag']}" for key, image in images.items()} == {
        key: UPSTREAM[name].image for key, name in mirroring.IMAGES.items()
    }
    versions = {key: image["tag"].split(".") for key, image in images.items()}
    assert {key: len(version) for key, version in versions.items()} == dict.fromkeys(versions, 3)


def test_the_health_check_of_an_image_runs_a_source_that_it_copies() -> None:
    for app in ("api-rest", "async-worker"):
        dockerfile = (ROOT / app / "Dockerfile").read_text(encoding="utf-8")
        script = re.search(r"HEALTHCHECK [^]]*/dist-packages/(ledger/[^\"]+)", dockerfile)
        assert script, app
        assert (ROOT / "ledger" / "src" / script[1]).is_file(), app


def test_compose_runs_the_declared_images() -> None:
    """A new service fails here with the files that lack it."""
    files = [
        yaml_strict.load(text(name))
        for name in ("docker-compose.yaml", "ops/docker-compose.apps.yaml")
    ]
    services = dict(chain.from_iterable(file["services"].items() for file in files))
    optional = {name for name, image in UPSTREAM.items() if image.optional}
    pages = words("README.md") | words("docs/monitoring.md")
    with_ports = {name for name, service in services.items() if "ports" in service}
    sources = {
        "services of compose": services,
        "profiles: [monitoring]": [
            name for name, service in services.items() if service.get("profiles") == ["monitoring"]
        ],
        "docs/monitoring.md": [
            name for name in optional if f"`{UPSTREAM[name].image}`" in text("docs/monitoring.md")
        ],
    }
    assert missing(optional, sources) == {}
    of_others = {name: service["image"] for name, service in services.items() if name in UPSTREAM}
    assert of_others == {
        name: f"${{{image_variable(name)}:-{UPSTREAM[name].image}}}" for name in of_others
    }
    for_all = {
        f"labels: {MANAGED}": [
            name for name, service in services.items() if service["labels"].get(MANAGED) == "true"
        ],
        "the help of `inv logs --service`": words("delivery/tasks/platform.py"),
        "tests/integration/test_platform.py": words("tests/integration/test_platform.py"),
    }
    assert missing(services, for_all) == {}
    for_ports = {
        "PORTS of delivery/project/saved_settings.py": saved_settings.PORTS,
        "ports: with that variable": [
            name
            for name in with_ports & saved_settings.PORTS.keys()
            if services[name]["ports"][0].startswith(f"127.0.0.1:${{{saved_settings.PORTS[name]}:-")
        ],
        "a page that names the variable": [
            name for name, variable in saved_settings.PORTS.items() if variable in pages
        ],
    }
    assert missing(with_ports, for_ports) == {}


# Events: stages, statuses, details


def test_each_stage_is_in_all_lists_of_stages() -> None:
    sources = {
        RULES: constant(RULES, "STAGES"),
        f"{API}/results.py": constant(f"{API}/results.py", "_WORDS"),
        "api-rest/README.md": listed("api-rest/README.md", "`responsible`, `stage`"),
        "docs/records.md": listed("docs/records.md", "The stages are"),
    }
    assert missing(STAGES, sources) == {}
    assert missing(set().union(*sources.values()), {"delivery/records/events.py": STAGES}) == {}


def test_each_status_is_in_all_lists_of_statuses() -> None:
    statuses = {record.status for record in every_record()}
    sources = {
        RULES: constant(RULES, "STATUSES"),
        f"{API}/runs.py, the worst first": constant(f"{API}/runs.py", "WORST_FIRST"),
        f"{API}/runs.py, in order": constant(f"{API}/runs.py", "RANKS"),
        "the page's symbols": re.findall(r'<symbol id="([\w-]+)"', text(f"{API}/assets/page.html")),
        "the page's styles": re.findall(r"\.pill\.([\w-]+)", text(f"{API}/assets/page.css")),
        "api-rest/README.md": listed("api-rest/README.md", r"record\), `status`"),
    }
    assert missing(statuses, sources) == {}
    assert statuses == set(constant(RULES, "STATUSES"))
    marks = constant(f"{WORKER}/notifier.py", "MARKS")
    assert missing(statuses - {"started"}, {"the worker's notices": marks}) == {}


def test_each_detail_of_an_event_is_filled_and_described() -> None:
    page = re.findall(r"`([a-z_]+)`", paragraph("docs/records.md", "\n`details` has"))
    records = [record.details.model_dump(exclude_none=True) for record in every_record()]
    of_origin = {field.name for field in fields(Origin)} - {"actor"}
    sources = {
        "docs/records.md": page,
        "a record that has it": {
            name for details in records for name, value in details.items() if value != ""
        },
    }
    assert missing(Details.model_fields, sources) == {}
    assert missing({*page, *of_origin}, {"Details": Details.model_fields}) == {}


def test_each_stored_detail_is_in_all_lists_of_details() -> None:
    migrations = "".join(
        path.read_text() for path in (ROOT / WORKER / "migrations/versions").glob("*.py")
    )
    stored = {"at", *constant(RUN_DETAILS, "TEXT_LENGTHS")}
    sources = {
        "delivery/records/events.py": Details.model_fields,
        TABLES: re.findall(r'Column\("(\w+)"', text(TABLES)),
        "the worker's migrations": re.findall(
            r'add_column\("deployments", Column\("(\w+)"', migrations
        ),
        "api-rest/README.md": re.findall(
            r"^\| `(\w+)` \|", text("api-rest/README.md"), re.MULTILINE
        ),
        "async-worker/README.md": re.findall(r"`(\w+)`", text("async-worker/README.md")),
    }
    assert missing(stored, sources) == {}


def every_record() -> Iterator[Record]:
    """A record of each kind: of a run that begins, and of every way in which one ends."""
    contents = Contents(
        versions={"api-rest": "1.2.0", "chart": "1.2.0"}, digests={"api-rest": "sha256:1"}
    )
    deployment = Deployment(
        action=Action.DEPLOY,
        environment="staging",
        contents=contents,
        previous_contents=Contents(versions={"api-rest": "1.1.0"}),
        began=datetime(2026, 1, 31, 12, tzinfo=UTC),
    )
    run = Run(
        stage="deploy",
        step="deploy",
        chart="chart",
        origin=Origin(
            "Ann", "https://ci/7/", "c0ffee", "develop", "develop", "2026-01-31T11:00:00Z"
        ),
        deployment=deployment,
        override="an outage",
    )
    scanned = replace(run, vulnerabilities={"api-rest": {"high": 1}}, unscanned="no database")
    done = deployment.model_copy(update={"action": Action.NONE})
    yield from ended(replace(scanned, deployment=done.ended(Outcome.SUCCEEDED)))
    yield from started(run)
    for action, outcome in product(Action, Outcome):
        done = deployment.model_copy(update={"action": action}).ended(outcome, error="it broke")
        yield from ended(replace(run, deployment=done))


def test_both_know_drift_by_the_same_file() -> None:
    assert text("delivery/deploy/drift.py") == text(f"{API}/drift.py")
