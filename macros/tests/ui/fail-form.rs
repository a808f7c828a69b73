//! What isn't a list of `name = value`.

// Only the macros are needed here: they report the mistakes themselves.
use repoll_macros as runtime;

#[runtime::main(cores)]
async fn main() {}

#[runtime::main(cores = )]
async fn no_value() {}

#[runtime::main(cores(4))]
async fn called() {}

#[runtime::main(cores: 4)]
async fn colon() {}

#[runtime::main("all")]
async fn no_name() {}

#[runtime::main(cores = 4,, mode = "polled")]
async fn two_commas() {}

#[runtime::main(cores = 4 mode = "polled")]
async fn no_comma() {}

#[runtime::main(cores = 4, pin = true, cores = 2)]
async fn twice() {}
