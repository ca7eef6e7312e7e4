//! Bodies in `aws-chunked`: pieces with their lengths, perhaps signed, and
//! perhaps sums behind them.

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use super::{S3Error, S3Kind};
use crate::sigv4::{Scope, SigningKey};

/// The longest line between pieces.
const MAX_LINE: usize = 16 << 10;
/// The largest piece; it is held until its signature is checked.
const MAX_PIECE: usize = 16 << 20;
/// Lines behind the last piece.
const MAX_TRAILERS: usize = 16;

/// What signed pieces are checked with.
#[derive(Debug, Clone)]
pub struct Signing {
    pub key: SigningKey,
    /// `20270131T235959Z`, as signed.
    pub date: String,
    pub scope: Scope,
    /// Of what came before: at first of the request itself.
    pub previous: [u8; 32],
}

/// Takes a body apart as it comes.
#[derive(Debug)]
pub struct Chunked {
    signing: Option<Signing>,
    trailing: bool,
    state: State,
    line: Vec<u8>,
    /// Of a signed piece, until it is whole.
    piece: Vec<u8>,
    signature: Option<[u8; 32]>,
    trailers: Vec<(String, String)>,
    /// The trailers as they are signed.
    trailed: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length,
    Piece(usize),
    /// The line break behind a piece.
    Break,
    Trailer,
    End,
}

impl Chunked {
    /// With `signing`, each piece must be signed; with `trailing`, sums may
    /// follow the last one.
    #[must_use]
    pub fn new(signing: Option<Signing>, trailing: bool) -> Self {
        Self {
            signing,
            trailing,
            state: State::Length,
            line: Vec::new(),
            piece: Vec::new(),
            signature: None,
            trailers: Vec::new(),
            trailed: Vec::new(),
        }
    }

    /// Takes what came and gives its content, as far as it is checked, to
    /// `content`.
    pub fn take(&mut self, mut came: &[u8], content: &mut Vec<u8>) -> Result<(), S3Error> {
        while !came.is_empty() {
            match self.state {
                State::End => return Err(incomplete("Something follows the end of the body.")),
                State::Piece(left) => {
                    let (now, rest) = came.split_at(left.min(came.len()));
                    came = rest;
                    let left = left - now.len();
                    if self.signing.is_some() {
                        self.piece.extend_from_slice(now);
                    } else {
                        content.extend_from_slice(now);
                    }
                    self.state = State::Piece(left);
                    if left == 0 {
                        self.check_piece()?;
                        content.append(&mut self.piece);
                        self.state = State::Break;
                    }
                }
                State::Length | State::Break | State::Trailer => {
                    let Some(end) = came.iter().position(|byte| *byte == b'\n') else {
                        self.hold(came)?;
                        return Ok(());
                    };
                    let (now, rest) = came.split_at(end + 1);
                    came = rest;
                    self.hold(now)?;
                    let line = std::mem::take(&mut self.line);
                    let line = std::str::from_utf8(&line)
                        .map_err(|_| incomplete("A line of the body is not text."))?;
                    self.line_came(line.trim_end_matches(['\r', '\n']))?;
                }
            }
        }
        Ok(())
    }

    /// The trailers, by their lower-case names, once the body has ended.
    pub fn finish(self) -> Result<Vec<(String, String)>, S3Error> {
        if self.state == State::End {
            return Ok(self.trailers);
        }
        // The last line break may be missing where nothing follows.
        let ended = self.state == State::Trailer && self.line.is_empty() && self.signing.is_none();
        if ended { Ok(self.trailers) } else { Err(incomplete("The body ended too early.")) }
    }

    fn hold(&mut self, part: &[u8]) -> Result<(), S3Error> {
        if self.line.len() + part.len() > MAX_LINE {
            return Err(incomplete("A line of the body is too long."));
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn line_came(&mut self, line: &str) -> Result<(), S3Error> {
        match self.state {
            State::Break if line.is_empty() => {
                self.state = State::Length;
                Ok(())
            }
            State::Length => self.length_came(line),
            State::Trailer if line.is_empty() => {
                self.check_trailer()?;
                self.state = State::End;
                Ok(())
            }
            State::Trailer => self.trailer_came(line),
            State::Break | State::Piece(_) | State::End => {
                Err(incomplete("A piece is longer than it says."))
            }
        }
    }

    fn length_came(&mut self, line: &str) -> Result<(), S3Error> {
        let (length, extension) = line.split_once(';').unwrap_or((line, ""));
        let digits =
            (1..=8).contains(&length.len()) && length.bytes().all(|b| b.is_ascii_hexdigit());
        let length = digits.then(|| usize::from_str_radix(length, 16).ok()).flatten();
        let length = length.ok_or_else(|| incomplete("A piece has no length."))?;
        self.signature = extension.strip_prefix("chunk-signature=").and_then(signature);
        if self.signing.is_some() {
            if length > MAX_PIECE {
                return Err(incomplete("A signed piece is longer than 16 MiB."));
            }
            if self.signature.is_none() {
                return Err(incomplete("A piece has no signature."));
            }
        }
        if length > 0 {
            self.state = State::Piece(length);
            return Ok(());
        }
        self.check_piece()?;
        self.state = State::Trailer;
        Ok(())
    }

    fn trailer_came(&mut self, line: &str) -> Result<(), S3Error> {
        let (name, value) =
            line.split_once(':').ok_or_else(|| incomplete("A trailer has no value."))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        if !self.trailing || self.trailers.len() >= MAX_TRAILERS {
            return Err(incomplete("There are trailers that were not announced."));
        }
        if name == "x-amz-trailer-signature" {
            self.signature = signature(&value);
            return Ok(());
        }
        self.trailed.extend_from_slice(format!("{name}:{value}\n").as_bytes());
        self.signature = None;
        self.trailers.push((name, value));
        Ok(())
    }

    fn check_piece(&mut self) -> Result<(), S3Error> {
        let Some(signing) = &mut self.signing else { return Ok(()) };
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}\n{}",
            signing.date,
            signing.scope.to_text(),
            hex::encode(signing.previous),
            hex::encode(Sha256::digest([])),
            hex::encode(Sha256::digest(&self.piece)),
        );
        signing.check(&text, self.signature.take())
    }

    fn check_trailer(&mut self) -> Result<(), S3Error> {
        let Some(signing) = &mut self.signing else { return Ok(()) };
        if !self.trailing {
            return Ok(());
        }
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}",
            signing.date,
            signing.scope.to_text(),
            hex::encode(signing.previous),
            hex::encode(Sha256::digest(&self.trailed)),
        );
        signing.check(&text, self.signature.take())
    }
}

impl Signing {
    fn check(&mut self, text: &str, given: Option<[u8; 32]>) -> Result<(), S3Error> {
        let wrong = || {
            let text = "The signature of a piece of the body does not match.";
            S3Error::new(S3Kind::SignatureDoesNotMatch, text)
        };
        let given = given.ok_or_else(wrong)?;
        let mut hmac = Hmac::<Sha256>::new_from_slice(&self.key.to_bytes()).map_err(|_| wrong())?;
        hmac.update(text.as_bytes());
        hmac.verify_slice(&given).map_err(|_| wrong())?;
        self.previous = given;
        Ok(())
    }
}

fn signature(text: &str) -> Option<[u8; 32]> {
    hex::decode(text.trim()).ok()?.try_into().ok()
}

fn incomplete(text: &str) -> S3Error {
    S3Error::new(S3Kind::IncompleteBody, text)
}
