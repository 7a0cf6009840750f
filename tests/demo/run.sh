#!/usr/bin/env bash
# `make demo`: brings a cluster up (or takes yours, from KUBECONFIG), builds, installs the operator, runs the
# demonstration, and takes away what was not there before. KEEP=1 leaves everything running.
set -euo pipefail

TREE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
cd "$TREE"
cluster=tests/cluster/cluster
target=${CARGO_TARGET_DIR:-$TREE/target}
keep=${KEEP:-}
[[ $keep != 0 ]] || keep=

step() { printf '\n\033[0m== %s\n' "$*" >&2; }
inside() { "$cluster" exec "$@"; }

# Whose cluster is it? Only one that this script brought up is taken down again.
own=
if [[ -z ${KUBECONFIG:-} ]] && ! "$cluster" status >/dev/null 2>&1; then own=1; fi
installed=

finish() {
  local code=$?
  trap - EXIT
  if [[ -z $keep ]]; then
    if [[ -n $own ]]; then
      step "Taking the cluster down"
      "$cluster" down || code=1
    elif [[ -n $installed ]]; then
      step "Removing the operator"
      inside kubectl delete --ignore-not-found --wait=true --timeout=60s -k deploy >/dev/null || code=1
    fi
  elif [[ -n $own ]]; then
    printf '\nThe cluster stays up; end it with: %s down\n' "$cluster" >&2
  fi
  exit "$code"
}
trap finish EXIT

step "Cluster"
"$cluster" up

step "Building operator, sample application, load generator and demonstration"
cargo build --quiet --package cutover --package sample --package demo --bins

step "Images"
images=$(mktemp -d)
"$cluster" image --libs --ca-bundle --user 65532 docker.io/cutover/cutover:dev "$images/cutover.tar" /bin/cutover \
  "$target/debug/cutover"
"$cluster" image --libs docker.io/cutover/sample:dev "$images/sample.tar" /bin/sample \
  "$target/debug/sample" "$target/debug/load"
"$cluster" load "$images/cutover.tar" "$images/sample.tar"
rm -rf "$images"

step "Operator"
if ! inside kubectl get namespace cutover-system >/dev/null 2>&1; then installed=1; fi
inside kubectl apply --server-side --force-conflicts -k deploy >/dev/null
# The image has the same name each time: only new pods take the new one.
[[ -n $installed ]] || inside kubectl rollout restart deployment --namespace cutover-system >/dev/null
inside kubectl rollout status deployment --namespace cutover-system --timeout=90s >&2 || {
  inside kubectl get pods --namespace cutover-system >&2 || true
  inside kubectl logs --namespace cutover-system --selector app.kubernetes.io/name=cutover-operator --tail 30 >&2 || true
  exit 1
}

arguments=()
# On clusters of others the Prometheus is the public image, which finds pods by itself.
if [[ -z $(inside printenv CUTOVER_NETNS) ]]; then
  arguments+=(--discovery kubernetes --prometheus-image "${PROMETHEUS_IMAGE:-prom/prometheus:v3.5.0}")
fi
inside "$target/debug/demo" "${arguments[@]}" "$@"
