//! What the file system knows about a file: `statx(2)` read with the names of `std::fs::Metadata`.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::time::{Duration, SystemTime};

/// What the file system knows about a file. Made by [`File::metadata`](crate::File::metadata),
/// [`metadata`](crate::metadata()) and [`symlink_metadata`](crate::symlink_metadata).
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let metadata = fs::metadata("/dev").await?;
///     assert!(metadata.is_dir());
///     assert!(metadata.modified()? <= std::time::SystemTime::now());
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Metadata(Box<libc::statx>);

impl Metadata {
    pub(crate) fn new(statx: Box<libc::statx>) -> Self {
        Metadata(statx)
    }

    /// What kind of file it is.
    pub fn file_type(&self) -> FileType {
        FileType(self.mode() & libc::S_IFMT)
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.file_type().is_file()
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type().is_dir()
    }

    /// Whether it is a symbolic link: only [`symlink_metadata`](crate::symlink_metadata) does not follow those.
    pub fn is_symlink(&self) -> bool {
        self.file_type().is_symlink()
    }

    /// Bytes; for a symbolic link those of its target's name.
    #[allow(
        clippy::len_without_is_empty,
        reason = "std::fs::Metadata has none either: a directory is never empty"
    )]
    pub fn len(&self) -> u64 {
        self.0.stx_size
    }

    /// Space taken on the device, in units of 512 bytes: fewer than [`len`](Metadata::len) takes if the file has holes.
    pub fn blocks(&self) -> u64 {
        self.0.stx_blocks
    }

    /// The bits of [`mode`](Metadata::mode) as `std` has them.
    pub fn permissions(&self) -> Permissions {
        Permissions::from_mode(self.mode())
    }

    /// The kind of the file and its permissions: `st_mode` of `inode(7)`.
    pub fn mode(&self) -> u32 {
        u32::from(self.0.stx_mode)
    }

    /// When the contents were changed last.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the file system does not know, as for all times.
    pub fn modified(&self) -> io::Result<SystemTime> {
        self.time(libc::STATX_MTIME, &self.0.stx_mtime)
    }

    /// When the contents were read last, as far as the mount keeps track of that (`relatime`).
    ///
    /// # Errors
    ///
    /// As for [`modified`](Metadata::modified).
    pub fn accessed(&self) -> io::Result<SystemTime> {
        self.time(libc::STATX_ATIME, &self.0.stx_atime)
    }

    /// When the file was made.
    ///
    /// # Errors
    ///
    /// As for [`modified`](Metadata::modified): many file systems do not keep this time.
    pub fn created(&self) -> io::Result<SystemTime> {
        self.time(libc::STATX_BTIME, &self.0.stx_btime)
    }

    /// The device that the file is on. Together with [`ino`](Metadata::ino) it tells files apart.
    pub fn dev(&self) -> u64 {
        libc::makedev(self.0.stx_dev_major, self.0.stx_dev_minor)
    }

    /// The inode's number on its device.
    pub fn ino(&self) -> u64 {
        self.0.stx_ino
    }

    /// How many names the file has.
    pub fn nlink(&self) -> u64 {
        u64::from(self.0.stx_nlink)
    }

    /// The owner.
    pub fn uid(&self) -> u32 {
        self.0.stx_uid
    }

    /// The owning group.
    pub fn gid(&self) -> u32 {
        self.0.stx_gid
    }

    /// Whether both describe the same file, under whatever names.
    pub(crate) fn is_same_file(&self, other: &Metadata) -> bool {
        (self.dev(), self.ino()) == (other.dev(), other.ino())
    }

    fn time(&self, bit: u32, time: &libc::statx_timestamp) -> io::Result<SystemTime> {
        if self.0.stx_mask & bit == 0 {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the file system does not keep this time",
            ));
        }
        let seconds = Duration::from_secs(time.tv_sec.unsigned_abs());
        let whole = if time.tv_sec >= 0 {
            SystemTime::UNIX_EPOCH.checked_add(seconds)
        } else {
            SystemTime::UNIX_EPOCH.checked_sub(seconds)
        };
        // The nanoseconds count forward, before 1970 too.
        whole
            .and_then(|whole| whole.checked_add(Duration::from_nanos(time.tv_nsec.into())))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the file's time is out of range"))
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("file_type", &self.file_type())
            .field("len", &self.len())
            .field("mode", &format_args!("{:o}", self.mode() & 0o7777))
            .field("dev", &self.dev())
            .field("ino", &self.ino())
            .field("nlink", &self.nlink())
            .field("uid", &self.uid())
            .field("gid", &self.gid())
            .finish_non_exhaustive()
    }
}

/// What kind of file a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileType(u32);

impl FileType {
    /// A regular file.
    pub fn is_file(self) -> bool {
        self.0 == libc::S_IFREG
    }

    /// A directory.
    pub fn is_dir(self) -> bool {
        self.0 == libc::S_IFDIR
    }

    /// A symbolic link.
    pub fn is_symlink(self) -> bool {
        self.0 == libc::S_IFLNK
    }

    /// A named pipe.
    pub fn is_fifo(self) -> bool {
        self.0 == libc::S_IFIFO
    }

    /// A Unix socket.
    pub fn is_socket(self) -> bool {
        self.0 == libc::S_IFSOCK
    }

    /// A block device.
    pub fn is_block_device(self) -> bool {
        self.0 == libc::S_IFBLK
    }

    /// A character device.
    pub fn is_char_device(self) -> bool {
        self.0 == libc::S_IFCHR
    }

    /// In words: `"regular file"`, `"directory"` and so on.
    pub fn name(self) -> &'static str {
        match self.0 {
            libc::S_IFREG => "regular file",
            libc::S_IFDIR => "directory",
            libc::S_IFLNK => "symbolic link",
            libc::S_IFIFO => "named pipe",
            libc::S_IFSOCK => "socket",
            libc::S_IFBLK => "block device",
            libc::S_IFCHR => "character device",
            _ => "unknown kind of file",
        }
    }
}

impl From<std::fs::FileType> for FileType {
    fn from(std: std::fs::FileType) -> Self {
        let kinds = [
            (std.is_file(), libc::S_IFREG),
            (std.is_dir(), libc::S_IFDIR),
            (std.is_symlink(), libc::S_IFLNK),
            (std.is_fifo(), libc::S_IFIFO),
            (std.is_socket(), libc::S_IFSOCK),
            (std.is_block_device(), libc::S_IFBLK),
            (std.is_char_device(), libc::S_IFCHR),
        ];
        FileType(kinds.into_iter().find_map(|(is, kind)| is.then_some(kind)).unwrap_or(0))
    }
}

impl fmt::Debug for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
