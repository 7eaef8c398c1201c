"""What the ledger is told: events, the outbox they wait in, and notifications."""
