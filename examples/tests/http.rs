//! What the servers say to requests of all kinds: good, bad, in pieces, many at once.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod http_support;

use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use http_support::client::{Client, LAST_REQUEST, REQUEST, Response};
use http_support::{Program, await_descriptors, descriptors};

fn start() -> (Program, SocketAddr) {
    let program = Program::start(env!("CARGO_BIN_EXE_hot_upgrade"), &["--addr", "127.0.0.1:0"]);
    let address = program.address();
    (program, address)
}

/// What is said to some bytes on a new connection, and whether the connection ends then.
fn ask(address: SocketAddr, bytes: &[u8]) -> (Response, bool) {
    let mut client = Client::connect(address).unwrap();
    client.send(bytes).unwrap();
    let method = if bytes.starts_with(b"HEAD") { "HEAD" } else { "" };
    let response =
        client.receive_after(method).unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
    // Whoever is told that it ends can rely on it; else there is an answer to another request.
    let ends = match response.header("connection") {
        Some("close") => client.is_ended(),
        _ => client.get().is_err(),
    };
    (response, ends)
}

#[test]
fn each_request_gets_its_answer() {
    let (_program, address) = start();
    let long = "x".repeat(17_000);
    let many: String = (0..70).map(|n| format!("X-{n}: y\r\n")).collect();
    let cases: Vec<(String, u16, bool)> = [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200, false),
        ("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 200, false),
        ("\r\nGET /?query HTTP/1.1\r\nhOsT:x\r\n\r\n", 200, false),
        ("GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 200, false),
        ("GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", 200, false),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, true),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade, CLOSE\r\n\r\n", 200, true),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 200, false),
        ("GET / HTTP/1.0\r\n\r\n", 200, true),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 200, false),
        ("GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n", 404, false),
        ("GET http://x/elsewhere HTTP/1.1\r\nHost: x\r\n\r\n", 404, false),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nGET ", 405, false),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 405, false),
        ("GET / HTTP/1.1\r\n\r\n", 400, true),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, true),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, true),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, true),
        ("GET\r\n\r\n", 400, true),
        ("\x16\x03\x01\x02\x00\x01\x00\x01", 400, true),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello", 400, true),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, true),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, true),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\nx", 400, true),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413, true),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n", 413, true),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n", 417, true),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411, true),
    ]
    .map(|(request, status, ends)| (request.to_owned(), status, ends))
    .into_iter()
    .chain([
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"), 431, true),
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 431, true),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}"), 431, true),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), 431, true),
    ])
    .collect();
    for (request, status, ends) in cases {
        let (response, ended) = ask(address, request.as_bytes());
        let shown: String = request.chars().take(100).collect();
        assert_eq!((response.status, ended), (status, ends), "{shown:?}: {response:?}");
        assert_eq!(response.header("connection") == Some("close"), ends, "{shown:?}: {response:?}");
        assert!(response.header("date").is_some_and(|date| date.ends_with(" GMT")), "{response:?}");
        if status == 405 {
            assert_eq!(response.header("allow"), Some("GET, HEAD"));
        }
    }
}

#[test]
fn the_answer_is_as_the_program_promises() {
    let (program, address) = start();
    let (response, _) = ask(address, REQUEST.as_bytes());
    assert_eq!(response.body, format!("generation 1 pid {}", program.pid()));
    let (head, _) = ask(address, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    let length = response.body.len().to_string();
    assert_eq!((head.header("content-length"), head.body.as_str()), (Some(length.as_str()), ""));
    let (kept, _) = ask(address, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(kept.header("connection"), Some("keep-alive"));
}

#[test]
fn requests_may_come_in_any_pieces() {
    let (_program, address) = start();
    let requests =
        format!("{REQUEST}POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc{LAST_REQUEST}");
    for size in [1, 2, 3, 7, 50, requests.len()] {
        let mut client = Client::connect(address).unwrap();
        for piece in requests.as_bytes().chunks(size) {
            client.send(piece).unwrap();
        }
        let statuses: Vec<u16> = (0..3).map(|_| client.receive().unwrap().status).collect();
        assert_eq!(statuses, [200, 405, 200]);
        assert!(client.is_ended());
    }
}

#[test]
fn what_comes_after_the_last_request_is_not_answered() {
    let (_program, address) = start();
    let mut client = Client::connect(address).unwrap();
    client.send(REQUEST.repeat(10) + LAST_REQUEST + &REQUEST.repeat(10)).unwrap();
    for _ in 0..11 {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    assert!(client.is_ended());
}

/// A client that has sent what the server refuses to read gets the refusal, and not a reset that destroys it.
#[test]
fn a_refusal_arrives_while_the_client_still_sends() {
    let (program, address) = start();
    let before = descriptors(program.pid());
    for _ in 0..20 {
        let mut client = Client::connect(address).unwrap();
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n").unwrap();
        client.send(vec![b'x'; 500_000]).unwrap();
        assert_eq!(client.receive().unwrap().status, 413);
        assert!(client.is_ended());
    }
    await_descriptors(program.pid(), before);
}

/// `printf '...' | nc`: the client has finished sending before it is answered.
#[test]
fn a_client_that_has_finished_sending_is_answered() {
    let (_program, address) = start();
    let mut client = Client::connect(address).unwrap();
    client.send(REQUEST.repeat(5)).unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    for _ in 0..5 {
        client.receive().unwrap();
    }
    assert!(client.is_ended());
}

#[test]
fn a_client_that_never_ends_its_side_does_not_keep_a_connection() {
    let (program, address) = start();
    let before = descriptors(program.pid());
    let mut client = Client::connect(address).unwrap();
    client.send(LAST_REQUEST).unwrap();
    client.receive().unwrap();
    let start = Instant::now();
    await_descriptors(program.pid(), before);
    assert!(start.elapsed() < Duration::from_secs(20));
    drop(client);
}
