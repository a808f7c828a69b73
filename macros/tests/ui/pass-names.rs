//! The expansion relies on no name that the user may have given to something else.

#![deny(warnings)]
#![allow(dead_code, non_upper_case_globals, non_camel_case_types)]
#![no_implicit_prelude]

mod core {}
mod std {}
mod runtime {}
struct Ok;
struct Err;
struct Result;
struct Builder;
struct Cores;
struct Mode;
fn block_on() {}

#[::runtime::main(cores = 1, mode = "entered")]
async fn main() {
    nested().await;
    // A thread of its own: a runtime can't be built inside a runtime.
    let runtime = ::std::thread::spawn(r#match).join().unwrap();
    let error = runtime;
    ::std::assert_eq!(error, 7);
}

async fn nested() {}

#[::runtime::main]
async fn r#match() -> u8 {
    7
}
