//! Reading and writing: at offsets, at the file's position, exactly, at the end, and what is refused.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use fs::{File, OpenOptions};
use runtime::buf::IoBuf;
use support::{Dir, errno, in_both_modes, pattern};

async fn open_both(path: &std::path::Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).await.unwrap()
}

#[test]
fn reads_stop_at_the_end_of_the_file() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let file = File::open(dir.file("f", pattern(10_000))).await.unwrap();
        let (result, buf) = file.read_at(Vec::with_capacity(4096), 8192).await;
        assert_eq!((result.unwrap(), &buf[..]), (1808, &pattern(10_000)[8192..]));
        for offset in [10_000, 1 << 40] {
            let (result, buf) = file.read_at(buf.clone(), offset).await;
            assert_eq!((result.unwrap(), buf.len()), (0, 0));
        }
    });
}

#[test]
fn exact_reads_fill_the_buffer_or_say_that_the_file_ends() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let file = File::open(dir.file("f", "0123456789")).await.unwrap();
        let (result, buf) = file.read_exact_at(Vec::with_capacity(4), 6).await;
        result.unwrap();
        assert_eq!(buf, b"6789");
        let (result, buf) = file.read_exact_at(Vec::with_capacity(5), 6).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(buf, b"6789");
        let (result, _) = file.read_exact_at(vec![0; 1].into_boxed_slice(), 10).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::UnexpectedEof);

        // Into the middle of a buffer, and into nothing.
        let (result, slice) = file.read_exact_at(b"..........".to_vec().slice(2..5), 0).await;
        result.unwrap();
        assert_eq!(&slice[..], b"012");
        file.read_exact_at(Vec::new(), 3).await.0.unwrap();

        let (result, buf) = file.read_exact(Vec::with_capacity(7)).await;
        result.unwrap();
        assert_eq!(buf, b"0123456");
        let (result, buf) = file.read_exact(Vec::with_capacity(7)).await;
        assert_eq!((result.unwrap_err().kind(), &buf[..]), (ErrorKind::UnexpectedEof, &b"789"[..]));
    });
}

#[test]
fn partial_reads_of_a_pipe_are_put_together() {
    in_both_modes(|| async {
        let (reader, mut writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(reader));
        let written = runtime::spawn_blocking(move || {
            for piece in pattern(200_000).chunks(777) {
                io::Write::write_all(&mut writer, piece).unwrap();
            }
        });
        let (result, buf) = file.read_exact(Vec::with_capacity(200_000)).await;
        result.unwrap();
        assert!(buf == pattern(200_000));
        written.await.unwrap();
        assert_eq!(file.read(buf).await.0.unwrap(), 0);
    });
}

#[test]
fn partial_writes_to_a_pipe_are_continued() {
    in_both_modes(|| async {
        let (mut reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let read = runtime::spawn_blocking(move || {
            let mut all = Vec::new();
            io::Read::read_to_end(&mut reader, &mut all).map(|_| all)
        });
        let (result, buf) = file.write_all(pattern(1_000_000)).await;
        result.unwrap();
        file.close().await.unwrap();
        assert!(read.await.unwrap().unwrap() == buf);
    });
}

#[test]
fn writes_land_where_they_should_and_leave_zeroes_between() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "");
        let file = open_both(&path).await;
        assert_eq!(file.write_at("end", 5).await.0.unwrap(), 3);
        file.write_all_at("ab".to_string().slice(1..), 0).await.0.unwrap();
        file.write_all_at(Vec::new(), 100).await.0.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"b\0\0\0\0end");
    });
}

#[test]
fn the_position_moves_with_sequential_calls_only() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "");
        let file = open_both(&path).await;
        file.write_all("abc").await.0.unwrap();
        file.write_all_at("X", 1).await.0.unwrap();
        assert_eq!(file.write("def").await.0.unwrap(), 3);
        assert_eq!(file.read(vec![0; 4]).await.0.unwrap(), 0);
        assert_eq!(std::fs::read(&path).unwrap(), b"aXcdef");
    });
}

#[test]
fn what_can_not_be_is_an_error_with_its_errno_and_the_buffer_comes_back() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "text");
        let (reading, writing) =
            (File::open(&path).await.unwrap(), OpenOptions::new().write(true).open(&path).await.unwrap());
        for offset in [u64::MAX, u64::MAX - 1, 1 << 63] {
            assert_eq!(errno(reading.read_at(vec![0; 4], offset).await.0), Some(libc::EINVAL));
            assert_eq!(errno(writing.write_at("text", offset).await.0), Some(libc::EINVAL));
        }
        // Each file system has its own largest file; here the offset and the length do not even fit together.
        let (largest, std) = (i64::MAX as u64, std::fs::OpenOptions::new().write(true).open(&path).unwrap());
        assert_eq!(errno(writing.write_at("text", largest).await.0), errno(std.write_at(b"text", largest)));
        let (result, buf) = reading.write_all_at(vec![1, 2], 0).await;
        assert_eq!((errno(result), buf), (Some(libc::EBADF), vec![1, 2]));
        let (result, buf) = writing.read_exact_at(vec![1, 2], 0).await;
        assert_eq!((errno(result), buf), (Some(libc::EBADF), vec![1, 2]));
        assert_eq!(reading.read_at(Vec::new(), 0).await.0.unwrap_err().kind(), ErrorKind::InvalidInput);
        let full = OpenOptions::new().write(true).open("/dev/full").await.unwrap();
        assert_eq!(errno(full.write_all_at("text", 0).await.0), Some(libc::ENOSPC));
    });
}

#[test]
fn a_directory_can_be_opened_but_not_read() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let file = File::open(dir.path("")).await.unwrap();
        assert_eq!(errno(file.read_at(vec![0; 1], 0).await.0), Some(libc::EISDIR));
        assert_eq!(errno(file.read(vec![0; 1]).await.0), Some(libc::EISDIR));
        assert_eq!(errno(file.read_exact_at(vec![0; 1], 0).await.0), Some(libc::EISDIR));
        assert_eq!(errno(fs::read(dir.path("")).await), Some(libc::EISDIR));
        assert!(file.metadata().await.unwrap().is_dir());
    });
}

#[test]
fn syncing_and_closing_succeed() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let file = File::create(dir.path("f")).await.unwrap();
        file.write_all_at(pattern(5000), 0).await.0.unwrap();
        file.sync_data().await.unwrap();
        file.sync_all().await.unwrap();
        file.close().await.unwrap();
        let (reader, _writer) = io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(reader));
        assert_eq!(errno(pipe.sync_all().await), Some(libc::EINVAL));
    });
}
