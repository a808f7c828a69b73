//! What the image before this one, or systemd, has handed over.
//!
//! **Listeners** come as descriptors from 3 on, as `sd_listen_fds(3)` has it: `LISTEN_PID` names the process that they are
//! for, `LISTEN_FDS` says how many, `LISTEN_FDNAMES` names them, with colons in between. **Connections** follow, in an
//! upgrade only, and after them a file in memory that has their names and states; `REPOLL_CONNECTIONS` says for which
//! process and how many.
//!
//! Variables may be stale or lie, and a descriptor has one owner. So what is taken must not be close-on-exec, as nothing that
//! has come through an exec is; it is made so, and taken once.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::sys;

/// The first descriptor that is handed over.
pub(super) const FIRST: RawFd = 3;

/// What systemd calls a descriptor without a name.
const UNKNOWN: &str = "unknown";

const CONNECTIONS: &str = "REPOLL_CONNECTIONS";

/// What has not been taken yet.
struct Inherited {
    listeners: Vec<(String, OwnedFd)>,
    connections: Vec<(String, OwnedFd, Vec<u8>)>,
}

fn not_taken() -> &'static Mutex<Inherited> {
    static NOT_TAKEN: OnceLock<Mutex<Inherited>> = OnceLock::new();
    NOT_TAKEN.get_or_init(|| {
        let listeners = listeners();
        let connections = connections().unwrap_or_default();
        Mutex::new(Inherited { listeners, connections })
    })
}

/// Takes the listening sockets that were handed over under `name`, by systemd (`FileDescriptorName=`) or by an
/// [`Upgrade`](super::Upgrade), in the order in which they were; none if there are none, or if they have been taken.
///
/// Call it before the process opens descriptors of its own that are not close-on-exec.
///
/// `sd_listen_fds_with_names(3)`.
///
/// # Examples
///
/// ```
/// // This process was started by nobody in particular.
/// assert!(runtime::guard::inherited("http").is_empty());
/// ```
pub fn inherited(name: &str) -> Vec<OwnedFd> {
    let mut not_taken = not_taken().lock().unwrap_or_else(PoisonError::into_inner);
    let taken = not_taken.listeners.extract_if(.., |(of, _)| of == name);
    taken.map(|(_, fd)| fd).collect()
}

/// Takes the connections that were handed over by an [`Upgrade`](super::Upgrade) under `name`, each with its state.
///
/// # Examples
///
/// ```
/// assert!(runtime::guard::inherited_connections("clients").is_empty());
/// ```
pub fn inherited_connections(name: &str) -> Vec<(OwnedFd, Vec<u8>)> {
    let mut not_taken = not_taken().lock().unwrap_or_else(PoisonError::into_inner);
    let taken = not_taken.connections.extract_if(.., |(of, _, _)| of == name);
    taken.map(|(_, fd, state)| (fd, state)).collect()
}

fn listeners() -> Vec<(String, OwnedFd)> {
    let variable = |name: &str| std::env::var(name).ok();
    let for_us = variable("LISTEN_PID").and_then(|pid| pid.parse().ok()) == Some(std::process::id());
    let count = variable("LISTEN_FDS").and_then(|count| count.parse().ok()).filter(|_| for_us).unwrap_or(0);
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(|name| if name.is_empty() { UNKNOWN } else { name });
    let numbers = FIRST..FIRST.saturating_add(count);
    numbers
        .filter_map(|number| {
            // Each number has its name, whether or not there is something to take.
            let name = names.next().unwrap_or(UNKNOWN).to_owned();
            Some((name, sys::exec::take_inherited(number).ok()?))
        })
        .collect()
}

fn connections() -> Option<Vec<(String, OwnedFd, Vec<u8>)>> {
    let variable = std::env::var(CONNECTIONS).ok()?;
    let mut numbers = variable.split(':').map(|number| number.parse::<u32>().ok());
    let mut number = || numbers.next().flatten();
    let (pid, first, count) = (number()?, number()? as RawFd, number()? as RawFd);
    if pid != std::process::id() {
        return None;
    }
    // All of them, or none: they are told apart by their order.
    let descriptors = (first..first + count).map(sys::exec::take_inherited);
    let descriptors = descriptors.collect::<io::Result<Vec<OwnedFd>>>().ok()?;
    let states = read_state(sys::exec::take_inherited(first + count).ok()?).ok()?;
    Some(descriptors.into_iter().zip(states).map(|(fd, (name, state))| (name, fd, state)).collect())
}

/// The variables that say to the next image, which has this process's id, what it gets.
pub(super) fn variables(listeners: &[(String, OwnedFd)], connections: usize) -> Vec<(OsString, String)> {
    let pid = std::process::id().to_string();
    let first = FIRST as usize + listeners.len();
    let names: Vec<&str> = listeners.iter().map(|(name, _)| name.as_str()).collect();
    let some = |any: bool, value: String| if any { value } else { String::new() };
    vec![
        ("LISTEN_PID".into(), some(!names.is_empty(), pid.clone())),
        ("LISTEN_FDS".into(), some(!names.is_empty(), names.len().to_string())),
        ("LISTEN_FDNAMES".into(), names.join(":")),
        (CONNECTIONS.into(), some(connections > 0, format!("{pid}:{first}:{connections}"))),
    ]
}

/// The names and states of connections, in a file in memory: each with its length in front, as a `u64`.
pub(super) fn write_state(connections: &[(String, OwnedFd, Vec<u8>)]) -> io::Result<Option<OwnedFd>> {
    if connections.is_empty() {
        return Ok(None);
    }
    let mut file = File::from(sys::exec::memory_file(c"repoll-connections")?);
    let mut bytes = Vec::new();
    for (name, _, state) in connections {
        for part in [name.as_bytes(), state] {
            bytes.extend_from_slice(&(part.len() as u64).to_ne_bytes());
            bytes.extend_from_slice(part);
        }
    }
    file.write_all(&bytes)?;
    Ok(Some(file.into()))
}

fn read_state(file: OwnedFd) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut file = File::from(file);
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let mut rest = bytes.as_slice();
    let mut states = Vec::new();
    while !rest.is_empty() {
        let name = String::from_utf8(part(&mut rest)?).map_err(|error| cut(&error.to_string()))?;
        states.push((name, part(&mut rest)?));
    }
    Ok(states)
}

fn part(rest: &mut &[u8]) -> io::Result<Vec<u8>> {
    let (len, tail) = rest.split_first_chunk().ok_or_else(|| cut("a length is missing"))?;
    let len = usize::try_from(u64::from_ne_bytes(*len)).map_err(|error| cut(&error.to_string()))?;
    let (part, tail) = tail.split_at_checked(len).ok_or_else(|| cut("bytes are missing"))?;
    *rest = tail;
    Ok(part.to_vec())
}

fn cut(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("what was handed over is damaged: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_out_as_they_went_in() {
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        let given = [("a".to_owned(), null(), b"GET / HT".to_vec()), ("b".to_owned(), null(), Vec::new())];
        let file = write_state(&given).unwrap().unwrap();
        let expected = given.map(|(name, _, state)| (name, state));
        assert_eq!(read_state(file).unwrap(), expected);
        assert!(write_state(&[]).unwrap().is_none());
    }

    #[test]
    fn a_damaged_state_is_refused() {
        let mut rest: &[u8] = &[9, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(part(&mut rest).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(part(&mut &[1_u8, 2][..]).is_err());
    }
}
