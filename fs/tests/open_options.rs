//! Opening files: every combination of options does what `std` does with it.

mod support;

use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use fs::{File, OpenOptions};
use support::{Dir, errno, in_both_modes};

/// One bit for each option.
fn ours(bits: u32) -> OpenOptions {
    let mut options = OpenOptions::new();
    let on = |bit: u32| bits >> bit & 1 == 1;
    options.read(on(0)).write(on(1)).append(on(2)).truncate(on(3)).create(on(4)).create_new(on(5));
    options
}

fn theirs(bits: u32) -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    let on = |bit: u32| bits >> bit & 1 == 1;
    options.read(on(0)).write(on(1)).append(on(2)).truncate(on(3)).create(on(4)).create_new(on(5));
    options
}

/// What became of a file, to compare.
fn outcome<T>(result: io::Result<T>, path: &Path) -> (Option<io::ErrorKind>, Option<Vec<u8>>) {
    (result.err().map(|error| error.kind()), std::fs::read(path).ok())
}

#[test]
fn every_combination_does_what_std_does() {
    in_both_modes(|| async {
        for bits in 0..64 {
            for exists in [false, true] {
                let dir = Dir::new();
                let (a, b) = (dir.path("a"), dir.path("b"));
                if exists {
                    dir.file("a", "old");
                    dir.file("b", "old");
                }
                let std = theirs(bits).open(&a);
                let own = ours(bits).open(&b).await;
                let errnos = (
                    std.as_ref().err().map(io::Error::raw_os_error),
                    own.as_ref().err().map(io::Error::raw_os_error),
                );
                // Where the kernel was asked at all, it says the same; std may report a bad combination by an errno.
                if let (Some(Some(std)), Some(Some(own))) = errnos {
                    assert_eq!(std, own, "options {bits:06b}");
                }
                assert_eq!(outcome(std, &a), outcome(own, &b), "options {bits:06b}, exists: {exists}");
            }
        }
    });
}

#[test]
fn appending_ignores_offsets() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("log", "one");
        let file = ours(0b100).open(&path).await.unwrap();
        file.write_all_at("two", 0).await.0.unwrap();
        file.write_all("three").await.0.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"onetwothree");
    });
}

#[test]
fn the_mode_is_that_of_std_less_the_umask() {
    in_both_modes(|| async {
        let dir = Dir::new();
        for mode in [0o666, 0o777, 0o600, 0o444, 0o200] {
            let (a, b) = (dir.path(&format!("a{mode:o}")), dir.path(&format!("b{mode:o}")));
            std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&a).unwrap();
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&b).await.unwrap();
            let modes = [a, b].map(|path| std::fs::metadata(path).unwrap().permissions().mode());
            assert_eq!(modes[0], modes[1]);
        }
    });
}

#[test]
fn custom_flags_reach_the_kernel_but_not_the_access_mode() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "text");
        let mut options = OpenOptions::new();
        assert_eq!(
            errno(options.read(true).custom_flags(libc::O_DIRECTORY).open(&path).await),
            Some(libc::ENOTDIR)
        );
        let file = options.custom_flags(libc::O_WRONLY).open(&path).await.unwrap();
        assert_eq!(file.read(vec![0; 8]).await.0.unwrap(), 4);
        assert_eq!(errno(file.write("x").await.0), Some(libc::EBADF));
    });
}

#[test]
fn errors_keep_their_errno() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let file = dir.file("f", "");
        assert_eq!(errno(File::open(dir.path("missing")).await), Some(libc::ENOENT));
        assert_eq!(errno(File::open(file.join("below")).await), Some(libc::ENOTDIR));
        assert_eq!(errno(File::create(dir.path("")).await), Some(libc::EISDIR));
        assert_eq!(errno(File::create_new(&file).await), Some(libc::EEXIST));
        assert_eq!(errno(File::open("").await), Some(libc::ENOENT));
        assert_eq!(errno(File::open(dir.path(&"x".repeat(300))).await), Some(libc::ENAMETOOLONG));
        std::os::unix::fs::symlink("nowhere", dir.path("dangling")).unwrap();
        assert_eq!(errno(File::create_new(dir.path("dangling")).await), Some(libc::EEXIST));
        assert_eq!(errno(File::open(dir.path("dangling")).await), Some(libc::ENOENT));
    });
}

#[test]
fn descriptors_are_close_on_exec() {
    in_both_modes(|| async {
        let file = File::open("/dev/null").await.unwrap();
        let fdinfo = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let info = std::fs::read_to_string(fdinfo).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        assert_ne!(i32::from_str_radix(flags, 8).unwrap() & libc::O_CLOEXEC, 0);
    });
}

#[test]
fn a_file_goes_to_std_and_back_with_its_position() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let path = dir.file("f", "abcdef");
        let file = File::open(&path).await.unwrap();
        assert_eq!(file.read(Vec::with_capacity(2)).await.1, b"ab");
        let mut std = file.into_std().unwrap();
        let mut two = [0; 2];
        io::Read::read_exact(&mut std, &mut two).unwrap();
        assert_eq!(two, *b"cd");
        assert_eq!(File::from(std).read(Vec::with_capacity(8)).await.1, b"ef");
    });
}
