//! Compressed files, unfolded once into a nameless file with holes.

mod gzip;
mod input;
mod staged;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use input::Input;
use staged::Staged;

use crate::work::Work;
use crate::{Format, ImageError, Source};

/// The largest window a zstd frame may ask for, as a power of two: what `zstd --ultra` uses.
const ZSTD_WINDOW_LOG: u32 = 27;
const PIECE: usize = 256 << 10;
const HINT: &str = "compress it again with a smaller window or dictionary";

/// Unfolds all of `source` into a file without a name in `dir`.
///
/// Several members or frames one after the other are one stream; anything else behind the end is
/// refused, and so is a stream that is cut short or whose checksum is wrong.
pub(crate) fn unfold(
    source: &dyn Source,
    format: Format,
    dir: &Path,
    work: &Work<'_>,
) -> Result<File, ImageError> {
    let mut out = Staged::new(tempfile::tempfile_in(dir)?, work);
    let mut input = Input::new(source, work);
    let outcome = match format {
        Format::Gzip => gzip::unfold(&mut input, &mut out),
        Format::Bzip2 => drain(bzip2::bufread::MultiBzDecoder::new(&mut input), &mut out),
        Format::Xz => xz(&mut input, work).and_then(|stream| drain(stream, &mut out)),
        Format::Zstd => zstd(&mut input, work).and_then(|stream| drain(stream, &mut out)),
        other => return Err(ImageError::Unsupported { format: other }),
    };
    let at = input.at();
    if let Some(error) = out.failed.take().or_else(|| input.failed.take()) {
        return Err(error);
    }
    match outcome {
        Ok(()) => out.finish(),
        Err(error) if wants_memory(&error) => {
            Err(ImageError::TooComplex { limit: work.limits.max_memory, hint: HINT })
        }
        Err(_) => {
            let what = "the compressed stream is damaged, cut short or followed by something else";
            Err(ImageError::Malformed { format, what, at })
        }
    }
}

fn xz<'a, 's>(
    input: &'a mut Input<'s>,
    work: &Work<'_>,
) -> io::Result<liblzma::bufread::XzDecoder<&'a mut Input<'s>>> {
    use liblzma::stream::{CONCATENATED, Stream, TELL_UNSUPPORTED_CHECK};
    let flags = CONCATENATED | TELL_UNSUPPORTED_CHECK;
    let stream = Stream::new_stream_decoder(work.limits.max_memory, flags)?;
    Ok(liblzma::bufread::XzDecoder::new_stream(input, stream))
}

fn zstd<'a, 's>(
    input: &'a mut Input<'s>,
    work: &Work<'_>,
) -> io::Result<zstd::Decoder<'static, &'a mut Input<'s>>> {
    let mut stream = zstd::Decoder::with_buffer(input)?;
    let affordable = work.limits.max_memory.max(1).ilog2();
    stream.window_log_max(affordable.clamp(10, ZSTD_WINDOW_LOG))?;
    Ok(stream)
}

fn wants_memory(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|error| error.downcast_ref::<liblzma::stream::Error>());
    inner == Some(&liblzma::stream::Error::MemLimit)
        // zstd's crate gives its reasons as text only.
        || error.to_string().contains("requires too much memory")
}

fn drain(mut stream: impl Read, out: &mut Staged<'_>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(len) => out.write(&piece[..len])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
