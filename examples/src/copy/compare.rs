//! Reading both sides again and comparing them.

use std::io;
use std::path::Path;

use fs::File;
use futures::future::join;
use runtime::buf::IoBuf;

use super::failure::{At, Failure};
use super::stop::Stop;

/// Compares files, with a buffer for each side that is allocated when first used.
pub(crate) struct Compare {
    piece_bytes: usize,
    buffers: Option<(Vec<u8>, Vec<u8>)>,
}

impl Compare {
    /// Compares so many bytes at a time.
    pub(crate) fn new(piece_bytes: usize) -> Self {
        Compare { piece_bytes, buffers: None }
    }

    /// Reads both files to their ends; each comes with its name.
    ///
    /// # Errors
    ///
    /// If they differ, or can't be read.
    pub(crate) async fn files(
        &mut self,
        (left, left_path): (&File, &Path),
        (right, right_path): (&File, &Path),
        stop: &Stop,
    ) -> Result<(), Failure> {
        let piece = self.piece_bytes;
        let buffers = self.buffers.take();
        let (mut a, mut b) =
            buffers.unwrap_or_else(|| (Vec::with_capacity(piece), Vec::with_capacity(piece)));
        let mut offset = 0;
        loop {
            stop.check()?;
            let ((result_a, back_a), (result_b, back_b)) =
                join(fill(left, a, piece, offset), fill(right, b, piece, offset)).await;
            (a, b) = (back_a, back_b);
            result_a.at("read again", left_path)?;
            result_b.at("read again", right_path)?;
            if a != b {
                let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
                let (left, right, at) = (left_path.display(), right_path.display(), offset + same as u64);
                return Err(Failure::Refused(format!(
                    "{right} differs from {left} after it was copied, from byte {at} on"
                )));
            }
            if a.len() < piece {
                break;
            }
            offset += piece as u64;
        }
        self.buffers = Some((a, b));
        Ok(())
    }
}

/// Reads `piece` bytes, fewer only at the end of the file: the buffer's length says how many.
async fn fill(file: &File, mut buf: Vec<u8>, piece: usize, offset: u64) -> (io::Result<()>, Vec<u8>) {
    buf.clear();
    let (result, slice) = file.read_exact_at(buf.slice(..piece), offset).await;
    let result = match result {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        other => other,
    };
    (result, slice.into_inner())
}
