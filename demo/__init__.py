"""The demo company: invented people, customers and knowledge, loaded through the same operations as real data."""
