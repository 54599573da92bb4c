//! Tokens to trees, and everything that can be refused before a template is executed.
//!
//! Messages are those of Go, as users know them. Recursion follows the nesting of the text, which is bounded.

mod pipeline;

use crate::ast::{Conditional, Invocation, Node, Pipe, Range, Source, Tree};
use crate::call::FunctionNames;
use crate::error::{Error, ErrorKind, line_and_column};
use crate::lexer::{Tokens, tokens};
use crate::literal::unquote;
use crate::token::{Keyword, Kind, Token};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest text of a template, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 1 << 20;
/// Levels of nested control structures and parentheses.
const NESTING_MAX: u32 = 150;
/// Variables in scope at once: looking one up means to walk over those declared later.
const VARIABLES_MAX: usize = 1_000;

/// Trees by their names.
pub(crate) type Trees = BTreeMap<Arc<str>, Arc<Tree>>;

/// Parses `text` to one tree named `name` and one for each `define` and `block`.
pub(crate) fn parse(name: &str, text: &str, functions: FunctionNames<'_>) -> Result<Trees, Error> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("text of {} bytes is longer than {TEXT_BYTES_MAX}", text.len());
        return Err(Error { kind: ErrorKind::Syntax, template: name.into(), line: 0, column: 0, message });
    }
    let source = Arc::new(Source { name: name.into(), text: text.into() });
    let mut parser = Parser {
        source: &source,
        tokens: tokens(text),
        next: 0,
        furthest: 0,
        functions,
        trees: Trees::new(),
        scope: Scope::new(),
        nesting: 0,
    };
    parser.file(name).map_err(|error| *error)?;
    Ok(parser.trees)
}

struct Parser<'t> {
    source: &'t Arc<Source>,
    tokens: Tokens<'t>,
    /// Index of the next token to take.
    next: usize,
    /// Index of the last token looked at, whose line errors name.
    furthest: usize,
    functions: FunctionNames<'t>,
    trees: Trees,
    scope: Scope,
    nesting: u32,
}

/// What the statements of one named template share.
struct Scope {
    /// Variables that may be used, with their dollar signs.
    variables: Vec<Arc<str>>,
    ranges: u32,
    /// Where the current action began; 0 outside of actions.
    action_line: u32,
}

impl Scope {
    fn new() -> Self {
        Self { variables: vec![Arc::from("$")], ranges: 0, action_line: 0 }
    }
}

/// One item of a list, or what ends the list.
enum Item {
    Node(Node),
    End,
    /// `{{else}}`; an `if` or `with` that belongs to it is still to be taken.
    Else,
}

/// Which word a control structure began with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Control {
    If,
    With,
    Range,
}

impl Control {
    fn name(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::With => "with",
            Self::Range => "range",
        }
    }

    /// `{{else if}}` continues `{{if}}`, `{{else with}}` continues `{{with}}`; nothing continues `{{range}}`.
    fn continued_by(self) -> Option<Kind> {
        match self {
            Self::If => Some(Kind::Keyword(Keyword::If)),
            Self::With => Some(Kind::Keyword(Keyword::With)),
            Self::Range => None,
        }
    }
}

type Parsed<T> = Result<T, Box<Error>>;

impl<'t> Parser<'t> {
    /// The whole text; `define` is known only here, outside of every other structure.
    fn file(&mut self, name: &str) -> Parsed<()> {
        let mut root = Vec::new();
        while self.peek().kind != Kind::Eof {
            let before = self.next;
            if self.peek().kind == Kind::LeftDelimiter {
                self.take();
                if self.take_non_space().kind == Kind::Keyword(Keyword::Define) {
                    self.definition()?;
                    continue;
                }
                self.next = before;
            }
            match self.item()? {
                Item::Node(node) => root.push(node),
                Item::End => return Err(self.error("unexpected {{end}}")),
                Item::Else => return Err(self.error("unexpected {{else}}")),
            }
        }
        self.add(name, root)
    }

    fn definition(&mut self) -> Parsed<()> {
        const CONTEXT: &str = "define clause";
        let outer = std::mem::replace(&mut self.scope, Scope::new());
        let token = self.take_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        self.expect(Kind::RightDelimiter, CONTEXT)?;
        let body = self.list_to_end(CONTEXT)?;
        self.scope = outer;
        self.add(&name, body)
    }

