//! Thousands of operations at once.

mod support;

use std::rc::Rc;

use fs::{File, OpenOptions};
use runtime::task::JoinSet;
use support::{Dir, in_both_modes, pattern};

const BLOCK: usize = 512;

#[test]
fn thousands_of_writes_and_reads_of_one_file() {
    in_both_modes(|| async {
        let count = 5000;
        let dir = Dir::new();
        let path = dir.path("f");
        let file =
            Rc::new(OpenOptions::new().read(true).write(true).create_new(true).open(&path).await.unwrap());
        let contents = pattern(count * BLOCK);
        let mut set = JoinSet::new();
        for (n, block) in contents.chunks(BLOCK).enumerate() {
            let (file, block) = (Rc::clone(&file), block.to_vec());
            set.spawn(async move { file.write_all_at(block, (n * BLOCK) as u64).await.0 });
        }
        while let Some(result) = set.join_next().await {
            result.unwrap().unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == contents);

        let mut set = JoinSet::new();
        for n in 0..count {
            let file = Rc::clone(&file);
            set.spawn(async move {
                let (result, block) = file.read_exact_at(Vec::with_capacity(BLOCK), (n * BLOCK) as u64).await;
                (n, result.map(|()| block))
            });
        }
        while let Some(result) = set.join_next().await {
            let (n, block) = result.unwrap();
            assert_eq!(block.unwrap(), contents[n * BLOCK..][..BLOCK]);
        }
    });
}

#[test]
fn thousands_of_calls_on_hundreds_of_files() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let mut set = JoinSet::new();
        // Fewer at once than descriptors are allowed, which may be 1,024.
        for worker in 0..200 {
            let (path, other) = (dir.path(&worker.to_string()), dir.path(&format!("{worker} renamed")));
            set.spawn(async move {
                for n in 0..10_u8 {
                    fs::write(&path, vec![n; 100]).await.0?;
                    assert_eq!(fs::metadata(&path).await?.len(), 100);
                    fs::rename(&path, &other).await?;
                    assert_eq!(fs::read(&other).await?, [n; 100]);
                    fs::rename(&other, &path).await?;
                }
                fs::remove_file(&path).await
            });
        }
        while let Some(result) = set.join_next().await {
            result.unwrap().unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.path("")).unwrap().count(), 0);
    });
}

#[test]
fn a_file_is_shared_by_clones_of_an_rc_while_it_is_read() {
    in_both_modes(|| async {
        let file = Rc::new(File::open("/dev/zero").await.unwrap());
        let mut set = JoinSet::new();
        for len in 1..2000 {
            let file = Rc::clone(&file);
            set.spawn(async move { file.read(vec![1; len]).await });
        }
        while let Some(result) = set.join_next().await {
            let (result, buf) = result.unwrap();
            assert_eq!(result.unwrap(), buf.len());
            assert!(buf.iter().all(|byte| *byte == 0));
        }
    });
}
