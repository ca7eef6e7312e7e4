//! Values with a type.

use std::str::FromStr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use time::OffsetDateTime;
use vmint_ids::{Id, Kind};

use super::Params;
use crate::{Code, Error};

impl Params {
    /// A text; none if it is empty.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.raw(name)?.filter(|text| !text.is_empty()))
    }

    /// A text, be it empty: where nothing is a value too, as of a tag.
    pub fn raw(&mut self, name: &str) -> Result<Option<String>, Error> {
        let Some(node) = self.take(name) else { return Ok(None) };
        if let Some(inner) = node.inner.keys().next() {
            return Err(Error::unknown(&format!("{}.{inner}", self.name_of(name))));
        }
        Ok(node.value)
    }

    /// A text that must be there: `MissingParameter`.
    pub fn need(&mut self, name: &str) -> Result<String, Error> {
        self.text(name)?.ok_or_else(|| Error::missing(&self.name_of(name)))
    }

    /// `true` or `false`; also `1`, `0` and other cases.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Error> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(Error::invalid(&self.name_of(name), &text, "It must be true or false.")),
        }
    }

    /// A whole number of the type that is asked for.
    pub fn number<N: FromStr>(&mut self, name: &str) -> Result<Option<N>, Error> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let why = "It must be a whole number in the range of the parameter.";
        text.parse().map(Some).map_err(|_| Error::invalid(&self.name_of(name), &text, why))
    }

    /// A point in time.
    pub fn time(&mut self, name: &str) -> Result<Option<OffsetDateTime>, Error> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let why = "It must be a time such as 2027-01-31T23:59:59Z.";
        crate::stamp::parse_parameter(&text)
            .map(Some)
            .ok_or_else(|| Error::invalid(&self.name_of(name), &text, why))
    }

    /// Bytes in base64. Line breaks are skipped, padding may be missing.
    pub fn blob(&mut self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let mut dense = text.clone();
        dense.retain(|c| !c.is_ascii_whitespace());
        while dense.len() % 4 != 0 && !dense.ends_with("==") {
            dense.push('=');
        }
        BASE64_STANDARD
            .decode(&dense)
            .map(Some)
            .map_err(|_| Error::invalid(&self.name_of(name), &text, "It must be base64."))
    }

    /// One of a few words.
    pub fn choice<T: Copy>(
        &mut self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, Error> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let found = choices.iter().find(|(word, _)| *word == text);
        found.map(|(_, choice)| Some(*choice)).ok_or_else(|| {
            let words = choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            Error::invalid(&self.name_of(name), &text, &format!("It must be one of {words}."))
        })
    }

    /// A list of texts `name.1`, `name.2`; empty ones are left out.
    pub fn list(&mut self, name: &str) -> Result<Vec<String>, Error> {
        let elements = self.indexed(name)?;
        let mut texts = Vec::with_capacity(elements.len());
        for (index, node) in elements {
            if let Some(inner) = node.inner.keys().next() {
                return Err(Error::unknown(&format!("{}.{index}.{inner}", self.name_of(name))));
            }
            texts.extend(node.value.filter(|text| !text.is_empty()));
        }
        Ok(texts)
    }

    /// An id; `…Malformed` or, for the short form that EC2 gave out long ago
    /// and we never did, `…NotFound`.
    pub fn id<K: Kind>(&mut self, name: &str) -> Result<Option<Id<K>>, Error> {
        self.text(name)?.map(|text| parse_id(&text)).transpose()
    }

    /// An id that must be there.
    pub fn need_id<K: Kind>(&mut self, name: &str) -> Result<Id<K>, Error> {
        parse_id(&self.need(name)?)
    }

    /// A list of ids.
    pub fn ids<K: Kind>(&mut self, name: &str) -> Result<Vec<Id<K>>, Error> {
        self.list(name)?.iter().map(|text| parse_id(text)).collect()
    }
}

/// Reads an id as EC2 does; the error has the code of its kind.
pub fn parse_id<K: Kind>(text: &str) -> Result<Id<K>, Error> {
    text.parse().map_err(|_| {
        let short = text
            .strip_prefix(K::PREFIX)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|d| d.len() == 8 && d.bytes().all(|b| b.is_ascii_hexdigit()));
        if short { not_found(K::PREFIX, text) } else { malformed(K::PREFIX, text) }
    })
}

fn malformed(prefix: &str, text: &str) -> Error {
    let code = match prefix {
        "ami" => Code::InvalidAmiIdMalformed,
        "snap" => Code::InvalidSnapshotIdMalformed,
        "vol" => Code::InvalidVolumeIdMalformed,
        "i" => Code::InvalidInstanceIdMalformed,
        _ => Code::InvalidParameterValue,
    };
    let shown = text.chars().take(64).collect::<String>();
    Error::new(code, format!("Invalid id: \"{shown}\" (expecting \"{prefix}-...\")"))
}

/// There is nothing of this id, in EC2's words and with the code of its kind.
#[must_use]
pub fn not_found(prefix: &str, text: &str) -> Error {
    let (code, message) = match prefix {
        "ami" => (Code::InvalidAmiIdNotFound, format!("The image id '[{text}]' does not exist")),
        "snap" => (Code::InvalidSnapshotNotFound, format!("The snapshot '{text}' does not exist.")),
        "vol" => (Code::InvalidVolumeNotFound, format!("The volume '{text}' does not exist.")),
        "i" => {
            let message = format!("The instance ID '{text}' does not exist");
            (Code::InvalidInstanceIdNotFound, message)
        }
        "key" => (Code::InvalidKeyPairNotFound, format!("The key pair '{text}' does not exist")),
        _ => (Code::InvalidId, format!("The ID '{text}' is not valid")),
    };
    Error::new(code, message)
}
