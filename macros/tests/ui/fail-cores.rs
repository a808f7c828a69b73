//! Wrong values of `cores`.

// Only the macros are needed here: they report the mistakes themselves.
use repoll_macros as runtime;

#[runtime::main(cores = "4")]
async fn main() {}

#[runtime::main(cores = 0)]
async fn zero() {}

#[runtime::main(cores = [])]
async fn none() {}

#[runtime::main(cores = all)]
async fn no_quotes() {}

#[runtime::main(cores = "some")]
async fn other_word() {}

#[runtime::main(cores = -1)]
async fn negative() {}

#[runtime::main(cores = 4usize)]
async fn suffix() {}

#[runtime::main(cores = [0, "2", 0, x, -1,, 340282366920938463463374607431768211456])]
async fn list() {}

#[runtime::main(cores = 0..4)]
async fn range() {}

#[runtime::main(cores = 340282366920938463463374607431768211456)]
async fn huge() {}
