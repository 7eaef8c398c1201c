"""What of a registry goes, and what stays."""
