//! How a file is opened: the options of `std::fs::OpenOptions` with the same rules.

use std::io;
use std::path::Path;

use runtime::op;

use crate::File;
use crate::system::{c_path, is_interrupted};

/// How to open a file: the same options as those of `std::fs::OpenOptions`, with the same rules about which fit together.
///
/// All are off at first. Files are opened close-on-exec.
///
/// # Examples
///
/// ```
/// use fs::OpenOptions;
///
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let dir = tempfile::tempdir()?;
///     let log = OpenOptions::new().append(true).create(true).open(dir.path().join("log")).await?;
///     log.write_all_at("first\n", 0).await.0?;
///     log.write_all_at("second\n", 0).await.0?;
///     assert_eq!(fs::read_to_string(dir.path().join("log")).await?, "first\nsecond\n");
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    mode: u32,
    custom_flags: i32,
}

impl OpenOptions {
    /// All options off, mode `0666`.
    pub fn new() -> Self {
        OpenOptions {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            mode: 0o666,
            custom_flags: 0,
        }
    }

    /// For reading.
    pub fn read(&mut self, read: bool) -> &mut Self {
        self.read = read;
        self
    }

    /// For writing.
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.write = write;
        self
    }

    /// For writing at the end, wherever that is when the kernel writes: offsets are ignored.
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    /// Makes the file empty; needs [`write`](OpenOptions::write).
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.truncate = truncate;
        self
    }

    /// Creates the file if it does not exist; needs [`write`](OpenOptions::write) or [`append`](OpenOptions::append).
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    /// Creates the file, which must not exist; [`create`](OpenOptions::create) and [`truncate`](OpenOptions::truncate) then
    /// do not matter.
    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.create_new = create_new;
        self
    }

    /// The permissions of a file that is created, less the umask.
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    /// Further flags of `open(2)`, as `libc::O_DIRECT`. Those that say whether to read or write are ignored.
    pub fn custom_flags(&mut self, flags: i32) -> &mut Self {
        self.custom_flags = flags;
        self
    }

    /// Opens the file. `open(2)`.
    ///
    /// # Errors
    ///
    /// Those of `open(2)`; `InvalidInput` for options that do not fit together: neither reading nor writing, creating or
    /// truncating without writing, truncating while appending.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing stays open; a file may have been created or emptied.
    pub async fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        let how = op::OpenHow { flags: self.flags()?, mode: self.mode };
        loop {
            let result = op::open(c_path(path)?, how).await;
            if !is_interrupted(&result) {
                return result.map(File::from);
            }
        }
    }

    fn flags(&self) -> io::Result<i32> {
        Ok(self.access()? | self.creation()? | (self.custom_flags & !libc::O_ACCMODE))
    }

    fn access(&self) -> io::Result<i32> {
        match (self.read, self.write, self.append) {
            (true, false, false) => Ok(libc::O_RDONLY),
            (false, true, false) => Ok(libc::O_WRONLY),
            (true, true, false) => Ok(libc::O_RDWR),
            (false, _, true) => Ok(libc::O_WRONLY | libc::O_APPEND),
            (true, _, true) => Ok(libc::O_RDWR | libc::O_APPEND),
            (false, false, false) if self.truncate || self.create || self.create_new => {
                Err(invalid("a file is to be created or truncated, but not opened for writing"))
            }
            (false, false, false) => {
                Err(invalid("a file is to be opened neither for reading nor for writing"))
            }
        }
    }

    fn creation(&self) -> io::Result<i32> {
        if !self.write && !self.append && (self.truncate || self.create || self.create_new) {
            return Err(invalid("a file is to be created or truncated, but not opened for writing"));
        }
        if self.append && self.truncate && !self.create_new {
            return Err(invalid("a file is to be truncated, but opened for appending"));
        }
        Ok(match (self.create, self.truncate, self.create_new) {
            (_, _, true) => libc::O_CREAT | libc::O_EXCL,
            (true, true, false) => libc::O_CREAT | libc::O_TRUNC,
            (true, false, false) => libc::O_CREAT,
            (false, true, false) => libc::O_TRUNC,
            (false, false, false) => 0,
        })
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}
