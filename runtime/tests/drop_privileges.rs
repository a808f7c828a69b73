//! The kernel's poller acts with the identity that it was made with: a process that has only changed its own could still open
//! root's files through the ring. So dropping privileges replaces rings and pollers, on every core, for good.
#![allow(unsafe_code, reason = "asks for and changes the ids of processes")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::forks::fork_plain;
use common::waiting::Waiting;
use common::{MODES, in_child, poll_once, run, run_two, until, until_operations, work};
use futures::StreamExt;
use runtime::Mode;
use runtime::guard::drop_privileges;
use runtime::op::{self, OpenHow};

const NOBODY: u32 = 65_534;

/// Runs `body` in a process for each mode, since privileges don't come back; as root, or not at all.
fn as_root(test: &str, body: impl Fn(Mode, &Files)) {
    // SAFETY: takes nothing, can't fail.
    if unsafe { libc::geteuid() } != 0 {
        return println!("SKIPPED {test}: only root has privileges to drop");
    }
    in_child(test, || {
        for mode in MODES {
            // Here, since nobody could remove them.
            let files = Files::new();
            fork_plain(|| body(mode, &files)).succeeds_blocking();
        }
    });
}

/// A directory that everybody may enter, with a file for root and one for everybody.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let chmod =
            |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        for (name, mode) in [("secret", 0o600), ("public", 0o644)] {
            std::fs::write(dir.path().join(name), name).unwrap();
            chmod(&dir.path().join(name), mode);
        }
        chmod(dir.path(), 0o755);
        Files(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Opens a file through the ring.
async fn open(path: PathBuf) -> io::Result<()> {
    let how = OpenHow { flags: libc::O_RDONLY, mode: 0 };
    op::open(work::c_path(&path), how).await.map(drop)
}

/// Opens a file on every core; all have the same outcome.
async fn open_everywhere(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    let mut outcomes = Vec::new();
    for handle in runtime::on_every_core(move |_| open(path.clone())) {
        outcomes.push(handle.await.unwrap().map_err(|error| error.raw_os_error()));
    }
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{outcomes:?}");
    outcomes[0].map_err(|errno| io::Error::from_raw_os_error(errno.unwrap()))
}

/// The ids of every thread of this process, the kernel's included.
fn ids(field: &str) -> Vec<Vec<u32>> {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| {
            // Threads of the kernel come and go meanwhile.
            let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap().to_owned();
            Some(line.split_whitespace().map(|id| id.parse().unwrap()).collect())
        })
        .collect()
}

fn gid_of(group: &str) -> u32 {
    let groups = std::fs::read_to_string("/etc/group").unwrap();
    let line =
        groups.lines().find(|line| line.split(':').next() == Some(group)).expect("every system has it");
    line.split(':').nth(2).unwrap().parse().unwrap()
}

#[test]
fn a_file_of_roots_cannot_be_opened_any_more_on_any_core() {
    as_root("a_file_of_roots_cannot_be_opened_any_more_on_any_core", |mode, files| {
        run_two(mode, async {
            let (secret, public) = (files.path("secret"), files.path("public"));
            open_everywhere(&secret).await.unwrap();
            // Somebody's threads, too, have the old identity until then.
            runtime::spawn_blocking(|| ()).await.unwrap();
            drop_privileges("nobody", None).unwrap();
            assert_eq!(open_everywhere(&secret).await.unwrap_err().raw_os_error(), Some(libc::EACCES));
            open_everywhere(&public).await.unwrap();
            let id = runtime::process::Command::new("id").arg("-u").output().await.unwrap();
            assert_eq!(String::from_utf8_lossy(&id.stdout).trim(), NOBODY.to_string());
            let there = secret.clone();
            let blocking = runtime::spawn_blocking(move || std::fs::read(there)).await.unwrap();
            assert_eq!(blocking.unwrap_err().raw_os_error(), Some(libc::EACCES));
            // A poller that has been replaced may take a moment to end.
            until("all threads' change", || ids("Uid:").iter().flatten().all(|id| *id == NOBODY)).await;
            for core in &runtime::metrics().cores {
                assert_eq!((core.mode, core.replaced.identity), (Some(mode), 1), "{core:?}");
            }
            work::everything_everywhere().await;
        });
        assert_eq!(std::fs::read(files.path("secret")).unwrap_err().raw_os_error(), Some(libc::EACCES));
    });
}

