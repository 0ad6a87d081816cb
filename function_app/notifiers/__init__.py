"""How people hear that a review waits for them: one notifier a module, one line each in `registry`."""
