"""The messages between a Functions host and its Python worker, as plain objects.

The worker library reads and builds the messages of `FunctionRpc.proto` (azure-functions-language-worker-protobuf)
only through attributes, so in one process they need neither generated code nor serialization. Only the fields that
the worker touches are here; nothing in this module travels over a wire.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

KINDS = frozenset({"string", "json", "bytes", "http", "int", "double"})


class TypedData:
    """The proto's oneof `data`: at most one of KINDS is set; `WhichOneof("data")` names it."""

    __slots__ = ("kind", "value")

    def __init__(self, **one: Any) -> None:
        if len(one) > 1 or not KINDS.issuperset(one):
            raise ValueError(f"a TypedData holds one of {sorted(KINDS)}, not {sorted(one)}")
        self.kind, self.value = next(iter(one.items()), (None, None))

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802 (protobuf's own name)
        """The field that is set, or None; `group` is always `data`."""
        del group
        return self.kind

    def __getattr__(self, name: str) -> Any:
        if name in KINDS and name == self.kind:
            return self.value
        raise AttributeError(name)

    def __repr__(self) -> str:
        return f"TypedData({self.kind})"  # never the value: it may be a secret


@dataclass(slots=True)
class ParameterBinding:
    """One argument of an invocation: the binding's name and its value."""

    name: str = ""
    data: TypedData | None = None

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802 (protobuf's own name)
        """`data` where a value is set; shared memory (`rpc_shared_memory`) is not used in one process."""
        del group
        return None if self.data is None else "data"


class SameSite:
    """`RpcHttpCookie.SameSite`; its member `None` is a Python keyword and is set below."""

    Lax, Strict, ExplicitNone = 1, 2, 3


setattr(SameSite, "None", 0)


@dataclass(slots=True)
class Nullable:
    """`NullableString` and its kin: present with a value, or absent altogether."""

    value: Any = None


@dataclass
class RpcHttpCookie:
    """One Set-Cookie of a response (RFC 6265, section 4.1)."""

    SameSite: ClassVar[type] = SameSite
    name: str = ""
    value: str = ""
    domain: Nullable | None = None
    path: Nullable | None = None
    expires: Nullable | None = None
    secure: Nullable | None = None
    http_only: Nullable | None = None
    same_site: int = 0
    max_age: Nullable | None = None


@dataclass(slots=True)
class RpcHttp:
    """A request to a function (all fields but status and cookies) or its response (status, headers, cookies, body)."""

    method: str = ""
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    params: dict[str, str] = field(default_factory=dict[str, str])
    query: dict[str, str] = field(default_factory=dict[str, str])
    body: TypedData = field(default_factory=TypedData)
    status_code: str = ""
    cookies: list[RpcHttpCookie] | None = None
    enable_content_negotiation: bool = False


@dataclass(slots=True)
class RpcException:
    """What a function raised: `message` is "Type: text"."""

    message: str = ""
    stack_trace: str = ""
    source: str = ""


@dataclass
class StatusResult:
    """How the worker says whether a request succeeded."""

    Failure: ClassVar[int] = 0
    Success: ClassVar[int] = 1
    status: int = 0
    exception: RpcException = field(default_factory=RpcException)


@dataclass
class BindingInfo:
    """One binding of a function as the worker lists it; the raw bindings say more and are what the host reads."""

    undefined: ClassVar[int] = 0
    out: ClassVar[int] = 1
    inout: ClassVar[int] = 2
    type: str = ""
    data_type: int = 0
    direction: int = 0


def _trace_context() -> SimpleNamespace:
    return SimpleNamespace(trace_parent="", trace_state="", attributes={})


def _retry_context() -> SimpleNamespace:
    return SimpleNamespace(retry_count=0, max_retry_count=0, exception=None)


@dataclass(slots=True)
class InvocationRequest:
    """Run one function; `trace_context` and `retry_context` are read unconditionally by the worker."""

    invocation_id: str
    function_id: str
    input_data: list[ParameterBinding]
    trigger_metadata: dict[str, TypedData] = field(default_factory=dict[str, TypedData])
    trace_context: SimpleNamespace = field(default_factory=_trace_context)
    retry_context: SimpleNamespace = field(default_factory=_retry_context)


class Answer(SimpleNamespace):
    """A message that only the worker fills in: it has the fields the worker gave it."""


PROTOS = SimpleNamespace(
    TypedData=TypedData,
    ParameterBinding=ParameterBinding,
    RpcHttp=RpcHttp,
    RpcHttpCookie=RpcHttpCookie,
    RpcException=RpcException,
    StatusResult=StatusResult,
    BindingInfo=BindingInfo,
    NullableString=Nullable,
    NullableBool=Nullable,
    NullableDouble=Nullable,
    NullableTimestamp=Nullable,
    RpcRetryOptions=Answer,
    RpcFunctionMetadata=Answer,
    WorkerMetadata=Answer,
    WorkerInitResponse=Answer,
    FunctionMetadataResponse=Answer,
    FunctionLoadResponse=Answer,
    InvocationResponse=Answer,
)


def envelope(**message: Any) -> SimpleNamespace:
    """A StreamingMessage that carries one request, in the wrapping the worker library expects."""
    return SimpleNamespace(request=SimpleNamespace(**message), properties={"host": "127.0.0.1", "protos": PROTOS})
