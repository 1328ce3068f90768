#!/bin/sh
# Runs once, in an empty cluster: an owner of the database who is no superuser but may make the roles of readers.
set -eu
password=$(cat "${SORTIE_PASSWORD_FILE:-/run/secrets/sortie_password}")
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set password="$password" --dbname postgres <<'SQL'
CREATE ROLE sortie LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE sortie OWNER sortie;
\connect sortie
CREATE EXTENSION vector;
SQL
