//! The options between the parentheses of an attribute: their one table, and reading a list of them.

use std::collections::HashMap;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::{Error, Path};

use crate::errors::Errors;
use crate::suggest;
use crate::values::{self, Mode, Value};

/// What values an option takes.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A number of cores, `"all"`, or a list of CPU numbers.
    Cores,
    /// The name of a mode.
    Mode,
    /// `true` or `false`.
    Bool,
    /// A whole number within these bounds.
    Number { min: u64, max: u64 },
    /// The size of a ring: a power of two that the kernel accepts.
    Entries,
    /// A path to the runtime crate.
    Crate,
}

/// One row of the table of options.
pub(crate) struct Spec {
    /// As the user writes it, and (but for `crate`) the name of the method of `Builder`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// A right use of it, for messages.
    pub(crate) example: &'static str,
    /// What other runtimes and the kernel call it, for messages.
    pub(crate) aliases: &'static [&'static str],
}

const ANY: Kind = Kind::Number { min: 0, max: u64::MAX };
const ANY_U32: Kind = Kind::Number { min: 0, max: u32::MAX as u64 };
const AT_LEAST_1: Kind = Kind::Number { min: 1, max: u64::MAX };

/// Every option, in the order in which messages list them.
pub(crate) const TABLE: &[Spec] = &[
    row("cores", Kind::Cores, "cores = 4", &["threads", "workers", "worker_threads", "core_threads", "cpus"]),
    row("mode", Kind::Mode, "mode = \"polled\"", &["flavor", "sqpoll", "driver"]),
    row("pin", Kind::Bool, "pin = false", &["affinity", "pinned"]),
    row("entries", Kind::Entries, "entries = 256", &["sq_entries", "ring_entries", "ring_size"]),
    row("poller_cpu", ANY, "poller_cpu = 1", &["sq_thread_cpu", "sqpoll_cpu"]),
    row("poller_idle_ms", ANY_U32, "poller_idle_ms = 50", &["sq_thread_idle", "sqpoll_idle", "idle_ms"]),
    row("pollers", AT_LEAST_1, "pollers = 2", &["poller_count", "poller_threads"]),
    row("spin_us_max", ANY_U32, "spin_us_max = 50", &["spin", "spin_us"]),
    row("shutdown_ms", ANY, "shutdown_ms = 5000", &["shutdown_timeout"]),
    row("blocking_threads_max", ANY, "blocking_threads_max = 8", &["blocking_threads"]),
    row("crate", Kind::Crate, "crate = \"path::to::runtime\"", &["runtime", "path"]),
];

/// What only a poller has, and so contradicts a mode without one.
const OF_THE_POLLER: &[&str] = &["poller_cpu"];

const fn row(
    name: &'static str,
    kind: Kind,
    example: &'static str,
    aliases: &'static [&'static str],
) -> Spec {
    Spec { name, kind, example, aliases }
}

/// One call of a method of `Builder`.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) value: Value,
}

/// What an attribute asks for.
#[derive(Default)]
pub(crate) struct Options {
    /// Where the runtime is, if not at `::runtime`.
    pub(crate) crate_path: Option<Path>,
    /// The rest, in the order written.
    pub(crate) settings: Vec<Setting>,
}

impl Options {
    /// Reads a whole list. Every mistake goes to `errors`, and the rest is still read.
    pub(crate) fn read(list: TokenStream, errors: &mut Errors) -> Self {
        let mut options = Self::default();
        let mut seen: HashMap<&'static str, Ident> = HashMap::new();
        for part in split_at_commas(list) {
            let Some(written) = errors.keep(Written::read(part)) else { continue };
            let Written { name, spec, value } = written;
            if seen.contains_key(spec.name) {
                errors.push(Error::new(name.span(), format!("`{name}` is given twice: remove one of them")));
                continue;
            }
            seen.insert(spec.name, name);
            match errors.keep(value) {
                Some(Value::Crate(path)) => options.crate_path = Some(path),
                Some(value) => options.settings.push(Setting { name: spec.name, value }),
                None => {}
            }
        }
        options.reject_contradictions(&seen, errors);
        options
    }

    /// In entered mode nobody polls, so whoever speaks of the poller there expects something else to happen.
    fn reject_contradictions(&self, seen: &HashMap<&'static str, Ident>, errors: &mut Errors) {
        if !self.settings.iter().any(|setting| matches!(setting.value, Value::Mode(Mode::Entered))) {
            return;
        }
        for name in OF_THE_POLLER.iter().filter_map(|name| seen.get(name)) {
            let message = format!(
                "`{name}` contradicts `mode = \"entered\"`, in which there is no poller: \
                 remove one of the two, or write `mode = \"polled\"`"
            );
            errors.push(Error::new(name.span(), message));
        }
    }
}

