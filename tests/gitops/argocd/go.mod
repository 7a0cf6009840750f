module cutover.dev/tests/gitops/argocd

go 1.26.0

// The last version whose modules can all be had from a module proxy.
require github.com/argoproj/argo-cd/v3 v3.2.12
