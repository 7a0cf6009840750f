//! What a real API server admits and refuses: definitions, CEL rules and admission policies of `deploy/`.
//!
//! Needs a cluster (`KUBECONFIG`); without one the tests say so and pass. `make test` always gives one.

mod cluster;
mod manifests;
mod policies;
mod rights;