/// The tokens between two commas, and where they end.
pub(crate) struct Part {
    pub(crate) tokens: Vec<TokenTree>,
    pub(crate) end: Span,
}

/// Cuts at the commas of this level: one within brackets is inside a group, which is a single token here. A comma
/// after the last part is fine; a part that is empty is for the caller to report.
pub(crate) fn split_at_commas(list: TokenStream) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut tokens = Vec::new();
    for token in list {
        match token {
            TokenTree::Punct(comma) if comma.as_char() == ',' => {
                parts.push(Part { tokens: std::mem::take(&mut tokens), end: comma.span() });
            }
            token => tokens.push(token),
        }
    }
    if let Some(last) = tokens.last() {
        let end = last.span();
        parts.push(Part { tokens, end });
    }
    parts
}

/// One option as written: known by its name, with a value that may still be wrong.
struct Written {
    name: Ident,
    spec: &'static Spec,
    value: Result<Value, Error>,
}

impl Written {
    /// Reads `name = value`. It is an error here if we can't tell which option is meant.
    fn read(part: Part) -> Result<Self, Error> {
        let mut tokens = part.tokens.into_iter();
        let name = match tokens.next() {
            Some(TokenTree::Ident(name)) => name,
            Some(other) => {
                let whole: TokenStream = std::iter::once(other).chain(tokens).collect();
                let message = format!("expected an option, such as `cores = 4`\n{}", names());
                return Err(Error::new_spanned(whole, message));
            }
            None => return Err(Error::new(part.end, "expected an option before this comma")),
        };
        let Some(spec) = TABLE.iter().find(|spec| name == spec.name) else {
            return Err(Error::new(name.span(), unknown(&name.to_string())));
        };
        let value = value(&name, spec, tokens.collect());
        Ok(Self { name, spec, value })
    }
}

/// Reads `= value`, what follows a name.
fn value(name: &Ident, spec: &Spec, rest: TokenStream) -> Result<Value, Error> {
    let write = format!("write `{}`", spec.example);
    let mut tokens = rest.clone().into_iter();
    match tokens.next() {
        Some(TokenTree::Punct(equals)) if equals.as_char() == '=' => {
            let value: TokenStream = tokens.collect();
            if value.is_empty() {
                return Err(Error::new(equals.span(), format!("a value is missing after this: {write}")));
            }
            match name_of_next(&value) {
                Some(next) => Err(Error::new(next.span(), format!("expected a comma before `{next}`"))),
                None => values::read(spec, value),
            }
        }
        Some(_) => Err(Error::new_spanned(rest, format!("expected `=` and a value: {write}"))),
        None => Err(Error::new(name.span(), format!("`{name}` needs a value: {write}"))),
    }
}

/// The name in a value such as `4 mode = "polled"`, where a comma was forgotten.
fn name_of_next(value: &TokenStream) -> Option<Ident> {
    let tokens: Vec<TokenTree> = value.clone().into_iter().skip(1).collect();
    tokens.windows(2).find_map(|pair| match pair {
        [TokenTree::Ident(name), TokenTree::Punct(punct)] if punct.as_char() == '=' => Some(name.clone()),
        _ => None,
    })
}

/// What to say of a name that is in no row.
fn unknown(name: &str) -> String {
    let guess = suggest::option(name).map(|spec| format!(": did you mean `{}`?", spec.name));
    format!("unknown option `{name}`{}\n{}", guess.unwrap_or_default(), names())
}

fn names() -> String {
    let names: Vec<String> = TABLE.iter().map(|spec| format!("`{}`", spec.name)).collect();
    format!("the options are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_option() {
        let documentation = include_str!("lib.rs");
        let documented: Vec<&str> = documentation
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `")?.split('`').next())
            .collect();
        let options: Vec<&str> = TABLE.iter().map(|spec| spec.name).collect();
        assert_eq!(documented, options);
    }

    #[test]
    fn the_examples_are_right() {
        for spec in TABLE {
            let mut errors = Errors::default();
            let list = spec.example.parse().expect("an example is made of tokens");
            let options = Options::read(list, &mut errors);
            assert!(errors.is_empty(), "{}", spec.example);
            assert_eq!(options.settings.len() + usize::from(options.crate_path.is_some()), 1);
        }
    }
}
