//! Parameters, their versions and labels.

use std::collections::BTreeMap;

use vmint_store::{Asked, Ledger, Store, Table, Tx, TxError, prefix};

use super::Step;
use crate::{
    CatalogError as E, DataType, Parameter, ParameterKind, ParameterName, Result, Selector,
    parameter::{MAX_LABELS, MAX_PARAMETERS, MAX_VERSIONS},
    tag::changed_tags,
};

/// By owner, nobody where everybody may read it, and name.
static PARAMETERS: Table<(String, String), ParameterRecord> = Table::new("parameters.v1");
static VERSIONS: Table<(String, String, u64), VersionRecord> = Table::new("parameter_versions.v1");
static COUNTS: Table<Vec<u8>, CountRecord> = Table::new("parameter_counts.v1");
static LEDGER: Ledger = Ledger::new("parameter_requests.v1");

type Work<T> = Result<T, TxError<E>>;

/// The parameters of every account. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    store: Store,
}

impl Parameters {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// One version of a parameter of `owner`.
    pub(crate) fn get(
        &self,
        owner: &str,
        name: &ParameterName,
        which: &Selector,
    ) -> Result<Parameter> {
        let key = (owner.to_owned(), name.to_string());
        let record = PARAMETERS.get(&self.store, &key)?.ok_or_else(|| missing(name))?;
        let unknown = |selector: &dyn std::fmt::Display| E::ParameterVersionNotFound {
            name: name.to_string(),
            version: selector.to_string(),
        };
        let version = match which {
            Selector::Current => record.latest,
            Selector::Version(version) => *version,
            Selector::Label(label) => *record.labels.get(label).ok_or_else(|| unknown(label))?,
        };
        let key = (key.0, key.1, version);
        let row = VERSIONS.get(&self.store, &key)?.ok_or_else(|| unknown(&version))?;
        row.read(name.clone(), version, &record)
    }

    /// Up to `limit` names of `owner` that begin with `start`, after `after`.
    pub(crate) fn names(
        &self,
        owner: &str,
        start: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>> {
        let mut begin = prefix(&[&owner.to_owned()]);
        begin.extend_from_slice(start.as_bytes());
        let after = after.map(|name| prefix(&[&owner.to_owned(), &name.to_owned()]));
        let rows = PARAMETERS.scan(&self.store, &begin, after.as_deref(), limit)?;
        Ok(rows.into_iter().map(|((_, name), _)| name).collect())
    }

    /// Up to `limit` versions of a parameter after version `after`, the oldest
    /// first.
    pub(crate) fn versions(
        &self,
        owner: &str,
        name: &ParameterName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Parameter>> {
        let key = (owner.to_owned(), name.to_string());
        let record = PARAMETERS.get(&self.store, &key)?.ok_or_else(|| missing(name))?;
        let begin = prefix(&[&key.0, &key.1]);
        let after = prefix(&[&key.0, &key.1, &after]);
        let rows = VERSIONS.scan(&self.store, &begin, Some(&after), limit)?;
        let read = |((_, _, version), row): ((_, _, u64), VersionRecord)| {
            row.read(name.clone(), version, &record)
        };
        rows.into_iter().map(read).collect()
    }

    /// Makes a parameter or its next version; answers which it is.
    pub(crate) async fn put(
        &self,
        owner: String,
        new: Parameter,
        overwrite: bool,
        asked: Asked,
    ) -> Result<u64> {
        let work = move |tx: &mut Tx<'_>| {
            LEDGER
                .once(tx, &asked, |tx| Ok(PutRecord { version: put(tx, owner, &new, overwrite)? }))
        };
        Ok(self.store.commit(work).await?.version)
    }

    pub(crate) async fn remove(
        &self,
        owner: String,
        name: ParameterName,
        asked: Asked,
    ) -> Result<()> {
        let work = move |tx: &mut Tx<'_>| {
            LEDGER.once(tx, &asked, |tx| {
                if remove(tx, &(owner, name.to_string()))? {
                    Ok(PutRecord { version: 0 })
                } else {
                    Err(TxError::refuse(missing(&name)))
                }
            })
        };
        self.store.commit(work).await.map(|_| ()).map_err(Into::into)
    }

