"""Readers of each format's header, for the guard: standard library only, no decoder."""
