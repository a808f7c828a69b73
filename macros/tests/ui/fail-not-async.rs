//! Without `async`: one error, and none about the `.await` in the body or a missing `main`.

// Only the macros are needed here: they report the mistakes themselves.
use repoll_macros as runtime;

#[runtime::main]
fn main() {
    std::future::ready(()).await;
}

#[runtime::main]
pub fn serve() -> Result<(), std::num::ParseIntError> {
    "7".parse::<u8>()?;
    Ok(())
}

#[runtime::test]
fn a_test() {}
