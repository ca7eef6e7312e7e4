//! Listings: pages of instances, statuses and key pairs.

use vmint_api::{launcher::v1 as pb, types::v1 as types};
use vmint_rpc::PageToken;

use super::convert::{shown, state};
use crate::{Filters, Health, KeyQuery, Launcher, Query, Result, Status, clock};

fn page_size(asked: i32) -> usize {
    match usize::try_from(asked) {
        Ok(0) | Err(_) => 50,
        Ok(n) => n.min(500),
    }
}

fn query(ids: &[String], filters: &[types::Filter]) -> Result<Query> {
    let filters = filters.iter().map(|f| (f.name.as_str(), f.values.as_slice()));
    Ok(Query { ids: ids.to_vec(), filters: Filters::read(filters)? })
}

pub(super) fn instances(
    launcher: &Launcher,
    account: &str,
    mut r: pb::ListInstancesRequest,
) -> Result<pb::ListInstancesResponse> {
    let token = std::mem::take(&mut r.page_token);
    let size = page_size(std::mem::take(&mut r.page_size));
    let after = PageToken::read(&token, &r, account)?;
    let query = query(&r.instance_ids, &r.filters)?;
    let page = launcher.list(account, &query, after.as_deref(), size)?;
    let next = page.next.map(|id| PageToken::new(&id.to_key(), &r, account).to_text());
    Ok(pb::ListInstancesResponse {
        instances: page.instances.into_iter().map(shown).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

pub(super) async fn statuses(
    launcher: &Launcher,
    account: &str,
    mut r: pb::ListInstanceStatusesRequest,
) -> Result<pb::ListInstanceStatusesResponse> {
    let token = std::mem::take(&mut r.page_token);
    let size = page_size(std::mem::take(&mut r.page_size));
    let after = PageToken::read(&token, &r, account)?;
    // Two of the names look at what only a look at the machine tells.
    let (own, others): (Vec<_>, Vec<_>) =
        r.filters.iter().cloned().partition(|filter| filter.name.ends_with("-status.status"));
    let query = query(&r.instance_ids, &others)?;
    let (found, next) =
        launcher.statuses(account, &query, r.include_all, after.as_deref(), size).await?;
    let admits = |status: &Status| {
        own.iter().all(|filter| {
            let word = match filter.name.as_str() {
                "system-status.status" => status.system.as_str(),
                _ => status.guest.as_str(),
            };
            filter.values.iter().any(|value| value == word)
        })
    };
    let next = next.map(|id| PageToken::new(&id.to_key(), &r, account).to_text());
    Ok(pb::ListInstanceStatusesResponse {
        statuses: found.into_iter().filter(admits).map(Into::into).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

impl From<Status> for pb::InstanceStatus {
    fn from(status: Status) -> Self {
        Self {
            instance_id: status.id.to_string(),
            state: state(status.state).into(),
            availability_zone: status.zone,
            system: pb::Health::from(status.system).into(),
            guest: pb::Health::from(status.guest).into(),
            impaired_since: status.impaired_since.map(clock::stamp),
        }
    }
}

impl From<Health> for pb::Health {
    fn from(health: Health) -> Self {
        match health {
            Health::Ok => Self::Ok,
            Health::Initializing => Self::Initializing,
            Health::Impaired => Self::Impaired,
            Health::NotApplicable => Self::NotApplicable,
            Health::Insufficient => Self::InsufficientData,
        }
    }
}

pub(super) fn key_pairs(
    launcher: &Launcher,
    account: &str,
    mut r: pb::ListKeyPairsRequest,
) -> Result<pb::ListKeyPairsResponse> {
    let token = std::mem::take(&mut r.page_token);
    let size = page_size(std::mem::take(&mut r.page_size));
    let after = PageToken::read(&token, &r, account)?;
    let query = KeyQuery {
        names: r.names.clone(),
        ids: r.key_pair_ids.clone(),
        filters: r.filters.iter().map(|f| (f.name.clone(), f.values.clone())).collect(),
    };
    let (pairs, more) = launcher.list_key_pairs(account, &query, after.as_deref(), size)?;
    let next = pairs.last().filter(|_| more);
    let next = next.map(|last| PageToken::new(&last.key(), &r, account).to_text());
    Ok(pb::ListKeyPairsResponse {
        key_pairs: pairs.into_iter().map(Into::into).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}
