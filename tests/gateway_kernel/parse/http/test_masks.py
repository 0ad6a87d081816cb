"""What column masks mean for a request."""

import json

import pytest

from gateway_kernel.parse.http.reader import READER
from gateway_kernel.verdict import ColumnMask, Filter

from .requests import declared, routed


def refusal(text: str, *columns: str, filtered: Filter = "deny") -> str:
    """Why the request is refused under a mask of these columns."""
    mask = ColumnMask(columns or ("customers.email", "*.card_number"), "redact", filtered, "hide")
    plan = READER.mask(declared(text), (mask,))
    assert plan.sensitive
    assert bool(plan.rule) == bool(plan.refusal)
    return plan.refusal


@pytest.mark.parametrize(
    "query",
    [
        "email=a",
        "Email=a",
        "cardNumber=4",
        "card-number=4",
        "filter[email]=a",
        "user.email=a",
        "email[like]=a",
        "email__icontains=a",
        "email_starts_with=a",
        "filter=email eq 'a'".replace(" ", "%20"),
        "$filter=contains(card_number,'4')",
        "q=email:a*",
        "sort=-email",
        "orderby=name,email",
        "where[email]=a",
        "select=x:email",
        "fields=upper(email)",
    ],
)
def test_a_query_that_asks_about_a_hidden_member_is_refused(query: str):
    """By name, or in a language of its own; equality lets only the plain name through."""
    assert "hidden" in refusal(f"GET /customers?{query}")
    plain = query.partition("=")[0].lower() in ("email", "cardnumber", "card-number")
    assert bool(refusal(f"GET /customers?{query}", filtered="equality")) != plain
    assert refusal(f"GET /customers?{query}", filtered="allow") == ""


@pytest.mark.parametrize(
    "query",
    ["", "id=7", "emails=a", "email_verified=1", "x=email", "filter=name", "q=emailed", "select=id,email", "sort=-id"],
)
def test_other_queries_are_not(query: str):
    """A name that only looks like it, a value that is none, a projection under its own name."""
    assert refusal(f"GET /customers?{query}") == ""


def test_a_mask_of_any_name_leaves_no_filter():
    """Nobody can tell which names a filter has in a server's own language."""
    assert refusal("GET /customers?filter=x", "customers.*")
    assert refusal("GET /customers?select=a:b", "customers.*")
    assert refusal("GET /customers?id=7", "customers.*") == ""


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ('{"filter": {"email": "a"}}', True),
        ('{"Query": {"match": {"e\\u006dail": "a"}}}', True),
        ('{"email": "a"}', False),
        ('{"filter": {"id": "email"}}', True),
        ('{"filter": {"id": 1}, "email": "a"}', False),
        ('{"filter": {"email": 1}, "filter": 1}', True),
        ("x", False),
        ("[]", False),
    ],
)
def test_a_search_in_a_body_is_a_filter(body: str, refused: bool):
    """Storing an address is not asking about it."""
    assert bool(refusal(f"POST /search\n\n{body}")) == refused


@pytest.mark.parametrize(
    ("query", "variables", "refused"),
    [
        ("{ customers { email } }", {}, False),
        ("{ customers { x: email } }", {}, True),
        ("{ c: customers { email } }", {}, True),
        ("{ Customers { x: Email } }", {}, True),
        ("{ c: customers { id } }", {}, False),
        ("{ deep: shop { customers { email } } }", {}, False),
        ("{ customers { e: id email } }", {}, False),
        ("{ customers { ...F } } fragment F on C { x: email }", {}, True),
        ("{ customers(email: 1) { id } }", {}, True),
        ("{ customers(where: {email: {eq: 1}}) { id } }", {}, True),
        ("{ customers(where: {id: {eq: 1}}) { id } }", {}, False),
        ("{ customers(orderBy: EMAIL) { id } }", {}, True),
        ('{ customers(filter: "email ~ a") { id } }', {}, True),
        ("query($w: W) { customers(where: $w) { id } }", {"w": {"email": 1}}, True),
        ("query($w: W) { customers(where: $w) { id } }", {"w": {"id": 1}}, False),
        ("mutation { addCustomer(email: 1) { id } }", {}, False),
        ("mutation { changeCustomers(where: {email: 1}) { id } }", {}, True),
    ],
)
def test_graphql_neither_renames_nor_filters(query: str, variables: object, refused: bool):
    """An alias would show a hidden field under a name that nobody masks."""
    operation = routed(f"POST /g\n\n{json.dumps({'query': query, 'variables': variables})}", speaks="graphql")
    mask = ColumnMask(("customers.email",), "redact", "deny", "hide")
    assert bool(READER.mask(operation, (mask,)).refusal) == refused


def test_a_renamed_field_is_refused_under_any_filter():
    """`filter: allow` is about conditions, not about what is shown."""
    operation = routed('POST /g\n\n{"query": "{ customers { x: email } }"}', speaks="graphql")
    for columns in (("customers.email",), ("*.email",), ("$.data.customers.email",)):
        assert READER.mask(operation, (ColumnMask(columns, "redact", "allow", "hide"),)).refusal
