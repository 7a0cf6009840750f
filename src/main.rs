//! The operator.
fn main() {
    use kube::CustomResourceExt;
    for crd in [cutover::api::Cutover::crd(), cutover::api::CutoverRun::crd(), cutover::api::CutoverDecision::crd()] {
        let t = serde_saphyr::to_string(&crd).unwrap();
        println!("{} {}", crd.metadata.name.unwrap(), t.len());
        std::fs::write(format!("/work/{}.yaml", crd.spec.names.plural), t).unwrap();
    }
}
