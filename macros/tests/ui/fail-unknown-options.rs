//! A name that isn't an option: with a guess where there is one.

// Only the macros are needed here: they report the mistakes themselves.
use repoll_macros as runtime;

#[runtime::main(core = 4)]
async fn main() {}

#[runtime::main(Mode = "polled", entires = 256, cpu_poller = 1)]
async fn near_misses() {}

#[runtime::main(flavor = "multi_thread", worker_threads = 4, max_blocking_threads = 8)]
async fn of_another_runtime() {}

#[runtime::test(start_paused = true)]
async fn no_guess() {}
