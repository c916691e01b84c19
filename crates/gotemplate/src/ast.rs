//! The syntax tree of a template. Positions are byte offsets in the text.

/// A node of a template.
#[derive(Debug, Clone)]
pub enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { at: usize, name: String, pipe: Option<Pipe> },
    Break,
    Continue,
}

/// A block with a condition and an optional `else` part.
#[derive(Debug, Clone)]
pub struct Branch {
    pub pipe: Pipe,
    pub then: Vec<Node>,
    pub otherwise: Vec<Node>,
}

/// A pipeline, and the variables that receive its value.
#[derive(Debug, Clone)]
pub struct Pipe {
    pub at: usize,
    /// The variables, with their dollar signs.
    pub variables: Vec<String>,
    /// The variables are assigned (`=`), not declared (`:=`).
    pub assigns: bool,
    pub commands: Vec<Command>,
}

/// A word and its arguments; there is always a word.
#[derive(Debug, Clone)]
pub struct Command {
    pub words: Vec<Expr>,
}

/// An operand.
#[derive(Debug, Clone)]
pub struct Expr {
    pub at: usize,
    pub kind: ExprKind,
}

/// The kinds of operands.
#[derive(Debug, Clone)]
pub enum ExprKind {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// `.a.b`
    Fields(Vec<String>),
    /// `$x.a.b`, the dollar sign included
    Variable(String, Vec<String>),
    Function(String),
    /// `(pipeline).a.b`, `function.a.b`
    Chain(Box<Expr>, Vec<String>),
    Pipe(Box<Pipe>),
}

impl ExprKind {
    /// The operand can take the value of the previous command.
    pub fn is_callable(&self) -> bool {
        !matches!(
            self,
            ExprKind::Dot
                | ExprKind::Nil
                | ExprKind::Bool(_)
                | ExprKind::Int(_)
                | ExprKind::Float(_)
                | ExprKind::Text(_)
        )
    }
}
