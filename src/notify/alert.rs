//! From what a rule group sends to what an Alertmanager is sent. Pure.

use super::url::generator_url;
use alertmanager_compat::alert::PostableAlert;
use alertmanager_compat::client::Parcel;
use model::labels::Labels;
use model::relabel::{LabelsBuilder, RelabelRule};
use ruler::ports::AlertMessage;

/// What is done to every alert, whoever receives it.
#[derive(Debug, Clone, Default)]
pub(super) struct Outgoing {
    /// Added where they are absent.
    pub(super) external_labels: Labels,
    /// Where people find this process, without a slash at its end.
    pub(super) external_url: String,
    /// Applied after the external labels were added.
    pub(super) rules: Vec<RelabelRule>,
}

impl Outgoing {
    /// The alert as it is posted, with the number under which it is kept; `None` when a rule drops it.
    pub(super) fn prepare(&self, number: u64, message: AlertMessage) -> Option<Parcel> {
        let resolved = message.resolved;
        Some(Parcel { number, resolved, alert: self.postable(message)? })
    }

    fn postable(&self, alert: AlertMessage) -> Option<PostableAlert> {
        let labels = self.labels(&alert.labels)?;
        let annotations = alert.annotations.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        Some(PostableAlert {
            labels,
            annotations,
            starts_at_ms: alert.starts_at.0,
            ends_at_ms: alert.ends_at.0,
            generator_url: generator_url(&self.external_url, &alert.expr).into(),
        })
    }

    fn labels(&self, labels: &Labels) -> Option<Labels> {
        if self.rules.is_empty() && self.external_labels.is_empty() {
            return Some(labels.clone());
        }
        let mut builder = LabelsBuilder::new(labels);
        for (name, value) in &self.external_labels {
            if builder.get(name).is_empty() {
                builder.set(name, value);
            }
        }
        model::relabel::relabel(&self.rules, builder)
    }
}

/// The alert rewritten by `rules`, if they let it through.
pub(super) fn relabelled(rules: &[RelabelRule], parcel: &Parcel) -> Option<Parcel> {
    if rules.is_empty() {
        return Some(parcel.clone());
    }
    let alert = &parcel.alert;
    let labels = model::relabel::relabel(rules, LabelsBuilder::new(&alert.labels))?;
    Some(Parcel { alert: PostableAlert { labels, ..alert.clone() }, ..*parcel })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::relabel::{Action, RelabelConfig};
    use model::time::Timestamp;

    fn message(labels: &[(&str, &str)]) -> AlertMessage {
        AlertMessage {
            labels: Labels::from_pairs(labels.iter().copied()).unwrap(),
            annotations: [].into(),
            starts_at: Timestamp(1),
            ends_at: Timestamp(2),
            resolved: false,
            seq: 2,
            expr: "up > 0".into(),
        }
    }

    #[test]
    fn external_labels_come_before_the_rules_and_yield_to_those_of_the_alert() {
        let drop_lab = RelabelConfig {
            source_labels: Some(vec!["cluster".into()]),
            regex: Some("lab".into()),
            action: Action::Drop,
            ..RelabelConfig::default()
        };
        let outgoing = Outgoing {
            external_labels: Labels::from_pairs([("cluster", "lab")]).unwrap(),
            external_url: "http://h".into(),
            rules: vec![RelabelRule::new(drop_lab).unwrap()],
        };
        assert_eq!(outgoing.postable(message(&[("alertname", "a")])), None);
        let kept = outgoing.postable(message(&[("alertname", "a"), ("cluster", "prod")])).unwrap();
        assert_eq!(kept.labels.to_string(), r#"{alertname="a", cluster="prod"}"#);
        assert_eq!(&*kept.generator_url, "http://h/graph?g0.expr=up+%3E+0&g0.tab=1");
        let open = Outgoing { rules: Vec::new(), ..outgoing };
        let added = open.postable(message(&[("alertname", "a")])).unwrap();
        assert_eq!(added.labels.to_string(), r#"{alertname="a", cluster="lab"}"#);
    }
}
