"""The content key of a chart covers exactly the files that `helm package` packs."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from delivery.host import programs
from delivery.project import files

pytestmark = pytest.mark.engine

FILES = [
    "values.yaml",
    "templates/a.yaml",
    "templates/.hidden",
    "templates/deep/.kept",
    "tests/a.py",
    "deep/tests/a.py",
    "files/a.pyc",
    "files/[x]",
    "files/b-",
    "notes.txt",
    "x1",
    "keep/notes.txt",
    ".hidden",
]


@pytest.mark.parametrize(
    "rules",
    [
        "",
        "/tests/\n*.pyc\n",
        "tests/\n",
        "notes.txt\n",
        "/notes.txt\n",
        "files/*\n",
        "files\n",
        "deep/*/a.py\n",
        "[w-y][0-9]\n",
        "[^a-w]1\n",
        "\\[x\\]\nb?\n",
        ".*\n",
        "# nothing\n\n  tests/  \n",
    ],
)
def test_a_packaged_chart_has_the_files_that_are_not_ignored(tmp_path: Path, rules: str) -> None:
    chart = tmp_path / "chart"
    for name in FILES:
        (chart / name).parent.mkdir(parents=True, exist_ok=True)
        (chart / name).write_text("{}\n")
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: packed\nversion: 1.0.0\n")
    (chart / ".helmignore").write_text(rules)
    argv = [programs.ensure("helm"), "package", str(chart), "--destination", str(tmp_path)]
    subprocess.run(argv, check=True, capture_output=True)
    with tarfile.open(tmp_path / "packed-1.0.0.tgz") as packed:
        names = {name.removeprefix("packed/") for name in packed.getnames()}
    assert names == {file.path for file in files.chart_files(chart)}
