"""Carry a decision out, one step a module, with the tools below."""
