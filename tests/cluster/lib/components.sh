# shellcheck shell=bash
# Starting, watching and stopping one component. A component is known by its
# process id and that process's start time, so a reused id is never signalled.

# Fills `argv` with the command line of a component.
set_argv() { # COMPONENT
  local bin=$RUN/bin config=$RUN/config pki=$RUN/pki
  case $1 in
    etcd)
      argv=("$bin/etcd" --data-dir "$RUN/etcd" --log-level warn
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
        --listen-peer-urls http://127.0.0.1:2380)
      [[ ${CUTOVER_ETCD_FSYNC:-0} == 1 || -e $RUN/etcd-fsync ]] || argv+=(--unsafe-no-fsync)
      ;;
    containerd)
      argv=("$bin/containerd" --config "$config/containerd.toml")
      ;;
    apiserver)
      argv=("$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379
        --bind-address=0.0.0.0 --secure-port=6443 --advertise-address="$NODE_IP"
        --service-cluster-ip-range="$SERVICE_CIDR"
        --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key"
        --client-ca-file="$pki/ca.crt"
        --service-account-key-file="$pki/service-accounts.pub"
        --service-account-signing-key-file="$pki/service-accounts.key"
        --service-account-issuer=https://kubernetes.default.svc
        --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged
        --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key"
        --kubelet-preferred-address-types=InternalIP
        --audit-policy-file="$config/audit-policy.yaml" --audit-log-path="$RUN/logs/audit.log"
        --audit-log-maxsize=2000 --profiling=false)
      ;;
    controller-manager)
      argv=("$bin/kube-controller-manager" --kubeconfig="$config/controller-manager.kubeconfig"
        --authentication-kubeconfig="$config/controller-manager.kubeconfig"
        --authorization-kubeconfig="$config/controller-manager.kubeconfig"
        --service-account-private-key-file="$pki/service-accounts.key" --root-ca-file="$pki/ca.crt"
        --use-service-account-credentials --leader-elect=false --bind-address=127.0.0.1
        --cluster-cidr="$POD_CIDR" --allocate-node-cidrs=false
        --kube-api-qps=200 --kube-api-burst=300)
      ;;
    scheduler)
      argv=("$bin/kube-scheduler" --kubeconfig="$config/scheduler.kubeconfig"
        --authentication-kubeconfig="$config/scheduler.kubeconfig"
        --authorization-kubeconfig="$config/scheduler.kubeconfig"
        --leader-elect=false --bind-address=127.0.0.1 --kube-api-qps=200 --kube-api-burst=300)
      ;;
    kubelet)
      argv=("$bin/kubelet" --config="$config/kubelet.yaml" --kubeconfig="$config/kubelet.kubeconfig"
        --root-dir="$RUN/kubelet" --cert-dir="$RUN/kubelet/pki"
        --hostname-override="$NODE_NAME" --node-ip="$NODE_IP" --v=2)
      ;;
    proxy)
      argv=("$bin/kube-proxy" --config="$config/proxy.yaml")
      ;;
    dns)
      argv=("$bin/coredns" -conf "$config/Corefile")
      ;;
  esac
}

