//! Signals: every listener gets them, on whichever runtime; a wait that is dropped loses none; none comes from a child.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(unsafe_code, reason = "forks, and blocks signals")]

mod common;

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use common::{MODES, Wakes, builder, descriptors, in_child, poll_deaf, run, until, until_operations};
use futures::{FutureExt, StreamExt};
use runtime::Builder;
use runtime::signal::{Signal, SignalKind, ctrl_c, signal};

// One signal for each test: they share the process.
fn raise(kind: SignalKind) {
    signal_hook::low_level::raise(kind.as_raw()).unwrap();
}

#[test]
fn raised_before_or_after_the_wait_began() {
    for mode in MODES {
        run(mode, async {
            let mut hangups = signal(SignalKind::HANGUP).unwrap();
            raise(SignalKind::HANGUP);
            hangups.recv().await.unwrap();
            let waiting = runtime::spawn(async move { hangups.recv().await.map(|()| hangups) });
            until_operations(1).await;
            raise(SignalKind::HANGUP);
            let mut hangups = waiting.await.unwrap().unwrap();
            raise(SignalKind::HANGUP);
            hangups.next().await.unwrap().unwrap();
            assert!(poll_deaf(&mut pin!(hangups.recv())).is_pending(), "a signal came twice");
            drop(hangups);
            until_operations(0).await;
            // The next one starts with nothing.
            let mut later = signal(SignalKind::HANGUP).unwrap();
            let mut recv = pin!(later.recv());
            assert!(poll_deaf(&mut recv).is_pending());
            until_operations(1).await;
            assert!(poll_deaf(&mut recv).is_pending());
        });
    }
}

#[test]
fn every_listener_gets_it() {
    for mode in MODES {
        let other = builder(mode).build().unwrap();
        let mut elsewhere = other.block_on(async { signal(SignalKind::USER1).unwrap() });
        let runtime = Builder::new().cores(2).pin(false).mode(mode).build().unwrap();
        runtime.block_on(async {
            let (mut first, mut second) =
                (signal(SignalKind::USER1).unwrap(), signal(SignalKind::USER1).unwrap());
            let (ready, is_ready) = futures::channel::oneshot::channel();
            let far = runtime::spawn_on(1, || async move {
                let mut far = signal(SignalKind::USER1).unwrap();
                ready.send(()).unwrap();
                far.recv().await
            });
            is_ready.await.unwrap();
            raise(SignalKind::USER1);
            first.recv().await.unwrap();
            second.recv().await.unwrap();
            far.await.unwrap().unwrap();
            drop(first);
            raise(SignalKind::USER1);
            second.recv().await.unwrap();
        });
        other.block_on(elsewhere.recv()).unwrap();
    }
}

#[test]
fn a_wait_that_is_dropped_loses_no_signal() {
    for mode in MODES {
        run(mode, async {
            let mut signals = signal(SignalKind::USER2).unwrap();
            for round in 0..200 {
                if round % 2 == 0 {
                    assert!(poll_deaf(&mut pin!(signals.recv())).is_pending());
                }
                raise(SignalKind::USER2);
                // Dropped before, while or after the completion comes.
                for _ in 0..round % 4 {
                    let mut recv = pin!(signals.recv());
                    if poll_deaf(&mut recv).is_ready() {
                        raise(SignalKind::USER2);
                    }
                    runtime::task::yield_now().await;
                }
                signals.recv().await.unwrap();
            }
        });
    }
}

#[test]
fn at_the_end_of_the_runtime_it_is_cancelled() {
    for mode in MODES {
        let runtime = builder(mode).build().unwrap();
        let mut signals = runtime.block_on(async {
            let mut signals = signal(SignalKind::WINDOW_CHANGE).unwrap();
            assert!(poll_deaf(&mut pin!(signals.recv())).is_pending());
            signals
        });
        drop(runtime);
        let error = futures::executor::block_on(signals.recv()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
        // It may go on in another one.
        raise(SignalKind::WINDOW_CHANGE);
        run(mode, async { signals.recv().await.unwrap() });
    }
}

#[test]
fn signals_that_cannot_be_listened_for_are_errors() {
    for number in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, 0, -1, 1000] {
        let error = signal(SignalKind::from_raw(number)).unwrap_err();
        assert!(matches!(error.raw_os_error(), None | Some(libc::EINVAL)), "{number}: {error}");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{number}: {error}");
    }
}

#[test]
fn ctrl_c_waits_for_the_interrupt() {
    for mode in MODES {
        run(mode, async {
            let waiting = runtime::spawn(ctrl_c());
            until_operations(1).await;
            raise(SignalKind::INTERRUPT);
            waiting.await.unwrap().unwrap();
        });
    }
}

/// Forks a child in which `number` is raised as often as that, and which then ends; waits for it.
fn raise_in_a_child(number: i32, times: usize) {
    // SAFETY: the child makes calls that are async-signal-safe only.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: runs the handler.
            let raised = (0..times).all(|_| unsafe { libc::raise(number) } == 0);
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!raised)) }
        }
        child => {
            let mut status = -1;
            // SAFETY: the kernel writes one number.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!((waited, status), (child, 0));
        }
    }
}

