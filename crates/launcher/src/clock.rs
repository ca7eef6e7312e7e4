//! The time, as this service writes it: milliseconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn now() -> i64 {
    of(SystemTime::now())
}

pub(crate) fn of(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The time `ago` ago.
pub(crate) fn before(ago: Duration) -> i64 {
    now().saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
}

/// As a protobuf timestamp.
pub(crate) fn stamp(ms: i64) -> prost_types::Timestamp {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    (UNIX_EPOCH + since).into()
}

/// A protobuf timestamp's milliseconds; 0 for one before 1970.
pub(crate) fn unstamp(at: prost_types::Timestamp) -> i64 {
    SystemTime::try_from(at).map_or(0, of)
}
