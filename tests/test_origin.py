"""The origin of a URL is the one that requests connects to."""

import pytest
import requests

from delivery.origin import Origin, origin


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Registry.test/v2/", Origin("https", "registry.test", 443)),
        ("https://registry.test:443", Origin("https", "registry.test", 443)),
        ("http://registry.test", Origin("http", "registry.test", 80)),
        ("http://[::1]:5000/x", Origin("http", "::1", 5000)),
        ("https://registry.test@other.test/", Origin("https", "other.test", 443)),
        (r"https://other.test\@registry.test/", Origin("https", "other.test", 443)),
    ],
)
def test_the_origin_is_that_of_the_request(url: str, expected: Origin) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize("url", ["/token", "http://", "http://host:99999", "ftp://host/token", ""])
def test_a_bad_url_is_an_error(url: str) -> None:
    with pytest.raises(requests.RequestException):
        origin(url)


def test_an_origin_is_printed_without_secrets() -> None:
    assert str(origin("https://me:secret@registry.test/v2/?signature=s")) == "https://registry.test"
    assert str(origin("http://[::1]:5000/x")) == "http://[::1]:5000"
