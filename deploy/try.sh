#!/bin/sh
# Runs what compose.yaml describes without a container: the same commands, settings, secrets and proxy file, on loopback, with
# a PostgreSQL of its own. Asks through the proxy, stops and kills processes meanwhile, and ends with another status than 0
# when an answer is wrong. Needs the development environment (make check) and Caddy: on the PATH, or by deploy/lint.sh.
set -eu
cd "$(dirname "$0")/.."
exec env PYTHONPATH="$PWD" "${PYTHON:-.venv/bin/python}" deploy/trial.py "$@"
