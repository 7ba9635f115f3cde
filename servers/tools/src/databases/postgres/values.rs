//! PostgreSQL's binary values as JSON. What JSON has no form for is text, as PostgreSQL writes it.

use super::super::answer::float;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::{Date, Time};
use jiff::{Span, Timestamp};
use serde_json::Value;
use sqlx::postgres::{PgTypeInfo, PgTypeKind, PgValueRef};
use sqlx::{TypeInfo, ValueRef};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A value of a row.
pub(super) fn value(raw: &PgValueRef<'_>) -> Value {
    if raw.is_null() {
        return Value::Null;
    }
    let info = raw.type_info();
    raw.as_bytes().map_or(Value::Null, |bytes| decoded(&info, bytes))
}

/// Bytes of a type. A type that is not known, or bytes that do not fit theirs, come as base64.
fn decoded(info: &PgTypeInfo, bytes: &[u8]) -> Value {
    let value = match info.kind() {
        PgTypeKind::Array(item) => array(item, bytes),
        PgTypeKind::Domain(base) => Some(decoded(base, bytes)),
        PgTypeKind::Enum(_) => text(bytes),
        _ => simple(info.name(), bytes),
    };
    value.unwrap_or_else(|| STANDARD.encode(bytes).into())
}

fn simple(name: &str, bytes: &[u8]) -> Option<Value> {
    Some(match name.to_ascii_uppercase().as_str() {
        "BOOL" => (*bytes.first()? != 0).into(),
        "INT2" => i16::from_be_bytes(bytes.try_into().ok()?).into(),
        "INT4" => i32::from_be_bytes(bytes.try_into().ok()?).into(),
        "INT8" => i64::from_be_bytes(bytes.try_into().ok()?).into(),
        "OID" => u32::from_be_bytes(bytes.try_into().ok()?).into(),
        "FLOAT4" => {
            let number = f32::from_be_bytes(bytes.try_into().ok()?);
            // By its digits: 0.1 should stay 0.1.
            number.to_string().parse().map_or(Value::Null, float)
        }
        "FLOAT8" => float(f64::from_be_bytes(bytes.try_into().ok()?)),
        "NUMERIC" => numeric(bytes)?.into(),
        "BYTEA" => STANDARD.encode(bytes).into(),
        "JSON" => serde_json::from_slice(bytes).ok()?,
        "JSONB" => serde_json::from_slice(bytes.strip_prefix(&[1])?).ok()?,
        "UUID" => uuid(bytes)?.into(),
        "DATE" => date(i32::from_be_bytes(bytes.try_into().ok()?))?.into(),
        "TIME" => time(i64::from_be_bytes(bytes.try_into().ok()?))?.into(),
        "TIMETZ" => timetz(bytes)?.into(),
        "TIMESTAMP" => timestamp(i64::from_be_bytes(bytes.try_into().ok()?), "")?.into(),
        "TIMESTAMPTZ" => timestamp(i64::from_be_bytes(bytes.try_into().ok()?), "Z")?.into(),
        "INTERVAL" => interval(bytes)?.into(),
        "INET" | "CIDR" => network(bytes)?.into(),
        "VOID" => Value::Null,
        "TEXT" | "VARCHAR" | "CHAR" | "BPCHAR" | "NAME" | "\"CHAR\"" | "XML" | "CITEXT" | "UNKNOWN" => {
            text(bytes)?
        }
        _ => return None,
    })
}

fn text(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok().map(Value::from)
}

/// Reads numbers one behind the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }
}

/// The most dimensions that PostgreSQL's arrays have.
const MAX_DIMENSIONS: i32 = 6;

fn array(item: &PgTypeInfo, bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader(bytes);
    let dimensions = reader.i32()?;
    let (_has_null, _type) = (reader.i32()?, reader.i32()?);
    if !(0..=MAX_DIMENSIONS).contains(&dimensions) {
        return None;
    }
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        lengths.push(usize::try_from(reader.i32()?).ok()?);
        let _lower_bound = reader.i32()?;
    }
    if lengths.is_empty() || lengths.contains(&0) {
        return Some(Value::Array(Vec::new()));
    }
    nested(item, &lengths, &mut reader)
}

