"""Remove from a registry what is no longer needed: policy, pruning."""
