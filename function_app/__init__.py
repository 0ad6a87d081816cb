"""The control plane: an Azure Functions app (v2 programming model) with Durable orchestrations.

It decides, asks people and keeps the record; it never sees an upstream or its credentials.
"""

from function_app.app import app

__all__ = ["app"]
