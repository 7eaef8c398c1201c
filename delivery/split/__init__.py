"""Splits this repository into one for each subproject."""
