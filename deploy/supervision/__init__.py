"""Keeps programs running: restarts what dies or hangs, stops all in order, writes their logs."""
