"""Splits this repository into one a subproject."""
