//! Answers with their bodies.

use crate::{Code, Error, Xml};

/// EC2's name space; clients compare it to the last slash.
pub const EC2_NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// What goes out over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Lower-case names; the content type is among them.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// A body of this type.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", content_type.to_owned())];
        Self { status, headers, body: body.into() }
    }

    /// With one header more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn xml(status: u16, text: String, request_id: &str) -> Self {
        Self::new(status, "text/xml;charset=UTF-8", text).with("x-amzn-requestid", request_id)
    }

    /// The answer of an operation of EC2.
    #[must_use]
    pub fn ec2(action: &str, request_id: &str, inside: &Xml) -> Self {
        let mut root = Xml::new();
        root.node(&format!("{action}Response xmlns=\"{EC2_NAMESPACE}\""), |root| {
            root.text("requestId", request_id).append(inside);
        });
        Self::xml(200, document(&root), request_id)
    }

    /// A refusal of EC2.
    #[must_use]
    pub fn ec2_error(error: &Error, request_id: &str) -> Self {
        let mut root = Xml::new();
        root.node("Response", |root| {
            root.node("Errors", |errors| {
                errors.node("Error", |inside| {
                    inside.text("Code", error.code.wire()).text("Message", &error.message);
                });
            })
            .text("RequestID", request_id);
        });
        Self::xml(error.code.status(), document(&root), request_id)
    }

    /// The answer of an operation of another Query service, such as STS.
    #[must_use]
    pub fn query(service: QueryService, action: &str, request_id: &str, inside: &Xml) -> Self {
        let mut root = Xml::new();
        root.node(&format!("{action}Response xmlns=\"{}\"", service.namespace()), |root| {
            root.node(&format!("{action}Result"), |result| {
                result.append(inside);
            })
            .node("ResponseMetadata", |metadata| {
                metadata.text("RequestId", request_id);
            });
        });
        Self::xml(200, document(&root), request_id)
    }

    /// A refusal of another Query service.
    #[must_use]
    pub fn query_error(service: QueryService, error: &Error, request_id: &str) -> Self {
        let status = error.code.status();
        let mut root = Xml::new();
        root.node(&format!("ErrorResponse xmlns=\"{}\"", service.namespace()), |root| {
            root.node("Error", |inside| {
                inside
                    .text("Type", if status < 500 { "Sender" } else { "Receiver" })
                    .text("Code", query_code(error.code))
                    .text("Message", &error.message);
            })
            .text("RequestId", request_id);
        });
        Self::xml(status, document(&root), request_id)
    }
}

/// A Query service that is not EC2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryService {
    Sts,
    Iam,
    AutoScaling,
}

impl QueryService {
    /// Its name space.
    #[must_use]
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Self::AutoScaling => "http://autoscaling.amazonaws.com/doc/2011-01-01/",
        }
    }
}

/// Their names for what EC2 calls otherwise.
fn query_code(code: Code) -> &'static str {
    match code {
        Code::AuthFailure => "SignatureDoesNotMatch",
        Code::RequestLimitExceeded => "Throttling",
        Code::UnauthorizedOperation => "AccessDenied",
        Code::InternalError => "InternalFailure",
        Code::Unavailable => "ServiceUnavailable",
        code => code.wire(),
    }
}

fn document(root: &Xml) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", root.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(reply: &Reply) -> &str {
        std::str::from_utf8(&reply.body).unwrap()
    }

    #[test]
    fn an_answer_has_the_name_space_that_clients_compare() {
        let reply = Reply::ec2("DeleteTags", "r-1", &Xml::done());
        let wanted = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <DeleteTagsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
            <requestId>r-1</requestId><return>true</return></DeleteTagsResponse>";
        assert_eq!((reply.status, body(&reply)), (200, wanted));
    }

    #[test]
    fn a_refusal_has_its_codes_status() {
        let reply = Reply::ec2_error(&Error::dry_run(), "r-2");
        let wanted = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <Response><Errors><Error><Code>DryRunOperation</Code>\
            <Message>Request would have succeeded, but DryRun flag is set.</Message></Error>\
            </Errors><RequestID>r-2</RequestID></Response>";
        assert_eq!((reply.status, body(&reply)), (412, wanted));
    }

    #[test]
    fn other_query_services_have_their_own_shape() {
        let mut inside = Xml::new();
        inside.text("Account", "111111111111");
        let reply = Reply::query(QueryService::Sts, "GetCallerIdentity", "r-3", &inside);
        let wanted = "<GetCallerIdentityResponse \
            xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
            <Account>111111111111</Account></GetCallerIdentityResult><ResponseMetadata>\
            <RequestId>r-3</RequestId></ResponseMetadata></GetCallerIdentityResponse>";
        assert!(body(&reply).ends_with(wanted), "{}", body(&reply));
        let error = Error::new(Code::AuthFailure, "no");
        let reply = Reply::query_error(QueryService::Sts, &error, "r-4");
        assert!(body(&reply).contains("<Code>SignatureDoesNotMatch</Code>"));
    }
}
