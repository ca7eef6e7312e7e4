//! Between messages and the catalog's own types.

use std::{collections::BTreeSet, time::Duration};

use prost::Message as _;
use vmint_api::catalog::v1 as pb;
use vmint_api::types::v1::SagaStep;
use vmint_ids::{AccountId, Id, ImageId, Kind};
use vmint_rpc::{Caller, PageToken};
use vmint_store::{Asked, Key as _};

use crate::{
    CatalogError as E, Executor, Filter, MAX_DISKS, MAX_FILTERS, Page, Progress, Query, Result,
    Step, Update, ViewerTags,
};

pub(super) fn image_id(text: &str) -> Result<ImageId> {
    if text.is_empty() {
        return Err(E::Missing { field: "image_id" });
    }
    text.parse().map_err(|_| E::field("image_id", "must be `ami-` and 17 hexadecimal digits"))
}

pub(super) fn account(field: &'static str, text: &str) -> Result<AccountId> {
    text.parse().map_err(|_| E::field(field, "must be 12 digits"))
}

/// An id that need not be given.
pub(super) fn optional<K: Kind>(field: &'static str, text: &str) -> Result<Option<Id<K>>> {
    if text.is_empty() {
        return Ok(None);
    }
    let why = format!("must be `{}-` and 17 hexadecimal digits", K::PREFIX);
    text.parse().map(Some).map_err(|_| E::field(field, why))
}

pub(super) fn step(saga: Option<SagaStep>) -> Result<Step> {
    let saga = saga.ok_or(E::Missing { field: "saga" })?;
    if !(1..=64).contains(&saga.saga_id.len()) {
        return Err(E::field("saga.saga_id", "must be 1 to 64 characters"));
    }
    Ok(Step { saga: saga.saga_id, epoch: saga.epoch })
}

pub(super) fn lease(lease: Option<prost_types::Duration>) -> Result<Option<Duration>> {
    let read =
        |lease| Duration::try_from(lease).map_err(|_| E::field("lease", "must not be negative"));
    lease.map(read).transpose()
}

pub(super) fn progress(request: &pb::EnsureImageStateRequest) -> Result<Progress> {
    match request.state() {
        pb::ImageState::Pending => u8::try_from(request.progress_percent)
            .ok()
            .filter(|percent| *percent <= 100)
            .map(Progress::Pending)
            .ok_or_else(|| E::field("progress_percent", "must be 0 to 100")),
        pb::ImageState::Available => {
            let read = |id: &String| {
                optional("encrypted_snapshot_ids", id)?
                    .ok_or(E::Missing { field: "encrypted_snapshot_ids" })
            };
            let ids = &request.encrypted_snapshot_ids;
            if ids.len() > MAX_DISKS {
                return Err(E::field("encrypted_snapshot_ids", "are more than an image's disks"));
            }
            ids.iter().map(read).collect::<Result<_>>().map(Progress::Available)
        }
        pb::ImageState::Failed => {
            let code = match request.state_reason_code.as_str() {
                "" => "Server.InternalError",
                code => code,
            };
            let reason = request.state_reason.clone();
            Ok(Progress::Failed { code: code.to_owned(), reason })
        }
        pb::ImageState::Unspecified => Err(E::Missing { field: "state" }),
        pb::ImageState::Deregistered => {
            Err(E::field("state", "must be PENDING, AVAILABLE or FAILED"))
        }
    }
}

pub(super) fn hint_accounts(texts: &[String]) -> Result<BTreeSet<AccountId>> {
    if texts.len() > 1000 {
        return Err(E::field("account_ids", "may have 1000 entries at most"));
    }
    texts.iter().map(|text| account("account_ids", text)).collect()
}

