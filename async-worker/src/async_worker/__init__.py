"""Keeps the deployment ledger: reads the events from Kafka and stores each one once."""
