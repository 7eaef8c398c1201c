"""The deployment ledger over HTTP: takes deployment events, answers what was deployed where."""
