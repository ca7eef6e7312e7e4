//! The JSON of an OCI image layout, as far as bundles use it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ARTIFACT, CONFIG, INDEX, MANIFEST, bad};
use crate::ImageError;

/// The version of the layout, and of manifests and indexes.
const LAYOUT: &str = "1.0.0";
const SCHEMA: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    image_layout_version: String,
}

/// A blob that another file names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) artifact_type: String,
}

impl Descriptor {
    /// Whether it may be the manifest of an image: others may stand beside it.
    pub(super) fn is_ours(&self) -> bool {
        self.media_type == MANIFEST
            && (self.artifact_type.is_empty() || self.artifact_type == ARTIFACT)
    }

    /// The digest; only SHA-256 is read.
    pub(super) fn sha256(&self) -> Option<[u8; 32]> {
        let text = self.digest.strip_prefix("sha256:")?;
        super::config::unhex(text)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    pub(super) manifests: Vec<Descriptor>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    schema_version: u32,
    #[serde(default)]
    artifact_type: String,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

pub(super) fn parse<T: DeserializeOwned>(text: &[u8], at: u64) -> Result<T, ImageError> {
    // It recurses no deeper than 128 levels.
    serde_json::from_slice(text)
        .map_err(|_| bad("a manifest, config or index is not understood", at))
}

pub(super) fn check_mark(text: &[u8], at: u64) -> Result<(), ImageError> {
    let mark: Mark = parse(text, at)?;
    if mark.image_layout_version == LAYOUT {
        return Ok(());
    }
    Err(bad("the layout has a version that is not known", at))
}

pub(super) fn manifest(text: &[u8], at: u64) -> Result<Manifest, ImageError> {
    let manifest: Manifest = parse(text, at)?;
    let ours = manifest.artifact_type == ARTIFACT && manifest.config.media_type == CONFIG;
    if manifest.schema_version != SCHEMA || !ours {
        return Err(bad("it holds another kind of image, such as a container's", at));
    }
    Ok(manifest)
}

/// The text of `oci-layout`.
pub(crate) fn mark() -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Mark { image_layout_version: LAYOUT.to_owned() })
}

/// The text of a manifest.
pub(crate) fn write(config: &Descriptor, layers: &[Descriptor]) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Whole<'a> {
        schema_version: u32,
        media_type: &'a str,
        artifact_type: &'a str,
        config: &'a Descriptor,
        layers: &'a [Descriptor],
    }
    let (media_type, artifact_type) = (MANIFEST, ARTIFACT);
    serde_json::to_vec(&Whole { schema_version: SCHEMA, media_type, artifact_type, config, layers })
}

/// The text of `index.json` for one manifest.
pub(crate) fn index(manifest: &Descriptor, name: &str) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Named<'a> {
        #[serde(flatten)]
        manifest: &'a Descriptor,
        annotations: Annotations<'a>,
    }
    #[derive(Serialize)]
    struct Annotations<'a> {
        #[serde(rename = "org.opencontainers.image.ref.name")]
        name: &'a str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Whole<'a> {
        schema_version: u32,
        media_type: &'a str,
        manifests: [Named<'a>; 1],
    }
    let manifests = [Named { manifest, annotations: Annotations { name } }];
    serde_json::to_vec(&Whole { schema_version: SCHEMA, media_type: INDEX, manifests })
}
