//! Wrong values of `mode`, and what contradicts a right one.

// Only the macros are needed here: they report the mistakes themselves.
use repoll_macros as runtime;

#[runtime::main(mode = "sqpoll")]
async fn main() {}

#[runtime::main(mode = polled)]
async fn no_quotes() {}

#[runtime::main(mode = Mode::Entered)]
async fn a_path() {}

#[runtime::main(mode = "adaptive")]
async fn other() {}

#[runtime::main(mode = 1)]
async fn number() {}

#[runtime::main(poller_cpu = 1, mode = "entered")]
async fn contradiction() {}
