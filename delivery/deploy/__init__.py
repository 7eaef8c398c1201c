"""A release in an environment: target, lock, Helm, rollout, rollback."""
