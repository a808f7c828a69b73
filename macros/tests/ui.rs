//! What the macros accept, and what they say of what they don't: one file in `ui` for each kind of mistake, with the
//! compiler's words beside it. After a change of those, `TRYBUILD=overwrite cargo test -p repoll-macros --test ui`.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass-*.rs");
    cases.compile_fail("tests/ui/fail-*.rs");
}
