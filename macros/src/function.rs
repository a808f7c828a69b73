//! The function under an attribute: reading it, and what is wrong with it.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Error, ReturnType, Signature, Token, Type, Visibility};

use crate::errors::Errors;
use crate::expand::Flavour;

/// The body stays a token tree: what stands in it is not our business, its spans remain exact, and half-written code
/// still reaches the compiler and the editor.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    /// Absent in a declaration, which ends with `;`.
    pub(crate) body: Option<TokenTree>,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let signature = input.parse()?;
        if input.peek(Token![;]) {
            let _: Token![;] = input.parse()?;
            return Ok(Self { attributes, visibility, signature, body: None });
        }
        let body = input.parse()?;
        if !is_block(&body) {
            return Err(Error::new_spanned(body, "expected the body of the function"));
        }
        Ok(Self { attributes, visibility, signature, body: Some(body) })
    }
}

impl Function {
    pub(crate) fn read(flavour: Flavour, item: TokenStream) -> Result<Self, Error> {
        syn::parse2(item.clone()).map_err(|error| match what_else(item) {
            Some(keyword) => {
                let message = format!("{flavour} goes on an `async fn`, not on this `{keyword}`");
                Error::new_spanned(keyword, message)
            }
            None => error,
        })
    }

    /// Checks all that an entry point can't be; each mistake is an error of its own, at its own place.
    pub(crate) fn check(&self, flavour: Flavour, errors: &mut Errors) {
        let signature = &self.signature;
        let name = &signature.ident;
        let mut reject = |what: &dyn ToTokens, message: String| {
            errors.push(Error::new_spanned(what.to_token_stream(), message));
        };
        if signature.asyncness.is_none() {
            reject(&signature.fn_token, format!("{flavour} goes on an `async fn`: write `async fn {name}`"));
        }
        if let Some(token) = &signature.constness {
            reject(token, format!("{flavour} can't start a runtime in a `const fn`: remove `const`"));
        }
        if let Some(token) = &signature.unsafety {
            reject(
                token,
                format!("a function under {flavour} can't be `unsafe`: use an `unsafe` block in it"),
            );
        }
        if let Some(abi) = &signature.abi {
            reject(abi, format!("a function under {flavour} can't be `extern`: call it from one that is"));
        }
        if !signature.generics.params.is_empty() {
            reject(&signature.generics, format!("a function under {flavour} can't be generic"));
        }
        if let Some(clause) = &signature.generics.where_clause {
            reject(clause, format!("a function under {flavour} can't have a `where` clause"));
        }
        if !signature.inputs.is_empty() || signature.variadic.is_some() {
            let (inputs, variadic) = (&signature.inputs, &signature.variadic);
            reject(&quote::quote!(#inputs #variadic), self.about_parameters(flavour));
        }
        if self.body.is_none() {
            reject(name, format!("{flavour} needs a function with a body"));
        }
        if flavour == Flavour::Test {
            for attribute in self.attributes.iter().filter(|attribute| is_test(attribute)) {
                reject(attribute, format!("{flavour} makes a test of the function itself: remove this one"));
            }
        }
    }

    fn about_parameters(&self, flavour: Flavour) -> String {
        match flavour {
            Flavour::Main if self.is_main() => {
                "`main` has no parameters: `std::env::args()` gives the arguments of the program".into()
            }
            Flavour::Main => format!("a function under {flavour} can't have parameters"),
            Flavour::Test => "a test can't have parameters".into(),
        }
    }

    /// Whether this is, as far as its name tells, the entry point of a program.
    pub(crate) fn is_main(&self) -> bool {
        self.signature.ident == "main"
    }

    pub(crate) fn should_panic(&self) -> bool {
        self.attributes.iter().any(|attribute| attribute.path().is_ident("should_panic"))
    }

    pub(crate) fn returns_unit(&self) -> bool {
        match &self.signature.output {
            ReturnType::Default => true,
            ReturnType::Type(_, output) => matches!(&**output, Type::Tuple(tuple) if tuple.elems.is_empty()),
        }
    }
}

/// `{ ... }`, maybe in the invisible delimiters around a `$body:block` of a declarative macro.
fn is_block(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    let mut inside = group.stream().into_iter();
    match (group.delimiter(), inside.next(), inside.next()) {
        (Delimiter::Brace, ..) => true,
        (Delimiter::None, Some(only), None) => is_block(&only),
        _ => false,
    }
}

/// The keyword of an item that isn't a function; nothing if it is one, only with a mistake in it.
fn what_else(item: TokenStream) -> Option<Ident> {
    let skip_start = |input: ParseStream<'_>| {
        input.call(Attribute::parse_outer)?;
        input.parse::<Visibility>()?;
        input.parse::<TokenStream>()
    };
    let item = skip_start.parse2(item).ok()?;
    let words = item.into_iter().map_while(|token| match token {
        TokenTree::Ident(word) => Some(Some(word)),
        // The `"C"` of `extern "C" fn`.
        TokenTree::Literal(_) => Some(None),
        _ => None,
    });
    let words: Vec<Ident> = words.flatten().collect();
    if words.iter().any(|word| word == "fn") { None } else { words.into_iter().find(|word| word != "unsafe") }
}

/// `#[test]`, also by its full name as other macros write it.
pub(crate) fn is_test(attribute: &Attribute) -> bool {
    let path = attribute.path();
    let in_prelude = path.segments.iter().any(|segment| segment.ident == "prelude")
        && path.segments.last().is_some_and(|segment| segment.ident == "test");
    path.is_ident("test") || in_prelude
}
