"""Bodies that carry commands: GraphQL and JSON-RPC, by their own grammar; and Azure's own ways."""

import pytest

from gateway_kernel.parse.http import graphql
from gateway_kernel.parse.http.graphql import GraphqlError, fields

from .requests import Said, declared, effects, family, routed


def asked(query: str) -> Said:
    """The effects of a GraphQL document."""
    import json

    return effects(routed(f"POST /g\n\n{json.dumps({'query': query})}", ("delete", "deleteUser"), speaks="graphql"))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("{ a b: c }", [("read", "a"), ("read", "c")]),
        ("query Q($x: Int = 1) { a(x: $x) { b } }", [("read", "a")]),
        ("subscription { a }", [("read", "a")]),
        ("mutation { a deleteUser }", [("write", "a"), ("delete", "deleteUser")]),
        ("{ ...F } fragment F on Q { a ... on R { b } ... { c } }", [("read", "a"), ("read", "b"), ("read", "c")]),
        ("query A { a } mutation B { b }", [("read", "a"), ("write", "b")]),
        ("{ a @skip(if: true) }", [("read", "a")]),
        ("{ __schema { types { name } } }", [("read", "__schema")]),
        ("{", [("unknown", "")]),
        ("", [("unknown", "")]),
        ("fragment F on Q { a }", [("unknown", "")]),
        ("{ ...G }", [("unknown", "")]),
        ("{ ...F } fragment F on Q { ...G } fragment G on Q { ...F }", [("unknown", "")]),
        ("scalar X", [("unknown", "")]),
        ("{ a(x: " + "[" * 5000 + "]" * 5000 + ") }", [("unknown", "")]),
        ("{ " + "a " * 20_000 + "}", [("unknown", "")]),
    ],
)
def test_a_document_does_what_its_fields_do(query: str, said: list[tuple[str, str]]):
    """At the top of every operation, fragments put in; what cannot be told is unknown."""
    assert [(kind, name) for kind, name, _ in asked(query)] == said


def test_fragments_of_fragments_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """A billion laughs is an error, not an hour."""
    monkeypatch.setattr(graphql, "MAX_PATHS", 100)
    nested = "".join(f"fragment F{n} on Q {{ ...F{n + 1} ...F{n + 1} }}" for n in range(30)) + "fragment F30 on Q { a }"
    with pytest.raises(GraphqlError, match="too many"):
        list(fields("{ ...F0 } " + nested))


def test_a_document_that_goes_too_deep_cannot_be_told():
    """What is deeper than anybody looks could be renamed there."""
    for nested in ("{ a " * 65 + "}" * 65, "{ " + "... { " * 3000 + "a" + " }" * 3001):
        with pytest.raises(GraphqlError, match="too deeply"):
            list(fields(nested))
    assert len(list(fields("{ a " * 64 + "}" * 64))) == 64


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ('{"type":"connection_init"}', [("read", "connection_init")]),
        ('{"id":"1","type":"subscribe","payload":{"query":"subscription { a }"}}', [("read", "a")]),
        ('{"id":"1","type":"start","payload":{"query":"mutation { a }"}}', [("write", "a")]),
        ('{"id":"1","type":"subscribe","payload":{}}', [("unknown", "")]),
        ('{"query":"{ a }"}', [("unknown", "")]),
        ("hello", [("unknown", "")]),
    ],
)
def test_graphql_over_websocket(message: str, said: list[tuple[str, str]]):
    """graphql-transport-ws and its forerunner."""
    found = effects(routed(f"MESSAGE /g\n\n{message}", speaks="graphql"))
    assert [(kind, name) for kind, name, _ in found] == said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"jsonrpc":"2.0","method":"a","id":1}', [("execute", "a", "")]),
        ('{"jsonrpc":"2.0","method":"look","id":1}', [("read", "look", "")]),
        ('{"method":"tools/call","params":{"name":"rm"}}', [("execute", "tools/call", "rm")]),
        ('[{"method":"a"},{"method":"look"}]', [("execute", "a", ""), ("read", "look", "")]),
        ('{"jsonrpc":"2.0","id":1,"result":{}}', [("write", "", "json-rpc answer")]),
        ('{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', [("unknown", "", "")]),
        ('{"method":""}', [("unknown", "", "")]),
        ("[]", [("unknown", "", "")]),
        ("[1]", [("unknown", "", "")]),
        ("x", [("unknown", "", "")]),
    ],
)
def test_json_rpc_does_what_its_methods_do(body: str, said: Said):
    """Batches whole."""
    assert effects(routed(f"POST /rpc\n\n{body}", ("read", "look"), speaks="json-rpc")) == said


