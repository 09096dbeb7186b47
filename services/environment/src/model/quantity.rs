//! Kubernetes quantities: `250m`, `1.5`, `4Gi`, `2e3`, in thousandths of their unit.
//!
//! Owns reading and writing them (source: apimachinery's `resource.Quantity`). Refuses what Kubernetes refuses; a fraction below a
//! thousandth is rounded up, as Kubernetes does.

/// Thousandths of the unit: of a core for processors, of a byte for memory.
pub type Milli = i128;

/// Reads a quantity; `None` if it is none.
pub fn parse(text: &str) -> Option<Milli> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+' || c == '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (numerator, denominator) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1_000),
        "m" => (1, 1),
        "" => (1_000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1_000 << 10, 1),
        "Mi" => (1_000 << 20, 1),
        "Gi" => (1_000 << 30, 1),
        "Ti" => (1_000 << 40, 1),
        "Pi" => (1_000 << 50, 1),
        exponent if exponent.starts_with(['e', 'E']) => {
            let power: u32 = exponent[1..].trim_start_matches('+').parse().ok().filter(|p| *p <= 15)?;
            (1_000 * 10_i128.pow(power), 1)
        }
        _ => return None,
    };
    let (negative, number) = match number.as_bytes().first()? {
        b'-' => (true, &number[1..]),
        b'+' => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > 15 || fraction.len() > 9 {
        return None;
    }
    let digits = format!("{whole}{fraction}").parse::<i128>().ok()?;
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?) * denominator;
    let milli = (digits * numerator + scale - 1) / scale;
    Some(if negative { -milli } else { milli })
}

/// Cores as people read them: `2500m`.
pub fn cores(milli: Milli) -> String {
    format!("{milli}m")
}

/// Bytes as people read them: `1536Mi`, or plain bytes if they are no whole mebibytes.
pub fn bytes(milli: Milli) -> String {
    let bytes = milli / 1_000;
    if bytes % (1 << 20) == 0 { format!("{}Mi", bytes >> 20) } else { bytes.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_reads() {
        for (text, milli) in [
            ("250m", 250),
            ("2", 2_000),
            ("0.1", 100),
            ("1.5", 1_500),
            (".5", 500),
            ("100n", 1),
            ("1Ki", 1_024_000),
            ("1.5Gi", 1_610_612_736_000),
            ("128Mi", 134_217_728_000),
            ("1k", 1_000_000),
            ("2e3", 2_000_000),
            ("1E2", 100_000),
            ("-1", -1_000),
        ] {
            assert_eq!(parse(text), Some(milli), "{text}");
        }
        for text in ["", "m", "1x", "1 Gi", "1.2.3", "e3", "99999999999999999999", "1e99"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_people_read() {
        assert_eq!(
            (cores(2_500), bytes(1_610_612_736_000), bytes(1_500_000)),
            ("2500m".into(), "1536Mi".into(), "1500".into())
        );
    }
}
