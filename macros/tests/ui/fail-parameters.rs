//! Nobody could give an entry point its arguments.

// Only the macros are needed here: they report the mistakes themselves.
use repoll_macros as runtime;

#[runtime::main]
async fn main(args: Vec<String>) {
    for arg in args {
        println!("{arg}");
    }
}

#[runtime::main]
async fn serve(port: u16, host: &str) -> String {
    format!("{host}:{port}")
}

#[runtime::test]
async fn a_test(port: u16) {
    let _ = port;
}

struct Server;

impl Server {
    #[runtime::main]
    async fn run(&self) {
        let _ = self;
    }
}

fn _callers_see_the_right_function() -> String {
    serve(80, "localhost")
}
