"""Which request headers are not part of an operation: the edge strips them, or makes its own.

Everything else an agent sends is judged, recorded, covered by the digest and forwarded as it came. The lists are said in
docs/http.md, which a test holds against them. Names are compared without case, and with `_` as `-`: servers that hand headers to
programs as variables (RFC 3875 4.1.18, WSGI, FastCGI) cannot tell the two apart.
"""

HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "http2-settings"})
"""About one connection, not about the request (RFC 9110 7.6.1). What Connection names besides is stripped where heads are read."""

FRAMING = frozenset({"content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"})
"""How the message travels. The edge frames what it sends itself, so two lengths can never reach a server."""

CREDENTIAL = frozenset({"authorization", "proxy-authorization"})
"""The agent's own credential: the upstream gets the resource's."""

DATES = frozenset({"date", "x-amz-date", "x-ms-date"})
"""When it was sent: a retry of the same request would be another operation."""

REQUEST_IDS = frozenset(
    {
        "client-request-id",
        "request-id",
        "x-amzn-requestid",
        "x-client-request-id",
        "x-correlation-id",
        "x-ms-client-request-id",
        "x-ms-client-session-id",
        "x-ms-correlation-request-id",
        "x-ms-return-client-request-id",
        "x-request-id",
    }
)
"""Made anew by client libraries for each try. Idempotency keys are not here: they change what a server does."""

TRACING = frozenset(
    {
        "b3",
        "baggage",
        "correlation-context",
        "grpc-trace-bin",
        "sentry-trace",
        "traceparent",
        "tracestate",
        "uber-trace-id",
        "x-amzn-trace-id",
        "x-cloud-trace-context",
    }
)
"""Where a request stands in a trace (W3C Trace Context and its forerunners): another value for each try."""

RETRIES = frozenset(
    {
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "x-goog-api-client-retry",
        "x-ms-retry-count",
        "x-ms-retry-reason",
        "x-stainless-read-timeout",
        "x-stainless-retry-count",
        "x-stainless-timeout",
    }
)
"""Counters of client libraries: the retry must be the same operation, so that it joins the open review."""

ORIGIN = frozenset(
    {
        "cf-connecting-ip",
        "client-ip",
        "fastly-client-ip",
        "forwarded",
        "max-forwards",
        "remote-user",
        "true-client-ip",
        "via",
        "wl-proxy-client-ip",
        "x-arr-clientcert",
        "x-client-cert",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-host",
        "x-original-host",
        "x-original-method",
        "x-original-uri",
        "x-original-url",
        "x-real-ip",
        "x-remote-user",
        "x-rewrite-url",
        "x-waws-unencoded-url",
    }
)
"""What claims another sender, host, path or method than the request has. Servers believe these of a proxy, and the edge is one."""

PREFIXES = (
    "ssl-client-",
    "x-amzn-oidc-",
    "x-auth-request-",
    "x-b3-",
    "x-datadog-",
    "x-envoy-",
    "x-forwarded-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-ms-token-",
    "x-ssl-client-",
)
"""Families of the last lists: tracing, and identities that a gateway in front of a server would assert."""

_STRIPPED = HOP_BY_HOP | FRAMING | CREDENTIAL | DATES | REQUEST_IDS | TRACING | RETRIES | ORIGIN | {"x-forwarded"}

METHOD_OVERRIDES = frozenset({"x-http-method", "x-http-method-override", "x-method-override"})
"""Headers that make some servers run another method than the request line says. They are kept, and their method is judged too."""


def canonical(name: str) -> str:
    """The name under which servers may look a header up: lower case, `-` for `_`."""
    return name.lower().replace("_", "-")


def stripped(name_lower: str) -> bool:
    """True if the edge does not forward a header of this name (lower case) as the agent sent it."""
    name = name_lower.replace("_", "-") if "_" in name_lower else name_lower
    return name in _STRIPPED or name.startswith(PREFIXES)
