//! The values of options: what is accepted for which kind, and what to write instead of what isn't.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::parse::Parser;
use syn::{Error, Lit, LitInt, Path};

use crate::errors::Errors;
use crate::options::{Kind, Part, Spec, split_at_commas};
use crate::suggest;

/// The kernel's limit for a ring without large completion entries (`IORING_MAX_ENTRIES`).
const ENTRIES_MAX: u64 = 32_768;

/// A right value.
pub(crate) enum Value {
    Number(u64),
    Bool(bool),
    Mode(Mode),
    CoresCount(u64),
    CoresAll,
    CoresList(Vec<u64>),
    Crate(Path),
}

/// How a ring is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Polled,
    Entered,
}

impl Mode {
    pub(crate) const ALL: [Self; 2] = [Self::Polled, Self::Entered];

    /// As the user writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Polled => "polled",
            Self::Entered => "entered",
        }
    }
}

/// What stands there, right or wrong.
enum Written {
    Number(u128),
    /// `50ms`: a number with something attached.
    Suffixed(u128),
    Text(String),
    Bool(bool),
    /// A bare word, or a path such as `my::runtime`.
    Path(Path),
    List(TokenStream),
    Other,
}

impl Written {
    fn read(tokens: TokenStream) -> Self {
        let tokens = visible(tokens);
        if let Ok(literal) = syn::parse2::<Lit>(tokens.clone()) {
            return match literal {
                Lit::Int(number) if number.base10_digits().starts_with('-') => Self::Other,
                Lit::Int(number) if number.suffix().is_empty() => Self::Number(saturating(&number)),
                Lit::Int(number) => Self::Suffixed(saturating(&number)),
                Lit::Str(text) => Self::Text(text.value()),
                Lit::Bool(value) => Self::Bool(value.value),
                _ => Self::Other,
            };
        }
        if let Ok(path) = Path::parse_mod_style.parse2(tokens.clone()) {
            return Self::Path(path);
        }
        let mut tokens = tokens.into_iter();
        match (tokens.next(), tokens.next()) {
            (Some(TokenTree::Group(list)), None) if list.delimiter() == Delimiter::Bracket => {
                Self::List(list.stream())
            }
            _ => Self::Other,
        }
    }

