//! Rule groups with fixed content.

use crate::http::state::RulesSource;
use ruler::driver::SharedGroup;

#[derive(Default)]
pub(super) struct FixedRules {
    groups: Vec<SharedGroup>,
}

impl RulesSource for FixedRules {
    fn groups(&self) -> Vec<SharedGroup> {
        self.groups.clone()
    }
}
