"""The app's functions as the worker indexes them. Its app object can be asked for them once a process."""

import functools
from typing import Any

from function_app import app


@functools.cache
def functions() -> tuple[Any, ...]:
    """Every registered function."""
    return tuple(app.get_functions())
