"""The origin of a URL: one spelling for one destination."""

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.origins import Origin, origin_of


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://example.com/hook?x=1", "https://example.com"),
        ("https://EXAMPLE.com:443", "https://example.com"),
        ("https://example.com.", "https://example.com"),
        ("https://example.com:", "https://example.com"),
        ("HTTPS://example.com:8443/", "https://example.com:8443"),
        ("http://example.com:80/", "http://example.com"),
        ("http://example.com:443/", "http://example.com:443"),
        ("https://[2001:DB8::1]/x", "https://[2001:db8::1]"),
        ("https://[2001:db8::1]:444/x", "https://[2001:db8::1]:444"),
        ("http://127.0.0.1:8080?x", "http://127.0.0.1:8080"),
    ],
)
def test_origin(url: str, origin: str) -> None:
    assert origin_of(url) == origin == origin_of(origin)
    assert TypeAdapter(Origin).validate_python(url) == origin


@pytest.mark.parametrize("text", ["", "example.com", "ftp://x", "https://", "https://a@b/", 7])
def test_what_is_no_url_has_none(text: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Origin).validate_python(text)
