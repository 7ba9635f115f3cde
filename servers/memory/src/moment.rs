//! Instants: whole microseconds since 1970 in the store, RFC 3339 in UTC towards clients.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// An instant, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

impl Moment {
    /// The present.
    pub fn now() -> Self {
        Self(Timestamp::now().as_microsecond())
    }

    /// This many hours later.
    #[must_use]
    pub fn plus_hours(self, hours: u32) -> Self {
        Self(self.0.saturating_add(i64::from(hours).saturating_mul(3_600_000_000)))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = if self.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
        write!(f, "{:.6}", Timestamp::from_microsecond(self.0).unwrap_or(bound))
    }
}

/// A text that tells no instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMoment;

impl FromStr for Moment {
    type Err = NoMoment;

    /// Reads RFC 3339; a date or a time without an offset is taken to be in UTC.
    fn from_str(text: &str) -> Result<Self, NoMoment> {
        let text = text.trim();
        let timestamp = text.parse::<Timestamp>().or_else(|_| {
            let local = text.parse::<DateTime>()?;
            Ok::<_, jiff::Error>(local.to_zoned(TimeZone::UTC)?.timestamp())
        });
        timestamp.map(|timestamp| Self(timestamp.as_microsecond())).map_err(|_| NoMoment)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(|_| serde::de::Error::custom(format!("{text:?} is no time")))
    }
}

impl JsonSchema for Moment {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_date_and_a_time_without_offset_are_in_utc() {
        let noon: Moment = "2026-11-23T12:00:00Z".parse().expect("parses");
        assert_eq!("2026-11-23T12:00:00".parse(), Ok(noon));
        assert_eq!("2026-11-23T13:00:00+01:00".parse(), Ok(noon));
        let midnight: Moment = "2026-11-23".parse().expect("parses");
        assert_eq!(midnight.plus_hours(12), noon);
        assert_eq!(noon.to_string(), "2026-11-23T12:00:00.000000Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "2026-13-01", "12:00"] {
            assert_eq!(text.parse::<Moment>(), Err(NoMoment), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(micros in -60_000_000_000_000_000_i64..200_000_000_000_000_000) {
            prop_assert_eq!(Moment(micros).to_string().parse(), Ok(Moment(micros)));
        }

        #[test]
        fn every_number_can_be_written(micros in any::<i64>(), hours in any::<u32>()) {
            let _ = Moment(micros).plus_hours(hours).to_string();
        }
    }
}
