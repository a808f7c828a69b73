//! TCP for the repoll runtime: owned-buffer I/O on io_uring.
//!
//! [`TcpListener`] accepts, [`TcpStream`] carries bytes. Buffers go in by value and come back with the result, so the kernel
//! never holds a pointer into memory that the caller may free:
//!
//! ```
//! use net::{TcpListener, TcpStream};
//!
//! #[runtime::main]
//! async fn main() -> std::io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?;
//!     let server = runtime::spawn(async move {
//!         let (stream, _peer) = listener.accept().await?;
//!         let (result, buf) = stream.read(Vec::with_capacity(64)).await;
//!         result?;
//!         stream.write_all(buf).await.0
//!     });
//!     let stream = TcpStream::connect(address).await?;
//!     let (result, _) = stream.write_all("hello").await;
//!     result?;
//!     let (result, buf) = stream.read(Vec::with_capacity(64)).await;
//!     assert_eq!((result?, buf), (5, b"hello".to_vec()));
//!     server.await?
//! }
//! ```
//!
//! # Cancel safety
//!
//! Dropping the future of an operation in flight cancels it and drops its buffer. A read or write that is dropped may have
//! moved bytes already: after that the connection is only good for closing. [`TcpStream::read`] and [`TcpStream::write`] give
//! operations that can be cancelled without that loss ([`Op::cancel`](runtime::op::Op::cancel)). `accept` and `incoming` say
//! what becomes of connections.
#![forbid(unsafe_code)]

mod address;
mod incoming;
mod listen_options;
mod listener;
mod split;
mod stream;
mod stream_options;

pub use address::ToAddresses;
pub use incoming::Incoming;
pub use listen_options::ListenOptions;
pub use listener::TcpListener;
pub use split::{ReadHalf, ReuniteError, WriteHalf};
pub use stream::TcpStream;
