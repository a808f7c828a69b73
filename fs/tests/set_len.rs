//! A file's size and space.

mod support;

use std::io::Write;

use fs::{File, OpenOptions};
use support::{Dir, errno, in_both_modes};

#[test]
fn a_file_is_cut_off_and_extended_with_zeroes() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "0123456789");
        let file = OpenOptions::new().write(true).open(&path).await.unwrap();
        file.set_len(4).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"0123");
        file.set_len(6).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"0123\0\0");
        file.set_len(0).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len(), 0);
    });
}

#[test]
fn a_refused_size_has_the_errno_of_std_and_the_next_one_works() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "0123456789");
        let writing = OpenOptions::new().write(true).open(&path).await.unwrap();
        let reading = File::open(&path).await.unwrap();
        let std = std::fs::File::open(&path).unwrap();
        assert_eq!(errno(reading.set_len(4).await), errno(std.set_len(4)));
        // Each file system has its own largest file; for some it is this one.
        let largest = i64::MAX as u64;
        let std = std::fs::OpenOptions::new().write(true).open(dir.file("other", "")).unwrap();
        let errnos = [writing.set_len(largest).await, std.set_len(largest)];
        let errnos = errnos.map(|result| result.err().and_then(|error| error.raw_os_error()));
        assert_eq!(errnos[0], errnos[1]);
        // Too large for the system call: std does not ask the kernel.
        let too_large = writing.set_len(u64::MAX).await.unwrap_err();
        assert_eq!(too_large.kind(), std::io::ErrorKind::InvalidInput);
        writing.set_len(4).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 4);
    });
}

#[test]
fn space_is_reserved_and_the_file_grows() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "text");
        let file = OpenOptions::new().write(true).open(&path).await.unwrap();
        match file.allocate(0, 1 << 20).await {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                let _ =
                    writeln!(std::io::stderr(), "SKIPPED: the file system of {path:?} can't reserve space");
                return;
            }
            result => result.unwrap(),
        }
        let metadata = file.metadata().await.unwrap();
        assert_eq!(metadata.len(), 1 << 20);
        assert!(metadata.blocks() * 512 >= 1 << 20);
        assert_eq!(errno(file.allocate(0, 0).await), Some(libc::EINVAL));
        assert_eq!(errno(File::open(&path).await.unwrap().allocate(0, 1).await), Some(libc::EBADF));
    });
}
