# shellcheck shell=bash
# Settings, messages, waiting. Sourced by every script here.

CLUSTER_NAME=${CUTOVER_CLUSTER:-cutover}
CACHE=${CUTOVER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cutover}
RUN=${CUTOVER_RUN_DIR:-/var/tmp/cutover-clusters/$CLUSTER_NAME}
NETNS=cutover-$CLUSTER_NAME
KUBERNETES_VERSION=1.36.3

NODE_NAME=node1
NODE_IP=172.31.0.10
SERVICE_CIDR=10.96.0.0/16
SERVICE_API_IP=10.96.0.1
DNS_IP=10.96.0.10
POD_CIDR=10.244.0.0/16

# Components in the order in which they start.
COMPONENTS=(etcd containerd apiserver controller-manager scheduler kubelet proxy dns)

export PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*"; }
note() { printf 'cluster: %s\n' "$*" >&2; }
die() {
  printf 'cluster: %s\n' "$1" >&2
  shift
  local line
  for line in "$@"; do printf '         %s\n' "$line" >&2; done
  exit 1
}

check_settings() {
  [[ $CLUSTER_NAME =~ ^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$ ]] ||
    die "CUTOVER_CLUSTER is '$CLUSTER_NAME'" \
      "Use 1 to 20 lower-case letters, digits and dashes, for example CUTOVER_CLUSTER=test2."
  [[ $RUN == /* ]] || die "CUTOVER_RUN_DIR is '$RUN'" "Give an absolute path."
  [[ $CACHE == /* ]] || die "CUTOVER_CACHE is '$CACHE'" "Give an absolute path."
  # A unix socket path holds at most 107 bytes.
  ((${#RUN} <= 70)) || die "the run folder's path is too long for unix sockets: $RUN" \
    "Set CUTOVER_RUN_DIR to a path of at most 70 characters."
  [[ $RUN/ != "$TREE"/* ]] || die "the run folder $RUN lies inside the source tree" \
    "Set CUTOVER_RUN_DIR to a folder outside it."
  [[ $CACHE/ != "$TREE"/* ]] || die "the cache folder $CACHE lies inside the source tree" \
    "Set CUTOVER_CACHE to a folder outside it."
}

need_root() {
  ((EUID == 0)) || die "'$1' needs root: it works with network namespaces and mounts" \
    "Run it again as root (sudo -E tests/cluster/cluster $1)."
}

# True when KUBECONFIG names a cluster that is not one of ours.
is_external() {
  [[ -n ${KUBECONFIG:-} ]] || return 1
  [[ $KUBECONFIG != "$RUN/kubeconfig" && $KUBECONFIG != /var/tmp/cutover-clusters/*/kubeconfig ]] || return 1
  if [[ $KUBECONFIG != *:* && -e $KUBECONFIG ]] && grep -q '^# cutover test cluster' "$KUBECONFIG"; then
    return 1
  fi
  return 0
}

is_up() { [[ -e $RUN/ready ]]; }

need_up() {
  is_up || die "cluster '$CLUSTER_NAME' is not up" "Start it with: tests/cluster/cluster up"
}

# Runs a command inside the cluster's network namespace. Not `ip netns exec`:
# that remounts /sys and hides the cgroups.
inside() { nsenter --net="/run/netns/$NETNS" -- "$@"; }

kubectl_() { inside "$RUN/bin/kubectl" --kubeconfig "$RUN/kubeconfig" "$@"; }
ctr_() { "$RUN/bin/ctr" --address "$RUN/containerd.sock" --namespace k8s.io "$@"; }

now() { date +%s; }

# The key of a module, an image, ...: a short hash of the given files and words.
key_of() { # FILE... [-- WORD...]
  local files=()
  while (($#)) && [[ $1 != -- ]]; do files+=("$1"); shift; done
  { ((${#files[@]} == 0)) || cat "${files[@]}"; printf '%s\n' "$@"; } | sha256sum | cut -c1-16
}

# Polls until a command succeeds. Gives up early when a component that was
# started has died, and blames the first one that did.
wait_for() { # SECONDS COMPONENT WHAT COMMAND...
  local limit=$1 component=$2 what=$3 end dead
  shift 3
  end=$(($(now) + limit))
  until "$@" >/dev/null 2>&1; do
    dead=$(first_dead)
    [[ -z $dead ]] || fail_component "$dead" "$dead stopped while waiting for $what"
    (($(now) < end)) || fail_component "$component" "waited $limit s in vain for $what"
    sleep 0.1
  done
}

fail_component() { # COMPONENT MESSAGE
  note "$2"
  if [[ -s $RUN/logs/$1.log ]]; then
    note "last lines of the log of $1:"
    tail -n 20 "$RUN/logs/$1.log" | cut -c1-400 | sed 's/^/    /' >&2
  else
    note "$1 wrote no log"
  fi
  exit 1
}