def test_a_request_without_a_command_is_that_of_its_method():
    """A page, a preflight, the end of a session, a stream of answers."""
    assert effects(routed("GET /rpc", speaks="json-rpc")) == [("read", "/rpc", "")]
    assert effects(routed("DELETE /rpc", speaks="json-rpc")) == [("delete", "/rpc", "")]
    assert effects(routed("GET /g", speaks="graphql")) == [("read", "/g", "")]
    assert effects(routed("OPTIONS /g", speaks="graphql")) == [("read", "/g", "")]
    assert not routed("POST /g", speaks="graphql").facts.complete
    assert not routed("POST /rpc", speaks="json-rpc").facts.complete


VM = "/subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachines/V"


@pytest.mark.parametrize(
    ("request_line", "host", "service", "action"),
    [
        (f"GET {VM}", "management.azure.com", "arm", "microsoft.compute/virtualmachines/read"),
        (f"PUT {VM}", "management.azure.com", "arm", "microsoft.compute/virtualmachines/write"),
        (f"DELETE {VM}", "management.azure.com", "arm", "microsoft.compute/virtualmachines/delete"),
        (f"POST {VM}/restart", "Management.Azure.com:443", "arm", "microsoft.compute/virtualmachines/restart/action"),
        (f"PUT {VM}/extensions/E", "management.azure.com", "arm", "microsoft.compute/virtualmachines/extensions/write"),
        (
            f"PUT {VM}/providers/Microsoft.Authorization/roleAssignments/R",
            "management.azure.com",
            "arm",
            "microsoft.authorization/roleassignments/write",
        ),
        ("GET /subscriptions/S", "management.azure.com", "arm", "microsoft.resources/subscriptions/read"),
        (
            "DELETE /subscriptions/S/resourceGroups/G",
            "management.azure.com",
            "arm",
            "microsoft.resources/subscriptions/resourcegroups/delete",
        ),
        (
            "GET /c/b",
            "A.blob.core.windows.net",
            "blob",
            "microsoft.storage/storageaccounts/blobservices/containers/blobs/read",
        ),
        (
            "GET /c?restype=container&comp=list",
            "a.blob.core.windows.net",
            "blob",
            "microsoft.storage/storageaccounts/blobservices/containers/blobs/read",
        ),
        (
            "DELETE /c?restype=container",
            "a.blob.core.windows.net",
            "blob",
            "microsoft.storage/storageaccounts/blobservices/containers/delete",
        ),
        (
            "GET /q/messages?peekonly=true",
            "a.queue.core.windows.net",
            "queue",
            "microsoft.storage/storageaccounts/queueservices/queues/messages/read",
        ),
        (
            "DELETE /q",
            "a.queue.core.windows.net",
            "queue",
            "microsoft.storage/storageaccounts/queueservices/queues/delete",
        ),
        ("GET /secrets/s", "v.vault.azure.net", "vault", "microsoft.keyvault/vaults/secrets/getsecret/action"),
        ("GET /secrets", "v.vault.azure.net", "vault", "microsoft.keyvault/vaults/secrets/readmetadata/action"),
        ("PUT /secrets/s", "v.vault.azure.net", "vault", "microsoft.keyvault/vaults/secrets/setsecret/action"),
        ("POST /keys/k/v/decrypt", "v.vault.azure.net", "vault", "microsoft.keyvault/vaults/keys/decrypt/action"),
        ("GET /indexes", "x.search.windows.net", "search", "read"),
    ],
)
def test_azure_says_what_azure_rbac_would(request_line: str, host: str, service: str, action: str):
    """In lower case, as Azure compares them."""
    facts = family(declared(f"{request_line}\nHost: {host}"))
    assert (facts.azure["service"], facts.azure["action"]) == (service, action)
    assert facts.azure["resource_id"] == facts.azure["resource_id"].lower()


def test_elsewhere_there_is_no_azure():
    """A host that only looks like one is none."""
    for host in ("api", "management.azure.com.evil.example", "blob.core.windows.net", "xmanagement.azure.com"):
        assert family(declared(f"GET /a\nHost: {host}")).azure == {}
