"""Dry runs: everything is done as in earnest, and then nothing of it is kept."""


class DryRunError(Exception):
    """Ends the unit of work of a dry run, so that it is rolled back."""


def rehearsed(dry_run: bool) -> None:
    """End the unit of work here if it is a dry run."""
    if dry_run:
        raise DryRunError
