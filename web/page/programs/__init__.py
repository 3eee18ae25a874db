"""Gradio's protocol for programs: `gradio_client` calls `/run` at the page's address.

These routes speak the protocol themselves and lead to the same service as the API. Gradio's own
upload folder and queue stay shut: they live in one process, while Pixelmill has several; they keep
photos in files; and their queue polls, which costs CPU also when nobody calls.
"""
