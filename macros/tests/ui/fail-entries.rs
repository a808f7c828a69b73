//! A ring has a power of two of entries, and no more than the kernel allows.

// Only the macros are needed here: they report the mistakes themselves.
use repoll_macros as runtime;

#[runtime::main(entries = 0)]
async fn main() {}

#[runtime::main(entries = 100)]
async fn above() {}

#[runtime::main(entries = 1025)]
async fn below() {}

#[runtime::main(entries = 96)]
async fn between() {}

#[runtime::main(entries = 65536)]
async fn too_large() {}

#[runtime::main(entries = "256")]
async fn text() {}

#[runtime::main(entries = many)]
async fn word() {}