    /// The number that was probably meant.
    fn meant_number(&self) -> Option<u128> {
        match self {
            Self::Number(number) | Self::Suffixed(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The word that was probably meant, with or without the quotes.
    fn meant_word(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Path(path) => path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        }
    }
}

/// Takes off the invisible delimiters around what a declarative macro passes on as `$value:expr`.
fn visible(tokens: TokenStream) -> TokenStream {
    let mut all = tokens.clone().into_iter();
    match (all.next(), all.next()) {
        (Some(TokenTree::Group(group)), None) if group.delimiter() == Delimiter::None => {
            visible(group.stream())
        }
        _ => tokens,
    }
}

/// What doesn't fit 128 bits exceeds the limit of every option, and so does the largest number that does.
fn saturating(number: &LitInt) -> u128 {
    number.base10_digits().parse().unwrap_or(u128::MAX)
}

/// Reads the value of the option `spec`.
pub(crate) fn read(spec: &Spec, tokens: TokenStream) -> Result<Value, Error> {
    let written = Written::read(tokens.clone());
    let wrong = |message: String| Error::new_spanned(&tokens, message);
    match spec.kind {
        Kind::Cores => cores(&tokens, written),
        Kind::Mode => mode(written).map_err(wrong),
        Kind::Bool => boolean(spec, written).map_err(wrong),
        Kind::Number { min, max } => number(spec, written, min, max).map_err(wrong),
        Kind::Entries => entries(spec, written).map_err(wrong),
        Kind::Crate => crate_path(&tokens, written),
    }
}

fn boolean(spec: &Spec, written: Written) -> Result<Value, String> {
    let name = spec.name;
    let meant = match &written {
        Written::Bool(value) => return Ok(Value::Bool(*value)),
        Written::Number(number @ (0 | 1)) => Some(*number == 1),
        _ => written.meant_word().and_then(|word| match word.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        }),
    };
    Err(match meant {
        Some(value) => format!("`{name}` is true or false: write `{name} = {value}`"),
        None => format!("`{name}` is true or false: write `{name} = true` or `{name} = false`"),
    })
}

fn number(spec: &Spec, written: Written, min: u64, max: u64) -> Result<Value, String> {
    let name = spec.name;
    let Some(number) = written.meant_number() else {
        return Err(format!("`{name}` is a plain number: write, for example, `{}`", spec.example));
    };
    match u64::try_from(number) {
        Ok(number) if number < min => {
            Err(format!("`{name}` is at least {min}: write, for example, `{}`", spec.example))
        }
        Ok(number) if number <= max && matches!(written, Written::Number(_)) => Ok(Value::Number(number)),
        Ok(number) if number <= max => Err(format!("`{name}` is a plain number: write `{name} = {number}`")),
        _ => Err(format!("`{name}` is at most {max}")),
    }
}

/// The kernel would round other sizes up; a reader of the program should see the size that there is.
fn entries(spec: &Spec, written: Written) -> Result<Value, String> {
    let name = spec.name;
    let size = written.meant_number().map(|size| u64::try_from(size).unwrap_or(u64::MAX));
    let Some(size) = size.filter(|size| *size > ENTRIES_MAX || !size.is_power_of_two()) else {
        return number(spec, written, 1, ENTRIES_MAX);
    };
    let write = match nearest_sizes(size) {
        (below, above) if below == above => format!("`{name} = {below}`"),
        (below, above) => format!("`{name} = {below}` or `{name} = {above}`"),
    };
    Err(format!("`{name}` is a power of two from 1 to {ENTRIES_MAX}: the nearest is {write}"))
}

/// The possible size nearest to `size`; two of them if it lies in the middle.
fn nearest_sizes(size: u64) -> (u64, u64) {
    let size = size.clamp(1, ENTRIES_MAX);
    let above = size.next_power_of_two();
    let below = if above == size { size } else { above / 2 };
    match (size - below).cmp(&(above - size)) {
        std::cmp::Ordering::Less => (below, below),
        std::cmp::Ordering::Equal => (below, above),
        std::cmp::Ordering::Greater => (above, above),
    }
}

fn mode(written: Written) -> Result<Value, String> {
    if let Written::Text(text) = &written
        && let Some(mode) = Mode::ALL.into_iter().find(|mode| mode.name() == text)
    {
        return Ok(Value::Mode(mode));
    }
    let word = written.meant_word();
    Err(match word.as_deref().and_then(suggest::mode) {
        Some(mode) => {
            format!("`mode` is \"polled\" or \"entered\": did you mean `mode = \"{}\"`?", mode.name())
        }
        None => {
            "`mode` is \"polled\" (a kernel thread submits) or \"entered\" (each core submits itself)".into()
        }
    })
}

const ONE_CORE: &str = "a runtime needs at least one core";
const CORES: &str = "`cores` is a number of cores, \"all\", or a list of CPU numbers";

fn cores(tokens: &TokenStream, written: Written) -> Result<Value, Error> {
    let wrong = |message: String| Err(Error::new_spanned(tokens, message));
    match &written {
        Written::Number(0) => wrong(format!("{ONE_CORE}: write `cores = 1`, or `cores = \"all\"`")),
        Written::Number(count) => match u64::try_from(*count) {
            Ok(count) => Ok(Value::CoresCount(count)),
            Err(_) => wrong("no machine has so many cores: write, for example, `cores = \"all\"`".into()),
        },
        Written::Text(text) if text == "all" => Ok(Value::CoresAll),
        Written::List(list) => cpus(tokens, list.clone()).map(Value::CoresList),
        _ if written.meant_word().is_some_and(|word| word.eq_ignore_ascii_case("all")) => {
            wrong(format!("{CORES}: write `cores = \"all\"`"))
        }
        _ => match written.meant_number() {
            Some(count @ 1..) => wrong(format!("{CORES}: write `cores = {count}`")),
            _ => wrong(format!(
                "{CORES}: write, for example, `cores = 4`, `cores = \"all\"` or `cores = [0, 2]`"
            )),
        },
    }
}

/// Reads the inside of `[0, 2]`; each wrong element is an error of its own.
fn cpus(whole: &TokenStream, list: TokenStream) -> Result<Vec<u64>, Error> {
    let mut errors = Errors::default();
    let mut cpus = Vec::new();
    for Part { tokens, end } in split_at_commas(list) {
        let tokens: TokenStream = tokens.into_iter().collect();
        if tokens.is_empty() {
            errors.push(Error::new(end, "expected a CPU number before this comma"));
        } else if let Some(cpu) = errors.keep(cpu(&tokens, &cpus)) {
            cpus.push(cpu);
        }
    }
    errors.into_result()?;
    if cpus.is_empty() {
        let message = format!("{ONE_CORE}: write, for example, `cores = [0, 2]` or `cores = \"all\"`");
        return Err(Error::new_spanned(whole, message));
    }
    Ok(cpus)
}

/// Reads one element of `[0, 2]`, that follows `before`.
fn cpu(tokens: &TokenStream, before: &[u64]) -> Result<u64, Error> {
    let written = Written::read(tokens.clone());
    let message = match written.meant_number().map(u64::try_from) {
        Some(Ok(cpu)) if !matches!(written, Written::Number(_)) => {
            format!("expected a plain CPU number: write `{cpu}`")
        }
        Some(Ok(cpu)) if before.contains(&cpu) => format!("CPU {cpu} is in the list already"),
        Some(Ok(cpu)) => return Ok(cpu),
        Some(Err(_)) => "no machine has so many CPUs".into(),
        None => "expected a CPU number, such as `0`".into(),
    };
    Err(Error::new_spanned(tokens, message))
}

/// A string is what other crates' attributes take; a bare path is what a macro can write, as `$crate::runtime`.
fn crate_path(tokens: &TokenStream, written: Written) -> Result<Value, Error> {
    if let Written::Path(path) = written {
        return Ok(Value::Crate(path));
    }
    let message =
        "`crate` is a path to the runtime crate: write, for example, `crate = \"path::to::runtime\"`";
    syn::parse2::<syn::LitStr>(tokens.clone())
        .and_then(|text| text.parse_with(Path::parse_mod_style))
        .map(Value::Crate)
        .map_err(|_| Error::new_spanned(tokens, message))
}
