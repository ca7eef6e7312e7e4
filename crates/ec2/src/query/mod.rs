//! Query requests: flat `A.1.B=value` pairs, read as a tree.

mod parse;
mod shapes;
#[cfg(test)]
mod tests;
mod typed;

use std::collections::BTreeMap;

pub(crate) use parse::decode_component;
pub use shapes::{BlockDeviceMapping, Ebs, Filter, Page, Tag, TagSpecification};
pub use typed::{not_found, parse_id};

use crate::Error;

/// The parameters of a request, or those inside one structure of it.
///
/// Getters take what they read, so that nothing is read twice. An empty text
/// is as if it were not sent, but for [`Params::raw`] and [`Params::has`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params {
    /// Where the structure stands, such as `BlockDeviceMapping.1.`.
    path: String,
    node: Node,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    value: Option<String>,
    inner: BTreeMap<String, Node>,
}

impl Params {
    /// The full name of one of the parameters.
    fn name_of(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    fn take(&mut self, name: &str) -> Option<Node> {
        self.node.inner.remove(name)
    }

    /// Whether it was sent, be it empty: `NoDevice=`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.node.inner.contains_key(name)
    }

    /// Whether there are none (left).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.node.inner.is_empty()
    }

    /// Every name (left) with its value, in the order of the names.
    #[must_use]
    pub fn leaves(&self) -> Vec<(String, &str)> {
        let mut found = Vec::new();
        let mut path = self.path.clone();
        for (name, node) in &self.node.inner {
            node.leaves(&mut path, name, &mut found);
        }
        found
    }

    /// Refuses what was not read: `UnknownParameter`.
    pub fn finish(&self) -> Result<(), Error> {
        let left = self.leaves().into_iter().find(|(_, value)| !value.is_empty());
        left.map_or(Ok(()), |(name, _)| Err(Error::unknown(&name)))
    }

    /// A structure `name.…`, read by `read`; none if it was not sent.
    pub fn inside<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let Some(node) = self.take(name) else { return Ok(None) };
        let mut inner = Self { path: format!("{}{name}.", self.path), node };
        read(&mut inner).map(Some)
    }

    /// A list of structures `name.1.…`, each read by `read`, by their index.
    pub fn each<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut read_all = Vec::new();
        for (index, node) in self.indexed(name)? {
            let mut inner = Self { path: format!("{}{name}.{index}.", self.path), node };
            read_all.push(read(&mut inner)?);
        }
        Ok(read_all)
    }

    /// The elements `name.N` by index. EC2 counts from 1, some clients from 0.
    fn indexed(&mut self, name: &str) -> Result<Vec<(u32, Node)>, Error> {
        let Some(node) = self.take(name) else { return Ok(Vec::new()) };
        let full = self.name_of(name);
        if let Some(value) = node.value.filter(|value| !value.is_empty()) {
            return Err(Error::invalid(&full, &value, "It is a list; send it as Name.1, Name.2."));
        }
        let mut elements = Vec::with_capacity(node.inner.len());
        for (index, inner) in node.inner {
            let parsed =
                parse::index(&index).ok_or_else(|| Error::unknown(&format!("{full}.{index}")))?;
            elements.push((parsed, inner));
        }
        elements.sort_unstable_by_key(|(index, _)| *index);
        Ok(elements)
    }
}

impl Node {
    fn leaves<'a>(&'a self, path: &mut String, name: &str, found: &mut Vec<(String, &'a str)>) {
        let before = path.len();
        path.push_str(name);
        if let Some(value) = &self.value {
            found.push((path.clone(), value));
        }
        path.push('.');
        for (name, node) in &self.inner {
            node.leaves(path, name, found);
        }
        path.truncate(before);
    }
}
