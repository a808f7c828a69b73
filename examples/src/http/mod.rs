//! A small HTTP/1.1 server, which the programs that change their process share: it answers `GET /` with one line of text.
//!
//! **It can be brought to rest at any moment without anything being lost.** What is known about a connection is two buffers
//! and a flag ([`connection::Connection`]): bytes that came and were not answered, bytes of answers that were not sent, and whether the
//! connection ends with those. A read or write that waits is cancelled with a definitive outcome, and then the rest is in
//! the buffers: whoever has them goes on where this server stopped, be it in the middle of a request or of an answer. So it
//! waits for no client, however slow.
//!
//! `request` understands requests, `connection` serves one connection, `server` accepts them, `program` is what the programs'
//! command lines have in common.

pub(crate) mod connection;
pub(crate) mod program;
mod request;
mod server;

pub(crate) use server::{finish, serve};
