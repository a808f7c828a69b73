//! Work that must succeed wherever a runtime is whole: sockets, pipes, files, timers, tasks, blocking closures.

use std::ffi::CString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use runtime::fd::Fd;
use runtime::op::{self, OpenHow};
use runtime::process::Command;
use runtime::signal::{SignalKind, signal};
use socket2::{Domain, Socket, Type};

/// A file's own position: for pipes.
pub const HERE: u64 = u64::MAX;

pub fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without NUL")
}

/// Two connected sockets.
pub fn socket_pair() -> (Fd, Fd) {
    let (left, right) = UnixStream::pair().expect("sockets");
    (Fd::new(OwnedFd::from(left)), Fd::new(OwnedFd::from(right)))
}

/// A listener on a port of its own.
pub fn listen() -> (Fd, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it is bound");
    (Fd::new(OwnedFd::from(listener)), address)
}

/// Connects through the ring.
pub async fn connect(address: SocketAddr) -> std::io::Result<Fd> {
    let socket = Fd::new(OwnedFd::from(Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None)?));
    op::connect(&socket, address.into()).await?;
    Ok(socket)
}

/// Receives exactly `len` bytes.
pub async fn recv_exact(fd: &Fd, len: usize) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::with_capacity(len);
    while all.len() < len {
        let (result, buf) = op::recv(fd, Vec::with_capacity(len - all.len())).await;
        if result? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        all.extend_from_slice(&buf);
    }
    Ok(all)
}

pub async fn send_all(fd: &Fd, bytes: impl Into<Vec<u8>>) -> std::io::Result<()> {
    let bytes = bytes.into();
    let len = bytes.len();
    match op::send(fd, bytes, true).await.0? {
        sent if sent == len => Ok(()),
        _ => Err(std::io::ErrorKind::WriteZero.into()),
    }
}

/// Bytes go through a pipe, into `buf`, which comes back filled.
pub async fn through_a_pipe(buf: Vec<u8>) -> Vec<u8> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let (reader, writer) = (Fd::new(OwnedFd::from(reader)), Fd::new(OwnedFd::from(writer)));
    let len = buf.capacity();
    // The read waits first, so that its completion comes by itself.
    let read = runtime::spawn(op::read_at(&reader, buf, HERE));
    runtime::task::yield_now().await;
    let (result, _) = op::write_at(&writer, vec![0x5C; len], HERE).await;
    assert_eq!(result.expect("the pipe is open"), len);
    let (result, buf) = read.await.expect("the task is whole");
    assert_eq!((result.expect("the pipe is open"), &buf), (len, &vec![0x5C; len]));
    buf
}

/// A connection over TCP, with one accept, or a multishot one.
pub async fn over_tcp(many: bool) {
    let (listener, address) = listen();
    let server = runtime::spawn(async move {
        let peer = match many {
            true => op::accept_many(&listener).next().await.expect("it is open").expect("a connection"),
            false => op::accept(&listener).await.expect("a connection").0,
        };
        let asked = recv_exact(&peer, 5).await.expect("a question");
        send_all(&peer, asked).await.expect("an answer");
    });
    let client = connect(address).await.expect("the listener is there");
    send_all(&client, "hello").await.expect("it is connected");
    assert_eq!(recv_exact(&client, 5).await.expect("an echo"), b"hello");
    server.await.expect("the task is whole");
}

/// A new file, written and read.
pub async fn in_a_file(buf: Vec<u8>) {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let path = c_path(&dir.path().join("file"));
    let how = OpenHow { flags: libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, mode: 0o600 };
    let file = op::open(path.clone(), how).await.expect("a new file");
    let (result, _) = op::write_at(&file, b"written".to_vec(), 0).await;
    assert_eq!(result.expect("there is room"), 7);
    op::sync_data(&file).await.expect("it can be synced");
    let (result, buf) = op::read_at(&file, buf, 0).await;
    assert_eq!((result.expect("it can be read"), &buf[..7]), (7, &b"written"[..]));
    op::remove_file(path).await.expect("it is there");
    file.close().await.expect("it is open");
}

pub async fn timers() {
    let start = Instant::now();
    runtime::time::sleep(Duration::from_millis(3)).await;
    assert!(start.elapsed() >= Duration::from_millis(3));
    let never = std::future::pending::<()>();
    assert!(runtime::time::timeout(Duration::from_millis(1), never).await.is_err());
}

pub async fn tasks() {
    let (send, receive) = futures::channel::oneshot::channel();
    let task = runtime::spawn(async move {
        runtime::task::yield_now().await;
        send.send(7).expect("somebody waits");
        8
    });
    assert_eq!((receive.await, task.await.expect("the task is whole")), (Ok(7), 8));
    let blocking = runtime::spawn_blocking(|| std::fs::metadata("/").map(|root| root.is_dir()));
    assert!(blocking.await.expect("the closure is whole").expect("there is a root"));
}

/// All of it.
pub async fn everything() {
    through_a_pipe(Vec::with_capacity(100)).await;
    over_tcp(false).await;
    over_tcp(true).await;
    in_a_file(Vec::with_capacity(100)).await;
    timers().await;
    tasks().await;
}

/// All of it on every core, those that have not been started included.
pub async fn everything_everywhere() {
    for (core, handle) in runtime::on_every_core(|core| async move {
        everything().await;
        (core, runtime::core())
    })
    .into_iter()
    .enumerate()
    {
        assert_eq!(handle.await.unwrap_or_else(|error| panic!("core {core}: {error}")), (core, core));
    }
}

/// What is of the whole process: signals, and processes of its own.
pub async fn signals_and_processes() {
    signals().await;
    let shout = "echo loud | tr a-z A-Z; exit 3";
    let output = Command::new("sh").args(["-c", shout]).output().await.expect("there is a shell");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(3), &b"LOUD\n"[..]));
    let mut child = Command::new("sleep").arg("1000").spawn().await.expect("it can be executed");
    let status = child.kill().await.expect("it is a child");
    assert_eq!(status.signal(), Some(libc::SIGKILL));
}

/// Listens for a signal of one's own and gets it.
pub async fn signals() {
    let mut signals = signal(SignalKind::USER1).expect("it can be listened for");
    // SAFETY: takes no pointers; the signal is handled.
    assert_eq!(unsafe { libc::raise(SignalKind::USER1.as_raw()) }, 0);
    signals.recv().await.expect("it comes");
}
