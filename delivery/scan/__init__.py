"""Look for secrets, and for known vulnerabilities: scanning, gate, vulnerabilities."""
