//! The copier: decides what is to be copied to where, copies it, says what was done.
//!
//! **Nothing half-written under the target's name.** A file is written under a temporary name in the target's directory and
//! renamed when it is complete; a tree whose target does not exist yet is built in a temporary directory, which is renamed
//! once, so that its files need no temporary names of their own. Into a directory that exists, each file is renamed for
//! itself ([`place`]). A failure or a signal sets a flag that every step looks at ([`stop`]); what is in flight ends, then
//! the temporary names are removed. Nothing is cancelled in the kernel, so nothing can appear after it was removed.

pub(crate) mod arguments;
mod compare;
pub(crate) mod failure;
mod file;
mod place;
mod plan;
mod report;
mod stop;
mod tree;

use std::rc::Rc;

use futures::lock::Mutex;

use arguments::Arguments;
use failure::Failure;
use file::Worker;
use place::{Names, Place};
use plan::Kind;
use report::Report;
use stop::Stop;

/// What all parts of one copy share.
pub(crate) struct Job {
    direct: bool,
    verify: bool,
    stop: Stop,
    names: Names,
    report: Report,
    /// Copies files that are too large for the buffer of a worker, one at a time with several pieces in flight.
    large: Mutex<Worker>,
}

/// Carries out what the arguments ask for; gives how many files were skipped because they can't be copied.
pub(crate) async fn run(arguments: &Arguments) -> Result<u64, Failure> {
    let stop =
        Stop::listen().map_err(|error| Failure::Refused(format!("can't listen for signals: {error}")))?;
    let plan = plan::plan(&arguments.source, &arguments.target).await?;
    let length = match plan.kind {
        Kind::File { len } => Some(len),
        Kind::Tree { .. } => None,
    };
    let job = Rc::new(Job {
        direct: arguments.direct,
        verify: arguments.verify,
        stop,
        names: Names::default(),
        report: Report::start(length),
        large: Mutex::new(Worker::large()),
    });
    let result = match plan.kind {
        Kind::File { .. } => {
            file::copy(&job, &mut Worker::small(), &plan.source, &Place::Staged(&plan.target)).await
        }
        Kind::Tree { exists: true } => tree::merge(&job, &plan.source, &plan.target).await,
        Kind::Tree { exists: false } => tree::create(&job, &plan.source, &plan.target).await,
    };
    job.report.end(result.is_ok());
    result.map(|()| job.report.skipped())
}
