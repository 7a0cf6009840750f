# shellcheck shell=bash
# Bringing the cluster up and down.

# Copies what a failed `up` wrote and takes everything away again.
clean_up_failed() {
  local code=$?
  trap - EXIT
  ((code != 0)) || exit 0
  set +e
  exec 2>&6 # a signal may come while a command's output goes nowhere
  local kept=$CACHE/last-failure-$CLUSTER_NAME
  rm -rf "$kept"
  [[ ! -d $RUN/logs ]] || cp -r "$RUN/logs" "$kept"
  remove_cluster
  if [[ -d $kept ]]; then
    note "the cluster did not come up; everything was taken away again. All logs: $kept"
  fi
  exit "$code"
}

remove_cluster() {
  local index path
  for ((index = ${#COMPONENTS[@]} - 1; index >= 0; index--)); do
    # Their data goes away: no need to wait for a polite end.
    kill_component "${COMPONENTS[$index]}"
  done
  kill_strays
  kill_containers
  # Mounts, the deepest first. The path is escaped as in /proc/mounts.
  while read -r path; do
    umount -l "$path" 2>/dev/null || true
  done < <(cut -d' ' -f2 /proc/mounts | grep "^$RUN/" | sort -r | sed 's/\\040/ /g' || true)
  delete_network
  delete_cgroups
  # What the CNI plugins and kubelet keep outside the run folder.
  for path in "$RUN"/containerd/state/io.containerd.runtime.v2.task/k8s.io/*/; do
    rm -f "/var/lib/cni/results/cni-loopback-$(basename "$path")-lo"
  done
  find /var/log/containers -lname "$RUN/*" -delete 2>/dev/null || true
  rm -rf /var/lib/cni/results/"$NETNS"-* 2>/dev/null || true
  if [[ -d $RUN ]]; then
    rm -rf --one-file-system "$RUN" || die "could not remove $RUN" \
      "Something still uses it: see 'mount' and 'fuser -m $RUN', then run 'down' again."
  fi
}

lock_cluster() {
  mkdir -p "$CACHE" "$(dirname "$RUN")"
  exec 7>"$CACHE/cluster-$CLUSTER_NAME.lock"
  flock -n 7 || { note "another 'up' or 'down' of '$CLUSTER_NAME' is running; waiting for it"; flock 7; }
}

running_count() {
  local component count=0
  for component in "${COMPONENTS[@]}"; do
    ! is_alive "$component" || count=$((count + 1))
  done
  say "$count"
}

cluster_build() {
  check_settings
  ! is_external || return 0
  need_root build
  build_all
}

# The paths of the images come in `default_images`.
build_all() {
  install_packages
  build_binaries
  build_default_images
}

cluster_up() {
  local started default_images component
  check_settings
  if is_external; then check_external; return; fi
  need_root up
  lock_cluster
  if is_up; then
    if (($(running_count) == ${#COMPONENTS[@]})); then
      note "cluster '$CLUSTER_NAME' is already up (kubeconfig: $RUN/kubeconfig)"
      return
    fi
    if (($(running_count) > 0)); then
      for component in "${COMPONENTS[@]}"; do
        if ! is_alive "$component"; then
          note "starting $component again"
          launch "$component"
          await_component "$component"
        fi
      done
      note "cluster '$CLUSTER_NAME' is up again"
      return
    fi
    note "nothing of cluster '$CLUSTER_NAME' runs any more; starting anew"
  fi
  [[ ! -e $RUN && ! -e /run/netns/$NETNS ]] || remove_cluster

  build_all

  started=$(now)
  exec 6>&2
  trap clean_up_failed EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  mkdir -p "$RUN/logs"
  chmod 700 "$RUN"
  note "starting Kubernetes $KUBERNETES_VERSION as '$CLUSTER_NAME'"
  modprobe -qa overlay veth nf_conntrack nf_tables 2>/dev/null || true
  create_network
  create_cgroups
  link_binaries
  write_configuration
  [[ ${CUTOVER_ETCD_FSYNC:-0} != 1 ]] || touch "$RUN/etcd-fsync"

  launch etcd
  launch containerd
  launch apiserver
  await_component containerd
  import_images "${default_images[@]}" 2>/dev/null &
  local import=$!
  await_component apiserver
  for component in controller-manager scheduler kubelet proxy; do launch "$component"; done
  wait_for 30 apiserver "the namespace kube-system" kubectl_ apply --server-side --filename "$RUN/config/dns.yaml"
  launch dns
  wait "$import" || fail_component containerd "could not load the default images"
  wait_for 60 kubelet "node $NODE_NAME to be Ready" node_is_ready
  for component in controller-manager scheduler proxy dns; do await_component "$component"; done
  wait_for 60 controller-manager "the default ServiceAccount" \
    kubectl_ get serviceaccount default --namespace default
  touch "$RUN/ready"
  trap - EXIT INT TERM
  exec 6>&-
  note "cluster '$CLUSTER_NAME' is up after $(($(now) - started)) s"
  note "use it with: tests/cluster/cluster exec kubectl get nodes"
}

node_is_ready() {
  kubectl_ wait --for=condition=Ready "node/$NODE_NAME" --timeout=5s
}

cluster_down() {
  check_settings
  if is_external; then
    note "KUBECONFIG names a cluster of your own: leaving it alone"
    return
  fi
  need_root down
  lock_cluster
  if [[ ! -e $RUN && ! -e /run/netns/$NETNS ]]; then
    note "cluster '$CLUSTER_NAME' is not up: nothing to do"
    return
  fi
  remove_cluster
  note "cluster '$CLUSTER_NAME' is gone; the cache stays in $CACHE"
}

# A cluster of the user's own: only looked at, never changed.
check_external() {
  local version minor
  command -v kubectl >/dev/null || die "KUBECONFIG is set, but there is no kubectl on PATH" \
    "Install kubectl, or unset KUBECONFIG to use a cluster of this tool."
  version=$(kubectl get --raw /version --request-timeout=10s | grep -o '"gitVersion": *"[^"]*"' | cut -d'"' -f4) ||
    die "cannot reach the cluster that KUBECONFIG names ($KUBECONFIG)" \
      "Check it with 'kubectl get nodes', or unset KUBECONFIG to use a cluster of this tool."
  minor=${version#v1.}
  minor=${minor%%[!0-9]*}
  [[ $version == v1.* && -n $minor ]] && ((minor >= 30)) ||
    die "the cluster that KUBECONFIG names runs Kubernetes $version" "At least 1.30 is needed."
  note "using the cluster that KUBECONFIG names (Kubernetes $version); it was not changed"
}
