"""Measures the apps beside twins written with FastAPI, faust-streaming and aiokafka: `python -m ops.bench`."""
