"""Where the control plane keeps what it knows: one port (`base`), one backend a module (`sqlite`)."""
