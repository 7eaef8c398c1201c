"""The four DORA figures and stage durations, from the events of the ledger."""
