//! Which promises of the source document a story proves, and which of EC2's
//! numbered semantics a test.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{Result, root};

/// Promises are numbered S1 to this.
const LAST: u32 = 58;

/// Semantics that plain copies of EC2 get wrong are numbered 1 to this.
const LAST_SEMANTICS: u32 = 42;

/// Prints the promises that no story's `//! Proves:` line names, and the numbers
/// that no test called `semantics_<number>_…` bears.
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
    println!("proved: {}", list("S", proved.iter()));
    println!("open:   {}", list("S", open.iter()));
    let mut tested = BTreeSet::new();
    for dir in ["crates", "tests"] {
        numbers(&root().join(dir), &mut tested)?;
    }
    let open: Vec<_> = (1..=LAST_SEMANTICS).filter(|id| !tested.contains(id)).collect();
    println!("semantics tested: {}", list("", tested.iter()));
    println!("semantics open:   {}", list("", open.iter()));
    Ok(())
}

/// The numbers in the names of tests below `dir`.
fn numbers(dir: &Path, found: &mut BTreeSet<u32>) -> Result {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                numbers(&path, found)?;
            }
            continue;
        }
        // Stories of real clients are written in Python.
        if path.extension().is_none_or(|extension| extension != "rs" && extension != "py") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        for name in text.split(['(', ' ']).filter_map(|word| word.strip_prefix("semantics_")) {
            let numbers = name.split('_').map_while(|part| part.parse::<u32>().ok());
            found.extend(numbers);
        }
    }
    Ok(())
}

fn list<'a>(letter: &str, ids: impl Iterator<Item = &'a u32>) -> String {
    ids.map(|id| format!("{letter}{id}")).collect::<Vec<_>>().join(" ")
}
