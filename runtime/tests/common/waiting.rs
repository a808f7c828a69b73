//! Requests that are in flight while something happens to the process: reads of empty pipes, whose buffers are known.

use std::io::{PipeWriter, Write};

use runtime::op::{Op, ReadAt, read_at};

use super::forks::assert_bytes;
use super::work::HERE;
use super::{pipe, poll_once, until_operations};

/// What is in the buffers until something is read.
const PATTERN: u8 = 0xA7;
const LEN: usize = 512;

/// Reads that wait for data.
pub struct Waiting {
    reads: Vec<Op<ReadAt<Vec<u8>>>>,
    writers: Vec<PipeWriter>,
    /// Where the buffers are.
    places: Vec<*const u8>,
}

impl Waiting {
    /// Starts so many reads; the kernel has them when this returns, if nothing else is in flight.
    pub async fn start(count: usize) -> Self {
        let waiting = Self::queue(count).await;
        until_operations(count as u64).await;
        waiting
    }

    /// Starts so many reads, of which the kernel may not know yet.
    pub async fn queue(count: usize) -> Self {
        let mut waiting = Waiting { reads: Vec::new(), writers: Vec::new(), places: Vec::new() };
        for _ in 0..count {
            let (reader, writer) = pipe();
            let buf = vec![PATTERN; LEN];
            waiting.places.push(buf.as_ptr());
            let mut read = read_at(&reader, buf, HERE);
            assert!(poll_once(&mut read).await.is_pending());
            waiting.reads.push(read);
            waiting.writers.push(writer);
        }
        waiting
    }

    /// Nobody has written to the buffers.
    pub fn assert_untouched(&self) {
        for (index, &place) in self.places.iter().enumerate() {
            assert_bytes(&format!("buffer {index} of a read in flight"), place, LEN, PATTERN);
        }
    }

    /// In the child of a fork: the reads have failed, as the documentation says, and given their buffers back as they were.
    pub async fn assert_owner_dead(&mut self) -> Vec<Vec<u8>> {
        let mut bufs = Vec::new();
        for (read, &place) in self.reads.iter_mut().zip(&self.places) {
            let (result, buf) = read.await;
            let error = result.expect_err("a read of an empty pipe");
            assert_eq!(error.raw_os_error(), Some(libc::EOWNERDEAD), "{error}");
            assert_eq!((buf.as_ptr(), &buf), (place, &vec![PATTERN; LEN]));
            bufs.push(buf);
        }
        bufs
    }

    /// Gives the reads up.
    pub fn abandon(&mut self) {
        self.reads.clear();
    }

    /// Gives up the read `index` alone.
    pub fn abandon_one(&mut self, index: usize) {
        drop(self.reads.remove(index));
        drop(self.writers.remove(index));
        self.places.remove(index);
    }

    /// Waits for data that never comes.
    pub async fn finish_never(self) {
        std::future::pending::<()>().await;
    }

    /// Lets each read have its data; each gets its own, in the buffer that it was given.
    pub async fn finish(mut self) {
        self.assert_untouched();
        for (index, writer) in self.writers.iter_mut().enumerate() {
            writer.write_all(&[index as u8; LEN]).expect("a reader");
        }
        for (index, (read, place)) in self.reads.into_iter().zip(self.places).enumerate() {
            let (result, buf) = read.await;
            assert_eq!(result.unwrap_or_else(|error| panic!("read {index}: {error}")), LEN);
            assert_eq!((buf.as_ptr(), &buf), (place, &vec![index as u8; LEN]), "read {index}");
        }
    }
}
