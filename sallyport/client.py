"""The control plane as the command line sees it: one method a request, problems turned into one clear error."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from gateway_kernel.errors import SallyportError

DEFAULT_URL = "http://127.0.0.1:7071"
TIMEOUT = 30.0  # seconds for one request


class ControlPlaneError(SallyportError):
    """The control plane said no, or could not be reached. `status` is the HTTP status, 0 if there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ControlPlane:
    """A connection with one identity: the key of an administrator, an approver or an auditor."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT, follow_redirects=False)
        except httpx.InvalidURL as error:
            raise ControlPlaneError(f"{url} is not an address ({error}): set SALLYPORT_URL") from None

    def __repr__(self) -> str:
        return f"ControlPlane({self.url!r})"

    def get(self, path: str, **query: str | int | None) -> Any:
        """GET and decode JSON."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._decoded(self._send("GET", path, params=given))

    def post(self, path: str, body: Any = None) -> Any:
        """POST JSON and decode JSON (None where the answer is empty)."""
        return self._decoded(self._send("POST", path, json=body))

    def put(self, path: str, body: Any) -> Any:
        """PUT JSON and decode JSON."""
        return self._decoded(self._send("PUT", path, json=body))

    def delete(self, path: str) -> None:
        """DELETE."""
        self._send("DELETE", path)

    def lines(self, path: str) -> Iterator[bytes]:
        """GET newline-delimited lines, exactly as they are stored, without their line ends."""
        start = "0"
        while start:
            response = self._send("GET", path, params={"start": start})
            yield from (line for line in response.content.split(b"\n") if line)
            start = response.headers.get("X-Sallyport-Next", "")

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ControlPlaneError(
                f"{self.url} cannot be reached ({error}): is the control plane up? Set SALLYPORT_URL, or run `sallyport up`."
            ) from error
        if response.is_success:
            return response
        raise ControlPlaneError(_problem(response), response.status_code)

    def _decoded(self, response: httpx.Response) -> Any:
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise ControlPlaneError(f"{self.url} does not answer as a control plane: is SALLYPORT_URL right?") from None


def part(text: str) -> str:
    """One part of a path, whatever it holds."""
    return quote(text, safe="") or "-"


def _problem(response: httpx.Response) -> str:
    """The problem document of an answer (RFC 9457) as one sentence."""
    try:
        problem = response.json()
        title, detail = problem.get("title", ""), problem.get("detail", "")
    except (ValueError, AttributeError):
        title, detail = response.reason_phrase, ""
    hint = " Set SALLYPORT_KEY to a key that may do this." if response.status_code in {401, 403} else ""
    return f"{title or response.reason_phrase}{': ' + detail if detail else ''}{hint}"


def state_dir() -> Path:
    """Where `sallyport up` leaves the address and keys of the stack on this machine."""
    return Path(os.environ.get("SALLYPORT_HOME", "data"))


def connect(role: str = "admin") -> ControlPlane:
    """Connect as SALLYPORT_URL and SALLYPORT_KEY say, else with what `sallyport up` left for `role` (admin or approver)."""
    url, key = os.environ.get("SALLYPORT_URL", ""), os.environ.get("SALLYPORT_KEY", "")
    url, key = url or _left("url") or DEFAULT_URL, key or _left(role)
    if not (key.isascii() and key.isprintable()):
        raise ControlPlaneError("SALLYPORT_KEY does not hold a key: keys are printable ASCII")
    return ControlPlane(url, key)


def _left(name: str) -> str:
    path = state_dir() / "keys" / name
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ControlPlaneError(f"{path} cannot be read: {error.strerror}") from None
