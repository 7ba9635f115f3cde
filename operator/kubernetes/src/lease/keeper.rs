//! Takes the lease, renews it, and lets go of it.

use crate::lease::{Decision, decide, held, released, valid_for};
use crate::metrics::Metrics;
use anyhow::bail;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Says until when this process leads.
#[derive(Clone, Debug)]
pub(crate) enum Leadership {
    /// For ever: there is no election.
    Always,
    /// As long as the lease is renewed.
    ByLease(watch::Receiver<Option<Instant>>),
}

impl Leadership {
    /// Until when whatever is begun now has to be done; none where this process does not lead.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self {
            Self::Always => Some(Instant::now() + Duration::from_hours(1)),
            Self::ByLease(until) => (*until.borrow()).filter(|until| *until > Instant::now()),
        }
    }

    /// Waits until this process leads.
    pub(crate) async fn wait(&mut self) {
        while self.until().is_none() {
            if let Self::ByLease(until) = self
                && until.changed().await.is_err()
            {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// What a keeper has to know.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) identity: String,
    pub(crate) duration: Duration,
    pub(crate) renew: Duration,
}

/// Takes and keeps one lease.
#[derive(Debug)]
pub(crate) struct Keeper {
    leases: Api<Lease>,
    terms: Terms,
    metrics: Arc<Metrics>,
    until: watch::Sender<Option<Instant>>,
    /// The version that was last seen, and since when.
    seen: Option<(Option<String>, Instant)>,
}

impl Keeper {
    pub(crate) fn new(client: Client, terms: Terms, metrics: Arc<Metrics>) -> (Self, Leadership) {
        let (until, receiver) = watch::channel(None);
        let leases = Api::namespaced(client, &terms.namespace);
        (Self { leases, terms, metrics, until, seen: None }, Leadership::ByLease(receiver))
    }

    /// Keeps at it until `shutdown`, then lets go.
    ///
    /// # Errors
    /// When the lease was held and is lost: the process has to end, for somebody else acts now.
    pub(crate) async fn run(mut self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let until = *self.until.borrow();
            let deadline = until.unwrap_or_else(|| Instant::now() + self.terms.renew * 2);
            tokio::select! {
                () = &mut shutdown => break,
                result = timeout_at(deadline, self.turn()) => match result {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "the lease could not be read or written"),
                    Err(_) => tracing::warn!("the API server was too slow for the lease"),
                },
            }
            let until = *self.until.borrow();
            let leads = until.is_some_and(|until| until > Instant::now());
            self.metrics.lead(leads);
            if until.is_some() && !leads {
                bail!("the lease {} was lost", self.terms.name);
            }
            // Waiting ones look more often than it is renewed, so that a released lease is taken soon.
            let pause = if leads { self.terms.renew } else { self.terms.renew.mul_f64(0.4) };
            let pause = self
                .until
                .borrow()
                .map_or(pause, |until| pause.min(until.saturating_duration_since(Instant::now()) / 2));
            tokio::select! {
                () = &mut shutdown => break,
                () = tokio::time::sleep(pause.max(Duration::from_millis(100))) => {}
            }
        }
        self.release().await;
        Ok(())
    }

    /// Reads the lease once and does what is to be done.
    async fn turn(&mut self) -> anyhow::Result<()> {
        let lease = self.leases.get_opt(&self.terms.name).await?;
        let version = lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => Instant::now(),
        };
        self.seen = Some((version, since));
        let spec = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        let now = Timestamp::now();
        match decide(spec.as_ref(), since.elapsed(), &self.terms.identity, now) {
            Decision::Wait => {
                if self.until.borrow().is_some() {
                    // Somebody took it: there is no right to act for a moment longer.
                    self.until.send_replace(Some(Instant::now()));
                }
                Ok(())
            }
            decision => self.write(lease, spec.as_ref(), &decision, now).await,
        }
    }

    async fn write(
        &mut self,
        lease: Option<Lease>,
        spec: Option<&LeaseSpec>,
        decision: &Decision,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let asked = Instant::now();
        let spec = held(spec, &self.terms.identity, self.terms.duration, now);
        let parameters = PostParams::default();
        self.metrics.write("Lease", if *decision == Decision::Create { "create" } else { "update" });
        // The resource version that was read goes along, so that of two that try only one succeeds.
        let written = if let Some(lease) = lease {
            let lease = Lease { spec: Some(spec), ..lease };
            self.leases.replace(&self.terms.name, &parameters, &lease).await
        } else {
            let metadata = ObjectMeta { name: Some(self.terms.name.clone()), ..ObjectMeta::default() };
            self.leases.create(&parameters, &Lease { metadata, spec: Some(spec) }).await
        };
        match written {
            Ok(lease) => {
                self.seen = Some((lease.metadata.resource_version, Instant::now()));
                if *decision != Decision::Renew {
                    tracing::info!(identity = self.terms.identity, "this operator leads");
                }
                self.until.send_replace(Some(asked + valid_for(self.terms.duration)));
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                tracing::info!("somebody else was faster");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets go of the lease, so that the next one need not wait for its end.
    async fn release(&mut self) {
        if self.until.send_replace(None).is_none() {
            return;
        }
        self.metrics.lead(false);
        let release = async {
            let lease = self.leases.get(&self.terms.name).await?;
            let spec = lease.spec.clone().unwrap_or_default();
            if spec.holder_identity.as_deref() == Some(&self.terms.identity) {
                let lease = Lease { spec: Some(released(&spec, Timestamp::now())), ..lease };
                self.metrics.write("Lease", "update");
                self.leases.replace(&self.terms.name, &PostParams::default(), &lease).await?;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(Duration::from_secs(3), release).await {
            Ok(Ok(())) => tracing::info!("the lease is free"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be let go; it will expire"),
            Err(_) => tracing::warn!("the lease could not be let go in time; it will expire"),
        }
    }
}