# One name, also from the names people are used to.
component_name() { # NAME
  local name=${1#kube-} known
  for known in "${COMPONENTS[@]}"; do
    [[ $name != "$known" ]] || { say "$name"; return; }
  done
  die "there is no component '$1'" "Components: ${COMPONENTS[*]}"
}

# Prints a field of /proc/PID/stat, counted after the command name: 1 is the
# state, 20 the start time.
stat_field() { # PID FIELD
  local line fields
  read -r line 2>/dev/null <"/proc/$1/stat" || return 1
  read -ra fields <<<"${line##*) }"
  say "${fields[$(($2 - 1))]}"
}

# Prints the process id of a component that runs (or is paused).
pid_of() { # COMPONENT
  local pid began state
  [[ -s $RUN/pids/$1 ]] || return 1
  read -r pid began <"$RUN/pids/$1"
  [[ $(stat_field "$pid" 20) == "$began" ]] || return 1
  state=$(stat_field "$pid" 1) && [[ $state != [ZX] ]] || return 1
  say "$pid"
}

is_alive() { pid_of "$1" >/dev/null; }

# Prints the first component that was started and does not run any more. One
# that a fault test ended on purpose does not count.
first_dead() {
  local component
  for component in "${COMPONENTS[@]}"; do
    if [[ -e $RUN/pids/$component ]] && ! is_alive "$component"; then
      say "$component"
      return
    fi
  done
}

state_of() { # COMPONENT
  local pid
  if ! pid=$(pid_of "$1"); then
    say stopped
  elif [[ $(stat_field "$pid" 1) == [tT] ]]; then
    say paused
  else
    say running
  fi
}

# Starts a component inside the namespace, in a session of its own.
launch() { # COMPONENT
  local argv pid
  set_argv "$1"
  PATH=$RUN/bin:$PATH setsid nsenter --net="/run/netns/$NETNS" -- "${argv[@]}" \
    >>"$RUN/logs/$1.log" 2>&1 </dev/null 6>&- 7>&- 8>&- &
  pid=$!
  disown "$pid"
  say "$pid $(stat_field "$pid" 20 || echo 0)" >"$RUN/pids/$1"
}

# The check that says whether a component is ready for work.
is_ready() { # COMPONENT
  case $1 in
    etcd) inside curl -fsS -m 2 http://127.0.0.1:2379/health ;;
    containerd) ctr_ version ;;
    apiserver) kubectl_ get --raw /readyz --request-timeout=2s ;;
    controller-manager) inside curl -fsSk -m 2 https://127.0.0.1:10257/healthz ;;
    scheduler) inside curl -fsSk -m 2 https://127.0.0.1:10259/healthz ;;
    kubelet) inside curl -fsS -m 2 http://127.0.0.1:10248/healthz ;;
    proxy) inside curl -fsS -m 2 http://127.0.0.1:10256/livez ;;
    dns) inside curl -fsS -m 2 http://127.0.0.1:10253/ready ;;
  esac
}

await_component() { wait_for "${2:-60}" "$1" "$1 to be ready" is_ready "$1"; }

# Ends a component: a polite signal, then a firm one.
stop_component() { # COMPONENT [SECONDS]
  local pid end
  pid=$(pid_of "$1") || return 0
  kill -CONT "$pid" 2>/dev/null || true
  kill -TERM "$pid" 2>/dev/null || true
  end=$(($(now) + ${2:-5}))
  while is_alive "$1" && (($(now) < end)); do sleep 0.05; done
  kill_component "$1"
}

# Ends a component firmly; it then counts as stopped on purpose.

kill_component() { # COMPONENT
  local pid
  if pid=$(pid_of "$1"); then
    kill -KILL "$pid" 2>/dev/null || true
    while is_alive "$1"; do sleep 0.05; done
  fi
  rm -f "$RUN/pids/$1"
}

# Prints the processes whose command line, its parts joined by blanks, matches.
processes() { # PATTERN
  local file
  for file in /proc/[0-9]*/cmdline; do
    if tr '\0' ' ' 2>/dev/null <"$file" | grep -qE -- "$1"; then
      file=${file%/cmdline}
      say "${file##*/}"
    fi
  done
}

# Ends components that were started but not yet recorded when `up` was stopped.
kill_strays() {
  local pid
  for pid in $(processes "^((setsid )?nsenter [^ ]*/$NETNS -- )?$RUN/bin/(etcd|containerd|kube-[a-z-]*|kubelet|coredns) "); do
    kill -KILL "$pid" 2>/dev/null || true
  done
}

# The shims of this cluster name its containerd socket on their command line.
shims() { processes "^[^ ]*containerd-shim-runc-v2 .*-address $RUN/containerd.sock "; }

# Ends the containers first (the shims' children), then the shims.
kill_containers() {
  local shim file address
  while [[ -n $(shims) ]]; do
    for shim in $(shims); do
      # shellcheck disable=SC2046
      kill -KILL $(cat "/proc/$shim/task"/*/children 2>/dev/null) 2>/dev/null || true
      kill -KILL "$shim" 2>/dev/null || true
    done
  done
  for file in "$RUN"/containerd/state/io.containerd.runtime.v2.task/k8s.io/*/{bootstrap.json,address}; do
    [[ -e $file ]] || continue
    address=$(grep -o '/run/containerd/s/[0-9a-f]*' "$file" || true)
    [[ -z $address ]] || rm -f "$address"
  done
}
