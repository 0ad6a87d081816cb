"""Runs the unmodified Azure Functions app on one machine, without an Azure account.

The app's code runs in Microsoft's own worker library; orchestrations run on durabletask's own sidecar, made durable
here. Azure's host and its Durable extension take this package's place in production: the app does not change.
"""

from embedded_host.host import Host

__all__ = ["Host"]
