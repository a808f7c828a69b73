//! A listener in a worker that was forked: an accept that the parent has in flight does not stand in its way.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "../../runtime/tests/common/mod.rs"]
mod common;

use std::rc::Rc;

use common::{MODES, in_child, poll_deaf, run, until_operations};
use net::{TcpListener, TcpStream};
use runtime::guard::fork_worker;

#[test]
fn a_worker_accepts_where_its_parent_had_an_accept_in_flight() {
    in_child("a_worker_accepts_where_its_parent_had_an_accept_in_flight", || {
        for mode in MODES {
            run(mode, async {
                let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
                let mut accept = Box::pin(listener.accept());
                assert!(poll_deaf(&mut accept).is_pending());
                drop(accept);
                until_operations(1).await;
                let inherited = Rc::clone(&listener);
                let mut worker = fork_worker(async move {
                    let (client, _) = inherited.accept().await?;
                    client.write_all(std::process::id().to_string()).await.0
                })
                .unwrap();
                assert!(listener.stop().await.unwrap().is_none());
                let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (result, answer) = client.read(Vec::with_capacity(16)).await;
                result.unwrap();
                assert_eq!(answer, worker.pid().to_string().into_bytes());
                assert!(worker.wait().await.unwrap().success());
                listener.resume();
                let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                assert_eq!(listener.accept().await.unwrap().1, client.local_addr().unwrap());
            });
        }
    });
}
