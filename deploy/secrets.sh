#!/bin/sh
# Makes what deploy/compose.yaml keeps in files: passwords and keys, each readable by the one user that needs it, in
# deploy/secrets or the folder that is named. What is there stays. Keep a copy elsewhere: without ledger.key nobody can
# seal the ledger on.
set -eu
umask 077
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
cd "$folder"

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
keep() { test -e "$1" || { printf '%s\n' "$2" > "$1.new" && mv "$1.new" "$1"; }; }

keep postgres_password "$(random)"
keep sortie_password "$(random)"
keep ledger.key "$(random)"
keep token.key "$(random)"
keep SORTIE_DATABASE_URL "postgresql://sortie:$(cat sortie_password)@postgres:5432/sortie"
# Empty until a language model with a key is used; without SORTIE_MODEL nothing leaves this machine.
test -e OPENAI_API_KEY || : > OPENAI_API_KEY

chmod 0400 ./*
if test "$(id -u)" = 0; then
    # 10001 is the user of the image sortie, 999 that of the image postgres.
    chown 10001:10001 SORTIE_DATABASE_URL OPENAI_API_KEY ledger.key token.key
    chown 999:999 postgres_password sortie_password
    chmod 0711 .
elif test "$(uname)" = Linux; then
    echo 'Run this as root (sudo): the files must belong to the users inside the containers.' >&2
    exit 1
fi
