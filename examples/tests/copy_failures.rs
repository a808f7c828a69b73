//! How the copier fails: what it refuses, what it says, what it leaves behind. Nothing half-written.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod copy_support;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use copy_support::{
    Dir, assert_copied, assert_failed, assert_same_tree, copy, copy_unprivileged, names, pattern, set_mode,
    skipped, start,
};

#[test]
fn a_file_is_not_copied_onto_itself() {
    let dir = Dir::new();
    let path = dir.file("f", "text");
    std::fs::hard_link(&path, dir.path("hard")).unwrap();
    std::os::unix::fs::symlink("f", dir.path("soft")).unwrap();
    for target in ["f", "hard", "soft", "./f", "."] {
        let error = assert_failed(&copy(&[&path, &dir.path(target)]));
        assert!(error.contains("are the same regular file"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"text");
    }
    assert_eq!(dir.names(""), ["f", "hard", "soft"]);
}

#[test]
fn a_directory_is_not_copied_into_itself() {
    let dir = Dir::new();
    let from = dir.tree("from");
    let before = dir.names("from");
    std::os::unix::fs::symlink("from/0", dir.path("link")).unwrap();
    for target in ["from", "from/", "from/new", "from/0", "from/0/../1/new", "link", "link/new"] {
        let error = assert_failed(&copy(&[&from, &dir.path(target)]));
        assert!(error.contains("into itself"), "{error}");
    }
    let error = assert_failed(&copy(&[&from, &dir.path("")]));
    assert!(error.contains("are the same directory"), "{error}");
    assert_eq!(dir.names("from"), before);
    assert_eq!(dir.names(""), ["from", "link"]);
}

#[test]
fn what_is_in_the_way_is_not_replaced() {
    let dir = Dir::new();
    let (file, tree) = (dir.file("f", "text"), dir.tree("tree"));
    std::fs::create_dir_all(dir.path("d/f")).unwrap();
    dir.file("d/tree", "a file");
    let cases: [(&Path, PathBuf, &str); 6] = [
        (&file, dir.path("d"), "is a directory"),
        (&tree, dir.path("d"), "is no directory"),
        (&tree, file.clone(), "is no directory"),
        (&file, dir.path("new/"), "is no directory"),
        (&file, "/dev/null".into(), "is a character device"),
        (Path::new("/dev/null"), dir.path("new"), "is a character device"),
    ];
    for (source, target, reason) in cases {
        let error = assert_failed(&copy(&[&source, &target]));
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(dir.names("d"), ["f", "tree"]);
    assert_eq!(dir.names(""), ["d", "f", "tree"]);
    assert!(std::fs::metadata("/dev/null").unwrap().rdev() != 0);

    // Deep inside of a tree that is there already.
    std::fs::remove_file(dir.path("d/tree")).unwrap();
    for (place, reason) in [("many/7", "many/7 is a directory"), ("empty", "is a named pipe")] {
        std::fs::create_dir_all(dir.path("d/tree")).unwrap();
        let path = dir.path("d/tree").join(place);
        if place == "empty" {
            fifo(&path);
        } else {
            std::fs::create_dir_all(&path).unwrap();
        }
        let error = assert_failed(&copy(&[&tree, &dir.path("d")]));
        assert!(error.contains(reason), "{error}");
        assert_nothing_temporary(&dir.path("d"));
        std::fs::remove_dir_all(dir.path("d/tree")).unwrap();
    }
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
}

/// That no temporary name is left anywhere below.
fn assert_nothing_temporary(path: &Path) {
    for entry in std::fs::read_dir(path).expect("it can be listed") {
        let entry = entry.expect("an entry");
        assert!(!entry.file_name().to_string_lossy().starts_with(".copy-"), "{}", entry.path().display());
        if entry.file_type().expect("it has one").is_dir() {
            assert_nothing_temporary(&entry.path());
        }
    }
}

#[test]
fn what_can_not_be_copied_is_skipped_and_reported() {
    let dir = Dir::new();
    let from = dir.tree("from");
    fifo(&dir.path("from/0/fifo"));
    let output = copy(&[&from, &dir.path("to")]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("skipped") && error.contains("from/0/fifo: it is a named pipe"), "{error}");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("311 files, "));
    std::fs::remove_file(dir.path("from/0/fifo")).unwrap();
    assert_same_tree(&from, &dir.path("to"));
}

#[test]
fn what_is_missing_is_named() {
    let dir = Dir::new();
    let file = dir.file("f", "text");
    let error = assert_failed(&copy(&[&dir.path("missing"), &dir.path("to")]));
    assert!(error.contains("missing: No such file"), "{error}");
    let error = assert_failed(&copy(&[&file, &dir.path("no/such/to")]));
    assert!(error.contains("no/such/to: No such file"), "{error}");
    let error = assert_failed(&copy(&[&dir.path(""), &"/proc/to"]));
    assert!(error.contains("/proc/to: "), "{error}");
}

#[test]
fn who_may_not_write_or_read_is_told_where() {
    let dir = Dir::new();
    set_mode(&dir.path(""), 0o755);
    let file = dir.file("f", "text");
    std::fs::create_dir(dir.path("locked")).unwrap();
    set_mode(&dir.path("locked"), 0o555);
    let Some(output) = copy_unprivileged(&[&file, &dir.path("locked/to")]) else { return };
    let error = assert_failed(&output);
    assert!(error.contains("locked/to: Permission denied"), "{error}");

    // A tree with a file that can't be read: all of it is missing.
    for n in 0..100 {
        dir.file(&format!("tree/a/{n}"), pattern(n));
    }
    set_mode(&dir.file("tree/b/secret", "secret"), 0o000);
    std::fs::create_dir(dir.path("open")).unwrap();
    set_mode(&dir.path("open"), 0o777);
    let output = copy_unprivileged(&[&dir.path("tree"), &dir.path("open/to")]).unwrap();
    let error = assert_failed(&output);
    assert!(error.contains("tree/b/secret: Permission denied"), "{error}");
    assert!(dir.names("open").is_empty());

    // Directories and files that their owner may not write get there with their contents.
    std::fs::remove_file(dir.path("tree/b/secret")).unwrap();
    set_mode(&dir.path("tree/a"), 0o555);
    set_mode(&dir.file("tree/b/fixed", pattern(10_000)), 0o444);
    for (option, to) in [("--verify", "open/one"), ("--direct", "open/two")] {
        let output = copy_unprivileged(&[&option, &dir.path("tree"), &dir.path(to)]).unwrap();
        assert_copied(&output);
        assert_same_tree(&dir.path("tree"), &dir.path(to));
    }
}

/// A file system of one megabyte; unmounted when it is dropped.
struct Small<'a>(&'a Dir);

