//! Who keeps alerts on their way until they are delivered.

use alertmanager_compat::client::Lost;
use ruler::ports::AlertMessage;
use std::collections::BTreeSet;

/// Keeps messages for every Alertmanager, known by its URL, until it is told that they need not be delivered any more. Every
/// message that is handed to a notifier has to be settled for every target once: accepted, refused, dropped or superseded.
pub trait Keeper: Send + Sync {
    /// From now on messages leave for these targets.
    fn set_targets(&self, urls: BTreeSet<String>);

    /// What was not delivered to a target yet, oldest first, perhaps by an earlier process.
    fn waiting(&self, url: &str) -> Vec<(u64, AlertMessage)>;

    /// These messages need not be delivered to the target any more.
    fn settled(&self, url: &str, numbers: &[u64]);

    /// These messages will never reach the target: too much waited for it, or it refuses them. They are settled, too.
    fn lost(&self, url: &str, lost: &[Lost]);
}
