//! A connection in two halves, each of which a task of its own can have.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;

use runtime::buf::{IoBuf, IoBufMut};
use runtime::op::{Op, Recv, Send};
use socket2::SockRef;

use crate::stream::TcpStream;

pub(crate) fn split(stream: TcpStream) -> (ReadHalf, WriteHalf) {
    let stream = Rc::new(stream);
    (ReadHalf { stream: Rc::clone(&stream) }, WriteHalf { stream: Some(stream) })
}

/// The reading half of a connection; made by [`TcpStream::split`].
#[derive(Debug)]
pub struct ReadHalf {
    stream: Rc<TcpStream>,
}

impl ReadHalf {
    /// See [`TcpStream::read`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read<B: IoBufMut>(&self, buf: B) -> Op<Recv<B>> {
        self.stream.read(buf)
    }

    /// See [`TcpStream::read_exact`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn read_exact<B: IoBufMut>(&self, buf: B) -> (io::Result<()>, B) {
        self.stream.read_exact(buf).await
    }

    /// The whole connection.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Puts the halves together again.
    ///
    /// # Errors
    ///
    /// Gives both back if they are of different connections.
    ///
    /// # Examples
    ///
    /// ```
    /// #[runtime::main]
    /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    ///     let (read, write) = stream.split();
    ///     let stream = read.reunite(write)?;
    ///     stream.close().await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn reunite(self, mut write: WriteHalf) -> Result<TcpStream, ReuniteError> {
        match write.stream.take() {
            Some(stream) if Rc::ptr_eq(&self.stream, &stream) => {
                drop(stream);
                Rc::try_unwrap(self.stream).map_err(|_| unreachable!("a stream has two halves"))
            }
            stream => {
                write.stream = stream;
                Err(ReuniteError(self, write))
            }
        }
    }
}

/// The writing half of a connection; made by [`TcpStream::split`]. Dropping it ends the writing direction.
#[derive(Debug)]
pub struct WriteHalf {
    /// `None` only once the halves are together again.
    stream: Option<Rc<TcpStream>>,
}

impl WriteHalf {
    /// See [`TcpStream::write`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn write<B: IoBuf>(&self, buf: B) -> Op<Send<B>> {
        self.stream().write(buf)
    }

    /// See [`TcpStream::write_all`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn write_all<B: IoBuf>(&self, buf: B) -> (io::Result<()>, B) {
        self.stream().write_all(buf).await
    }

    /// The whole connection.
    pub fn stream(&self) -> &TcpStream {
        self.stream.as_ref().expect("a half that can be used has its stream")
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            // Fails only if the connection is broken, and then there is nothing to end.
            let _ = SockRef::from(&**stream).shutdown(Shutdown::Write);
        }
    }
}

/// The halves are of different connections.
pub struct ReuniteError(pub ReadHalf, pub WriteHalf);

impl fmt::Debug for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReuniteError")
    }
}

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are of different connections")
    }
}

impl std::error::Error for ReuniteError {}
