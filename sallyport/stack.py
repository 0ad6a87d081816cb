"""Control plane and edge on this machine: the real programs as child processes, set up through their own interfaces.

`sallyport up`, the demo, the benchmarks and the end-to-end tests all start the product this way. Keys are kept under `home/keys`,
readable by their owner alone.
"""

import importlib.util
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self

import msgspec

from gateway_kernel.errors import SallyportError
from sallyport.client import ControlPlane, ControlPlaneError
from sallyport.ports import unused_port

START_LIMIT = 60.0  # seconds until a part must say that it is ready
STOP_LIMIT = 20.0  # seconds for a graceful stop before a part is killed
EDGE = "local"
UNAUTHENTICATED = 401


class StackError(SallyportError):
    """A part did not start; the text holds what it said."""


class EdgeReady(msgspec.Struct, frozen=True):
    """What the edge says when it is ready: where its listeners and its health listener are bound (host:port)."""

    listeners: dict[str, str]
    health: str = ""


class Part:
    """One child process that says `ready …` on its standard output when it serves. Its log goes to a file."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self._said: SimpleQueue[str | None] = SimpleQueue()
        threading.Thread(target=self._listen, daemon=True, name=f"{name} output").start()
        self.ready = self._wait_until_ready()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.put(line.decode(errors="replace").rstrip("\n"))
        self._said.put(None)

    def _wait_until_ready(self) -> str:
        """Everything after the word `ready`."""
        while True:
            try:
                line = self._said.get(timeout=START_LIMIT)
            except Empty:
                self.stop(signal.SIGKILL)
                raise StackError(
                    f"{self.name} was not ready after {START_LIMIT:.0f} s; its log is {self._log}"
                ) from None
            if line is None:
                code = self.process.wait()
                said = self._log.read_text(errors="replace").strip().splitlines()[-5:]
                raise StackError(f"{self.name} ended with code {code}: " + "\n".join(said))
            if line.startswith("ready"):
                return line.removeprefix("ready").strip()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop the part with all its children; killed if it does not end in time. Returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


def _app_directory() -> Path:
    """Where host.json and the package `function_app` are; the app itself is imported by the host alone."""
    found = importlib.util.find_spec("function_app")
    if found is None or found.origin is None:
        raise StackError("the control plane (package function_app) is not installed here")
    return Path(found.origin).parents[1]


class Stack:
    """One machine's Sallyport. Use as a context manager: leaving it stops everything."""

    def __init__(self, home: Path, *, control_port: int = 0) -> None:
        self.home = home.resolve()
        self.keys = self.home / "keys"
        self.logs = self.home / "logs"
        for directory in (self.home, self.keys, self.logs):
            directory.mkdir(parents=True, exist_ok=True)
        self.keys.chmod(0o700)
        self.control_port = control_port
        self.control: Part | None = None
        self.edge: Part | None = None
        self.url = ""
        self.health = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the edge first, so that what it recorded is shipped."""
        for part in (self.edge, self.control):
            if part is not None:
                part.stop()
        self.edge = self.control = None

    # -- control plane -----------------------------------------------------------------------------------------------

    def start_control_plane(self, **settings: str) -> str:
        """Start the embedded host with the unmodified function app; returns its URL."""
        self.control_port = (
            self.control_port or unused_port()
        )  # links in reviews name it, so it is fixed before the start
        environment = {
            "SALLYPORT_STORE": f"sqlite:///{self.home}/control-plane.db",
            "SALLYPORT_DATA_DIR": str(self.home / "control-plane"),
            "SALLYPORT_BOOTSTRAP_ADMIN_KEY": self.key("admin", f"spm_{secrets.token_urlsafe(32)}"),
            "SALLYPORT_PUBLIC_URL": f"http://127.0.0.1:{self.control_port}",
            **settings,
        }
        root = _app_directory()
        command = [sys.executable, "-m", "embedded_host", "--app", str(root), "--data", str(self.home / "host")]
        self.control = Part(
            "control plane", [*command, "--port", str(self.control_port)], environment, self.logs / "control-plane.log"
        )
        self.url = self.control.ready.split()[0]
        self._keep("url", self.url)
        return self.url

    def restart_control_plane(self, **settings: str) -> str:
        """Stop it if it still runs and start it on the same port and data."""
        if self.control is not None:
            self.control.stop()
        return self.start_control_plane(**settings)

    def admin(self) -> ControlPlane:
        """The control plane as its administrator."""
        return ControlPlane(self.url, self._kept("admin"))

    def person(self, mail: str) -> ControlPlane:
        """The control plane as this approver."""
        return ControlPlane(self.url, self._kept(mail))

    # -- who and what ------------------------------------------------------------------------------------------------

    def add_person(self, mail: str, *roles: str) -> str:
        """Register a person (an approver unless `roles` say otherwise); returns the key: the kept one if it still holds."""
        if not self._holds(mail):
            created = self.admin().post("/v1/people", {"person": mail, "roles": list(roles) or ["approver"]})
            self._keep(mail, created["key"])
        return self._keep("approver", self._kept(mail))

    def add_agent(self, name: str, *, groups: Sequence[str] = (), owners: Sequence[str] = ()) -> str:
        """Register an agent; returns its key: the kept one if it still holds."""
        kept = f"agent-{name}"
        if not self._holds(kept):
            body = {"name": name, "groups": list(groups), "owners": list(owners)}
            self._keep(kept, self.admin().post("/v1/agents", body)["key"])
        return self._kept(kept)

    def _holds(self, name: str) -> bool:
        """True if there is a key of that name and the control plane knows it."""
        if not (self.keys / name).is_file():
            return False
        try:
            ControlPlane(self.url, self._kept(name)).get("/v1/me")
        except ControlPlaneError as error:
            if error.status != UNAUTHENTICATED:
                raise
            return False
        return True

    def push_policy(self, text: str, comment: str = "") -> dict[str, Any]:
        """Make this the active policy."""
        return self.admin().post("/v1/policies", {"text": text, "comment": comment})

    def register_edge(self, resources: Sequence[Mapping[str, Any]], agents: Sequence[str] = ("*",)) -> None:
        """Register this machine's edge with its resources (name, protocol, labels) and the agents it may speak for."""
        body = {"resources": list(resources), "agents": list(agents)}
        registered = self.admin().put(f"/v1/edges/{EDGE}", body)
        if registered.get("key"):
            self._keep("edge", registered["key"])

    # -- edge --------------------------------------------------------------------------------------------------------

    def start_edge(self, config: Path, **environment: str) -> dict[str, str]:
        """Start the edge agent; returns where each listener is bound: name -> host:port."""
        command = [sys.executable, "-m", "edge_agent", "--config", str(config), "--json"]
        secrets_ = {"SALLYPORT_EDGE_KEY": self._kept("edge"), **environment}
        self.edge = Part("edge", command, secrets_, self.logs / "edge.log")
        said = msgspec.json.decode(self.edge.ready, type=EdgeReady)
        self.health = said.health
        return said.listeners

    # -- keys --------------------------------------------------------------------------------------------------------

    def key(self, name: str, fresh: str) -> str:
        """The kept key of that name; `fresh` is kept if there is none."""
        path = self.keys / name
        return path.read_text().strip() if path.is_file() else self._keep(name, fresh)

    def keep_listeners(self, bound: Mapping[str, str]) -> None:
        """Leave the edge's addresses where `sallyport connect` finds them."""
        for name, address in bound.items():
            self._keep(f"listener-{name}", address)

    def _keep(self, name: str, value: str) -> str:
        path = self.keys / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(value + "\n")
        return value

    def _kept(self, name: str) -> str:
        try:
            return (self.keys / name).read_text().strip()
        except FileNotFoundError:
            raise StackError(f"{self.keys / name}: there is no key for {name} yet") from None
