use prost::Message;
use tonic::{Code, Status};

/// A service's refusal, kept so that it can be given again later.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Failure {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    /// An encoded `google.rpc.Status`.
    #[prost(bytes = "vec", tag = "3")]
    details: Vec<u8>,
    /// Which step it was, counted from 0.
    #[prost(uint32, tag = "4")]
    pub(crate) step: u32,
}

impl Failure {
    pub(crate) fn at(step: usize, status: &Status) -> Self {
        Self {
            code: status.code() as i32,
            // A record has bounds; a message of a service has none.
            message: status.message().chars().take(2048).collect(),
            details: Some(status.details()).filter(|d| d.len() <= 8192).unwrap_or_default().into(),
            step: u32::try_from(step).unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn to_status(&self) -> Status {
        Status::with_details(Code::from(self.code), &self.message, self.details.clone().into())
    }
}
