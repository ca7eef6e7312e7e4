//! A manifest as XML: written in one way only, and read only so.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::manifest::{Manifest, Mapping, Part};
use super::{BundleError, MAX_MANIFEST_BYTES, MAX_PARTS, part_name};
use crate::write::hex;

/// The version of the manifest's form.
const VERSION: &str = "2026-11-01";
/// What stands before the signature's 128 hexadecimal digits, and behind them.
const BEFORE: &str = "  <signature algorithm=\"Ed25519\">";
const BEHIND: &str = "</signature>\n</manifest>\n";
/// The most elements: three a part, and what is around them.
const MAX_ELEMENTS: usize = 4 * MAX_PARTS + 1024;
const MAX_DEPTH: usize = 8;

/// The manifest as bytes, with what `sign` says of all that stand before the signature.
///
/// Errors: [`BundleError::Manifest`].
pub fn signed(
    manifest: &Manifest,
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Result<Vec<u8>, BundleError> {
    manifest.check()?;
    let body = body(manifest);
    let signature = sign(body.as_bytes());
    Ok([&body, BEFORE, &hex(&signature), BEHIND].concat().into_bytes())
}

/// Reads a manifest, once `holds` has said that its signature does.
///
/// Errors: all of [`BundleError`] but `Stream` and `Io`.
pub fn read(
    bytes: &[u8],
    holds: impl FnOnce(&[u8], &[u8; 64]) -> bool,
) -> Result<Manifest, BundleError> {
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(BundleError::TooLarge);
    }
    let head = bytes.strip_suffix(BEHIND.as_bytes()).ok_or(BundleError::NotOne)?;
    let (head, digits) = head.split_last_chunk::<128>().ok_or(BundleError::NotOne)?;
    let body = head.strip_suffix(BEFORE.as_bytes()).ok_or(BundleError::NotOne)?;
    let signature = unhex::<64>(digits).ok_or(BundleError::NotOne)?;
    if !holds(body, &signature) {
        return Err(BundleError::Signature);
    }
    let manifest = Fields::read(bytes)?.manifest()?;
    manifest.check()?;
    // Nothing stands in it that was not understood.
    if self::body(&manifest).as_bytes() == body {
        Ok(manifest)
    } else {
        Err(BundleError::Manifest("it is not written as we write it"))
    }
}

/// All that stands before the signature. No text of a checked manifest needs escaping.
fn body(it: &Manifest) -> String {
    let mut text = String::with_capacity(4096 + 200 * it.parts.len());
    let mut line = |depth: usize, parts: &[&str]| {
        text.extend(std::iter::repeat_n("  ", depth));
        text.extend(parts.iter().copied());
        text.push('\n');
    };
    line(0, &["<?xml version=\"1.0\" encoding=\"UTF-8\"?>"]);
    line(0, &["<manifest>"]);
    line(1, &["<version>", VERSION, "</version>"]);
    line(1, &["<machine_configuration>"]);
    line(2, &["<architecture>", &it.architecture, "</architecture>"]);
    line(2, &["<platform>", &it.platform, "</platform>"]);
    line(2, &["<block_device_mapping>"]);
    for Mapping { virtual_name, device_name } in &it.mappings {
        line(3, &["<mapping>"]);
        line(4, &["<virtual>", virtual_name, "</virtual>"]);
        line(4, &["<device>", device_name, "</device>"]);
        line(3, &["</mapping>"]);
    }
    line(2, &["</block_device_mapping>"]);
    line(2, &["<product_codes>"]);
    for code in &it.product_codes {
        line(3, &["<product_code>", code, "</product_code>"]);
    }
    line(2, &["</product_codes>"]);
    line(1, &["</machine_configuration>"]);
    line(1, &["<image>"]);
    line(2, &["<id>", &it.id, "</id>"]);
    line(2, &["<name>", &it.name, "</name>"]);
    line(2, &["<user>", &it.account, "</user>"]);
    line(2, &["<encrypted>", if it.encrypted { "true" } else { "false" }, "</encrypted>"]);
    line(2, &["<size>", &it.size_bytes.to_string(), "</size>"]);
    line(2, &["<digest algorithm=\"SHA256\">", &hex(&it.digest), "</digest>"]);
    line(2, &["<key_id>", &it.key_id, "</key_id>"]);
    line(2, &["<key algorithm=\"AES-256-GCM\">", &hex(&it.wrapped_key), "</key>"]);
    line(2, &["<parts count=\"", &it.parts.len().to_string(), "\">"]);
    for (index, part) in it.parts.iter().enumerate() {
        line(3, &["<part index=\"", &index.to_string(), "\">"]);
        line(4, &["<filename>", &part_name(&it.name, index), "</filename>"]);
        line(4, &["<size>", &part.bytes.to_string(), "</size>"]);
        line(4, &["<digest algorithm=\"SHA256\">", &hex(&part.digest), "</digest>"]);
        line(3, &["</part>"]);
    }
    line(2, &["</parts>"]);
    line(1, &["</image>"]);
    text
}

