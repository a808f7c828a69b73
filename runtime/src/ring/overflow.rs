//! Completions that a dead ring has and can't give: what did not fit into its queue waits in the kernel, and the enter that
//! would move it fails. fdinfo lists it, so what became of those requests is known all the same.

use std::io;
use std::os::fd::RawFd;
use std::thread;
use std::time::{Duration, Instant};

/// A completion: the fields of its CQE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflowed {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

/// fdinfo leaves the list out while somebody else has the ring's lock: for another look at fdinfo, say.
const PATIENCE: Duration = Duration::from_millis(500);
const BETWEEN_READS: Duration = Duration::from_micros(100);

/// All that have overflowed, oldest first, on a ring that has the flag which says that there are some.
pub(super) fn read(ring: RawFd) -> io::Result<Vec<Overflowed>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match parse(&std::fs::read_to_string(format!("/proc/self/fdinfo/{ring}"))?) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(BETWEEN_READS);
            }
            result => return result,
        }
    }
}

/// The lines after `CqOverflowList:`, each `  user_data=1, res=2, flags=3` (flags in hexadecimal).
fn parse(info: &str) -> io::Result<Vec<Overflowed>> {
    let lines = info.lines().skip_while(|line| !line.starts_with("CqOverflowList:")).skip(1);
    let lines = lines.map(str::trim).take_while(|line| line.starts_with("user_data="));
    let list: Vec<_> =
        lines.map(|line| parse_line(line).ok_or_else(|| unknown(line))).collect::<io::Result<_>>()?;
    if list.is_empty() {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "fdinfo does not list what has overflowed"));
    }
    Ok(list)
}

fn parse_line(line: &str) -> Option<Overflowed> {
    let mut fields = line.split(", ");
    let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix('=');
    Some(Overflowed {
        user_data: field("user_data")?.parse().ok()?,
        result: field("res")?.parse().ok()?,
        flags: u32::from_str_radix(field("flags")?, 16).ok()?,
    })
}

fn unknown(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("fdinfo has an unknown line: {line}"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use io_uring::{IoUring, opcode};

    use super::*;

    #[test]
    fn what_the_kernel_lists_is_what_overflowed() {
        let mut ring: IoUring = IoUring::builder().setup_cqsize(4).build(4).unwrap();
        for user_data in 0..12_u64 {
            let nop = opcode::Nop::new().build().user_data(user_data << 40 | user_data);
            // SAFETY: names no memory.
            unsafe { ring.submission().push(&nop) }.unwrap();
            ring.submit().unwrap();
        }
        let listed: Vec<u64> = read(ring.as_raw_fd()).unwrap().into_iter().map(|cqe| cqe.user_data).collect();
        assert_eq!(listed, (4..12).map(|n| n << 40 | n).collect::<Vec<u64>>());
    }

    #[test]
    fn a_line_is_read_whole_or_refused() {
        let info = "SqThread:\t-1\nCqOverflowList:\n  user_data=7, res=-125, flags=1f\nNAPI:\tdisabled\n";
        assert_eq!(parse(info).unwrap(), [Overflowed { user_data: 7, result: -125, flags: 0x1f }]);
        assert!(parse("CqOverflowList:\n  user_data=7, result=1\n").is_err());
        for cut in ["SqThread:\t-1\n", "CqOverflowList:\nNAPI:\tdisabled\n"] {
            assert_eq!(parse(cut).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }
}