fn nested(item: &PgTypeInfo, lengths: &[usize], reader: &mut Reader<'_>) -> Option<Value> {
    let Some((length, inner)) = lengths.split_first() else {
        return match usize::try_from(reader.i32()?) {
            Ok(length) => Some(decoded(item, reader.take(length)?)),
            // -1 stands for NULL.
            Err(_) => Some(Value::Null),
        };
    };
    (0..*length).map(|_| nested(item, inner, reader)).collect::<Option<Vec<_>>>().map(Value::Array)
}

/// Groups of four decimal digits, as text with all of them: a JSON number would lose some.
fn numeric(bytes: &[u8]) -> Option<String> {
    let mut reader = Reader(bytes);
    let (groups, weight, sign, scale) = (reader.i16()?, reader.i16()?, reader.i16()?, reader.i16()?);
    match sign.cast_unsigned() {
        0xC000 => return Some("NaN".into()),
        0xD000 => return Some("Infinity".into()),
        0xF000 => return Some("-Infinity".into()),
        _ => {}
    }
    let groups: Vec<i16> = (0..groups).map(|_| reader.i16()).collect::<Option<_>>()?;
    let group = |power: i32| {
        let place = usize::try_from(i32::from(weight) - power).ok();
        place.and_then(|place| groups.get(place)).copied().unwrap_or(0)
    };
    let mut number = String::new();
    for power in (0..=i32::from(weight)).rev() {
        let _ = write!(number, "{:04}", group(power));
    }
    let whole = number.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let scale = usize::try_from(scale).ok()?;
    let mut fraction = String::new();
    let mut power = -1;
    while fraction.len() < scale {
        let _ = write!(fraction, "{:04}", group(power));
        power -= 1;
    }
    fraction.truncate(scale);
    let sign = if sign.cast_unsigned() == 0x4000 { "-" } else { "" };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

fn uuid(bytes: &[u8]) -> Option<String> {
    if bytes.len() != 16 {
        return None;
    }
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}

/// Seconds from 1970 to 2000, where PostgreSQL begins to count.
const EPOCH_SECONDS: i64 = 946_684_800;

fn date(days: i32) -> Option<String> {
    match days {
        i32::MAX => return Some("infinity".into()),
        i32::MIN => return Some("-infinity".into()),
        _ => {}
    }
    let epoch = Date::new(2000, 1, 1).ok()?;
    epoch.checked_add(Span::new().try_days(days).ok()?).ok().map(|date| date.to_string())
}

fn time(microseconds: i64) -> Option<String> {
    if microseconds == 86_400_000_000 {
        return Some("24:00:00".into());
    }
    let span = Span::new().try_microseconds(microseconds).ok()?;
    Time::midnight().checked_add(span).ok().map(|time| time.to_string())
}

fn timetz(bytes: &[u8]) -> Option<String> {
    let mut reader = Reader(bytes);
    let (microseconds, west) = (reader.i64()?, reader.i32()?);
    let east = west.checked_neg()?;
    let sign = if east < 0 { '-' } else { '+' };
    let minutes = east.unsigned_abs() / 60;
    Some(format!("{}{sign}{:02}:{:02}", time(microseconds)?, minutes / 60, minutes % 60))
}

fn timestamp(microseconds: i64, zone: &str) -> Option<String> {
    match microseconds {
        i64::MAX => return Some("infinity".into()),
        i64::MIN => return Some("-infinity".into()),
        _ => {}
    }
    let microseconds = microseconds.checked_add(EPOCH_SECONDS * 1_000_000)?;
    let text = Timestamp::from_microsecond(microseconds).ok()?.to_string();
    Some(format!("{}{zone}", text.trim_end_matches('Z')))
}

/// As ISO 8601 writes durations.
fn interval(bytes: &[u8]) -> Option<String> {
    let mut reader = Reader(bytes);
    let (microseconds, days, months) = (reader.i64()?, reader.i32()?, reader.i32()?);
    let mut text = String::from("P");
    for (number, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if number != 0 {
            let _ = write!(text, "{number}{unit}");
        }
    }
    if microseconds != 0 || text == "P" {
        let sign = if microseconds < 0 { "-" } else { "" };
        let all = microseconds.unsigned_abs();
        let (seconds, rest) = (all / 1_000_000, all % 1_000_000);
        let _ = write!(text, "T{sign}{seconds}");
        if rest != 0 {
            let _ = write!(text, ".{}", format!("{rest:06}").trim_end_matches('0'));
        }
        text.push('S');
    }
    Some(text)
}

fn network(bytes: &[u8]) -> Option<String> {
    let (head, address) = bytes.split_at_checked(4)?;
    let (address, all) = match address.len() {
        4 => (Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).to_string(), 32),
        16 => (Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).to_string(), 128),
        _ => return None,
    };
    let (bits, is_cidr) = (head[1], head[2] != 0);
    Some(if bits == all && !is_cidr { address } else { format!("{address}/{bits}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn packed(numbers: &[i16]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    #[test]
    fn exact_numbers_keep_all_their_digits() {
        let minus = 0x4000;
        for (numbers, expected) in [
            (&[0, 0, 0, 0][..], "0"),
            (&[0, 0, 0, 2], "0.00"),
            (&[1, 0, 0, 0, 7], "7"),
            (&[2, 1, minus, 0, 1, 2], "-10002"),
            (&[1, 1, 0, 0, 3], "30000"),
            (&[2, 0, 0, 2, 12, 3400], "12.34"),
            (&[1, -2, 0, 8, 5], "0.00000005"),
            (&[1, -1, 0, 1, 1000], "0.1"),
        ] {
            assert_eq!(numeric(&packed(numbers)).as_deref(), Some(expected));
        }
        assert_eq!(numeric(&packed(&[0, 0, 0xC000_u16.cast_signed(), 0])).as_deref(), Some("NaN"));
    }

    #[test]
    fn times_are_written_as_iso_8601() {
        assert_eq!(date(0).as_deref(), Some("2000-01-01"));
        assert_eq!(date(-1).as_deref(), Some("1999-12-31"));
        assert_eq!(time(3_723_000_004).as_deref(), Some("01:02:03.000004"));
        assert_eq!(timestamp(1, "Z").as_deref(), Some("2000-01-01T00:00:00.000001Z"));
        assert_eq!(timestamp(0, "").as_deref(), Some("2000-01-01T00:00:00"));
        assert_eq!(timestamp(i64::MAX, "Z").as_deref(), Some("infinity"));
        let interval_of = |microseconds: i64, days: i32, months: i32| {
            let parts: [&[u8]; 3] = [&microseconds.to_be_bytes(), &days.to_be_bytes(), &months.to_be_bytes()];
            interval(&parts.concat()).expect("an interval")
        };
        assert_eq!(interval_of(1_500_000, 3, 14), "P1Y2M3DT1.5S");
        assert_eq!(interval_of(0, 0, 0), "PT0S");
        assert_eq!(interval_of(-1_000_000, 0, -1), "P-1MT-1S");
    }

    #[test]
    fn other_values_have_their_forms() {
        assert_eq!(simple("FLOAT4", &0.1_f32.to_be_bytes()), Some(json!(0.1)));
        assert_eq!(simple("JSONB", b"\x01{\"a\":1}"), Some(json!({"a": 1})));
        assert_eq!(simple("BYTEA", &[0, 255]), Some(json!("AP8=")));
        assert_eq!(network(&[2, 24, 1, 4, 10, 0, 0, 0]).as_deref(), Some("10.0.0.0/24"));
        assert_eq!(network(&[2, 32, 0, 4, 10, 0, 0, 1]).as_deref(), Some("10.0.0.1"));
        assert_eq!(simple("POINT", &[0]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for name in ["NUMERIC", "DATE", "TIME", "TIMETZ", "TIMESTAMP", "INTERVAL", "INET", "UUID", "JSONB"] {
                let _ = simple(name, &bytes);
            }
        }
    }
}
