"""Decides: pure functions and frozen values; touches nothing outside its arguments."""
