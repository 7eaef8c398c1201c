"""Keeps the deployment ledger: reads events from Kafka and stores each of them once."""
