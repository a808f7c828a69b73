//! Reads into and writes from several buffers.

mod support;

use std::io::ErrorKind;

use fs::File;
use support::{Dir, errno, in_both_modes, pattern};

#[test]
fn buffers_are_filled_one_after_the_other() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let file = File::open(dir.file("f", "0123456789")).await.unwrap();
        let bufs = [4, 0, 3, 9, 5].map(Vec::with_capacity);
        let (result, bufs) = file.read_vectored_at(bufs.into(), 1).await;
        assert_eq!(result.unwrap(), 9);
        assert_eq!(bufs, [&b"1234"[..], b"", b"567", b"89", b""]);
        let (result, bufs) = file.read_vectored_at(bufs, 10).await;
        assert_eq!(result.unwrap(), 0);
        assert!(bufs.iter().all(Vec::is_empty));
    });
}

#[test]
fn buffers_are_written_one_after_the_other() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let file = File::create(dir.path("f")).await.unwrap();
        let (result, bufs) = file.write_vectored_at(vec!["ab", "", "cde"], 2).await;
        assert_eq!((result.unwrap(), bufs.len()), (5, 3));
        assert_eq!(std::fs::read(dir.path("f")).unwrap(), b"\0\0abcde");
    });
}

#[test]
fn more_buffers_than_the_kernel_takes_are_left_over() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", pattern(2000));
        let file = File::open(&path).await.unwrap();
        let (result, bufs) = file.read_vectored_at(vec![vec![0]; 2000], 0).await;
        assert_eq!(result.unwrap(), 1024);
        assert_eq!(bufs[..1024].concat(), pattern(2000)[..1024]);
        let copy = File::create(dir.path("copy")).await.unwrap();
        let (result, bufs) = copy.write_vectored_at(bufs, 0).await;
        assert_eq!((result.unwrap(), bufs.len()), (1024, 2000));
    });
}

#[test]
fn no_room_and_bad_offsets_are_errors() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "text");
        let file = File::open(&path).await.unwrap();
        let (result, bufs) = file.read_vectored_at(vec![Vec::new(), Vec::new()], 0).await;
        assert_eq!((result.unwrap_err().kind(), bufs.len()), (ErrorKind::InvalidInput, 2));
        let (result, bufs) = file.read_vectored_at(vec![vec![0; 4]], u64::MAX).await;
        assert_eq!((errno(result), bufs), (Some(libc::EINVAL), vec![vec![0; 4]]));
        assert_eq!(errno(file.write_vectored_at(vec!["text"], 0).await.0), Some(libc::EBADF));
    });
}
