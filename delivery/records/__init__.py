"""Record stages and deployments in the ledger: deployment, events, source, recorder, outbox."""
