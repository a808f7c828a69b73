//! Outside of a runtime: requests are errors that say so, files close.

mod support;

use std::io::ErrorKind;

use fs::File;
use futures::FutureExt;
use support::Dir;

#[test]
fn requests_outside_of_a_runtime_are_errors_that_say_so() {
    let dir = Dir::new();
    let path = dir.file("f", "text");
    let error = File::open(&path).now_or_never().unwrap().unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
    let file = File::from_std(std::fs::File::open(&path).unwrap());
    let (result, buf) = file.read_at(vec![7; 4], 0).now_or_never().unwrap();
    assert_eq!((result.unwrap_err().kind(), buf), (ErrorKind::Other, vec![7; 4]));
    assert!(file.into_std().is_ok());
}

#[test]
fn a_file_outlives_its_runtime() {
    let dir = Dir::new();
    let path = dir.file("f", "text");
    let runtime = runtime::Builder::new().cores(1).build().unwrap();
    let file = runtime.block_on(File::open(&path)).unwrap();
    drop(runtime);
    let runtime = runtime::Builder::new().cores(1).build().unwrap();
    let (result, buf) = runtime.block_on(file.read(Vec::with_capacity(8)));
    assert_eq!((result.unwrap(), buf), (4, b"text".to_vec()));
}
