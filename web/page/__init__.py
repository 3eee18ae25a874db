"""The page at /ui, the sign-in form at /login and the documentation of the API at /docs."""
