//! `crate = "..."` for a runtime that is found under another name.

#![deny(warnings)]
#![forbid(unsafe_code)]

extern crate runtime as other;

mod inner {
    pub mod renamed {
        pub use ::runtime::*;
    }

    #[renamed::main(crate = "renamed")]
    pub async fn relative() -> u8 {
        7
    }

    #[renamed::main(crate = "super::other", cores = 1, mode = "entered")]
    pub async fn of_the_parent() -> u8 {
        7
    }
}

#[other::main(crate = "crate::inner::renamed")]
async fn main() {
    std::future::ready(()).await;
}

#[other::test(crate = "other")]
async fn a_test() {}

const _: [fn() -> u8; 2] = [inner::relative, inner::of_the_parent];
