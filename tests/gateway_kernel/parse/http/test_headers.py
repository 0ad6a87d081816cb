"""Which headers are no part of an operation."""

import pytest

from gateway_kernel.parse.http.headers import canonical, stripped


@pytest.mark.parametrize(
    "name",
    [
        "connection",
        "transfer-encoding",
        "content-length",
        "authorization",
        "date",
        "x-request-id",
        "traceparent",
        "x-stainless-retry-count",
        "amz-sdk-request",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-original-url",
        "x-ms-client-principal-id",
    ],
)
def test_what_the_edge_makes_itself_is_stripped(name: str):
    """Also where it is written with `_`, which a CGI or WSGI server takes for the same name."""
    assert stripped(name)
    assert stripped(name.replace("-", "_"))


@pytest.mark.parametrize(
    "name",
    [
        "accept",
        "content-type",
        "cookie",
        "if-match",
        "idempotency-key",
        "x-http-method-override",
        "x-api-version",
        "prefer",
        "range",
    ],
)
def test_what_changes_the_meaning_of_a_request_is_kept(name: str):
    """It is judged, covered by the digest and forwarded."""
    assert not stripped(name)


def test_names_are_compared_as_servers_may():
    """Case and `_` make no difference."""
    assert canonical("X_Http-Method_Override") == "x-http-method-override"
