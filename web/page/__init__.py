"""The page at /ui, the sign-in form and the API's documentation."""
