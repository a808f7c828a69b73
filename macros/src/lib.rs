//! The attribute macros of the repoll runtime. Programs use them as `#[runtime::main]` and `#[runtime::test]`; this
//! crate is not meant to be used directly.
//!
//! ```
//! #[runtime::main]
//! async fn main() -> Result<(), std::num::ParseIntError> {
//!     let number: u8 = "7".parse()?;
//!     assert_eq!(number, 7);
//!     Ok(())
//! }
//! ```
//!
//! # Options
//!
//! Each is a method of `runtime::Builder` of the same name (but for `crate`), and has that method's default. Values are
//! literals; what is computed, or read from a configuration, is given to a `Builder`.
//!
//! | option | values | what it sets |
//! |---|---|---|
//! | `cores` | `4`, `"all"`, `[0, 2]` | how many cores work, or all, or on which CPUs |
//! | `mode` | `"polled"`, `"entered"` | whether the kernel's poller submits the I/O, or each core its own |
//! | `pin` | `true`, `false` | whether each core's thread is pinned to its CPU |
//! | `entries` | `256`: a power of two from 1 to 32768 | the size of each core's submission queue |
//! | `poller_cpu` | `1` | the CPU that the poller runs on; not with `mode = "entered"` |
//! | `poller_idle_ms` | `50` | how long the poller looks for work before it sleeps |
//! | `pollers` | `2`: at least 1 | how many pollers the cores share |
//! | `spin_us_max` | `50`, `0` | how long a core without work spins before it parks |
//! | `shutdown_ms` | `5000` | how long the end of the program waits for what is still in flight |
//! | `blocking_threads_max` | `8` | how many threads `spawn_blocking` may use |
//! | `crate` | `"path::to::runtime"` | where the runtime is, if it isn't `::runtime` |
//!
//! Mistakes in them are reported at their place, all at once, each with what to write instead:
//!
//! ```text
//! error: `cores` is a number of cores, "all", or a list of CPU numbers: write `cores = 4`
//!  --> src/main.rs:1:25
//!   |
//! 1 | #[runtime::main(cores = "4", entries = 100)]
//!   |                         ^^^
//!
//! error: `entries` is a power of two from 1 to 32768: the nearest is `entries = 128`
//!  --> src/main.rs:1:40
//!   |
//! 1 | #[runtime::main(cores = "4", entries = 100)]
//!   |                                        ^^^
//! ```

use proc_macro::TokenStream;

mod errors;
mod expand;
mod function;
mod options;
mod suggest;
mod values;

use expand::{Flavour, expand};

/// Runs an `async fn` to its end on a runtime of its own, which has shut down when the function returns.
///
/// ```
/// #[runtime::main]
/// async fn main() {
///     println!("on the first core");
/// }
/// ```
///
/// The options stand in parentheses; the [table](crate#options) has all of them.
///
/// ```no_run
/// #[runtime::main(cores = [0, 2], poller_cpu = 1, shutdown_ms = 5000)]
/// async fn main() -> std::io::Result<()> {
///     // ...
///     Ok(())
/// }
/// ```
///
/// # The function
///
/// It has no parameters and isn't generic. It returns what a `main` may return, with `?` as in any `async fn`. Its
/// future runs on the first core, and needn't be `Send`. It may have another name than `main`, and is then called as the
/// plain function that it has become:
///
/// ```
/// #[runtime::main(cores = 1)]
/// async fn answer() -> u8 {
///     std::future::ready(42).await
/// }
///
/// fn main() {
///     assert_eq!(answer(), 42);
/// }
/// ```
///
/// It may be an associated function too, but without `self`, and `Self` can't be named in it.
///
/// # Without a runtime
///
/// If the kernel refuses what the runtime needs, the error and its causes are printed to the standard error, and the
/// process exits with code 1. Who wants to do something else calls `runtime::Builder::build`. The attribute is short for
///
/// ```
/// fn main() {
///     async fn main() {
///         println!("on the first core");
///     }
///     match runtime::Builder::new().build() {
///         Ok(runtime) => runtime.block_on(main()),
///         Err(error) => {
///             eprintln!("error: {error}");
///             std::process::exit(1);
///         }
///     }
/// }
/// ```
///
/// # Under another name
///
/// The expansion finds the runtime at `::runtime`. Where it has another name, `crate` says which:
///
/// ```
/// extern crate runtime as polled;
///
/// #[polled::main(crate = "polled")]
/// async fn main() {}
/// ```
///
/// A declarative macro of another crate that exports the runtime writes a path: `crate = $crate::runtime`.
#[allow(clippy::needless_doctest_main, reason = "what becomes of `main` is the subject")]
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    expand(Flavour::Main, options.into(), item.into()).into()
}

/// Makes a test of an `async fn`, which runs on a runtime of its own.
///
/// ```
/// #[runtime::test]
/// async fn two_and_two() {
///     assert_eq!(std::future::ready(2).await + 2, 4);
/// }
///
/// #[runtime::test(cores = 2, mode = "entered")]
/// #[should_panic = "five"]
/// async fn not_five() {
///     panic!("five");
/// }
/// # fn main() {}
/// ```
///
/// It takes the [options](crate#options) of [`main`](macro@main). It adds `#[test]`, and other attributes such as
/// `#[should_panic]` and `#[ignore]` mean what they always do. The function has no parameters, isn't generic, and may
/// return a `Result`.
///
/// A test whose runtime can't be built fails with the reason, also one that should panic.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    expand(Flavour::Test, options.into(), item.into()).into()
}

/// The expansion in the edition before:
///
/// ```edition2021
/// #![deny(warnings)]
///
/// #[runtime::main(cores = 1)]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let number: u8 = "7".parse()?;
///     assert_eq!(std::future::ready(number).await, 7);
///     Ok(())
/// }
/// ```
#[cfg(doctest)]
struct Edition2021;
