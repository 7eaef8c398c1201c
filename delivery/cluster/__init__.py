"""A local Kubernetes cluster, by kind."""
