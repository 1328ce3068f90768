"""The demo company: invented people, customers and knowledge, loaded through the same operations as real data."""

from demo.load import Summary, is_empty, load

__all__ = ["Summary", "is_empty", "load"]