impl<'a> Small<'a> {
    fn mount(dir: &'a Dir) -> Option<Self> {
        let path = dir.path("small");
        std::fs::create_dir(&path).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&path).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Small(dir)),
            _ => {
                skipped("a small file system can't be mounted here, so no disk is full");
                None
            }
        }
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path("small")).status();
    }
}

#[test]
fn a_full_disk_is_named_and_left_as_it_was() {
    let dir = Dir::new();
    let Some(_small) = Small::mount(&dir) else { return };
    let from = dir.file("from", pattern(2_000_000));
    for mode in ["polled", "entered"] {
        let error = assert_failed(&copy(&[&"--mode", &mode, &from, &dir.path("small/to")]));
        assert!(error.contains("small/to: No space left on device"), "{error}");
        assert!(dir.names("small").is_empty());
    }
    // What was there stays as it was.
    dir.file("small/to", "old");
    assert_failed(&copy(&[&from, &dir.path("small/to")]));
    assert_eq!(std::fs::read(dir.path("small/to")).unwrap(), b"old");

    let tree = dir.tree("tree");
    let error = assert_failed(&copy(&[&tree, &dir.path("small/tree")]));
    assert!(error.contains("small/tree/") && error.contains("No space left on device"), "{error}");
    assert_eq!(dir.names("small"), ["to"]);
    std::fs::create_dir(dir.path("small/tree")).unwrap();
    let error = assert_failed(&copy(&[&tree, &dir.path("small")]));
    assert!(error.contains("small/tree/") && error.contains("No space left on device"), "{error}");
    assert_nothing_temporary(&dir.path("small"));
}

/// A file that takes a long time to read, and no space.
fn endless(path: &Path) {
    std::fs::File::create(path).unwrap().set_len(4 << 40).unwrap();
}

/// Waits until the program has begun to write in `directory`.
fn await_temporary(directory: &Path, process: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !names(directory).iter().any(|name| name.starts_with(".copy-")) {
        assert!(Instant::now() < deadline, "nothing is written");
        assert!(process.try_wait().unwrap().is_none(), "it has ended");
        thread::yield_now();
    }
}

fn send(signal: &str, process: &Child) {
    assert!(
        Command::new("kill").args([signal, &process.id().to_string()]).status().expect("kill runs").success()
    );
}

#[test]
fn a_signal_ends_it_and_leaves_nothing() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        for mode in ["polled", "entered"] {
            let dir = Dir::new();
            std::fs::create_dir_all(dir.path("out")).unwrap();
            let tree = dir.tree("tree");
            endless(&dir.path("tree/endless"));
            endless(&dir.path("file"));
            for from in [dir.path("file"), tree] {
                let mut process = start(&[&"--mode", &mode, &from, &dir.path("out/to")]);
                await_temporary(&dir.path("out"), &mut process);
                send(signal, &process);
                let output = process.wait_with_output().unwrap();
                let error = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(code), "{error}");
                assert!(error.contains("ended by signal"), "{error}");
                assert!(dir.names("out").is_empty());
            }
        }
    }
}

#[test]
fn a_signal_while_files_are_replaced_leaves_no_temporary_names() {
    let dir = Dir::new();
    let tree = dir.tree("tree");
    endless(&dir.path("tree/endless"));
    std::fs::create_dir_all(dir.path("out/tree")).unwrap();
    let mut process = start(&[&tree, &dir.path("out")]);
    await_temporary(&dir.path("out/tree"), &mut process);
    send("-TERM", &process);
    assert_eq!(process.wait().unwrap().code(), Some(143));
    assert_nothing_temporary(&dir.path("out"));
    assert!(!dir.path("out/tree/endless").exists());
}
