//! The OVF: which files there are, which of them are disks, and in which order a machine has
//! them. Nothing else in it is used.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::{FORMAT, bad};
use crate::{Feature, Format, ImageError};

const MAX_DEPTH: usize = 64;
/// The most attributes of one element, and the most files or disks.
const MAX_ATTRIBUTES: usize = 64;
const MAX_LIST: usize = 1024;

/// What an OVF says that we need.
#[derive(Default)]
pub(super) struct Package {
    files: Vec<File>,
    /// Only those that have a file, in the machine's order.
    pub(super) disks: Vec<Disk>,
    /// The disks that the machine's devices name, in their order.
    devices: Vec<String>,
}

pub(super) struct File {
    id: String,
    pub(super) href: Vec<u8>,
    pub(super) size: Option<u64>,
    pub(super) compression: Option<Format>,
}

pub(super) struct Disk {
    id: String,
    file: String,
    pub(super) capacity: Option<u64>,
    pub(super) format: Option<Format>,
}

impl Package {
    /// The file that holds a disk.
    pub(super) fn file(&self, disk: &Disk) -> Result<&File, ImageError> {
        let mut files = self.files.iter().filter(|file| file.id == disk.file);
        let file = files.next().ok_or_else(|| bad("a disk refers to a file that is not", 0))?;
        match files.next() {
            Some(_) => Err(bad("two files of the OVF have one id", 0)),
            None => Ok(file),
        }
    }
}

pub(super) fn parse(text: &[u8]) -> Result<Package, ImageError> {
    let text = str::from_utf8(text).map_err(|_| bad("the OVF is not UTF-8", 0))?;
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut package = Package::default();
    let (mut path, mut inside) = (Vec::<String>::new(), String::new());
    loop {
        let wrong = bad("the OVF is not well-formed XML", reader.buffer_position());
        let event = reader.read_event().map_err(|_| wrong)?;
        match event {
            Event::DocType(_) => {
                return Err(bad("the OVF declares a document type", reader.buffer_position()));
            }
            Event::Start(element) => {
                package.element(&path, &element)?;
                if path.len() >= MAX_DEPTH {
                    return Err(bad("the OVF nests too deeply", reader.buffer_position()));
                }
                path.push(element.local_name().as_ref().to_owned());
                inside.clear();
            }
            Event::Text(part) => inside.push_str(&part),
            Event::Empty(element) => package.element(&path, &element)?,
            Event::End(_) => {
                package.device(&path, &inside)?;
                inside.clear();
                path.pop();
            }
            Event::Eof if path.is_empty() => return Ok(package.ordered()),
            Event::Eof => return Err(bad("the OVF is cut short", reader.buffer_position())),
            _ => {}
        }
    }
}

impl Package {
    /// Takes note of a device that is a disk.
    fn device(&mut self, path: &[String], text: &str) -> Result<(), ImageError> {
        let [envelope, system, section, _, name] = path else { return Ok(()) };
        let place = [envelope.as_str(), system, section, name];
        if place != ["Envelope", "VirtualSystem", "VirtualHardwareSection", "HostResource"] {
            return Ok(());
        }
        let text = text.trim();
        let disk = text.strip_prefix("ovf:").unwrap_or(text).strip_prefix("/disk/");
        self.devices.extend(disk.map(str::to_owned));
        if self.devices.len() > MAX_LIST {
            return Err(bad("the OVF names too many devices", 0));
        }
        Ok(())
    }

    /// Puts the disks into the order of the devices, if each has exactly one.
    fn ordered(mut self) -> Self {
        let place = |disk: &Disk| {
            let mut found = self.devices.iter().enumerate().filter(|(_, id)| **id == disk.id);
            let first = found.next().map(|(place, _)| place);
            first.filter(|_| found.next().is_none())
        };
        let places: Option<Vec<usize>> = self.disks.iter().map(place).collect();
        if let Some(places) = places {
            let mut disks: Vec<_> =
                places.into_iter().zip(std::mem::take(&mut self.disks)).collect();
            disks.sort_by_key(|(place, _)| *place);
            self.disks = disks.into_iter().map(|(_, disk)| disk).collect();
        }
        self
    }

