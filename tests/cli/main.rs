//! What `kubectl cutover` prints without a cluster: helps, and what it says to a wrong command line. `TRYCMD=overwrite` writes
//! the pages anew; read them before you commit them.

#[test]
fn the_output_is_as_it_was_read() {
    let cases = trycmd::TestCases::new();
    // No context, no locale, no colours: the same on every machine.
    for (name, value) in
        [("KUBECONFIG", "/dev/null"), ("LC_ALL", "C.UTF-8"), ("NO_COLOR", "1"), ("HOME", "/nonexistent")]
    {
        cases.env(name, value);
    }
    cases.case("tests/cli/*.trycmd");
}
