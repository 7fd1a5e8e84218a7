//! `#[derive(Shareable)]`, the macro beside the trait of the same name in `multiproc-segment`.
//!
//! ```standalone_crate
//! use multiproc_process::Process;
//! use multiproc_segment::{Shareable, Shared};
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!
//! #[derive(Shareable)]
//! #[repr(C)]
//! struct Counters {
//!     hits: AtomicU64,
//!     misses: AtomicU64,
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let counters = Shared::new(Counters { hits: AtomicU64::new(0), misses: AtomicU64::new(0) })?;
//!     let child = Process::start(|| {
//!         counters.hits.fetch_add(1, Relaxed);
//!     })?;
//!     child.join()?.ok()?;
//!     counters.misses.fetch_add(2, Relaxed);
//!     assert_eq!(counters.hits.load(Relaxed), 1);
//!     Ok(())
//! }
//! ```
//!
//! Users meet it as `multiproc::Shareable`. [`Shareable`](macro@Shareable) says what it accepts.
//!
//! What comes out is one `unsafe impl`. Why that is sound, rule by rule:
//!
//! | the trait needs | because | checked by |
//! |---|---|---|
//! | a fixed layout | every process that maps the object must find the same fields at the same places | `repr(C)` or `repr(transparent)` |
//! | any bytes are a value | a peer may write what it likes | each field is `Shareable`, and there is no tag: structs only |
//! | no address of one process | it means nothing in another | each field is `Shareable`, no lifetimes |
//! | nothing to drop | a killed process drops nothing | `needs_drop`, when the type is used |

#![forbid(unsafe_code)]

use proc_macro::TokenStream;
use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream as Tokens};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Data, DeriveInput, Error, Fields, Ident, Index, Path, Result, Token};

