# shellcheck shell=bash
# Certificates, kubeconfigs and the configuration of each component.

# Writes NAME.key and NAME.crt, signed by the cluster's authority.
certificate() { # NAME SUBJECT [SUBJECT_ALT_NAMES]
  local name=$1 subject=$2 names=${3:-DNS:localhost}
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$name.key" 2>/dev/null
  openssl req -new -key "$name.key" -subj "$subject" -out "$name.csr"
  printf '%s\n' "subjectAltName=$names" "basicConstraints=CA:FALSE" \
    "keyUsage=digitalSignature" "extendedKeyUsage=serverAuth,clientAuth" >"$name.ext"
  openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 \
    -extfile "$name.ext" -out "$name.crt" 2>/dev/null
  rm "$name.csr" "$name.ext"
}

write_certificates() {
  mkdir -m 700 "$RUN/pki"
  (
    cd "$RUN/pki"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt \
      -subj "/CN=$NETNS" -days 365 -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out service-accounts.key 2>/dev/null
    openssl pkey -in service-accounts.key -pubout -out service-accounts.pub
    certificate apiserver "/CN=kube-apiserver" "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,\
DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:$SERVICE_API_IP,IP:$NODE_IP"
    certificate admin "/O=system:masters/CN=admin"
    certificate controller-manager "/CN=system:kube-controller-manager"
    certificate scheduler "/CN=system:kube-scheduler"
    certificate proxy "/CN=system:kube-proxy"
    certificate dns "/CN=system:cutover-test-dns"
    certificate kubelet "/O=system:nodes/CN=system:node:$NODE_NAME" "DNS:$NODE_NAME,IP:$NODE_IP"
  )
}

# Writes a kubeconfig that carries its certificates, so it can be copied.
write_kubeconfig() { # USER FILE
  cat >"$2" <<Y
# cutover test cluster $CLUSTER_NAME
apiVersion: v1
kind: Config
clusters:
  - name: $NETNS
    cluster:
      server: https://127.0.0.1:6443
      certificate-authority-data: $(base64 -w0 "$RUN/pki/ca.crt")
users:
  - name: $1
    user:
      client-certificate-data: $(base64 -w0 "$RUN/pki/$1.crt")
      client-key-data: $(base64 -w0 "$RUN/pki/$1.key")
contexts:
  - name: $NETNS
    context: {cluster: $NETNS, user: $1}
current-context: $NETNS
Y
  chmod 600 "$2"
}

# overlayfs does not stack on itself (the run folder may lie in a container).
snapshotter() {
  local try=$RUN/overlay-test result=native
  mkdir -p "$try"/{lower,upper,work,merged}
  if mount -t overlay overlay -o "lowerdir=$try/lower,upperdir=$try/upper,workdir=$try/work" \
    "$try/merged" 2>/dev/null; then
    umount "$try/merged"
    result=overlayfs
  fi
  rm -rf "$try"
  say "$result"
}

write_containerd_config() {
  cat >"$RUN/config/containerd.toml" <<Y
version = 3
root = "$RUN/containerd/root"
state = "$RUN/containerd/state"
temp = "$RUN/containerd/tmp"
[grpc]
  address = "$RUN/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$RUN/containerd/opt"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "$(snapshotter)"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "$PAUSE_IMAGE"
[plugins."io.containerd.cri.v1.runtime"]
  # Needed where CAP_SYS_RESOURCE is missing, as in many containers.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        Root = "$RUN/containerd/runc"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "$RUN/config/cni"
Y
  # A routed link per pod (ptp), not a bridge: all pod traffic then passes the
  # namespace's nftables, with or without the br_netfilter kernel module.
  mkdir -p "$RUN/config/cni"
  cat >"$RUN/config/cni/10-pods.conflist" <<Y
{"cniVersion": "1.0.0", "name": "$NETNS", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "$RUN/cni",
    "ranges": [[{"subnet": "$POD_CIDR"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
Y
}

write_kubelet_config() {
  printf 'nameserver %s\n' "$DNS_IP" >"$RUN/config/resolv.conf"
  cat >"$RUN/config/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $RUN/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $RUN/pki/kubelet.crt
tlsPrivateKeyFile: $RUN/pki/kubelet.key
containerRuntimeEndpoint: unix://$RUN/containerd.sock
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$NETNS
enforceNodeAllocatable: []
failSwapOn: false
evictionHard: {}
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: true
serializeImagePulls: false
clusterDomain: cluster.local
clusterDNS: ["$DNS_IP"]
resolvConf: $RUN/config/resolv.conf
podLogsDir: $RUN/podlogs
volumePluginDir: $RUN/kubelet/volume-plugins
containerLogMaxSize: 20Mi
containerLogMaxFiles: 2
maxPods: 250
kubeAPIQPS: 200
kubeAPIBurst: 300
eventRecordQPS: 0
registryPullQPS: 0
syncFrequency: 10s
nodeStatusUpdateFrequency: 10s
# A crashing container is started again after 1 s, 2 s, 4 s, ... 10 s.
featureGates: {ReduceDefaultCrashLoopBackOffDecay: true}
crashLoopBackOff: {maxContainerRestartPeriod: 10s}
Y
}

write_proxy_config() {
  cat >"$RUN/config/proxy.yaml" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $RUN/config/proxy.kubeconfig}
mode: nftables
clusterCIDR: $POD_CIDR
hostnameOverride: $NODE_NAME
# These are settings of the whole machine: leave them.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
Y
}

write_dns_config() {
  cat >"$RUN/config/Corefile" <<Y
cluster.local in-addr.arpa ip6.arpa {
    bind $NODE_IP
    errors
    health 127.0.0.1:10254
    ready 127.0.0.1:10253
    kubernetes {
        kubeconfig $RUN/config/dns.kubeconfig
        pods insecure
        ttl 1
    }
}
. {
    bind $NODE_IP
    errors
    template ANY ANY {
        rcode NXDOMAIN
    }
}
Y
  # For programs that 'exec --dns' runs.
  printf '%s\n' "nameserver $NODE_IP" "search svc.cluster.local cluster.local" >"$RUN/config/exec-resolv.conf"
  sed "s/\bDNS_IP\b/$DNS_IP/; s/\bNODE_IP\b/$NODE_IP/" "$HERE/config/dns.yaml" >"$RUN/config/dns.yaml"
}

write_configuration() {
  mkdir -p "$RUN"/{config,logs,pids,etcd,kubelet,containerd}
  write_certificates
  local user
  for user in controller-manager scheduler kubelet proxy dns; do
    write_kubeconfig "$user" "$RUN/config/$user.kubeconfig"
  done
  write_kubeconfig admin "$RUN/kubeconfig"
  write_containerd_config
  write_kubelet_config
  write_proxy_config
  write_dns_config
  cp "$HERE/config/audit-policy.yaml" "$RUN/config/audit-policy.yaml"
}
