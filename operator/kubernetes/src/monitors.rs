//! Whether this cluster has ServiceMonitors, now or later.
//!
//! The API is asked for its groups every half minute rather than watched for a CustomResourceDefinition:
//! everybody may ask that, so that an operator whose rights end at one namespace finds out as well.

use crate::kind::Kind;
use crate::reconcile::Context;
use crate::watch::{Scope, Sink, children};
use kube::Client;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;

const INTERVAL: Duration = Duration::from_secs(30);

/// Keeps looking, and watches ServiceMonitors while there are any to be watched.
pub(crate) async fn follow(client: Client, scopes: Vec<Scope>, sink: Sink, context: Arc<Context>) {
    let mut watches = JoinSet::new();
    loop {
        match exist(&client).await {
            Ok(true) if watches.is_empty() => {
                tracing::info!("this cluster has ServiceMonitors");
                for scope in &scopes {
                    // No count of theirs is waited for: that they come later is no reason to be unready.
                    let sink = Sink { unsynced: Arc::new(1.into()), ..sink.clone() };
                    watches.spawn(children(client.clone(), Kind::ServiceMonitor, scope.clone(), sink));
                }
                set(&context, &sink, true);
            }
            // It was gone for a moment, as an object that could not be written showed.
            Ok(true) if !context.monitors.load(Ordering::Relaxed) => set(&context, &sink, true),
            Ok(false) if !watches.is_empty() => {
                tracing::info!("this cluster has no ServiceMonitors any more");
                watches.shutdown().await;
                sink.cache.keep(Kind::ServiceMonitor, None, &HashSet::new());
                set(&context, &sink, false);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the API does not tell whether it has ServiceMonitors"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn set(context: &Context, sink: &Sink, exist: bool) {
    context.monitors.store(exist, Ordering::Relaxed);
    sink.queue.add_all(sink.cache.systems());
}

async fn exist(client: &Client) -> kube::Result<bool> {
    let resource = Kind::ServiceMonitor.resource();
    match client.list_api_group_resources(&resource.api_version).await {
        Ok(list) => Ok(list.resources.iter().any(|known| known.name == resource.plural)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}
