"""What api-rest and async-worker agree on: the event, the tables, Kafka, settings, logs, traces."""
