"""Route templates."""

import pytest

from embedded_host.routes import Router, route


def found(router: Router[str], method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """Shorthand."""
    return router.find(method, path)


ROUTER = Router(
    [
        route("api/reviews/{id}", ["GET"], "one"),
        route("api/reviews/open", ["GET"], "open"),
        route("api/reviews/{id:int}", ["GET"], "numbered"),
        route("api/{*rest}", ["GET"], "rest"),
        route("api/list/{page?}", [], "list"),
        route("api/files/{name}.{kind}", ["get"], "file"),
        route("api/reviews/{id}/decisions/{decision:guid}", ["PUT"], "decide"),
        route("", ["GET"], "root"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/reviews/open", ("open", {})),
        ("GET", "/API/Reviews/OPEN", ("open", {})),
        ("GET", "/api/reviews/42", ("numbered", {"id": "42"})),
        ("GET", "/api/reviews/a%2Fb", ("one", {"id": "a/b"})),
        ("GET", "/api/reviews/Ann/", ("one", {"id": "Ann"})),
        ("GET", "/api/reviews/a/b", ("rest", {"rest": "reviews/a/b"})),
        ("POST", "/api/list", ("list", {})),
        ("GET", "/api/list/2", ("list", {"page": "2"})),
        ("GET", "/api/files/a.txt", ("file", {"name": "a", "kind": "txt"})),
        (
            "PUT",
            "/api/reviews/7/decisions/6f9619ff-8b86-d011-b42d-00c04fc964ff",
            ("decide", {"id": "7", "decision": "6f9619ff-8b86-d011-b42d-00c04fc964ff"}),
        ),
        ("PUT", "/api/reviews/7/decisions/seven", None),
        ("POST", "/api/reviews/open", None),
        ("GET", "/reviews/open", None),
        ("GET", "/", ("root", {})),
    ],
)
def test_the_most_exact_route_wins(method: str, path: str, expected: object) -> None:
    """Literal before constrained before open before catch-all, whatever the order of registration."""
    assert found(ROUTER, method, path) == expected


@pytest.mark.parametrize("template", ["a/{b", "a/{b:regex(^x$)}", "a/{b:even}", "a/{1b}", "a/{b=default}"])
def test_what_is_not_supported_is_an_error(template: str) -> None:
    """Never a route that matches something else."""
    with pytest.raises(ValueError, match="route 'a/"):
        route(template, ["GET"], "x")
