//! What an attribute turns a function into.

use std::fmt;

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::quote;
use syn::{Generics, ReturnType, Signature};

use crate::errors::Errors;
use crate::function::{Function, is_test};
use crate::options::{Options, Setting};
use crate::values::{Mode, Value};

/// Which of the two attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Main,
    Test,
}

/// As the user writes it, for messages.
impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Main => "`#[runtime::main]`",
            Self::Test => "`#[runtime::test]`",
        })
    }
}

/// Expands an attribute with the options `list` on `item`; mistakes become compile errors.
pub(crate) fn expand(flavour: Flavour, list: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let options = Options::read(list, &mut errors);
    let Some(function) = errors.keep(Function::read(flavour, item.clone())) else {
        let errors = errors.into_tokens();
        return quote!(#item #errors);
    };
    function.check(flavour, &mut errors);
    if errors.is_empty() {
        running(flavour, &function, &options)
    } else {
        let function = checked_only(flavour, &function);
        let errors = errors.into_tokens();
        quote!(#function #errors)
    }
}

/// The function as it runs. The user's function stands in it as it was written, and not as an `async` block, so that
/// its return type is known within, and the compiler speaks of it as of any `async fn`.
fn running(flavour: Flavour, function: &Function, options: &Options) -> TokenStream {
    let Function { attributes, visibility, signature, body } = function;
    let (fn_token, name, output) = (&signature.fn_token, &signature.ident, &signature.output);
    let inner = in_expansion(signature);
    let test = test_attribute(flavour);
    // A temporary, which is dropped, and so shut down, before the function returns.
    let runtime = runtime(flavour, function, options);
    quote! {
        #(#attributes)*
        #test
        #visibility #fn_token #name() #output {
            #inner #body
            #runtime.block_on(#name())
        }
    }
}

/// The signature, with a start that lints take for written by a macro: the user doesn't want to hear that an entry point
/// is called only once, or awaits nothing. Everything that errors point at keeps its place.
fn in_expansion(signature: &Signature) -> Signature {
    let mut signature = signature.clone();
    if let Some(token) = &mut signature.asyncness {
        token.span = Span::mixed_site().located_at(token.span);
    }
    signature
}

/// An expression that builds the runtime, or doesn't return.
fn runtime(flavour: Flavour, function: &Function, options: &Options) -> TokenStream {
    let root = match &options.crate_path {
        Some(path) => quote!(#path),
        None => quote!(::runtime),
    };
    let calls = options.settings.iter().map(|setting| call(&root, setting));
    // These names belong to the macro: whatever the user calls so is neither seen nor hidden.
    let error = Ident::new("error", Span::mixed_site());
    let runtime = Ident::new("runtime", Span::mixed_site());
    let failed = match flavour {
        Flavour::Main => quote!(#root::__private::build_failed(#error)),
        // A panic would make such a test succeed. So would success, if it didn't have to panic.
        Flavour::Test if function.should_panic() && function.returns_unit() => quote!({
            ::std::eprintln!("the runtime could not be built: {}", #error);
            return;
        }),
        Flavour::Test => quote!(::core::panic!("the runtime could not be built: {}", #error)),
    };
    quote! {
        (match #root::Builder::new() #(#calls)* .build() {
            ::core::result::Result::Ok(#runtime) => #runtime,
            ::core::result::Result::Err(#error) => #failed,
        })
    }
}

/// One call of a method of `Builder`.
fn call(root: &TokenStream, setting: &Setting) -> TokenStream {
    let method = Ident::new(setting.name, Span::call_site());
    let number = |number: &u64| Literal::u64_unsuffixed(*number);
    let value = match &setting.value {
        Value::Number(value) => {
            let value = number(value);
            quote!(#value)
        }
        Value::Bool(value) => quote!(#value),
        Value::Mode(Mode::Polled) => quote!(#root::Mode::Polled),
        Value::Mode(Mode::Entered) => quote!(#root::Mode::Entered),
        Value::CoresCount(count) => {
            let count = number(count);
            quote!(#root::Cores::Count(#count))
        }
        Value::CoresAll => quote!(#root::Cores::All),
        Value::CoresList(cpus) => {
            let cpus = cpus.iter().map(number);
            quote!(#root::Cores::List(::std::vec![#(#cpus),*]))
        }
        // It isn't among the settings, but stands where they are called.
        Value::Crate(_) => return TokenStream::new(),
    };
    quote!(.#method(#value))
}

/// After an error: a function of which the compiler has nothing more to say. Callers find what the right one would be,
/// the user's code in it is still checked, and nothing in it needs the runtime.
fn checked_only(flavour: Flavour, function: &Function) -> TokenStream {
    let Function { attributes, visibility, signature, body } = function;
    if signature.receiver().is_some() {
        // `self` has no meaning in a function within a method.
        return quote!(#(#attributes)* #visibility #signature #body);
    }
    let inner = body.as_ref().map(|body| {
        let mut signature = without_qualifiers(signature);
        signature.unsafety = function.signature.unsafety;
        // Without it each `.await` would be an error.
        signature.asyncness = Some(function.signature.asyncness.unwrap_or_default());
        quote!(#signature #body)
    });
    let mut outer = without_qualifiers(signature);
    if flavour == Flavour::Test || function.is_main() {
        outer.inputs.clear();
        if !outer.generics.params.is_empty() {
            // It may be one of the parameters that go now.
            outer.output = ReturnType::Default;
        }
        outer.generics = Generics::default();
    }
    let attributes = attributes.iter().filter(|attribute| !is_test(attribute));
    let test = test_attribute(flavour);
    let quiet = (!outer.inputs.is_empty()).then(|| quote!(#[allow(unused_variables)]));
    quote! {
        #(#attributes)*
        #test
        #quiet
        #visibility #outer {
            #inner
            ::core::unreachable!()
        }
    }
}

fn without_qualifiers(signature: &Signature) -> Signature {
    let mut plain = signature.clone();
    plain.constness = None;
    plain.asyncness = None;
    plain.unsafety = None;
    plain.abi = None;
    plain.variadic = None;
    plain
}

/// It stands last, so that other attributes see that this is a test.
fn test_attribute(flavour: Flavour) -> Option<TokenStream> {
    (flavour == Flavour::Test).then(|| quote!(#[::core::prelude::v1::test]))
}
