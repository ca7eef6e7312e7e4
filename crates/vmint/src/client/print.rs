//! What was found, for people and for programs.

use std::sync::OnceLock;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use super::{Failure, Result};

/// A line of a table.
pub(crate) type Row = Vec<String>;

/// Prints columns under a header; nothing but the header if there is nothing.
pub(crate) fn table(header: &[&str], rows: &[Row]) {
    let mut widths: Vec<usize> = header.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            text.push_str(cell);
            let gap = width.saturating_sub(cell.chars().count()) + 2;
            text.extend(std::iter::repeat_n(' ', gap));
        }
        println!("{}", text.trim_end());
    };
    line(&mut header.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}

/// The descriptors of every message, read once.
pub(crate) fn pool() -> Result<&'static DescriptorPool> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(vmint_api::DESCRIPTORS).ok())
        .as_ref()
        .ok_or_else(|| Failure::new("this build's own descriptors cannot be read"))
}

/// Prints messages of the type `name` as one proto3 JSON array.
pub(crate) fn json<M: prost::Message>(name: &str, messages: &[M]) -> Result<()> {
    let descriptor = pool()?
        .get_message_by_name(name)
        .ok_or_else(|| Failure::new(format!("no message is called {name}")))?;
    let mut values = Vec::new();
    for message in messages {
        let bytes = message.encode_to_vec();
        let message = DynamicMessage::decode(descriptor.clone(), bytes.as_slice())
            .map_err(|error| Failure::new(error.to_string()))?;
        values.push(to_json(&message)?);
    }
    println!("{}", serde_json::Value::Array(values));
    Ok(())
}

/// One message as proto3 JSON.
pub(crate) fn to_json(message: &DynamicMessage) -> Result<serde_json::Value> {
    let options = SerializeOptions::new().stringify_64_bit_integers(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| Failure::new(error.to_string()))
}

/// Bytes as people read them.
#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.0} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.0} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
