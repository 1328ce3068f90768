"""What the people who run an installation see and do: logs, traces, measures, health, backups."""
