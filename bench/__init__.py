"""Speed, measured on demand: what a user waits for, errors counted."""
