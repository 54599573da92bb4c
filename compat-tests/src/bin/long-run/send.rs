//! Sends a fleet part by part.

use anyhow::Context;
use compat_tests::load::{Fleet, Sender};
use compat_tests::peer::Server;
use compat_tests::remote_write::{self, RequestBody};

/// Connections that stay together in time: none runs ahead of the others by more than one part.
pub(crate) struct Senders {
    url: String,
    client: reqwest::Client,
    senders: Vec<Sender>,
}

impl Senders {
    /// Nothing is sent yet.
    pub(crate) fn new(server: &Server, fleet: &Fleet, connections: usize) -> Self {
        let senders = (0..connections).map(|part| fleet.part(part, connections)).collect();
        Self { url: format!("{}/api/v1/write", server.url), client: reqwest::Client::new(), senders }
    }

    /// Sends the scrapes before `until`; returns how many samples those were.
    pub(crate) async fn send_until(&mut self, until: usize) -> anyhow::Result<usize> {
        let parts = self.senders.drain(..).map(|mut sender| {
            let (client, url) = (self.client.clone(), self.url.clone());
            tokio::spawn(async move {
                let mut body = RequestBody::default();
                let mut sent = 0;
                while sender.scrape() < until {
                    let Some((request, samples)) = sender.next_request(&mut body) else { break };
                    remote_write::send_accepted(&client, &url, request).await?;
                    sent += samples;
                }
                anyhow::Ok((sender, sent))
            })
        });
        let mut sent = 0;
        for part in parts.collect::<Vec<_>>() {
            let (sender, samples) = part.await.context("a sender")??;
            self.senders.push(sender);
            sent += samples;
        }
        Ok(sent)
    }
}
