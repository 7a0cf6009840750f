//! What a real API server admits and refuses: definitions, CEL rules and admission policies of `deploy/`.
//!
//! Needs a cluster (`KUBECONFIG`), which `make test` gives; only CUTOVER_E2E=skip leaves the tests out.

mod accounts;
mod aggregated;
mod agreement;
mod cluster;
mod corpus;
mod elsewhere;
mod manifest_files;
mod manifests;
mod mutations;
mod policies;
mod requester;
mod rights;
mod system_users;
