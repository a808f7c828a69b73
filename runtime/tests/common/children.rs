//! Child processes for tests.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "each test file uses its part of this")]
#![allow(unsafe_code, reason = "delays a child before it executes its program")]

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;

use runtime::process::{Child, Command, Stdio};

use crate::common::{descriptors, until_operations};

pub fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// A child that runs until its standard input ends, which it does with this process if not before.
pub async fn waiting_child() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().await.unwrap()
}

/// A command whose child waits for a byte before it executes its program, and with it whoever spawns it.
pub fn delayed(gate: io::PipeReader) -> Command {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    // SAFETY: reading is async-signal-safe.
    unsafe {
        command.as_std_mut().pre_exec(move || {
            // SAFETY: reads one byte.
            let read = libc::read(gate.as_raw_fd(), [0_u8].as_mut_ptr().cast(), 1);
            if read < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        })
    };
    command
}

/// How a process is, as in the third field of /proc/pid/stat; `None` if there is none of that number.
pub fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
}

/// The children of this process, zombies included.
pub fn children() -> Vec<u32> {
    let parent = format!(" {} ", std::process::id());
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest[1..].starts_with(&parent))
    };
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(is_child).collect()
}

/// Descriptors, once those are closed that are being closed in the background.
pub async fn open_descriptors() -> usize {
    until_operations(0).await;
    descriptors()
}

pub async fn text_of(command: &mut Command) -> String {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
