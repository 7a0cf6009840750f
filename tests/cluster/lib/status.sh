# shellcheck shell=bash
# Looking at the cluster: status, logs, environment.

port_of() { # COMPONENT
  case $1 in
    etcd) say 2379 ;;
    apiserver) say 6443 ;;
    controller-manager) say 10257 ;;
    scheduler) say 10259 ;;
    kubelet) say 10250 ;;
    proxy) say 10256 ;;
    dns) say 53 ;;
  esac
}

node_state() {
  if ! is_alive apiserver || [[ $(state_of apiserver) == paused ]]; then
    say Unknown
    return
  fi
  local ready
  ready=$(kubectl_ get node "$NODE_NAME" --request-timeout=3s \
    -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) || ready=Unknown
  case $ready in
    True) say Ready ;;
    False) say NotReady ;;
    *) say Unknown ;;
  esac
}

# Exit code: 0 up, 1 down or broken.
cluster_status() { # [--output json|text]
  local output=text component pid up=false node=Unknown separator='' healthy=1
  case "$*" in
    '') ;;
    '--output json' | '--output=json' | '-o json' | '-ojson') output=json ;;
    '--output text' | '--output=text' | '-o text') ;;
    *) die "status knows only --output json and --output text" ;;
  esac
  check_settings
  if is_external; then check_external; return; fi
  if is_up; then
    up=true
    node=$(node_state)
  fi
  [[ $up == true && $node == Ready ]] && (($(running_count) == ${#COMPONENTS[@]})) || healthy=0
  if [[ $output == json ]]; then
    printf '{"name":"%s","up":%s,"healthy":%s,"version":"%s","namespace":"%s","runDir":"%s","kubeconfig":"%s","auditLog":"%s",' \
      "$CLUSTER_NAME" "$up" "$( ((healthy)) && say true || say false)" "$KUBERNETES_VERSION" "$NETNS" "$RUN" \
      "$RUN/kubeconfig" "$RUN/logs/audit.log"
    printf '"node":{"name":"%s","address":"%s","state":"%s"},"components":[' "$NODE_NAME" "$NODE_IP" "$node"
    for component in "${COMPONENTS[@]}"; do
      printf '%s{"name":"%s","state":"%s","pid":%s,"port":%s}' "$separator" "$component" \
        "$(state_of "$component")" "$(pid_of "$component" || say null)" "$(port_of "$component" | grep . || say null)"
      separator=,
    done
    printf ']}\n'
  else
    say "cluster     $CLUSTER_NAME ($([[ $up == true ]] && say up || say down)), Kubernetes $KUBERNETES_VERSION"
    if [[ $up == true ]]; then
      say "node        $NODE_NAME $NODE_IP $node"
      say "namespace   $NETNS"
      say "kubeconfig  $RUN/kubeconfig"
      say "audit log   $RUN/logs/audit.log"
      printf '\n%-20s %-9s %-8s %s\n' COMPONENT STATE PID PORT
      for component in "${COMPONENTS[@]}"; do
        pid=$(pid_of "$component") || pid=-
        printf '%-20s %-9s %-8s %s\n' "$component" "$(state_of "$component")" "$pid" \
          "$(port_of "$component" | grep . || say -)"
      done
    fi
  fi
  ((healthy)) || return 1
}

cluster_logs() { # [--follow] [COMPONENT]
  local follow=() name file
  while (($#)) && [[ $1 == -* ]]; do
    case $1 in
      -f | --follow) follow=(--follow) ;;
      *) die "logs does not know the option $1" ;;
    esac
    shift
  done
  [[ -d $RUN/logs ]] || die "cluster '$CLUSTER_NAME' has no logs: it is not up" \
    "Logs of the last failed 'up', if any: $CACHE/last-failure-$CLUSTER_NAME"
  if (($# == 0)); then
    say "Logs in $RUN/logs:"
    (cd "$RUN/logs" && stat -c '  %-24n %s bytes' ./*.log | sed 's,\./,,')
    say "Show one with: tests/cluster/cluster logs NAME"
    return
  fi
  if [[ $1 == audit ]]; then name=audit; else name=$(component_name "$1"); fi
  file=$RUN/logs/$name.log
  [[ -e $file ]] || die "$name has no log yet"
  if ((${#follow[@]})); then
    tail -n 50 --follow "$file"
  else
    cat "$file"
  fi
}

cluster_env() {
  need_up
  printf 'export KUBECONFIG=%q\n' "$RUN/kubeconfig"
  printf 'export PATH=%q:"$PATH"\n' "$RUN/bin"
  printf 'export CUTOVER_CLUSTER=%q\n' "$CLUSTER_NAME"
  printf 'export CUTOVER_NETNS=%q\n' "$NETNS"
  printf 'export CUTOVER_AUDIT_LOG=%q\n' "$RUN/logs/audit.log"
}

# Under 'exec --dns' the caller has mounts of its own. Kubelet and 'down' would
# mount and unmount where nobody sees it: goes back to the mounts of the cluster.
leave_own_mounts() { # ARGUMENT...
  local component pid
  unset CUTOVER_OWN_MOUNTS
  for component in "${COMPONENTS[@]}"; do
    if pid=$(pid_of "$component"); then
      exec nsenter --mount="/proc/$pid/ns/mnt" --wd="$PWD" -- "$HERE/cluster" "$@"
    fi
  done
  die "nothing of cluster '$CLUSTER_NAME' runs, and this shell was started by 'cluster exec --dns'" \
    "Run this command outside 'exec --dns'."
}

cluster_exec() { # [--dns] COMMAND...
  local dns=
  if [[ ${1:-} == --dns ]]; then dns=1; shift; fi
  [[ ${1:-} != -- ]] || shift
  (($#)) || die "exec needs a command" "For example: tests/cluster/cluster exec kubectl get pods -A"
  check_settings
  if is_external; then exec "$@"; fi
  need_root exec
  need_up
  export KUBECONFIG=$RUN/kubeconfig PATH=$RUN/bin:$PATH CUTOVER_CLUSTER=$CLUSTER_NAME
  export CUTOVER_NETNS=$NETNS CUTOVER_AUDIT_LOG=$RUN/logs/audit.log
  [[ -n $dns ]] || exec nsenter --net="/run/netns/$NETNS" -- "$@"
  # A mount namespace of its own, in which resolv.conf names the cluster's server.
  export CUTOVER_OWN_MOUNTS=1
  # shellcheck disable=SC2016
  exec nsenter --net="/run/netns/$NETNS" -- unshare --mount -- sh -ec \
    'mount --bind "$0" /etc/resolv.conf; exec "$@"' "$RUN/config/exec-resolv.conf" "$@"
}
