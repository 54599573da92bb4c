//! A loaded template: what hosts keep and execute.

use crate::ast::Tree;
use crate::call::{FunctionNames, Functions};
use crate::error::{Error, ErrorKind};
use crate::evaluate;
use crate::limits::Limits;
use crate::parser::{self, Trees};
use crate::value::Value;
use std::sync::Arc;

/// What a map's missing key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingKey {
    /// The zero of the map's type: the empty text in a map of texts.
    #[default]
    Zero,
    /// No value.
    NoValue,
    /// An error.
    Error,
}

/// How a template is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// What a map's missing key is.
    pub missing_key: MissingKey,
    /// How much the execution may use.
    pub limits: Limits,
}

/// A text that has been checked, with the templates it defines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Template {
    name: Arc<str>,
    trees: Arc<Trees>,
}

impl Template {
    /// Checks `text`; `name` is how errors call it, and other templates.
    ///
    /// # Errors
    /// Whatever is wrong with the text, with its line: syntax, functions that are neither built in nor among `functions`,
    /// variables that nothing declares, structures left open, nesting or length beyond reason.
    pub fn parse(name: &str, text: &str, functions: FunctionNames<'_>) -> Result<Self, Error> {
        let trees = parser::parse(name, text, functions)?;
        Ok(Self { name: Arc::from(name), trees: Arc::new(trees) })
    }

    /// Like [`parse`](Self::parse), for a text that may also use the templates of `self`; those it defines itself replace
    /// them, unless they hold nothing but blanks.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn parse_with(&self, name: &str, text: &str, functions: FunctionNames<'_>) -> Result<Self, Error> {
        let mut trees = Trees::clone(&self.trees);
        for (tree_name, tree) in parser::parse(name, text, functions)? {
            if !parser::is_empty(&tree.root) || !trees.contains_key(&tree_name) {
                trees.insert(tree_name, tree);
            }
        }
        Ok(Self { name: Arc::from(name), trees: Arc::new(trees) })
    }

    /// The name it was loaded under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of this and all templates it can use, ascending.
    pub fn defined(&self) -> impl Iterator<Item = &str> {
        self.trees.keys().map(AsRef::as_ref)
    }

    /// Executes the template with `data` for its dot.
    ///
    /// # Errors
    /// What the data does not allow, what a function objects to, or a bound that was reached; with line and column.
    pub fn execute(&self, data: Value, functions: &dyn Functions, options: &Options) -> Result<String, Error> {
        self.execute_named(&self.name, data, functions, options)
    }

    /// Executes the template `name` that this one defines or can use.
    ///
    /// # Errors
    /// As for [`execute`](Self::execute), and if there is no such template.
    pub fn execute_named(
        &self,
        name: &str,
        data: Value,
        functions: &dyn Functions,
        options: &Options,
    ) -> Result<String, Error> {
        let tree: &Tree = self.trees.get(name).ok_or_else(|| {
            let (wanted, own) = (model::text::quote(name), model::text::quote(&self.name));
            let message = format!("no template {wanted} associated with template {own}");
            Error { kind: ErrorKind::Execution, template: self.name.to_string(), line: 0, column: 0, message }
        })?;
        evaluate::execute(&self.trees, tree, data, functions, options)
    }
}
