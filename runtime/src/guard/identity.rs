//! Another identity: dropped privileges, another namespace. The poller keeps the credentials and the file table that it was
//! created with, whatever the process does, so it has to be another poller.

use std::io;

use nix::unistd::{Gid, Group, Uid, User, initgroups, setgroups, setresgid, setresuid};

use super::Here;
use super::pause::{self, Patience, Paused};
use crate::metrics::ReplaceReason;

/// Becomes another user, for good: all threads of the process, and its pollers.
///
/// `user` and `group` are names or numbers. Without a `group` it is the user's own. The supplementary groups become those of
/// the user. All three user ids and group ids change, so there is no way back, and that is checked.
///
/// Why a call of the runtime is needed: a poller keeps the credentials that it was created with. After a plain `setuid(2)`
/// to `nobody`, a request through a polled ring still opens root's `0600` files. So here all cores come to a safe point, what
/// is in flight is called back, and the rings get new pollers, with the new credentials, before anything is submitted again.
/// Requests that had not been carried out are then carried out under the new identity; the futures notice nothing. Descriptors
/// that are open stay open.
///
/// Blocks this core until all cores have come; call it from a task, on a core.
///
/// `credentials(7)`, `setresuid(2)`, `initgroups(3)`.
///
/// # Errors
///
/// `NotFound` if there is no such user or group; `InvalidInput` for the number that means "leave it"; `EPERM` without the
/// privilege to change; `TimedOut` if a core does not come to a safe point, or the kernel does not give a request back, within
/// five seconds; `ResourceBusy` if the process has another runtime, whose poller would keep its privileges. After these
/// nothing has changed. Kind `Other` says that a part has changed: then the process should end.
///
/// # Examples
///
/// ```no_run
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let port_80 = std::net::TcpListener::bind("0.0.0.0:80")?;
///     runtime::guard::drop_privileges("www-data", None)?;
///     // From here on nothing, a request in flight included, is done as root.
///     # drop(port_80);
///     Ok(())
/// }
/// ```
pub fn drop_privileges(user: &str, group: Option<&str>) -> io::Result<()> {
    let target = Target::find(user, group)?;
    // What the kernel keeps would be carried out with the privileges.
    let here = Here::find()?;
    here.cluster.refuse_others()?;
    change(&here, Patience::LONG, |paused| {
        paused.refuse_left()?;
        target.assume()
    })
}

/// To be called after the process has changed its identity by itself: `setuid(2)`, `setns(2)`, `unshare(2)`,
/// `capset(2)` and the like, or its file table. Rings and pollers of all cores of this runtime are replaced by new ones that
/// have what the process has now.
///
/// Between the change and this call, requests are still carried out with the former identity; [`drop_privileges`] leaves no
/// such gap. What the change must hold for are *all threads* of the process: `setns(2)` and `unshare(2)` change the calling
/// thread alone, so they are best called before the runtime starts other threads. The kernel's own workers of an *entered* ring
/// belong to the thread and keep the file table, root and working directory with which the first of them was started;
/// they are gone after a few idle seconds. Credentials are right at once in either mode.
///
/// A request that the kernel does not give back within a fifth of a second stays with its former ring, which goes on beside the
/// new one until it has ended.
///
/// Blocks this core until all cores have come to a safe point; call it from a task, on a core.
///
/// # Errors
///
/// `TimedOut` if a core does not come to a safe point, as for [`drop_privileges`]; the kernel's refusal of a new ring, after which the core in question has ended.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     // ... code that changes the identity of the process ...
///     runtime::guard::identity_changed()?;
///     assert_eq!(runtime::metrics().cores[0].replaced.identity, 1);
///     Ok(())
/// }
/// ```
pub fn identity_changed() -> io::Result<()> {
    change(&Here::find()?, Patience::SHORT, |_| Ok(()))
}

/// Has all cores rest while `how` changes the process, and go on with new rings and pollers.
fn change(
    here: &Here,
    patience: Patience,
    how: impl FnOnce(&Paused<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let Here { core, cluster } = here;
    let paused = pause::all(core, cluster, patience)?;
    how(&paused)?;
    cluster.renew_pollers();
    paused.replace(ReplaceReason::Identity)
}

/// Whom to become.
struct Target {
    uid: Uid,
    gid: Gid,
    /// In the database of users, which knows its groups.
    name: Option<std::ffi::CString>,
}

impl Target {
    fn find(user: &str, group: Option<&str>) -> io::Result<Self> {
        let number = user.parse().ok().map(Uid::from_raw);
        let known = match number {
            Some(uid) => User::from_uid(uid)?,
            None => User::from_name(user)?,
        };
        let uid = number.or(known.as_ref().map(|known| known.uid));
        let uid = uid.ok_or_else(|| unknown("user", user))?;
        if uid.as_raw() == u32::MAX {
            return Err(no_identity(user));
        }
        let gid = match (group, &known) {
            (Some(group), _) => find_group(group)?,
            (None, Some(known)) => known.gid,
            (None, None) => {
                let error = format!("user {user} is in no database, which would name its group: name one");
                return Err(io::Error::new(io::ErrorKind::NotFound, error));
            }
        };
        let name = known.map(|known| std::ffi::CString::new(known.name)).transpose()?;
        Ok(Target { uid, gid, name })
    }

    /// Groups first: afterwards the privilege to change them is gone.
    fn assume(&self) -> io::Result<()> {
        match &self.name {
            Some(name) => initgroups(name, self.gid)?,
            None => setgroups(&[self.gid])?,
        }
        let changed = setresgid(self.gid, self.gid, self.gid)
            .and_then(|()| setresuid(self.uid, self.uid, self.uid))
            .map_err(io::Error::from)
            .and_then(|()| self.verify());
        changed.map_err(|error| io::Error::other(format!("only a part of the identity has changed: {error}")))
    }

    fn verify(&self) -> io::Result<()> {
        let (uids, gids) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
        let assumed = [uids.real, uids.effective, uids.saved] == [self.uid; 3]
            && [gids.real, gids.effective, gids.saved] == [self.gid; 3];
        // Root stays root; anybody else must not be able to become it again.
        if assumed && (self.uid.is_root() || nix::unistd::setuid(Uid::from_raw(0)).is_err()) {
            return Ok(());
        }
        Err(io::Error::other("the kernel has not made the change irrevocable"))
    }
}

fn find_group(group: &str) -> io::Result<Gid> {
    match group.parse() {
        Ok(u32::MAX) => return Err(no_identity(group)),
        Ok(gid) => return Ok(Gid::from_raw(gid)),
        Err(_) => {}
    }
    Group::from_name(group)?.map(|known| known.gid).ok_or_else(|| unknown("group", group))
}

fn unknown(what: &str, name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no {what} {name}"))
}

/// The system calls take -1 for "leave it as it is".
fn no_identity(number: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{number} is the number of nobody: it means no change"),
    )
}
