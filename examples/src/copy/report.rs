//! What the user sees: progress on a terminal, notes, and the sum at the end.

use std::cell::Cell;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

const FILE: &str = "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
const TREE: &str = "{spinner} {msg} files {bytes} {binary_bytes_per_sec}";

/// Counts, and shows them.
pub(crate) struct Report {
    /// Shows nothing unless standard error is a terminal.
    bar: ProgressBar,
    is_tree: bool,
    start: Instant,
    files: Cell<u64>,
    bytes: Cell<u64>,
    skipped: Cell<u64>,
    direct_refused: Cell<bool>,
}

impl Report {
    /// `len` is that of the file, where there is only one.
    pub(crate) fn start(len: Option<u64>) -> Self {
        let (bar, template) = match len {
            Some(len) => (ProgressBar::new(len), FILE),
            None => (ProgressBar::new_spinner(), TREE),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Report {
            bar,
            is_tree: len.is_none(),
            start: Instant::now(),
            files: Cell::new(0),
            bytes: Cell::new(0),
            skipped: Cell::new(0),
            direct_refused: Cell::new(false),
        }
    }

    /// Bytes have been written.
    pub(crate) fn wrote(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
        self.bar.inc(bytes);
    }

    /// A file or link is complete.
    pub(crate) fn finished_file(&self) {
        self.files.set(self.files.get() + 1);
        if self.is_tree && !self.bar.is_hidden() {
            self.bar.set_message(self.files.get().to_string());
        }
    }

    /// A file that can't be copied was left out.
    pub(crate) fn skip(&self, path: &Path, kind: &str) {
        self.skipped.set(self.skipped.get() + 1);
        self.note(&format!("skipped {}: it is a {kind}", path.display()));
    }

    /// The file system refused `O_DIRECT`. Said once: it holds for all files of a file system.
    pub(crate) fn direct_refused(&self, path: &Path) {
        if !self.direct_refused.replace(true) {
            let path = path.display();
            self.note(&format!("note: {path} can't be opened with O_DIRECT; the page cache is used instead"));
        }
    }

    fn note(&self, text: &str) {
        // Where there is no terminal `suspend` just calls; a note that can't be written has no other place to go.
        self.bar.suspend(|| {
            let _ = writeln!(io::stderr(), "copy: {text}");
        });
    }

    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.get()
    }

    /// Takes the progress away, and says what was done if it was.
    pub(crate) fn end(&self, done: bool) {
        self.bar.finish_and_clear();
        if !done {
            return;
        }
        let (files, bytes, seconds) =
            (self.files.get(), self.bytes.get(), self.start.elapsed().as_secs_f64());
        let gib = bytes as f64 / f64::from(1 << 30);
        // Nobody may be listening, which is no failure of the copy.
        let _ = writeln!(
            io::stdout(),
            "{files} {}, {bytes} bytes, {seconds:.2} s, {:.2} GiB/s",
            if files == 1 { "file" } else { "files" },
            gib / seconds
        );
    }
}
