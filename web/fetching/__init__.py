"""Fetches a picture from an address that a user names, without reaching into our own network."""
