"""The edge: the GraphQL schema, who is asking, declared reads, wiring."""