    fn element(&mut self, path: &[String], element: &BytesStart<'_>) -> Result<(), ImageError> {
        let name = element.local_name();
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        match (steps.as_slice(), name.as_ref()) {
            (["Envelope", "References"], "File") => {
                let file = file(&Attributes::read(element)?)?;
                self.files.push(file);
            }
            (["Envelope", "DiskSection"], "Disk") => {
                let disk = disk(&Attributes::read(element)?)?;
                self.disks.extend(disk);
            }
            _ => {}
        }
        if self.files.len() > MAX_LIST || self.disks.len() > MAX_LIST {
            return Err(bad("the OVF names too many files or disks", 0));
        }
        Ok(())
    }
}

fn file(attributes: &Attributes) -> Result<File, ImageError> {
    let missing = || bad("a file of the OVF has no id or no name", 0);
    let href = attributes.get("href").ok_or_else(missing)?;
    // A name is compared with names in the archive and nothing else: one that could mean another
    // place is refused all the same.
    if href.contains(['/', '\\', ':']) || href == ".." || href == "." || href.is_empty() {
        return Err(bad("a file of the OVF lies outside the package", 0));
    }
    if attributes.get("chunkSize").is_some() {
        return Err(ImageError::Feature { format: FORMAT, feature: Feature::ExternalExtents });
    }
    let compression = match attributes.get("compression").unwrap_or("identity") {
        "identity" | "" => None,
        "gzip" => Some(Format::Gzip),
        "bzip2" => Some(Format::Bzip2),
        _ => return Err(bad("a file of the OVF is compressed in an unknown way", 0)),
    };
    let size = attributes.get("size").map(str::parse);
    let size = size.transpose().map_err(|_| bad("a file's size in the OVF is no number", 0))?;
    let id = attributes.get("id").ok_or_else(missing)?.to_owned();
    Ok(File { id, href: href.as_bytes().to_vec(), size, compression })
}

/// A disk, unless it is an empty one.
fn disk(attributes: &Attributes) -> Result<Option<Disk>, ImageError> {
    if attributes.get("parentRef").is_some() {
        return Err(ImageError::Feature { format: FORMAT, feature: Feature::Differencing });
    }
    let Some(file) = attributes.get("fileRef") else { return Ok(None) };
    let format = attributes.get("format").unwrap_or_default().to_ascii_lowercase();
    let names = [
        ("vmdk", Format::Vmdk),
        ("vhdx", Format::Vhdx),
        ("vhd", Format::Vhd),
        ("bb676673", Format::Vhd),
        ("qcow", Format::Qcow2),
        ("vdi", Format::Vdi),
        ("raw", Format::Raw),
    ];
    let format = names.into_iter().find(|(name, _)| format.contains(name));
    let capacity = attributes.get("capacity").and_then(|text| text.parse::<u64>().ok());
    let unit = unit(attributes.get("capacityAllocationUnits").unwrap_or("byte"));
    let capacity = capacity.zip(unit).and_then(|(count, unit)| count.checked_mul(unit));
    let id = attributes.get("diskId").unwrap_or_default().to_owned();
    let (file, format) = (file.to_owned(), format.map(|(_, format)| format));
    Ok(Some(Disk { id, file, capacity, format }))
}

/// `byte`, `byte * 2^30`, or the words of the first version.
fn unit(text: &str) -> Option<u64> {
    let text: String = text.to_ascii_lowercase().split_whitespace().collect();
    match text.as_str() {
        "byte" | "bytes" => return Some(1),
        "kilobytes" => return Some(1 << 10),
        "megabytes" => return Some(1 << 20),
        "gigabytes" => return Some(1 << 30),
        _ => {}
    }
    let (base, exponent) = text.strip_prefix("byte*")?.split_once('^')?;
    base.parse::<u64>().ok()?.checked_pow(exponent.parse().ok()?)
}

/// An element's attributes by local name; prefixes differ from tool to tool.
struct Attributes(Vec<(String, String)>);

impl Attributes {
    fn read(element: &BytesStart<'_>) -> Result<Self, ImageError> {
        let wrong = |_| bad("an element of the OVF has a broken attribute", 0);
        let mut list = Vec::new();
        for attribute in element.attributes() {
            let attribute = attribute.map_err(wrong)?;
            let value = attribute.normalized_value(XmlVersion::default());
            let value = value.map_err(|_| bad("the OVF uses an entity of its own", 0))?;
            let name = attribute.key.local_name();
            let name = name.as_ref().to_owned();
            if list.iter().any(|(other, _)| *other == name) {
                return Err(bad("an element of the OVF says something twice", 0));
            }
            list.push((name, value.into_owned()));
            if list.len() > MAX_ATTRIBUTES {
                return Err(bad("an element of the OVF has too many attributes", 0));
            }
        }
        Ok(Self(list))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}