    /// Moves labels to a version, the current one if it is 0; answers which.
    pub(crate) async fn label(
        &self,
        owner: String,
        name: ParameterName,
        version: u64,
        labels: Vec<String>,
        asked: Asked,
    ) -> Result<u64> {
        let work = move |tx: &mut Tx<'_>| {
            LEDGER.once(tx, &asked, |tx| {
                let key = (owner, name.to_string());
                let found = PARAMETERS.get(tx, &key)?;
                let mut record = found.ok_or_else(|| TxError::refuse(missing(&name)))?;
                let version = if version == 0 { record.latest } else { version };
                if VERSIONS.get(tx, &(key.0.clone(), key.1.clone(), version))?.is_none() {
                    let (name, version) = (name.to_string(), version.to_string());
                    return Err(TxError::refuse(E::ParameterVersionNotFound { name, version }));
                }
                record.labels.extend(labels.into_iter().map(|label| (label, version)));
                if record.labels_of(version).len() > MAX_LABELS {
                    return Err(TxError::refuse(E::TooManyLabels { limit: MAX_LABELS }));
                }
                PARAMETERS.put(tx, &key, &record)?;
                Ok(PutRecord { version })
            })
        };
        Ok(self.store.commit(work).await?.version)
    }

    /// Takes tags off a parameter and puts others on.
    pub(crate) async fn tag(
        &self,
        owner: String,
        name: ParameterName,
        put: Vec<(String, String)>,
        remove: Vec<String>,
        asked: Asked,
    ) -> Result<()> {
        let work = move |tx: &mut Tx<'_>| {
            LEDGER.once(tx, &asked, |tx| {
                let key = (owner, name.to_string());
                let found = PARAMETERS.get(tx, &key)?;
                let mut record = found.ok_or_else(|| TxError::refuse(missing(&name)))?;
                record.tags = changed_tags(&record.tags, &put, &remove).map_err(TxError::refuse)?;
                PARAMETERS.put(tx, &key, &record)?;
                Ok(PutRecord { version: record.latest })
            })
        };
        self.store.commit(work).await.map(|_| ()).map_err(Into::into)
    }

    /// Removes one parameter of `owner`, whichever; says whether there was one.
    pub(crate) async fn remove_any(&self, step: Step, owner: String) -> Result<bool> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            let rows = PARAMETERS.scan(tx, &prefix(&[&owner]), None, 1)?;
            match rows.into_iter().next() {
                Some((key, _)) => remove(tx, &key),
                None => Ok(false),
            }
        };
        Ok(self.store.commit(work).await?)
    }
}

fn missing(name: &ParameterName) -> E {
    E::ParameterNotFound { name: name.to_string() }
}

fn put(tx: &mut Tx<'_>, owner: String, new: &Parameter, overwrite: bool) -> Work<u64> {
    let (key, name) = ((owner, new.name.to_string()), new.name.to_string());
    let mut record = match PARAMETERS.get(tx, &key)? {
        Some(_) if !overwrite => return Err(TxError::refuse(E::ParameterExists { name })),
        Some(record) if record.kind != kind_number(new.kind) => {
            return Err(TxError::refuse(E::ParameterTypeChanged { name }));
        }
        Some(_) if !new.tags.is_empty() => {
            let why = "belong to a new parameter: TagParameter changes those of another";
            return Err(TxError::refuse(E::field("parameter.tags", why)));
        }
        Some(record) => record,
        None => {
            count(tx, &key.0, 1)?;
            let (kind, tags) = (kind_number(new.kind), new.tags.clone());
            ParameterRecord { kind, first: 1, tags, ..ParameterRecord::default() }
        }
    };
    record.latest += 1;
    if record.latest - record.first >= MAX_VERSIONS {
        if !record.labels_of(record.first).is_empty() {
            let version = record.first;
            return Err(TxError::refuse(E::ParameterVersionLimit { name, version }));
        }
        VERSIONS.remove(tx, &(key.0.clone(), key.1.clone(), record.first))?;
        record.first += 1;
    }
    let row = VersionRecord {
        value: new.value.clone(),
        description: new.description.clone(),
        allowed_pattern: new.allowed_pattern.clone(),
        image: new.data_type == DataType::Image,
        modified_ms: tx.now_ms(),
        modified_by: new.modified_by.clone(),
    };
    VERSIONS.put(tx, &(key.0.clone(), key.1.clone(), record.latest), &row)?;
    PARAMETERS.put(tx, &key, &record)?;
    Ok(record.latest)
}

