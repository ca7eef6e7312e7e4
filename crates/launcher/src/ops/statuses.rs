use std::time::Duration;

use vmint_ids::InstanceId;

use super::{Launcher, Query};
use crate::{Instance, Result, State, clock};

/// How long a guest may take to show that it is up.
const BOOT: Duration = Duration::from_mins(10);

/// How a part of an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Ok,
    /// Not known yet.
    Initializing,
    Impaired,
    /// The instance does not run.
    NotApplicable,
    /// It should have shown by now, and has not.
    Insufficient,
}

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub id: InstanceId,
    pub state: State,
    pub zone: String,
    /// Whether its machine runs and answers.
    pub system: Health,
    /// Whether its guest does.
    pub guest: Health,
    /// Since when either fails, milliseconds since 1970.
    pub impaired_since: Option<i64>,
}

impl Health {
    /// EC2's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Initializing => "initializing",
            Self::Impaired => "impaired",
            Self::NotApplicable => "not-applicable",
            Self::Insufficient => "insufficient-data",
        }
    }
}

impl Launcher {
    /// Says how instances are, in the order of their ids, and where more follow. Without
    /// `all` only those that run.
    pub async fn statuses(
        &self,
        account: &str,
        query: &Query,
        all: bool,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<(Vec<Status>, Option<InstanceId>)> {
        let page = self.list(account, query, after, size)?;
        let mut statuses = Vec::new();
        for instance in page.instances {
            if all || instance.state == State::Running {
                statuses.push(self.status(&instance).await);
            }
        }
        Ok((statuses, page.next))
    }

    async fn status(&self, instance: &Instance) -> Status {
        let (system, guest, since) = self.health(instance).await;
        Status {
            id: instance.id,
            state: instance.state,
            zone: instance.particulars.zone.clone(),
            system,
            guest,
            impaired_since: since,
        }
    }

    async fn health(&self, instance: &Instance) -> (Health, Health, Option<i64>) {
        let idle = (Health::NotApplicable, Health::NotApplicable, None);
        if instance.state == State::Pending {
            return (Health::Initializing, Health::Initializing, None);
        }
        if instance.state != State::Running {
            return idle;
        }
        let Some(live) = self.fleet.live(instance.id) else {
            // It is being looked for, and nobody can say more.
            return (Health::Impaired, Health::Insufficient, Some(instance.changed_at));
        };
        if live.machine.is_over() {
            return (Health::Impaired, Health::Impaired, Some(clock::now()));
        }
        if self.fleet.heard(instance.id, &live).await {
            return (Health::Ok, Health::Ok, None);
        }
        let began = instance.started_at.unwrap_or(instance.changed_at);
        let guest =
            if began > clock::before(BOOT) { Health::Initializing } else { Health::Insufficient };
        (Health::Ok, guest, None)
    }
}
