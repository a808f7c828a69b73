//! Signals: every listener gets them, on whichever runtime; a wait that is dropped loses none.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::pin::pin;

use common::{MODES, builder, poll_deaf, run, until_operations};
use futures::StreamExt;
use runtime::Builder;
use runtime::signal::{SignalKind, ctrl_c, signal};

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
