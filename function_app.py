"""A marker, never executed: the Functions worker indexes an app only if this file is at its root, and then imports `function_app`.

Python prefers the package `function_app/` over this module, so the app object is the one of `function_app/__init__.py`.
"""
