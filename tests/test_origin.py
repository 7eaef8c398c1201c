"""An origin is scheme, host and port, as the request that is made goes there."""

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
def test_says_where_a_request_goes(url: str, expected: Origin) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize("url", ["/token", "http://", "http://host:99999", "ftp://host/token", ""])
def test_what_leads_nowhere_by_http_is_an_error(url: str) -> None:
    with pytest.raises(requests.RequestException):
        origin(url)


def test_is_printed_without_path_query_and_login() -> None:
    assert str(origin("https://me:secret@registry.test/v2/?signature=s")) == "https://registry.test"
    assert str(origin("http://[::1]:5000/x")) == "http://[::1]:5000"
