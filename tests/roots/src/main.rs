//! Prints the certificate authorities that the operator's image trusts, as PEM: Mozilla's list, in the version that
//! Cargo.lock pins, so that an image does not depend on the machine that builds it.

use std::io::Write;

use base64::Engine;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        writeln!(out, "-----BEGIN CERTIFICATE-----")?;
        let text = base64::engine::general_purpose::STANDARD.encode(root);
        for line in text.as_bytes().chunks(64) {
            out.write_all(line)?;
            writeln!(out)?;
        }
        writeln!(out, "-----END CERTIFICATE-----")?;
    }
    Ok(())
}
