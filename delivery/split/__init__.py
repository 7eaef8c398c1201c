"""Repositories of their own out of this one."""
