//! How the operator gets into a cluster: the chart and the plain manifests say the same, wrong values are refused with
//! the field's name, installing, upgrading, rolling back and removing it harm no run, and images are reproducible.
//! What needs helm, kubectl or a cluster runs inside `tests/cluster/cluster exec`; only CUTOVER_E2E=skip leaves it out.

mod drift;
mod image;
mod lifecycle;
mod rights;
mod tools;
mod upgrade;
mod values;
