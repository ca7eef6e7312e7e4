//! Gzip members, one after the other.

use std::io::{self, BufRead};

use flate2::bufread::GzDecoder;

use super::drain;
use super::input::Input;
use super::staged::Staged;

/// Unfolds every member. Zeros may follow the last one, as tapes and some tools pad with them.
pub(super) fn unfold(input: &mut Input<'_>, out: &mut Staged<'_>) -> io::Result<()> {
    loop {
        drain(GzDecoder::new(&mut *input), out)?;
        match input.fill_buf()?.first() {
            None => return Ok(()),
            Some(0) => return padding(input),
            Some(_) => {}
        }
    }
}

fn padding(input: &mut Input<'_>) -> io::Result<()> {
    loop {
        let piece = input.fill_buf()?;
        if piece.iter().any(|byte| *byte != 0) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match piece.len() {
            0 => return Ok(()),
            len => input.consume(len),
        }
    }
}
