//! Who asks.

use tonic::{Request, Status};

use crate::{Refusal, to_status};

/// Who a call is made for. Put into the request by the guard, read by handlers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account that owns what the call makes, 12 digits; empty for a
    /// service on its own behalf.
    pub account: String,
    /// The user or role inside that account, or the name of the service.
    pub principal: String,
    pub kind: CallerKind,
    /// The session or access key the call was authenticated by; may be empty.
    pub session: String,
    /// The id of the request and of its trace, 32 hexadecimal digits.
    pub request_id: String,
    /// Where the request came from, such as an IP address.
    pub source: String,
}

/// What sort of caller it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// Whoever runs the deployment.
    Operator,
    /// A principal of an account.
    Account,
    /// One of our own services, on its own behalf.
    Service,
}

/// The process at the other end of the connection, as its certificate says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// The name of the service; none if it showed no certificate of ours.
    pub service: Option<String>,
    /// Its address, for the logs.
    pub address: String,
}

impl Caller {
    /// The caller of `request`.
    ///
    /// Absent only where the server was built without the guard, which is a
    /// mistake of ours and not of the caller's.
    pub fn of<T>(request: &Request<T>) -> Result<&Self, Status> {
        request.extensions().get().ok_or_else(|| Status::internal("the call was not guarded"))
    }

    /// The caller of `request`, if it acts for an account.
    ///
    /// What a handler of a user's method asks for: a service on its own behalf
    /// is refused.
    pub fn of_account<T>(request: &Request<T>) -> Result<&Self, Status> {
        let caller = Self::of(request)?;
        if caller.kind == CallerKind::Service {
            return Err(to_status(&Refusal::NoAccount));
        }
        Ok(caller)
    }

    /// A service on its own behalf, with a fresh request id.
    #[must_use]
    pub fn service(name: impl Into<String>) -> Self {
        Self {
            account: String::new(),
            principal: name.into(),
            kind: CallerKind::Service,
            session: String::new(),
            request_id: crate::new_request_id(),
            source: String::new(),
        }
    }

    /// A principal of an account, with a fresh request id.
    #[must_use]
    pub fn account(account: impl Into<String>, principal: impl Into<String>) -> Self {
        Self {
            account: account.into(),
            principal: principal.into(),
            kind: CallerKind::Account,
            session: String::new(),
            request_id: crate::new_request_id(),
            source: String::new(),
        }
    }

    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.kind == CallerKind::Operator
    }

    #[must_use]
    pub fn is_service(&self) -> bool {
        self.kind == CallerKind::Service
    }
}
