//! The project's own tools: `cargo xtask <tool>`.

mod bench;
mod ci;
mod clients;
mod fuzz;
mod golden;
mod layers;
mod stories;

use clients::Which;
use std::{
    env,
    error::Error,
    path::Path,
    process::{Command, ExitCode},
};

/// Any failure, with a text that says what to do.
type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "cargo xtask <tool>
  ci              install what the tests need and run all of them
  clients [name]  drive foreign clients and record how they fared, or one of them
  layers          check that crates import only what lies below them
  stories         list what no test proves: the promises, and EC2's semantics
  golden          write the pages that are made from code
  fuzz [target]   give strangers' bytes to what parses them; --seconds N, 60 without
  bench <name>    measure: store, storage, launch, ec2; each beside a limit or a peer;
                  --quick shows that it works, and records nothing";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["ci"] => ci::run(),
        ["clients"] => clients::run(Which::All).map(drop),
        ["clients", name] => clients::run(Which::One(name)).map(drop),
        ["layers"] => layers::run(),
        ["stories"] => stories::run(),
        ["golden"] => golden::run(),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["bench", name] => bench::run(name, false),
        ["bench", name, "--quick"] => bench::run(name, true),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A cargo of its own, in the project's top folder.
///
/// What the cargo that started this program says of the package is not for another: a dependency
/// asks for it, so that each of a user's builds and ours would undo the other's.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// The project's top folder.
fn root() -> &'static Path {
    // xtask lies right below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
