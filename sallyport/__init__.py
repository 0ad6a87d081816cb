"""The command line. It speaks HTTP to the control plane and starts the parts on one machine; it decides nothing."""
