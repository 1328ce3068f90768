"""The sales domain: rooms with a door, ordered so that arrows point down."""
