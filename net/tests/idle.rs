//! A runtime with nothing to do uses no CPU: neither its cores nor its poller.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "../../runtime/tests/common/mod.rs"]
mod common;

use std::time::Duration;

use common::{MODES, under_asan};
use net::{TcpListener, TcpStream};
use runtime::Builder;
use runtime::time::sleep;

/// How long this process looks at its own idling; what is asserted is the CPU time, not this.
const WINDOW: Duration = Duration::from_secs(2);

/// CPU time of the whole process, pollers included, in ticks of 10 ms.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime and stime, proc_pid_stat(5); the first field here is the third there.
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The only test of its file: others would use CPU time.
#[test]
fn an_idle_runtime_uses_no_cpu() {
    if under_asan() {
        println!("SKIPPED: AddressSanitizer uses CPU time of its own");
        return;
    }
    for mode in MODES {
        let runtime = Builder::new().cores(2).mode(mode).pin(false).build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = runtime::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    drop(runtime::spawn(async move { stream.read(vec![0; 64]).await.0 }));
                }
            });
            let clients =
                [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
            drop(runtime::spawn(sleep(Duration::from_secs(3600))));
            drop(runtime::spawn_on(1, || sleep(Duration::from_secs(7200))));
            drop(runtime::spawn_blocking(|| ()).await);
            // The poller's idle time and a core's spinning end long before.
            sleep(Duration::from_millis(300)).await;
            // Time that others take from a virtual machine's CPU looks like ours: one quiet window of five is enough.
            let mut windows = Vec::new();
            while windows.last().is_none_or(|&(used, parks)| used > 2 || parks > 10) {
                assert!(
                    windows.len() < 5,
                    "{mode:?}: ticks of CPU time and wake-ups while idle: {windows:?}"
                );
                let (before, parks) = (ticks(), runtime::metrics().cores[0].parks);
                sleep(WINDOW).await;
                windows.push((ticks() - before, runtime::metrics().cores[0].parks - parks));
            }
            assert!(!server.is_finished());
            drop(clients);
        });
    }
}
