//! The tokens of a template.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text outside of actions.
    Text,
    LeftDelimiter,
    RightDelimiter,
    /// A run of blanks inside an action.
    Space,
    /// `true` or `false`.
    Bool,
    /// A printable ASCII character without a meaning of its own, such as the comma.
    Char,
    /// `'x'`, quotes included.
    CharConstant,
    Number,
    /// A number with a real and an imaginary part.
    Complex,
    /// `"…"`, quotes included.
    String,
    /// A text between back quotes, quotes included.
    RawString,
    /// `=`
    Assign,
    /// `:=`
    Declare,
    /// `|`
    Pipe,
    LeftParen,
    RightParen,
    /// `.name`
    Field,
    /// `$` or `$name`
    Variable,
    Identifier,
    Keyword(Keyword),
    Eof,
    /// The text goes wrong here; [`Tokens::error`](crate::lexer::Tokens::error) says how.
    Error,
}

/// Words with a meaning of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Dot,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

impl Keyword {
    pub(crate) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "block" => Self::Block,
            "break" => Self::Break,
            "continue" => Self::Continue,
            "define" => Self::Define,
            "else" => Self::Else,
            "end" => Self::End,
            "if" => Self::If,
            "nil" => Self::Nil,
            "range" => Self::Range,
            "template" => Self::Template,
            "with" => Self::With,
            _ => return None,
        })
    }
}

/// One token and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'t> {
    pub(crate) kind: Kind,
    pub(crate) text: &'t str,
    /// Byte offset.
    pub(crate) position: u32,
    /// From 1.
    pub(crate) line: u32,
}

impl Token<'_> {
    /// How error messages show the token.
    pub(crate) fn describe(&self) -> String {
        match self.kind {
            Kind::Eof => "EOF".into(),
            Kind::Keyword(_) => format!("<{}>", self.text),
            _ if self.text.len() > 10 => {
                let start: String = self.text.chars().take(10).collect();
                format!("{}...", model::text::quote(&start))
            }
            _ => model::text::quote(self.text),
        }
    }
}
