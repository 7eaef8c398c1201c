"""A content key changes with what goes into an image or a chart, and with nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from delivery.project.keys import File, chart_key, image_key, index_key

FILES = (File("Dockerfile", "644", "aa"), File("src/app.py", "644", "bb"))


def key(
    files: tuple[File, ...] = FILES,
    *,
    arguments: dict[str, str] | None = None,
    platform: str = "linux/amd64",
    base: str = "b",
    contexts: dict[str, tuple[File, ...]] | None = None,
) -> str:
    return image_key(
        files,
        arguments=arguments or {"A": "1", "B": "2"},
        platform=platform,
        base=base,
        contexts=contexts,
    )


def test_a_key_is_a_valid_image_tag() -> None:
    assert len(key()) == 32
    assert set(key()) <= set("0123456789abcdef")


def test_the_keys_of_earlier_versions_stay() -> None:
    """Else every image is built again, and published releases differ from their sources."""
    assert key() == "d5266206f6db9411d560110b3f898067"
    chart = chart_key(FILES, version="1.0.0", images={"app": "r/app:k"}, epoch=1)
    assert chart == "20bbfc4fdda6b4fc4390e09b18408127"


def test_the_order_changes_nothing() -> None:
    assert key(FILES[::-1], arguments={"B": "2", "A": "1"}) == key()


def test_every_part_of_an_image_changes_its_key() -> None:
    others = {
        key((FILES[0], File("src/app.py", "644", "cc"))),
        key((FILES[0], File("src/app.py", "755", "bb"))),
        key((FILES[0], File("src/api.py", "644", "bb"))),
        key(FILES[:1]),
        key(arguments={"A": "1", "B": "3"}),
        key(platform="linux/arm64"),
        key(base="c"),
        key(contexts={"library": FILES}),
        key(contexts={"library": FILES[:1]}),
        key(contexts={"other": FILES}),
    }
    assert len(others | {key()}) == 11


def test_an_index_changes_with_its_platforms_and_the_key_of_each() -> None:
    keys = {"linux/amd64": "a", "linux/arm64": "b"}
    assert index_key(dict(reversed(keys.items()))) == index_key(keys)
    others = [{"linux/amd64": "a"}, {**keys, "linux/arm64": "c"}, {"linux/arm64": "b", "x": "a"}]
    assert len({index_key(other) for other in [keys, *others]}) == 4


@given(st.text(), st.text())
def test_parts_are_kept_apart(left: str, right: str) -> None:
    split = image_key([File(left, right, "")], arguments={}, platform="", base="")
    joined = image_key([File(left + right, "", "")], arguments={}, platform="", base="")
    assert (split == joined) == (right == "")


def test_every_part_of_a_chart_changes_its_key() -> None:
    def chart(
        files: tuple[File, ...] = FILES,
        version: str = "1.0.0",
        image: str = "r/app:k",
        epoch: int = 1,
    ) -> str:
        return chart_key(files, version=version, images={"app": image}, epoch=epoch)

    assert chart(FILES[::-1]) == chart()
    others = {chart(FILES[:1]), chart(version="1.0.1"), chart(image="r/app:l"), chart(epoch=2)}
    assert len(others | {chart()}) == 5
