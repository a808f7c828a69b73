//! What happens to cores, as lines for the `log` crate if that is wanted; else nothing, at no cost.

use std::io;

use crate::metrics::Replacement;

pub(super) fn not_polled(_index: usize, _why: &str) {
    #[cfg(feature = "log")]
    ::log::info!("core {_index} is entered, not polled: {_why}");
}

pub(crate) fn broken(_index: usize, _error: &io::Error) {
    #[cfg(feature = "log")]
    ::log::error!("core {_index} ends because its ring is broken: {_error}");
}

pub(super) fn replaced(_index: usize, _replacement: &Replacement) {
    #[cfg(feature = "log")]
    ::log::info!(
        "core {_index} has a new ring, because {}: {} requests carried over in {:?}",
        _replacement.reason.as_str(),
        _replacement.carried,
        _replacement.duration
    );
}

pub(super) fn kept(_index: usize, _operations: usize) {
    #[cfg(feature = "log")]
    if _operations > 0 {
        ::log::warn!(
            "core {_index}: the kernel kept {_operations} operations past the shutdown deadline; their memory is leaked"
        );
    }
}

pub(super) fn stuck(_what: &str) {
    #[cfg(feature = "log")]
    ::log::warn!("{_what} did not end before the shutdown deadline; it is left behind");
}