    /// A definition that only holds blanks gives way to one that does not.
    fn add(&mut self, name: &str, root: Vec<Node>) -> Parsed<()> {
        let replaces = self.trees.get(name).is_none_or(|old| is_empty(&old.root));
        if !replaces {
            if !is_empty(&root) {
                let quoted = model::text::quote(name);
                return Err(self.error(format!("template: multiple definition of template {quoted}")));
            }
            return Ok(());
        }
        let name: Arc<str> = Arc::from(name);
        let tree = Tree { name: Arc::clone(&name), source: Arc::clone(self.source), root };
        self.trees.insert(name, Arc::new(tree));
        Ok(())
    }

    /// Items up to the `{{end}}` or `{{else}}` that is not one of theirs.
    fn list(&mut self) -> Parsed<(Vec<Node>, Item)> {
        self.deeper("exceeded max nesting of control structures")?;
        let mut nodes = Vec::new();
        while self.peek_non_space().kind != Kind::Eof {
            match self.item()? {
                Item::Node(node) => nodes.push(node),
                end => {
                    self.nesting -= 1;
                    return Ok((nodes, end));
                }
            }
        }
        Err(self.error("unexpected EOF"))
    }

    fn list_to_end(&mut self, context: &str) -> Parsed<Vec<Node>> {
        let (nodes, end) = self.list()?;
        match end {
            Item::Else => Err(self.error(format!("unexpected {{{{else}}}} in {context}"))),
            Item::End | Item::Node(_) => Ok(nodes),
        }
    }

