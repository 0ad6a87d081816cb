"""The product, whole, as it is measured: one worker, a policy of twenty rules, its spool on the disk of the working directory.

The control plane runs elsewhere in production. Here it would share two cores with what is measured, so it is stopped (SIGSTOP) between
set-up and end: allowed traffic goes on under the cached policy, as it does in any outage, and everything is spooled.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sallyport.stack import Stack

HERE = Path(__file__).parent
AGENT = "bench-bot"


@contextlib.contextmanager
def gateway(
    home: Path,
    protocol: str,
    resources: Mapping[str, Mapping[str, str]],
    entries: Sequence[Mapping[str, Any]],
    more: str = "",
    **secrets: str,
) -> Generator[tuple[str, int]]:
    """Yield the agent's key and the edge's port. `resources` are labels by name, `entries` their keys in edge.yaml, `more` is added to it."""
    with Stack(home) as sallyport:
        url = sallyport.start_control_plane()
        sallyport.push_policy((HERE / "policy.yaml").read_text(), "twenty rules")
        key = sallyport.add_agent(AGENT)
        sallyport.register_edge(
            [{"name": name, "protocol": protocol, "labels": dict(labels)} for name, labels in resources.items()]
        )
        written = "".join(
            "- {" + ", ".join(f"{name}: {value}" for name, value in {**entry, "protocol": protocol}.items()) + "}\n"
            for entry in entries
        )
        config = home / "edge.yaml"
        config.write_text(
            f"control_plane: {{url: {url}}}\ndata_dir: {home}/edge\n"
            f"revocation_max_age: 1h\nspool: {{quota: 16GiB}}\n{more}"
            f"listeners: {{{protocol}: 127.0.0.1:0}}\nresources:\n{written}"
        )
        bound = sallyport.start_edge(config, **secrets)
        control = sallyport.control
        assert control is not None
        control.process.send_signal(signal.SIGSTOP)
        try:
            yield key, int(bound[protocol].rpartition(":")[2])
        finally:
            control.process.send_signal(signal.SIGCONT)


def installed(program: str, package: str) -> str | None:
    """The path of a peer, installed from the distribution if that is possible; None if it cannot be had."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    found = shutil.which(program, path=path)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", package]):
            subprocess.run(command, env=environment, capture_output=True, check=False, timeout=300)
        found = shutil.which(program, path=path)
    return found
