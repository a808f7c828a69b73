//! Every figure of every round, for machines.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::Result;
use crate::args::Echo;
use crate::client::WARM_UP;
use crate::environment::Environment;
use crate::report::{Row, Run};

/// The whole run.
pub(crate) fn document(options: &Echo, environment: &Environment, runs: &[Run], rows: &[Row]) -> Value {
    json!({
        "benchmark": "echo",
        "environment": environment,
        "size": options.size,
        "rounds": options.rounds,
        "secs": options.time.as_secs_f64(),
        "warm_up_secs": WARM_UP.as_secs_f64(),
        "summary": rows,
        "runs": runs,
    })
}

/// Replaces the file in one step.
pub(crate) fn write(path: &Path, document: &Value) -> Result<()> {
    let explain = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(explain)?;
    }
    let temporary = path.with_extension("json.tmp");
    fs::write(&temporary, serde_json::to_vec_pretty(document)?).map_err(explain)?;
    fs::rename(&temporary, path).map_err(explain)?;
    Ok(())
}
