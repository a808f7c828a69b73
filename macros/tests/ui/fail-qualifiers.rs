//! A runtime isn't started in such functions.

// Only the macros are needed here: they report the mistakes themselves.
use repoll_macros as runtime;

#[runtime::main]
async unsafe fn main() {}

#[runtime::main]
const async fn constant() {}

#[runtime::main]
async extern "C" fn external() {}

#[runtime::main]
unsafe extern "C" fn everything(_: u8) {}
