"""Values name images by digest."""

import pytest

from delivery.deploy.helm_values import image_values, pinned_images


def test_values_name_each_components_image_by_digest() -> None:
    images = {name: (f"localhost:5001/{name}", "sha256:a") for name in ("api-rest", "base")}
    values = image_values(images, ["api-rest"], {"kafka": ("localhost:5001/kafka", "sha256:b")})
    assert values == {
        "components": {
            "api-rest": {"image": {"repository": "localhost:5001/api-rest", "digest": "sha256:a"}}
        },
        "kafka": {"image": {"repository": "localhost:5001/kafka", "digest": "sha256:b"}},
    }
    assert pinned_images(values) == {"api-rest": ("localhost:5001/api-rest", "sha256:a")}


@pytest.mark.parametrize(
    "components",
    [
        None,
        [],
        {"greeter": None},
        {"greeter": {"image": {"tag": "1", "repository": "r", "digest": ""}}},
    ],
)
def test_values_without_an_image_by_digest(components: object) -> None:
    assert pinned_images({"components": components}) == {}