/// Lets a struct of shareable fields live in a shared segment.
///
/// The struct must be `#[repr(C)]` or `#[repr(transparent)]` (`align(N)` may be added), have no
/// lifetime parameters, and need no drop. Every field must be `Shareable`; for a field whose type
/// mentions a type parameter this becomes a bound of the implementation.
///
/// ```text
/// use multiproc::{Mutex, Shareable, Shared};
///
/// #[derive(Shareable)]
/// #[repr(C)]
/// struct Board<const N: usize> {
///     cells: [AtomicU32; N],
///     turn: Mutex<u32>,
/// }
///
/// let board = Shared::create("board", Board::<64>::new())?;
/// ```
///
/// A bare `u64` field is refused, and rightly: another process may write it while this one reads.
/// Put plain data inside a `Mutex<T>` or `Value<T>`, or use an atomic.
///
/// # Where the trait is looked for
///
/// In the package `multiproc` if the using package depends on it, else in `multiproc-segment`,
/// under whatever names it gave them. Where that guess is wrong (the macro is used inside the
/// expansion of another one, say), tell it: `#[shareable(crate = path::to::multiproc)]`.
#[proc_macro_derive(Shareable, attributes(shareable))]
pub fn derive_shareable(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand(&input)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

/// The whole macro, over `proc_macro2` so that it can be tested outside the compiler.
fn expand(input: &DeriveInput) -> Result<Tokens> {
    let fields = fields_of_struct(input)?;
    refuse_lifetimes(input)?;
    require_fixed_layout(input)?;
    let home = match explicit_home(input)? {
        Some(path) => quote!(#path),
        None => found_home()?,
    };

    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let own_bounds = where_clause.iter().flat_map(|clause| &clause.predicates);
    let type_parameters: Vec<&Ident> = input.generics.type_params().map(|p| &p.ident).collect();
    // Concrete fields need no bound: the call in `settle` asks the same, and points at the field.
    let field_bounds = fields
        .iter()
        .filter(|field| mentions(&field.ty, &type_parameters))
        .map(|field| {
            let ty = &field.ty;
            quote_spanned!(ty.span()=> #ty: #home::Shareable)
        });
    let settles = fields.iter().enumerate().map(|(at, field)| {
        let ty = &field.ty;
        let member = match &field.ident {
            Some(ident) => quote!(#ident),
            None => {
                let index = Index::from(at);
                quote!(#index)
            }
        };
        quote_spanned!(ty.span()=> <#ty as #home::Shareable>::settle(&self.#member);)
    });
    let body = if fields.is_empty() {
        quote!()
    } else {
        // SAFETY of what is generated: the caller promises that `self` lies in a segment at its
        // final place, and so, `repr(C)` or not, does each of its fields.
        quote!(unsafe { #(#settles)* })
    };
    let droppable = format!(
        "`{name}` has something to drop, and so cannot be Shareable: a killed process drops nothing"
    );

    Ok(quote! {
        #[automatically_derived]
        #[allow(private_bounds, clippy::undocumented_unsafe_blocks, clippy::missing_safety_doc)]
        unsafe impl #impl_generics #home::Shareable for #name #type_generics
        where
            #(#own_bounds,)*
            #(#field_bounds,)*
        {
            unsafe fn settle(&self) {
                const {
                    ::core::assert!(!::core::mem::needs_drop::<Self>(), #droppable);
                }
                #body
            }
        }
    })
}

/// The fields, in order, or why this is no struct.
fn fields_of_struct(input: &DeriveInput) -> Result<&Fields> {
    match &input.data {
        Data::Struct(data) => Ok(&data.fields),
        Data::Enum(data) => Err(Error::new(
            data.enum_token.span(),
            "Shareable is for structs: not every byte is a variant of an enum, and another process \
             may write any byte. Keep the enum inside a lock, a value or a message",
        )),
        Data::Union(data) => Err(Error::new(
            data.union_token.span(),
            "Shareable is for structs: nobody could say which field of a union another process \
             has written",
        )),
    }
}

/// A reference means something in one process only.
fn refuse_lifetimes(input: &DeriveInput) -> Result<()> {
    match input.generics.lifetimes().next() {
        None => Ok(()),
        Some(lifetime) => Err(Error::new(
            lifetime.span(),
            "a Shareable struct has no lifetimes: what it would borrow lies in the memory of one \
             process only",
        )),
    }
}

/// `repr(C)` or `repr(transparent)`, and nothing but `align(N)` beside it.
fn require_fixed_layout(input: &DeriveInput) -> Result<()> {
    let mut fixed = false;
    for attribute in &input.attrs {
        if !attribute.path().is_ident("repr") {
            continue;
        }
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("C") || meta.path.is_ident("transparent") {
                fixed = true;
                Ok(())
            } else if meta.path.is_ident("align") {
                let alignment;
                syn::parenthesized!(alignment in meta.input);
                alignment.parse::<Tokens>().map(drop)
            } else {
                Err(meta.error(
                    "a Shareable struct is `repr(C)` or `repr(transparent)`, with `align(N)` at \
                     most: its fields are shared by reference, so they must lie aligned",
                ))
            }
        })?;
    }
    if fixed {
        return Ok(());
    }
    Err(Error::new(
        input.ident.span(),
        "a Shareable struct needs `#[repr(C)]` (or `#[repr(transparent)]`): every program that \
         maps it must find its fields at the same places",
    ))
}

/// The path of `#[shareable(crate = path)]`, if it is there.
fn explicit_home(input: &DeriveInput) -> Result<Option<Path>> {
    let mut home = None;
    for attribute in &input.attrs {
        if !attribute.path().is_ident("shareable") {
            continue;
        }
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("the one option is `crate = path::to::multiproc`"));
            }
            meta.input.parse::<Token![=]>()?;
            home = Some(Path::parse_mod_style(meta.input)?);
            Ok(())
        })?;
    }
    Ok(home)
}

/// Where the using package sees the trait: through the facade, or in the segment crate.
fn found_home() -> Result<Tokens> {
    for package in ["multiproc", "multiproc-segment"] {
        match crate_name(package) {
            Ok(FoundCrate::Name(name)) => {
                let name = format_ident!("{name}");
                return Ok(quote!(::#name));
            }
            // The package itself: its library, or an example, a test, a doc test beside it. All of
            // them can say the name: the library has `extern crate self as …`.
            Ok(FoundCrate::Itself) => {
                let name = format_ident!("{}", package.replace('-', "_"));
                return Ok(quote!(::#name));
            }
            Err(_) => {}
        }
    }
    Err(Error::new(
        Span::call_site(),
        "no dependency on `multiproc` (or `multiproc-segment`) found here; if it has come another \
         way, add `#[shareable(crate = path::to::multiproc)]`",
    ))
}

/// Whether `ty` mentions one of `parameters`.
fn mentions(ty: &syn::Type, parameters: &[&Ident]) -> bool {
    struct Search<'a> {
        parameters: &'a [&'a Ident],
        found: bool,
    }
    impl<'ast> Visit<'ast> for Search<'_> {
        fn visit_ident(&mut self, ident: &'ast Ident) {
            self.found |= self.parameters.contains(&ident);
        }
        fn visit_macro(&mut self, mac: &'ast syn::Macro) {
            // Its tokens are not parsed: assume the worst, which is a bound that always holds.
            self.found = true;
            visit::visit_macro(self, mac);
        }
    }
    let mut search = Search {
        parameters,
        found: false,
    };
    search.visit_type(ty);
    search.found
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    /// What the macro says of `input`.
    fn refusal(input: &DeriveInput) -> String {
        expand(input).expect_err("it was accepted").to_string()
    }

    /// What comes out, without the blanks that `quote` puts between tokens.
    fn expansion(input: &DeriveInput) -> String {
        expand(input)
            .expect("it was refused")
            .to_string()
            .replace(' ', "")
    }

    #[test]
    fn fields_settle_in_order() {
        let out = expansion(&parse_quote! {
            #[repr(C, align(64))]
            #[shareable(crate = a::b)]
            struct Two { first: AtomicU32, second: AtomicU64 }
        });
        let first = out.find("settle(&self.first)").expect("first");
        let second = out.find("settle(&self.second)").expect("second");
        assert!(first < second, "{out}");
        assert!(out.contains("unsafeimpla::b::ShareableforTwo"), "{out}");
        assert!(out.contains("needs_drop::<Self>()"), "{out}");
    }

    #[test]
    fn only_fields_with_a_type_parameter_become_bounds() {
        let out = expansion(&parse_quote! {
            #[repr(C)]
            #[shareable(crate = m)]
            struct Many<T, const N: usize>(AtomicU32, [T; N], Option<PhantomData<T>>) where T: Copy;
        });
        assert!(
            out.contains("where T:Copy,".replace(' ', "").as_str()),
            "{out}"
        );
        assert!(out.contains("[T;N]:m::Shareable,"), "{out}");
        assert!(
            out.contains("Option<PhantomData<T>>:m::Shareable,"),
            "{out}"
        );
        assert!(!out.contains("AtomicU32:m::Shareable"), "{out}");
        assert!(
            out.contains("settle(&self.0)") && out.contains("settle(&self.2)"),
            "{out}"
        );
    }

    #[test]
    fn transparent_and_unit_structs_are_fine() {
        expansion(&parse_quote! {
            #[repr(transparent)] #[shareable(crate = m)] struct One(AtomicU32);
        });
        let unit = expansion(&parse_quote! {
            #[repr(C)] #[shareable(crate = m)] struct Unit;
        });
        assert!(!unit.contains("unsafe{"), "{unit}");
    }

    #[test]
    fn a_struct_without_fixed_layout_is_refused() {
        let said = refusal(&parse_quote! { struct Loose { a: AtomicU32 } });
        assert!(said.contains("#[repr(C)]"), "{said}");
        let said = refusal(&parse_quote! { #[repr(align(8))] struct Loose { a: AtomicU32 } });
        assert!(said.contains("#[repr(C)]"), "{said}");
        let said = refusal(&parse_quote! { #[repr(C, packed)] struct Tight { a: AtomicU32 } });
        assert!(said.contains("aligned"), "{said}");
    }

    #[test]
    fn enums_unions_and_lifetimes_are_refused() {
        let said = refusal(&parse_quote! { #[repr(C)] enum E { A } });
        assert!(said.contains("enum"), "{said}");
        let said = refusal(&parse_quote! { #[repr(C)] union U { a: u32 } });
        assert!(said.contains("union"), "{said}");
        let said = refusal(&parse_quote! { #[repr(C)] struct Borrows<'a>(&'a AtomicU32); });
        assert!(said.contains("lifetimes"), "{said}");
    }

    #[test]
    fn unknown_options_are_refused() {
        let said = refusal(&parse_quote! { #[repr(C)] #[shareable(name = x)] struct S; });
        assert!(said.contains("crate = "), "{said}");
    }
}
