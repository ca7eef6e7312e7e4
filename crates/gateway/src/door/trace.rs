//! What a call brings along: its trace and its deadline.

use std::time::Duration;

use http::HeaderMap;
use vmint_rpc::new_request_id;

/// The id of the request: that of its W3C trace if it brings a valid one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let traced = headers.get("traceparent").and_then(|value| trace_id(value.to_str().ok()?));
    traced.map_or_else(new_request_id, str::to_owned)
}

/// `00-<32 hex>-<16 hex>-<2 hex>`; later versions may add to it.
fn trace_id(text: &str) -> Option<&str> {
    let hex = |text: &str, n: usize| {
        text.len() == n && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = text.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (span, flags) = (parts.next()?, parts.next()?);
    let fits = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    let over = version == "ff" || (version == "00" && parts.next().is_some());
    (fits && !over && !zero(trace) && !zero(span)).then_some(trace)
}

/// What the call may take: as it asks, at most `longest` unless it streams.
pub(super) fn allowed_time(
    headers: &HeaderMap,
    longest: Duration,
    streaming: bool,
) -> Option<Duration> {
    let asked = headers.get("grpc-timeout").and_then(|v| timeout(v.to_str().ok()?));
    if streaming { asked } else { Some(asked.map_or(longest, |asked| asked.min(longest))) }
}

/// At most eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse::<u64>().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_trace_is_taken_over() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let good = format!("00-{trace}-b7ad6b7169203331-01");
        assert_eq!(trace_id(&good), Some(trace));
        let bad = [
            format!("ff-{trace}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{trace}-b7ad6b7169203331"),
            format!("00-{}-b7ad6b7169203331-01", trace.to_uppercase()),
            format!("{good}-more"),
            String::new(),
        ];
        for text in bad {
            assert_eq!(trace_id(&text), None, "{text}");
        }
    }

    #[test]
    fn a_call_gets_the_time_it_asks_for_within_bounds() {
        let mut headers = HeaderMap::new();
        let longest = Duration::from_mins(1);
        assert_eq!(allowed_time(&headers, longest, false), Some(longest));
        assert_eq!(allowed_time(&headers, longest, true), None);
        headers.insert("grpc-timeout", "250m".parse().unwrap());
        assert_eq!(allowed_time(&headers, longest, false), Some(Duration::from_millis(250)));
        headers.insert("grpc-timeout", "99999999H".parse().unwrap());
        assert_eq!(allowed_time(&headers, longest, false), Some(longest));
        for bad in ["+1S", "123456789S", "S", "1x", ""] {
            headers.insert("grpc-timeout", bad.parse().unwrap());
            assert_eq!(allowed_time(&headers, longest, true), None, "{bad}");
        }
    }
}
