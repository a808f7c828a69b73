//! Other attributes, the visibility and the documentation stay on the function.

#![deny(warnings, missing_docs)]
#![forbid(unsafe_code)]

/// Public and documented.
pub mod entry {
    /// Serves.
    #[must_use]
    #[runtime::main]
    #[allow(unused_variables, reason = "reaches into the body")]
    pub async fn serve() -> u8 {
        #![expect(unused_mut)]
        let mut unused = 7;
        7
    }

    #[cfg(any())]
    #[runtime::main]
    async fn never_compiled() -> NoSuchType {}

    /// Restricted.
    #[runtime::main]
    #[cfg_attr(all(), inline)]
    pub(crate) async fn restricted() {}
}

fn main() {
    assert_eq!(entry::serve(), 7);
    entry::restricted();
}