/// Removes a parameter with all its versions; says whether there was one.
fn remove(tx: &mut Tx<'_>, key: &(String, String)) -> Work<bool> {
    let Some(record) = PARAMETERS.get(tx, key)? else { return Ok(false) };
    for version in record.first..=record.latest {
        VERSIONS.remove(tx, &(key.0.clone(), key.1.clone(), version))?;
    }
    PARAMETERS.remove(tx, key)?;
    count(tx, &key.0, -1)?;
    Ok(true)
}

/// Keeps how many parameters an owner has, within bounds.
fn count(tx: &mut Tx<'_>, owner: &str, change: i64) -> Work<()> {
    let key = owner.as_bytes().to_vec();
    let before = COUNTS.get(tx, &key)?.unwrap_or_default().parameters;
    let parameters = before.saturating_add_signed(change);
    if parameters > MAX_PARAMETERS {
        return Err(TxError::refuse(E::TooManyParameters { limit: MAX_PARAMETERS }));
    }
    Ok(COUNTS.put(tx, &key, &CountRecord { parameters })?)
}

fn kind_number(kind: ParameterKind) -> u32 {
    match kind {
        ParameterKind::String => 1,
        ParameterKind::StringList => 2,
    }
}

/// What all versions share.
#[derive(Clone, PartialEq, prost::Message)]
struct ParameterRecord {
    /// 1 String, 2 StringList.
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    latest: u64,
    /// The oldest version that is kept.
    #[prost(uint64, tag = "3")]
    first: u64,
    #[prost(btree_map = "string, uint64", tag = "4")]
    labels: BTreeMap<String, u64>,
    #[prost(btree_map = "string, string", tag = "5")]
    tags: BTreeMap<String, String>,
}

impl ParameterRecord {
    fn labels_of(&self, version: u64) -> Vec<String> {
        let of = self.labels.iter().filter(|(_, at)| **at == version);
        of.map(|(label, _)| label.clone()).collect()
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct VersionRecord {
    #[prost(string, tag = "1")]
    value: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(string, tag = "3")]
    allowed_pattern: String,
    /// It is the id of an image.
    #[prost(bool, tag = "4")]
    image: bool,
    #[prost(uint64, tag = "5")]
    modified_ms: u64,
    #[prost(string, tag = "6")]
    modified_by: String,
}

impl VersionRecord {
    fn read(self, name: ParameterName, version: u64, of: &ParameterRecord) -> Result<Parameter> {
        Ok(Parameter {
            name,
            kind: match of.kind {
                1 => ParameterKind::String,
                2 => ParameterKind::StringList,
                _ => return Err(E::Damaged { what: "parameter's type" }),
            },
            data_type: if self.image { DataType::Image } else { DataType::Text },
            value: self.value,
            description: self.description,
            allowed_pattern: self.allowed_pattern,
            version,
            modified_ms: self.modified_ms,
            modified_by: self.modified_by,
            labels: of.labels_of(version),
            tags: of.tags.clone(),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct CountRecord {
    #[prost(uint64, tag = "1")]
    parameters: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRecord {
    #[prost(uint64, tag = "1")]
    version: u64,
}
