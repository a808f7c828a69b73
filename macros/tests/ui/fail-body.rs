//! A mistake in the body is reported there, as in any `async fn`.

use std::num::ParseIntError;

#[runtime::main]
async fn main() -> Result<(), ParseIntError> {
    let number: u8 = "7".parse()?;
    number
}

#[runtime::main]
async fn no_tail() -> Result<(), ParseIntError> {
    "7".parse::<u8>()?;
}

#[runtime::main]
async fn early_return() -> u8 {
    if true {
        return "seven";
    }
    7
}

#[runtime::main]
async fn question_mark() {
    "7".parse::<u8>()?;
}

#[runtime::main]
async fn other_error() -> Result<(), ParseIntError> {
    std::fs::read("seven")?;
    Ok(())
}

#[runtime::main]
async fn no_such_type() -> Seven {
    std::future::ready(7).await
}
