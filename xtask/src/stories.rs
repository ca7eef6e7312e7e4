//! Which promises of the source document a story proves.

use std::{collections::BTreeSet, fs};

use crate::{Result, root};

/// Promises are numbered S1 to this.
const LAST: u32 = 58;

/// Prints the promises that no story's `//! Proves:` line names.
pub(crate) fn run() -> Result {
    let mut proved = BTreeSet::new();
    for entry in fs::read_dir(root().join("tests").join("tests"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let lines = text.lines().filter_map(|line| line.strip_prefix("//! Proves:"));
        for id in lines.flat_map(|line| line.split([',', ' ', '.'])) {
            proved.extend(id.strip_prefix('S').and_then(|number| number.parse::<u32>().ok()));
        }
    }
    let open: Vec<_> = (1..=LAST).filter(|id| !proved.contains(id)).collect();
    println!("proved: {}", list(proved.iter()));
    println!("open:   {}", list(open.iter()));
    Ok(())
}

fn list<'a>(ids: impl Iterator<Item = &'a u32>) -> String {
    ids.map(|id| format!("S{id}")).collect::<Vec<_>>().join(" ")
}
