//! What the tests of the copier share: a directory to work in, and the program as a user calls it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A directory that is removed with its contents.
pub struct Dir(TempDir);

impl Dir {
    pub fn new() -> Self {
        Dir(TempDir::new().expect("a temporary directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with these contents, in directories that are made for it.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("the directories are made");
        std::fs::write(&path, contents).expect("the file is written");
        path
    }

    /// A tree with all kinds of things that are copied; its files are of all sizes.
    pub fn tree(&self, name: &str) -> PathBuf {
        let sizes = [0, 1, 100, 4096, 131_072, 131_073, 1 << 20, 5_000_001];
        for (n, size) in sizes.into_iter().enumerate() {
            let path = self.file(&format!("{name}/{}/{n}/file {n}", n % 3), pattern(size));
            set_mode(&path, [0o644, 0o755, 0o600, 0o444, 0o4711][n % 5]);
        }
        for n in 0..300 {
            self.file(&format!("{name}/many/{n}"), n.to_string());
        }
        std::fs::create_dir_all(self.path(name).join("empty/and/deep")).expect("directories are made");
        std::os::unix::fs::symlink("many/7", self.path(name).join("link")).expect("a link is made");
        std::os::unix::fs::symlink("nowhere", self.path(name).join("0/dangling")).expect("a link is made");
        let strange = <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"not \xff UTF-8");
        std::fs::write(self.path(name).join(strange), "strange").expect("the file is written");
        set_mode(&self.path(name).join("many"), 0o555);
        set_mode(&self.path(name).join("1"), 0o700);
        self.path(name)
    }

    /// The names in a directory, sorted.
    pub fn names(&self, name: &str) -> Vec<String> {
        names(&self.path(name))
    }
}

pub fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).expect("it is a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

pub fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).expect("it is there").permissions().mode()
}

/// Bytes that differ from place to place.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn command(arguments: &[&dyn AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_copy"));
    command.args(arguments.iter().map(AsRef::as_ref));
    command
}

/// Runs the program to its end.
pub fn copy(arguments: &[&dyn AsRef<OsStr>]) -> Output {
    command(arguments).output().expect("the program starts")
}

/// Runs the program as somebody who may not do everything; `None` if there is nobody like that here.
pub fn copy_unprivileged(arguments: &[&dyn AsRef<OsStr>]) -> Option<Output> {
    let mut command = command(arguments);
    if is_root() {
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    }
    match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            skipped("an unprivileged user may not start the program where it is");
            None
        }
        output => Some(output.expect("the program starts")),
    }
}

/// Says what was not tested; past the test harness, which keeps to itself what tests that pass print.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("/proc is mounted")) == 0
}

/// Starts the program.
pub fn start(arguments: &[&dyn AsRef<OsStr>]) -> Child {
    let mut command = command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// What the program printed, having copied everything. Where temporary directories can't do without the page cache (tmpfs
/// before Linux 6.6), it is right to say so.
pub fn assert_copied(output: &Output) -> String {
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("can't be opened with O_DIRECT") && said.lines().count() == 1 {
        skipped("the file system of temporary files has no O_DIRECT");
        said.clear();
    }
    assert_eq!(said, "");
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout.clone()).expect("it prints text")
}

/// What the program reported, having failed.
pub fn assert_failed(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
    assert!(error.starts_with("copy: "), "{error}");
    error
}

/// That two trees are the same: contents as `diff` sees them, links as links, and the modes of everything.
pub fn assert_same_tree(left: &Path, right: &Path) {
    let diff = Command::new("diff")
        .arg("-r")
        .arg("--no-dereference")
        .args([left, right])
        .output()
        .expect("diff runs");
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    let mut pending = vec![(left.to_path_buf(), right.to_path_buf())];
    while let Some((left, right)) = pending.pop() {
        assert_eq!(mode(&left), mode(&right), "{} and {}", left.display(), right.display());
        if std::fs::symlink_metadata(&left).expect("it is there").is_dir() {
            let entries = std::fs::read_dir(&left).expect("it can be listed");
            let names = entries.map(|entry| entry.expect("an entry").file_name());
            pending.extend(names.map(|name| (left.join(&name), right.join(&name))));
        }
    }
}
