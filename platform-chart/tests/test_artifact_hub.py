"""Chart.yaml's annotations for Artifact Hub, and artifacthub-repo.yml."""

from __future__ import annotations

from support import CHART, load

METADATA = load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
VALUES = load((CHART / "values.yaml").read_text(encoding="utf-8"))


def test_the_images_of_others_are_those_of_the_values() -> None:
    listed = load(METADATA["annotations"]["artifacthub.io/images"])
    assert {each["name"]: each["image"] for each in listed} == {
        name: "{repository}:{tag}".format(**VALUES[name]["image"])
        for name in ("kafka", "database", "proxy")
    }


def test_category_and_licence_are_known_to_artifact_hub() -> None:
    annotations = METADATA["annotations"]
    assert annotations["artifacthub.io/category"] == "integration-delivery"
    assert annotations["artifacthub.io/license"] == "Apache-2.0"


def test_the_owner_is_left_to_who_publishes() -> None:
    repository = load((CHART / "artifacthub-repo.yml").read_text(encoding="utf-8"))
    assert repository.keys() == {"repositoryID", "owners"}
    (owner,) = repository["owners"]
    assert owner.keys() == {"name", "email"}