#[test]
fn a_signal_in_a_child_does_not_show_in_the_parent() {
    in_child("a_signal_in_a_child_does_not_show_in_the_parent", || {
        for mode in MODES {
            run(mode, async {
                let mut signals = signal(SignalKind::HANGUP).unwrap();
                let wakes = Arc::new(Wakes::default());
                let waker = Waker::from(Arc::clone(&wakes));
                let mut cx = Context::from_waker(&waker);
                {
                    let mut recv = pin!(signals.recv());
                    assert!(recv.as_mut().poll(&mut cx).is_pending());
                    until_operations(1).await;
                    // The event counter may have been added to before: takes that first edge.
                    assert!(recv.as_mut().poll(&mut cx).is_pending());
                    let before = wakes.count();
                    raise_in_a_child(SignalKind::HANGUP.as_raw(), 3);
                    for _ in 0..100 {
                        runtime::op::nop().await.unwrap();
                    }
                    until_operations(1).await;
                    assert_eq!(wakes.count(), before, "the parent was woken by its child's signal");
                    assert!(recv.as_mut().poll(&mut cx).is_pending());
                }
                raise(SignalKind::HANGUP);
                signals.recv().await.unwrap();
            });
        }
    });
}

/// The child's core goes on with the listeners that its tasks have.
#[test]
fn a_child_that_goes_on_has_listeners_of_its_own() {
    in_child("a_child_that_goes_on_has_listeners_of_its_own", || {
        for mode in MODES {
            run(mode, async {
                // One that waits through the fork, one that does not.
                let mut waits = signal(SignalKind::HANGUP).unwrap();
                let received = Rc::new(Cell::new(0));
                let waits = runtime::spawn({
                    let received = Rc::clone(&received);
                    async move {
                        for n in 1..=2 {
                            waits.recv().await.unwrap();
                            received.set(n);
                        }
                    }
                });
                let mut idle = signal(SignalKind::HANGUP).unwrap();
                until_operations(1).await;
                // SAFETY: the runtime is made for children that go on.
                let child = unsafe { libc::fork() };
                assert_ne!(child, -1, "{}", std::io::Error::last_os_error());
                if child == 0 {
                    // Before the core has noticed, and after.
                    let both = async {
                        raise(SignalKind::HANGUP);
                        idle.recv().await.unwrap();
                        until("the other gets it", || received.get() == 1).await;
                        raise(SignalKind::HANGUP);
                        idle.recv().await.unwrap();
                        waits.await.unwrap();
                        assert!(poll_deaf(&mut pin!(idle.recv())).is_pending());
                        let mut later = signal(SignalKind::USER1).unwrap();
                        raise(SignalKind::USER1);
                        later.recv().await.unwrap();
                    };
                    let outcome = std::panic::AssertUnwindSafe(both).catch_unwind().await;
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(i32::from(outcome.is_err())) };
                }
                let mut status = -1;
                // SAFETY: the kernel writes one number.
                let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
                assert_eq!((waited, status), (child, 0));
                until_operations(1).await;
                assert!(poll_deaf(&mut pin!(idle.recv())).is_pending());
                assert_eq!(received.get(), 0);
                raise(SignalKind::HANGUP);
                idle.recv().await.unwrap();
                until("the other gets it", || received.get() == 1).await;
                raise(SignalKind::HANGUP);
                waits.await.unwrap();
            });
        }
    });
}

#[test]
fn listeners_take_no_descriptors() {
    in_child("listeners_take_no_descriptors", || {
        for mode in MODES {
            run(mode, async {
                drop(signal(SignalKind::USER1).unwrap());
                let before = descriptors();
                let listeners: Vec<Signal> =
                    (0..100).map(|n| signal(SignalKind::from_raw(34 + n % 30)).unwrap()).collect();
                assert_eq!(descriptors(), before);
                drop(listeners);
            });
        }
    });
}

/// Its wait sees the edges of all signals.
#[test]
fn others_that_come_by_the_thousand_are_not_taken_for_its_own() {
    for mode in MODES {
        run(mode, async {
            let (mut mine, mut others) =
                (signal(SignalKind::QUIT).unwrap(), signal(SignalKind::CHILD).unwrap());
            for _ in 0..500 {
                raise(SignalKind::CHILD);
                others.recv().await.unwrap();
                assert!(poll_deaf(&mut pin!(mine.recv())).is_pending());
                runtime::op::nop().await.unwrap();
            }
            raise(SignalKind::QUIT);
            mine.recv().await.unwrap();
        });
    }
}

/// As an image that is replaced by exec leaves it to the next.
#[test]
fn a_signal_that_was_blocked_is_delivered_to_the_first_listener() {
    in_child("a_signal_that_was_blocked_is_delivered_to_the_first_listener", || {
        for mode in MODES {
            run(mode, async {
                let mut pending = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
                // SAFETY: the set is initialised by its first use.
                unsafe {
                    libc::sigemptyset(pending.as_mut_ptr());
                    libc::sigaddset(pending.as_mut_ptr(), libc::SIGTERM);
                    libc::pthread_sigmask(libc::SIG_BLOCK, pending.as_ptr(), std::ptr::null_mut());
                }
                raise(SignalKind::TERMINATE);
                signal(SignalKind::TERMINATE).unwrap().recv().await.unwrap();
                // SAFETY: as above.
                let blocked = unsafe {
                    libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), pending.as_mut_ptr());
                    libc::sigismember(pending.as_ptr(), libc::SIGTERM)
                };
                assert_eq!(blocked, 0);
            });
        }
    });
}
