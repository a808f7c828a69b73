//! Wrong values of the other options.

// Only the macros are needed here: they report the mistakes themselves.
use repoll_macros as runtime;

#[runtime::main(pin = "false")]
async fn main() {}

#[runtime::main(pin = 1)]
async fn number_for_bool() {}

#[runtime::main(pin = maybe)]
async fn word_for_bool() {}

#[runtime::main(pollers = 0)]
async fn zero() {}

#[runtime::main(poller_cpu = -1)]
async fn negative() {}

#[runtime::main(poller_idle_ms = "50")]
async fn text() {}

#[runtime::main(poller_idle_ms = 50ms)]
async fn unit() {}

#[runtime::main(poller_idle_ms = 4294967296)]
async fn more_than_32_bits() {}

#[runtime::main(shutdown_ms = 1.5)]
async fn fraction() {}

#[runtime::main(spin_us_max = 10 + 10)]
async fn expression() {}

#[runtime::main(blocking_threads_max = 18446744073709551616)]
async fn more_than_64_bits() {}

#[runtime::main(crate = 4)]
async fn no_path() {}

#[runtime::main(crate = "not a path")]
async fn bad_path() {}

#[runtime::main(crate = "")]
async fn empty_path() {}
