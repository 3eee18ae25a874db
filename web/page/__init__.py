"""The page at /ui, the sign-in form at /login and the documentation of the API at /docs."""

from web.page import gradio_stubs

gradio_stubs.leave_out()  # before a module of this package imports Gradio
