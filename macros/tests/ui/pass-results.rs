//! All that a `main` may return, with `?` and `return` in it.

#![deny(warnings, unreachable_code, unused_results)]
#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;

/// A boxed error, which needs the conversions of `?` and a coercion.
#[runtime::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let number: u8 = "7".parse()?;
    if number == 8 {
        return Err(Box::new(std::fmt::Error));
    }
    // A thread of its own: a runtime can't be built inside a runtime.
    let others = std::thread::spawn(|| {
        assert_eq!(exit_code(), ExitCode::SUCCESS);
        assert_eq!(trait_object().to_string(), "7");
        assert_eq!(opaque().to_string(), "7");
    });
    others.join().expect("the assertions hold");
    let _: fn() -> ! = never;
    Ok(())
}

#[runtime::main]
async fn exit_code() -> ExitCode {
    ExitCode::SUCCESS
}

#[runtime::main]
async fn never() -> ! {
    loop {
        std::future::pending::<()>().await;
    }
}

#[runtime::main]
async fn trait_object() -> Box<dyn ToString> {
    Box::new(7)
}

#[runtime::main]
async fn opaque() -> impl ToString {
    7
}
