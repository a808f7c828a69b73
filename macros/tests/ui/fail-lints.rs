//! The compiler's warnings about the body are those of any `async fn`.

#![deny(warnings)]

#[runtime::main]
async fn main() {
    let unused = 7;
    std::future::ready(7);
    return;
    println!("unreachable");
}
