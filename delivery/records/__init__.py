"""Tell the ledger of stages and deployments: deployment, events, source, recorder, outbox, sending."""
