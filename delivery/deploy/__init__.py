"""Deploy a release to an environment: select, lock, compare, upgrade, follow, roll back."""
