"""Splits this repository into a repository for each subproject."""
