# shellcheck shell=bash
# The images that every cluster has, and loading more.

PAUSE_IMAGE=docker.io/cutover/pause:1
BUSYBOX_IMAGE=docker.io/cutover/busybox:1
PROMETHEUS_IMAGE=docker.io/cutover/prometheus:1

# Builds an image into the cache unless it is there; prints its path.
cached_image() { # NAME:TAG ENTRYPOINT FILES_THAT_MAKE_IT -- IMAGE_ARGUMENT...
  local name=$1 entrypoint=$2 files=() short target
  shift 2
  while [[ $1 != -- ]]; do files+=("$1"); shift; done
  shift
  short=${name##*/}
  target=$CACHE/images/${short%%:*}-$(key_of "$HERE/image" "${files[@]}" -- "$name" "$entrypoint" "${@#--busybox=*}").tar
  if [[ ! -e $target ]]; then
    note "building image $name"
    mkdir -p "$CACHE/images"
    "$HERE/image" "$@" "$name" "$target" "$entrypoint" "${files[@]}"
  fi
  say "$target"
}

# Builds the images that every cluster has; their paths go to default_images.
build_default_images() {
  local busybox prometheus pause
  busybox=$(debian_file busybox-static bin/busybox)
  prometheus=$(debian_file prometheus usr/bin/prometheus)
  pause=$(cached_image "$PAUSE_IMAGE" "/bin/busybox sleep 2147483647" "$busybox" --)
  default_images=(
    "$pause"
    "$(cached_image "$BUSYBOX_IMAGE" /bin/sh "$busybox" -- "--busybox=$busybox")"
    "$(cached_image "$PROMETHEUS_IMAGE" /bin/prometheus "$prometheus" -- --libs --user 65534 --workdir /tmp)"
  )
}

# Imports docker-archive tars into the cluster's containerd.
import_images() { # TAR...
  local tar name log
  log=$(mktemp "$RUN/import.XXXXXX")
  for tar in "$@"; do
    [[ -s $tar ]] || die "there is no image archive $tar" "Make one with: tests/cluster/image --help"
    ctr_ images import --local "$tar" >"$log" 2>&1 || {
      tail -n 5 "$log" >&2
      die "containerd could not read $tar" "It must be a docker-archive or OCI tar."
    }
    while read -r name; do
      ctr_ images label "$name" io.cri-containerd.image=managed >/dev/null 2>>"$log"
      note "loaded $name"
    done < <(sed -n 's/^unpacking \([^ ]*\) (.*/\1/p' "$log")
  done
  rm -f "$log"
}

load_external() { # TAR...
  local context tar
  context=$(kubectl config current-context) || die "KUBECONFIG has no current context"
  for tar in "$@"; do
    [[ -s $tar ]] || die "there is no image archive $tar"
    case $context in
      kind-*) kind load image-archive "$tar" --name "${context#kind-}" ;;
      k3d-*) k3d image import "$tar" --cluster "${context#k3d-}" ;;
      *) die "cannot tell how to load images into the cluster of context '$context'" \
        "Only kind-* and k3d-* contexts are known. Push the image to a registry that the cluster reads." ;;
    esac
  done
}
