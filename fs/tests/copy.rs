//! Copying files: contents, permissions, holes, what is refused, and how failures end.

mod support;

use std::cell::Cell;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use fs::{Copier, CopyError, File, OpenOptions};
use support::{Dir, errno, in_both_modes, pattern};

#[test]
fn files_of_all_sizes_are_copied() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let to = dir.path("to");
        for len in [0, 1, 4095, 4096, 524_287, 524_288, 524_289, 10_000_001] {
            let from = dir.file("from", pattern(len));
            assert_eq!(fs::copy(&from, &to).await.unwrap(), len as u64);
            assert!(std::fs::read(&to).unwrap() == pattern(len), "{len} bytes");
        }
        assert_eq!(
            fs::copy("/proc/version", &to).await.unwrap(),
            std::fs::read("/proc/version").unwrap().len() as u64
        );
    });
}

#[test]
fn the_mode_is_that_of_the_source_whatever_was_there() {
    in_both_modes(|| async {
        let dir = Dir::new();
        for mode in [0o600, 0o777, 0o444, 0o4711] {
            let from = dir.file(&format!("from{mode:o}"), "text");
            std::fs::set_permissions(&from, fs::Permissions::from_mode(mode)).unwrap();
            let (new, old) =
                (dir.path(&format!("new{mode:o}")), dir.file(&format!("old{mode:o}"), "old and longer"));
            for to in [new, old] {
                fs::copy(&from, &to).await.unwrap();
                assert_eq!(std::fs::metadata(&to).unwrap().mode() & 0o7777, mode);
                assert_eq!(std::fs::read(&to).unwrap(), b"text");
            }
        }
    });
}

#[test]
fn a_file_is_not_copied_onto_itself() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "text");
        std::fs::hard_link(&path, dir.path("hard")).unwrap();
        std::os::unix::fs::symlink("f", dir.path("soft")).unwrap();
        for name in ["f", "hard", "soft", "./f"] {
            for (from, to) in [(dir.path(name), path.clone()), (path.clone(), dir.path(name))] {
                let error = fs::copy(from, to).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.to_string().contains("same file"), "{error}");
                assert_eq!(std::fs::read(&path).unwrap(), b"text");
            }
        }
    });
}

#[test]
fn what_is_no_file_is_refused_and_errors_keep_their_errno() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let (file, to) = (dir.file("f", "text"), dir.path("to"));
        assert_eq!(fs::copy(dir.path(""), &to).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(fs::copy("/dev/null", &to).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(!to.exists());
        assert_eq!(errno(fs::copy(dir.path("missing"), &to).await), Some(libc::ENOENT));
        assert_eq!(errno(fs::copy(&file, dir.path("")).await), Some(libc::EISDIR));
        assert_eq!(errno(fs::copy(&file, "/dev/full").await), Some(libc::ENOSPC));
        assert_eq!(fs::copy(&file, "/dev/null").await.unwrap(), 4);
    });
}

#[test]
fn holes_stay_holes() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let from = dir.path("from");
        let sparse = std::fs::File::create(&from).unwrap();
        sparse.set_len(64 << 20).unwrap();
        sparse.write_all_at(b"island", 20 << 20).unwrap();
        let to = dir.path("to");
        assert_eq!(fs::copy(&from, &to).await.unwrap(), 64 << 20);
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        let blocks = std::fs::metadata(&to).unwrap().blocks();
        assert!(blocks * 512 <= 1 << 20, "{blocks} blocks");
    });
}

#[test]
fn a_copier_copies_ranges_tells_of_progress_and_keeps_its_buffers() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let from = File::open(dir.file("from", pattern(100_000))).await.unwrap();
        let to = File::create(dir.path("to")).await.unwrap();
        let mut copier =
            Copier::new(vec![Vec::with_capacity(4000), Vec::with_capacity(1000), Vec::with_capacity(3000)]);
        for (range, copied) in
            [(10_000..90_000, 80_000), (0..10_000, 10_000), (90_000..u64::MAX, 10_000), (5..5, 0)]
        {
            let (told, pieces) = (Cell::new(0), Cell::new(0));
            let progress = |bytes| {
                told.set(told.get() + bytes);
                pieces.set(pieces.get() + 1);
            };
            assert_eq!(copier.copy(&from, &to, range, progress).await.unwrap(), copied);
            assert_eq!(told.get(), copied);
            assert!(pieces.get() >= copied / 4000);
        }
        assert!(std::fs::read(dir.path("to")).unwrap() == pattern(100_000));
        assert_eq!(copier.copy(&from, &to, 200_000..300_000, |_| ()).await.unwrap(), 0);
        let mut capacities: Vec<_> = copier.into_buffers().iter().map(Vec::capacity).collect();
        capacities.sort_unstable();
        assert_eq!(capacities, [1000, 3000, 4000]);
    });
}

#[test]
fn a_copier_says_which_side_failed_and_can_be_used_again() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let from = File::open(dir.file("from", pattern(100_000))).await.unwrap();
        let full = OpenOptions::new().write(true).open("/dev/full").await.unwrap();
        let to = File::create(dir.path("to")).await.unwrap();
        let mut copier = Copier::new(vec![vec![0; 1000]; 8]);
        let error = copier.copy(&from, &full, 0..100_000, |_| ()).await.unwrap_err();
        assert!(
            matches!(&error, CopyError::Write(error) if error.raw_os_error() == Some(libc::ENOSPC)),
            "{error}"
        );
        let error = copier.copy(&to, &to, 0..100_000, |_| ()).await.unwrap_err();
        assert!(
            matches!(&error, CopyError::Read(error) if error.raw_os_error() == Some(libc::EBADF)),
            "{error}"
        );
        assert_eq!(copier.copy(&from, &to, 0..100_000, |_| ()).await.unwrap(), 100_000);
        assert_eq!(copier.into_buffers().len(), 8);

        let error = Copier::<Vec<u8>>::new(Vec::new()).copy(&from, &to, 0..1, |_| ()).await.unwrap_err();
        assert_eq!(error.into_inner().kind(), ErrorKind::InvalidInput);
        let error =
            Copier::new(vec![Vec::new(), Vec::new()]).copy(&from, &to, 0..1, |_| ()).await.unwrap_err();
        assert_eq!(error.into_inner().kind(), ErrorKind::InvalidInput);
    });
}
