//! The plainest use, and none of the compiler's warnings.

#![deny(warnings)]
#![forbid(unsafe_code)]

#[runtime::main]
async fn main() {
    std::future::ready(()).await;
}
