"""The four DORA figures, out of what the ledger holds."""
