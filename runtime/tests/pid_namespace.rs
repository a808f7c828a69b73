//! In a PID namespace, where fdinfo has other thread ids than `/proc/self/task`, the poller is found and shared as well.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "says that it is skipped, or why it is ended")]

mod common;

use std::process::{Command, Output};
use std::thread;

use common::{PATIENCE, builder};
use runtime::{Builder, Mode};

const CHILD: &str = "REPOLL_TEST_IN_NAMESPACE";

/// Runs a program in a PID namespace of its own, with a `/proc` that fits.
fn unshare(program: &str, args: &[&str]) -> std::io::Result<Output> {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", program]).args(args);
    command.env(CHILD, "yes").output()
}

/// Runs `body` in a namespace of its own: the calling test again. `test` is its full name.
fn in_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        thread::spawn(|| {
            thread::sleep(PATIENCE);
            eprintln!("HANG");
            std::process::abort();
        });
        assert_namespace();
        return body();
    }
    match unshare("true", &[]) {
        Ok(output) if output.status.success() => {}
        refused => {
            println!("SKIPPED {test}: this machine does not let us make a PID namespace: {refused:?}");
            return;
        }
    }
    let program = std::env::current_exe().expect("this program has a path");
    let args = [test, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"];
    let output =
        unshare(program.to_str().expect("a path in UTF-8"), &args).expect("it could be started before");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} in a PID namespace: {}\n{text}", output.status);
    assert!(text.contains("1 passed"), "there is no test {test}:\n{text}");
}

/// This process has one id here and one outside.
fn assert_namespace() {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).expect("the kernel has namespaces");
    // As seen from this /proc, which is the innermost: the process is the first one.
    assert_eq!(ids.trim(), "1");
    assert_eq!(std::process::id(), 1);
}

/// The thread's name, if it is one of this process's.
fn name_of(tid: i32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/task/{tid}/comm")).ok()
}

/// The ids of this process's threads that are pollers.
fn pollers() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
    let ids = tasks.map(|task| task.expect("an entry").file_name().to_string_lossy().parse().expect("an id"));
    let mut pollers: Vec<i32> =
        ids.filter(|&id| name_of(id).is_some_and(|name| name.starts_with("iou-sqp-"))).collect();
    pollers.sort_unstable();
    pollers
}

/// Starts all cores of a runtime and returns the pollers that they say they have.
fn pollers_of(runtime: &runtime::Runtime) -> Vec<Option<i32>> {
    runtime.block_on(async {
        for (core, handle) in runtime::on_every_core(|_| runtime::op::nop()).into_iter().enumerate() {
            handle.await.unwrap_or_else(|error| panic!("core {core}: {error}")).expect("nothing can be done");
        }
        let cores = runtime::metrics().cores;
        assert!(cores.iter().all(|core| core.mode == Some(Mode::Polled)), "{cores:?}");
        cores.into_iter().map(|core| core.poller_tid).collect()
    })
}

fn polled(cores: usize) -> Builder {
    builder(Mode::Polled).cores(cores)
}

#[test]
fn all_cores_share_a_poller_that_is_known() {
    in_namespace("all_cores_share_a_poller_that_is_known", || {
        let runtime = polled(3).build().unwrap();
        let found = pollers_of(&runtime);
        let tid = found[0].expect("the poller is known");
        let name = name_of(tid).expect("it is a thread of this process");
        assert!(name.starts_with("iou-sqp-"), "{name}");
        assert_eq!(found, [Some(tid); 3]);
        assert_eq!(pollers(), [tid], "there is no other");
    });
}

/// Each runtime's own, with another one there already; and each group's.
#[test]
fn each_poller_is_told_from_the_others() {
    in_namespace("each_poller_is_told_from_the_others", || {
        let runtimes =
            [polled(2).build().unwrap(), polled(2).build().unwrap(), polled(4).pollers(2).build().unwrap()];
        let mut all: Vec<i32> = Vec::new();
        for (runtime, groups) in runtimes.iter().zip([1, 1, 2]) {
            let found: Vec<i32> =
                pollers_of(runtime).into_iter().map(|tid| tid.expect("the poller is known")).collect();
            for group in found.chunks(found.len() / groups) {
                assert!(group.iter().all(|tid| *tid == group[0]), "{found:?}");
                all.push(group[0]);
            }
        }
        all.sort_unstable();
        assert_eq!(pollers(), all);
    });
}

/// The thread that is placed is the poller, not whoever has its number outside.
#[test]
fn a_poller_with_a_place_is_put_there() {
    in_namespace("a_poller_with_a_place_is_put_there", || {
        let runtime = polled(2).poller_cpu(0).build().unwrap();
        let tid = pollers_of(&runtime)[1].expect("the poller is known");
        let status = std::fs::read_to_string(format!("/proc/self/task/{tid}/status")).unwrap();
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        assert_eq!(cpus.trim(), "0");
    });
}

/// There is no poller, nor is one looked for.
#[test]
fn entered_rings_have_none() {
    in_namespace("entered_rings_have_none", || {
        let runtime = builder(Mode::Entered).cores(2).build().unwrap();
        runtime.block_on(async {
            for handle in runtime::on_every_core(|_| runtime::op::nop()) {
                handle.await.unwrap().unwrap();
            }
            let cores = runtime::metrics().cores;
            assert!(cores.iter().all(|core| core.mode == Some(Mode::Entered) && core.poller_tid.is_none()));
        });
        assert!(pollers().is_empty());
    });
}
