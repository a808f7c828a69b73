//! Options of the builder: those that can't work are refused with a reason, and placement is what was asked for.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(unsafe_code, reason = "affinity of the test's thread")]

mod common;

use common::{MODES, in_child};
use runtime::{BuildErrorKind, Builder, Cores, Mode, metrics, spawn_blocking, spawn_on};

fn usable_cpus() -> Vec<usize> {
    cpus_of("thread-self")
}

/// `Cpus_allowed_list` of a thread, like `0-2,5`.
fn cpus_of(thread: &str) -> Vec<usize> {
    let path = if thread == "thread-self" {
        "/proc/thread-self/status".into()
    } else {
        format!("/proc/self/task/{thread}/status")
    };
    let status = std::fs::read_to_string(path).unwrap();
    let list =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned();
    list.split(',')
        .flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse::<usize>().unwrap()..=last.parse().unwrap()
        })
        .collect()
}

/// The first two CPUs, or a loud note that the test needs them.
fn two_cpus() -> Option<(usize, usize)> {
    match usable_cpus()[..] {
        [first, second, ..] => Some((first, second)),
        _ => {
            println!("SKIPPED: this needs two CPUs");
            None
        }
    }
}

#[test]
fn options_that_cannot_work_are_refused_with_a_reason() {
    let (new, many) = (Builder::new, usable_cpus().len() + 1);
    let cpu = usable_cpus()[0];
    let cases = [
        (new().cores(0), "cores is 0".to_owned(), "at least one"),
        (new().cores(many), format!("cores is {many}"), "pin"),
        (new().cores(Vec::new()), "empty list".to_owned(), "name a CPU"),
        (new().cores([cpu, cpu]), format!("names CPU {cpu} twice"), "once"),
        (new().cores([8191]), "names CPU 8191".to_owned(), "choose among"),
        (new().cores([1 << 40]), "names CPU 1099511627776".to_owned(), "choose among"),
        (new().entries(0), "entries is 0".to_owned(), "use 1"),
        (new().entries(3), "entries is 3".to_owned(), "use 4"),
        (new().entries(65_536), "entries is 65536".to_owned(), "use 32768"),
        (new().entries(u32::MAX), "entries is 4294967295".to_owned(), "use 32768"),
        (new().pollers(0), "pollers is 0".to_owned(), "at least one poller"),
        (new().cores(1).pollers(2), "pollers is 2, with 1 cores".to_owned(), "no more than there are cores"),
        (new().blocking_threads_max(0), "blocking_threads_max is 0".to_owned(), "at least one thread"),
        (new().poller_cpu(8191), "poller_cpu is 8191".to_owned(), "choose among"),
        (new().mode(Mode::Entered).poller_cpu(cpu), "mode is entered".to_owned(), "leave one of them out"),
    ];
    for (builder, what, remedy) in cases {
        let error = builder.build().expect_err(&what);
        assert_eq!(error.kind(), BuildErrorKind::InvalidOption, "{error}");
        assert!(error.to_string().contains(&what), "{error}");
        assert!(error.remedy().contains(remedy) && error.to_string().contains(remedy), "{error}");
        assert_eq!(error.raw_os_error(), None);
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[test]
fn values_at_the_edge_work() {
    for mode in MODES {
        for entries in [1, 32_768] {
            common::run_on(common::builder(mode).entries(entries), mode, async {
                runtime::op::nop().await.unwrap();
            });
        }
        let builder = common::builder(mode).poller_idle_ms(0).spin_us_max(0).shutdown_ms(u64::MAX);
        common::run_on(builder, mode, async { runtime::op::nop().await.unwrap() });
        // More cores than CPUs, where they are not pinned.
        let runtime = Builder::new().pin(false).cores(5).mode(mode).build().unwrap();
        runtime.block_on(async {
            for (core, handle) in runtime::on_every_core(|core| async move { core }).into_iter().enumerate() {
                assert_eq!(handle.await.unwrap(), core);
            }
        });
    }
}

#[test]
fn cores_share_a_poller_or_have_one_each() {
    for pollers in [1, 2] {
        let runtime = Builder::new().pin(false).cores(4).mode(Mode::Polled).pollers(pollers).build().unwrap();
        runtime.block_on(async {
            for handle in runtime::on_every_core(|_| async {}) {
                handle.await.unwrap();
            }
            let tids: Vec<i32> = metrics().cores.iter().map(|core| core.poller_tid.unwrap()).collect();
            assert_eq!((tids[0], tids[2]), (tids[1], tids[3]), "neighbours share");
            assert_eq!(tids[0] == tids[3], pollers == 1);
            for tid in tids {
                let name = std::fs::read_to_string(format!("/proc/self/task/{tid}/comm")).unwrap();
                assert!(name.starts_with("iou-sqp-"), "{name}");
            }
        });
    }
}

#[test]
fn the_poller_runs_where_it_was_put_else_where_no_core_does() {
    let Some((first, second)) = two_cpus() else { return };
    let poller_cpus = |builder: Builder| {
        let runtime = builder.mode(Mode::Polled).build().unwrap();
        runtime.block_on(async { cpus_of(&metrics().cores[0].poller_tid.unwrap().to_string()) })
    };
    assert_eq!(poller_cpus(Builder::new().poller_cpu(first)), [first]);
    assert_eq!(poller_cpus(Builder::new().poller_cpu(second)), [second]);
    let all_but = |cpu| usable_cpus().into_iter().filter(|&other| other != cpu).collect::<Vec<_>>();
    assert_eq!(poller_cpus(Builder::new().cores([first])), all_but(first));
    assert_eq!(poller_cpus(Builder::new().cores([second])), all_but(second));
    assert_eq!(poller_cpus(Builder::new().cores(Cores::All)), usable_cpus());
}

#[test]
fn cores_are_pinned_and_nothing_else_is() {
    let Some((first, second)) = two_cpus() else { return };
    for mode in MODES {
        let before = usable_cpus();
        let runtime = Builder::new().cores([second, first]).mode(mode).build().unwrap();
        assert_eq!(usable_cpus(), before, "building pins nothing");
        runtime.block_on(async {
            assert_eq!(usable_cpus(), [second]);
            assert_eq!(spawn_on(1, || async { usable_cpus() }).await.unwrap(), [first]);
            let cpus: Vec<_> = metrics().cores.iter().map(|core| core.cpu).collect();
            assert_eq!(cpus, [Some(second), Some(first)]);
            assert_eq!(spawn_blocking(usable_cpus).await.unwrap(), before, "a blocking thread");
            let far = spawn_on(1, || async { spawn_blocking(usable_cpus).await.unwrap() });
            assert_eq!(far.await.unwrap(), before, "a blocking thread of a pinned core");
        });
        assert_eq!(usable_cpus(), before, "the thread gets its affinity back");
        let unpinned = Builder::new().cores(2).pin(false).mode(mode).build().unwrap();
        unpinned.block_on(async {
            assert_eq!(usable_cpus(), before);
            assert_eq!(spawn_on(1, || async { usable_cpus() }).await.unwrap(), before);
            assert_eq!(metrics().cores[1].cpu, None);
        });
    }
}

#[test]
fn with_one_usable_cpu_rings_are_entered_by_default() {
    in_child("with_one_usable_cpu_rings_are_entered_by_default", || {
        let cpu = usable_cpus()[0];
        // SAFETY: all-zero bytes are an empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: writes inside of `set`.
        unsafe { libc::CPU_SET(cpu, &mut set) };
        // SAFETY: the kernel reads `set`.
        assert_eq!(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) }, 0);
        let runtime = runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let core = &metrics().cores[0];
            assert_eq!((metrics().cores.len(), core.cpu, core.mode), (1, Some(cpu), Some(Mode::Entered)));
            assert!(core.why_not_polled.as_ref().unwrap().contains("one usable CPU"), "{core:?}");
            assert_eq!(core.poller_tid, None);
        });
        drop(runtime);
        common::run(Mode::Polled, async { runtime::op::nop().await.unwrap() });
    });
}
