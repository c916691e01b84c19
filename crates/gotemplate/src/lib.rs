//! The language of Go's `text/template`: this crate accepts and prints exactly what Go's own implementation does.
//!
//! A [`Template`] is parsed once, which finds every error that does not depend on data: syntax, unbalanced blocks,
//! undefined functions and variables. Each execution may use other [`Functions`], which are closures. The crate does no
//! I/O, and [`Limits`] bound the cost of a template.
//!
//! The language is that of Go 1.19, with `{{else with}}` and `{{range 5}}` of later versions. Not supported: `call`,
//! since there are no function values, and complex numbers. All text is UTF-8.

mod ast;
mod builtins;
mod compare;
mod error;
mod escape;
mod eval;
mod exec;
mod functions;
mod lex;
mod limits;
mod literal;
mod number;
mod parse;
mod pipeline;
mod print;
mod template;
mod value;
mod verbs;

pub use error::{Problem, TemplateError};
pub use functions::Functions;
pub use limits::Limits;
pub use print::{print, print_line};
pub use template::Template;
pub use value::{Element, Function, List, Map, Object, Value};
pub use verbs::format;
