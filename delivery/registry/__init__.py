"""An OCI registry: its content, pushes that are read back, and the local registry."""
