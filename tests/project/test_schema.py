from delivery.project import schema
from delivery.project.files import ROOT

REFRESH = "refresh it: ./run python -m delivery.project.schema"


def test_the_schema_is_generated_from_the_models() -> None:
    assert (ROOT / schema.SCHEMA).read_text(encoding="utf-8") == schema.render_schema(), REFRESH


def test_the_reference_page_is_generated_from_the_models() -> None:
    page = (ROOT / schema.PAGE).read_text(encoding="utf-8")
    assert page == schema.render_page(), REFRESH
    assert "- `images.NAME.context`: " in page


def test_every_key_has_a_description() -> None:
    assert [key for key, description in schema.described_keys() if not description] == []
