"""The content API: shared knowledge for customers' own systems, over HTTP with keys of their own."""

from api.content.routes import ContentApi

__all__ = ["ContentApi"]
