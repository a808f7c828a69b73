//! Changing the process under a running runtime.
//! TODO essay
mod identity;
pub(crate) mod pause;
pub(crate) mod recover;
mod release;

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use crate::context::{self, Core};
use crate::cores::{self, Cluster};

pub use identity::{drop_privileges, identity_changed};
pub use release::release_inherited;

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
