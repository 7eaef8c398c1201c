"""Measures the apps beside twins on FastAPI, faust-streaming and aiokafka."""
