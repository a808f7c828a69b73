//! Whole files in one call.

mod support;

use std::io::{self, ErrorKind, Write};

use support::{Dir, errno, in_both_modes, pattern};

#[test]
fn files_of_all_sizes_are_read_and_written_whole() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.path("f");
        for len in [0, 1, 16_383, 16_384, 16_385, 100_000, 1 << 20, (1 << 20) + 16_385, 5_000_000] {
            let (result, contents) = fs::write(&path, pattern(len)).await;
            result.unwrap();
            assert!(std::fs::read(&path).unwrap() == contents, "{len} bytes written");
            let read = fs::read(&path).await.unwrap();
            assert!(read == contents, "{len} bytes read");
            assert!(read.capacity() <= len + 1, "{} bytes of memory for {len}", read.capacity());
        }
        fs::write(&path, "shorter").await.0.unwrap();
        assert_eq!(fs::read_to_string(&path).await.unwrap(), "shorter");
    });
}

#[test]
fn files_that_do_not_know_their_size_are_read_to_the_end() {
    in_both_modes(|| async {
        let dir = Dir::new();
        assert_eq!(fs::read("/proc/version").await.unwrap(), std::fs::read("/proc/version").unwrap());
        let all = fs::read("/proc/kallsyms").await.unwrap();
        assert_eq!(all.len(), std::fs::read("/proc/kallsyms").unwrap().len());
        let fifo = dir.fifo("fifo");
        let path = fifo.clone();
        let written = runtime::spawn_blocking(move || -> io::Result<()> {
            let mut fifo = std::fs::OpenOptions::new().write(true).open(path)?;
            pattern(300_000).chunks(1000).try_for_each(|piece| fifo.write_all(piece))
        });
        assert!(fs::read(&fifo).await.unwrap() == pattern(300_000));
        written.await.unwrap().unwrap();
    });
}

#[test]
fn writing_goes_to_pipes_too() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let fifo = dir.fifo("fifo");
        let path = fifo.clone();
        let read = runtime::spawn_blocking(move || std::fs::read(path));
        fs::write(&fifo, pattern(300_000)).await.0.unwrap();
        assert!(read.await.unwrap().unwrap() == pattern(300_000));
    });
}

#[test]
fn failures_keep_the_errno_and_give_the_contents_back() {
    in_both_modes(|| async {
        let dir = Dir::new();
        assert_eq!(errno(fs::read(dir.path("missing")).await), Some(libc::ENOENT));
        let (result, contents) = fs::write("/dev/full", vec![7; 10]).await;
        assert_eq!((errno(result), contents), (Some(libc::ENOSPC), vec![7; 10]));
        let path = dir.file("f", [b'a', 0xff]);
        assert_eq!(fs::read_to_string(path).await.unwrap_err().kind(), ErrorKind::InvalidData);
    });
}
