//! The processor time of a process, from `/proc/PID/stat`.
//!
//! The figure covers all threads of the process. The poller `iou-sqp-PID` is one of them (the kernel creates it in
//! the thread group of the ring's owner), and so are the `iou-wrk` workers. The resolution is a clock tick, 10 ms.

use std::{fs, io};

use serde::{Deserialize, Serialize};

/// Fields between the command's closing parenthesis and `utime`, see proc_pid_stat(5).
const FIELDS_BEFORE_UTIME: usize = 11;

/// User and system time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct CpuTime {
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
}

impl CpuTime {
    /// What the process has used since it began.
    pub(crate) fn of(process: u32) -> io::Result<CpuTime> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        parse(&stat)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc stat: {stat:?}")))
    }

    /// What was used between an earlier reading and this one.
    pub(crate) fn since(self, earlier: CpuTime) -> CpuTime {
        CpuTime { user_s: self.user_s - earlier.user_s, system_s: self.system_s - earlier.system_s }
    }

    /// Both together, divided among that many requests, in microseconds.
    pub(crate) fn us_per(self, requests: u64) -> f64 {
        (self.user_s + self.system_s) * 1e6 / requests.max(1) as f64
    }
}

fn parse(stat: &str) -> Option<CpuTime> {
    let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(FIELDS_BEFORE_UTIME);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / ticks_per_s);
    Some(CpuTime { user_s: seconds()?, system_s: seconds()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_right_fields_behind_a_hostile_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 150 0 0 20 0 2 0 100 1000 10";
        let cpu = parse(stat).unwrap();
        let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!((cpu.user_s, cpu.system_s), (250.0 / ticks_per_s, 150.0 / ticks_per_s));
        assert!(parse("7 (a) S 1 2").is_none());
    }

    #[test]
    fn a_busy_process_uses_time() {
        let before = CpuTime::of(std::process::id()).unwrap();
        let start = std::time::Instant::now();
        while CpuTime::of(std::process::id()).unwrap().since(before).us_per(1) < 50_000.0 {
            assert!(start.elapsed().as_secs() < 60, "no processor time was counted");
        }
    }
}
