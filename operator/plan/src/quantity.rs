//! Kubernetes quantities as numbers.

/// CPU as thousandths of a core: `800m` is 800, `2` is 2000. `None` for what is no quantity.
pub fn parse_cpu(quantity: &str) -> Option<u64> {
    rounded(parse(quantity)? * 1000.0)
}

/// Memory or storage as bytes: `1Gi` is 1,073,741,824, `1G` a billion. `None` for what is no quantity.
pub fn parse_memory(quantity: &str) -> Option<u64> {
    rounded(parse(quantity)?)
}

fn parse(quantity: &str) -> Option<f64> {
    let digits = quantity.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(digits);
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        exponent => 10_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

fn rounded(number: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    (number.is_finite() && (0.0..1.8e19).contains(&number)).then(|| number.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, expected) in
            [("800m", Some(800)), ("2", Some(2000)), ("0.5", Some(500)), ("1e3m", None), ("x", None)]
        {
            assert_eq!(parse_cpu(text), expected, "{text}");
        }
        for (text, expected) in [
            ("1Gi", Some(1 << 30)),
            ("1G", Some(1_000_000_000)),
            ("1e3", Some(1000)),
            ("12E2", Some(1200)),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(parse_memory(text), expected, "{text}");
        }
    }
}