pub(super) fn ids(texts: &[String]) -> Result<Vec<ImageId>> {
    if texts.len() > 1000 {
        return Err(E::field("image_ids", "may have 1000 entries at most"));
    }
    // What is no id is unknown, and those are left out.
    Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

pub(super) fn update(caller: &Caller, request: pb::UpdateImageRequest) -> Result<Update> {
    check_request_id(&request.request_id)?;
    let asked = Asked {
        account: caller.account.clone(),
        method: "UpdateImage".to_owned(),
        digest: *blake3::hash(&request.encode_to_vec()).as_bytes(),
        request_id: request.request_id,
    };
    Ok(Update {
        id: image_id(&request.image_id)?,
        owner: account("account", &caller.account)?,
        description: request.description,
        require_imds_v2: request.require_imds_v2,
        put_tags: request.put_tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
        remove_tags: request.remove_tag_keys,
        etag: (!request.etag.is_empty()).then_some(request.etag),
        asked,
    })
}

pub(super) fn viewer_tags(request: pb::EnsureViewerTagsRequest) -> Result<ViewerTags> {
    check_request_id(&request.request_id)?;
    let asked = Asked {
        account: request.account_id.clone(),
        method: "TagImage".to_owned(),
        digest: *blake3::hash(&request.encode_to_vec()).as_bytes(),
        request_id: request.request_id,
    };
    Ok(ViewerTags {
        id: image_id(&request.image_id)?,
        viewer: account("account_id", &request.account_id)?,
        put: request.put_tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
        remove: request.remove_tag_keys,
        asked,
    })
}

fn check_request_id(text: &str) -> Result<()> {
    // A gateway's own, of several parts, is longer than a UUID.
    if text.len() > 128 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(E::field("request_id", "must be at most 128 visible ASCII characters"));
    }
    Ok(())
}

/// A listing as it was asked for.
#[derive(Debug)]
pub(super) struct Listing {
    canonical: pb::QueryImagesRequest,
    pub(super) query: Query,
}

impl Listing {
    pub(super) fn read(request: pb::QueryImagesRequest) -> Result<Self> {
        let size = match usize::try_from(request.page_size) {
            Ok(0) => 100,
            Ok(size) => size.min(1000),
            Err(_) => return Err(E::field("page_size", "must not be negative")),
        };
        let token = request.page_token.clone();
        let canonical =
            pb::QueryImagesRequest { page_size: 0, page_token: String::new(), ..request };
        let after = PageToken::read(&token, &canonical, &canonical.account_id)?;
        let after =
            after.map(|key| ImageId::decode(&key).ok_or(vmint_rpc::BadToken)).transpose()?;
        let asker = account("account_id", &canonical.account_id)?;
        if canonical.filters.len() > MAX_FILTERS {
            return Err(E::field("filters", "may have 50 entries at most"));
        }
        let filters = canonical.filters.iter().map(|f| Filter::parse(&f.name, &f.values));
        let query = Query {
            account: asker,
            owners: owners(&canonical.owners, asker)?,
            executable_by: executable_by(&canonical.executable_by)?,
            filters: filters.collect::<Result<_>>()?,
            include_ended: canonical.include_ended,
            after,
            size,
        };
        Ok(Self { canonical, query })
    }

    pub(super) fn answer(&self, page: Page) -> pb::QueryImagesResponse {
        let token = page.next.map(|id| {
            PageToken::new(&id.encode(), &self.canonical, &self.canonical.account_id).to_text()
        });
        pb::QueryImagesResponse {
            images: page.images.into_iter().map(Into::into).collect(),
            next_page_token: token.unwrap_or_default(),
        }
    }
}

fn owners(texts: &[String], asker: AccountId) -> Result<Vec<AccountId>> {
    if texts.len() > 200 {
        return Err(E::field("owners", "may have 200 entries at most"));
    }
    if texts.iter().any(|text| text == "all") {
        return Ok(Vec::new());
    }
    let read = |text: &String| match text.as_str() {
        "self" => Ok(asker),
        text => text
            .parse()
            .map_err(|_| E::field("owners", "must be `self`, `all` or account ids of 12 digits")),
    };
    texts.iter().map(read).collect()
}

fn executable_by(texts: &[String]) -> Result<Vec<Executor>> {
    if texts.len() > 200 {
        return Err(E::field("executable_by", "may have 200 entries at most"));
    }
    let read = |text: &String| match text.as_str() {
        "self" => Ok(Executor::Asker),
        "all" => Ok(Executor::Everybody),
        text => text.parse().map(Executor::Account).map_err(|_| {
            E::field("executable_by", "must be `self`, `all` or account ids of 12 digits")
        }),
    };
    texts.iter().map(read).collect()
}
