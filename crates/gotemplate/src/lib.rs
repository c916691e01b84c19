//! The language of Go's `text/template`: what Go's own implementation accepts and prints, this one accepts and prints.
//!
//! A [`Template`] is parsed once, with every mistake that can be seen without data: syntax, unbalanced blocks, functions
//! and variables that are not defined. It is executed with [`Functions`] that may differ each time, since they are
//! closures over whatever the caller likes. The crate does no I/O, and what a template may cost is bounded by [`Limits`].
//!
//! The language is that of Go 1.19, with `{{else with}}` and `{{range 5}}` of later ones. Left out: `call`, since there
//! are no function values, and complex numbers. Text is UTF-8 throughout.

mod ast;
mod builtins;
mod compare;
mod error;
mod escape;
mod eval;
mod exec;
mod lex;
mod literal;
mod number;
mod parse;
mod pipeline;
mod print;
mod template;
mod value;
mod verbs;

pub use error::{Problem, TemplateError};
pub use print::{print, print_line};
pub use template::{Limits, Template};
pub use value::{Element, Function, Functions, List, Map, Object, Value};
pub use verbs::format;
