//! Compressed clusters, unfolded to exactly one cluster.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::header::Compression;

/// QEMU's encoder uses windows of 2 MiB; more room than this would only serve a bomb.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Unfolds `packed` (which may have foreign bytes after its end) into all of `cluster`.
/// False when it yields fewer or more bytes, or is not a stream at all.
pub(super) fn unpack(method: Compression, packed: &[u8], cluster: &mut [u8]) -> bool {
    match method {
        Compression::Zlib => inflate(packed, cluster),
        Compression::Zstd => unzstd(packed, cluster).is_ok_and(|exact| exact),
    }
}

fn inflate(packed: &[u8], cluster: &mut [u8]) -> bool {
    let mut stream = Decompress::new(false);
    if stream.decompress(packed, cluster, FlushDecompress::None).is_err()
        || stream.total_out() != cluster.len() as u64
    {
        return false;
    }
    // Full: the stream must have nothing more to say. What follows a stream that did end is
    // another cluster's and is not looked at.
    let rest = usize::try_from(stream.total_in()).ok().and_then(|read| packed.get(read..));
    let mut more = [0];
    !matches!(
        stream.decompress(rest.unwrap_or_default(), &mut more, FlushDecompress::Finish),
        Ok(Status::Ok | Status::BufError | Status::StreamEnd) if stream.total_out() > cluster.len() as u64
    )
}

fn unzstd(packed: &[u8], cluster: &mut [u8]) -> std::io::Result<bool> {
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
    let mut input = InBuffer::around(packed);
    let len = cluster.len();
    let mut output = OutBuffer::around(cluster);
    loop {
        let before = (input.pos(), output.pos());
        let left = decoder.run(&mut input, &mut output)?;
        if left == 0 {
            return Ok(output.pos() == len);
        }
        if (input.pos(), output.pos()) == before {
            // No progress: out of input, or the frame holds more than one cluster.
            return Ok(false);
        }
    }
}
