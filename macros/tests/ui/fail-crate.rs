//! A wrong path to the runtime is reported where it is written.

#[runtime::main(crate = "no_such::runtime")]
async fn main() {}
