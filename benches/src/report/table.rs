//! The table for people.

use std::fmt::Write;

use crate::args::Echo;
use crate::report::Row;

const HEAD: [&str; 8] =
    ["side", "req/s", "min-max", "p50 µs", "p99 µs", "CPU µs/req", "to best peer", "to raw loop"];

/// What the table is about.
pub(crate) fn title(conns: usize, options: &Echo) -> String {
    let plural = if conns == 1 { "" } else { "s" };
    format!(
        "{conns} connection{plural}, messages of {} bytes, {} rounds of {} s",
        options.size,
        options.rounds,
        options.time.as_secs_f64()
    )
}

/// The rows in columns, and beneath them what failed.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(String::from)];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; HEAD.len()] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let mut padded = String::new();
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            // Names to the left, figures to the right. Writing to a String does not fail.
            let _ = match column {
                0 => write!(padded, "{cell:<width$}"),
                _ => write!(padded, "  {cell:>width$}"),
            };
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    for row in rows {
        if let Some(error) = &row.error {
            text.push_str(&format!("FAILED: {}: {error}\n", row.side));
        }
    }
    text
}

fn cells(row: &Row) -> [String; HEAD.len()] {
    let Some(figures) = &row.figures else {
        let mut cells: [String; HEAD.len()] = Default::default();
        (cells[0], cells[1]) = (row.side.to_owned(), "failed".to_owned());
        return cells;
    };
    [
        row.side.to_owned(),
        thousands(figures.requests_per_s),
        format!("{}-{}", thousands(figures.requests_per_s_min), thousands(figures.requests_per_s_max)),
        format!("{:.1}", figures.p50_us),
        format!("{:.1}", figures.p99_us),
        format!("{:.2}", figures.server_cpu_us_per_request),
        row.to_best_peer.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        row.to_raw.map_or_else(String::new, |(ratio, name)| format!("{ratio:.2} ({name})")),
    ]
}

/// `12345.6` as `12.3k`.
fn thousands(rate: f64) -> String {
    if rate < 1000.0 { format!("{rate:.0}") } else { format!("{:.1}k", rate / 1000.0) }
}
