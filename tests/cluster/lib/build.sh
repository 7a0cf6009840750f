# shellcheck shell=bash
# Builds Kubernetes, etcd, containerd, CoreDNS and Helm from Go modules into the cache.

# MODULE PACKAGE BINARY, the slowest first.
BINARIES=(
  "kubernetes k8s.io/kubernetes/cmd/kube-apiserver kube-apiserver"
  "kubernetes k8s.io/kubernetes/cmd/kube-controller-manager kube-controller-manager"
  "kubernetes k8s.io/kubernetes/cmd/kubelet kubelet"
  "kubernetes k8s.io/kubernetes/cmd/kube-scheduler kube-scheduler"
  "kubernetes k8s.io/kubernetes/cmd/kube-proxy kube-proxy"
  "kubernetes k8s.io/kubernetes/cmd/kubectl kubectl"
  "containerd github.com/containerd/containerd/v2/cmd/containerd containerd"
  "containerd github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2 containerd-shim-runc-v2"
  "containerd github.com/containerd/containerd/v2/cmd/ctr ctr"
  "etcd go.etcd.io/etcd/server/v3 etcd"
  "coredns . coredns"
  "helm helm.sh/helm/v4/cmd/helm helm"
)

ldflags_of() { # MODULE
  local package flags="-s -w"
  if [[ $1 == kubernetes ]]; then
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
      flags+=" -X $package.gitVersion=v$KUBERNETES_VERSION -X $package.gitMajor=1 -X $package.gitMinor=36"
    done
  fi
  if [[ $1 == helm ]]; then
    flags+=" -X helm.sh/helm/v4/internal/version.version=$(sed -n 's,^.*helm.sh/helm/v4 \(v[^ ]*\).*$,\1,p' "$HERE/go/helm/go.mod")"
  fi
  say "$flags"
}

binary_folder() { # MODULE
  local folder=$HERE/go/$1 files
  files=("$folder/go.mod" "$folder/go.sum")
  [[ ! -e $folder/main.go ]] || files+=("$folder/main.go")
  say "$CACHE/bin/$1-$(key_of "${files[@]}")"
}

build_binaries() { # [BINARY]: all, or only that one
  local entry module package binary folder count=0 total=${#BINARIES[@]} start began log pid
  start=$(now)
  mkdir -p "$CACHE/bin"
  exec 8>"$CACHE/build.lock"
  flock -n 8 || { note "another 'up' is building; waiting for it"; flock 8; }
  for entry in "${BINARIES[@]}"; do
    read -r module package binary <<<"$entry"
    count=$((count + 1))
    folder=$(binary_folder "$module")
    [[ -z ${1:-} || $binary == "$1" ]] || continue
    [[ ! -x $folder/$binary ]] || continue
    command -v go >/dev/null || die "Go is missing: it is needed to build $binary" \
      "Install Go 1.26 or newer and put it on PATH."
    mkdir -p "$folder"
    log=$CACHE/build-$binary.log
    began=$(now)
    note "[$count/$total] building $binary (a first build of all takes about 10 minutes)"
    (cd "$HERE/go/$module" && CGO_ENABLED=0 GOWORK=off go build -mod=readonly -buildvcs=false -trimpath \
      -ldflags "$(ldflags_of "$module")" -o "$folder/.$binary.new" "$package") >"$log" 2>&1 8>&- &
    pid=$!
    progress "$pid" "$binary" "$began"
    if ! wait "$pid"; then
      tail -n 20 "$log" >&2
      die "could not build $binary; the whole log is in $log" "Run 'up' again: finished binaries are kept."
    fi
    mv "$folder/.$binary.new" "$folder/$binary"
    note "[$count/$total] built $binary in $(($(now) - began)) s ($(($(now) - start)) s in all)"
  done
  exec 8>&-
}

# Says every 30 s that a build still runs.
progress() { # PID BINARY BEGAN
  local next=$(($3 + 30))
  while kill -0 "$1" 2>/dev/null; do
    if (($(now) >= next)); then
      note "    still building $2: $(($(now) - $3)) s"
      next=$((next + 30))
    fi
    sleep 0.5
  done
}

# The path of a binary, which is built if it is missing. For a cluster of the user's own, theirs comes first.
tool() { # BINARY
  local entry module binary
  for entry in "${BINARIES[@]}"; do
    read -r module _ binary <<<"$entry"
    [[ $binary == "$1" ]] || continue
    if is_external && command -v "$binary"; then return; fi
    build_binaries "$binary"
    say "$(binary_folder "$module")/$binary"
    return
  done
  die "there is no tool '$1'" "Tools: helm, kubectl, and the programs of the cluster."
}

# One folder with a link to each binary: it comes first on the cluster's PATH.
link_binaries() {
  local entry module binary
  mkdir -p "$RUN/bin"
  for entry in "${BINARIES[@]}"; do
    read -r module _ binary <<<"$entry"
    ln -sf "$(binary_folder "$module")/$binary" "$RUN/bin/$binary"
  done
}
