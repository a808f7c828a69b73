//! Metadata: what `std` says of all kinds of files.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fs::{File, Metadata};
use support::{Dir, errno, in_both_modes};

fn assert_same(ours: &Metadata, std: &std::fs::Metadata) {
    let kind = ours.file_type();
    let std_kind = std.file_type();
    assert_eq!(kind, std_kind.into());
    assert_eq!(
        (ours.is_file(), ours.is_dir(), ours.is_symlink()),
        (std.is_file(), std.is_dir(), std.is_symlink())
    );
    assert_eq!((kind.is_fifo(), kind.is_socket()), (std_kind.is_fifo(), std_kind.is_socket()));
    assert_eq!(
        (kind.is_char_device(), kind.is_block_device()),
        (std_kind.is_char_device(), std_kind.is_block_device())
    );
    assert_eq!((ours.len(), ours.blocks(), ours.mode()), (std.len(), std.blocks(), std.mode()));
    assert_eq!(ours.permissions(), std.permissions());
    assert_eq!((ours.dev(), ours.ino(), ours.nlink()), (std.dev(), std.ino(), std.nlink()));
    assert_eq!((ours.uid(), ours.gid()), (std.uid(), std.gid()));
    assert_eq!(ours.modified().unwrap(), std.modified().unwrap());
    assert_eq!(ours.accessed().unwrap(), std.accessed().unwrap());
    assert_eq!(ours.created().ok(), std.created().ok());
}

#[test]
fn all_kinds_of_files_are_described_as_std_describes_them() {
    in_both_modes(|| async {
        let dir = Dir::new();
        dir.file("file", "text");
        dir.fifo("fifo");
        std::fs::create_dir(dir.path("directory")).unwrap();
        std::os::unix::fs::symlink("file", dir.path("link")).unwrap();
        std::fs::hard_link(dir.path("file"), dir.path("twin")).unwrap();
        let _listener = UnixListener::bind(dir.path("socket")).unwrap();
        let own = ["file", "fifo", "directory", "link", "twin", "socket"].map(|name| dir.path(name));
        let paths =
            own.iter().map(|path| path.as_path()).chain(["/dev/null", "/proc", "/proc/self"].map(Path::new));
        for path in paths {
            // Directories of /proc are made when they are looked at, and their times with them.
            if path.starts_with("/proc") {
                assert_eq!(fs::metadata(path).await.unwrap().ino(), std::fs::metadata(path).unwrap().ino());
                continue;
            }
            assert_same(&fs::metadata(path).await.unwrap(), &std::fs::metadata(path).unwrap());
            assert_same(
                &fs::symlink_metadata(path).await.unwrap(),
                &std::fs::symlink_metadata(path).unwrap(),
            );
        }
    });
}

#[test]
fn an_open_file_is_described_even_without_a_name() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "text");
        let std = std::fs::File::open(&path).unwrap();
        let file = File::open(&path).await.unwrap();
        assert_same(&file.metadata().await.unwrap(), &std.metadata().unwrap());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.metadata().await.unwrap().nlink(), 0);
    });
}

#[test]
fn times_before_1970_and_far_ahead_are_right_to_the_nanosecond() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let file = std::fs::File::create(dir.path("f")).unwrap();
        let epoch = SystemTime::UNIX_EPOCH;
        let times = [
            epoch,
            epoch - Duration::from_nanos(1),
            epoch - Duration::new(1_000_000_000, 250_000_001),
            epoch + Duration::new(4_000_000_000, 999_999_999),
        ];
        for time in times {
            file.set_modified(time).unwrap();
            let metadata = fs::metadata(dir.path("f")).await.unwrap();
            assert_eq!(
                metadata.modified().unwrap(),
                std::fs::metadata(dir.path("f")).unwrap().modified().unwrap()
            );
        }
    });
}

#[test]
fn what_is_not_there_has_no_metadata() {
    in_both_modes(|| async {
        let dir = Dir::new();
        std::os::unix::fs::symlink("nowhere", dir.path("dangling")).unwrap();
        std::os::unix::fs::symlink("loop", dir.path("loop")).unwrap();
        assert_eq!(errno(fs::metadata(dir.path("missing")).await), Some(libc::ENOENT));
        assert_eq!(errno(fs::metadata(dir.path("dangling")).await), Some(libc::ENOENT));
        assert_eq!(errno(fs::metadata("").await), Some(libc::ENOENT));
        assert!(fs::symlink_metadata(dir.path("dangling")).await.unwrap().is_symlink());
        assert!(!fs::try_exists(dir.path("missing")).await.unwrap());
        assert!(!fs::try_exists(dir.path("dangling")).await.unwrap());
        assert!(fs::try_exists(dir.path("")).await.unwrap());
        assert_eq!(errno(fs::try_exists(dir.path("loop")).await), Some(libc::ELOOP));
    });
}

#[test]
fn permissions_are_set_by_path_and_by_file() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "");
        let file = File::open(&path).await.unwrap();
        for mode in [0o600, 0o4755, 0o000, 0o1644] {
            file.set_permissions(fs::Permissions::from_mode(mode)).await.unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().permissions().mode() & 0o7777, 0o640);
        let missing = fs::set_permissions(dir.path("missing"), fs::Permissions::from_mode(0o640)).await;
        assert_eq!(errno(missing), Some(libc::ENOENT));
    });
}
