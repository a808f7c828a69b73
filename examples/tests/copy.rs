//! The copier, driven as users drive it: files, trees, options, and where things go. How it fails is in
//! `copy_failures.rs`.

mod copy_support;

use std::os::unix::fs::{FileExt, MetadataExt};

use copy_support::{
    Dir, assert_copied, assert_failed, assert_same_tree, copy, mode, pattern, set_mode, start,
};

#[test]
fn a_file_gets_its_new_name_with_contents_and_mode() {
    let dir = Dir::new();
    for (n, len) in [0, 1, 4097, 131_072, 131_073, 3_000_000].into_iter().enumerate() {
        let from = dir.file("from", pattern(len));
        set_mode(&from, 0o751);
        let to = dir.path(&format!("to {n}"));
        let said = assert_copied(&copy(&[&from, &to]));
        assert!(said.starts_with(&format!("1 file, {len} bytes, ")), "{said}");
        assert!(said.ends_with(" GiB/s\n"), "{said}");
        assert!(std::fs::read(&to).unwrap() == pattern(len));
        assert_eq!(mode(&to) & 0o7777, 0o751);
    }
    assert_eq!(dir.names("").len(), 7);
}

#[test]
fn a_directory_as_target_takes_the_file_under_its_name() {
    let dir = Dir::new();
    let from = dir.file("from", "text");
    std::fs::create_dir(dir.path("d")).unwrap();
    std::os::unix::fs::symlink("d", dir.path("link")).unwrap();
    assert_copied(&copy(&[&from, &dir.path("d")]));
    assert_eq!(std::fs::read(dir.path("d/from")).unwrap(), b"text");
    std::fs::write(&from, "newer").unwrap();
    assert_copied(&copy(&[&from, &dir.path("link/")]));
    assert_eq!(std::fs::read(dir.path("d/from")).unwrap(), b"newer");
    assert_eq!(dir.names("d"), ["from"]);
}

#[test]
fn an_existing_file_is_replaced_also_through_a_link() {
    let dir = Dir::new();
    let from = dir.file("from", "text");
    let to = dir.file("to", "old and longer");
    std::os::unix::fs::symlink("to", dir.path("link")).unwrap();
    std::os::unix::fs::symlink("from", dir.path("from link")).unwrap();
    assert_copied(&copy(&[&dir.path("from link"), &dir.path("link")]));
    assert_eq!(std::fs::read(&to).unwrap(), b"text");
    assert!(dir.path("link").is_symlink());
    assert_eq!(std::fs::read(&from).unwrap(), b"text");
}

#[test]
fn relative_names_work() {
    let dir = Dir::new();
    dir.file("from", "text");
    let program = env!("CARGO_BIN_EXE_copy");
    let output =
        std::process::Command::new(program).args(["from", "to"]).current_dir(dir.path("")).output().unwrap();
    assert_copied(&output);
    std::fs::create_dir(dir.path("d")).unwrap();
    let output = std::process::Command::new(program)
        .args(["../from", "."])
        .current_dir(dir.path("d"))
        .output()
        .unwrap();
    assert_copied(&output);
    assert_eq!(dir.names(""), ["d", "from", "to"]);
    assert_eq!(std::fs::read(dir.path("d/from")).unwrap(), b"text");
}

#[test]
fn a_tree_is_copied_in_every_mode_and_option() {
    let dir = Dir::new();
    let from = dir.tree("from");
    let options: [&[&str]; 5] = [
        &[],
        &["--mode", "polled"],
        &["--mode=entered", "--verify"],
        &["--direct"],
        &["--direct", "--verify", "--mode=polled"],
    ];
    for (n, options) in options.into_iter().enumerate() {
        let to = dir.path(&format!("to {n}"));
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
            options.iter().map(|option| option as _).collect();
        arguments.extend([&from as &dyn AsRef<_>, &to]);
        let said = assert_copied(&copy(&arguments));
        assert!(said.starts_with("311 files, "), "{said}");
        assert_same_tree(&from, &to);
    }
    assert_eq!(dir.names("").len(), 6);
}

