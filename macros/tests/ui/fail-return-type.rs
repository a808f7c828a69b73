//! The return type is checked like that of any `main`.

#[runtime::main]
async fn main() -> u32 {
    7
}
