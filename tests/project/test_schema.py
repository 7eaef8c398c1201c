from pathlib import Path

from delivery.project import schema

DOCS = Path(__file__).resolve().parents[2] / "docs"
REFRESH = "refresh it: ./run python -m delivery.project.schema"


def test_the_schema_is_what_the_models_say() -> None:
    assert (DOCS / "delivery.schema.json").read_text(encoding="utf-8") == schema.render(), REFRESH


def test_the_table_of_keys_is_what_the_models_say() -> None:
    page = (DOCS / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert schema.with_table(page) == page, REFRESH
    assert "| `images.NAME.context` |" in page


def test_every_key_has_a_description() -> None:
    assert "|  |" not in schema.with_table("| key | what it says |\n|---|---|\n| old | row |\n")
