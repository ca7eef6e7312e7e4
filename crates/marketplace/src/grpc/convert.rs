//! Reading requests.

use std::{collections::BTreeSet, time::Duration};

use prost::Message;
use vmint_api::marketplace::v1 as pb;
use vmint_api::types::v1 as shared;
use vmint_ids::{AccountId, AgreementId, InstanceId, ProductCode};
use vmint_rpc::{Caller, PageToken};
use vmint_store::Asked;

use crate::{Currency, MarketError as E, Money, NewHold, NewProduct, PICOS, Result, Step};

pub(super) fn account(text: &str) -> Result<AccountId> {
    text.parse().map_err(|_| E::field("account_id", "must be 12 digits"))
}

pub(super) fn code(text: &str) -> Result<ProductCode> {
    text.parse()
        .map_err(|_| E::field("product_code", "must be 1 to 25 lower-case letters and digits"))
}

pub(super) fn agreement_id(text: &str) -> Result<AgreementId> {
    text.parse().map_err(|_| E::field("agreement_id", "must be `agmt-` and 17 hexadecimal digits"))
}

pub(super) fn step(saga: Option<shared::SagaStep>) -> Result<Step> {
    let saga = saga.ok_or_else(|| E::field("saga", "must be set"))?;
    if !(1..=64).contains(&saga.saga_id.len()) {
        return Err(E::field("saga.saga_id", "must be 1 to 64 characters"));
    }
    Ok(Step { saga: saga.saga_id, epoch: saga.epoch })
}

pub(super) fn price(money: Option<shared::Money>) -> Result<Money> {
    let money = money.ok_or_else(|| E::field("price_per_hour", "must be set"))?;
    let (units, picos) = (i128::from(money.units), i128::from(money.picos));
    if picos.abs() >= PICOS || units.signum() * picos.signum() < 0 {
        let why = "must have picos below 10^12 and of the same sign as its units";
        return Err(E::field("price_per_hour", why));
    }
    Money::price(Currency::parse(&money.currency_code)?, units * PICOS + picos)
}

pub(super) fn new_product(
    caller: &Caller,
    request: pb::CreateProductRequest,
) -> Result<NewProduct> {
    let asked = asked(caller, "CreateProduct", &request, &request.request_id)?;
    Ok(NewProduct {
        seller: account(&caller.account)?,
        title: request.title,
        description: request.description,
        price: price(request.price_per_hour)?,
        asked,
    })
}

pub(super) fn new_hold(request: &pb::HoldEntitlementRequest) -> Result<NewHold> {
    let life = request.time_to_live.map(|life| {
        Duration::try_from(life).map_err(|_| E::field("time_to_live", "must not be negative"))
    });
    let instance = |id: &String| {
        let why = "must be `i-` and 17 hexadecimal digits each";
        id.parse::<InstanceId>().map_err(|_| E::field("instance_ids", why))
    };
    if request.instance_ids.len() > 100 || request.product_codes.len() > 100 {
        return Err(E::field("instance_ids", "and product_codes may have 20 entries at most"));
    }
    Ok(NewHold {
        step: step(request.saga.clone())?,
        buyer: account(&request.buyer_id)?,
        codes: request.product_codes.iter().map(|text| code(text)).collect::<Result<_>>()?,
        instances: request.instance_ids.iter().map(instance).collect::<Result<BTreeSet<_>>>()?,
        life: life.transpose()?,
    })
}

/// Codes to look up; what is no code is unknown, and those are left out.
pub(super) fn codes(texts: &[String]) -> Result<Vec<ProductCode>> {
    if texts.len() > 100 {
        return Err(E::field("product_codes", "may have 100 entries at most"));
    }
    Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

/// Under what id a mutation was asked; may be empty.
pub(super) fn asked(
    caller: &Caller,
    method: &str,
    request: &impl Message,
    request_id: &str,
) -> Result<Asked> {
    if request_id.len() > 64 || !request_id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(E::field("request_id", "must be at most 64 visible ASCII characters"));
    }
    Ok(Asked {
        account: caller.account.clone(),
        method: method.to_owned(),
        request_id: request_id.to_owned(),
        digest: *blake3::hash(&request.encode_to_vec()).as_bytes(),
    })
}

/// A listing as it was asked for: bound to the account and to what it lists.
#[derive(Debug)]
pub(super) struct Listing {
    account: String,
    kind: pb::GetProductRequest,
    size: usize,
    after: Option<Vec<u8>>,
}

impl Listing {
    pub(super) fn read(what: &str, size: i32, token: &str, caller: &Caller) -> Result<Self> {
        // No listing has anything but its paging; any message that names the
        // listing, and whose view it is, keeps their tokens apart.
        let view = if caller.is_operator() { "operator" } else { "account" };
        let kind = pb::GetProductRequest { product_code: format!("{what} {view}") };
        let size = match usize::try_from(size) {
            Ok(0) => 100,
            Ok(size) => size.min(1000),
            Err(_) => return Err(E::field("page_size", "must not be negative")),
        };
        let after = PageToken::read(token, &kind, &caller.account)?;
        Ok(Self { account: caller.account.clone(), kind, size, after })
    }

    pub(super) fn after(&self) -> Option<&[u8]> {
        self.after.as_deref()
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn token(&self, next: Option<&[u8]>) -> String {
        next.map(|key| PageToken::new(key, &self.kind, &self.account).to_text()).unwrap_or_default()
    }
}
