# shellcheck shell=bash
# The network namespace and the cgroup of one cluster.

# The node's address sits on a pair of virtual interfaces with both ends
# inside: nothing leaves the namespace. The default route keeps kubelet content.
create_network() {
  ip netns add "$NETNS" || die "could not make the network namespace $NETNS" \
    "This needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN; in a container, run it privileged."
  inside sh -ec "
    ip link set lo up
    ip link add node0 type veth peer name node1
    ip addr add $NODE_IP/24 dev node0
    ip link set node0 up
    ip link set node1 up
    ip route add default via ${NODE_IP%.*}.1 dev node0
    echo 1 >/proc/sys/net/ipv4/ip_forward
    echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse
    for f in all default; do
      echo 0 >/proc/sys/net/ipv4/conf/\$f/rp_filter
      echo 0 >/proc/sys/net/ipv4/conf/\$f/send_redirects
    done
  " || die "could not set up the network namespace $NETNS"
}

delete_network() {
  [[ -e /run/netns/$NETNS ]] || return 0
  ip netns del "$NETNS"
}

# The folders where cgroups can be made: one per controller (version 1), or one.
cgroup_roots() {
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    say /sys/fs/cgroup
  else
    local root
    for root in /sys/fs/cgroup/*/; do
      root=${root%/}
      if [[ ! -L $root ]] && mountpoint -q "$root"; then say "$root"; fi
    done
  fi
}

# kubelet kills what it does not know under its cgroup root, so every cluster
# has a root of its own.
create_cgroups() {
  local root file controller
  for root in $(cgroup_roots); do
    if [[ -e $root/cgroup.controllers && -e /sys/fs/cgroup/cgroup.controllers ]]; then
      for controller in $(<"$root/cgroup.controllers"); do
        echo "+$controller" >"$root/cgroup.subtree_control" 2>/dev/null || true
      done
    fi
    mkdir -p "$root/$NETNS"
    for file in cpuset.cpus cpuset.mems; do
      if [[ -e $root/$file && ! -s $root/$NETNS/$file ]]; then
        cat "$root/$file" >"$root/$NETNS/$file" 2>/dev/null || true
      fi
    done
  done
}

delete_cgroups() {
  local root
  for root in $(cgroup_roots); do
    [[ -d $root/$NETNS ]] || continue
    find "$root/$NETNS" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}