/// Where texts stand, and the texts, in their order.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        let odd = BundleError::Manifest;
        let text = str::from_utf8(bytes).map_err(|_| odd("it is not UTF-8"))?;
        let mut reader = Reader::from_str(text);
        let (mut path, mut inside) = (Vec::<String>::new(), String::new());
        let mut fields = Vec::new();
        loop {
            match reader.read_event().map_err(|_| odd("it is not well-formed XML"))? {
                Event::Start(start) => {
                    if path.len() >= MAX_DEPTH || fields.len() >= MAX_ELEMENTS {
                        return Err(odd("it nests too deeply, or has too many elements"));
                    }
                    path.push(start.local_name().as_ref().to_owned());
                    inside.clear();
                }
                Event::Text(part) => inside.push_str(&part),
                Event::End(_) => {
                    fields.push((path.join("/"), std::mem::take(&mut inside)));
                    path.pop();
                }
                Event::Decl(_) => {}
                Event::Eof if path.is_empty() => return Ok(Self(fields)),
                _ => return Err(odd("it holds something that no manifest needs")),
            }
        }
    }

    fn all<'a>(&'a self, path: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(at, _)| at == path).map(|(_, text)| text.as_str())
    }

    /// The one text at a place; more than one is found out when the manifest is written again.
    fn one(&self, path: &str) -> Result<&str, BundleError> {
        self.all(path).next().ok_or(BundleError::Manifest("something that it must say is missing"))
    }

    fn manifest(&self) -> Result<Manifest, BundleError> {
        let odd = |what| move || BundleError::Manifest(what);
        let number = |text: &str| text.parse::<u64>().ok();
        let digest = |text: &str| unhex::<32>(text.as_bytes());
        let machine = |name: &str| self.one(&format!("manifest/machine_configuration/{name}"));
        let image = |name: &str| self.one(&format!("manifest/image/{name}"));
        let mapping = "manifest/machine_configuration/block_device_mapping/mapping";
        let (of_virtual, of_device) = (format!("{mapping}/virtual"), format!("{mapping}/device"));
        let mappings = self.all(&of_virtual).zip(self.all(&of_device));
        let codes = "manifest/machine_configuration/product_codes/product_code";
        let sizes = self.all("manifest/image/parts/part/size").map(number);
        let digests = self.all("manifest/image/parts/part/digest").map(digest);
        let parts = sizes
            .zip(digests)
            .map(|(bytes, digest)| bytes.zip(digest).map(|(bytes, digest)| Part { bytes, digest }));
        Ok(Manifest {
            id: image("id")?.to_owned(),
            account: image("user")?.to_owned(),
            name: image("name")?.to_owned(),
            architecture: machine("architecture")?.to_owned(),
            platform: machine("platform")?.to_owned(),
            mappings: mappings
                .map(|(name, device)| Mapping {
                    virtual_name: name.to_owned(),
                    device_name: device.to_owned(),
                })
                .collect(),
            product_codes: self.all(codes).map(ToOwned::to_owned).collect(),
            encrypted: image("encrypted")? == "true",
            size_bytes: number(image("size")?).ok_or_else(odd("a size is no number"))?,
            digest: digest(image("digest")?).ok_or_else(odd("a digest is no SHA-256"))?,
            key_id: image("key_id")?.to_owned(),
            wrapped_key: bytes(image("key")?).ok_or_else(odd("the key is not hexadecimal"))?,
            parts: parts
                .collect::<Option<_>>()
                .ok_or_else(odd("a part has no size or no SHA-256"))?,
        })
    }
}

/// Lower-case hexadecimal digits, two a byte.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    bytes(str::from_utf8(digits).ok()?)?.try_into().ok()
}

fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
