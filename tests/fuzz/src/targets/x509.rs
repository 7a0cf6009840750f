//! A certificate, as whoever answers sends it. It may be none; what is shown of it is bounded, and made harmless where it is
//! shown (`run`).

use cutover::entrances;

use crate::oracle;

/// See [`crate::TARGETS`].
///
/// # Panics
/// Something that is shown is not bounded.
pub fn run(input: &[u8]) {
    let (most_names, longest) = entrances::CERTIFICATE;
    match entrances::certificate(input) {
        Ok((subject, issuer, names, _)) => {
            oracle::bounded("a subject", &subject, longest);
            oracle::bounded("an issuer", &issuer, longest);
            assert!(names.len() <= most_names, "{} names", names.len());
            names.iter().for_each(|name| oracle::bounded("a name", name, longest));
            // Bytes behind it belong to no certificate.
            assert!(entrances::certificate(&[input, b"\0"].concat()).is_err(), "a byte too many is read");
            assert!(entrances::certificate(&input[..input.len() - 1]).is_err(), "a byte too few is read");
        }
        Err(why) => {
            oracle::bounded("an error", &why, 400);
            assert!(why.starts_with("the certificate cannot be read: "), "{why}");
        }
    }
}
