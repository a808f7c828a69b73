//! Names: renaming, removing, linking, following, and paths that are none.

mod support;

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use support::{Dir, errno, in_both_modes};

#[test]
fn renaming_replaces_files_and_nothing_else() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let (a, b) = (dir.file("a", "a"), dir.file("b", "b"));
        fs::rename(&a, &b).await.unwrap();
        assert_eq!(std::fs::read(&b).unwrap(), b"a");
        assert_eq!(errno(fs::rename(&a, &b).await), Some(libc::ENOENT));
        std::fs::create_dir(dir.path("d")).unwrap();
        assert_eq!(errno(fs::rename(&b, dir.path("d")).await), Some(libc::EISDIR));
        assert_eq!(errno(fs::rename(dir.path("d"), &b).await), Some(libc::ENOTDIR));
        assert_eq!(errno(fs::rename(dir.path("d"), dir.path("d/e")).await), Some(libc::EINVAL));
        fs::rename(dir.path("d"), dir.path("e")).await.unwrap();
        assert!(dir.path("e").is_dir());
    });
}

#[test]
fn removing_takes_the_name_and_leaves_open_files() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "text");
        let file = File::open(&path).await.unwrap();
        fs::remove_file(&path).await.unwrap();
        assert_eq!(file.read(vec![0; 8]).await.0.unwrap(), 4);
        assert_eq!(errno(fs::remove_file(&path).await), Some(libc::ENOENT));
        assert_eq!(errno(fs::remove_file(dir.path("")).await), errno(std::fs::remove_file(dir.path(""))));
    });
}

#[test]
fn links_are_made_and_followed() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "text");
        fs::symlink("f", dir.path("soft")).await.unwrap();
        fs::hard_link(&path, dir.path("hard")).await.unwrap();
        assert_eq!(fs::read_link(dir.path("soft")).await.unwrap(), Path::new("f"));
        assert_eq!(fs::read(dir.path("soft")).await.unwrap(), b"text");
        assert_eq!(fs::metadata(dir.path("hard")).await.unwrap().nlink(), 2);
        assert_eq!(errno(fs::symlink("f", dir.path("soft")).await), Some(libc::EEXIST));
        assert_eq!(errno(fs::hard_link(&path, dir.path("soft")).await), Some(libc::EEXIST));
        assert_eq!(errno(fs::hard_link(dir.path(""), dir.path("d")).await), Some(libc::EPERM));
        assert_eq!(errno(fs::read_link(&path).await), Some(libc::EINVAL));
        let real = std::fs::canonicalize(&path).unwrap();
        assert_eq!(fs::canonicalize(dir.path("./soft")).await.unwrap(), real);
        assert_eq!(errno(fs::canonicalize(dir.path("missing")).await), Some(libc::ENOENT));
    });
}

#[test]
fn names_are_bytes() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.path("").join(OsStr::from_bytes(b"\xff\xfe\n"));
        fs::write(&path, "text").await.0.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"text");
        fs::remove_file(&path).await.unwrap();
    });
}

/// Awaits each call with a path that has a NUL byte in it.
macro_rules! assert_refused {
    ($($call:expr),* $(,)?) => {$(
        let error = $call.await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, stringify!($call));
    )*};
}

#[test]
fn a_nul_byte_is_an_error_everywhere() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let fine = dir.file("fine", "text");
        let (bad, mode) = (dir.path("a\0b"), Permissions::from_mode(0o600));
        assert_refused!(
            File::open(&bad),
            File::create(&bad),
            File::create_new(&bad),
            File::options().append(true).open(&bad),
            fs::metadata(&bad),
            fs::symlink_metadata(&bad),
            fs::try_exists(&bad),
            fs::rename(&bad, &fine),
            fs::rename(&fine, &bad),
            fs::remove_file(&bad),
            fs::symlink(&bad, dir.path("link")),
            fs::symlink(&fine, &bad),
            fs::hard_link(&bad, dir.path("link")),
            fs::hard_link(&fine, &bad),
            fs::read_link(&bad),
            fs::canonicalize(&bad),
            fs::set_permissions(&bad, mode),
            fs::create_dir(&bad),
            fs::create_dir_all(&bad),
            fs::create_dir_all(bad.join("c")),
            fs::remove_dir(&bad),
            fs::remove_dir_all(&bad),
            fs::read_dir(&bad),
            fs::read(&bad),
            fs::read_to_string(&bad),
            fs::copy(&bad, &fine),
            fs::copy(&fine, &bad),
        );
        let (result, contents) = fs::write(&bad, "contents").await;
        assert_eq!((result.unwrap_err().kind(), contents), (ErrorKind::InvalidInput, "contents"));
        assert_eq!(std::fs::read(&fine).unwrap(), b"text");
        assert_eq!(std::fs::read_dir(dir.path("")).unwrap().count(), 1);
    });
}
