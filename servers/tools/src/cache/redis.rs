//! A cache in Redis. Values expire there, and Redis decides what goes when it runs out of room.

use super::memory::Hit;
use crate::tool::Failure;
use anyhow::{Context, anyhow};
use mcp_system_config::RedisSettings;
use mcp_system_kit::guarded::{Guarded, Trouble, Verdict};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, Pipeline, RedisError};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

/// How long Redis may take to answer once.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long an operation may take, with all that is repeated of it.
const DEADLINE_IN_ALL: Duration = Duration::from_secs(5);

/// A Redis server, connected to when it is first needed and again whenever the connection is lost.
pub(crate) struct Redis {
    connection: ConnectionManager,
    guarded: Arc<Guarded>,
    prefix: String,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Redis {
    pub(super) fn new(
        settings: &RedisSettings,
        environment: &dyn Fn(&str) -> Option<String>,
        guarded: Arc<Guarded>,
    ) -> anyhow::Result<Self> {
        mcp_system_kit::install_crypto();
        let mut url = reqwest::Url::parse(&settings.url).context("cache.redis.url")?;
        if let Some(variable) = &settings.password_env {
            let password = environment(variable)
                .with_context(|| format!("cache.redis: the environment variable {variable} is not set"))?;
            url.set_password(Some(&password))
                .map_err(|()| anyhow!("cache.redis.url: it cannot take a password"))?;
        }
        let client = Client::open(url.as_str()).context("cache.redis.url")?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(Some(DEADLINE));
        let connection = ConnectionManager::new_lazy_with_config(client, config).context("cache.redis")?;
        Ok(Self { connection, guarded, prefix: settings.key_prefix.clone() })
    }

    fn key(&self, tenant: &str, key: &str) -> String {
        // With its length, so that no tenant's name and key together read as another's.
        format!("{}{}:{tenant}:{key}", self.prefix, tenant.len())
    }

    pub(super) async fn get(&self, tenant: &str, key: &str) -> Result<Option<Hit>, Failure> {
        let key = self.key(tenant, key);
        let mut both = redis::pipe();
        both.atomic().get(&key).pttl(&key);
        let (value, left): (Option<String>, i64) = self.ask(&both).await?;
        // A negative time: there is none, or it was just over.
        Ok(value.map(|value| Hit { value, left: Duration::from_millis(u64::try_from(left).unwrap_or(0)) }))
    }

    pub(super) async fn set(
        &self,
        tenant: &str,
        key: &str,
        value: String,
        ttl: Duration,
    ) -> Result<bool, Failure> {
        let key = self.key(tenant, key);
        let mut both = redis::pipe();
        both.atomic().exists(&key).set_ex(&key, value, ttl.as_secs().max(1)).ignore();
        self.ask(&both).await.map(|(replaced,)| replaced)
    }

    pub(super) async fn delete(&self, tenant: &str, key: &str) -> Result<bool, Failure> {
        let mut one = redis::pipe();
        one.del(self.key(tenant, key));
        self.ask(&one).await.map(|(deleted,)| deleted)
    }

    pub(super) const fn guarded(&self) -> &Arc<Guarded> {
        &self.guarded
    }

    async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Failure> {
        let query = || async { pipeline.query_async(&mut self.connection.clone()).await };
        self.guarded.call(DEADLINE_IN_ALL, judge, query).await.map_err(|trouble| failed(&trouble))
    }

    pub(super) async fn check(&self) -> Result<(), String> {
        let mut ping = redis::pipe();
        ping.ping();
        self.ask(&ping).await.map(|(_,): (String,)| ()).map_err(|failure| failure.0)
    }
}

/// All that is asked here may be asked twice.
fn judge(error: &RedisError) -> Verdict {
    if error.is_io_error() || error.is_connection_dropped() || error.is_timeout() {
        Verdict::Repeatable
    } else {
        Verdict::Answered
    }
}

fn failed(trouble: &Trouble<impl Display>) -> Failure {
    Failure(format!("the cache's Redis server cannot be used: {trouble}; try again later, or do without"))
}