#[test]
fn a_tree_goes_into_a_directory_that_exists_and_over_what_is_there() {
    let dir = Dir::new();
    let from = dir.tree("from");
    std::fs::create_dir(dir.path("to")).unwrap();
    assert_copied(&copy(&[&from, &dir.path("to")]));
    assert_same_tree(&from, &dir.path("to/from"));

    // Again: what is there is replaced, what is not ours stays.
    dir.file("to/from/0/extra", "stays");
    dir.file("to/from/empty/and/deep/extra", "stays");
    std::fs::write(dir.path("to/from/many/5"), "changed").unwrap();
    std::fs::remove_file(dir.path("to/from/link")).unwrap();
    dir.file("to/from/link", "is a file now");
    assert_copied(&copy(&[&from, &dir.path("to")]));
    for extra in ["0/extra", "empty/and/deep/extra"] {
        assert_eq!(std::fs::read(dir.path("to/from").join(extra)).unwrap(), b"stays");
        std::fs::remove_file(dir.path("to/from").join(extra)).unwrap();
    }
    assert_same_tree(&from, &dir.path("to/from"));
    assert_eq!(dir.names("to"), ["from"]);
}

#[test]
fn whole_blocks_go_past_the_page_cache_and_the_rest_through_it() {
    let dir = Dir::new();
    for len in [0, 1, 4095, 4096, 4097, 1_048_576, 5_000_001] {
        let from = dir.file("from", pattern(len));
        assert_copied(&copy(&[&"--direct", &"--verify", &from, &dir.path("to")]));
        assert!(std::fs::read(dir.path("to")).unwrap() == pattern(len), "{len} bytes");
    }
    assert_eq!(dir.names(""), ["from", "to"]);
}

#[test]
fn a_file_system_without_direct_access_is_copied_all_the_same_with_a_note() {
    let dir = Dir::new();
    let from = "/sys/devices/system/cpu/online";
    let output = copy(&[&"--direct", &from, &dir.path("to")]);
    assert_eq!(output.status.code(), Some(0));
    let note = String::from_utf8(output.stderr).unwrap();
    assert!(note.contains(from) && note.contains("O_DIRECT"), "{note}");
    assert_eq!(std::fs::read(dir.path("to")).unwrap(), std::fs::read(from).unwrap());
}

#[test]
fn a_source_that_changes_is_found_out_by_verifying() {
    let dir = Dir::new();
    let different_each_time = "/proc/sys/kernel/random/uuid";
    let error = assert_failed(&copy(&[&"--verify", &different_each_time, &dir.path("to")]));
    assert!(error.contains("differs from /proc/sys/kernel/random/uuid"), "{error}");
    assert!(dir.names("").is_empty());
    assert_copied(&copy(&[&"--verify", &"/proc/version", &dir.path("to")]));
    assert_eq!(std::fs::read(dir.path("to")).unwrap(), std::fs::read("/proc/version").unwrap());
}

#[test]
fn holes_stay_holes() {
    let dir = Dir::new();
    let from = std::fs::File::create(dir.path("from")).unwrap();
    from.set_len(200 << 20).unwrap();
    from.write_all_at(b"island", 70 << 20).unwrap();
    for option in ["--verify", "--direct"] {
        assert_copied(&copy(&[&option, &dir.path("from"), &dir.path("to")]));
        let metadata = std::fs::metadata(dir.path("to")).unwrap();
        assert_eq!(metadata.len(), 200 << 20);
        assert!(metadata.blocks() * 512 <= 4 << 20, "{} blocks", metadata.blocks());
    }
}

#[test]
fn nobody_has_to_listen() {
    let dir = Dir::new();
    let from = dir.file("from", "text");
    let mut process = start(&[&from, &dir.path("to")]);
    drop((process.stdout.take(), process.stderr.take()));
    assert!(process.wait().unwrap().success());
    assert_eq!(std::fs::read(dir.path("to")).unwrap(), b"text");
}

#[test]
fn questions_are_answered_and_wrong_arguments_are_explained() {
    let help = String::from_utf8(copy(&[&"--help"]).stdout).unwrap();
    for word in ["Usage:", "--direct", "--verify", "--mode", "SRC", "DST"] {
        assert!(help.contains(word), "{help}");
    }
    let version = assert_copied(&copy(&[&"--version"]));
    assert_eq!(version, format!("copy {}\n", env!("CARGO_PKG_VERSION")));
    let wrong: [(&[&dyn AsRef<std::ffi::OsStr>], &str); 5] = [
        (&[], "two paths"),
        (&[&"a", &"b", &"c"], "there are 3"),
        (&[&"--mode", &"fast", &"a", &"b"], "`polled` or `entered`"),
        (&[&"--fast", &"a", &"b"], "--fast"),
        (&[&"--direct=yes", &"a", &"b"], "yes"),
    ];
    for (arguments, reason) in wrong {
        let output = copy(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(reason) && error.contains("copy --help"), "{error}");
    }
}
