//! Where in the view's one key space each kind of row lives.
//!
//! One tree holds everything, so that one batch is one atomic step.

/// Rows of tables: `t` name 0 key.
pub(crate) fn table(name: &str, key: &[u8]) -> Vec<u8> {
    compose(b't', name, key)
}

/// Index entries: `i` table 0 index 0 value end primary-key.
pub(crate) fn index(table: &str, index: &str, rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(table.len() + index.len() + rest.len() + 3);
    out.push(b'i');
    out.extend_from_slice(table.as_bytes());
    out.push(0);
    out.extend_from_slice(index.as_bytes());
    out.push(0);
    out.extend_from_slice(rest);
    out
}

/// Events: `o` topic 0 number.
pub(crate) fn event(topic: &str, number: Option<u64>) -> Vec<u8> {
    match number {
        Some(number) => compose(b'o', topic, &number.to_be_bytes()),
        None => compose(b'o', topic, &[]),
    }
}

fn compose(space: u8, name: &str, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + key.len() + 2);
    out.push(space);
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.extend_from_slice(key);
    out
}

/// A raw key as a person may read it in an error.
pub(crate) fn name(key: &[u8]) -> String {
    let name = key.get(1..).unwrap_or_default().split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}
