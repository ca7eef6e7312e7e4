//! A refusal as its receiver sees it.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{Fault, FieldViolation};

/// What a status says, taken apart.
#[derive(Debug, Clone)]
pub struct Seen {
    pub code: Code,
    pub message: String,
    /// Empty if the other end gave none.
    pub reason: String,
    pub domain: String,
    pub metadata: HashMap<String, String>,
    pub fields: Vec<FieldViolation>,
    pub hint: Option<String>,
    pub retry_after: Option<Duration>,
    pub request_id: Option<String>,
}

impl Fault {
    /// Reads what `status` says.
    #[must_use]
    pub fn from_status(status: &Status) -> Seen {
        // One broken detail must not hide the others.
        let details = status.check_error_details().unwrap_or_default();
        let mut info = details.error_info().cloned();
        let metadata = info.as_mut().map(|i| std::mem::take(&mut i.metadata)).unwrap_or_default();
        let link = details.help().and_then(|h| h.links.first()).map(|l| l.description.clone());
        let violations = details.bad_request().map(|b| b.field_violations.as_slice());
        let from_header =
            || Some(status.metadata().get(crate::REQUEST_ID_HEADER)?.to_str().ok()?.to_owned());
        Seen {
            code: status.code(),
            message: status.message().to_owned(),
            reason: info.as_ref().map(|i| i.reason.clone()).unwrap_or_default(),
            domain: info.map(|i| i.domain).unwrap_or_default(),
            fields: violations
                .unwrap_or_default()
                .iter()
                .map(|v| FieldViolation {
                    field: v.field.clone(),
                    description: v.description.clone(),
                })
                .collect(),
            hint: metadata.get("hint").cloned().or(link),
            metadata,
            retry_after: details.retry_info().and_then(|r| r.retry_delay),
            request_id: details.request_info().map(|r| r.request_id.clone()).or_else(from_header),
        }
    }
}
