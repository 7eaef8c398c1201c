"""The library of api-rest and async-worker: events, tables, Kafka, settings, logs, traces."""
