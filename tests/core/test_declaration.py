"""delivery.toml is read whole, and every mistake in it is named at once."""

import pytest

from delivery.core.declaration import Declaration, image_variable, parse
from delivery.core.errors import DeclarationError

GOOD = """\
name = "house"

[registry]
address = "localhost:5001"

[build]
epoch = 1767225600

[upstream.debian]
image = "debian:trixie-slim"
recipe = "upstream/debian"

[images.app]
context = "app"
base = "ground"
builder = "debian"

[images.ground]
context = "ground"
base = "debian"

[cluster]
name = "house"
node = "debian"
pods = "198.18.0.0/17"
services = "198.18.128.0/17"

[cluster.workers]
spot = { "example.com/capacity-type" = "spot" }
plain = {}
"""


def read(text: str) -> Declaration:
    return parse(text, is_folder=lambda path: path in {"app", "ground", "upstream/debian"})


def mistakes(text: str) -> list[str]:
    with pytest.raises(DeclarationError) as caught:
        read(text)
    return caught.value.details.splitlines()


def test_reads_what_is_declared() -> None:
    declaration = read(GOOD)
    assert declaration.registry.address == "localhost:5001"
    assert declaration.images["app"].base == "ground"


def test_orders_images_after_what_they_stand_on() -> None:
    assert read(GOOD).parents_first() == ["ground", "app"]


def test_hands_upstream_images_to_the_build_as_arguments() -> None:
    expected = {"SOURCE_DATE_EPOCH": "1767225600", "DEBIAN_IMAGE": "debian:trixie-slim"}
    assert read(GOOD).arguments("ground") == expected
    assert read(GOOD).arguments("app") == expected


def test_names_every_mistake_with_its_line_and_what_is_allowed() -> None:
    text = (
        GOOD.replace('context = "app"', 'contxt = "app"')
        .replace("epoch = 1767225600", 'epoch = "today"')
        .replace('image = "debian:trixie-slim"', 'image = "debian"')
    )
    rules = "allowed: whole seconds since 1970 that fit an image's date, as in 1767225600"
    pinned = "allowed: a name with a pinned tag, as in debian:trixie-slim"
    known = 'not a key that is known here; did you mean "context"? (allowed: base, builder, context)'
    assert mistakes(text) == [
        f"delivery.toml:7: build.epoch: 'today' is not allowed ({rules})",
        f"delivery.toml:10: upstream.debian.image: 'debian' is not allowed ({pinned})",
        "delivery.toml:13: images.app.context: is missing",
        f"delivery.toml:14: images.app.contxt: {known}",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('base = "ground"', 'base = "grnd"', '15: images.app.base: "grnd" is no image (known: app, debian, ground)'),
        (
            'builder = "debian"',
            'builder = "ground"',
            '16: images.app.builder: "ground" is no upstream image (known: debian)',
        ),
        ('base = "debian"', 'base = "app"', '15: images.app.base: "ground" stands on app itself'),
        ('context = "ground"', 'context = "cellar"', '19: images.ground.context: there is no folder "cellar"'),
        ('context = "ground"', 'context = "../ground"', "19: images.ground.context: must be a path inside the project"),
        ("[images.ground]", "[images.Ground]", "18: images.Ground: not a name (allowed: lower-case letters"),
        (
            'name = "house"',
            "name = 7",
            "1: name: 7 is not allowed (allowed: lower-case letters, digits and single hyphens)",
        ),
        ('node = "debian"', 'node = "ground"', '24: cluster.node: "ground" is no upstream image (known: debian)'),
        ('pods = "198.18.0.0/17"', 'pods = "198.18.1.0/17"', "25: cluster.pods: '198.18.1.0/17' is not an IPv4 subnet"),
        ('pods = "198.18.0.0/17"', 'pods = "198.18.0.0/24"', "25: cluster.pods: '198.18.0.0/24' is not fit: from /12"),
        (
            '"198.18.128.0/17"',
            '"198.18.0.0/18"',
            "26: cluster.services: 198.18.0.0/18 overlaps with pods, 198.18.0.0/17",
        ),
        ('= "spot"', '= "a b"', "29: cluster.workers.spot.example.com/capacity-type: 'a b' is not allowed"),
        ("[cluster]", "[clusters]", "22: clusters: not a key that is known here"),
        ("[registry]", "[registri]", '3: registri: not a key that is known here; did you mean "registry"?'),
        ("epoch = 1767225600", "epoch = ", "7: not TOML: Invalid value"),
    ],
)
def test_says_what_is_wrong(old: str, new: str, expected: str) -> None:
    assert any(line.startswith(f"delivery.toml:{expected}") for line in mistakes(GOOD.replace(old, new))), mistakes(
        GOOD.replace(old, new)
    )


def test_an_upstream_image_and_ours_do_not_share_a_name() -> None:
    assert mistakes(GOOD.replace("[upstream.debian]", "[upstream.ground]").replace('builder = "debian"\n', ""))[0] == (
        "delivery.toml:17: images.ground: is the name of an upstream image too; a name stands for one image"
    )


def test_a_name_with_a_hyphen_still_makes_a_variable() -> None:
    assert image_variable("async-worker") == "ASYNC_WORKER_IMAGE"
