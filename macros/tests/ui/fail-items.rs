//! The attributes go on functions with a body.

// Only the macros are needed here: they report the mistakes themselves.
use repoll_macros as runtime;

#[runtime::main]
struct Main;

#[runtime::test]
pub(crate) mod tests {}

/// Documented.
#[runtime::main]
#[derive(Clone)]
pub enum Choice {}

#[runtime::main]
impl Main {}

#[runtime::main]
const MAIN: fn() = main;

trait Server {
    #[runtime::main]
    async fn serve();
}

fn main() {}

#[runtime::main]
unsafe extern "C" {}

#[runtime::main]
macro_rules! a_macro {
    () => {};
}
a_macro!();