    fn item(&mut self) -> Parsed<Item> {
        let token = self.take_non_space();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text.to_owned()))),
            Kind::LeftDelimiter => {
                self.scope.action_line = token.line;
                let item = self.action()?;
                self.scope.action_line = 0;
                Ok(item)
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    /// The left delimiter is taken.
    fn action(&mut self) -> Parsed<Item> {
        let before = self.next;
        let token = self.take_non_space();
        let node = match token.kind {
            Kind::Keyword(Keyword::Block) => self.block()?,
            Kind::Keyword(Keyword::Break) => self.jump("break", Node::Break)?,
            Kind::Keyword(Keyword::Continue) => self.jump("continue", Node::Continue)?,
            Kind::Keyword(Keyword::If) => self.control(Control::If)?,
            Kind::Keyword(Keyword::Range) => self.control(Control::Range)?,
            Kind::Keyword(Keyword::With) => self.control(Control::With)?,
            Kind::Keyword(Keyword::Template) => self.invocation()?,
            Kind::Keyword(Keyword::Else) => {
                // `{{else if}}` goes on without a right delimiter.
                let next = self.peek_non_space().kind;
                if !matches!(next, Kind::Keyword(Keyword::If | Keyword::With)) {
                    self.expect(Kind::RightDelimiter, "else")?;
                }
                return Ok(Item::Else);
            }
            Kind::Keyword(Keyword::End) => {
                self.expect(Kind::RightDelimiter, "end")?;
                return Ok(Item::End);
            }
            _ => {
                self.next = before;
                Node::Action(Box::new(self.pipeline("command", Kind::RightDelimiter)?))
            }
        };
        Ok(Item::Node(node))
    }

    fn jump(&mut self, word: &str, node: Node) -> Parsed<Node> {
        let token = self.take_non_space();
        if token.kind != Kind::RightDelimiter {
            return Err(self.unexpected(&token, &format!("{{{{{word}}}}}")));
        }
        if self.scope.ranges == 0 {
            return Err(self.error(format!("{{{{{word}}}}} outside {{{{range}}}}")));
        }
        Ok(node)
    }

    /// The word is taken. Variables declared inside are forgotten at its end.
    fn control(&mut self, control: Control) -> Parsed<Node> {
        let known_variables = self.scope.variables.len();
        let mut branches: Vec<(Pipe, Vec<Node>)> = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let pipe = self.pipeline(control.name(), Kind::RightDelimiter)?;
            let in_range = u32::from(control == Control::Range);
            self.scope.ranges += in_range;
            let (body, end) = self.list()?;
            self.scope.ranges -= in_range;
            branches.push((pipe, body));
            if !matches!(end, Item::Else) {
                break;
            }
            if control.continued_by() == Some(self.peek().kind) {
                self.take();
                continue;
            }
            let (nodes, end) = self.list()?;
            if matches!(end, Item::Else) {
                return Err(self.error("expected end; found {{else}}"));
            }
            otherwise = nodes;
            break;
        }
        self.scope.variables.truncate(known_variables);
        let conditional = Box::new(Conditional { branches, otherwise });
        Ok(match control {
            Control::If => Node::If(conditional),
            Control::With => Node::With(conditional),
            Control::Range => range_of(*conditional),
        })
    }

    /// `{{block "name" pipe}} … {{end}}` defines a template and invokes it on the spot.
    fn block(&mut self) -> Parsed<Node> {
        const CONTEXT: &str = "block clause";
        let token = self.take_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Kind::RightDelimiter)?;
        let outer = std::mem::replace(&mut self.scope, Scope::new());
        let body = self.list_to_end(CONTEXT)?;
        self.scope = outer;
        self.add(&name, body)?;
        Ok(Node::Template(Box::new(Invocation { position: token.position, name, pipe: Some(pipe) })))
    }

    fn invocation(&mut self) -> Parsed<Node> {
        const CONTEXT: &str = "template clause";
        let token = self.take_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let pipe = if self.peek_non_space().kind == Kind::RightDelimiter {
            self.take_non_space();
            None
        } else {
            Some(self.pipeline(CONTEXT, Kind::RightDelimiter)?)
        };
        Ok(Node::Template(Box::new(Invocation { position: token.position, name, pipe })))
    }

    fn template_name(&self, token: &Token<'_>, context: &str) -> Parsed<String> {
        match token.kind {
            Kind::String | Kind::RawString => unquote(token.text).map_err(|message| self.error(message)),
            _ => Err(self.unexpected(token, context)),
        }
    }

    fn deeper(&mut self, message: &str) -> Parsed<()> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX { Err(self.error(message)) } else { Ok(()) }
    }

    fn peek(&mut self) -> Token<'t> {
        let index = self.next.min(self.tokens.list.len() - 1);
        self.furthest = self.furthest.max(index);
        *self.tokens.list.get(index).expect("every text has a last token")
    }

    fn take(&mut self) -> Token<'t> {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn take_non_space(&mut self) -> Token<'t> {
        loop {
            let token = self.take();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    /// The next token that is no space; spaces before it are gone.
    fn peek_non_space(&mut self) -> Token<'t> {
        let token = self.take_non_space();
        self.next -= 1;
        token
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<()> {
        let token = self.take_non_space();
        if token.kind == kind { Ok(()) } else { Err(self.unexpected(&token, context)) }
    }

    fn unexpected(&self, token: &Token<'_>, context: &str) -> Box<Error> {
        let (Kind::Error, Some(message)) = (token.kind, &self.tokens.error) else {
            return self.error(format!("unexpected {} in {context}", token.describe()));
        };
        let mut message = message.clone();
        let begun = self.scope.action_line;
        if begun != 0 && begun != token.line {
            let preposition = if message.ends_with(" action") { "" } else { " in action" };
            message.push_str(&format!("{preposition} started at {}:{begun}", self.source.name));
        }
        self.error(message)
    }

    fn error(&self, message: impl Into<String>) -> Box<Error> {
        let position = self.tokens.list.get(self.furthest).map_or(0, |token| token.position);
        let (line, column) = line_and_column(&self.source.text, position as usize);
        let (template, message) = (self.source.name.clone(), message.into());
        Box::new(Error { kind: ErrorKind::Syntax, template, line, column, message })
    }
}

fn range_of(mut conditional: Conditional) -> Node {
    let (pipe, body) = conditional.branches.pop().expect("a control structure has a first branch");
    Node::Range(Box::new(Range { pipe, body, otherwise: conditional.otherwise }))
}

/// Whether a template holds nothing but blanks.
pub(crate) fn is_empty(root: &[Node]) -> bool {
    root.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}
