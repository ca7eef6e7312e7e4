//! Deflate, unfolded into a buffer that bounds it.

use flate2::{Decompress, FlushDecompress, Status};

/// Unfolds a zlib stream into `out`; how many bytes it had, or `None` if it is damaged, is not
/// over, or has more than fit.
pub(crate) fn zlib(packed: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut stream = Decompress::new(true);
    let first = stream.decompress(packed, out, FlushDecompress::None).ok()?;
    let got = usize::try_from(stream.total_out()).ok()?;
    if first == Status::StreamEnd {
        return Some(got);
    }
    if got < out.len() {
        return None;
    }
    // Full: the stream must have nothing more to say.
    let rest = usize::try_from(stream.total_in()).ok().and_then(|read| packed.get(read..));
    let mut more = [0];
    let end = stream.decompress(rest.unwrap_or_default(), &mut more, FlushDecompress::Finish);
    (matches!(end, Ok(Status::StreamEnd)) && stream.total_out() == got as u64).then_some(got)
}
