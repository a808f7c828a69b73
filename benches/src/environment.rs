//! What a result depends on beside the code: kernel, processors, load, versions of the crates that were compiled in.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use serde::Serialize;

/// The lock file that this program was built from.
const LOCK_FILE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));

/// Where and with what a run was made.
#[derive(Serialize)]
pub(crate) struct Environment {
    unix_time_s: u64,
    kernel: String,
    cpus: usize,
    cpu_model: String,
    load_average: String,
    crates: BTreeMap<String, String>,
}

impl Environment {
    /// Reads it; what can't be read stays empty.
    pub(crate) fn read() -> Environment {
        let line = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpuinfo = line("/proc/cpuinfo");
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        Environment {
            unix_time_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            kernel: line("/proc/sys/kernel/osrelease"),
            cpus: thread::available_parallelism().map_or(0, usize::from),
            cpu_model: model.and_then(|line| line.split_once(": ")).map_or("", |(_, name)| name).to_owned(),
            load_average: line("/proc/loadavg"),
            crates: crate_versions(LOCK_FILE, env!("CARGO_PKG_NAME")),
        }
    }

    /// One line above the tables.
    pub(crate) fn summary(&self) -> String {
        format!("Linux {}, {} CPUs, load {}", self.kernel, self.cpus, self.load_average)
    }
}

/// The versions of a package's direct dependencies in a lock file. Where there are several of a crate, the list of
/// dependencies names the version too.
fn crate_versions(lock_file: &str, package: &str) -> BTreeMap<String, String> {
    let packages: Vec<Package<'_>> = lock_file.split("[[package]]").filter_map(Package::parse).collect();
    let dependencies = packages.iter().filter(|found| found.name == package);
    let dependencies = dependencies.flat_map(|package| &package.dependencies);
    let mut versions = BTreeMap::new();
    for dependency in dependencies {
        let (name, version) = match dependency.split_once(' ') {
            Some((name, version)) => (name, Some(version)),
            None => (*dependency, packages.iter().find(|p| p.name == *dependency).map(|p| p.version)),
        };
        let all: &mut String = versions.entry(name.to_owned()).or_default();
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(version.unwrap_or("unknown"));
    }
    versions
}

struct Package<'a> {
    name: &'a str,
    version: &'a str,
    dependencies: Vec<&'a str>,
}

impl<'a> Package<'a> {
    fn parse(text: &'a str) -> Option<Package<'a>> {
        let field = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)?.strip_suffix('"'));
        let dependencies = text.lines().filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","));
        let (name, version) = (field("name = \"")?, field("version = \"")?);
        Some(Package { name, version, dependencies: dependencies.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_versions_of_this_build() {
        let versions = crate_versions(LOCK_FILE, env!("CARGO_PKG_NAME"));
        for peer in ["tokio", "monoio", "compio", "glommio", "tokio-uring", "io-uring"] {
            let version = versions.get(peer).map_or("", String::as_str);
            assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{peer}: {version:?}");
        }
        assert_eq!(versions["io-uring"].split(", ").count(), 2, "the peers' one and ours");
    }
}
