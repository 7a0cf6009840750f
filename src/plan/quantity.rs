//! PURE. Kubernetes quantities, such as `500m`, `1Gi` or `1e3`.

/// Units of the smallest suffix in a whole one.
pub(crate) const NANO: i128 = 1_000_000_000;

/// In thousand-millionths, rounded up as the API server does; `None` where the text is no quantity of zero or more.
pub fn nanos(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '+').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (whole, part) = number.strip_prefix('+').unwrap_or(number).split_once('.').unwrap_or((number, ""));
    let whole = whole.strip_prefix('+').unwrap_or(whole);
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit()) && s.len() <= 20;
    if !digits(whole) || !digits(part) || (whole.is_empty() && part.is_empty()) {
        return None;
    }
    let mantissa: i128 = format!("{whole}{part}").parse().ok()?;
    let (multiplier, divisor) = factor(suffix)?;
    let divisor = divisor.checked_mul(10i128.checked_pow(u32::try_from(part.len()).ok()?)?)?;
    let value = mantissa.checked_mul(multiplier)?.checked_mul(NANO)?;
    Some(value.checked_add(divisor - 1)? / divisor)
}

/// What a suffix multiplies with, and divides by.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    let power = |exponent: u32| (10i128.pow(exponent), 1);
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => power(3),
        "M" => power(6),
        "G" => power(9),
        "T" => power(12),
        "P" => power(15),
        "E" => power(18),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        other => {
            let exponent: i32 = other.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = exponent.unsigned_abs();
            if size > 18 {
                return None;
            }
            if exponent < 0 { (1, 10i128.pow(size)) } else { power(size) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_the_api_server_reads_them() {
        let table = [
            ("1", NANO),
            ("0", 0),
            ("100m", NANO / 10),
            ("1.5", NANO * 3 / 2),
            (".5", NANO / 2),
            ("+2", 2 * NANO),
            ("123456n", 123_456),
            ("17u", 17_000),
            ("64Mi", 64 * 1024 * 1024 * NANO),
            ("1.5Gi", 1536 * 1024 * 1024 * NANO),
            ("12345Ki", 12345 * 1024 * NANO),
            ("2G", 2_000_000_000 * NANO),
            ("1E", 1_000_000_000_000_000_000 * NANO),
            ("1e3", 1000 * NANO),
            ("5E-1", NANO / 2),
            ("0.1n", 1),
        ];
        for (text, wanted) in table {
            assert_eq!(nanos(text), Some(wanted), "{text}");
        }
        for text in ["", "-1", "Gi", "1 Gi", "1gi", "1.2.3", "1e", "1e99", "0x10", "99999999999999999999999E", "ä"] {
            assert_eq!(nanos(text), None, "{text}");
        }
    }
}
