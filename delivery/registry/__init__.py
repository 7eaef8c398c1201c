"""An OCI registry: what it holds, pushes that are read back, and the local one."""
