//! A test is made once.

// Only the macros are needed here: they report the mistakes themselves.
use repoll_macros as runtime;

#[runtime::test]
#[test]
async fn twice() {}

#[runtime::test]
#[core::prelude::v1::test]
#[should_panic]
async fn twice_in_other_words() {}

fn main() {}
