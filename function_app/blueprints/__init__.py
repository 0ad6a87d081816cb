"""The HTTP functions and the timer, one group a module. Who may call them stands in `access.ROUTES`."""
