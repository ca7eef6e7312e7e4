//! Records as they lie on disk. Fields are only ever added.

use vmint_blocks::Root;

use crate::{
    Content, StorageError,
    sharing::Sharing,
    snapshot::{Blocks, Consistency, Far, Making, Remote, Seal, Snapshot, SnapshotState},
    tag::Tags,
};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ContentRecord {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(bytes = "vec", tag = "2")]
    root: Vec<u8>,
    #[prost(uint64, tag = "3")]
    size_bytes: u64,
    /// Empty: not encrypted.
    #[prost(string, tag = "4")]
    lineage: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SealRecord {
    #[prost(string, tag = "1")]
    pub(crate) lineage: String,
    #[prost(string, tag = "2")]
    key: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pub(crate) account: String,
    #[prost(string, tag = "3")]
    description: String,
    /// 1 pending, 2 completed, 3 error.
    #[prost(uint32, tag = "4")]
    state: u32,
    #[prost(string, tag = "5")]
    error: String,
    #[prost(message, optional, tag = "6")]
    content: Option<ContentRecord>,
    #[prost(uint64, tag = "7")]
    size_bytes: u64,
    #[prost(string, tag = "8")]
    volume: String,
    #[prost(string, repeated, tag = "9")]
    product_codes: Vec<String>,
    #[prost(string, repeated, tag = "10")]
    pub(crate) images: Vec<String>,
    #[prost(uint64, tag = "11")]
    new_bytes: u64,
    #[prost(uint64, tag = "12")]
    stored_bytes: u64,
    #[prost(uint64, tag = "13")]
    created_ms: u64,
    /// 1 imported, 2 stopped, 3 crash-consistent.
    #[prost(uint32, tag = "14")]
    consistency: u32,
    #[prost(uint64, tag = "15")]
    pause_micros: u64,
    #[prost(message, optional, tag = "40")]
    seal: Option<SealRecord>,
    #[prost(btree_map = "string, string", tag = "50")]
    tags: Tags,
    #[prost(message, optional, tag = "51")]
    pub(crate) sharing: Option<SharingRecord>,
    #[prost(string, tag = "52")]
    parent: String,
    /// While it is pending, of the volume's newest frozen layer.
    #[prost(uint64, optional, tag = "53")]
    layer: Option<u64>,
    /// While it is pending, of blocks that are sent.
    #[prost(message, optional, tag = "54")]
    blocks: Option<BlocksRecord>,
    /// While it is pending, of a snapshot of another region.
    #[prost(message, optional, tag = "60")]
    remote: Option<RemoteRecord>,
    /// While it is pending, of a content to be encrypted anew.
    #[prost(message, optional, tag = "70")]
    cover: Option<ContentRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RemoteRecord {
    #[prost(string, tag = "1")]
    region: String,
    #[prost(string, tag = "2")]
    image: String,
    #[prost(string, tag = "3")]
    snapshot: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SharingRecord {
    #[prost(bool, tag = "1")]
    pub(crate) public: bool,
    /// As numbers: a thousand of them stay well under a page or two.
    #[prost(fixed64, repeated, tag = "2")]
    accounts: Vec<u64>,
    #[prost(uint64, tag = "3")]
    revision: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BlocksRecord {
    #[prost(message, optional, tag = "1")]
    base: Option<ContentRecord>,
    #[prost(uint64, tag = "2")]
    timeout_ms: u64,
    #[prost(bool, tag = "3")]
    complete: bool,
}

impl SharingRecord {
    /// The accounts it is shared with, as text.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = String> {
        self.accounts.iter().map(|number| format!("{number:012}"))
    }
}

pub(super) fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

pub(super) fn parsed<T: std::str::FromStr, C: FromIterator<T>>(
    texts: &[String],
) -> Result<C, StorageError> {
    texts.iter().map(|text| text.parse().map_err(|_| StorageError::Damaged)).collect()
}

pub(super) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, StorageError> {
    text.parse().map_err(|_| StorageError::Damaged)
}

pub(super) fn optional<T: std::str::FromStr>(text: &str) -> Result<Option<T>, StorageError> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

impl From<&Content> for ContentRecord {
    fn from(content: &Content) -> Self {
        Self {
            domain: content.domain.to_string(),
            root: content.root.to_bytes().to_vec(),
            size_bytes: content.size_bytes,
            lineage: content.lineage.map(|id| id.to_string()).unwrap_or_default(),
        }
    }
}

impl TryFrom<&ContentRecord> for Content {
    type Error = StorageError;

    fn try_from(record: &ContentRecord) -> Result<Self, StorageError> {
        let root = record.root.as_slice().try_into().map_err(|_| StorageError::Damaged)?;
        Ok(Self {
            domain: parse(&record.domain)?,
            lineage: optional(&record.lineage)?,
            root: Root::from_bytes(root),
            size_bytes: record.size_bytes,
        })
    }
}

impl SnapshotRecord {
    /// Whose data keys it needs; none if it has failed, as it then needs nothing.
    pub(crate) fn readable_lineages(&self) -> Vec<Vec<u8>> {
        let seal = self.seal.iter().map(|seal| &seal.lineage);
        let of = self.cover.iter().map(|of| &of.lineage).filter(|lineage| !lineage.is_empty());
        let needed = seal.chain(of).filter(|_| self.state != 3);
        needed.map(|lineage| lineage.clone().into_bytes()).collect()
    }
}

impl From<Seal> for SealRecord {
    fn from(seal: Seal) -> Self {
        Self { lineage: seal.lineage.to_string(), key: seal.key.to_string() }
    }
}

impl TryFrom<&SealRecord> for Seal {
    type Error = StorageError;

    fn try_from(record: &SealRecord) -> Result<Self, StorageError> {
        Ok(Self { lineage: parse(&record.lineage)?, key: parse(&record.key)? })
    }
}

impl From<&Snapshot> for SnapshotRecord {
    fn from(snapshot: &Snapshot) -> Self {
        let (state, error) = match &snapshot.state {
            SnapshotState::Pending => (1, String::new()),
            SnapshotState::Completed(_) => (2, String::new()),
            SnapshotState::Error(why) => (3, why.clone()),
        };
        Self {
            id: snapshot.id.to_string(),
            account: snapshot.account.to_string(),
            description: snapshot.description.clone(),
            state,
            error,
            content: snapshot.content().as_ref().map(ContentRecord::from),
            size_bytes: snapshot.size_bytes,
            volume: snapshot.volume.map(|id| id.to_string()).unwrap_or_default(),
            product_codes: texts(&snapshot.product_codes),
            images: texts(&snapshot.images),
            new_bytes: snapshot.new_bytes,
            stored_bytes: snapshot.stored_bytes,
            created_ms: snapshot.created_ms,
            consistency: match snapshot.consistency {
                Consistency::Imported => 1,
                Consistency::Stopped => 2,
                Consistency::Crash => 3,
            },
            pause_micros: snapshot.pause_micros,
            seal: snapshot.seal.map(SealRecord::from),
            tags: snapshot.tags.clone(),
            sharing: (snapshot.sharing != Sharing::default())
                .then(|| SharingRecord::from(&snapshot.sharing)),
            parent: snapshot.parent.map(|id| id.to_string()).unwrap_or_default(),
            layer: match &snapshot.making {
                Some(Making::Freeze { layer }) => Some(*layer),
                _ => None,
            },
            blocks: match &snapshot.making {
                Some(Making::Blocks(blocks)) => Some(BlocksRecord {
                    base: blocks.base.as_ref().map(ContentRecord::from),
                    timeout_ms: blocks.timeout_ms,
                    complete: blocks.complete,
                }),
                _ => None,
            },
            remote: match &snapshot.making {
                Some(Making::Remote(remote)) => Some(RemoteRecord {
                    region: remote.region.clone(),
                    image: remote.image.map(|id| id.to_string()).unwrap_or_default(),
                    snapshot: remote.snapshot.to_string(),
                }),
                _ => None,
            },
            cover: match &snapshot.making {
                Some(Making::Cover(source)) => Some(source.into()),
                _ => None,
            },
        }
    }
}

impl From<&Sharing> for SharingRecord {
    fn from(sharing: &Sharing) -> Self {
        // Twelve digits always fit.
        let number = |account: &vmint_ids::AccountId| account.to_string().parse().unwrap_or(0);
        let accounts = sharing.accounts.iter().map(number).collect();
        Self { public: sharing.public, accounts, revision: sharing.revision }
    }
}

impl TryFrom<&SharingRecord> for Sharing {
    type Error = StorageError;

    fn try_from(record: &SharingRecord) -> Result<Self, StorageError> {
        let accounts = record.accounts().map(|text| parse(&text)).collect::<Result<_, _>>()?;
        Ok(Self { public: record.public, accounts, revision: record.revision })
    }
}

impl TryFrom<&SnapshotRecord> for Snapshot {
    type Error = StorageError;

    fn try_from(record: &SnapshotRecord) -> Result<Self, StorageError> {
        let state = match (record.state, &record.content) {
            (1, _) => SnapshotState::Pending,
            (2, Some(content)) => SnapshotState::Completed(content.try_into()?),
            (3, _) => SnapshotState::Error(record.error.clone()),
            _ => return Err(StorageError::Damaged),
        };
        Ok(Self {
            id: parse(&record.id)?,
            account: parse(&record.account)?,
            description: record.description.clone(),
            state,
            size_bytes: record.size_bytes,
            volume: optional(&record.volume)?,
            product_codes: parsed(&record.product_codes)?,
            images: parsed(&record.images)?,
            new_bytes: record.new_bytes,
            stored_bytes: record.stored_bytes,
            created_ms: record.created_ms,
            consistency: match record.consistency {
                1 => Consistency::Imported,
                2 => Consistency::Stopped,
                3 => Consistency::Crash,
                _ => return Err(StorageError::Damaged),
            },
            pause_micros: record.pause_micros,
            seal: record.seal.as_ref().map(Seal::try_from).transpose()?,
            tags: record.tags.clone(),
            sharing: record
                .sharing
                .as_ref()
                .map(Sharing::try_from)
                .transpose()?
                .unwrap_or_default(),
            parent: optional(&record.parent)?,
            making: match (&record.blocks, record.layer, &record.remote) {
                (Some(blocks), ..) => Some(Making::Blocks(Blocks {
                    base: blocks.base.as_ref().map(Content::try_from).transpose()?,
                    timeout_ms: blocks.timeout_ms,
                    complete: blocks.complete,
                })),
                (None, Some(layer), _) => Some(Making::Freeze { layer }),
                (None, None, Some(remote)) => Some(Making::Remote(Remote {
                    region: remote.region.clone(),
                    image: optional(&remote.image)?,
                    snapshot: parse(&remote.snapshot)?,
                })),
                (None, None, None) => {
                    let source = record.cover.as_ref().map(Content::try_from).transpose()?;
                    source.map(Making::Cover)
                }
            },
            far: Far::default(),
        })
    }
}
