//! Times as the protocols write them.

use time::{
    OffsetDateTime, PrimitiveDateTime,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::{date, format_description},
};

const ISO: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const BASIC: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");
const RFC822: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// `2027-01-31T23:59:59.000Z`, in UTC, cut to milliseconds.
#[must_use]
pub fn iso(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC).format(ISO).unwrap_or_default()
}

/// `20270131T235959Z`, as signatures have it.
#[must_use]
pub fn basic(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC).format(BASIC).unwrap_or_default()
}

/// `Sun, 31 Jan 2027 23:59:59 GMT`, as HTTP has times.
#[must_use]
pub fn rfc822(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC).format(RFC822).unwrap_or_default()
}

/// Reads what [`basic`] writes.
#[must_use]
pub fn parse_basic(text: &str) -> Option<OffsetDateTime> {
    PrimitiveDateTime::parse(text, BASIC).ok().map(PrimitiveDateTime::assume_utc)
}

/// Reads a `Date` header.
#[must_use]
pub fn parse_rfc822(text: &str) -> Option<OffsetDateTime> {
    PrimitiveDateTime::parse(text, RFC822).ok().map(PrimitiveDateTime::assume_utc)
}

/// Reads a parameter: RFC 3339, `2027-01-31`, or without a zone, which is UTC.
#[must_use]
pub fn parse_parameter(text: &str) -> Option<OffsetDateTime> {
    const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
    const LOCAL: &[BorrowedFormatItem<'_>] = format_description!(
        version = 2,
        "[year]-[month]-[day]T[hour]:[minute][optional [:[second]]][optional [.[subsecond]]]"
    );
    let read = OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .or_else(|| PrimitiveDateTime::parse(text, LOCAL).ok().map(PrimitiveDateTime::assume_utc))
        .or_else(|| time::Date::parse(text, DAY).ok().map(|day| day.midnight().assume_utc()))?;
    let sane = date!(1970 - 01 - 01)..=date!(9999 - 12 - 31);
    sane.contains(&read.date()).then_some(read)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_are_written_and_read() {
        let at = datetime!(2027-01-31 23:59:58.123456 UTC);
        assert_eq!(iso(at), "2027-01-31T23:59:58.123Z");
        assert_eq!(basic(at), "20270131T235958Z");
        assert_eq!(parse_basic("20270131T235958Z"), Some(datetime!(2027-01-31 23:59:58 UTC)));
        let mail = parse_rfc822("Sun, 31 Jan 2027 23:59:58 GMT");
        assert_eq!(mail, Some(datetime!(2027-01-31 23:59:58 UTC)));
    }

    #[test]
    fn a_parameter_may_be_any_iso_form() {
        let want = Some(datetime!(2027-01-31 00:00 UTC));
        for text in [
            "2027-01-31",
            "2027-01-31T00:00",
            "2027-01-31T00:00:00",
            "2027-01-31T00:00:00Z",
            "2027-01-31T00:00:00.000Z",
            "2027-01-31T01:00:00+01:00",
        ] {
            assert_eq!(parse_parameter(text), want, "{text}");
        }
        for text in ["", "soon", "2027-13-01", "20270131T000000Z", "+12027-01-31"] {
            assert_eq!(parse_parameter(text), None, "{text}");
        }
    }
}
