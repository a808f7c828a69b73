//! The attributes are written by declarative macros as well, which wrap what they pass on in invisible groups.

#![deny(warnings)]
#![forbid(unsafe_code)]

/// What a crate that builds on the runtime could export.
mod framework {
    pub use ::runtime;

    macro_rules! entry {
        ($name:ident, $output:ty, $cores:literal, $entries:expr, $body:block) => {
            #[$crate::framework::runtime::main(
                cores = $cores,
                entries = $entries,
                mode = "entered",
                crate = $crate::framework::runtime
            )]
            async fn $name() -> $output $body
        };
    }
    pub(crate) use entry;
}

framework::entry!(seven, u8, 1, 64, {
    std::future::ready(()).await;
    7
});

fn main() {
    assert_eq!(seven(), 7);
}
