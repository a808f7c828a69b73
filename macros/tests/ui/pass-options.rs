//! Every option with its builder method. They are not run: not every machine has such CPUs.

#![deny(warnings)]
#![forbid(unsafe_code)]

#[runtime::main(
    cores = 4,
    mode = "polled",
    pin = false,
    entries = 256,
    poller_cpu = 1,
    poller_idle_ms = 50,
    pollers = 2,
    spin_us_max = 0,
    shutdown_ms = 5000,
    blocking_threads_max = 8,
    crate = "::runtime",
)]
async fn every() {}

#[runtime::main(cores = "all", mode = "entered")]
async fn all() {}

#[runtime::main(cores = [0, 2], entries = 0x8000, shutdown_ms = 18_446_744_073_709_551_615)]
async fn list() {}

#[runtime::main()]
async fn none() {}

#[runtime::test(cores = 1, mode = "entered", pin = true)]
async fn a_test() {}

fn main() {
    let _: [fn(); 4] = [every, all, list, none];
}
