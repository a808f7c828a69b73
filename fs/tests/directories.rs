//! Directories: making, listing and removing them.

mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;

use futures::{StreamExt, TryStreamExt};
use runtime::task::JoinSet;
use support::{Dir, errno, in_both_modes};

#[test]
fn directories_are_made_and_removed() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let (ours, std) = (dir.path("ours"), dir.path("std"));
        fs::create_dir(&ours).await.unwrap();
        std::fs::create_dir(&std).unwrap();
        let modes = [&ours, &std].map(|path| std::fs::metadata(path).unwrap().permissions().mode());
        assert_eq!(modes[0], modes[1]);
        assert_eq!(errno(fs::create_dir(&ours).await), Some(libc::EEXIST));
        assert_eq!(errno(fs::create_dir(dir.path("a/b")).await), Some(libc::ENOENT));
        std::fs::write(ours.join("f"), "").unwrap();
        assert_eq!(errno(fs::remove_dir(&ours).await), Some(libc::ENOTEMPTY));
        assert_eq!(errno(fs::remove_dir(ours.join("f")).await), Some(libc::ENOTDIR));
        fs::remove_dir_all(&ours).await.unwrap();
        assert!(!ours.exists());
        fs::remove_dir(&std).await.unwrap();
        assert_eq!(errno(fs::remove_dir(&std).await), Some(libc::ENOENT));
    });
}

#[test]
fn missing_parents_are_made() {
    in_both_modes(|| async {
        let dir = Dir::new();
        fs::create_dir_all(dir.path("a/b/../b/./c")).await.unwrap();
        assert!(dir.path("a/b/c").is_dir());
        fs::create_dir_all(dir.path("a/b/c/")).await.unwrap();
        fs::create_dir_all("").await.unwrap();
        fs::create_dir_all("/").await.unwrap();
        dir.file("file", "");
        assert_eq!(errno(fs::create_dir_all(dir.path("file")).await), Some(libc::EEXIST));
        assert_eq!(errno(fs::create_dir_all(dir.path("file/a/b")).await), Some(libc::ENOTDIR));
        std::os::unix::fs::symlink("a", dir.path("link")).unwrap();
        fs::create_dir_all(dir.path("link/d/e")).await.unwrap();
        assert!(dir.path("a/d/e").is_dir());
    });
}

#[test]
fn many_callers_may_make_the_same_directories() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let mut set = JoinSet::new();
        for n in 0..100 {
            set.spawn(fs::create_dir_all(dir.path(&format!("a/b/c/d/{}", n % 3))));
        }
        for result in set.join_all().await {
            result.unwrap().unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.path("a/b/c/d")).unwrap().count(), 3);
    });
}

#[test]
fn every_entry_is_listed_once_in_as_many_batches_as_it_takes() {
    in_both_modes(|| async {
        for count in [0, 1, 511, 512, 513, 2000] {
            let dir = Dir::new();
            let names: BTreeSet<OsString> = dir.entries(count).map(OsString::from).collect();
            let listed: Vec<_> = fs::read_dir(dir.path("")).await.unwrap().try_collect().await.unwrap();
            assert_eq!(listed.len(), count);
            assert_eq!(listed.iter().map(fs::DirEntry::file_name).collect::<BTreeSet<_>>(), names);
        }
    });
}

#[test]
fn entries_know_their_kind_and_path() {
    in_both_modes(|| async {
        let dir = Dir::new();
        dir.file("file", "text");
        dir.fifo("fifo");
        std::fs::create_dir(dir.path("directory")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path("link")).unwrap();
        let strange = OsString::from_vec(vec![0xff, b'\n', b'x']);
        std::fs::write(dir.path("").join(&strange), "").unwrap();
        let mut entries = fs::read_dir(dir.path("")).await.unwrap();
        let mut count = 0;
        while let Some(entry) = entries.next_entry().await.unwrap() {
            let std = std::fs::symlink_metadata(entry.path()).unwrap();
            assert_eq!(entry.file_type(), std.file_type().into());
            assert_eq!(entry.metadata().await.unwrap().len(), std.len());
            assert_eq!(entry.path(), dir.path("").join(entry.file_name()));
            count += 1;
        }
        assert_eq!(count, 5);
        assert!(entries.next_entry().await.unwrap().is_none());
    });
}

#[test]
fn a_listing_may_be_dropped_at_any_time() {
    in_both_modes(|| async {
        let dir = Dir::new();
        assert_eq!(dir.entries(1500).count(), 1500);
        for taken in [0, 1, 512, 513, 1499] {
            let listing = fs::read_dir(dir.path("")).await.unwrap();
            assert_eq!(listing.take(taken).count().await, taken);
        }
        let mut listing = fs::read_dir(dir.path("")).await.unwrap();
        for _ in 0..512 {
            listing.next_entry().await.unwrap().unwrap();
        }
        // A wait for the next batch that is given up loses none of it; the thread may also have been quick.
        let taken = usize::from(futures::FutureExt::now_or_never(listing.next_entry()).is_some());
        assert_eq!(taken + listing.count().await, 1500 - 512);
    });
}

#[test]
fn what_is_no_directory_can_not_be_listed() {
    in_both_modes(|| async {
        let dir = Dir::new();
        assert_eq!(errno(fs::read_dir(dir.file("f", "")).await), Some(libc::ENOTDIR));
        assert_eq!(errno(fs::read_dir(dir.path("missing")).await), Some(libc::ENOENT));
    });
}
