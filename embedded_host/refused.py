"""How the sidecar says no, in process and over gRPC."""

from typing import Never, cast

import grpc


class Refused(Exception):  # noqa: N818 (the caller's fault, with the gRPC status that says which)
    """A request that cannot be granted; `code` is the gRPC status, the text says why."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Call:
    """What the base takes for its gRPC context: `abort` ends the call by an exception, as gRPC's own does."""

    def abort(self, code: grpc.StatusCode, text: str) -> Never:
        raise Refused(code, text)


CALL = cast("grpc.ServicerContext", _Call())
