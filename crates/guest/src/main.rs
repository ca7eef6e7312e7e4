//! The first-boot agent of vmint's own images.
//!
//! `boot` makes the machine what its metadata says: host name, launch key, host keys of
//! its own. `finish` says when it can be reached and runs the user's script, once per
//! instance. `power-button` stays and switches the machine off when the button is pressed.

// Times are told in seconds throughout, so that they compare.
#![allow(clippy::duration_suboptimal_units)]

mod finish;
mod http;
mod identity;
mod metadata;
mod power;

use std::process::ExitCode;

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let result = match verb.as_str() {
        "boot" => identity::boot(),
        "finish" => finish::run(),
        "power-button" => power::watch(),
        _ => {
            eprintln!("usage: vmint-guest boot | finish | power-button");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, so that whoever reads the serial log finds it.
            println!("vmint-guest: {verb} failed: {error}");
            ExitCode::FAILURE
        }
    }
}
