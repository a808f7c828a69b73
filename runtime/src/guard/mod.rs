//! Changing the process under a running runtime.
//! TODO essay
mod daemon;
mod fork;
mod identity;
mod inherit;
pub(crate) mod pause;
pub(crate) mod recover;
mod release;
mod upgrade;
mod worker;

use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;

use crate::context::{self, Core};
use crate::cores::{self, Cluster};

pub use daemon::{Daemon, Daemonize, daemonize};
pub use fork::{Exit, fork_worker};
pub use identity::{drop_privileges, identity_changed};
pub use inherit::{inherited, inherited_connections};
pub use release::release_inherited;
pub use upgrade::Upgrade;
pub use worker::Worker;

/// The core and the runtime of the calling thread.
struct Here {
    core: Rc<Core>,
    cluster: Arc<Cluster>,
}

impl Here {
    /// # Errors
    ///
    /// If this thread is no core.
    fn find() -> io::Result<Self> {
        let core = context::current().ok_or_else(context::no_runtime)?;
        let cluster = cores::current();
        if !core.owner.get().is_here() {
            recover::after_fork(&core)?;
        }
        Ok(Here { core, cluster })
    }
}

/// What is in the buffers of the standard streams would be written by both processes, or by none.
fn flush() {
    let _ = io::stdout().flush();
    let _ = io::stderr().flush();
}
