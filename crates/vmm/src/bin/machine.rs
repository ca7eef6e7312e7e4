//! The shim as a program of its own, for this crate's tests; vmint has it built in.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match (words.next(), words.next(), words.next()) {
        (Some(verb), Some(dir), None) if verb == "__machine" => {
            vmint_vmm::shim::main(Path::new(&dir))
        }
        _ => {
            eprintln!("usage: machine __machine DIR");
            ExitCode::from(2)
        }
    }
}
