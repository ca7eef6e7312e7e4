//! Records as they lie on disk. Fields are only ever added.

use vmint_ids::{AgreementId, InstanceId, ProductCode};

use crate::{
    Agreement, Currency, Entry, Hold, MarketError, Meter, MeterKey, Money, Product, Result, Terms,
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NumberRecord {
    #[prost(uint64, tag = "1")]
    pub(super) value: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MoneyRecord {
    #[prost(string, tag = "1")]
    pub(super) currency: String,
    /// A big-endian i128.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) picos: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ProductRecord {
    #[prost(string, tag = "1")]
    pub(super) code: String,
    #[prost(string, tag = "2")]
    pub(super) seller: String,
    #[prost(string, tag = "3")]
    pub(super) title: String,
    #[prost(string, tag = "4")]
    pub(super) description: String,
    #[prost(message, optional, tag = "5")]
    pub(super) price: Option<MoneyRecord>,
    #[prost(uint64, tag = "6")]
    pub(super) created_ms: u64,
    /// Offered no more; kept for what ran or was booked under it.
    #[prost(bool, tag = "7")]
    pub(super) withdrawn: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AgreementRecord {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) code: String,
    #[prost(string, tag = "3")]
    pub(super) buyer: String,
    #[prost(string, tag = "4")]
    pub(super) seller: String,
    #[prost(message, optional, tag = "5")]
    pub(super) price: Option<MoneyRecord>,
    #[prost(uint32, tag = "6")]
    pub(super) fee_ppm: u32,
    #[prost(uint64, tag = "7")]
    pub(super) started_ms: u64,
    #[prost(uint64, optional, tag = "8")]
    pub(super) ended_ms: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HoldRecord {
    #[prost(string, tag = "1")]
    pub(super) saga: String,
    #[prost(string, tag = "2")]
    pub(super) buyer: String,
    /// From product code to agreement.
    #[prost(btree_map = "string, string", tag = "3")]
    pub(super) agreements: std::collections::BTreeMap<String, String>,
    #[prost(string, repeated, tag = "4")]
    pub(super) instances: Vec<String>,
    #[prost(uint64, tag = "5")]
    pub(super) expires_ms: u64,
    #[prost(bool, tag = "6")]
    pub(super) confirmed: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MeterRecord {
    #[prost(string, tag = "1")]
    pub(super) instance: String,
    #[prost(uint64, tag = "2")]
    pub(super) run: u64,
    #[prost(string, tag = "3")]
    pub(super) code: String,
    #[prost(string, tag = "4")]
    pub(super) buyer: String,
    #[prost(string, optional, tag = "5")]
    pub(super) agreement: Option<String>,
    #[prost(string, tag = "6")]
    pub(super) seller: String,
    #[prost(message, optional, tag = "7")]
    pub(super) price: Option<MoneyRecord>,
    #[prost(uint32, tag = "8")]
    pub(super) fee_ppm: u32,
    #[prost(uint64, optional, tag = "9")]
    pub(super) start_ns: Option<u64>,
    #[prost(uint64, optional, tag = "10")]
    pub(super) stop_ns: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct EntryRecord {
    #[prost(uint64, tag = "1")]
    pub(super) number: u64,
    #[prost(string, tag = "2")]
    pub(super) transaction: String,
    #[prost(string, tag = "3")]
    pub(super) account: String,
    #[prost(message, optional, tag = "4")]
    pub(super) amount: Option<MoneyRecord>,
    #[prost(string, tag = "5")]
    pub(super) cause: String,
    #[prost(uint64, tag = "6")]
    pub(super) booked_ms: u64,
}

impl From<Money> for MoneyRecord {
    fn from(it: Money) -> Self {
        Self { currency: it.currency.to_string(), picos: it.picos.to_be_bytes().to_vec() }
    }
}

pub(super) fn money(record: Option<MoneyRecord>) -> Result<Money> {
    let record = record.ok_or(MarketError::Damaged { what: "amount" })?;
    let bytes = record.picos.as_slice().try_into();
    let picos = i128::from_be_bytes(bytes.map_err(|_| damaged("amount"))?);
    let currency = Currency::parse(&record.currency).map_err(|_| damaged("currency"))?;
    Ok(Money { currency, picos })
}

impl From<&Product> for ProductRecord {
    fn from(it: &Product) -> Self {
        Self {
            code: it.code.to_string(),
            seller: it.seller.to_string(),
            title: it.title.clone(),
            description: it.description.clone(),
            price: Some(it.price.into()),
            created_ms: it.created_ms,
            withdrawn: false,
        }
    }
}

impl TryFrom<ProductRecord> for Product {
    type Error = MarketError;

    fn try_from(it: ProductRecord) -> Result<Self> {
        Ok(Self {
            code: parse(&it.code, "product")?,
            seller: parse(&it.seller, "product")?,
            title: it.title,
            description: it.description,
            price: money(it.price)?,
            created_ms: it.created_ms,
        })
    }
}

impl From<&Agreement> for AgreementRecord {
    fn from(it: &Agreement) -> Self {
        Self {
            id: it.id.to_string(),
            code: it.code.to_string(),
            buyer: it.buyer.to_string(),
            seller: it.seller.to_string(),
            price: Some(it.price.into()),
            fee_ppm: it.fee_ppm,
            started_ms: it.started_ms,
            ended_ms: it.ended_ms,
        }
    }
}

impl TryFrom<AgreementRecord> for Agreement {
    type Error = MarketError;

    fn try_from(it: AgreementRecord) -> Result<Self> {
        Ok(Self {
            id: parse(&it.id, "agreement")?,
            code: parse(&it.code, "agreement")?,
            buyer: parse(&it.buyer, "agreement")?,
            seller: parse(&it.seller, "agreement")?,
            price: money(it.price)?,
            fee_ppm: it.fee_ppm,
            started_ms: it.started_ms,
            ended_ms: it.ended_ms,
        })
    }
}

impl From<&Hold> for HoldRecord {
    fn from(it: &Hold) -> Self {
        let pair = |(code, id): (&ProductCode, &AgreementId)| (code.to_string(), id.to_string());
        Self {
            saga: it.saga.clone(),
            buyer: it.buyer.to_string(),
            agreements: it.agreements.iter().map(pair).collect(),
            instances: it.instances.iter().map(ToString::to_string).collect(),
            expires_ms: it.expires_ms,
            confirmed: it.confirmed,
        }
    }
}

impl TryFrom<HoldRecord> for Hold {
    type Error = MarketError;

    fn try_from(it: HoldRecord) -> Result<Self> {
        let pair = |(code, id): (&String, &String)| Ok((parse(code, "hold")?, parse(id, "hold")?));
        let instance = |id: &String| parse::<InstanceId>(id, "hold");
        Ok(Self {
            saga: it.saga,
            buyer: parse(&it.buyer, "hold")?,
            agreements: it.agreements.iter().map(pair).collect::<Result<_>>()?,
            instances: it.instances.iter().map(instance).collect::<Result<_>>()?,
            expires_ms: it.expires_ms,
            confirmed: it.confirmed,
        })
    }
}

impl From<&Meter> for MeterRecord {
    fn from(it: &Meter) -> Self {
        Self {
            instance: it.key.instance.to_string(),
            run: it.key.run,
            code: it.key.code.to_string(),
            buyer: it.buyer.to_string(),
            agreement: it.terms.agreement.map(|id| id.to_string()),
            seller: it.terms.seller.to_string(),
            price: Some(it.terms.price.into()),
            fee_ppm: it.terms.fee_ppm,
            start_ns: it.start_ns,
            stop_ns: it.stop_ns,
        }
    }
}

impl TryFrom<MeterRecord> for Meter {
    type Error = MarketError;

    fn try_from(it: MeterRecord) -> Result<Self> {
        let agreement = it.agreement.map(|id| parse(&id, "meter")).transpose()?;
        let terms = Terms {
            agreement,
            seller: parse(&it.seller, "meter")?,
            price: money(it.price)?,
            fee_ppm: it.fee_ppm,
        };
        Ok(Self {
            key: MeterKey {
                instance: parse(&it.instance, "meter")?,
                run: it.run,
                code: parse(&it.code, "meter")?,
            },
            buyer: parse(&it.buyer, "meter")?,
            terms,
            start_ns: it.start_ns,
            stop_ns: it.stop_ns,
        })
    }
}

impl From<&Entry> for EntryRecord {
    fn from(it: &Entry) -> Self {
        Self {
            number: it.number,
            transaction: it.transaction.clone(),
            account: it.account.clone(),
            amount: Some(it.amount.into()),
            cause: it.cause.clone(),
            booked_ms: it.booked_ms,
        }
    }
}

impl TryFrom<EntryRecord> for Entry {
    type Error = MarketError;

    fn try_from(it: EntryRecord) -> Result<Self> {
        Ok(Self {
            number: it.number,
            transaction: it.transaction,
            account: it.account,
            amount: money(it.amount)?,
            cause: it.cause,
            booked_ms: it.booked_ms,
        })
    }
}

fn parse<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T> {
    text.parse().map_err(|_| damaged(what))
}

fn damaged(what: &'static str) -> MarketError {
    MarketError::Damaged { what }
}
