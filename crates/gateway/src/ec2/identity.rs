//! Who the caller is: STS and IAM.

use vmint_api::permissions::v1::GetCallerIdentityRequest;
use vmint_ec2::{Operation, Xml, reply::QueryService};

use super::{Call, Entry, entries, entry::Answer, service::Service};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Sts;
    reads Operation::new("GetCallerIdentity", &[]) => get_caller_identity,
};

/// IAM's share.
pub(super) const ALIASES: &[Entry] = entries! {
    Service::Query(QueryService::Iam);
    reads Operation::new("ListAccountAliases", &["Marker", "MaxItems"]) => list_account_aliases,
};

async fn get_caller_identity(call: Call) -> Answer {
    let mut accounts = call.front.gateway.peers.accounts(&call.caller);
    let who = accounts.get_caller_identity(GetCallerIdentityRequest {}).await?.into_inner();
    let account = who.account.unwrap_or_default().account_id;
    let arn = format!("arn:aws:iam::{account}:user/{}", who.principal);
    let mut xml = Xml::new();
    xml.text("Arn", arn).text("UserId", &call.caller.session).text("Account", &account);
    Ok(xml)
}

/// An account's name is its alias where it has the form of one.
async fn list_account_aliases(call: Call) -> Answer {
    let mut accounts = call.front.gateway.peers.accounts(&call.caller);
    let who = accounts.get_caller_identity(GetCallerIdentityRequest {}).await?.into_inner();
    let name = who.account.unwrap_or_default().name;
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let alias = ((3..=63).contains(&name.len()) && name.bytes().all(allowed)).then_some(name);
    let mut xml = Xml::new();
    xml.value("IsTruncated", false).node("AccountAliases", |xml| {
        if let Some(alias) = alias {
            xml.text("member", alias);
        }
    });
    Ok(xml)
}
