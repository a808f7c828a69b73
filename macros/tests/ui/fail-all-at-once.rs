//! All mistakes in one use are reported at once, those in the body too.

// Only the macros are needed here: they report the mistakes themselves.
use repoll_macros as runtime;

#[runtime::main(cores = "4", mode = "sqpoll", entries = 100, core = 1, pin = true, pin = false, pollers = 0)]
fn main(args: Vec<String>) {
    let _: u8 = args.len();
}
