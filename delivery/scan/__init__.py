"""Look for secrets."""
