//! In the steady state nothing is allocated: not by reads and writes, not by requests, timers and wakes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(unsafe_code, reason = "a global allocator that counts")]

#[path = "../../runtime/tests/common/mod.rs"]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{MODES, run, under_asan};
use futures::StreamExt;
use net::{TcpListener, TcpStream};
use runtime::task::yield_now;
use runtime::time::{sleep, timeout};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 1000;

/// How often `round` allocates in so many rounds, after as many that warm up.
async fn count(mut round: impl AsyncFnMut()) -> usize {
    for _ in 0..ROUNDS {
        round().await;
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..ROUNDS {
        round().await;
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// The only test of its file: allocations of other threads would be counted too.
#[test]
fn nothing_is_allocated_per_operation() {
    if under_asan() {
        println!("SKIPPED: AddressSanitizer has an allocator of its own");
        return;
    }
    for mode in MODES {
        run(mode, async {
            assert_eq!(count(async || runtime::op::nop().await.unwrap()).await, 0, "{mode:?} nop");
            assert_eq!(count(async || yield_now().await).await, 0, "{mode:?} yield");
            let mut timer = Box::pin(sleep(Duration::ZERO));
            let reset = async || {
                // One that is given up for another, and one that fires.
                timer.as_mut().get_mut().reset(Instant::now() + Duration::from_secs(60));
                assert!(futures::poll!(&mut timer).is_pending());
                timer.as_mut().get_mut().reset(Instant::now() + Duration::from_micros(200));
                timer.as_mut().await;
            };
            assert_eq!(count(reset).await, 0, "{mode:?} timers");
            let late = Duration::from_secs(60);
            assert_eq!(count(async || timeout(late, runtime::op::nop()).await.unwrap().unwrap()).await, 0);

            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            drop(runtime::spawn(async move {
                let mut buf = vec![0; 4096];
                loop {
                    let result;
                    (result, buf) = server.read(buf).await;
                    if result.unwrap() == 0 {
                        return;
                    }
                    let result;
                    (result, buf) = server.write_all(buf).await;
                    result.unwrap();
                }
            }));
            let mut kept = Some(vec![7; 1000]);
            let echo = async || {
                let (result, buf) = client.write_all(kept.take().unwrap()).await;
                result.unwrap();
                let (result, buf) = client.read_exact(buf).await;
                result.unwrap();
                kept = Some(buf);
            };
            assert_eq!(count(echo).await, 0, "{mode:?} echo");

            // A connection is not free, but costs a fixed small number: its owner on either side and the address list.
            let connect = async || {
                let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (server, _) = listener.accept().await.unwrap();
                drop((client, server));
            };
            let per_connection = count(connect).await as f64 / ROUNDS as f64;
            assert!(per_connection <= 4.0, "{mode:?}: {per_connection} allocations for each connection");
            let mut incoming = listener.incoming();
            let connect = async || {
                drop(std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap());
                drop(incoming.next().await.unwrap().unwrap());
            };
            let per_connection = count(connect).await as f64 / ROUNDS as f64;
            assert!(per_connection <= 1.01, "{mode:?}: {per_connection} allocations for each accept");
        });
    }
}