/// A core that starts later is like the others.
#[test]
fn a_core_that_is_started_afterwards() {
    as_root("a_core_that_is_started_afterwards", |mode, files| {
        run_two(mode, async {
            open(files.path("secret")).await.unwrap();
            drop_privileges("nobody", None).unwrap();
            let error = open_everywhere(&files.path("secret")).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EACCES));
            work::everything_everywhere().await;
        });
    });
}

/// All of them, and there is no way back.
#[test]
fn user_and_groups_are_given_up_for_good() {
    as_root("user_and_groups_are_given_up_for_good", |mode, _| {
        // SAFETY: the kernel reads three ids.
        assert_eq!(unsafe { libc::setgroups(3, [0, 1, 2].as_ptr()) }, 0);
        run(mode, async {
            drop_privileges(&NOBODY.to_string(), Some("daemon")).unwrap();
            let daemon = gid_of("daemon");
            until("all threads' users", || ids("Uid:").iter().all(|ids| ids[..] == [NOBODY; 4])).await;
            until("all threads' groups", || ids("Gid:").iter().all(|ids| ids[..] == [daemon; 4])).await;
            let groups = ids("Groups:");
            assert!(groups.iter().all(|ids| ids.iter().all(|id| *id == daemon)), "{groups:?}");
            // SAFETY: takes no pointers.
            assert_eq!(unsafe { libc::setuid(0) }, -1);
            assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EPERM));
            // SAFETY: takes no pointers.
            assert_eq!(unsafe { libc::setgid(0) }, -1);
            let error = drop_privileges("root", None).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            assert!(ids("Uid:").iter().flatten().all(|id| *id == NOBODY));
            work::everything().await;
        });
    });
}

#[test]
fn a_user_or_group_that_is_not_known() {
    as_root("a_user_or_group_that_is_not_known", |mode, files| {
        run_two(mode, async {
            let before = (ids("Uid:"), ids("Gid:"), ids("Groups:"));
            for (user, group) in [("nosuchuser", None), ("nobody", Some("nosuchgroup")), ("", None)] {
                let error = drop_privileges(user, group).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
                assert!(error.to_string().contains(group.unwrap_or(user)), "it names it: {error}");
            }
            assert_eq!((ids("Uid:"), ids("Gid:"), ids("Groups:")), before);
            open_everywhere(&files.path("secret")).await.unwrap();
        });
    });
}

/// What was in flight was asked for by somebody who might: it goes on.
#[test]
fn requests_in_flight_are_carried_over() {
    as_root("requests_in_flight_are_carried_over", |mode, _| {
        run_two(mode, async {
            let (listener, address) = work::listen();
            let mut accepts = op::accept_many(&listener);
            assert!(poll_once(&mut accepts.next()).await.is_pending());
            let far = runtime::spawn_on(1, || async {
                let waiting = Waiting::start(50).await;
                until("the drop", || runtime::metrics().cores[1].replaced.identity == 1).await;
                waiting.finish().await;
            });
            let waiting = Waiting::queue(50).await;
            until_operations(51).await;
            until("the other core's reads", || runtime::metrics().cores[1].operations == 50).await;
            drop_privileges("nobody", None).unwrap();
            let last = runtime::metrics().cores.remove(0).last_replacement.unwrap();
            assert_eq!(last.carried, 51, "{last:?}");
            waiting.finish().await;
            far.await.unwrap();
            let _client = work::connect(address).await.unwrap();
            accepts.next().await.unwrap().unwrap();
        });
    });
}

#[test]
fn outside_of_a_runtime_it_is_refused() {
    as_root("outside_of_a_runtime_it_is_refused", |mode, _| {
        let error = drop_privileges("nobody", None).unwrap_err();
        assert!(error.to_string().contains("runtime"), "{error}");
        assert!(ids("Uid:").iter().flatten().all(|id| *id == 0));
        run(mode, work::everything());
    });
}
