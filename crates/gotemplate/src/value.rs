//! Values, with the types that Go's reflection would report.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A value.
#[derive(Debug, Clone, Default)]
pub enum Value {
    /// JSON's null, or `nil`.
    #[default]
    Nil,
    /// A missing key of a map, or the dot without data. Its fields are missing too, while a field of [`Value::Nil`] is
    /// an error. Functions receive [`Value::Nil`] instead.
    Missing,
    /// A boolean.
    Bool(bool),
    /// Go's `int`.
    Int(i64),
    /// Go's `float64`.
    Float(f64),
    /// Go's `string`; UTF-8 here.
    Text(Arc<str>),
    /// A slice.
    List(Arc<List>),
    /// A map with string keys.
    Map(Arc<Map>),
    /// A struct, or anything with methods.
    Object(Arc<Object>),
}

/// The element type of a slice or map, in Go's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// `interface {}`
    Any,
    /// `string`
    Text,
    /// `int`
    Int,
    /// A struct of that name.
    Struct(&'static str),
}

impl Element {
    /// The type's name in Go.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Element::Any => "interface {}",
            Element::Text => "string",
            Element::Int => "int",
            Element::Struct(name) => name,
        }
    }

    /// The result of `index` for a missing key.
    pub(crate) fn zero(self) -> Value {
        match self {
            Element::Text => Value::from(""),
            Element::Int => Value::Int(0),
            Element::Any | Element::Struct(_) => Value::Nil,
        }
    }
}

/// A slice: its elements and their type.
#[derive(Debug, Clone)]
pub struct List {
    /// The type of the elements: functions such as confd's `reverse` and `join` distinguish slices by it.
    pub element: Element,
    /// The elements.
    pub items: Vec<Value>,
    depth: usize,
}

/// A map: its entries, which are iterated and printed by key, and their type.
#[derive(Debug, Clone)]
pub struct Map {
    /// The type of the values.
    pub element: Element,
    /// The entries.
    pub entries: BTreeMap<String, Value>,
    depth: usize,
}

/// A struct: named fields in order, and methods.
#[derive(Clone)]
pub struct Object {
    /// The type's name in Go.
    pub name: &'static str,
    /// The fields in the order of their declaration.
    pub fields: Vec<(&'static str, Value)>,
    /// The methods.
    pub methods: Vec<(&'static str, Function)>,
    /// The printed form, if the type has a method `String`.
    pub text: Option<String>,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(self.name).field("fields", &self.fields).field("text", &self.text).finish_non_exhaustive()
    }
}

impl Value {
    /// A slice of strings.
    pub fn texts<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Value {
        Value::list(Element::Text, items.into_iter().map(|item| Value::from(item.as_ref())).collect())
    }

    /// A slice.
    #[must_use]
    pub fn list(element: Element, items: Vec<Value>) -> Value {
        let depth = 1 + items.iter().map(Value::depth).max().unwrap_or(0);
        Value::List(Arc::new(List { element, items, depth }))
    }

    /// A map.
    #[must_use]
    pub fn map(element: Element, entries: BTreeMap<String, Value>) -> Value {
        let depth = 1 + entries.values().map(Value::depth).max().unwrap_or(0);
        Value::Map(Arc::new(Map { element, entries, depth }))
    }

    /// The nesting depth of lists and maps. Bounded, since printing and dropping a value are recursive.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Value::List(list) => list.depth,
            Value::Map(map) => map.depth,
            _ => 0,
        }
    }

    /// A struct without methods.
    #[must_use]
    pub fn object(name: &'static str, fields: Vec<(&'static str, Value)>) -> Value {
        Value::Object(Arc::new(Object { name, fields, methods: Vec::new(), text: None }))
    }

    /// The text, if the value is a string.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    /// The name of the value's type in Go, for error messages and `%T`.
    #[must_use]
    pub fn type_name(&self) -> String {
        match self {
            Value::Nil | Value::Missing => "<nil>".into(),
            Value::Bool(_) => "bool".into(),
            Value::Int(_) => "int".into(),
            Value::Float(_) => "float64".into(),
            Value::Text(_) => "string".into(),
            Value::List(list) => format!("[]{}", list.element.name()),
            Value::Map(map) => format!("map[string]{}", map.element.name()),
            Value::Object(object) => object.name.into(),
        }
    }

    /// The condition of `if`: the value is neither zero nor empty.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Value::Nil | Value::Missing => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List(list) => !list.items.is_empty(),
            Value::Map(map) => !map.entries.is_empty(),
            Value::Object(_) => true,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text.into())
    }
}

/// The signature of a function; an error ends the execution.
type Call = dyn Fn(&[Value]) -> Result<Value, String> + Send + Sync;

/// A function or method that templates may call.
#[derive(Clone)]
pub struct Function {
    /// The minimum number of arguments.
    pub(crate) min: usize,
    /// The maximum number of arguments; `None`: no limit.
    pub(crate) max: Option<usize>,
    pub(crate) call: Arc<Call>,
}

impl Function {
    /// A function with exactly that many arguments.
    pub fn new(arguments: usize, call: impl Fn(&[Value]) -> Result<Value, String> + Send + Sync + 'static) -> Self {
        Function { min: arguments, max: Some(arguments), call: Arc::new(call) }
    }

    /// A function with at least that many arguments.
    pub fn variadic(min: usize, call: impl Fn(&[Value]) -> Result<Value, String> + Send + Sync + 'static) -> Self {
        Function { min, max: None, call: Arc::new(call) }
    }
}
