//! What one image of the program hands over to the next.
//!
//! The listener and every connection, each with its state: what its client has sent and was not answered, and what it was
//! answered and was not sent. The next image may be another version of the program, so the state says which form it has.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use net::{TcpListener, TcpStream};
use runtime::guard::{Upgrade, inherited_connections};

use crate::http::connection::Connection;

/// The name of listeners and connections.
const NAME: &str = "http";
/// What service managers call sockets that they have no name for.
const NO_NAME: &str = "unknown";
/// Where the next image reads which one it is.
const GENERATION: &str = "REPOLL_GENERATION";

/// The first byte of a state.
const FORM: u8 = 1;

/// Which image this is, counted from 1.
pub(crate) fn generation() -> u64 {
    std::env::var(GENERATION).ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The listeners that the image before, or a service manager, has handed over.
pub(crate) fn listeners() -> io::Result<Vec<Rc<TcpListener>>> {
    let mut listeners = TcpListener::inherited(NAME)?;
    listeners.extend(TcpListener::inherited(NO_NAME)?);
    Ok(listeners.into_iter().map(Rc::new).collect())
}

/// The connections that the image before has handed over, and an error for each that is of no use.
pub(crate) fn connections() -> Vec<io::Result<Connection>> {
    inherited_connections(NAME).into_iter().map(|(fd, state)| restore(fd, &state)).collect()
}

/// The next image of `program`, with everything that it gets.
pub(crate) fn upgrade(
    program: &Path,
    listeners: &[Rc<TcpListener>],
    connections: &[Connection],
    next: u64,
) -> Upgrade {
    let mut upgrade = Upgrade::new().program(program).env(GENERATION, next.to_string());
    for listener in listeners {
        upgrade = upgrade.listener(NAME, &**listener);
    }
    for connection in connections {
        upgrade = upgrade.connection(NAME, &connection.stream, state(connection));
    }
    upgrade
}

/// Form, whether it is ending, how long the unsent bytes are, those, the received ones.
fn state(connection: &Connection) -> Vec<u8> {
    let mut state = vec![FORM, u8::from(connection.is_ending)];
    state.extend_from_slice(&(connection.unsent.len() as u64).to_le_bytes());
    state.extend_from_slice(&connection.unsent);
    state.extend_from_slice(&connection.received);
    state
}

fn restore(fd: OwnedFd, state: &[u8]) -> io::Result<Connection> {
    let stream = TcpStream::try_from(fd)?;
    let not_understood = || io::Error::new(io::ErrorKind::InvalidData, "its state has an unknown form");
    let [FORM, is_ending, rest @ ..] = state else { return Err(not_understood()) };
    let (len, rest) = rest.split_first_chunk().ok_or_else(not_understood)?;
    let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| not_understood())?;
    let (unsent, received) = rest.split_at_checked(len).ok_or_else(not_understood)?;
    Ok(Connection {
        unsent: unsent.into(),
        received: received.into(),
        is_ending: *is_ending != 0,
        ..Connection::new(stream)
    })
}
